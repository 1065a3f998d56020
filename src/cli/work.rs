//! `gearpool work`: a worker of any Gearman server with no library: each job runs a command.
//!
//! It is also what a pool's `run:` executes. All of it happens on the main thread, because the kernel ties the children's lives to
//! the thread that starts them.

mod program;
mod session;

use std::ffi::OsString;
use std::sync::Arc;

use anyhow::Context;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::{Mutex, watch};
use tokio::task::JoinSet;

use self::program::Program;
use self::session::Worker;
use super::Failure;
use super::servers::Servers;

/// Work on jobs: each runs a command with the workload on standard input
///
/// What the command prints is the job's result. An exit status other than 0 fails the job, after sending what was printed. Its
/// standard error goes to ours. GEARMAN_JOB_HANDLE, GEARMAN_JOB_FUNCTION and GEARMAN_JOB_UNIQUE are in its environment.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    after_help = "Exit status: 0 when it was told to stop or -n jobs are done, 1 when it failed, 2 for a wrong command line or a missing command.",
    after_long_help = "\
Examples:
  gearpool work -f wc -- wc -c
  gearpool work -f resize -- convert - -resize 200x200 -
  gearpool work -f thumb -f poster -- ./image.sh
                                        two functions; $GEARMAN_JOB_FUNCTION says which
  gearpool work -f upper --shell -- 'tr a-z A-Z | tee -a seen.log'
  gearpool work -h web1,web2 -f fetchURL -- php fetch-one.php
                                        jobs of two servers, one at a time

A worker does one job at a time. `gearpool serve` starts as many as there is work for.

SIGTERM or SIGINT (Ctrl-C): an idle worker ends at once, a busy one finishes its job.
A second one kills the command, and the server gives the job to another worker.

Exit status:
  0  told to stop, by a signal or by its server, or the jobs of -n are done
  1  the server refused the worker, the command could not be started, or it was killed
  2  the command line is wrong, or there is no such command"
)]
pub struct WorkArgs {
    /// A function's name; may be given more than once
    #[arg(short, long = "function", value_name = "NAME", required = true)]
    functions: Vec<String>,

    /// End after this many jobs
    #[arg(
        short = 'n',
        long,
        short_alias = 'c',
        value_name = "JOBS",
        value_parser = clap::value_parser!(u64).range(1..)
    )]
    count: Option<u64>,

    /// Give the command to /bin/sh, so that pipes and variables work
    #[arg(long)]
    shell: bool,

    #[command(flatten)]
    servers: Servers,

    /// The command that each job runs, after `--`
    #[arg(value_name = "COMMAND", required = true, last = true)]
    command: Vec<OsString>,
}

/// How far the worker has been told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stop {
    /// It works.
    No,
    /// It finishes the job in hand.
    AfterJob,
    /// It kills the job in hand.
    Now,
}

impl WorkArgs {
    /// Works until it is told to stop, and returns the exit code.
    ///
    /// # Errors
    /// A [`Failure`].
    pub fn run(self) -> Result<u8, Failure> {
        let addresses = self.servers.addresses()?;
        let tls = self.servers.tls(&addresses)?;
        if self.functions.iter().any(String::is_empty) {
            return Err(Failure::Usage("a function has an empty name".into()));
        }
        let program = if self.shell {
            Program::shell(&self.command)
        } else {
            Program::find(&self.command).map_err(Failure::Usage)?
        };
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop")?;
        runtime.block_on(async {
            let (stop, stopped) = watch::channel(Stop::No);
            let stop = Arc::new(stop);
            let terminate = signal(SignalKind::terminate()).context("cannot listen to SIGTERM")?;
            let interrupt = signal(SignalKind::interrupt()).context("cannot listen to SIGINT")?;
            tokio::spawn(listen(terminate, interrupt, Arc::clone(&stop)));
            let worker = Arc::new(Worker {
                functions: self.functions,
                tls,
                program,
                hands: Mutex::new(self.count),
                stop: Arc::clone(&stop),
            });
            let mut sessions = JoinSet::new();
            for address in addresses {
                let worker = Arc::clone(&worker);
                let stopped = stopped.clone();
                sessions.spawn(async move { worker.serve(&address, stopped).await });
            }
            let mut result = Ok(0);
            while let Some(ended) = sessions.join_next().await {
                if let Err(error) = ended
                    .context("a session has broken off")
                    .and_then(|end| end)
                {
                    // what one server refuses to us is for a person to see to, not to be half worked around
                    stop.send_if_modified(|stop| raise(stop, Stop::AfterJob));
                    result = result.and(Err(Failure::Failed(error)));
                }
            }
            result
        })
    }
}

fn raise(stop: &mut Stop, to: Stop) -> bool {
    let raised = *stop < to;
    *stop = to.max(*stop);
    raised
}

/// The first signal lets the job in hand finish, the second does not.
async fn listen(mut terminate: Signal, mut interrupt: Signal, stop: Arc<watch::Sender<Stop>>) {
    let mut to = Stop::AfterJob;
    loop {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.send_if_modified(|stop| raise(stop, to));
        to = Stop::Now;
    }
}
