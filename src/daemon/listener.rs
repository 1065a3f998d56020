//! Listening: sockets are bound before anything is started, and accepted connections go round the threads.

use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::os::fd::{AsFd, AsRawFd, RawFd};
use std::os::unix::net::UnixListener as StdUnixListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};
use tokio::net::{TcpListener, TcpStream, UnixListener, UnixStream};
use tokio::runtime::Handle;

use super::conn::{Begin, ReadHalf, Wire, serve};
use super::hub::{Arriving, Hub};
use super::limits::Place;
use super::pace::said;
use super::peer::{Origin, Peer, PeerState, WriteHalf};
use super::tls::{self, Certificates};
use crate::config::Address;
use crate::jobs;
use crate::proto::Response;
use crate::sys::systemd::Passed;
use crate::sys::{handover, net};
use crate::tls::Records;

/// How long accepting rests after an error that a new try does not mend, such as no descriptor left.
const REST: Duration = Duration::from_millis(200);

/// How sockets are set up.
#[derive(Clone, Copy, Debug)]
pub struct SocketOptions {
    /// listen(2)'s backlog.
    pub backlog: i32,
    /// Whether TCP connections are probed while they are silent, and how, tcp(7).
    pub keepalive: Option<Keepalive>,
}

/// Probes of silent connections; `None` is the system's value.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keepalive {
    /// TCP_KEEPIDLE: silence before the first probe.
    pub idle: Option<Duration>,
    /// TCP_KEEPINTVL: between probes.
    pub interval: Option<Duration>,
    /// TCP_KEEPCNT: probes before the connection is dropped.
    pub count: Option<u32>,
}

/// Why an address cannot be listened on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// The name means nothing here.
    #[error("cannot listen on {address}: {error}")]
    Resolve {
        /// As it was written.
        address: String,
        /// getaddrinfo(3)'s.
        error: io::Error,
    },
    /// Somebody else does.
    #[error(
        "cannot listen on {0}: the address is in use (does a gearmand or another gearpool run? choose another port with -p)"
    )]
    InUse(String),
    /// A socket that systemd has passed.
    #[error("cannot listen on the socket {name:?} that was passed by systemd: {error}")]
    Passed {
        /// Its name.
        name: String,
        /// Why.
        error: io::Error,
    },
    /// Anything else.
    #[error("cannot listen on {address}: {error}")]
    Bind {
        /// As it was written.
        address: String,
        /// bind(2)'s or listen(2)'s.
        error: io::Error,
    },
}

/// A bound socket, for another program to go on with it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ListenerState {
    /// What it was bound for.
    pub(super) listen: Address,
    /// The socket, by its number.
    pub(super) descriptor: RawFd,
    /// Whose its path is, if it has one.
    owner: Owner,
}

/// A bound socket.
pub enum Listener {
    /// TCP, and the address that it has.
    Tcp(std::net::TcpListener, SocketAddr),
    /// The same for TLS.
    Tls(std::net::TcpListener, SocketAddr),
    /// A Unix socket, its path, and whose that is.
    Unix(StdUnixListener, PathBuf, Owner),
}

/// Who sees to the path of a Unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Owner {
    /// We do, and remove it in the end.
    Us,
    /// Whoever has passed us the socket.
    Systemd,
}

