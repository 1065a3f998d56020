//! A Gearman peer over TLS that does what a test tells it, sensible or not.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use gearpool::proto::{Request, Response};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::version::{TLS12, TLS13};
use rustls::{
    ClientConfig, ClientConnection, RootCertStore, StreamOwned, SupportedCipherSuite,
    SupportedProtocolVersion,
};

use crate::pki::{Authority, Signed};
use crate::support::{DEADLINE, until};

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
    config_of(ring::default_provider(), authority, own, versions)
}

/// The same with one cipher suite alone.
pub(crate) fn config_with(authority: &Authority, suite: SupportedCipherSuite) -> Arc<ClientConfig> {
    let provider = CryptoProvider {
        cipher_suites: vec![suite],
        ..ring::default_provider()
    };
    config_of(provider, authority, None, &[suite.version()])
}

fn config_of(
    provider: CryptoProvider,
    authority: &Authority,
    own: Option<&Signed>,
    versions: &[&'static SupportedProtocolVersion],
) -> Arc<ClientConfig> {
    let mut roots = RootCertStore::empty();
    roots.add(certificate(&authority.pem)).unwrap();
    let builder = ClientConfig::builder_with_provider(Arc::new(provider))
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

    /// The records that say this, which are to be written to the socket.
    pub(crate) fn records(&mut self, request: &Request<'_>) -> Vec<u8> {
        let plain = encoded(request);
        let (mut records, mut taken) = (Vec::new(), 0);
        while taken < plain.len() || self.0.conn.wants_write() {
            taken += self.0.conn.writer().write(&plain[taken..]).unwrap();
            self.0.conn.write_tls(&mut records).unwrap();
        }
        records
    }

    /// Writes a part of them, and waits until the server has read it.
    pub(crate) fn write_part(&mut self, part: &[u8]) {
        self.0.sock.write_all(part).unwrap();
        let port = |address: SocketAddr| format!(":{:04X} ", address.port());
        let own = port(self.0.sock.local_addr().unwrap());
        let servers = port(self.0.sock.peer_addr().unwrap());
        // the server's end of the connection, with the bytes that wait for it: proc_net_tcp(5)
        until("the server to have read it", || {
            let table = std::fs::read_to_string("/proc/net/tcp").unwrap();
            table.lines().any(|line| {
                let columns: Vec<_> = line.split_whitespace().collect();
                format!("{} ", columns[1]).ends_with(&servers)
                    && format!("{} ", columns[2]).ends_with(&own)
                    && columns[4].ends_with(":00000000")
            })
        });
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

    /// The handle of the job that was submitted.
    pub(crate) fn handle(&mut self) -> Vec<u8> {
        let mut header = [0; 12];
        self.0.read_exact(&mut header).unwrap();
        assert_eq!(header[..8], *b"\0RES\0\0\0\x08");
        let mut handle = vec![0; usize::from(header[11])];
        self.0.read_exact(&mut handle).unwrap();
        handle
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
