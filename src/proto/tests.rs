//! Properties of the wire: what is written is read back, and nothing that a peer sends can do harm.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::admin::Admin;
use super::frame::{HEADER, MAX_BODY, MAX_LINE, decode, decode_within};
use super::request::{Grab, Mode, Priority, Request, RequestError, Schedule};
use super::response::{Response, ResponseError};
use super::{Decoded, Frame, FrameError, Kind, Magic};

/// The packets that clients and workers send, with their arguments in the order of the protocol document.
/// Kept apart from `parse` and `encode`, so that a mistake in both does not cancel out.
fn request<'a>(kind: Kind, a: &'a [Vec<u8>]) -> Option<Request<'a>> {
    let submit = |priority, mode| Request::SubmitJob {
        priority,
        mode,
        function: &a[0],
        unique: &a[1],
        workload: &a[2],
    };
    let reduce = |mode| Request::SubmitReduceJob {
        mode,
        function: &a[0],
        unique: &a[1],
        reducer: &a[2],
        workload: &a[4],
    };
    Some(match kind {
        Kind::CanDo => Request::CanDo { function: &a[0] },
        Kind::CanDoTimeout => Request::CanDoTimeout {
            function: &a[0],
            timeout: &a[1],
        },
        Kind::CantDo => Request::CantDo { function: &a[0] },
        Kind::ResetAbilities => Request::ResetAbilities,
        Kind::PreSleep => Request::PreSleep,
        Kind::GrabJob => Request::GrabJob(Grab::Plain),
        Kind::GrabJobUniq => Request::GrabJob(Grab::Uniq),
        Kind::GrabJobAll => Request::GrabJob(Grab::All),
        Kind::SubmitJob => submit(Priority::Normal, Mode::Foreground),
        Kind::SubmitJobHigh => submit(Priority::High, Mode::Foreground),
        Kind::SubmitJobLow => submit(Priority::Low, Mode::Foreground),
        Kind::SubmitJobBg => submit(Priority::Normal, Mode::Background),
        Kind::SubmitJobHighBg => submit(Priority::High, Mode::Background),
        Kind::SubmitJobLowBg => submit(Priority::Low, Mode::Background),
        Kind::SubmitReduceJob => reduce(Mode::Foreground),
        Kind::SubmitReduceJobBackground => reduce(Mode::Background),
        Kind::SubmitJobEpoch => Request::SubmitJobEpoch {
            function: &a[0],
            unique: &a[1],
            epoch: &a[2],
            workload: &a[3],
        },
        Kind::SubmitJobSched => Request::SubmitJobSched {
            function: &a[0],
            unique: &a[1],
            schedule: Schedule {
                minute: &a[2],
                hour: &a[3],
                day_of_month: &a[4],
                month: &a[5],
                day_of_week: &a[6],
            },
            workload: &a[7],
        },
        Kind::WorkStatus => Request::WorkStatus {
            handle: &a[0],
            numerator: &a[1],
            denominator: &a[2],
        },
        Kind::WorkData => Request::WorkData {
            handle: &a[0],
            data: &a[1],
        },
        Kind::WorkWarning => Request::WorkWarning {
            handle: &a[0],
            data: &a[1],
        },
        Kind::WorkComplete => Request::WorkComplete {
            handle: &a[0],
            data: &a[1],
        },
        Kind::WorkException => Request::WorkException {
            handle: &a[0],
            data: &a[1],
        },
        Kind::WorkFail => Request::WorkFail { handle: &a[0] },
        Kind::GetStatus => Request::GetStatus { handle: &a[0] },
        Kind::GetStatusUnique => Request::GetStatusUnique { unique: &a[0] },
        Kind::EchoReq => Request::EchoReq { data: &a[0] },
        Kind::OptionReq => Request::OptionReq { option: &a[0] },
        Kind::SetClientId => Request::SetClientId { id: &a[0] },
        Kind::AllYours => Request::AllYours,
        Kind::Noop
        | Kind::JobCreated
        | Kind::NoJob
        | Kind::JobAssign
        | Kind::JobAssignUniq
        | Kind::JobAssignAll
        | Kind::EchoRes
        | Kind::Error
        | Kind::StatusRes
        | Kind::StatusResUnique
        | Kind::OptionRes => return None,
    })
}

