#![no_main]

#[path = "../../tests/support/driven.rs"]
#[expect(dead_code, reason = "each target drives one of them")]
mod driven;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| driven::frames(bytes));
