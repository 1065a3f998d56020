//! A server's connection when its handshake is done: records, and nothing that cannot be written down.
//!
//! rustls keeps to itself what it knows of a connection, and an upgrade has to hand that to another program. So rustls does the
//! handshake ([`Handshake`](super::Handshake)), and from then on the connection is here: two keys with their counts, and what is under
//! way. What there can be of messages besides data is an alert and TLS 1.3's KeyUpdate; any other one ends the connection.

use std::{fmt, io};

use rustls::{AlertDescription, ContentType, Error, InvalidMessage};
use serde::{Deserialize, Serialize};

use super::keys::{DATA, HEADER, Keys, MAX_PLAIN};
use super::wire::{Incoming, MAX_CIPHERTEXT};

const ALERT: u8 = 21;
const HANDSHAKE: u8 = 22;

/// The levels of an alert. TLS 1.3 goes by what the alert says.
const WARNING: u8 = 1;
const FATAL: u8 = 2;

/// A KeyUpdate and its length, RFC 8446, 4.6.3; behind it comes whether the other side shall do the same.
const KEY_UPDATE: [u8; 4] = [24, 0, 0, 1];
const NOT_REQUESTED: u8 = 0;
const REQUESTED: u8 = 1;

/// How much longer than what it says a record may be, RFC 5246, 6.2.3.
const OVERHEAD: usize = 2048;

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
    /// The peer has said its end, or something after which there is nothing to be heard from it.
    has_ended: bool,
    /// We have said ours.
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
            if let Some(alert) = alert(&error) {
                self.ours
                    .seal(ALERT, &[FATAL, alert.into()], &mut self.outgoing);
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
            let kind = self.theirs.open(record.header, record.payload, plain)?;
            if kind != DATA {
                let message = plain.split_off(start);
                self.hear(kind, &message)?;
            }
        }
        Ok(match self.has_ended {
            // nothing that comes after the end counts
            true => bytes.len(),
            false => used,
        })
    }

    fn hear(&mut self, kind: u8, message: &[u8]) -> Result<(), Error> {
        let can_update = self.theirs.can_update();
        match (kind, message) {
            (ALERT, [_, alert]) => match AlertDescription::from(*alert) {
                AlertDescription::CloseNotify => self.has_ended = true,
                alert => return Err(Error::AlertReceived(alert)),
            },
            (HANDSHAKE, [update @ .., asks @ (NOT_REQUESTED | REQUESTED)])
                if *update == KEY_UPDATE && can_update =>
            {
                self.theirs.update();
                // once is enough, however often it is asked for before it can be sent
                self.owes_update |= *asks == REQUESTED;
            }
            (kind, _) => {
                return Err(Error::InappropriateMessage {
                    expect_types: vec![ContentType::ApplicationData],
                    got_type: ContentType::from(kind),
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
    /// Those of `send`, once something could not be sent, `WouldBlock` too; `taken` counts nevertheless. And when TLS 1.2 must send
    /// nothing more.
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
            self.seal(plain, taken)?;
        }
    }

    /// Encrypts as much as may be ahead of what the socket takes.
    fn seal(&mut self, plain: &[u8], taken: &mut usize) -> io::Result<()> {
        let end = plain.len().min(*taken + MAX_CIPHERTEXT);
        if std::mem::take(&mut self.owes_update) {
            self.update();
        }
        for data in plain[*taken..end].chunks(MAX_PLAIN) {
            if self.ours.is_worn() {
                if !self.ours.can_update() {
                    return Err(io::Error::other("its key has been used too often"));
                }
                self.update();
            }
            self.ours.seal(DATA, data, &mut self.outgoing);
            *taken += data.len();
        }
        Ok(())
    }

    fn update(&mut self) {
        let message = [&KEY_UPDATE[..], &[NOT_REQUESTED]].concat();
        self.ours.seal(HANDSHAKE, &message, &mut self.outgoing);
        self.ours.update();
    }

    /// Says that nothing more will come.
    pub fn end(&mut self) {
        if !std::mem::replace(&mut self.is_ending, true) {
            let alert = AlertDescription::CloseNotify;
            self.ours
                .seal(ALERT, &[WARNING, alert.into()], &mut self.outgoing);
        }
    }
}

/// A whole record, as it has come.
pub(super) struct Record<'a> {
    header: [u8; HEADER],
    payload: &'a [u8],
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
mod tests {
    use rustls::ConnectionTrafficSecrets;
    use rustls::crypto::cipher::{AeadKey, Iv};

    use super::*;

    /// Both ends of a connection with a cipher whose key has 32 bytes.
    fn ends(is_chacha: bool, has_traffic: bool) -> (Records, Records) {
        let keys = |byte: u8| {
            let (key, iv) = (AeadKey::from([byte; 32]), Iv::from([byte; 12]));
            let secrets = match is_chacha {
                true => ConnectionTrafficSecrets::Chacha20Poly1305 { key, iv },
                false => ConnectionTrafficSecrets::Aes256Gcm { key, iv },
            };
            let traffic = [byte; 48];
            Keys::new(0, secrets, has_traffic.then_some(&traffic[..])).unwrap()
        };
        let records = |ours, theirs| Records::new(keys(ours), keys(theirs), Vec::new());
        (records(1, 2), records(2, 1))
    }

    fn all() -> impl Iterator<Item = (Records, Records)> {
        [(false, false), (false, true), (true, false), (true, true)]
            .into_iter()
            .map(|(is_chacha, has_traffic)| ends(is_chacha, has_traffic))
    }

    /// What a socket gets that takes everything.
    fn sent(records: &mut Records, plain: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut taken = 0;
        let send = |part: &[u8]| {
            bytes.extend_from_slice(part);
            Ok(part.len())
        };
        records.send(plain, &mut taken, send).unwrap();
        assert_eq!(taken, plain.len());
        assert!(!records.wants_write());
        bytes
    }

    fn heard(records: &mut Records, bytes: &[u8]) -> Result<(Vec<u8>, Incoming), Error> {
        let mut plain = Vec::new();
        let incoming = records.receive(bytes, &mut plain)?;
        Ok((plain, incoming))
    }

    /// By way of another program.
    fn crossed(records: &Records) -> Records {
        let written = rmp_serde::to_vec_named(records).unwrap();
        rmp_serde::from_slice(&written).unwrap()
    }

    #[test]
    fn another_program_goes_on_at_any_byte() {
        let text: Vec<u8> = (0..40_000_u32).map(|at| (at % 251) as u8).collect();
        for (mut one, mut other) in all() {
            let mut got = Vec::new();
            for part in [&text[..1], &text[1..60], &text[60..]] {
                let bytes = sent(&mut one, part);
                for cut in [0, 1, 4, 5, 6, 20, bytes.len() / 2, bytes.len() - 1] {
                    let mut cut_off = other.clone();
                    let (mut plain, _) = heard(&mut cut_off, &bytes[..cut]).unwrap();
                    let (rest, incoming) = heard(&mut crossed(&cut_off), &bytes[cut..]).unwrap();
                    plain.extend(rest);
                    assert!(plain == part && incoming == Incoming::Open);
                }
                got.extend(heard(&mut other, &bytes).unwrap().0);
                (one, other) = (crossed(&one), crossed(&other));
            }
            assert!(got == text);
        }
    }

    #[test]
    fn what_a_socket_has_not_taken_comes_from_the_other_program() {
        for (mut one, mut other) in all() {
            let (mut bytes, mut taken) = (Vec::new(), 0);
            let blocked = one.send(b"hello", &mut taken, |part| {
                if bytes.is_empty() {
                    bytes.extend_from_slice(&part[..7]);
                    return Ok(7);
                }
                Err(io::ErrorKind::WouldBlock.into())
            });
            assert_eq!(blocked.unwrap_err().kind(), io::ErrorKind::WouldBlock);
            assert_eq!((taken, one.wants_write()), (5, true));
            bytes.extend(sent(&mut crossed(&one), b" you"));
            assert_eq!(heard(&mut other, &bytes).unwrap().0, b"hello you");
        }
    }

    #[test]
    fn the_end_is_said_once_and_nothing_after_it_is_heard() {
        for (mut one, mut other) in all() {
            let last = sent(&mut one, b"last");
            one.end();
            let mut one = crossed(&one);
            one.end();
            let end = sent(&mut one, &[]);
            let more = sent(&mut one, b"more");
            let all = [last, end.clone(), more].concat();
            assert_eq!(
                heard(&mut other, &all).unwrap(),
                (b"last".to_vec(), Incoming::Ended)
            );
            let after = heard(&mut crossed(&other), &end).unwrap();
            assert_eq!(after, (Vec::new(), Incoming::Ended));
        }
    }

    #[test]
    fn what_was_changed_repeated_or_left_out_is_refused_and_said() {
        type Change = fn(&mut Vec<u8>, &mut Vec<u8>);
        let changes: [Change; 5] = [
            |first, _| *first.last_mut().unwrap() ^= 1,
            |first, _| first[HEADER] ^= 1,
            |first, _| first[0] = 22,
            |first, second| second.clone_from(first),
            |first, _| first.clear(),
        ];
        for change in changes {
            for (mut one, mut other) in all() {
                let (mut first, mut second) = (sent(&mut one, b"one"), sent(&mut one, b"two"));
                change(&mut first, &mut second);
                let mut plain = Vec::new();
                let error = other.receive(&[first, second].concat(), &mut plain);
                assert_eq!(error.unwrap_err(), Error::DecryptError);
                assert!(plain.is_empty() || plain == b"one", "{plain:?}");
                let alert = sent(&mut other, &[]);
                let said = heard(&mut one, &alert).unwrap_err();
                let mac = AlertDescription::BadRecordMac;
                assert_eq!(said, Error::AlertReceived(mac));
                assert!(!one.wants_write(), "an alert is not answered");
                // and there is nothing more to be heard
                let later = sent(&mut one, b"three");
                let ended = (Vec::new(), Incoming::Ended);
                assert_eq!(heard(&mut crossed(&other), &later).unwrap(), ended);
            }
        }
    }

    #[test]
    fn what_is_no_record_is_refused() {
        for bytes in [
            [0, 3, 3, 0, 1],
            [24, 3, 3, 0, 1],
            [23, 2, 3, 0, 1],
            [23, 3, 3, 0x48, 1],
        ] {
            for (mut one, mut other) in all() {
                heard(&mut other, &bytes).unwrap_err();
                let alert = sent(&mut other, &[]);
                assert!(matches!(
                    heard(&mut one, &alert),
                    Err(Error::AlertReceived(_))
                ));
            }
        }
    }

    #[test]
    fn a_new_handshake_has_no_place_there() {
        for (mut one, mut other) in all() {
            one.ours.seal(HANDSHAKE, &[1, 0, 0, 0], &mut one.outgoing);
            let error = heard(&mut other, &sent(&mut one, &[])).unwrap_err();
            assert!(
                matches!(error, Error::InappropriateMessage { .. }),
                "{error}"
            );
        }
    }

    #[test]
    fn keys_are_renewed_when_asked_for() {
        for (mut one, mut other) in all() {
            let update = [&KEY_UPDATE[..], &[REQUESTED]].concat();
            let can = one.ours.can_update();
            // asked for twice before it can be answered
            for _ in 0..2 {
                one.ours.seal(HANDSHAKE, &update, &mut one.outgoing);
                one.ours.update();
            }
            let asked = heard(&mut other, &sent(&mut one, b"new"));
            if !can {
                assert!(matches!(asked, Err(Error::InappropriateMessage { .. })));
                continue;
            }
            assert_eq!(asked.unwrap().0, b"new");
            let mut other = crossed(&other);
            assert!(other.wants_write());
            let answer = sent(&mut other, b"answer");
            assert_eq!(heard(&mut one, &answer).unwrap().0, b"answer");
            let more = sent(&mut other, b"more");
            assert_eq!(heard(&mut one, &more).unwrap().0, b"more");
        }
    }

    #[test]
    fn a_worn_key_is_replaced_or_the_last_one() {
        for (mut one, mut other) in [ends(false, true), ends(true, true), ends(true, false)] {
            one.ours.wear();
            other.theirs.wear();
            for text in [b"one", b"two"] {
                let bytes = sent(&mut one, text);
                assert_eq!(heard(&mut other, &bytes).unwrap().0, text);
            }
        }
        let (mut one, _) = ends(false, false);
        one.ours.wear();
        let refused = one.send(b"one", &mut 0, |part| Ok(part.len()));
        refused.unwrap_err();
    }
}
