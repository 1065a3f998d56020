//! One server of a worker: connect, register, grab, sleep, and connect again when the connection is lost.

use std::env;
use std::pin::pin;
use std::process::{self, ExitStatus};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, anyhow};
use rustls::ClientConfig;
use tokio::sync::{Mutex, watch};
use tokio::time::{sleep, timeout};

use super::program::{Job, MAX_OUTPUT, Outcome, Program};
use super::{Stop, raise};
use crate::cli::terminal::say;
use crate::client::{Connection, ConnectionError};
use crate::config::Address;
use crate::proto::{Grab, Request, Response};

/// The wait before the first new attempt to connect; it doubles with each.
const FIRST_WAIT: Duration = Duration::from_millis(100);

/// The longest wait before an attempt to connect.
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// How long a worker that was told to stop waits for a server's answer.
const LAST_ANSWER: Duration = Duration::from_secs(1);

/// How long after its command a pool's signal may reach the worker itself.
const SAME_SIGNAL: Duration = Duration::from_millis(200);

/// What all sessions share.
#[derive(Debug)]
pub(super) struct Worker {
    pub(super) functions: Vec<String>,
    /// What TLS takes, for the servers that want it.
    pub(super) tls: Option<Arc<ClientConfig>>,
    pub(super) program: Program,
    /// Held from the question for a job to its end: one job at a time, whichever server has it. How many may still be done.
    pub(super) hands: Mutex<Option<u64>>,
    pub(super) stop: Arc<watch::Sender<Stop>>,
}

/// Why a connection came to its end.
#[derive(Debug, thiserror::Error)]
enum Broken {
    /// It is to be connected again.
    #[error("{0}")]
    Lost(#[from] ConnectionError),
    /// The worker ends.
    #[error("{0:#}")]
    Fatal(#[from] anyhow::Error),
}

/// What a server says to a worker that asks for a job.
#[derive(Debug)]
enum Answer {
    Job(Job),
    NoJob,
    /// No more jobs for this worker: its pool gets smaller, or the server ends.
    Drained,
    /// None, and the worker has been told to stop.
    Stopped,
}

/// One server, and how far the worker has been told to stop.
struct Session<'a> {
    worker: &'a Worker,
    stopped: watch::Receiver<Stop>,
    wait: Duration,
}

impl Worker {
    /// Works for the server at `address` until it is told to stop, by a signal or by the server.
    pub(super) async fn serve(
        &self,
        address: &Address,
        stopped: watch::Receiver<Stop>,
    ) -> anyhow::Result<()> {
        let mut session = Session {
            worker: self,
            stopped,
            wait: FIRST_WAIT,
        };
        let mut said = false;
        loop {
            let mut stopped = session.stopped.clone();
            let connected = tokio::select! {
                connected = Connection::connect(address, self.tls.as_ref()) => connected,
                () = until(&mut stopped, Stop::AfterJob) => return Ok(()),
            };
            match connected {
                Ok(connection) => {
                    if said {
                        say(format_args!("connected to {address}"));
                    }
                    match session.work(connection).await {
                        Ok(()) => return Ok(()),
                        Err(Broken::Fatal(error)) => return Err(error),
                        Err(Broken::Lost(error)) => say(format_args!("{error}; connecting again")),
                    }
                }
                // once, not with every attempt
                Err(error) if !said => say(format_args!("{error} Trying until there is one.")),
                Err(_) => {}
            }
            said = true;
            tokio::select! {
                () = sleep(session.wait) => {}
                () = until(&mut stopped, Stop::AfterJob) => return Ok(()),
            }
            session.wait = (session.wait * 2).min(LONGEST_WAIT);
        }
    }
}

impl Session<'_> {
    async fn work(&mut self, mut connection: Connection) -> Result<(), Broken> {
        let worker = self.worker;
        connection.send(&Request::SetClientId {
            id: client_id().as_bytes(),
        });
        for function in &worker.functions {
            let function = function.as_bytes();
            connection.send(&Request::CanDo { function });
        }
        loop {
            let mut hands = tokio::select! {
                hands = worker.hands.lock() => hands,
                () = until(&mut self.stopped, Stop::AfterJob) => return Ok(()),
            };
            if *self.stopped.borrow() > Stop::No {
                return Ok(());
            }
            match self.grab(&mut connection).await? {
                Answer::Job(job) => {
                    self.run(&mut connection, &job).await?;
                    if let Some(left) = hands.as_mut() {
                        *left = left.saturating_sub(1);
                        if *left == 0 {
                            worker
                                .stop
                                .send_if_modified(|stop| raise(stop, Stop::AfterJob));
                        }
                    }
                    if *self.stopped.borrow() > Stop::No {
                        return Ok(settle(&mut connection).await?);
                    }
                }
                Answer::NoJob => {
                    drop(hands);
                    connection.send(&Request::PreSleep);
                    tokio::select! {
                        woken = woken(&mut connection) => woken?,
                        () = until(&mut self.stopped, Stop::AfterJob) => return Ok(()),
                    }
                }
                Answer::Drained => {
                    say(format_args!(
                        "{} has no more jobs for this worker",
                        connection.address()
                    ));
                    return Ok(());
                }
                Answer::Stopped => return Ok(()),
            }
        }
    }