/// The packets that a server sends, likewise; `n` are the numbers of the status packets.
fn response<'a>(kind: Kind, a: &'a [Vec<u8>], n: &[u64; 5]) -> Option<Response<'a>> {
    Some(match kind {
        Kind::Noop => Response::Noop,
        Kind::NoJob => Response::NoJob,
        Kind::JobCreated => Response::JobCreated { handle: &a[0] },
        Kind::JobAssign => Response::JobAssign {
            handle: &a[0],
            function: &a[1],
            workload: &a[2],
        },
        Kind::JobAssignUniq => Response::JobAssignUniq {
            handle: &a[0],
            function: &a[1],
            unique: &a[2],
            workload: &a[3],
        },
        Kind::JobAssignAll => Response::JobAssignAll {
            handle: &a[0],
            function: &a[1],
            unique: &a[2],
            reducer: &a[3],
            workload: &a[4],
        },
        Kind::WorkStatus => Response::WorkStatus {
            handle: &a[0],
            numerator: &a[1],
            denominator: &a[2],
        },
        Kind::WorkData => Response::WorkData {
            handle: &a[0],
            data: &a[1],
        },
        Kind::WorkWarning => Response::WorkWarning {
            handle: &a[0],
            data: &a[1],
        },
        Kind::WorkComplete => Response::WorkComplete {
            handle: &a[0],
            data: &a[1],
        },
        Kind::WorkException => Response::WorkException {
            handle: &a[0],
            data: &a[1],
        },
        Kind::WorkFail => Response::WorkFail { handle: &a[0] },
        Kind::StatusRes => Response::StatusRes {
            handle: &a[0],
            known: n[0] == 1,
            running: n[1] == 1,
            numerator: n[2],
            denominator: n[3],
        },
        Kind::StatusResUnique => Response::StatusResUnique {
            unique: &a[0],
            known: n[0] == 1,
            running: n[1] == 1,
            numerator: n[2],
            denominator: n[3],
            clients: n[4],
        },
        Kind::EchoRes => Response::EchoRes { data: &a[0] },
        Kind::OptionRes => Response::OptionRes { option: &a[0] },
        Kind::Error => Response::Error {
            code: &a[0],
            text: &a[1],
        },
        Kind::CanDo
        | Kind::CanDoTimeout
        | Kind::CantDo
        | Kind::ResetAbilities
        | Kind::PreSleep
        | Kind::GrabJob
        | Kind::GrabJobUniq
        | Kind::GrabJobAll
        | Kind::SubmitJob
        | Kind::SubmitJobHigh
        | Kind::SubmitJobLow
        | Kind::SubmitJobBg
        | Kind::SubmitJobHighBg
        | Kind::SubmitJobLowBg
        | Kind::SubmitReduceJob
        | Kind::SubmitReduceJobBackground
        | Kind::SubmitJobEpoch
        | Kind::SubmitJobSched
        | Kind::GetStatus
        | Kind::GetStatusUnique
        | Kind::EchoReq
        | Kind::OptionReq
        | Kind::SetClientId
        | Kind::AllYours => return None,
    })
}

/// Whether the last argument is whatever is left of the body. A handle is not: what follows its NUL is a stray.
fn last_takes_nuls(kind: Kind) -> bool {
    !matches!(
        kind,
        Kind::WorkFail
            | Kind::GetStatus
            | Kind::GetStatusUnique
            | Kind::StatusRes
            | Kind::StatusResUnique
    )
}

/// As many arguments as the type has, the last one with NULs where it may hold them.
fn arguments(kind: Kind) -> BoxedStrategy<Vec<Vec<u8>>> {
    let count = kind.arguments();
    let plain = vec(vec(1..=u8::MAX, 0..12), count);
    let last = vec(any::<u8>(), 0..40);
    (plain, last)
        .prop_map(move |(mut arguments, last)| {
            if let Some(end) = arguments.last_mut()
                && last_takes_nuls(kind)
            {
                *end = last;
            }
            if matches!(
                kind,
                Kind::SubmitReduceJob | Kind::SubmitReduceJobBackground
            ) {
                arguments[3].clear();
            }
            arguments
        })
        .boxed()
}

