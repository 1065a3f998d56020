//! The control API: HTTP and JSON over a Unix socket that only root and the daemon's own user may use.
//!
//! It decides nothing. A handler turns a request into a [`Control`], sends it to the manager, and the manager's sentence back.
//!
//! | request | body | answer |
//! | --- | --- | --- |
//! | `GET /status` | | [`Status`](crate::status::Status) |
//! | `GET /plan[?file=PATH]` | | [`Done`], what a reload would change; 422 with all problems of the file |
//! | `POST /reload` | | [`Done`] when the pools' checks have passed, 422 with all problems of the file, or with what the checks say |
//! | `POST /upgrade` | | none: the connection ends with the program; 409 with why it goes on |
//! | `POST /pools/{pool}/scale` | [`Bounds`] | [`Done`] |
//! | `POST /pools/{pool}/start` | | [`Done`] |
//! | `POST /pools/{pool}/stop` | | [`Done`] |
//! | `POST /pools/{pool}/restart[?slot=N]` | | [`Done`] when the pool's check has passed, 409 with what it says |
//! | `GET /jobs[?function=F][&limit=N]` | | [`JobList`](crate::status::jobs::JobList), of what is queued or running |
//! | `GET /jobs/{handle}` | | [`JobView`](crate::status::jobs::JobView), set aside or not |
//! | `POST /jobs/{handle}/cancel` | | [`Done`] |
//! | `GET /failed[?function=F][&limit=N]` | | [`JobList`](crate::status::jobs::JobList), of what is set aside |
//! | `POST /failed/retry[?function=F]`, `POST /failed/{handle}/retry` | | [`Done`] |
//! | `POST /failed/discard[?function=F]`, `POST /failed/{handle}/discard` | | [`Done`] |
//! | `POST /functions/{function}/pause`, `POST /functions/{function}/resume` | | [`Done`] |
//!
//! What was not done is [`Refused`]: 400 for a request that makes no sense, 403 for a stranger, 404 for a pool or a job that there is not, 409 for
//! what the manager refuses, 503 while the daemon is ending.

mod api;
mod body;
mod jobs;
mod order;
mod socket;

pub use api::serve;
pub use body::{Bounds, Done, Refused};
pub use order::{Order, segment};
pub use socket::{BindError, bind};

#[cfg(doc)]
use crate::daemon::control::Control;
