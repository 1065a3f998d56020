//! The transcripts of `tests/wire/*.txt`: what is said on the wire, run against the pure job server, through every split of the
//! bytes, and against a real server. `tests/wire/script.rs` describes the language.

#[path = "wire/memory.rs"]
mod memory;
#[path = "wire/script.rs"]
mod script;
#[path = "wire/tcp.rs"]
mod tcp;
#[path = "wire/world.rs"]
mod world;

use std::path::Path;

use memory::{Memory, Split};
use script::{Case, Only};
use tcp::{Cut, Program, Tcp};

/// Segments longer than this are not tried at every split: their length is what they are about.
const SHORT: usize = 80;

#[test]
fn in_memory() {
    check(Only::Memory, |file, case| {
        in_memory_split(file, case, Split::Whole)
    });
}

#[test]
fn in_memory_byte_by_byte() {
    check(Only::Memory, |file, case| {
        in_memory_split(file, case, Split::EachByte)
    });
}

#[test]
fn in_memory_split_anywhere() {
    check(Only::Memory, |file, case| {
        (1..SHORT).try_for_each(|at| in_memory_split(file, case, Split::At(at)))
    });
}

#[test]
fn over_tcp() {
    check_over_tcp(Cut::Whole);
}

/// `GEARPOOL_TEST_CUTS=N` cuts the bytes of all transcripts in N ways.
#[test]
fn over_tcp_cut_anywhere() {
    let ways = std::env::var("GEARPOOL_TEST_CUTS").map_or(1, |ways| {
        ways.parse().expect("GEARPOOL_TEST_CUTS is a number")
    });
    for seed in 0..ways {
        check_over_tcp(Cut::Anywhere { seed });
    }
}

fn check_over_tcp(cut: Cut) {
    let program = Program::chosen();
    check(Only::Tcp, |file, case| {
        if program == Program::Gearmand && case.not_gearmand.is_some() {
            return Ok(());
        }
        world::run(file, case, &mut Tcp::start(program, case, cut))
            .map_err(|why| format!("{why} ({cut:?})"))
    });
}

fn in_memory_split(file: &str, case: &Case, split: Split) -> Result<(), String> {
    let mut memory = Memory::new(case, split);
    world::run(file, case, &mut memory).map_err(|why| format!("{why} (segments: {split:?})"))?;
    match memory.unclaimed() {
        0 => Ok(()),
        more => Err(format!(
            "{file}:{} ({}): {more} connections were said to be parked unasked",
            case.line, case.name
        )),
    }
}

/// Runs every case that belongs there, and names all that went wrong.
fn check(place: Only, run: impl Fn(&str, &Case) -> Result<(), String>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/wire");
    let mut files: Vec<_> = std::fs::read_dir(folder)
        .expect("the transcripts")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "txt"))
        .collect();
    files.sort();
    let (mut count, mut wrong) = (0, Vec::new());
    for path in files {
        let file = path.file_name().expect("a name").to_string_lossy();
        let text = std::fs::read_to_string(&path).expect("a transcript");
        for case in Case::parse(&file, &text) {
            if world::belongs(&case, place) {
                count += 1;
                wrong.extend(run(&file, &case).err());
            }
        }
    }
    assert!(count > 0, "there are no transcripts");
    assert!(
        wrong.is_empty(),
        "{} of {count} transcripts went otherwise:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
}
