//! A server's connection when its handshake is done: records, and nothing that cannot be written down.
//!
//! rustls keeps to itself what it knows of a connection, and an upgrade has to hand that to another program. So rustls does the
//! handshake ([`Handshake`](super::Handshake)), and from then on the connection is here: two keys with their counts, and what is under
//! way. What there can be of messages besides data is an alert and TLS 1.3's KeyUpdate; any other one ends the connection.

use std::{fmt, io};

use rustls::{AlertDescription, ContentType, Error, InvalidMessage, PeerMisbehaved};
use serde::{Deserialize, Serialize};

use super::keys::Keys;
use super::wire::{Incoming, MAX_CIPHERTEXT};

/// Bytes before a record's payload: its type, a version, and the payload's length.
pub(super) const HEADER: usize = 5;

/// The most that a record may say.
pub(super) const MAX_PLAIN: usize = 1 << 14;

/// The levels of an alert. TLS 1.3 goes by what the alert says.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// A KeyUpdate and its length, RFC 8446, 4.6.3; behind it comes whether the other side shall do the same.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const NOT_REQUESTED: u8 = 0;
const REQUESTED: u8 = 1;

/// How much longer than what it says a record may be, RFC 5246, 6.2.3.
const OVERHEAD: usize = 2048;

/// Records in a row that say nothing to the protocol above: empty ones, and what TLS says to itself. Each costs the peer less than us.
/// rustls and BoringSSL allow as many.
const MAX_IDLE: u8 = 32;

/// What is left of a buffer between two records is given back when it is larger than this.
const KEEP: usize = 4 << 10;

/// The connection.
#[derive(Clone, Serialize, Deserialize)]
pub struct Records {
    ours: Keys,
    theirs: Keys,
    /// The beginning of a record whose end has not come yet.
    #[serde(with = "serde_bytes")]
    incoming: Vec<u8>,
    /// Records that the socket has not taken yet, and so many bytes of them that it has.
    #[serde(with = "serde_bytes")]
    outgoing: Vec<u8>,
    sent: usize,
    /// The peer wants us to go on with another key.
    owes_update: bool,
    /// Records in a row that have said nothing.
    idle: u8,
    /// The peer has said its end, or something after which there is nothing to be heard from it.
    has_ended: bool,
    /// We have said ours, or are not to say anything more.
    is_ending: bool,
}

impl fmt::Debug for Records {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // the keys are nobody's business
        f.debug_struct("Records").finish_non_exhaustive()
    }
}

impl Records {
    /// A connection with these keys, of which so much has been read.
    pub(super) fn new(ours: Keys, theirs: Keys, incoming: Vec<u8>) -> Records {
        Records {
            ours,
            theirs,
            incoming,
            outgoing: Vec::new(),
            sent: 0,
            owes_update: false,
            idle: 0,
            has_ended: false,
            is_ending: false,
        }
    }

