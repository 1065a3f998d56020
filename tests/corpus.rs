//! The strings of bytes that `fuzz/` has kept, each of which reached something that no other did: none may break a check.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "support/driven.rs"]
mod driven;

use std::path::Path;

use proptest::prelude::*;

/// Tries all strings of a target, and says which one broke a check.
fn replay(target: &str, drive: fn(&[u8])) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("fuzz/corpus")
        .join(target);
    let mut tried = 0;
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        let bytes = std::fs::read(&path).unwrap();
        let outcome = std::panic::catch_unwind(|| drive(&bytes));
        assert!(outcome.is_ok(), "{} breaks a check", path.display());
        tried += 1;
    }
    assert!(tried > 20, "{tried} strings are not a corpus");
}

#[test]
fn frames() {
    replay("decode", driven::frames);
}

#[test]
fn the_job_server() {
    replay("server", driven::server);
}

#[test]
fn the_configuration() {
    replay("config", driven::config);
}

proptest! {
    // what it finds becomes a test with a name, so no file of seeds is kept
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    /// Bytes that nobody has chosen, for those who cannot run `fuzz/`. `PROPTEST_CASES=100000` tries more.
    #[test]
    fn any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        driven::frames(&bytes);
        driven::server(&bytes);
        driven::config(&bytes);
    }
}