impl Listener {
    /// Binds every address that a name stands for.
    ///
    /// # Errors
    /// A [`ListenError`] that names the address.
    pub fn bind(listen: &Address, options: SocketOptions) -> Result<Vec<Listener>, ListenError> {
        match listen {
            Address::Tcp(host, port) | Address::Tls(host, port) => {
                let address = listen.to_string();
                let resolved = (host.as_str(), *port).to_socket_addrs();
                let resolved = resolved.map_err(|error| ListenError::Resolve {
                    address: address.clone(),
                    error,
                })?;
                let bound: Vec<_> = resolved
                    .map(|to| {
                        let bound = bind_tcp(to, options);
                        let (socket, own) =
                            bound.map_err(|error| refusal(to.to_string(), error))?;
                        Ok(match listen.is_encrypted() {
                            true => Listener::Tls(socket, own),
                            false => Listener::Tcp(socket, own),
                        })
                    })
                    .collect();
                // `localhost` may stand for ::1 too on a machine that has no IPv6: one address that works will do. But one that
                // somebody else has would be missed: half of the clients would speak to him.
                let is_taken = |one: &Result<_, _>| matches!(one, Err(ListenError::InUse(_)));
                match bound.iter().any(Result::is_ok) && !bound.iter().any(is_taken) {
                    true => Ok(bound.into_iter().flatten().collect()),
                    false => bound.into_iter().collect(),
                }
            }
            Address::Unix(path) => {
                let bound = bind_unix(path, options)
                    .map_err(|error| refusal(format!("unix:{}", path.display()), error))?;
                Ok(vec![bound])
            }
        }
    }

    /// A socket that the program before this one in this process has bound.
    ///
    /// # Errors
    /// A number that is no such socket's.
    pub(super) fn adopt(state: &ListenerState) -> io::Result<Listener> {
        let socket = handover::adopt(state.descriptor)?;
        Ok(match &state.listen {
            Address::Unix(path) => Listener::Unix(socket.into(), path.clone(), state.owner),
            Address::Tcp(..) | Address::Tls(..) => {
                let socket = std::net::TcpListener::from(socket);
                let own = socket.local_addr()?;
                match state.listen.is_encrypted() {
                    true => Listener::Tls(socket, own),
                    false => Listener::Tcp(socket, own),
                }
            }
        })
    }

    /// What another program needs to go on with it.
    pub(super) fn state(&self, listen: &Address) -> ListenerState {
        let descriptor = match self {
            Listener::Tcp(socket, _) | Listener::Tls(socket, _) => socket.as_raw_fd(),
            Listener::Unix(socket, ..) => socket.as_raw_fd(),
        };
        let owner = match self {
            Listener::Unix(_, _, owner) => *owner,
            Listener::Tcp(..) | Listener::Tls(..) => Owner::Us,
        };
        ListenerState {
            listen: listen.clone(),
            descriptor,
            owner,
        }
    }

