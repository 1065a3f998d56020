//! A job as it is written for another program: a row without the names of its fields, for there may be a million of them.
//!
//! A field that is added goes to the end, with `#[serde(default)]`, and an older row can be read.

use std::borrow::Cow;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::conn::ConnKey;
use super::job::{Job, JobKey, NOBODY, Place};
use crate::proto::Priority;
use crate::time::Time;

/// The fields of a [`Job`] in their order. A place in a lane is the two numbers before the other places, for most are that.
#[derive(Serialize, Deserialize)]
struct Row<'a>(
    u64,
    u32,
    Priority,
    JobKey,
    JobKey,
    Option<Place>,
    bool,
    bool,
    bool,
    u16,
    u16,
    Time,
    u64,
    u64,
    #[serde(borrow, with = "serde_bytes")] Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")] Cow<'a, [u8]>,
    #[serde(borrow, with = "serde_bytes")] Option<Cow<'a, [u8]>>,
    Cow<'a, [ConnKey]>,
);

impl Serialize for Job {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Job {
            number,
            function,
            priority,
            place,
            background,
            cancelled,
            is_overdue,
            lost,
            failed,
            since,
            numerator,
            denominator,
            unique,
            workload,
            reducer,
            clients,
        } = self;
        let (before, after, elsewhere) = match *place {
            Place::Lane { before, after } => (before, after, None),
            Place::Worker { .. } | Place::Later { .. } => (NOBODY, NOBODY, Some(*place)),
        };
        Row(
            *number,
            *function,
            *priority,
            before,
            after,
            elsewhere,
            *background,
            *cancelled,
            *is_overdue,
            *lost,
            *failed,
            *since,
            *numerator,
            *denominator,
            Cow::Borrowed(unique),
            Cow::Borrowed(workload),
            reducer.as_deref().map(Cow::Borrowed),
            Cow::Borrowed(clients),
        )
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for Job {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Job, D::Error> {
        let Row(
            number,
            function,
            priority,
            before,
            after,
            elsewhere,
            background,
            cancelled,
            is_overdue,
            lost,
            failed,
            since,
            numerator,
            denominator,
            unique,
            workload,
            reducer,
            clients,
        ) = Row::deserialize(deserializer)?;
        Ok(Job {
            number,
            function,
            priority,
            place: elsewhere.unwrap_or(Place::Lane { before, after }),
            background,
            cancelled,
            is_overdue,
            lost,
            failed,
            since,
            numerator,
            denominator,
            unique: unique.into_owned().into(),
            workload: workload.into_owned().into(),
            reducer: reducer.map(|reducer| reducer.into_owned().into()),
            clients: clients.into_owned(),
        })
    }
}
