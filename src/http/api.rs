//! The routes and their handlers.

use std::io;
use std::path::PathBuf;

use axum::extract::connect_info::{ConnectInfo, Connected};
use axum::extract::rejection::{JsonRejection, PathRejection, QueryRejection};
use axum::extract::{DefaultBodyLimit, Path, Query, Request, State};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::serve::IncomingStream;
use axum::{Json, Router};
use serde::Deserialize;
use tokio::net::UnixListener;
use tokio::sync::{mpsc, oneshot};

use super::body::{Bounds, Done, Refused};
use super::jobs;
use crate::daemon::control::{Control, Reply};
use crate::pools::Slot;
use crate::status::Status;
use crate::sys::user;

/// The largest body in bytes; the only one there is has two numbers.
const BODY: usize = 4096;

pub(super) type Orders = mpsc::Sender<Control>;

/// Answers on `listener` until it is dropped, with the manager at the other end of `control`.
///
/// # Errors
/// None that can happen today: a connection's failure ends that connection.
pub async fn serve(listener: UnixListener, control: mpsc::Sender<Control>) -> io::Result<()> {
    let routes = routes(control, user::effective());
    let service = routes.into_make_service_with_connect_info::<Peer>();
    axum::serve(listener, service).await
}

fn routes(control: Orders, owner: u32) -> Router {
    let refuse_strangers =
        move |ConnectInfo(peer): ConnectInfo<Peer>, request: Request, next: Next| async move {
            if peer.may_give_orders(owner) {
                next.run(request).await
            } else {
                let text = "only root and the user that the daemon runs as may control it";
                Failure::new(StatusCode::FORBIDDEN, text).into_response()
            }
        };
    Router::new()
        .route("/status", get(status))
        .route("/plan", get(plan))
        .route("/reload", post(reload))
        .route("/upgrade", post(upgrade))
        .route("/pools/{pool}/scale", post(scale))
        .route("/pools/{pool}/start", post(start))
        .route("/pools/{pool}/stop", post(stop))
        .route("/pools/{pool}/restart", post(restart))
        .route("/jobs", get(jobs::list))
        .route("/jobs/{handle}", get(jobs::show))
        .route("/jobs/{handle}/cancel", post(jobs::cancel))
        .route("/failed", get(jobs::failed))
        .route("/failed/retry", post(jobs::retry_all))
        .route("/failed/{handle}/retry", post(jobs::retry))
        .route("/failed/discard", post(jobs::discard_all))
        .route("/failed/{handle}/discard", post(jobs::discard))
        .route("/functions/{function}/pause", post(jobs::pause))
        .route("/functions/{function}/resume", post(jobs::resume))
        .fallback(async || Failure::new(StatusCode::NOT_FOUND, "there is no such path"))
        .method_not_allowed_fallback(async || {
            let text = "the path is right, the method is not: what shows something is a GET, an order is a POST";
            Failure::new(StatusCode::METHOD_NOT_ALLOWED, text)
        })
        .layer(middleware::from_fn(refuse_strangers))
        .layer(DefaultBodyLimit::max(BODY))
        .with_state(control)
}

/// Who is at the other end, SO_PEERCRED; `None` where the system does not say.
#[derive(Clone, Copy, Debug)]
struct Peer {
    uid: Option<u32>,
}

impl Peer {
    fn may_give_orders(self, owner: u32) -> bool {
        self.uid.is_some_and(|uid| uid == 0 || uid == owner)
    }
}

impl Connected<IncomingStream<'_, UnixListener>> for Peer {
    fn connect_info(stream: IncomingStream<'_, UnixListener>) -> Peer {
        Peer {
            uid: stream.io().peer_cred().ok().map(|peer| peer.uid()),
        }
    }
}

/// An answer that is not "done".
#[derive(Debug)]
pub(super) struct Failure {
    code: StatusCode,
    error: String,
}

impl Failure {
    pub(super) fn new(code: StatusCode, error: impl Into<String>) -> Failure {
        Failure {
            code,
            error: error.into(),
        }
    }

    pub(super) fn ending() -> Failure {
        Failure::new(StatusCode::SERVICE_UNAVAILABLE, "the daemon is ending")
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.code, Json(Refused { error: self.error })).into_response()
    }
}

