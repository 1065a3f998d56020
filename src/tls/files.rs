//! From PEM files to the configurations of rustls.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};
use rustls::{ClientConfig, RootCertStore, ServerConfig};

use super::explain;
use super::words::certificate;
use crate::config::PemFiles;
use crate::sys::reason;

/// Which of the files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pem {
    /// The own certificate.
    Cert,
    /// Its private key.
    Key,
    /// The CA of the other side's certificates.
    Ca,
}

/// What is wrong with one of the files.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct PemProblem {
    /// Which.
    pub pem: Pem,
    /// A sentence that names the path and says what to do.
    pub message: String,
}

/// What a server shows to its clients, and asks of them.
#[derive(Clone, Debug)]
pub struct Identity {
    /// For new connections.
    pub config: Arc<ServerConfig>,
    /// Of what is in the files, to see whether they have changed.
    pub fingerprint: u64,
}

/// Reads a server's files.
///
/// # Errors
/// All [`PemProblem`]s.
pub fn server(files: &PemFiles) -> Result<Identity, Vec<PemProblem>> {
    let mut problems = Vec::new();
    let mut hasher = DefaultHasher::new();
    let own = own(&files.cert, &files.key, &mut hasher, &mut problems);
    let roots = match &files.client_ca {
        Some(path) => authorities(path, &mut hasher)
            .map(|roots| Some(Arc::new(roots)))
            .map_err(|problem| problems.push(problem)),
        None => Ok(None),
    };
    let (Some((chain, key)), Ok(roots)) = (own, roots) else {
        return Err(problems);
    };
    let builder = ServerConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3");
    let builder = match roots {
        Some(roots) => {
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .build()
                .expect("there is at least one authority");
            builder.with_client_cert_verifier(verifier)
        }
        None => builder.with_no_client_auth(),
    };
    let mut config = builder
        .with_single_cert(chain, key)
        .map_err(|error| vec![mismatch(&files.cert, &files.key, &error)])?;
    // A connection lives long and a handshake costs little; a session that is taken up again would go on with a client's certificate
    // that has expired since, or whose authority is not trusted any more.
    config.session_storage = Arc::new(NoServerSessionStorage {});
    config.send_tls13_tickets = 0;
    Ok(Identity {
        config: Arc::new(config),
        fingerprint: hasher.finish(),
    })
}

/// Reads a client's files: the authority that has to have signed the server's certificate, and the client's own certificate and key
/// when it has one.
///
/// # Errors
/// All [`PemProblem`]s.
pub fn client(
    ca: &Path,
    own: Option<(&Path, &Path)>,
) -> Result<Arc<ClientConfig>, Vec<PemProblem>> {
    let mut problems = Vec::new();
    let mut unused = DefaultHasher::new();
    let roots = authorities(ca, &mut unused).map_err(|problem| problems.push(problem));
    let read = own.map(|(cert, key)| self::own(cert, key, &mut unused, &mut problems));
    let (Ok(roots), None | Some(Some(_))) = (roots, &read) else {
        return Err(problems);
    };
    let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider())
        .build()
        .expect("there is at least one authority");
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .expect("ring has ciphers for TLS 1.2 and 1.3")
        .with_webpki_verifier(verifier);
    let config = match (read.flatten(), own) {
        (Some((chain, key)), Some((cert_path, key_path))) => builder
            .with_client_auth_cert(chain, key)
            .map_err(|error| vec![mismatch(cert_path, key_path, &error)])?,
        _ => builder.with_no_client_auth(),
    };
    Ok(Arc::new(config))
}

fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

type Own = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

fn own(
    cert: &Path,
    key: &Path,
    hasher: &mut DefaultHasher,
    problems: &mut Vec<PemProblem>,
) -> Option<Own> {
    let chain = certificates(Pem::Cert, cert, hasher);
    let key = private_key(key, hasher);
    match (chain, key) {
        (Ok(chain), Ok(key)) => Some((chain, key)),
        (chain, key) => {
            problems.extend(chain.err());
            problems.extend(key.err());
            None
        }
    }
}

fn authorities(path: &Path, hasher: &mut DefaultHasher) -> Result<RootCertStore, PemProblem> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(Pem::Ca, path, hasher)? {
        roots.add(certificate).map_err(|error| PemProblem {
            pem: Pem::Ca,
            message: format!("{}: {}", path.display(), explain(&error)),
        })?;
    }
    Ok(roots)
}

/// The certificates of a file, at least one.
fn certificates(
    pem: Pem,
    path: &Path,
    hasher: &mut DefaultHasher,
) -> Result<Vec<CertificateDer<'static>>, PemProblem> {
    let problem = |message| PemProblem { pem, message };
    let text = read(pem, path, hasher)?;
    let shown = path.display();
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&text).collect();
    match found {
        Ok(found) if found.is_empty() => Err(problem(format!(
            "{shown} holds no certificate; it must be a PEM file with -----BEGIN CERTIFICATE-----"
        ))),
        Ok(found) => Ok(found),
        Err(error) => Err(problem(format!("{shown} is no PEM file: {error}"))),
    }
}

fn private_key(
    path: &Path,
    hasher: &mut DefaultHasher,
) -> Result<PrivateKeyDer<'static>, PemProblem> {
    let problem = |message| PemProblem {
        pem: Pem::Key,
        message,
    };
    let text = read(Pem::Key, path, hasher)?;
    let shown = path.display();
    PrivateKeyDer::from_pem_slice(&text).map_err(|error| match error {
        pem::Error::NoItemsFound => {
            let locked = b"ENCRYPTED";
            problem(match text.windows(locked.len()).any(|part| part == locked) {
                true => format!(
                    "the key in {shown} has a password, which nobody could type at a restart; take it off with openssl pkey"
                ),
                false => format!(
                    "{shown} holds no private key; it must be a PEM file with -----BEGIN PRIVATE KEY-----"
                ),
            })
        }
        error => problem(format!("{shown} is no PEM file: {error}")),
    })
}

fn read(pem: Pem, path: &Path, hasher: &mut DefaultHasher) -> Result<Vec<u8>, PemProblem> {
    let text = std::fs::read(path).map_err(|error| PemProblem {
        pem,
        message: format!("cannot read {}: {}", path.display(), reason(&error)),
    })?;
    text.hash(hasher);
    Ok(text)
}

fn mismatch(cert: &Path, key: &Path, error: &rustls::Error) -> PemProblem {
    let (cert, key) = (cert.display(), key.display());
    match error {
        rustls::Error::InconsistentKeys(_) => PemProblem {
            pem: Pem::Key,
            message: format!("the key in {key} does not belong to the certificate in {cert}"),
        },
        rustls::Error::InvalidCertificate(error) => PemProblem {
            pem: Pem::Cert,
            message: format!("the certificate in {cert} {}", certificate(error)),
        },
        error => PemProblem {
            pem: Pem::Key,
            message: format!("{key}: {}", explain(error)),
        },
    }
}
