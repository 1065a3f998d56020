//! Authorities and certificates, and the daemon that uses them.

use std::net::{Ipv4Addr, SocketAddr};

use gearpool::status::Status;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, date_time_ymd};

use crate::support::{Daemon, Home};

/// An authority.
pub(crate) struct Authority {
    issuer: Issuer<'static, KeyPair>,
    pub(crate) pem: String,
}

/// A certificate and its key, PEM.
pub(crate) struct Signed {
    pub(crate) cert: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new(name: &str) -> Authority {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(DnType::CommonName, name);
        let pem = params.self_signed(&key).unwrap().pem();
        Authority {
            issuer: Issuer::new(params, key),
            pem,
        }
    }

    /// A certificate for these names.
    pub(crate) fn sign(&self, names: &[&str]) -> Signed {
        self.sign_as(names, |_| ())
    }

    /// One whose time is over.
    pub(crate) fn sign_expired(&self, names: &[&str]) -> Signed {
        self.sign_as(names, |params| {
            params.not_before = date_time_ymd(2001, 1, 1);
            params.not_after = date_time_ymd(2002, 1, 1);
        })
    }

    fn sign_as(&self, names: &[&str], change: impl FnOnce(&mut CertificateParams)) -> Signed {
        let key = KeyPair::generate().unwrap();
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        change(&mut params);
        Signed {
            cert: params.signed_by(&key, &self.issuer).unwrap().pem(),
            key: key.serialize_pem(),
        }
    }
}

/// The `tls` section of the daemons here, without a line about clients' certificates.
pub(crate) const SECTION: &str =
    "server:\n  tls:\n    listen: 127.0.0.1:0\n    cert: server.crt\n    key: server.key\n";

/// That line.
pub(crate) const WANTS_CLIENTS_CERTIFICATE: &str = "    client_ca: ca.crt\n";

/// A pool without Gearman library.
pub(crate) const POOL: &str = "functions:\n  rev: {run: rev, max: 2}\n";

/// A daemon that speaks TLS, and the authority of its certificate.
pub(crate) struct Site {
    pub(crate) daemon: Daemon,
    pub(crate) authority: Authority,
    pub(crate) address: SocketAddr,
}

impl Site {
    /// One that takes every client.
    pub(crate) fn open() -> Site {
        Site::start(&format!("{SECTION}{POOL}"))
    }

    /// One that takes only clients with a certificate.
    pub(crate) fn closed() -> Site {
        Site::start(&format!("{SECTION}{WANTS_CLIENTS_CERTIFICATE}{POOL}"))
    }

    /// One with this file.
    pub(crate) fn start(file: &str) -> Site {
        let (home, authority) = Site::home(file);
        Site::of(Daemon::start_in(home, &["-vvv"]), authority)
    }

    /// A folder with certificates.
    pub(crate) fn home(file: &str) -> (Home, Authority) {
        let authority = Authority::new("ours");
        let home = Home::new(file);
        home.write("ca.crt", &authority.pem);
        put(
            &home,
            "server",
            &authority.sign(&["localhost", "127.0.0.1"]),
        );
        put(&home, "client", &authority.sign(&[]));
        (home, authority)
    }

    /// A daemon that runs already.
    pub(crate) fn of(daemon: Daemon, authority: Authority) -> Site {
        let address = tls_address(&daemon.status());
        Site {
            daemon,
            authority,
            address,
        }
    }

    /// Its address, as our commands take it.
    pub(crate) fn url(&self) -> String {
        format!("tls://{}", self.address)
    }

    /// A file in its folder.
    pub(crate) fn path(&self, name: &str) -> String {
        self.daemon.home.path(name).display().to_string()
    }

    /// Puts a certificate and its key in the place of the server's.
    pub(crate) fn renew(&self, signed: &Signed) {
        put(&self.daemon.home, "server", signed);
    }
}

/// Writes `NAME.crt` and `NAME.key`.
pub(crate) fn put(home: &Home, name: &str, signed: &Signed) {
    home.replace(&format!("{name}.crt"), &signed.cert);
    home.replace(&format!("{name}.key"), &signed.key);
}

fn tls_address(status: &Status) -> SocketAddr {
    let mut addresses = status.server.listen.iter();
    let address = addresses.find_map(|address| address.strip_prefix("tls://"));
    let address: SocketAddr = address.unwrap().parse().unwrap();
    assert_eq!(address.ip(), Ipv4Addr::LOCALHOST);
    address
}
