//! A connection, as the job server sees it.

use serde::{Deserialize, Serialize};

/// One connection, never used twice in the daemon's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ConnId(pub u64);
