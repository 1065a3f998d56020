//! `gearpool admin`: the questions and orders of `gearadmin`, to any Gearman server.

mod answer;

use std::time::Duration;

use clap::{ArgGroup, Args};

use self::answer::{Answer, Shape};
use super::Failure;
use super::client::block_on;
use super::servers::Servers;
use super::terminal::{self, Reader, say};
use crate::client::Connection;

/// How long a server may take for its answer.
const PATIENCE: Duration = Duration::from_secs(10);

/// Ask a Gearman server, or give it an order, as gearadmin does
///
/// It works with gearmand, with Perl's Gearman::Server and with Gearpool, and prints what gearadmin prints. Of several flags the
/// questions come first, in the order of this list. For pools and processes see `gearpool status`.
#[derive(Debug, Args)]
#[command(
    disable_help_flag = true,
    group = ArgGroup::new("what").required(true).multiple(true),
    after_help = "Exit status: 0 when all was done, 1 when the server refused something, 2 for a wrong command line, 3 when no server answers.",
    after_long_help = "\
Examples:
  gearpool admin --status                   name, jobs (waiting and running), running, workers
  gearpool admin -h web1 --workers          descriptor, address, client id, functions
  gearpool admin --priority-status --json | jq '.[] | select(.high > 100)'
  gearpool admin --show-jobs                handle, retries, 1 if it is to be ignored, 1 if it is in the store
  gearpool admin --cancel-job H:web1:42     a waiting job is gone; its clients hear that it failed
  gearpool admin -h unix:/run/gearpool.sock --shutdown
                                            Gearpool takes that on its Unix socket only

Exit status:
  0  all was done
  1  the server refused something, or the connection was lost
  2  the command line is wrong
  3  no server answers"
)]
pub struct AdminArgs {
    /// Each function: its jobs, the running ones of them, and its workers
    #[arg(long, group = "what")]
    status: bool,
    /// Each function: its waiting jobs of high, normal and low priority, and its workers
    #[arg(long, group = "what")]
    priority_status: bool,
    /// Each connection: its descriptor, address, client id and functions
    #[arg(long, group = "what")]
    workers: bool,
    /// The handles of all jobs
    #[arg(long, group = "what")]
    show_jobs: bool,
    /// The unique keys of all jobs
    #[arg(long, group = "what")]
    show_unique_jobs: bool,
    /// The server's process id
    #[arg(long, group = "what")]
    getpid: bool,
    /// The server's version; Gearpool says which gearmand it stands for
    #[arg(long, group = "what")]
    server_version: bool,
    /// How much the server logs
    #[arg(long, group = "what")]
    server_verbose: bool,
    /// List a function that nobody has registered yet
    #[arg(long, value_name = "FUNCTION", value_parser = word, group = "what")]
    create_function: Option<String>,
    /// Cancel a job
    #[arg(long, value_name = "HANDLE", value_parser = word, group = "what")]
    cancel_job: Option<String>,
    /// Forget a function without workers and jobs
    #[arg(long, value_name = "FUNCTION", value_parser = word, group = "what")]
    drop_function: Option<String>,
    /// End the server; newer gearmands do not take that
    #[arg(long, group = "what")]
    shutdown: bool,

    /// Print JSON, a line an answer
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    servers: Servers,
}

/// A line that is split into words cannot carry what has a blank or a line end in it.
fn word(text: &str) -> Result<String, &'static str> {
    match text.is_empty() || text.contains(|c: char| c.is_ascii_whitespace() || c == '\0') {
        true => Err("an admin command takes one word here, without blanks"),
        false => Ok(text.to_owned()),
    }
}

impl AdminArgs {
    /// Asks all that was asked for, and returns the exit code.
    ///
    /// # Errors
    /// A [`Failure`]; what the server refuses is none, but exit code 1.
    pub(super) fn run(self) -> Result<u8, Failure> {
        block_on(async {
            let mut connection = self.servers.connect().await?;
            let mut refused = false;
            for (line, shape) in self.commands() {
                let answer = ask(&mut connection, &line, shape).await?;
                if let Answer::Refused(why) = &answer {
                    refused = true;
                    say(format!(
                        "{} refuses \"{line}\": {why}",
                        connection.address()
                    ));
                    continue;
                }
                let text = match self.json {
                    true => answer.json().map_err(Failure::Failed)?.into_bytes(),
                    false => answer.text(),
                };
                if terminal::print_bytes(&text)? == Reader::Gone {
                    break;
                }
            }
            Ok(u8::from(refused))
        })
    }

    fn commands(&self) -> Vec<(String, Shape)> {
        let flags = [
            (self.status, "status", Shape::Status),
            (
                self.priority_status,
                "prioritystatus",
                Shape::PriorityStatus,
            ),
            (self.workers, "workers", Shape::Workers),
            (self.show_jobs, "show jobs", Shape::Jobs),
            (self.show_unique_jobs, "show unique jobs", Shape::Uniques),
            (self.getpid, "getpid", Shape::Number),
            (self.server_version, "version", Shape::Word),
            (self.server_verbose, "verbose", Shape::Word),
        ];
        let orders = [
            ("create function", &self.create_function),
            ("cancel job", &self.cancel_job),
            ("drop function", &self.drop_function),
        ];
        let asked = flags.into_iter().filter(|(is_asked, _, _)| *is_asked);
        let mut commands: Vec<_> = asked
            .map(|(_, line, shape)| (line.to_owned(), shape))
            .collect();
        commands.extend(orders.into_iter().filter_map(|(line, word)| {
            let word = word.as_ref()?;
            Some((format!("{line} {word}"), Shape::Done))
        }));
        if self.shutdown {
            commands.push(("shutdown".to_owned(), Shape::Done));
        }
        commands
    }
}

async fn ask(connection: &mut Connection, line: &str, shape: Shape) -> Result<Answer, Failure> {
    connection.send_line(line);
    let answering = async {
        let mut lines = Vec::new();
        loop {
            let next = connection.line().await?.to_vec();
            if let Some(refusal) = Answer::refusal(&next, lines.is_empty()) {
                return Ok(refusal);
            }
            if shape.ends_with(&next) {
                if !shape.is_list() {
                    lines.push(next);
                }
                return Ok(Answer::Given(shape, lines));
            }
            lines.push(next);
        }
    };
    match tokio::time::timeout(PATIENCE, answering).await {
        Ok(answer) => {
            answer.map_err(|error: crate::client::ConnectionError| Failure::Failed(error.into()))
        }
        Err(_) => Err(Failure::NoDaemon(format!(
            "{} takes connections but has not answered \"{line}\" for {} s",
            connection.address(),
            PATIENCE.as_secs()
        ))),
    }
}
