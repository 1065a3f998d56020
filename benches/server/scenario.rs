//! What is measured, and which parts of it share a server process.

use clap::ValueEnum;

/// A thing that is measured on its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Scenario {
    /// Background jobs into a server that has just started.
    SubmitFresh,
    /// Workers empty the queue that this left.
    Drain,
    /// As many jobs again, into memory that has held a queue before.
    SubmitWarm,
    /// Clients that wait, one job in flight each.
    Foreground,
    /// One job at a time among sleeping workers.
    Sleepers,
}

impl Scenario {
    /// In the order in which they run.
    pub(crate) const ALL: [Scenario; 5] = [
        Scenario::SubmitFresh,
        Scenario::Drain,
        Scenario::SubmitWarm,
        Scenario::Foreground,
        Scenario::Sleepers,
    ];

    /// The name in the table and on the command line.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::SubmitFresh => "submit-fresh",
            Scenario::Drain => "drain",
            Scenario::SubmitWarm => "submit-warm",
            Scenario::Foreground => "foreground",
            Scenario::Sleepers => "sleepers",
        }
    }
}

/// How many jobs each scenario sends in a round.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Counts {
    /// Submitted, drained, and submitted again.
    pub(crate) queue: usize,
    /// In the foreground.
    pub(crate) foreground: usize,
    /// Among the sleepers.
    pub(crate) sleepers: usize,
    /// How often.
    pub(crate) rounds: usize,
}

impl Counts {
    /// What the figures in `docs/figures.md` come from.
    pub(crate) const FULL: Counts = Counts {
        queue: 50_000,
        foreground: 20_000,
        sleepers: 200,
        rounds: 5,
    };

    /// Enough to see a change of a tenth.
    pub(crate) const QUICK: Counts = Counts {
        queue: 20_000,
        foreground: 5_000,
        sleepers: 40,
        rounds: 3,
    };
}