    /// Takes a socket that was passed to us. With "tls" for its name, TLS is spoken there.
    ///
    /// # Errors
    /// A sentence about a socket that nobody can connect to.
    pub fn from_systemd(passed: Passed) -> Result<(Address, Listener), ListenError> {
        let Passed { name, socket } = passed;
        let socket = Socket::from(socket);
        let refused = |error: io::Error| ListenError::Passed {
            name: name.clone(),
            error,
        };
        let wanted = "it is no stream socket that listens";
        if !socket.is_listener().unwrap_or(false) || socket.r#type().ok() != Some(Type::STREAM) {
            return Err(refused(io::Error::other(wanted)));
        }
        socket.set_nonblocking(true).map_err(refused)?;
        let local = socket.local_addr().map_err(refused)?;
        if let Some(own) = local.as_socket() {
            let (host, port) = (own.ip().to_string(), own.port());
            return Ok(match name == "tls" {
                true => (Address::Tls(host, port), Listener::Tls(socket.into(), own)),
                false => (Address::Tcp(host, port), Listener::Tcp(socket.into(), own)),
            });
        }
        match local.as_pathname().map(Path::to_owned) {
            Some(path) => Ok((
                Address::Unix(path.clone()),
                Listener::Unix(socket.into(), path, Owner::Systemd),
            )),
            None => Err(refused(io::Error::other("it has no path"))),
        }
    }

    /// Whether this is where `listen` would be bound.
    pub fn is_at(&self, listen: &Address) -> bool {
        match (self, listen) {
            (Listener::Tcp(_, own), Address::Tcp(host, port))
            | (Listener::Tls(_, own), Address::Tls(host, port)) => {
                let mut resolved = (host.as_str(), *port)
                    .to_socket_addrs()
                    .into_iter()
                    .flatten();
                resolved.any(|address| address == *own)
            }
            (Listener::Unix(_, own, _), Address::Unix(path)) => own == path,
            _ => false,
        }
    }

    /// The address, for people.
    pub fn address(&self) -> String {
        match self {
            Listener::Tcp(_, address) => address.to_string(),
            Listener::Tls(_, address) => format!("tls://{address}"),
            Listener::Unix(_, path, _) => format!("unix:{}", path.display()),
        }
    }

    /// The port, of a TCP socket.
    pub fn port(&self) -> Option<u16> {
        match self {
            Listener::Tcp(_, address) | Listener::Tls(_, address) => Some(address.port()),
            Listener::Unix(..) => None,
        }
    }

    /// The path, of a Unix socket of our own.
    pub fn path(&self) -> Option<PathBuf> {
        match self {
            Listener::Unix(_, path, Owner::Us) => Some(path.clone()),
            Listener::Tcp(..) | Listener::Tls(..) | Listener::Unix(..) => None,
        }
    }

    /// Accepts for ever. Connections are served on `threads` in turn; this runs on the first of them.
    pub async fn accept(
        self,
        hub: Arc<Hub>,
        threads: Vec<Handle>,
        options: SocketOptions,
        certificates: Arc<Certificates>,
    ) -> io::Result<()> {
        let mut turn = 0;
        let mut next = || {
            turn += 1;
            threads[turn % threads.len()].clone()
        };
        let wire = match self {
            Listener::Tls(..) => Wire::Tls,
            Listener::Tcp(..) | Listener::Unix(..) => Wire::Plain,
        };
        match self {
            Listener::Tcp(listener, _) | Listener::Tls(listener, _) => {
                let listener = TcpListener::from_std(listener)?;
                let mut troubles = Troubles::default();
                loop {
                    match listener.accept().await {
                        Ok((stream, remote)) => {
                            let Some(place) = troubles.place(&hub, &stream, wire) else {
                                continue;
                            };
                            prepare(&stream, options);
                            let Ok(stream) = stream.into_std() else {
                                continue;
                            };
                            let hub = Arc::clone(&hub);
                            match wire {
                                Wire::Plain => {
                                    let arriving = hub.arrives();
                                    next().spawn(serve_plain(hub, stream, remote, place, arriving))
                                }
                                Wire::Tls => {
                                    let certificates = Arc::clone(&certificates);
                                    let shaking = hub.shakes_hands();
                                    next().spawn(serve_tls(
                                        hub,
                                        stream,
                                        remote,
                                        certificates,
                                        place,
                                        shaking,
                                    ))
                                }
                            };
                        }
                        Err(error) => troubles.rest_after(&error).await,
                    }
                }
            }
            Listener::Unix(listener, ..) => {
                let listener = UnixListener::from_std(listener)?;
                let mut troubles = Troubles::default();
                loop {
                    match listener.accept().await {
                        Ok((stream, _)) => {
                            let Some(place) = troubles.place(&hub, &stream, wire) else {
                                continue;
                            };
                            if let Ok(stream) = stream.into_std() {
                                let (hub, arriving) = (Arc::clone(&hub), hub.arrives());
                                next().spawn(serve_unix(hub, stream, place, arriving));
                            }
                        }
                        Err(error) => troubles.rest_after(&error).await,
                    }
                }
            }
        }
    }
}

/// What keeps connections from being accepted: said once, not once a try.
#[derive(Default)]
struct Troubles {
    is_told: bool,
}

impl Troubles {
    /// A place for a connection that has been accepted; if there is none, it is told so and will be closed.
    fn place(&mut self, hub: &Hub, stream: &impl AsFd, wire: Wire) -> Option<Place> {
        let place = hub.bounds().place();
        if place.is_some() {
            self.end();
            return place;
        }
        let connections = hub.bounds().limits.connections;
        if !std::mem::replace(&mut self.is_told, true) {
            said!(
                error,
                connections,
                "the limit of connections is reached: new ones are refused until others end; see --max-connections and server.limits"
            );
        }
        let mut refusal = Vec::new();
        match wire {
            Wire::Plain => {
                let text = format!("this server has {connections} connections, which is its limit");
                Response::Error {
                    code: b"TOO_MANY_CONNECTIONS",
                    text: text.as_bytes(),
                }
                .encode(&mut refusal);
            }
            Wire::Tls => refusal.extend_from_slice(&tls::NO_ROOM),
        }
        // a new socket takes that much, and one that does not is closed all the same
        let _ = net::send_now(stream.as_fd(), &refusal);
        net::end_writing(stream.as_fd());
        None
    }

