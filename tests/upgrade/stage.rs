//! A daemon whose program is a file of its own, which can be replaced.

use std::fs;
use std::io::{Read, Write};
use std::ops::Deref;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use gearpool::proto::{Decoded, Frame, Kind, Request, decode};

use crate::support::{Daemon, Ended, Home};

/// The daemon.
pub(crate) struct Stage(pub(crate) Daemon);

impl Deref for Stage {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}

impl Stage {
    pub(crate) fn start(file: &str) -> Stage {
        Stage::start_with(file, &[])
    }

    /// With more words on its command line.
    pub(crate) fn start_with(file: &str, words: &[&str]) -> Stage {
        let home = Home::new(file);
        fs::create_dir(home.path("logs")).unwrap();
        install(&home);
        let mut as_ever = home.serve(&["-L", "127.0.0.1", "-p", "0"]);
        as_ever.args(words);
        // by a path that begins in its folder, as it may be started by hand
        let mut command = Command::new("./gearpool");
        command.args(as_ever.get_args());
        for (name, value) in as_ever.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(as_ever.get_current_dir().unwrap());
        Stage(Daemon::start_as(home, command))
    }

    /// A new file in the program's place, as a package manager puts it there, and then the order.
    pub(crate) fn upgrade(&self) {
        install(&self.home);
        let pid = self.pid();
        let count = self.upgrades();
        let ended = self.run(&["upgrade"]);
        assert_eq!(ended.code, 0, "{ended:?}");
        assert!(
            ended.out.contains(&format!("pid {pid} as before")),
            "{ended:?}"
        );
        assert_eq!(self.upgrades(), count + 1);
    }

    /// `gearpool upgrade` with something else in the program's place, which is to be refused.
    pub(crate) fn refused_with(&self, program: &[u8], mode: u32) -> Ended {
        put(&self.home, program, mode);
        let count = self.upgrades();
        let ended = self.run(&["upgrade"]);
        assert_eq!(ended.code, 1, "{ended:?}");
        assert_eq!(self.upgrades(), count);
        ended
    }

    pub(crate) fn upgrades(&self) -> u64 {
        let upgrade = self.status().server.upgrade;
        upgrade.map_or(0, |upgrade| upgrade.count)
    }
}

fn install(home: &Home) {
    let new = home.path("gearpool.new");
    copy(env!("CARGO_BIN_EXE_gearpool").as_ref(), &new);
    fs::rename(new, home.path("gearpool")).unwrap();
}

fn put(home: &Home, program: &[u8], mode: u32) {
    let (bytes, new) = (home.path("bytes"), home.path("gearpool.new"));
    fs::write(&bytes, program).unwrap();
    copy(&bytes, &new);
    fs::set_permissions(&new, fs::Permissions::from_mode(mode)).unwrap();
    fs::rename(new, home.path("gearpool")).unwrap();
}

/// By a process of its own: a file that is open for writing here could be so in a child that another test starts meanwhile, and then
/// it cannot be executed.
fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg(from).arg(to).status().unwrap();
    assert!(copied.success(), "cp {from:?} {to:?}");
}

pub(crate) fn encoded(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    bytes
}

pub(crate) fn send(stream: &mut impl Write, request: &Request<'_>) {
    stream.write_all(&encoded(request)).unwrap();
}

/// The next packet's kind and body.
pub(crate) fn receive(stream: &mut impl Read) -> (Kind, Vec<u8>) {
    let mut bytes = vec![0; 12];
    stream.read_exact(&mut bytes).unwrap();
    if let Ok(Decoded::Incomplete(need)) = decode(&bytes) {
        let have = bytes.len();
        bytes.resize(need, 0);
        stream.read_exact(&mut bytes[have..]).unwrap();
    }
    match decode(&bytes) {
        Ok(Decoded::Frame(Frame::Packet { kind, body, .. }, _)) => {
            (Kind::from_number(kind).unwrap(), body.to_vec())
        }
        other => panic!("{other:?}"),
    }
}
