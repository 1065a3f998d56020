//! Two ends that speak to each other, and what neither is to take from the other.

use rustls::SupportedCipherSuite;
use rustls::crypto::ring::ALL_CIPHER_SUITES;
use rustls::crypto::ring::cipher_suite::{
    TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384, TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    TLS13_AES_256_GCM_SHA384, TLS13_CHACHA20_POLY1305_SHA256,
};

use super::*;

/// Both ends of a connection.
fn ends(suite: SupportedCipherSuite) -> (Records, Records) {
    let records =
        |ours, theirs| Records::new(Keys::of(suite, ours), Keys::of(suite, theirs), Vec::new());
    (records(1, 2), records(2, 1))
}

fn all() -> impl Iterator<Item = (Records, Records)> {
    assert_eq!(ALL_CIPHER_SUITES.len(), 9);
    ALL_CIPHER_SUITES.iter().map(|suite| ends(*suite))
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
        let refused = one.send(b"more", &mut 0, |_| panic!("it is sent"));
        refused.unwrap_err();
        let data = ContentType::ApplicationData;
        one.ours.seal(data, b"more", &mut one.outgoing);
        let more = sent(&mut one, &[]);
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
            one.end();
            assert!(!one.wants_write(), "an alert is not answered");
            other.end();
            assert!(!other.wants_write(), "an alert is the last word");
            // and there is nothing more to be heard
            let data = ContentType::ApplicationData;
            one.ours.seal(data, b"three", &mut one.outgoing);
            let later = sent(&mut one, &[]);
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
        let hello = [1, 0, 0, 0];
        one.ours
            .seal(ContentType::Handshake, &hello, &mut one.outgoing);
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
            one.ours
                .seal(ContentType::Handshake, &update, &mut one.outgoing);
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
    for suite in [
        TLS13_AES_256_GCM_SHA384,
        TLS13_CHACHA20_POLY1305_SHA256,
        TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
    ] {
        let (mut one, mut other) = ends(suite);
        one.ours.wear();
        other.theirs.wear();
        for text in [b"one", b"two"] {
            let bytes = sent(&mut one, text);
            assert_eq!(heard(&mut other, &bytes).unwrap().0, text);
        }
    }
    let (mut one, mut other) = ends(TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384);
    one.ours.wear();
    other.theirs.wear();
    let mut bytes = Vec::new();
    let refused = one.send(b"one", &mut 0, |part| {
        bytes.extend_from_slice(part);
        Ok(part.len())
    });
    refused.unwrap_err();
    let ended = (Vec::new(), Incoming::Ended);
    assert_eq!(heard(&mut other, &bytes).unwrap(), ended);
}

/// What is sealed without a word, and what it comes to.
fn sealed(one: &mut Records, kind: ContentType, message: &[u8]) -> Vec<u8> {
    one.ours.seal(kind, message, &mut one.outgoing);
    sent(one, &[])
}

#[test]
fn records_that_say_nothing_are_heard_so_often_in_a_row() {
    let update = [&KEY_UPDATE[..], &[NOT_REQUESTED]].concat();
    let canceled = [WARNING, AlertDescription::UserCanceled.into()];
    for (kind, message) in [
        (ContentType::ApplicationData, &[][..]),
        (ContentType::Alert, &canceled),
        (ContentType::Handshake, &update),
    ] {
        for (mut one, mut other) in all() {
            let is_update = kind == ContentType::Handshake;
            if is_update && !one.ours.can_update() {
                continue;
            }
            let nothing = |one: &mut Records| {
                let bytes = sealed(one, kind, message);
                if is_update {
                    one.ours.update();
                }
                bytes
            };
            for _ in 0..2 {
                for _ in 0..MAX_IDLE {
                    let said = heard(&mut other, &nothing(&mut one)).unwrap();
                    assert_eq!(said, (Vec::new(), Incoming::Open));
                    // who begins anew does not begin to count anew
                    other = crossed(&other);
                }
                let bytes = sent(&mut one, b"something");
                assert_eq!(heard(&mut other, &bytes).unwrap().0, b"something");
            }
            for _ in 0..MAX_IDLE {
                heard(&mut other, &nothing(&mut one)).unwrap();
            }
            heard(&mut other, &nothing(&mut one)).unwrap_err();
            let alert = sent(&mut other, &[]);
            let unexpected = AlertDescription::UnexpectedMessage;
            let said = heard(&mut one, &alert).unwrap_err();
            assert_eq!(said, Error::AlertReceived(unexpected));
        }
    }
}

#[test]
fn a_warning_is_no_end() {
    for (mut one, mut other) in all() {
        let is_tls13 = one.ours.can_update();
        for (alert, goes_on) in [
            (AlertDescription::UserCanceled, true),
            (AlertDescription::NoRenegotiation, !is_tls13),
        ] {
            let bytes = sealed(&mut one, ContentType::Alert, &[WARNING, alert.into()]);
            match heard(&mut other, &bytes) {
                Ok(said) => assert_eq!(said, (Vec::new(), Incoming::Open)),
                Err(error) => {
                    assert_eq!(error, Error::AlertReceived(alert));
                    assert!(!goes_on, "{alert:?}");
                    continue;
                }
            }
            assert!(goes_on, "{alert:?}");
            let answer = sent(&mut other, b"answer");
            assert_eq!(heard(&mut one, &answer).unwrap().0, b"answer");
        }
    }
}

/// RFC 8446, 5.2 and 5.4.
#[test]
fn padding_has_a_limit_and_something_in_front_of_it() {
    for (mut one, mut other) in all().filter(|(one, _)| one.ours.can_update()) {
        for (count, alert) in [
            (1, AlertDescription::UnexpectedMessage),
            (MAX_PLAIN + 1, AlertDescription::UnexpectedMessage),
            (MAX_PLAIN + 2, AlertDescription::RecordOverflow),
        ] {
            let (mut one, mut other) = (one.clone(), other.clone());
            one.ours.seal_zeros(count, &mut one.outgoing);
            let zeros = sent(&mut one, &[]);
            heard(&mut other, &zeros).unwrap_err();
            let said = heard(&mut one, &sent(&mut other, &[])).unwrap_err();
            assert_eq!(said, Error::AlertReceived(alert), "{count}");
        }
        let most = vec![1; MAX_PLAIN];
        let bytes = sent(&mut one, &most);
        assert!(heard(&mut other, &bytes).unwrap().0 == most);
    }
}

#[test]
fn no_key_is_asked_for_or_given_after_the_end() {
    for (mut one, mut other) in all().filter(|(one, _)| one.ours.can_update()) {
        let update = [&KEY_UPDATE[..], &[REQUESTED]].concat();
        let first = sealed(&mut one, ContentType::Handshake, &update);
        one.ours.update();
        let second = sealed(&mut one, ContentType::Handshake, &update);
        heard(&mut other, &first).unwrap();
        other.end();
        heard(&mut other, &second).unwrap();
        let ended = (Vec::new(), Incoming::Ended);
        assert_eq!(heard(&mut one, &sent(&mut other, &[])).unwrap(), ended);
    }
}

#[test]
fn nothing_is_shown_of_the_keys() {
    for (one, _) in all() {
        assert_eq!(format!("{one:?}"), "Records { .. }");
    }
}
