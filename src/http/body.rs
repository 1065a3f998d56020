//! The API's small bodies. Daemon and client share them, so they cannot drift apart.

use serde::{Deserialize, Serialize};

/// The sizes between which a pool is to be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Bounds {
    /// At least so many processes.
    pub min: u32,
    /// At most so many.
    pub max: u32,
}

/// An order was carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Done {
    /// What was done, in a sentence; for a reload the plan, in several lines.
    pub message: String,
}

/// An order was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Refused {
    /// Why, and what to do about it.
    pub error: String,
}
