//! A transcript against a real server on the other side of a socket: the `gearpool` binary, or Debian's gearmand for comparison
//! (`GEARPOOL_TEST_SERVER=gearmand`).
//!
//! A transcript is about one order of events, so every step waits until the server has dealt with it: an ECHO_REQ after it is
//! answered after it.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use gearpool::proto::{Decoded, Frame, Kind, Request, decode};
use nix::sys::socket::{setsockopt, sockopt};
use tempfile::TempDir;

use crate::script::Case;
use crate::world::{Inside, World, take_frame};

/// How long a server may take for anything; far more than it needs, on a machine that is busy with other tests.
const PATIENCE: Duration = Duration::from_secs(20);

/// Which server the transcripts are run against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Program {
    Gearpool,
    Gearmand,
}

impl Program {
    pub(crate) fn chosen() -> Program {
        match std::env::var("GEARPOOL_TEST_SERVER").as_deref() {
            Ok("gearmand") => Program::Gearmand,
            Ok(other) if other != "gearpool" => panic!("no test server is called {other}"),
            _ => Program::Gearpool,
        }
    }

    fn command(self, port: u16, state: &TempDir, flags: &[String]) -> Command {
        let mut command = match self {
            Program::Gearpool => {
                let mut command = Command::new(env!("CARGO_BIN_EXE_gearpool"));
                command.args(["serve", "--listen=127.0.0.1", "--state-dir"]);
                command.arg(state.path());
                command
            }
            Program::Gearmand => {
                let mut command = Command::new("/usr/sbin/gearmand");
                command.args(["-u", "root", "--listen=127.0.0.1", "--log-file=none"]);
                command
            }
        };
        command.arg(format!("--port={port}")).args(flags);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        command
    }
}

pub(crate) struct Tcp {
    server: Child,
    address: String,
    peers: Vec<TcpPeer>,
    /// Not one of the case's: asks who is connected.
    control: TcpPeer,
    barriers: u64,
    _state: TempDir,
}

impl Tcp {
    pub(crate) fn start(program: Program, case: &Case) -> Tcp {
        let state = TempDir::new().expect("a directory for the server's state");
        // the port is free again when the listener is dropped, and nobody on this machine asks for this one meanwhile
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
        let port = port.expect("a free port").port();
        let mut server = program
            .command(port, &state, &case.flags)
            .spawn()
            .expect("the server starts");
        let address = format!("127.0.0.1:{port}");
        let deadline = Instant::now() + PATIENCE;
        let control = loop {
            match TcpStream::connect(&address) {
                Ok(stream) => break TcpPeer::new(stream),
                Err(why) => {
                    assert!(
                        Instant::now() < deadline,
                        "the server does not listen: {why}"
                    );
                    let exit = server.try_wait().expect("the server's state");
                    assert!(exit.is_none(), "the server has ended: {exit:?}");
                    std::thread::sleep(Duration::from_millis(2));
                }
            }
        };
        Tcp {
            server,
            address,
            peers: Vec::new(),
            control,
            barriers: 0,
            _state: state,
        }
    }

    /// Returns when the server has dealt with everything that this connection has sent.
    fn settle(&mut self, conn: usize) {
        self.barriers += 1;
        let token = format!("barrier {}", self.barriers);
        self.peers[conn].settle(token.as_bytes());
    }

    /// Returns when the server knows that a connection is gone.
    fn lose(&mut self, conn: usize, before: usize) {
        self.peers[conn].is_finished = true;
        let deadline = Instant::now() + PATIENCE;
        while self.connections() >= before {
            assert!(
                Instant::now() < deadline,
                "the server keeps a closed connection"
            );
        }
    }

    /// How many connections the server knows, this one's control connection among them.
    fn connections(&mut self) -> usize {
        self.control.write(b"workers\n");
        let mut lines = 0;
        while let Some(frame) = self.control.next(PATIENCE) {
            if frame == b".\n" {
                return lines;
            }
            lines += 1;
        }
        panic!("the server does not answer `workers`");
    }
}

