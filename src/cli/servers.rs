//! Which Gearman servers a command talks to: flags, environment, default.

use std::env;
use std::path::PathBuf;
use std::sync::Arc;

use rustls::ClientConfig;

use crate::cli::Failure;
use crate::client::{ConnectError, Connection};
use crate::config::{Address, DEFAULT_PORT};
use crate::tls;

/// The flags that say where the server is.
#[derive(Clone, Debug, Default, clap::Args)]
pub(super) struct Servers {
    /// A Gearman server: HOST, HOST:PORT, [IPV6]:PORT, tls://HOST:PORT or unix:/PATH; may be given more than once
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

    /// The CA that has signed the certificate of a tls:// server, PEM
    ///
    /// Without it: the environment's GEARMAND_CA_CERTIFICATE, as libgearman has it. No server is trusted without a CA;
    /// /etc/ssl/certs/ca-certificates.crt has the public ones.
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub tls_ca: Option<PathBuf>,

    /// Our certificate, for a server that wants one, PEM [env: GEARMAN_CLIENT_PEM]
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub tls_cert: Option<PathBuf>,

    /// Its private key, PEM [env: GEARMAN_CLIENT_KEY]
    #[arg(long, value_name = "FILE", help_heading = "TLS")]
    pub tls_key: Option<PathBuf>,

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
        let list = |text: &str, from: &str| {
            Address::parse_list(text, self.port)
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
            addresses.push(Address::local(self.port.unwrap_or(DEFAULT_PORT)));
        }
        Ok(addresses)
    }

    /// What TLS takes, when one of the addresses wants it.
    ///
    /// # Errors
    /// [`Failure::Usage`]: a file that is missing or of no use, or one that is given for nothing.
    pub(super) fn tls(&self, addresses: &[Address]) -> Result<Option<Arc<ClientConfig>>, Failure> {
        let Some(address) = addresses.iter().find(|address| address.is_encrypted()) else {
            let flags = [&self.tls_ca, &self.tls_cert, &self.tls_key];
            return match flags.iter().any(|flag| flag.is_some()) {
                // whoever gives them believes that the connection is encrypted
                true => Err(Failure::Usage(format!(
                    "--tls-ca, --tls-cert and --tls-key are for a server that is named with tls://, and {} is not",
                    addresses
                        .iter()
                        .map(Address::to_string)
                        .collect::<Vec<_>>()
                        .join(", ")
                ))),
                false => Ok(None),
            };
        };
        let named = |flag: &Option<PathBuf>, variable| {
            let path = flag
                .clone()
                .or_else(|| env::var_os(variable).map(PathBuf::from));
            path.filter(|path| !path.as_os_str().is_empty())
        };
        let Some(ca) = named(&self.tls_ca, "GEARMAND_CA_CERTIFICATE") else {
            return Err(Failure::Usage(format!(
                "{address} needs --tls-ca FILE, the CA that has signed the server's certificate"
            )));
        };
        let cert = named(&self.tls_cert, "GEARMAN_CLIENT_PEM");
        let key = named(&self.tls_key, "GEARMAN_CLIENT_KEY");
        let own = match (&cert, &key) {
            (Some(cert), Some(key)) => Some((cert.as_path(), key.as_path())),
            (None, None) => None,
            (Some(_), None) | (None, Some(_)) => {
                return Err(Failure::Usage(
                    "--tls-cert and --tls-key belong together".to_owned(),
                ));
            }
        };
        tls::client(&ca, own).map(Some).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Failure::Usage(lines.join("\n"))
        })
    }

    /// Connects to the first server that answers.
    ///
    /// # Errors
    /// [`Failure::NoDaemon`] with a line for each that does not.
    pub(super) async fn connect(&self) -> Result<Connection, Failure> {
        let mut failures: Vec<ConnectError> = Vec::new();
        let addresses = self.addresses()?;
        let tls = self.tls(&addresses)?;
        for address in addresses {
            match Connection::connect(&address, tls.as_ref()).await {
                Ok(connection) => return Ok(connection),
                Err(error) => failures.push(error),
            }
        }
        let lines: Vec<_> = failures.iter().map(ConnectError::to_string).collect();
        Err(Failure::NoDaemon(lines.join("\n")))
    }
}
