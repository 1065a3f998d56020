//! A connection that may behave as badly as it likes.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;

use gearpool::proto::{Kind, Magic};

use crate::support::Daemon;

pub(crate) struct Peer {
    stream: BufReader<TcpStream>,
}

/// A request, appended.
pub(crate) fn encode(kind: Kind, body: &[u8], out: &mut Vec<u8>) {
    out.extend(Magic::Request.bytes());
    out.extend((kind as u32).to_be_bytes());
    out.extend(u32::try_from(body.len()).unwrap().to_be_bytes());
    out.extend(body);
}

impl Peer {
    pub(crate) fn connect(daemon: &Daemon) -> Peer {
        Peer {
            stream: BufReader::new(daemon.connect()),
        }
    }

    pub(crate) fn port(&self) -> u16 {
        self.stream.get_ref().local_addr().unwrap().port()
    }

    pub(crate) fn send(&mut self, kind: Kind, body: &[u8]) {
        let mut bytes = Vec::new();
        encode(kind, body, &mut bytes);
        self.raw(&bytes);
    }

    /// Sends what the socket takes without waiting, or all of it if it takes some; false when it takes nothing any more.
    pub(crate) fn try_send(&mut self, kind: Kind, body: &[u8]) -> bool {
        let mut bytes = Vec::new();
        encode(kind, body, &mut bytes);
        let stream = self.stream.get_mut();
        stream
            .set_write_timeout(Some(std::time::Duration::from_millis(500)))
            .unwrap();
        stream.write_all(&bytes).is_ok()
    }

    /// Only the beginning of a packet.
    pub(crate) fn header(&mut self, kind: Kind, length: u32) {
        let mut bytes = Vec::new();
        encode(kind, b"", &mut bytes);
        bytes[8..12].copy_from_slice(&length.to_be_bytes());
        self.raw(&bytes);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        let _ = self.stream.get_mut().write_all(bytes);
    }

    pub(crate) fn raw_if_open(&mut self, bytes: &[u8]) -> bool {
        self.stream.get_mut().write_all(bytes).is_ok()
    }

    pub(crate) fn text(&mut self, line: &str) {
        self.raw(format!("{line}\n").as_bytes());
    }

    pub(crate) fn line(&mut self) -> String {
        let mut line = String::new();
        self.stream.read_line(&mut line).unwrap();
        line
    }

    /// The next packet.
    #[track_caller]
    pub(crate) fn next(&mut self) -> (Kind, Vec<u8>) {
        self.try_next().expect("a packet")
    }

    /// The next packet, unless the connection has ended.
    pub(crate) fn try_next(&mut self) -> Option<(Kind, Vec<u8>)> {
        let mut header = [0; 12];
        self.stream.read_exact(&mut header).ok()?;
        let kind = u32::from_be_bytes(header[4..8].try_into().unwrap());
        let length = u32::from_be_bytes(header[8..].try_into().unwrap());
        let mut body = vec![0; length as usize];
        self.stream.read_exact(&mut body).ok()?;
        Some((Kind::from_number(kind).unwrap(), body))
    }

    /// Asks for a job until there is one, and returns its handle.
    pub(crate) fn grab(&mut self) -> Vec<u8> {
        loop {
            self.send(Kind::GrabJob, b"");
            match self.next() {
                (Kind::JobAssign, body) => {
                    return body.split(|&byte| byte == 0).next().unwrap().to_vec();
                }
                (kind, _) => assert_eq!(kind, Kind::NoJob),
            }
        }
    }

    #[track_caller]
    pub(crate) fn echo(&mut self, text: &[u8]) {
        assert!(self.try_echo(text), "the connection has ended");
    }

    pub(crate) fn try_echo(&mut self, text: &[u8]) -> bool {
        let mut bytes = Vec::new();
        encode(Kind::EchoReq, text, &mut bytes);
        self.raw_if_open(&bytes)
            && matches!(self.try_next(), Some((Kind::EchoRes, body)) if body == text)
    }

    /// Whether it has been closed, or is within half a second.
    pub(crate) fn has_ended_soon(&mut self) -> bool {
        let stream = self.stream.get_ref();
        let limit = std::time::Duration::from_millis(500);
        stream.set_read_timeout(Some(limit)).unwrap();
        self.has_ended()
    }

    pub(crate) fn has_ended(&mut self) -> bool {
        match self.stream.read(&mut [0; 1]) {
            Ok(count) => count == 0,
            Err(error) => error.kind() == ErrorKind::ConnectionReset,
        }
    }

    /// Reads what there is, without looking at it.
    pub(crate) fn skip(&mut self) {
        let stream = self.stream.get_mut();
        stream.set_nonblocking(true).unwrap();
        let mut sink = [0; 1 << 16];
        while matches!(stream.read(&mut sink), Ok(1..)) {}
        stream.set_nonblocking(false).unwrap();
    }
}
