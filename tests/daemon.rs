//! The real daemon with real workers, from its start to its end: each test has one of its own.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "daemon/addresses.rs"]
mod addresses;
#[path = "daemon/bad_input.rs"]
mod bad_input;
#[path = "daemon/breakages.rs"]
mod breakages;
#[path = "daemon/checks.rs"]
mod checks;
#[path = "daemon/control.rs"]
mod control;
#[path = "daemon/crash.rs"]
mod crash;
#[path = "daemon/includes.rs"]
mod includes;
#[path = "daemon/jobs.rs"]
mod jobs;
#[path = "daemon/keys.rs"]
mod keys;
#[path = "daemon/languages.rs"]
mod languages;
#[path = "daemon/life.rs"]
mod life;
#[path = "daemon/logs.rs"]
mod logs;
#[path = "daemon/php_ends.rs"]
mod php_ends;
#[path = "daemon/reload.rs"]
mod reload;
#[path = "daemon/run.rs"]
mod run;
#[path = "support/running.rs"]
mod running;
#[path = "daemon/schedule.rs"]
mod schedule;
#[path = "daemon/shutdown.rs"]
mod shutdown;
#[path = "support/daemon.rs"]
mod support;
#[path = "daemon/sweep.rs"]
mod sweep;
#[path = "daemon/top.rs"]
mod top;
#[path = "daemon/tutorial.rs"]
mod tutorial;
#[path = "daemon/view.rs"]
mod view;
