//! `gearpool submit`: a client of any Gearman server, with the flags of the `gearman` tool.
//!
//! All jobs go over one connection, many at a time: what is not yet answered is bounded, so that a file of a million lines is
//! neither held in memory nor sent one round trip after the other.

mod report;
mod source;

use std::collections::{HashMap, VecDeque};
use std::ffi::OsString;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStringExt;
use std::time::Duration;

use anyhow::{Context, anyhow, bail};

use self::report::{Format, Outcome, Report, Submission};
use self::source::{Cut, Source};
use super::Failure;
use super::servers::Servers;
use super::terminal::say;
use crate::client::{Connection, ConnectionError};
use crate::proto::frame::MAX_BODY;
use crate::proto::{Mode, Priority, Request, Response};

/// Jobs that may be without an answer at a time: enough to hide a round trip, few enough to be held.
const IN_FLIGHT: usize = 1000;

/// Bytes that may wait to be written before the next workload is taken.
const UNSENT: usize = 1 << 20;

/// How long a server may take for its first answer.
const FIRST_ANSWER: Duration = Duration::from_secs(10);

/// Submit jobs, and print their results
///
/// Each WORKLOAD is one job. Without any, standard input is: all of it one job, or one job a line with -n or -N. Results are
/// printed as they arrive, warnings and failures go to standard error. With -b nothing is waited for, and the handles are printed.
#[derive(Debug, clap::Args)]
#[command(
    disable_help_flag = true,
    override_usage = "gearpool submit [OPTIONS] FUNCTION [WORKLOAD]...\n       gearpool submit [OPTIONS] -f FUNCTION [WORKLOAD]...",
    after_help = "Exit status: 0 when all jobs completed (with -b: were taken), 1 when one failed, 2 for a wrong command line, 3 when no server answers.",
    after_long_help = "\
Examples:
  gearpool submit fetchURL '{\"url\": \"http://www.example.com/\"}'
                                        one job; its result is printed
  gearpool submit resize < photo.jpg > small.jpg
                                        standard input is the workload
  gearpool submit -b -N sendEmail < addresses.txt
                                        one background job a line; prints their handles
  gearpool submit -u nightly -b report -s
                                        nothing happens if the same unique is queued already
  gearpool submit --json -N fetchURL < urls.txt | jq .status
                                        one JSON object a job

Exit status:
  0  all jobs completed; with -b, all were taken
  1  a job failed, ended in an exception or was refused, or the connection was lost
  2  the command line is wrong
  3  no server answers"
)]
pub struct SubmitArgs {
    /// The function's name (unless -f gives it), then the workloads, each of which is a job
    #[arg(value_name = "WORKLOAD")]
    words: Vec<OsString>,

    /// The function's name; with several, each gets every job
    #[arg(short, long = "function", value_name = "FUNCTION")]
    functions: Vec<String>,

    /// Run the jobs in the background, and print their handles
    #[arg(short, long)]
    background: bool,

    /// High priority
    #[arg(short = 'I', long, conflicts_with = "low")]
    high: bool,

    /// Low priority
    #[arg(short = 'L', long)]
    low: bool,

    /// The unique key: as long as a job with it is queued or running, another submit joins it; '-' is the workload itself
    #[arg(
        short,
        long,
        value_name = "KEY",
        default_value = "",
        hide_default_value = true
    )]
    unique: String,

    /// Read one job a line from standard input
    #[arg(short = 'n', long, conflicts_with = "stripped")]
    lines: bool,

    /// The same, without the line end
    #[arg(short = 'N', long)]
    stripped: bool,

    /// Read nothing: one job with an empty workload
    #[arg(short = 's', long, conflicts_with_all = ["lines", "stripped"])]
    empty: bool,

    /// Print the function's name before each line of a result
    #[arg(short = 'P', long, conflicts_with = "json")]
    prefix: bool,

    /// Print one JSON object a job, when it has ended
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    servers: Servers,
}

impl SubmitArgs {
    /// Does it, and returns the exit code.
    ///
    /// # Errors
    /// A [`Failure`]; jobs that failed are no error but exit code 1.
    pub fn run(self) -> Result<u8, Failure> {
        let (order, source) = self.order()?;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .context("cannot start the event loop")?;
        runtime.block_on(async {
            let mut connection = self.servers.connect().await?;
            greet(&mut connection).await?;
            let mut client = Client {
                order,
                submitted: 0,
                unanswered: VecDeque::new(),
                running: HashMap::new(),
                outstanding: 0,
                report: Report::new(self.format(), io::stdout().lock()),
            };
            match client.run(&mut connection, source).await {
                Ok(()) => Ok(u8::from(client.report.failed())),
                // the reader of our output has seen enough, as in `gearpool submit … | head`
                Err(error) if is_broken_pipe(&error) => Ok(1),
                Err(error) => Err(Failure::Failed(error)),
            }
        })
    }
}

