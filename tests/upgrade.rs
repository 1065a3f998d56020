//! Upgrades of the real daemon: another program goes on with everything that there is, and neither client nor worker notices.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "upgrade/checks.rs"]
mod checks;
#[path = "upgrade/connections.rs"]
mod connections;
#[path = "clients/library.rs"]
#[expect(dead_code, reason = "what the other tests need of the libraries")]
mod library;
#[path = "upgrade/load.rs"]
mod load;
#[path = "upgrade/processes.rs"]
mod processes;
#[path = "upgrade/refused.rs"]
mod refused;
#[path = "support/running.rs"]
mod running;
#[path = "upgrade/stage.rs"]
mod stage;
#[path = "support/daemon.rs"]
#[expect(dead_code, reason = "what the other tests of the daemon need")]
mod support;