impl Drop for Tcp {
    fn drop(&mut self) {
        // it may have ended by itself, which the case has noticed
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

impl World for Tcp {
    fn connect(&mut self) {
        let stream = TcpStream::connect(&self.address).expect("the server accepts");
        self.peers.push(TcpPeer::new(stream));
        self.settle(self.peers.len() - 1);
    }

    fn send(&mut self, conn: usize, bytes: &[u8]) {
        let peer = &mut self.peers[conn];
        peer.write(bytes);
        peer.sent.extend_from_slice(bytes);
        loop {
            match decode(&peer.sent) {
                Ok(Decoded::Frame(_, length)) => drop(peer.sent.drain(..length)),
                Ok(Decoded::Incomplete(_)) if peer.sent.is_empty() => return self.settle(conn),
                // half a packet, or bytes that the server closes on: nothing can be asked behind them
                Ok(Decoded::Incomplete(_)) | Err(_) => return,
            }
        }
    }

    fn next(&mut self, conn: usize) -> Option<Vec<u8>> {
        self.peers[conn].next(PATIENCE)
    }

    fn pending(&mut self, conn: usize) -> Option<Vec<u8>> {
        if self.peers[conn].sent.is_empty() && !self.peers[conn].is_finished {
            self.settle(conn);
        }
        self.peers[conn].got.pop_front()
    }

    fn close(&mut self, conn: usize) {
        let before = self.connections();
        let shut = self.peers[conn].stream.shutdown(Shutdown::Both);
        assert!(shut.is_ok() || self.peers[conn].is_finished);
        self.lose(conn, before);
    }

    fn reset(&mut self, conn: usize) {
        let before = self.connections();
        // nothing is said on it any more: the other one only stands in its place
        let other = self.control.stream.try_clone().expect("a descriptor");
        let stream = std::mem::replace(&mut self.peers[conn].stream, other);
        let no_time = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        setsockopt(&stream, sockopt::Linger, &no_time).expect("a socket option");
        drop(stream);
        self.lose(conn, before);
    }

    fn stop_sending(&mut self, conn: usize) {
        let shut = self.peers[conn].stream.shutdown(Shutdown::Write);
        shut.expect("a connection that is open can be half-closed");
        self.peers[conn].is_finished = true;
    }

    fn is_closed(&mut self, conn: usize) -> bool {
        let peer = &mut self.peers[conn];
        match peer.read_frame(PATIENCE) {
            Some(frame) => {
                peer.got.push_back(frame);
                false
            }
            None => peer.is_ended,
        }
    }

    fn inside(&mut self, what: Inside) -> Result<(), String> {
        Err(format!("{what:?} is for a server in memory"))
    }
}

struct TcpPeer {
    stream: TcpStream,
    /// What it has sent and is no whole frame yet.
    sent: Vec<u8>,
    /// What has come and is no whole frame yet.
    raw: Vec<u8>,
    got: VecDeque<Vec<u8>>,
    /// It will send no more.
    is_finished: bool,
    /// It has read the end.
    is_ended: bool,
}

impl TcpPeer {
    fn new(stream: TcpStream) -> TcpPeer {
        stream.set_nodelay(true).expect("a socket option");
        TcpPeer {
            stream,
            sent: Vec::new(),
            raw: Vec::new(),
            got: VecDeque::new(),
            is_finished: false,
            is_ended: false,
        }
    }

    fn write(&mut self, bytes: &[u8]) {
        // a server may close while it is written to, and the transcript says whether it should
        let _ = self.stream.write_all(bytes);
    }

    fn settle(&mut self, token: &[u8]) {
        let mut echo = Vec::new();
        Request::EchoReq { data: token }.encode(&mut echo);
        self.write(&echo);
        while let Some(frame) = self.read_frame(PATIENCE) {
            let is_mine = matches!(
                decode(&frame),
                Ok(Decoded::Frame(Frame::Packet { kind, body, .. }, _))
                    if kind == Kind::EchoRes as u32 && body == token
            );
            if is_mine {
                return;
            }
            self.got.push_back(frame);
        }
        assert!(self.is_ended, "the server does not answer");
    }

    fn next(&mut self, patience: Duration) -> Option<Vec<u8>> {
        self.got.pop_front().or_else(|| self.read_frame(patience))
    }

    /// The next frame from the socket; none when the connection has ended or nothing came in time.
    fn read_frame(&mut self, patience: Duration) -> Option<Vec<u8>> {
        let deadline = Instant::now() + patience;
        loop {
            if let Some(frame) = take_frame(&mut self.raw) {
                return Some(frame);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() || self.is_ended {
                return None;
            }
            let timed = self.stream.set_read_timeout(Some(left));
            timed.expect("a socket option");
            let mut piece = [0; 4096];
            match self.stream.read(&mut piece) {
                Ok(0) => self.is_ended = true,
                Ok(count) => self.raw.extend_from_slice(&piece[..count]),
                Err(why) if matches!(why.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                Err(why) if why.kind() == ErrorKind::Interrupted => {}
                // the server was done with us before it had read everything
                Err(_) => self.is_ended = true,
            }
        }
    }
}