    /// Takes what a socket brought, and appends what it says to `plain`. There may be something to [`send`](Records::send) afterwards:
    /// with an error, the alert that tells the peer.
    ///
    /// # Errors
    /// Those after which the connection is of no use. What came before is in `plain`.
    pub fn receive(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<Incoming, Error> {
        let result = match self.incoming.is_empty() {
            true => self.take_all(bytes, plain).map(|used| {
                self.incoming.extend_from_slice(&bytes[used..]);
            }),
            false => {
                let mut all = std::mem::take(&mut self.incoming);
                all.extend_from_slice(bytes);
                self.take_all(&all, plain).map(|used| {
                    all.drain(..used);
                    all.shrink_to(KEEP);
                    self.incoming = all;
                })
            }
        };
        if let Err(error) = result {
            self.has_ended = true;
            match alert(&error) {
                Some(alert) => self.say_end(FATAL, alert),
                None => self.fall_silent(),
            }
            return Err(error);
        }
        Ok(match self.has_ended {
            true => Incoming::Ended,
            false => Incoming::Open,
        })
    }

    /// Returns how many bytes were used; the rest begins a record.
    fn take_all(&mut self, bytes: &[u8], plain: &mut Vec<u8>) -> Result<usize, Error> {
        let mut used = 0;
        while !self.has_ended
            && let Some(record) = Record::first(&bytes[used..])?
        {
            used += record.length();
            let start = plain.len();
            let kind = self.theirs.open(&record, plain)?;
            if kind == ContentType::ApplicationData && plain.len() > start {
                self.idle = 0;
                continue;
            }
            if self.idle == MAX_IDLE {
                plain.truncate(start);
                return Err(PeerMisbehaved::TooManyEmptyFragments.into());
            }
            self.idle += 1;
            let message = plain.split_off(start);
            self.hear(kind, &message)?;
        }
        Ok(match self.has_ended {
            // nothing that comes after the end counts
            true => bytes.len(),
            false => used,
        })
    }

    fn hear(&mut self, kind: ContentType, message: &[u8]) -> Result<(), Error> {
        let is_tls13 = self.theirs.can_update();
        match (kind, message) {
            (ContentType::ApplicationData, []) => {}
            (ContentType::Alert, [level, alert]) => match AlertDescription::from(*alert) {
                AlertDescription::CloseNotify => self.has_ended = true,
                // Java says this before its end
                AlertDescription::UserCanceled if *level == WARNING => {}
                _ if *level == WARNING && !is_tls13 => {}
                alert => return Err(Error::AlertReceived(alert)),
            },
            (ContentType::Handshake, [update @ .., asks @ (NOT_REQUESTED | REQUESTED)])
                if *update == KEY_UPDATE && is_tls13 =>
            {
                self.theirs.update();
                // once is enough, however often it is asked for before it can be sent
                self.owes_update |= *asks == REQUESTED && !self.is_ending;
            }
            (kind, _) => {
                return Err(Error::InappropriateMessage {
                    expect_types: vec![ContentType::ApplicationData],
                    got_type: kind,
                });
            }
        }
        Ok(())
    }

    /// Whether there is something to send.
    pub fn wants_write(&self) -> bool {
        self.sent < self.outgoing.len() || self.owes_update
    }

    /// Encrypts `plain` and sends it, as far as `send` takes it. `taken` counts the bytes of it that were encrypted: those are the
    /// connection's to send, and are sent before anything else with the next call.
    ///
    /// # Errors
    /// Those of `send`, once something could not be sent, `WouldBlock` too; `taken` counts nevertheless. And when there is more to
    /// send after the end, which may be that of a key of TLS 1.2.
    pub fn send(
        &mut self,
        plain: &[u8],
        taken: &mut usize,
        mut send: impl FnMut(&[u8]) -> io::Result<usize>,
    ) -> io::Result<()> {
        loop {
            while self.sent < self.outgoing.len() {
                self.sent += send(&self.outgoing[self.sent..])?;
            }
            self.outgoing.clear();
            self.outgoing.shrink_to(KEEP);
            self.sent = 0;
            if plain.len() == *taken && !self.owes_update {
                return Ok(());
            }
            if self.is_ending {
                return Err(io::Error::other("nothing may be sent after the end of TLS"));
            }
            self.seal(plain, taken);
        }
    }

    /// Encrypts as much as may be ahead of what the socket takes.
    fn seal(&mut self, plain: &[u8], taken: &mut usize) {
        let end = plain.len().min(*taken + MAX_CIPHERTEXT);
        if std::mem::take(&mut self.owes_update) {
            self.update();
        }
        for data in plain[*taken..end].chunks(MAX_PLAIN) {
            if self.ours.is_worn() {
                if !self.ours.can_update() {
                    return self.end();
                }
                self.update();
            }
            let kind = ContentType::ApplicationData;
            self.ours.seal(kind, data, &mut self.outgoing);
            *taken += data.len();
        }
    }

    fn update(&mut self) {
        let message = [&KEY_UPDATE[..], &[NOT_REQUESTED]].concat();
        let kind = ContentType::Handshake;
        self.ours.seal(kind, &message, &mut self.outgoing);
        self.ours.update();
    }

    /// Says that nothing more will come.
    pub fn end(&mut self) {
        self.say_end(WARNING, AlertDescription::CloseNotify);
    }

    /// Says that nothing more will come, and why. The first reason is the last word.
    fn say_end(&mut self, level: u8, alert: AlertDescription) {
        if !self.is_ending {
            let kind = ContentType::Alert;
            let message = [level, alert.into()];
            self.ours.seal(kind, &message, &mut self.outgoing);
        }
        self.fall_silent();
    }

    fn fall_silent(&mut self) {
        self.is_ending = true;
        // another key would protect nothing
        self.owes_update = false;
    }
}

/// A whole record, as it has come.
pub(super) struct Record<'a> {
    pub(super) header: [u8; HEADER],
    pub(super) payload: &'a [u8],
}

impl Record<'_> {
    /// The first one in these bytes, if it is whole.
    pub(super) fn first(bytes: &[u8]) -> Result<Option<Record<'_>>, Error> {
        let Some((header, rest)) = bytes.split_first_chunk() else {
            return Ok(None);
        };
        let [kind, major, _, high, low] = *header;
        if !matches!(
            ContentType::from(kind),
            ContentType::ChangeCipherSpec
                | ContentType::Alert
                | ContentType::Handshake
                | ContentType::ApplicationData
        ) {
            return Err(InvalidMessage::InvalidContentType.into());
        }
        if major != 3 {
            return Err(InvalidMessage::UnknownProtocolVersion.into());
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        if length > MAX_PLAIN + OVERHEAD {
            return Err(Error::PeerSentOversizedRecord);
        }
        Ok(rest.get(..length).map(|payload| Record {
            header: *header,
            payload,
        }))
    }

    /// Bytes, with its header.
    pub(super) fn length(&self) -> usize {
        HEADER + self.payload.len()
    }
}

/// What the peer is told.
fn alert(error: &Error) -> Option<AlertDescription> {
    match error {
        // it has had the last word
        Error::AlertReceived(_) => None,
        Error::DecryptError => Some(AlertDescription::BadRecordMac),
        Error::PeerSentOversizedRecord => Some(AlertDescription::RecordOverflow),
        _ => Some(AlertDescription::UnexpectedMessage),
    }
}

#[cfg(test)]
mod tests;
