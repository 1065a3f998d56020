//! The handlers about jobs and the queues of functions.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::Deserialize;
use tokio::sync::oneshot;

use super::api::{Answer, Failure, Name, Orders, ask, done};
use crate::daemon::control::{Control, Reply, Which};
use crate::status::jobs::{JobList, JobView};

/// So many jobs are listed unless a number is asked for.
const LISTED: usize = 100;

/// And not more than this: the list is made under the job server's lock.
const MOST: usize = 10_000;

/// The query of a list.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Wanted {
    function: Option<String>,
    limit: Option<usize>,
}

/// The query of what is done to all.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Of {
    function: Option<String>,
}

type WantedQuery = Result<Query<Wanted>, QueryRejection>;
type OfQuery = Result<Query<Of>, QueryRejection>;

pub(super) async fn list(
    State(orders): State<Orders>,
    wanted: WantedQuery,
) -> Result<Json<JobList>, Failure> {
    listed(&orders, wanted, false).await
}

pub(super) async fn failed(
    State(orders): State<Orders>,
    wanted: WantedQuery,
) -> Result<Json<JobList>, Failure> {
    listed(&orders, wanted, true).await
}

async fn listed(
    orders: &Orders,
    wanted: WantedQuery,
    failed: bool,
) -> Result<Json<JobList>, Failure> {
    let Query(Wanted { function, limit }) = wanted?;
    let (reply, answer) = oneshot::channel();
    let order = Control::Jobs {
        function,
        limit: limit.unwrap_or(LISTED).min(MOST),
        failed,
        reply,
    };
    let sent = orders.send(order).await;
    sent.map_err(|_| Failure::ending())?;
    answer.await.map(Json).map_err(|_| Failure::ending())
}

pub(super) async fn show(
    State(orders): State<Orders>,
    handle: Name,
) -> Result<Json<JobView>, Failure> {
    let Path(handle) = handle?;
    let job = look(&orders, &handle).await?;
    job.map(Json).ok_or_else(|| {
        let text = format!("there is no job {handle}; it may have ended");
        Failure::new(StatusCode::NOT_FOUND, text)
    })
}

pub(super) async fn cancel(State(orders): State<Orders>, handle: Name) -> Answer {
    on_job(&orders, handle, |handle, reply| Control::CancelJob {
        handle,
        reply,
    })
    .await
}

pub(super) async fn retry(State(orders): State<Orders>, handle: Name) -> Answer {
    on_job(&orders, handle, |handle, reply| Control::RetryJobs {
        which: Which::One(handle),
        reply,
    })
    .await
}

pub(super) async fn discard(State(orders): State<Orders>, handle: Name) -> Answer {
    on_job(&orders, handle, |handle, reply| Control::DiscardJobs {
        which: Which::One(handle),
        reply,
    })
    .await
}

pub(super) async fn retry_all(State(orders): State<Orders>, of: OfQuery) -> Answer {
    let Query(Of { function }) = of?;
    let order = |reply| Control::RetryJobs {
        which: Which::All(function),
        reply,
    };
    let conflict = |error| Failure::new(StatusCode::CONFLICT, error);
    ask(&orders, order).await?.map(done).map_err(conflict)
}

pub(super) async fn discard_all(State(orders): State<Orders>, of: OfQuery) -> Answer {
    let Query(Of { function }) = of?;
    let order = |reply| Control::DiscardJobs {
        which: Which::All(function),
        reply,
    };
    let conflict = |error| Failure::new(StatusCode::CONFLICT, error);
    ask(&orders, order).await?.map(done).map_err(conflict)
}

pub(super) async fn pause(State(orders): State<Orders>, function: Name) -> Answer {
    let Path(function) = function?;
    let unknown = |error| Failure::new(StatusCode::NOT_FOUND, error);
    let order = |reply| Control::Pause { function, reply };
    ask(&orders, order).await?.map(done).map_err(unknown)
}

pub(super) async fn resume(State(orders): State<Orders>, function: Name) -> Answer {
    let Path(function) = function?;
    let conflict = |error| Failure::new(StatusCode::CONFLICT, error);
    let order = |reply| Control::Resume { function, reply };
    ask(&orders, order).await?.map(done).map_err(conflict)
}

/// Sends an order about a job. Whether one that is refused is of a job that there is not is looked up.
async fn on_job(
    orders: &Orders,
    handle: Name,
    order: impl FnOnce(String, Reply) -> Control,
) -> Answer {
    let Path(handle) = handle?;
    match ask(orders, |reply| order(handle.clone(), reply)).await? {
        Ok(message) => Ok(done(message)),
        Err(error) => {
            let code = match look(orders, &handle).await? {
                Some(_) => StatusCode::CONFLICT,
                None => StatusCode::NOT_FOUND,
            };
            Err(Failure::new(code, error))
        }
    }
}

async fn look(orders: &Orders, handle: &str) -> Result<Option<JobView>, Failure> {
    let (reply, answer) = oneshot::channel();
    let handle = handle.to_owned();
    let sent = orders.send(Control::Job { handle, reply }).await;
    sent.map_err(|_| Failure::ending())?;
    answer.await.map_err(|_| Failure::ending())
}
