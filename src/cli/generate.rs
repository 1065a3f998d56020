//! `gearpool completions` and `gearpool man`: what packagers and shells take from the command line's own definition.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::{Cli, Failure, terminal};

/// Print the completions of a shell
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gearpool completions bash > /etc/bash_completion.d/gearpool
  gearpool completions zsh > \"${fpath[1]}/_gearpool\"
  gearpool completions fish > ~/.config/fish/completions/gearpool.fish")]
pub struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

/// Print the manual page, or write one a command into a folder
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  gearpool man | man -l -
  gearpool man /usr/local/share/man/man1")]
pub struct ManArgs {
    /// The folder, which must be there; without it, gearpool(1) goes to standard output
    #[arg(value_name = "DIR")]
    dir: Option<PathBuf>,
}

impl CompletionsArgs {
    /// Prints them.
    ///
    /// # Errors
    /// An output that cannot be written to.
    pub(super) fn run(self) -> Result<u8, Failure> {
        // Into memory first: the generator panics when its writer fails, as a closed pipe does.
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Cli::command(), "gearpool", &mut script);
        terminal::print(&String::from_utf8_lossy(&script))?;
        Ok(0)
    }
}

impl ManArgs {
    /// Prints or writes them.
    ///
    /// # Errors
    /// An output or a folder that cannot be written to.
    pub(super) fn run(self) -> Result<u8, Failure> {
        if let Some(dir) = self.dir {
            let context = || format!("cannot write the pages into {}", dir.display());
            clap_mangen::generate_to(Cli::command(), &dir).with_context(context)?;
        } else {
            let mut page = Vec::new();
            let man = clap_mangen::Man::new(Cli::command());
            man.render(&mut page).context("cannot write the page")?;
            terminal::print(&String::from_utf8_lossy(&page))?;
        }
        Ok(0)
    }
}