fn kind_and_arguments() -> impl Strategy<Value = (Kind, Vec<Vec<u8>>)> {
    select(Kind::ALL).prop_flat_map(|kind| (Just(kind), arguments(kind)))
}

/// The numbers of the status packets: two that are 0 or 1, three of any size.
fn numbers() -> impl Strategy<Value = [u64; 5]> {
    (0..2u64, 0..2u64, any::<[u64; 3]>())
        .prop_map(|(known, running, [a, b, c])| [known, running, a, b, c])
}

/// The packet as the protocol document would have it, written without the encoder.
fn raw(magic: Magic, kind: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = magic.bytes().to_vec();
    bytes.extend_from_slice(&kind.to_be_bytes());
    bytes.extend_from_slice(&(body.len() as u32).to_be_bytes());
    bytes.extend_from_slice(body);
    bytes
}

/// A frame that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Seen {
    Packet(Magic, u32, Vec<u8>),
    Text(Vec<u8>),
    Hopeless(FrameError),
}

impl From<Frame<'_>> for Seen {
    fn from(frame: Frame<'_>) -> Seen {
        match frame {
            Frame::Packet { magic, kind, body } => Seen::Packet(magic, kind, body.to_vec()),
            Frame::Text(line) => Seen::Text(line.to_vec()),
        }
    }
}

/// Feeds `pieces` to the decoder as a connection does, and lists what it saw until the stream ended or became hopeless.
/// Checks on the way that a frame takes at least one byte and no more than are there, and that the decoder never asks for
/// more than a frame can have.
fn follow<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> Vec<Seen> {
    let (mut buffer, mut seen) = (Vec::new(), Vec::new());
    for piece in pieces {
        buffer.extend_from_slice(piece);
        loop {
            match decode(&buffer) {
                Ok(Decoded::Frame(frame, taken)) => {
                    assert!(
                        taken > 0 && taken <= buffer.len(),
                        "{taken} of {}",
                        buffer.len()
                    );
                    seen.push(frame.into());
                    buffer.drain(..taken);
                }
                Ok(Decoded::Incomplete(needed)) => {
                    assert!(needed > buffer.len(), "{needed} of {}", buffer.len());
                    assert!(needed <= HEADER + MAX_BODY);
                    break;
                }
                Err(error) => {
                    seen.push(Seen::Hopeless(error));
                    return seen;
                }
            }
        }
    }
    seen
}

/// Cuts `bytes` at `cuts`, some of which may fall together.
fn pieces<'a>(bytes: &'a [u8], cuts: &[Index]) -> Vec<&'a [u8]> {
    let mut at: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len() + 1)).collect();
    at.extend([0, bytes.len()]);
    at.sort_unstable();
    at.windows(2).map(|pair| &bytes[pair[0]..pair[1]]).collect()
}

/// What admin lines are made of.
const ADMIN_WORDS: [&str; 16] = [
    "status", "workers", "show", "unique", "jobs", "cancel", "job", "create", "drop", "function",
    "maxqueue", "shutdown", "graceful", "version", "7", "-1",
];

/// Whole packets of any type and lines of text, as they come on one connection.
fn stream() -> impl Strategy<Value = (Vec<u8>, Vec<Seen>)> {
    let packet = (
        select(&[Magic::Request, Magic::Response][..]),
        prop_oneof![0..45u32, any::<u32>()],
        vec(any::<u8>(), 0..60),
    )
        .prop_map(|(magic, kind, body)| {
            let bytes = raw(magic, kind, &body);
            (bytes, Seen::Packet(magic, kind, body))
        });
    let text = ("[!-~][ -~]{0,40}", select(&["\n", "\r\n"][..])).prop_map(|(line, end)| {
        (
            format!("{line}{end}").into_bytes(),
            Seen::Text(line.into_bytes()),
        )
    });
    vec(prop_oneof![3 => packet, 1 => text], 0..8).prop_map(|frames| {
        let (bytes, seen): (Vec<_>, Vec<_>) = frames.into_iter().unzip();
        (bytes.concat(), seen)
    })
}

