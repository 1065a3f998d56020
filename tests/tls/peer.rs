//! A Gearman peer over TLS that does what a test tells it, sensible or not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use gearpool::proto::{Request, Response};
use rustls::crypto::ring;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedProtocolVersion,
};

use crate::pki::{Authority, Signed};
use crate::support::DEADLINE;

/// Both versions that there are.
pub(crate) const VERSIONS: [&SupportedProtocolVersion; 2] = [&TLS12, &TLS13];

/// A connection.
pub(crate) struct Peer(pub(crate) StreamOwned<ClientConnection, TcpStream>);

/// What a peer trusts, and what it shows.
pub(crate) fn config(
    authority: &Authority,
    own: Option<&Signed>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.pem)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    Arc::new(match own {
        Some(own) => {
            let key = PrivateKeyDer::from_pem_slice(own.key.as_bytes()).unwrap();
            builder
                .with_client_auth_cert(vec![certificate(&own.cert)], key)
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    })
}

/// A certificate's bytes.
pub(crate) fn certificate(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

/// A connection that is plain yet.
pub(crate) fn tcp(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(DEADLINE)).unwrap();
    stream.set_write_timeout(Some(DEADLINE)).unwrap();
    stream
}

impl Peer {
    /// Connects to `localhost`. The handshake is done with the first word.
    pub(crate) fn connect(address: SocketAddr, config: &Arc<ClientConfig>) -> Peer {
        let name = ServerName::try_from("localhost").unwrap();
        let session = ClientConnection::new(Arc::clone(config), name).unwrap();
        Peer(StreamOwned::new(session, tcp(address)))
    }

    /// Sends a request.
    pub(crate) fn send(&mut self, request: &Request<'_>) -> io::Result<()> {
        self.0.write_all(&encoded(request))?;
        self.0.flush()
    }

    /// Reads the packet that is to come next.
    pub(crate) fn expect(&mut self, response: &Response<'_>) -> io::Result<()> {
        let mut expected = Vec::new();
        response.encode(&mut expected);
        let mut got = vec![0; expected.len()];
        self.0.read_exact(&mut got)?;
        // not assert_eq: a megabyte of difference helps nobody
        assert!(
            got == expected,
            "another packet than {} bytes",
            expected.len()
        );
        Ok(())
    }

    /// There and back.
    pub(crate) fn echo(&mut self, data: &[u8]) -> io::Result<()> {
        self.send(&Request::EchoReq { data })?;
        self.expect(&Response::EchoRes { data })
    }

    /// The certificate that the server has shown.
    pub(crate) fn shown(&self) -> CertificateDer<'static> {
        self.0.conn.peer_certificates().unwrap()[0]
            .clone()
            .into_owned()
    }
}

/// A request's bytes.
pub(crate) fn encoded(request: &Request<'_>) -> Vec<u8> {
    let mut bytes = Vec::new();
    request.encode(&mut bytes);
    bytes
}