    /// Asks for a job. A worker that is told to stop meanwhile still hears the answer out, for it may be a job.
    async fn grab(&mut self, connection: &mut Connection) -> Result<Answer, Broken> {
        connection.send(&Request::GrabJob(Grab::Uniq));
        let stopped = &mut self.stopped;
        let mut late = pin!(async {
            until(stopped, Stop::AfterJob).await;
            sleep(LAST_ANSWER).await;
        });
        loop {
            let response = tokio::select! {
                response = connection.receive() => response?,
                () = &mut late => return Ok(Answer::Stopped),
            };
            let answer = match response {
                Response::JobAssignUniq {
                    handle,
                    function,
                    unique,
                    workload,
                } => job(handle, function, unique, workload),
                Response::JobAssignAll {
                    handle,
                    function,
                    unique,
                    workload,
                    ..
                } => job(handle, function, unique, workload),
                Response::JobAssign {
                    handle,
                    function,
                    workload,
                } => job(handle, function, b"", workload),
                Response::NoJob => Answer::NoJob,
                Response::Error { code, text } if is_drain(code, text) => Answer::Drained,
                other => {
                    overhear(&other)?;
                    continue;
                }
            };
            self.wait = FIRST_WAIT;
            return Ok(answer);
        }
    }

    /// Runs a job's command and reports what came of it.
    async fn run(&mut self, connection: &mut Connection, job: &Job) -> Result<(), Broken> {
        let handle = &job.handle[..];
        let shown = format!(
            "job {} of {}",
            handle.escape_ascii(),
            job.function.escape_ascii()
        );
        let mut lost = None;
        let outcome = {
            let mut stopped = self.stopped.clone();
            let kill = async move { until(&mut stopped, Stop::Now).await };
            let mut running = pin!(self.worker.program.run(job, kill));
            loop {
                tokio::select! {
                    outcome = &mut running => break outcome,
                    heard = connection.receive(), if lost.is_none() => match heard {
                        // whatever it is, the job in hand comes first
                        Ok(response) => {
                            if let Err(error) = overhear(&response) {
                                say(error);
                            }
                        }
                        Err(error) => lost = Some(error),
                    }
                }
            }
        };
        // a job that cannot be started here may be started elsewhere: the end of the connection gives it back
        let outcome = outcome.with_context(|| format!("cannot run the command for {shown}"));
        let (status, output) = match outcome? {
            Outcome::Ended(status, output) => (Some(status), output),
            Outcome::TooMuch => (None, Vec::new()),
            Outcome::Killed => {
                return Err(Broken::Fatal(anyhow!(
                    "{shown} was killed, as a second signal asks"
                )));
            }
        };
        if let Some(status) = status
            && self.given_back(status).await
        {
            return Err(Broken::Fatal(anyhow!(
                "{shown} was ended by the signal that ended this worker; the server gives it to another, if it is still wanted"
            )));
        }
        if let Some(error) = lost {
            say(format_args!(
                "{shown} is done, but nobody is there to take its result"
            ));
            return Err(Broken::Lost(error));
        }
        match status {
            Some(status) if status.success() => {
                connection.send(&Request::WorkComplete {
                    handle,
                    data: &output,
                });
            }
            Some(status) => {
                say(format_args!("{shown} failed: {status}"));
                if !output.is_empty() {
                    connection.send(&Request::WorkData {
                        handle,
                        data: &output,
                    });
                }
                connection.send(&Request::WorkFail { handle });
            }
            None => {
                let text = format!("the output is longer than {MAX_OUTPUT} bytes");
                say(format_args!("{shown} failed: {text}"));
                connection.send(&Request::WorkWarning {
                    handle,
                    data: text.as_bytes(),
                });
                connection.send(&Request::WorkFail { handle });
            }
        }
        Ok(connection.flush().await?)
    }