proptest! {
    #[test]
    fn every_request_comes_back((kind, arguments) in kind_and_arguments()) {
        let mut out = b"kept".to_vec();
        match request(kind, &arguments) {
            Some(request) => {
                prop_assert_eq!(request.kind(), kind);
                let body = arguments.join(&0);
                request.encode(&mut out);
                prop_assert_eq!(&out[4..], &raw(Magic::Request, kind as u32, &body)[..]);
                prop_assert_eq!(Request::parse(kind as u32, &body), Ok(request));
            }
            None => {
                let body = arguments.join(&0);
                prop_assert_eq!(Request::parse(kind as u32, &body), Err(RequestError::NotExpected));
            }
        }
    }

    #[test]
    fn every_response_comes_back((kind, arguments) in kind_and_arguments(), n in numbers()) {
        let mut out = b"kept".to_vec();
        match response(kind, &arguments, &n) {
            Some(response) => {
                prop_assert_eq!(response.kind(), kind);
                let body = match kind {
                    Kind::StatusRes | Kind::StatusResUnique => {
                        let mut fields = vec![arguments[0].clone()];
                        fields.extend(n.iter().map(|number| number.to_string().into_bytes()));
                        fields.truncate(kind.arguments());
                        fields.join(&0)
                    }
                    _ => arguments.join(&0),
                };
                response.encode(&mut out);
                prop_assert_eq!(&out[4..], &raw(Magic::Response, kind as u32, &body)[..]);
                prop_assert_eq!(Response::parse(kind as u32, &body), Ok(response));
            }
            None => {
                let body = arguments.join(&0);
                let refused = ResponseError::NotAResponse(kind as u32);
                prop_assert_eq!(Response::parse(kind as u32, &body), Err(refused));
            }
        }
    }

    #[test]
    fn any_split_gives_the_same_frames((bytes, sent) in stream(), cuts in vec(any::<Index>(), 0..12)) {
        prop_assert_eq!(&follow(pieces(&bytes, &cuts).into_iter()), &sent);
        prop_assert_eq!(&follow(bytes.chunks(1)), &sent);
    }

    #[test]
    fn any_split_of_a_stream_that_breaks_off_gives_the_same_frames(
        (mut bytes, _) in stream(),
        garbage in vec(any::<u8>(), 0..40),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        bytes.extend(garbage);
        let whole = follow(std::iter::once(&bytes[..]));
        prop_assert_eq!(&follow(pieces(&bytes, &cuts).into_iter()), &whole);
        prop_assert_eq!(&follow(bytes.chunks(1)), &whole);
    }

    /// Garbage that ends with a line end is lines, or the end of the stream; whole packets before it are read in any case, and those
    /// behind it if it was lines.
    #[test]
    fn garbage_hides_no_packet(
        (before, sent) in stream(),
        line in "[!-~][ -~]{0,200}",
        (after, also_sent) in stream(),
        cuts in vec(any::<Index>(), 0..12),
    ) {
        let bytes = [&before[..], line.as_bytes(), b"\n", &after].concat();
        let mut all = sent;
        all.push(Seen::Text(line.trim_end_matches('\r').as_bytes().to_vec()));
        all.extend(also_sent);
        prop_assert_eq!(&follow(pieces(&bytes, &cuts).into_iter()), &all);

        let hopeless = [&before[..], b"\0GARBAGE", &after].concat();
        let seen = follow(pieces(&hopeless, &cuts).into_iter());
        prop_assert_eq!(seen.last(), Some(&Seen::Hopeless(FrameError::Magic)));
        prop_assert_eq!(&seen[..seen.len() - 1], &follow(std::iter::once(&before[..])));
    }

    /// No line of text makes the reader of admin lines panic, and case and blanks mean nothing.
    #[test]
    fn a_line_means_the_same_in_any_case(line in vec(prop_oneof![3 => any::<u8>(), 1 => Just(b' ')], 0..80)) {
        let spaced = [b"  ", &line[..], b"  "].concat();
        prop_assert_eq!(Admin::parse(&spaced), Admin::parse(&line));
    }

    #[test]
    fn words_of_commands_in_any_case(words in vec(select(&ADMIN_WORDS[..]), 0..5)) {
        let line = words.join(" ");
        let shouted = line.to_ascii_uppercase();
        let (quiet, loud) = (Admin::parse(line.as_bytes()), Admin::parse(shouted.as_bytes()));
        prop_assert_eq!(std::mem::discriminant(&quiet), std::mem::discriminant(&loud), "{}", line);
    }

    #[test]
    fn garbage_is_survived(bytes in vec(prop_oneof![2 => any::<u8>(), 1 => Just(0), 1 => Just(b'\n')], 0..300)) {
        follow(std::iter::once(&bytes[..]));
        follow(bytes.chunks(7));
    }

    /// A header with any length makes the decoder neither panic nor ask for more than the limit.
    #[test]
    fn no_length_is_believed(kind in any::<u32>(), length in any::<u32>(), limit in 0..=MAX_BODY) {
        let mut header = raw(Magic::Request, kind, b"");
        header[8..].copy_from_slice(&length.to_be_bytes());
        let length = length as usize;
        match decode_within(&header, limit) {
            Ok(Decoded::Frame(Frame::Packet { body, .. }, taken)) => {
                prop_assert_eq!((length, body.len(), taken), (0, 0, HEADER));
            }
            Ok(Decoded::Incomplete(needed)) => {
                prop_assert!(length <= limit);
                prop_assert_eq!(needed, HEADER + length);
            }
            Err(FrameError::TooLarge(declared)) => {
                prop_assert!(length > limit);
                prop_assert_eq!(declared, length);
            }
            other => prop_assert!(false, "{other:?}"),
        }
    }

    /// Whatever parses can be written, and reads back the same: what a peer means does not change on its way through.
    #[test]
    fn any_body_is_refused_or_means_one_thing(
        kind in prop_oneof![4 => 0..45u32, 1 => any::<u32>()],
        body in vec(prop_oneof![2 => any::<u8>(), 1 => Just(0), 1 => b'0'..=b'9'], 0..60),
    ) {
        if let Ok(request) = Request::parse(kind, &body) {
            let mut out = Vec::new();
            request.encode(&mut out);
            prop_assert_eq!(Request::parse(kind, &out[HEADER..]), Ok(request));
        }
        if let Ok(response) = Response::parse(kind, &body) {
            let mut out = Vec::new();
            response.encode(&mut out);
            prop_assert_eq!(Response::parse(kind, &out[HEADER..]), Ok(response));
        }
    }
}

