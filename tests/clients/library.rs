//! The Gearman libraries that the tests speak through, each by the same five functions and the same command line.

use std::path::{Path, PathBuf};
use std::process::Command;

/// A library, or a tool, that is both client and worker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Library {
    /// pecl gearman, on libgearman.
    Php,
    /// Gearman::Client and Gearman::Worker.
    Perl,
    /// `gear`.
    Gear,
    /// `gearman3`.
    Gearman3,
    /// npm's `gearman`.
    Node,
    /// The `gearman` tool, on libgearman.
    Tool,
}

/// Every one of them.
pub(crate) const ALL: [Library; 6] = [
    Library::Php,
    Library::Perl,
    Library::Gear,
    Library::Gearman3,
    Library::Node,
    Library::Tool,
];

impl Library {
    /// Its worker: `reverse`, `fail`, `progress`, `sleep`, and `exception` where it has those.
    pub(crate) fn worker(self) -> Command {
        match self {
            Library::Php => script("php", "examples/php/worker.php"),
            Library::Perl => script("perl", "examples/perl/worker.pl"),
            Library::Gear => python("examples/python/worker.py"),
            Library::Gearman3 => python("tests/clients/gearman3/worker.py"),
            Library::Node => node("examples/node/worker.js"),
            Library::Tool => script("sh", "examples/shell/worker.sh"),
        }
    }

    /// Its client: `[-b] [-u UNIQUE] FUNCTION`, with the workload on standard input.
    pub(crate) fn client(self) -> Command {
        match self {
            Library::Php => script("php", "examples/php/client.php"),
            Library::Perl => script("perl", "examples/perl/client.pl"),
            Library::Gear => python("examples/python/client.py"),
            Library::Gearman3 => python("tests/clients/gearman3/client.py"),
            Library::Node => node("examples/node/client.js"),
            Library::Tool => script("sh", "examples/shell/client.sh"),
        }
    }

    /// Whether its client can send an empty workload: pecl gearman refuses to.
    pub(crate) fn sends_empty(self) -> bool {
        self != Library::Php
    }

    /// Whether its worker can raise an exception.
    pub(crate) fn raises(self) -> bool {
        self != Library::Tool
    }

    /// Whether its client asks for exceptions, and shows what they say. The others see a failure.
    pub(crate) fn shows_exceptions(self) -> bool {
        !matches!(self, Library::Gearman3 | Library::Tool)
    }

    /// Whether its worker can say how far it is.
    pub(crate) fn reports_progress(self) -> bool {
        self != Library::Tool
    }
}

fn script(interpreter: &str, path: &str) -> Command {
    let mut command = Command::new(interpreter);
    command.arg(root().join(path));
    command
}

fn python(path: &str) -> Command {
    let python = root().join(".tests/venv/bin/python");
    script(installed(&python), path)
}

fn node(path: &str) -> Command {
    let modules = root().join(".tests/node/node_modules");
    let mut command = script("node", path);
    command.env("NODE_PATH", installed(&modules));
    command
}

fn installed(path: &Path) -> &str {
    assert!(
        path.exists(),
        "{} is missing: tests/run installs it",
        path.display()
    );
    path.to_str().unwrap()
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}