impl From<JsonRejection> for Failure {
    fn from(rejection: JsonRejection) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

impl From<QueryRejection> for Failure {
    fn from(rejection: QueryRejection) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Failure {
        Failure::new(StatusCode::BAD_REQUEST, rejection.body_text())
    }
}

pub(super) type Answer = Result<Json<Done>, Failure>;
pub(super) type Name = Result<Path<String>, PathRejection>;

async fn status(State(orders): State<Orders>) -> Result<Json<Status>, Failure> {
    Ok(Json(snapshot(&orders).await?))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Proposal {
    file: Option<PathBuf>,
}

async fn plan(
    State(orders): State<Orders>,
    proposal: Result<Query<Proposal>, QueryRejection>,
) -> Answer {
    let Query(Proposal { file }) = proposal?;
    let answer = ask(&orders, |reply| Control::Plan { file, reply }).await?;
    let problems = |error| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    answer.map(done).map_err(problems)
}

async fn reload(State(orders): State<Orders>) -> Answer {
    let answer = ask(&orders, Control::Reload).await?;
    let problems = |error| Failure::new(StatusCode::UNPROCESSABLE_ENTITY, error);
    answer.map(done).map_err(problems)
}

async fn upgrade(State(orders): State<Orders>) -> Answer {
    let answer = ask(&orders, Control::Upgrade).await?;
    let refused = |error| Failure::new(StatusCode::CONFLICT, error);
    answer.map(done).map_err(refused)
}

async fn scale(
    State(orders): State<Orders>,
    pool: Name,
    bounds: Result<Json<Bounds>, JsonRejection>,
) -> Answer {
    let Path(pool) = pool?;
    let Json(Bounds { min, max }) = bounds?;
    if min > max {
        let text = format!("min {min} is more than max {max}");
        return Err(Failure::new(StatusCode::BAD_REQUEST, text));
    }
    on_pool(&orders, pool, |pool, reply| Control::Scale {
        pool,
        min,
        max,
        reply,
    })
    .await
}

async fn start(State(orders): State<Orders>, pool: Name) -> Answer {
    let Path(pool) = pool?;
    on_pool(&orders, pool, |pool, reply| Control::Start { pool, reply }).await
}

async fn stop(State(orders): State<Orders>, pool: Name) -> Answer {
    let Path(pool) = pool?;
    on_pool(&orders, pool, |pool, reply| Control::Stop { pool, reply }).await
}

/// The query of `restart`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    slot: Option<u32>,
}

async fn restart(
    State(orders): State<Orders>,
    pool: Name,
    which: Result<Query<Which>, QueryRejection>,
) -> Answer {
    let Path(pool) = pool?;
    let Query(Which { slot }) = which?;
    let slot = slot.map(Slot);
    on_pool(&orders, pool, |pool, reply| Control::Restart {
        pool,
        slot,
        reply,
    })
    .await
}

/// Sends an order about a pool. The manager says no with a sentence alone: whether the pool does not exist, or exists and cannot, is
/// looked up in the snapshot.
async fn on_pool(
    orders: &Orders,
    pool: String,
    order: impl FnOnce(String, Reply) -> Control,
) -> Answer {
    match ask(orders, |reply| order(pool.clone(), reply)).await? {
        Ok(message) => Ok(done(message)),
        Err(error) => {
            let status = snapshot(orders).await?;
            let exists = status.pools.iter().any(|status| status.pool.name == pool);
            let code = if exists {
                StatusCode::CONFLICT
            } else {
                StatusCode::NOT_FOUND
            };
            Err(Failure::new(code, error))
        }
    }
}

pub(super) async fn ask(
    orders: &Orders,
    order: impl FnOnce(Reply) -> Control,
) -> Result<Result<String, String>, Failure> {
    let (reply, answer) = oneshot::channel();
    let sent = orders.send(order(reply)).await;
    sent.map_err(|_| Failure::ending())?;
    answer.await.map_err(|_| Failure::ending())
}

async fn snapshot(orders: &Orders) -> Result<Status, Failure> {
    let (reply, answer) = oneshot::channel();
    let sent = orders.send(Control::Status(reply)).await;
    sent.map_err(|_| Failure::ending())?;
    answer.await.map_err(|_| Failure::ending())
}

pub(super) fn done(message: String) -> Json<Done> {
    Json(Done { message })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_root_and_the_owner_give_orders() {
        for (uid, owner, may) in [
            (Some(0), 1000, true),
            (Some(1000), 1000, true),
            (Some(1001), 1000, false),
            (Some(1000), 0, false),
            (None, 1000, false),
        ] {
            assert_eq!(Peer { uid }.may_give_orders(owner), may, "{uid:?} {owner}");
        }
    }
}