#[test]
fn a_line_ends_within_its_limit_however_it_comes() {
    let longest = [vec![b'a'; MAX_LINE - 1], b"\n".to_vec()].concat();
    let seen = vec![Seen::Text(vec![b'a'; MAX_LINE - 1])];
    assert_eq!(follow(std::iter::once(&longest[..])), seen);
    assert_eq!(follow(longest.chunks(1000)), seen);

    let longer = [vec![b'a'; MAX_LINE], b"\n".to_vec()].concat();
    let hopeless = vec![Seen::Hopeless(FrameError::LineTooLong)];
    assert_eq!(follow(std::iter::once(&longer[..])), hopeless);
    assert_eq!(follow(longer.chunks(1000)), hopeless);
}

#[test]
fn streams_that_are_not_gearman() {
    let hopeless = |bytes: &[u8]| match follow(std::iter::once(bytes)).pop() {
        Some(Seen::Hopeless(error)) => Some(error),
        _ => None,
    };
    let table: &[(&[u8], Option<FrameError>)] = &[
        // a browser on the port: lines, each answered or ignored
        (b"GET / HTTP/1.1\r\nHost: a\r\n\r\n", None),
        // a TLS client hello has no line end for a while, and its peer would wait as long
        (
            b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
            Some(FrameError::Tls),
        ),
        (b"\x16", None),
        (b"\0\0\0\0", Some(FrameError::Magic)),
        (b"\0RE", None),
        (b"\0REQ", None),
        (b"\0RES\xff\xff\xff\xff\0\0\0\0", None),
        (b"\0req\0\0\0\x01\0\0\0\0", Some(FrameError::Magic)),
        // the rest of a body whose length was too short
        (b"\0REQ\0\0\0\x10\0\0\0\x01ab\n\0X", Some(FrameError::Magic)),
        (
            b"\0REQ\0\0\0\x07\x04\0\0\x01",
            Some(FrameError::TooLarge(MAX_BODY + 1)),
        ),
        (
            b"\0REQ\0\0\0\x07\xff\xff\xff\xff",
            Some(FrameError::TooLarge(u32::MAX as usize)),
        ),
        // as much as the limit is waited for, not refused
        (b"\0REQ\0\0\0\x07\x04\0\0\0", None),
    ];
    for (bytes, expected) in table {
        assert_eq!(hopeless(bytes), *expected, "{}", bytes.escape_ascii());
    }
}