/// What is asked for with each workload.
#[derive(Debug)]
struct Order {
    functions: Vec<String>,
    unique: String,
    priority: Priority,
    mode: Mode,
}

impl SubmitArgs {
    fn order(&self) -> Result<(Order, Source), Failure> {
        let mut words = self.words.iter().cloned();
        let mut functions = self.functions.clone();
        if functions.is_empty() {
            let usage = || Failure::Usage("which function? Give its name first, or with -f".into());
            let name = words.next().ok_or_else(usage)?;
            let name = name.into_string().map_err(|name| {
                Failure::Usage(format!("{} is no function's name", name.display()))
            })?;
            functions.push(name);
        }
        if functions.iter().any(String::is_empty) {
            return Err(Failure::Usage("a function has an empty name".into()));
        }
        let workloads: VecDeque<_> = words.map(OsString::into_vec).collect();
        let source = match (workloads.is_empty(), self.cut()) {
            (false, Some(_)) => {
                let text =
                    "workloads are given as arguments; -n and -N read them from standard input";
                return Err(Failure::Usage(text.into()));
            }
            (false, None) => Source::Given(workloads),
            (true, None) if self.empty => Source::Given([Vec::new()].into()),
            (true, cut) => {
                if io::stdin().is_terminal() {
                    say("reading the workload from the terminal; end it with Ctrl-D");
                }
                Source::stdin(cut.unwrap_or(Cut::Whole))
            }
        };
        let order = Order {
            functions,
            unique: self.unique.clone(),
            priority: match (self.high, self.low) {
                (true, _) => Priority::High,
                (false, true) => Priority::Low,
                (false, false) => Priority::Normal,
            },
            mode: match self.background {
                true => Mode::Background,
                false => Mode::Foreground,
            },
        };
        Ok((order, source))
    }

    fn cut(&self) -> Option<Cut> {
        match (self.lines, self.stripped) {
            (true, _) => Some(Cut::Lines),
            (false, true) => Some(Cut::Stripped),
            (false, false) => None,
        }
    }

    fn format(&self) -> Format {
        match (self.json, self.prefix) {
            (true, _) => Format::Json,
            (false, true) => Format::Prefixed,
            (false, false) => Format::Text,
        }
    }
}