    async fn rest_after(&mut self, error: &io::Error) {
        // the peer was gone before it was accepted
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        if !std::mem::replace(&mut self.is_told, true) {
            said!(error, %error, "cannot accept connections; trying again until it works");
        }
        tokio::time::sleep(REST).await;
    }

    fn end(&mut self) {
        if std::mem::take(&mut self.is_told) {
            said!(info, "connections are accepted again");
        }
    }
}

async fn serve_plain(
    hub: Arc<Hub>,
    stream: std::net::TcpStream,
    remote: SocketAddr,
    place: Place,
    arriving: Arriving,
) {
    if let Ok(stream) = TcpStream::from_std(stream)
        && let Ok((peer, read)) = meet(&hub, stream, remote, None)
    {
        drop(arriving);
        serve(hub, peer, read, Wire::Plain, Begin::Read, place).await;
    }
}

async fn serve_tls(
    hub: Arc<Hub>,
    stream: std::net::TcpStream,
    remote: SocketAddr,
    certificates: Arc<Certificates>,
    place: Place,
    shaking: Arriving,
) {
    let Ok(stream) = TcpStream::from_std(stream) else {
        return;
    };
    // who listens for TLS has a certificate
    let Some(config) = certificates.current() else {
        return;
    };
    if let Some(tls) = tls::accept(&stream, remote, config).await
        && let Ok((peer, read)) = meet(&hub, stream, remote, Some(Box::new(tls)))
    {
        drop(shaking);
        serve(hub, peer, read, Wire::Tls, Begin::Read, place).await;
    }
}

/// Makes a TCP connection known to the job server.
fn meet(
    hub: &Hub,
    stream: TcpStream,
    remote: SocketAddr,
    tls: Option<Box<Records>>,
) -> io::Result<(Arc<Peer>, ReadHalf)> {
    let local = stream.local_addr()?;
    let from = jobs::Peer {
        descriptor: stream.as_raw_fd(),
        address: remote.ip().to_canonical().to_string(),
        reach: jobs::Reach::Network,
    };
    let (read, write) = stream.into_split();
    let peer = hub.connect(from, |id| {
        Arc::new(Peer::new(
            id,
            remote.to_string(),
            Origin::Tcp { local, remote },
            WriteHalf::Tcp(write),
            tls,
            hub.bounds().share(),
        ))
    });
    tracing::debug!(peer = %peer.address, "connected");
    Ok((peer, ReadHalf::Tcp(read)))
}

async fn serve_unix(
    hub: Arc<Hub>,
    stream: std::os::unix::net::UnixStream,
    place: Place,
    arriving: Arriving,
) {
    let Ok(stream) = UnixStream::from_std(stream) else {
        return;
    };
    let pid = stream
        .peer_cred()
        .ok()
        .and_then(|peer| peer.pid())
        .and_then(|pid| u32::try_from(pid).ok());
    let from = jobs::Peer {
        descriptor: stream.as_raw_fd(),
        address: "unix".to_owned(),
        reach: jobs::Reach::Local,
    };
    let address = pid.map_or_else(|| "unix".to_owned(), |pid| format!("unix, pid {pid}"));
    let (read, write) = stream.into_split();
    let peer = hub.connect(from, |id| {
        Arc::new(Peer::new(
            id,
            address,
            Origin::Unix { pid },
            WriteHalf::Unix(write),
            None,
            hub.bounds().share(),
        ))
    });
    drop(arriving);
    tracing::debug!(peer = %peer.address, "connected");
    let read = ReadHalf::Unix(read);
    serve(hub, peer, read, Wire::Plain, Begin::Read, place).await;
}

