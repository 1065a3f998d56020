//! gearmand's flags for TLS, and what `server.tls` of the file comes to beside them.

use std::env;
use std::path::PathBuf;

use super::Failure;
use crate::config::{Address, PemFiles};
use crate::daemon::settings::LoadedFile;
use crate::tls::{self, Identity};

/// TLS as gearmand has it: on all addresses. The file's `server.tls` has addresses of its own.
#[derive(Debug, clap::Args)]
#[command(
    next_help_heading = "TLS as gearmand has it; see server.tls in workers.example.yaml for a port beside the plain one"
)]
pub(super) struct SslArgs {
    /// Speak TLS on every TCP address, and nothing else there
    #[arg(long)]
    ssl: bool,
    /// The CA that has to have signed the clients' certificates; without it none are asked for [env: GEARMAND_CA_CERTIFICATE]
    #[arg(long, value_name = "FILE", requires = "ssl")]
    ssl_ca_file: Option<PathBuf>,
    /// The server's certificate, PEM [env: GEARMAND_SERVER_PEM]
    #[arg(long, value_name = "FILE", requires = "ssl")]
    ssl_certificate: Option<PathBuf>,
    /// Its private key, PEM [env: GEARMAND_SERVER_KEY]
    #[arg(long, value_name = "FILE", requires = "ssl")]
    ssl_key: Option<PathBuf>,
}

/// Where the daemon listens, and what it shows where that is with TLS.
pub(super) struct Speech {
    pub(super) listen: Vec<Address>,
    pub(super) tls: Option<Identity>,
    pub(super) pem_files: Option<PemFiles>,
}

impl SslArgs {
    /// These, and what a flag file says of those that are missing.
    pub(super) fn or(self, file: SslArgs) -> SslArgs {
        SslArgs {
            ssl: self.ssl || file.ssl,
            ssl_ca_file: self.ssl_ca_file.or(file.ssl_ca_file),
            ssl_certificate: self.ssl_certificate.or(file.ssl_certificate),
            ssl_key: self.ssl_key.or(file.ssl_key),
        }
    }

    /// What becomes of the addresses to listen on.
    ///
    /// # Errors
    /// [`Failure::Usage`]: flags that do not go together, or files that are of no use.
    pub(super) fn speech(
        &self,
        mut listen: Vec<Address>,
        file: Option<&LoadedFile>,
    ) -> Result<Speech, Failure> {
        let usage = |text: &str| Err(Failure::Usage(text.to_owned()));
        let section = file.and_then(|file| file.config.server.tls.as_ref());
        if !self.ssl {
            listen.extend(section.into_iter().flat_map(|tls| tls.listen.clone()));
            return Ok(Speech {
                listen,
                tls: file.and_then(|file| file.tls.clone()),
                pem_files: None,
            });
        }
        if section.is_some() {
            return usage("--ssl and server.tls of the file are two ways to the same; take one");
        }
        let listen: Vec<_> = listen.into_iter().map(Address::encrypted).collect();
        let has_pools = file.is_some_and(|file| !file.config.pools.is_empty());
        if has_pools && listen.iter().all(Address::is_encrypted) {
            return usage(
                "with --ssl every TCP address speaks TLS, and the pools' workers need one that does not: \
                 take server.tls in the file instead, or add -L unix:/PATH",
            );
        }
        let named = |flag: &Option<PathBuf>, variable| {
            let path = flag
                .clone()
                .or_else(|| env::var_os(variable).map(PathBuf::from));
            path.filter(|path| !path.as_os_str().is_empty())
                .map(super::absolute)
                .transpose()
        };
        let (Some(cert), Some(key)) = (
            named(&self.ssl_certificate, "GEARMAND_SERVER_PEM")?,
            named(&self.ssl_key, "GEARMAND_SERVER_KEY")?,
        ) else {
            return usage("--ssl needs --ssl-certificate FILE and --ssl-key FILE");
        };
        let files = PemFiles {
            cert,
            key,
            client_ca: named(&self.ssl_ca_file, "GEARMAND_CA_CERTIFICATE")?,
        };
        let identity = tls::server(&files).map_err(|problems| {
            let lines: Vec<_> = problems.iter().map(ToString::to_string).collect();
            Failure::Usage(lines.join("\n"))
        })?;
        Ok(Speech {
            listen,
            tls: Some(identity),
            pem_files: Some(files),
        })
    }
}
