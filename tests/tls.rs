//! TLS on the real daemon: with a client of rustls that can misbehave, Python's `gear`, openssl's s_client, stunnel, and our own
//! commands. Every test makes its own certificates.

#![expect(clippy::unwrap_used, reason = "a test fails where it stands")]

#[path = "tls/certificates.rs"]
mod certificates;
#[path = "tls/clients.rs"]
mod clients;
#[path = "tls/commands.rs"]
mod commands;
#[path = "tls/flags.rs"]
mod flags;
#[path = "tls/peer.rs"]
mod peer;
#[path = "tls/pki.rs"]
mod pki;
#[path = "tls/reload.rs"]
mod reload;
#[path = "support/running.rs"]
mod running;
#[path = "tls/strangers.rs"]
mod strangers;
#[expect(dead_code, reason = "what the other tests of the daemon need")]
#[path = "support/daemon.rs"]
mod support;
#[path = "tls/traffic.rs"]
mod traffic;
#[path = "tls/upgrade.rs"]
mod upgrade;