/// A connection that another program in this process's place has served.
pub(super) struct Resumed {
    pub(super) peer: Arc<Peer>,
    read: ReadHalf,
    place: Place,
}

impl Resumed {
    /// Takes its socket over, on the thread whose runtime this is called in.
    ///
    /// # Errors
    /// A number that is no socket's.
    pub(super) fn adopt(hub: &Hub, state: PeerState<'_>) -> io::Result<Resumed> {
        let socket = handover::adopt(state.descriptor)?;
        let (read, write) = match state.origin {
            Origin::Tcp { .. } => {
                let (read, write) = TcpStream::from_std(socket.into())?.into_split();
                (ReadHalf::Tcp(read), WriteHalf::Tcp(write))
            }
            Origin::Unix { .. } => {
                let (read, write) = UnixStream::from_std(socket.into())?.into_split();
                (ReadHalf::Unix(read), WriteHalf::Unix(write))
            }
        };
        Ok(Resumed {
            peer: Arc::new(Peer::resume(state, write, hub.bounds().share())),
            read,
            place: hub.bounds().old_place(),
        })
    }

    /// Goes on with it.
    pub(super) async fn serve(self, hub: Arc<Hub>, begin: Begin) {
        let Resumed { peer, read, place } = self;
        let wire = match peer.speaks_tls() {
            true => Wire::Tls,
            false => Wire::Plain,
        };
        serve(hub, peer, read, wire, begin, place).await;
    }
}

fn prepare(stream: &TcpStream, options: SocketOptions) {
    let socket = socket2::SockRef::from(stream);
    // small packets that somebody waits for; a socket that refuses this is closing anyway
    let _ = socket.set_tcp_nodelay(true);
    if let Some(keepalive) = options.keepalive {
        let mut probes = TcpKeepalive::new();
        if let Some(idle) = keepalive.idle {
            probes = probes.with_time(idle);
        }
        if let Some(interval) = keepalive.interval {
            probes = probes.with_interval(interval);
        }
        if let Some(count) = keepalive.count {
            probes = probes.with_retries(count);
        }
        let _ = socket.set_tcp_keepalive(&probes);
        // Linux sends no probe while something is unacknowledged, which it tries for a quarter of an hour: TCP_USER_TIMEOUT, tcp(7)
        if let (Some(idle), Some(interval), Some(count)) =
            (keepalive.idle, keepalive.interval, keepalive.count)
        {
            let _ = socket.set_tcp_user_timeout(Some(idle + interval * count));
        }
    }
}

fn bind_tcp(
    address: SocketAddr,
    options: SocketOptions,
) -> io::Result<(std::net::TcpListener, SocketAddr)> {
    let socket = Socket::new(
        Domain::for_address(address),
        Type::STREAM.nonblocking().cloexec(),
        Some(Protocol::TCP),
    )?;
    socket.set_reuse_address(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    let listener = std::net::TcpListener::from(socket);
    let address = listener.local_addr()?;
    Ok((listener, address))
}

fn bind_unix(path: &Path, options: SocketOptions) -> io::Result<Listener> {
    // a socket that a dead server left behind answers nobody; a living one does
    if std::os::unix::net::UnixStream::connect(path)
        .is_err_and(|error| error.kind() == io::ErrorKind::ConnectionRefused)
    {
        std::fs::remove_file(path)?;
    }
    let socket = Socket::new(Domain::UNIX, Type::STREAM.nonblocking().cloexec(), None)?;
    socket.bind(&socket2::SockAddr::unix(path)?)?;
    socket.listen(options.backlog)?;
    Ok(Listener::Unix(socket.into(), path.to_owned(), Owner::Us))
}

fn refusal(address: String, error: io::Error) -> ListenError {
    match error.kind() {
        io::ErrorKind::AddrInUse => ListenError::InUse(address),
        _ => ListenError::Bind { address, error },
    }
}
