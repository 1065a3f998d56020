//! The client side of the control API: finds the daemon, and asks it one thing.

use std::error::Error as _;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::net::UnixStream as BlockingStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, anyhow};
use axum::body::Bytes;
use clap::Args;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper::header::{CONTENT_TYPE, HOST};
use hyper::{Method, Request};
use hyper_util::rt::TokioIo;
use serde::de::DeserializeOwned;
use tokio::net::UnixStream;

use super::{Failure, server_section};
use crate::config::Server;
use crate::daemon::paths;
use crate::http::Refused;
use crate::status::Status;

/// How long the daemon may take to answer.
const PATIENCE: Duration = Duration::from_secs(15);

/// How long it may take to carry out an order: a pool's check has half a minute, or what the file says, and several take turns.
const ORDERS_PATIENCE: Duration = Duration::from_secs(120);

/// Instead of an answer.
const CLOSED: &str = "the daemon closed the connection";

/// What came of an order with which the connection may end.
pub(super) enum Asked<T> {
    /// An answer.
    Answered(T),
    /// The end of the connection.
    Cut,
}

/// Which daemon is meant, when there are several on the machine.
#[derive(Clone, Debug, Default, Args)]
#[command(next_help_heading = "Which daemon")]
pub(super) struct DaemonArgs {
    /// The daemon's state folder, where its control socket is
    ///
    /// The one that it was started with, if it was started with one. The default is /var/lib/gearpool for root, else
    /// $XDG_STATE_HOME/gearpool or ~/.local/state/gearpool.
    #[arg(long, value_name = "DIR", env = "GEARPOOL_STATE_DIR")]
    pub(super) state_dir: Option<PathBuf>,

    /// The daemon that runs with this configuration file
    ///
    /// Only its server section is read: the state_dir that it names, or else the port that it listens on.
    #[arg(short, long, value_name = "FILE")]
    pub(super) config: Option<PathBuf>,

    /// The daemon whose first port is this one
    ///
    /// A daemon on another port than 4730 has a default state folder of its own, with the port in its name.
    #[arg(short, long, value_name = "PORT")]
    pub(super) port: Option<u16>,
}

/// A daemon's place, whether or not one is there.
#[derive(Clone, Debug)]
pub(super) struct Daemon {
    state_dir: PathBuf,
    server: Server,
    found_by: FoundBy,
}

/// Why the daemon is looked for there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum FoundBy {
    Name,
    File,
    Default,
}

impl DaemonArgs {
    /// The place that these arguments mean.
    ///
    /// # Errors
    /// A configuration file that cannot be read.
    pub(super) fn locate(&self) -> Result<Daemon, Failure> {
        let server = match (&self.config, &self.state_dir) {
            (Some(file), _) => server_section::read(file)?,
            (None, _) => Server::default(),
        };
        let found_by = match (&self.state_dir, &server.state_dir) {
            (Some(_), _) => FoundBy::Name,
            (None, Some(_)) => FoundBy::File,
            (None, None) => FoundBy::Default,
        };
        Ok(Daemon {
            state_dir: paths::state_dir(self.state_dir.as_deref(), &server, self.port),
            server,
            found_by,
        })
    }
}

impl Daemon {
    /// Where the workers' output is, as far as that can be known without asking the daemon.
    pub(super) fn log_dir(&self) -> PathBuf {
        let said = self.server.log_dir.clone();
        said.unwrap_or_else(|| paths::default_log_dir(&self.state_dir))
    }

    /// The snapshot.
    ///
    /// # Errors
    /// Those of [`Daemon::get`].
    pub(super) async fn status(&self) -> Result<Status, Failure> {
        self.get("/status").await
    }

    /// Asks for what is at `path`.
    ///
    /// # Errors
    /// [`Failure::NoDaemon`] where none listens, else [`Failure::Failed`] with the daemon's sentence.
    pub(super) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, Failure> {
        self.request(Method::GET, path, None).await
    }

    /// Gives the order at `path`, with a JSON body if it has one.
    ///
    /// # Errors
    /// [`Failure::NoDaemon`] where none listens, else [`Failure::Failed`] with the daemon's sentence.
    pub(super) async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<T, Failure> {
        self.request(Method::POST, path, body).await
    }

    /// Gives the order at `path`, with which the connection may end, and which may take so long.
    ///
    /// # Errors
    /// Those of [`Daemon::post`].
    pub(super) async fn ask<T: DeserializeOwned>(
        &self,
        path: &str,
        patience: Duration,
    ) -> Result<Asked<T>, Failure> {
        match self.exchange(Method::POST, path, None, patience).await? {
            Some((code, bytes)) => Ok(Asked::Answered(understood(code, &bytes)?)),
            None => Ok(Asked::Cut),
        }
    }