/// Asks for exceptions, which a server passes on only then. It also shows whether a Gearman server is there at all.
async fn greet(connection: &mut Connection) -> Result<(), Failure> {
    connection.send(&Request::OptionReq {
        option: b"exceptions",
    });
    let address = connection.address().clone();
    match tokio::time::timeout(FIRST_ANSWER, connection.receive()).await {
        // a server without the option says so, and fails the job instead
        Ok(Ok(Response::OptionRes { .. } | Response::Error { .. })) => Ok(()),
        Ok(Ok(other)) => Err(Failure::NoDaemon(format!(
            "{address} does not speak Gearman: it answered {} to an option",
            other.kind().name()
        ))),
        Ok(Err(error)) => Err(Failure::NoDaemon(error.to_string())),
        Err(_) => Err(Failure::NoDaemon(format!(
            "{address} takes connections but has not answered for {} s",
            FIRST_ANSWER.as_secs()
        ))),
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error
        .downcast_ref::<io::Error>()
        .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

/// The submissions that share a handle, as those with the same unique do. Each packet of the job comes once for each of them, in
/// the order in which they joined.
#[derive(Debug, Default)]
struct Waiting {
    submissions: VecDeque<Submission>,
    turn: usize,
}

impl Waiting {
    /// The submission that the next part of a result is for.
    fn next(&mut self) -> Option<&mut Submission> {
        let at = self.turn % self.submissions.len().max(1);
        self.turn = at + 1;
        self.submissions.get_mut(at)
    }
}

/// The client's side of all jobs.
struct Client<W> {
    order: Order,
    submitted: u64,
    /// Sent, and without JOB_CREATED. A server answers in the order of the submits.
    unanswered: VecDeque<Submission>,
    running: HashMap<Vec<u8>, Waiting>,
    /// How many submissions `running` holds.
    outstanding: usize,
    report: Report<W>,
}

impl<W: Write> Client<W> {
    async fn run(&mut self, connection: &mut Connection, mut source: Source) -> anyhow::Result<()> {
        let mut more = true;
        while more || self.open() > 0 {
            let room = self.open() < IN_FLIGHT && connection.unsent() < UNSENT;
            tokio::select! {
                workload = source.next(), if more && room => {
                    match workload.context("cannot read standard input")? {
                        Some(workload) => self.submit(connection, &workload)?,
                        None => more = false,
                    }
                }
                ready = connection.ready() => {
                    ready.map_err(|error| self.lost(error))?;
                    while let Some(response) = connection.try_receive().map_err(|error| self.lost(error))? {
                        self.hear(response)?;
                    }
                    self.report.flush()?;
                }
            }
        }
        Ok(())
    }

    /// Submissions that have not ended.
    fn open(&self) -> usize {
        self.unanswered.len() + self.outstanding
    }

    fn lost(&self, error: ConnectionError) -> anyhow::Error {
        match self.open() {
            0 => error.into(),
            1 => anyhow!("{error}; one job has not ended"),
            open => anyhow!("{error}; {open} jobs have not ended"),
        }
    }

    fn submit(&mut self, connection: &mut Connection, workload: &[u8]) -> anyhow::Result<()> {
        let order = &self.order;
        for function in &order.functions {
            if function.len() + order.unique.len() + workload.len() + 2 > MAX_BODY {
                bail!("a workload of more than {} MiB", MAX_BODY >> 20);
            }
            connection.send(&Request::SubmitJob {
                priority: order.priority,
                mode: order.mode,
                function: function.as_bytes(),
                unique: order.unique.as_bytes(),
                workload,
            });
            self.submitted += 1;
            self.unanswered.push_back(Submission::new(
                self.submitted,
                function.clone(),
                order.unique.clone(),
            ));
        }
        Ok(())
    }

    fn hear(&mut self, response: Response<'_>) -> anyhow::Result<()> {
        match response {
            Response::JobCreated { handle } => {
                let job = self.answered("a job that was not submitted")?;
                match self.order.mode {
                    Mode::Background => self.report.end(job, handle, Outcome::Queued)?,
                    Mode::Foreground => {
                        let waiting = self.running.entry(handle.to_vec()).or_default();
                        waiting.submissions.push_back(job);
                        self.outstanding += 1;
                    }
                }
            }
            Response::Error { code, text } => {
                let job = self.answered(&String::from_utf8_lossy(text))?;
                self.report.end(job, b"", Outcome::Refused(code, text))?;
            }
            Response::WorkData { handle, data } => {
                if let Some(job) = self.running.get_mut(handle).and_then(Waiting::next) {
                    self.report.data(job, data)?;
                }
            }
            Response::WorkWarning { handle, data } => {
                if let Some(job) = self.running.get_mut(handle).and_then(Waiting::next) {
                    self.report.warning(job, data);
                }
            }
            Response::WorkComplete { handle, data } => {
                if let Some(mut job) = self.ended(handle) {
                    self.report.data(&mut job, data)?;
                    self.report.end(job, handle, Outcome::Completed)?;
                }
            }
            Response::WorkFail { handle } => {
                if let Some(job) = self.ended(handle) {
                    self.report.end(job, handle, Outcome::Failed)?;
                }
            }
            Response::WorkException { handle, data } => {
                if let Some(job) = self.ended(handle) {
                    self.report.end(job, handle, Outcome::Exception(data))?;
                }
            }
            // progress is of no use to a pipe
            Response::WorkStatus { .. } => {}
            Response::Noop
            | Response::NoJob
            | Response::JobAssign { .. }
            | Response::JobAssignUniq { .. }
            | Response::JobAssignAll { .. }
            | Response::StatusRes { .. }
            | Response::StatusResUnique { .. }
            | Response::EchoRes { .. }
            | Response::OptionRes { .. } => {
                bail!("the server sent {} to a client", response.kind().name())
            }
        }
        Ok(())
    }

    /// The submission that the server's answer is for.
    fn answered(&mut self, what: &str) -> anyhow::Result<Submission> {
        let job = self.unanswered.pop_front();
        job.with_context(|| format!("the server answered out of turn: {what}"))
    }

    /// The submission that an end with this handle is for. A handle that is not known is that of a job which has ended already:
    /// some workers send both WORK_EXCEPTION and WORK_FAIL.
    fn ended(&mut self, handle: &[u8]) -> Option<Submission> {
        let waiting = self.running.get_mut(handle)?;
        let job = waiting.submissions.pop_front();
        waiting.turn = 0;
        if waiting.submissions.is_empty() {
            self.running.remove(handle);
        }
        self.outstanding -= usize::from(job.is_some());
        job
    }
}