#[test]
fn requests_with_too_little_or_too_much() {
    let (handle, data): (&[u8], &[u8]) = (b"H:a:1", b"");
    let table: &[(Kind, &[u8], Result<Request<'_>, RequestError>)] = &[
        // Perl's library leaves the empty result out
        (
            Kind::WorkComplete,
            b"H:a:1",
            Ok(Request::WorkComplete { handle, data }),
        ),
        (
            Kind::WorkData,
            b"H:a:1",
            Ok(Request::WorkData { handle, data }),
        ),
        (
            Kind::WorkFail,
            b"H:a:1\0stray",
            Ok(Request::WorkFail { handle }),
        ),
        (
            Kind::GetStatus,
            b"H:a:1\0",
            Ok(Request::GetStatus { handle }),
        ),
        // abraxas forgets the name
        (Kind::CantDo, b"", Ok(Request::CantDo { function: b"" })),
        // npm's library sends the time in binary
        (
            Kind::CanDoTimeout,
            b"f\0\0\0\0\x05",
            Ok(Request::CanDoTimeout {
                function: b"f",
                timeout: b"\0\0\0\x05",
            }),
        ),
        (Kind::GrabJob, b"stray", Ok(Request::GrabJob(Grab::Plain))),
        // the document's three arguments before the workload
        (
            Kind::SubmitReduceJob,
            b"f\0u\0r\0work",
            Ok(Request::SubmitReduceJob {
                mode: Mode::Foreground,
                function: b"f",
                unique: b"u",
                reducer: b"r",
                workload: b"work",
            }),
        ),
        (
            Kind::SubmitJob,
            b"f\0u",
            Err(RequestError::MissingArguments(Kind::SubmitJob)),
        ),
        (
            Kind::SubmitJob,
            b"",
            Err(RequestError::MissingArguments(Kind::SubmitJob)),
        ),
        (
            Kind::SubmitReduceJob,
            b"f\0u\0r",
            Err(RequestError::MissingArguments(Kind::SubmitReduceJob)),
        ),
        (
            Kind::SubmitJobSched,
            b"f\0u\x001\x002\x003\x004\x005",
            Err(RequestError::MissingArguments(Kind::SubmitJobSched)),
        ),
        (
            Kind::WorkStatus,
            b"H:a:1\x001",
            Err(RequestError::MissingArguments(Kind::WorkStatus)),
        ),
    ];
    for (kind, body, expected) in table {
        assert_eq!(
            &Request::parse(*kind as u32, body),
            expected,
            "{kind:?} {}",
            body.escape_ascii()
        );
    }
    for number in [0, 5, 43, 255, u32::MAX] {
        assert_eq!(Request::parse(number, b""), Err(RequestError::NotExpected));
    }
}

#[test]
fn responses_that_are_damaged() {
    let table: &[(Kind, &[u8])] = &[
        (Kind::JobAssign, b"H:a:1\0f"),
        (Kind::JobAssignUniq, b"H:a:1\0f\0u"),
        (Kind::JobAssignAll, b"H:a:1\0f\0u\0r"),
        (Kind::WorkStatus, b"H:a:1\x001"),
        (Kind::StatusRes, b"H:a:1\x001\x001\x005"),
        (Kind::StatusRes, b"H:a:1\x001\x001\x005\0ten"),
        (Kind::StatusRes, b"H:a:1\x001\x001\x005\0\xff"),
        (Kind::StatusRes, b"H:a:1\x001\x001\0-1\x005"),
        (Kind::StatusResUnique, b"u\x001\x001\x005\x005"),
    ];
    for (kind, body) in table {
        assert_eq!(
            Response::parse(*kind as u32, body),
            Err(ResponseError::Damaged(*kind)),
            "{kind:?} {}",
            body.escape_ascii()
        );
    }
    for number in [0, 5, 7, 43, u32::MAX] {
        assert_eq!(
            Response::parse(number, b""),
            Err(ResponseError::NotAResponse(number))
        );
    }
}