    async fn request<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
    ) -> Result<T, Failure> {
        let patience = match method {
            Method::GET => PATIENCE,
            _ => ORDERS_PATIENCE,
        };
        let mut answer = self.exchange(method.clone(), path, body, patience).await?;
        if answer.is_none() && method == Method::GET {
            // an upgrade was faster: its new program answers
            answer = self.exchange(method, path, None, PATIENCE).await?;
        }
        let (code, bytes) = answer.ok_or_else(|| anyhow!(CLOSED))?;
        understood(code, &bytes)
    }

    /// `None` when the daemon closes the connection instead of an answer.
    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Option<serde_json::Value>,
        patience: Duration,
    ) -> Result<Option<(hyper::StatusCode, Bytes)>, Failure> {
        let path_of_socket = paths::control_socket(&self.state_dir);
        let stream = UnixStream::connect(&path_of_socket).await;
        let stream = stream.map_err(|error| self.unreachable(&error))?;
        let exchange = tokio::time::timeout(patience, exchange(stream, method, path, body));
        let answer = exchange.await.map_err(|_| {
            let seconds = patience.as_secs();
            anyhow!(
                "the daemon at {} has not answered for {seconds} s",
                path_of_socket.display()
            )
        })??;
        Ok(answer)
    }

    /// Whether root has a daemon's folder, where we have looked in our own. Whether a daemon runs there is not ours to see.
    fn is_anothers(&self) -> bool {
        let roots = paths::ROOTS;
        self.found_by == FoundBy::Default
            && !self.state_dir.starts_with(roots)
            && Path::new(roots).is_dir()
    }

    fn unreachable(&self, error: &io::Error) -> Failure {
        let path = self.state_dir.display();
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused | ErrorKind::NotADirectory => {}
            ErrorKind::PermissionDenied => {
                return Failure::Failed(anyhow!(
                    "the state folder {path} belongs to another user; only root and the user that the daemon runs as may control it"
                ));
            }
            _ => {
                return Failure::Failed(anyhow!(
                    "cannot reach the daemon with the state folder {path}: {error}"
                ));
            }
        }
        let because = match self.found_by {
            FoundBy::Name => "as --state-dir or GEARPOOL_STATE_DIR says",
            FoundBy::File => "as the file's server.state_dir says",
            FoundBy::Default => "the default",
        };
        let neighbours = neighbours(&self.state_dir);
        let advice = match neighbours.as_slice() {
            [] if self.is_anothers() => {
                "start one with \"gearpool serve\"; if root has started one, it answers to root only: try sudo".to_owned()
            }
            [] if self.found_by == FoundBy::Default => {
                "start one with \"gearpool serve\", or say where it is with --state-dir DIR, -c FILE or -p PORT".to_owned()
            }
            [] => "start one with \"gearpool serve\"".to_owned(),
            [one] => format!("one runs with --state-dir {}", one.display()),
            several => {
                let several: Vec<String> = several.iter().map(|one| one.display().to_string()).collect();
                format!("some run with --state-dir {}", several.join(", "))
            }
        };
        Failure::NoDaemon(format!(
            "no gearpool runs with the state folder {path} ({because}); {advice}"
        ))
    }
}

/// What the daemon's answer means.
fn understood<T: DeserializeOwned>(code: hyper::StatusCode, bytes: &[u8]) -> Result<T, Failure> {
    if !code.is_success() {
        let refused = serde_json::from_slice::<Refused>(bytes);
        let error = refused.map_or_else(
            |_| format!("the daemon answers {code}"),
            |refused| refused.error,
        );
        return Err(Failure::Failed(anyhow!(error)));
    }
    let answer = serde_json::from_slice(bytes);
    Ok(answer.context("the daemon's answer is not understood; is it of another version?")?)
}

/// Runs a client's future on this thread.
///
/// # Errors
/// Those of the future, and of a system that has no room for a runtime.
pub(super) fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    let runtime = runtime.enable_all().build();
    runtime
        .context("cannot start the client's runtime")?
        .block_on(future)
}

/// Whether the daemon has closed the connection before it has answered. What was sent and not read yet makes that a reset.
fn is_cut(error: &hyper::Error) -> bool {
    let cause = error.source().and_then(|it| it.downcast_ref::<io::Error>());
    let is_gone = cause.is_some_and(|it| {
        matches!(
            it.kind(),
            ErrorKind::ConnectionReset | ErrorKind::BrokenPipe
        )
    });
    is_gone || error.is_incomplete_message() || error.is_closed()
}

async fn exchange(
    stream: UnixStream,
    method: Method,
    path: &str,
    body: Option<serde_json::Value>,
) -> anyhow::Result<Option<(hyper::StatusCode, Bytes)>> {
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .context(CLOSED)?;
    let driver = tokio::spawn(connection);
    let mut request = Request::builder()
        .method(method)
        .uri(path)
        .header(HOST, "gearpool");
    if body.is_some() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    let body = body.map(|body| body.to_string()).unwrap_or_default();
    let request = request.body(Full::new(Bytes::from(body)))?;
    let answer = match sender.send_request(request).await {
        Err(error) if is_cut(&error) => return Ok(None),
        answer => answer.context(CLOSED)?,
    };
    let code = answer.status();
    let bytes = answer
        .into_body()
        .collect()
        .await
        .context(CLOSED)?
        .to_bytes();
    driver.abort();
    Ok(Some((code, bytes)))
}

/// Other state folders beside this one in which a daemon answers.
fn neighbours(state_dir: &Path) -> Vec<PathBuf> {
    let Some(entries) = state_dir
        .parent()
        .and_then(|parent| fs::read_dir(parent).ok())
    else {
        return Vec::new();
    };
    let mut found: Vec<PathBuf> = entries
        .flatten()
        .filter(|entry| {
            entry
                .file_name()
                .as_encoded_bytes()
                .starts_with(b"gearpool")
        })
        .map(|entry| entry.path())
        .filter(|path| path != state_dir)
        .filter(|path| BlockingStream::connect(paths::control_socket(path)).is_ok())
        .collect();
    found.sort();
    found
}
