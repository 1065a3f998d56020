//! Which Gearman servers a command talks to: flags, environment, default.

use std::env;

use crate::cli::Failure;
use crate::client::{Address, ConnectError, Connection};
use crate::config::DEFAULT_PORT;

/// The flags that say where the server is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Servers {
    /// A Gearman server: HOST, HOST:PORT, [IPV6]:PORT or unix:/PATH; may be given more than once
    ///
    /// Without it: the environment's GEARMAN_SERVERS (several, with commas between them), then GEARMAN_SERVER, then
    /// 127.0.0.1:4730.
    #[arg(
        short = 'h',
        long = "server",
        visible_alias = "host",
        value_name = "HOST[:PORT]",
        help_heading = "Server"
    )]
    pub servers: Vec<String>,

    /// The port of a server that is named without one
    #[arg(
        short,
        long,
        value_name = "PORT",
        value_parser = clap::value_parser!(u16).range(1..),
        help_heading = "Server"
    )]
    pub port: Option<u16>,

    /// Print help; --help has examples
    #[arg(short = 'H', long, action = clap::ArgAction::Help)]
    pub help: Option<bool>,
}

impl Servers {
    /// The servers' addresses, never none: those of the flags, else of the environment, else our own machine.
    ///
    /// # Errors
    /// [`Failure::Usage`], when one is not written as an address.
    pub(super) fn addresses(&self) -> Result<Vec<Address>, Failure> {
        let port = self.port.unwrap_or(DEFAULT_PORT);
        let list = |text: &str, from: &str| {
            Address::parse_list(text, port)
                .map_err(|error| Failure::Usage(format!("{from}: {error}")))
        };
        let mut addresses = Vec::new();
        for text in &self.servers {
            let named = list(text, "--server")?;
            if named.is_empty() {
                return Err(Failure::Usage("--server: no address given".to_owned()));
            }
            addresses.extend(named);
        }
        // a port alone is a server on this machine, whatever the environment says
        if addresses.is_empty() && self.port.is_none() {
            for name in ["GEARMAN_SERVERS", "GEARMAN_SERVER"] {
                addresses = list(&env::var(name).unwrap_or_default(), name)?;
                if !addresses.is_empty() {
                    break;
                }
            }
        }
        if addresses.is_empty() {
            addresses.push(Address::local(port));
        }
        Ok(addresses)
    }

    /// Connects to the first server that answers.
    ///
    /// # Errors
    /// [`Failure::NoDaemon`] with a line for each that does not.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let mut failures: Vec<ConnectError> = Vec::new();
        for address in self.addresses()? {
            match Connection::connect(&address).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failures.push(error),
            }
        }
        let lines: Vec<_> = failures.iter().map(ConnectError::to_string).collect();
        Err(Failure::NoDaemon(lines.join("\n")))
    }
}