    /// Whether the command was ended by a signal to the pool's process group, which is no failure of the job.
    async fn given_back(&mut self, status: ExitStatus) -> bool {
        self.worker.program.shared_signal(status)
            && timeout(SAME_SIGNAL, until(&mut self.stopped, Stop::AfterJob))
                .await
                .is_ok()
    }
}

fn job(handle: &[u8], function: &[u8], unique: &[u8], workload: &[u8]) -> Answer {
    Answer::Job(Job {
        handle: handle.to_vec(),
        function: function.to_vec(),
        unique: unique.to_vec(),
        workload: workload.to_vec(),
    })
}

/// Waits until the worker has been told to stop this far.
async fn until(stopped: &mut watch::Receiver<Stop>, far: Stop) {
    if stopped.wait_for(|stop| *stop >= far).await.is_err() {
        // nobody is left to say so
        std::future::pending().await
    }
}

/// Waits for the NOOP that says there is work.
async fn woken(connection: &mut Connection) -> Result<(), Broken> {
    loop {
        match connection.receive().await? {
            Response::Noop => return Ok(()),
            other => overhear(&other)?,
        }
    }
}

/// Waits until the server has read all that was sent: what is closed too early may never arrive.
async fn settle(connection: &mut Connection) -> Result<(), ConnectionError> {
    connection.send(&Request::EchoReq { data: b"done" });
    let heard = async {
        while !matches!(connection.receive().await?, Response::EchoRes { .. }) {}
        Ok(())
    };
    timeout(LONGEST_WAIT, heard).await.unwrap_or(Ok(()))
}

/// What a server says beside its answer to a question.
fn overhear(response: &Response<'_>) -> Result<(), Broken> {
    match response {
        // the job is no longer ours: it was cancelled, or it had run past its time
        Response::Error {
            code: b"JOB_NOT_FOUND",
            text,
        } => {
            say(format_args!(
                "the server did not take a result: {}",
                text.escape_ascii()
            ));
            Ok(())
        }
        Response::Error { code, text } => Err(Broken::Fatal(anyhow!(
            "the server refuses this worker: {}: {}",
            code.escape_ascii(),
            text.escape_ascii()
        ))),
        _ => Ok(()),
    }
}

/// An ERROR instead of a job, with which a server asks the worker to end.
fn is_drain(code: &[u8], text: &[u8]) -> bool {
    [code, text].iter().any(|words| {
        let words = words.to_ascii_lowercase();
        words.windows(8).any(|word| word == b"draining")
    })
}

/// The name in the server's list of workers: the pool's slot, or our process.
fn client_id() -> String {
    match (env::var("GEARPOOL_POOL"), env::var("GEARPOOL_SLOT")) {
        (Ok(pool), Ok(slot)) => format!("{pool}/{slot}"),
        _ => format!("gearpool-work:{}", process::id()),
    }
}
