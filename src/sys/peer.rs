//! Which worker a connection belongs to.
//!
//! A TCP connection carries no process id. For one that comes from this machine the kernel knows the inode of the *client's* socket
//! (sock_diag(7), asked for exactly that pair of addresses), and a process that has it open has it in `/proc/<pid>/fd`. Only the
//! workers' own sessions are looked through, and never `/proc/net/tcp`, which takes milliseconds for every thousand sockets.
//!
//! "Unknown" is a legal answer everywhere: a client on another machine, in another network namespace, or a kernel without sock_diag.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, OwnedFd};

use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, getsockopt, recv, send, socket,
};

use super::process::{self, Process};

/// How far up a process's ancestors are followed.
const MAX_DEPTH: usize = 64;

/// The leader among `leaders` in whose session the client of this connection is. `local` is the address that the connection was
/// accepted on, `peer` where it comes from. Takes some ten microseconds for each leader before the right one, so put first those that
/// have no connection yet.
pub fn leader_of(local: SocketAddr, peer: SocketAddr, leaders: &[u32]) -> Option<u32> {
    leaders_of(&[(local, peer)], leaders).pop().flatten()
}

/// The same for several connections, `(local, peer)` each, in one pass over the processes.
pub fn leaders_of(connections: &[(SocketAddr, SocketAddr)], leaders: &[u32]) -> Vec<Option<u32>> {
    let Ok(kernel) = Kernel::open() else {
        return vec![None; connections.len()];
    };
    let inodes: Vec<Option<u64>> = connections
        .iter()
        .map(|&(local, peer)| kernel.client_inode(local, peer))
        .collect();
    let wanted = inodes.iter().flatten().copied().collect();
    let owners = owners(wanted, leaders);
    inodes
        .into_iter()
        .map(|inode| owners.get(&inode?).copied())
        .collect()
}

/// The leader among `leaders` in whose session some process has the socket `inode` open.
pub fn owner(inode: u64, leaders: &[u32]) -> Option<u32> {
    owners(HashSet::from([inode]), leaders).remove(&inode)
}

/// The leader among `leaders` in whose session the process `pid` is, or whose descendant it is: for Unix sockets, with [`peer_pid`].
pub fn leader_of_pid(pid: u32, leaders: &[u32]) -> Option<u32> {
    let mut pid = pid;
    for _ in 0..MAX_DEPTH {
        if leaders.contains(&pid) {
            return Some(pid);
        }
        let process = process::one(pid)?;
        if leaders.contains(&process.session) {
            return Some(process.session);
        }
        pid = process.parent;
    }
    None
}

/// The process that connected to this Unix socket. `None` for one outside of this process's pid namespace.
pub fn peer_pid(socket: impl AsFd) -> Option<u32> {
    let credentials = getsockopt(&socket, PeerCredentials).ok()?;
    u32::try_from(credentials.pid()).ok().filter(|&pid| pid > 0)
}

/// The leaders of the sessions in which the sockets `wanted` are open.
fn owners(mut wanted: HashSet<u64>, leaders: &[u32]) -> HashMap<u64, u32> {
    let mut found = HashMap::new();
    // The worker itself, in nearly every case.
    for &leader in leaders {
        if wanted.is_empty() {
            return found;
        }
        take_sockets(leader, leader, &mut wanted, &mut found);
    }
    if wanted.is_empty() || leaders.is_empty() {
        return found;
    }
    // Behind a shell, or a child that the worker forked: whoever is in a leader's session or descends from it.
    let table: HashMap<u32, Process> = process::all()
        .into_iter()
        .map(|process| (process.pid, process))
        .collect();
    let leaders: HashSet<u32> = leaders.iter().copied().collect();
    for process in table.values() {
        if wanted.is_empty() {
            break;
        }
        if leaders.contains(&process.pid) {
            continue;
        }
        if let Some(leader) = leader_in(&table, &leaders, *process) {
            take_sockets(process.pid, leader, &mut wanted, &mut found);
        }
    }
    found
}

fn leader_in(
    table: &HashMap<u32, Process>,
    leaders: &HashSet<u32>,
    process: Process,
) -> Option<u32> {
    let mut process = process;
    for _ in 0..MAX_DEPTH {
        if leaders.contains(&process.session) {
            return Some(process.session);
        }
        if leaders.contains(&process.parent) {
            return Some(process.parent);
        }
        process = *table.get(&process.parent)?;
    }
    None
}

/// Moves the sockets that `pid` has open from `wanted` to `found`.
fn take_sockets(pid: u32, leader: u32, wanted: &mut HashSet<u64>, found: &mut HashMap<u64, u32>) {
    let Ok(descriptors) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return;
    };
    for descriptor in descriptors.flatten() {
        let Some(inode) = socket_inode(&descriptor.path()) else {
            continue;
        };
        if wanted.remove(&inode) {
            found.insert(inode, leader);
            if wanted.is_empty() {
                return;
            }
        }
    }
}

/// The link of an open socket reads `socket:[12345]`.
fn socket_inode(descriptor: &std::path::Path) -> Option<u64> {
    let target = fs::read_link(descriptor).ok()?;
    target
        .to_str()?
        .strip_prefix("socket:[")?
        .strip_suffix(']')?
        .parse()
        .ok()
}

/// linux/netlink.h, linux/sock_diag.h, linux/inet_diag.h.
const SOCK_DIAG_BY_FAMILY: u16 = 20;
const NLM_F_REQUEST: u16 = 1;
const HEADER: usize = 16;
const REQUEST: usize = 56;
/// Where in the answer's body the inode stands.
const ANSWER_INODE: std::ops::Range<usize> = 68..72;
const NO_COOKIE: u32 = u32::MAX;

/// A NETLINK_SOCK_DIAG socket.
struct Kernel(OwnedFd);

impl Kernel {
    fn open() -> io::Result<Kernel> {
        Ok(Kernel(socket(
            AddressFamily::Netlink,
            SockType::Datagram,
            SockFlag::SOCK_CLOEXEC,
            SockProtocol::NetlinkSockDiag,
        )?))
    }

    /// The inode of the socket at the other end of a connection that was accepted here. `None` when it is not on this machine, or closed.
    fn client_inode(&self, local: SocketAddr, peer: SocketAddr) -> Option<u64> {
        let request = request(peer, local);
        send(self.0.as_raw_fd(), &request, MsgFlags::empty()).ok()?;
        let mut answer = [0; 1024];
        // The kernel has put the answer into the queue before send returns.
        let length = recv(self.0.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT).ok()?;
        inode_in(answer.get(..length)?, peer, local)
    }
}

/// struct nlmsghdr and struct inet_diag_req_v2, for the one socket with these two addresses.
fn request(source: SocketAddr, destination: SocketAddr) -> [u8; HEADER + REQUEST] {
    let mut bytes = Vec::with_capacity(HEADER + REQUEST);
    // Length, type, flags, sequence, port.
    bytes.extend(((HEADER + REQUEST) as u32).to_ne_bytes());
    bytes.extend(SOCK_DIAG_BY_FAMILY.to_ne_bytes());
    bytes.extend(NLM_F_REQUEST.to_ne_bytes());
    bytes.extend([0; 8]);
    // A connection between mapped addresses is an IPv4 connection, whichever family its sockets are of.
    let (from, to) = (source.ip().to_canonical(), destination.ip().to_canonical());
    let family = match from {
        IpAddr::V4(_) => libc::AF_INET,
        IpAddr::V6(_) => libc::AF_INET6,
    };
    // Family, protocol, no extensions, padding, all states.
    bytes.extend([family as u8, libc::IPPROTO_TCP as u8, 0, 0]);
    bytes.extend(u32::MAX.to_ne_bytes());
    bytes.extend(source.port().to_be_bytes());
    bytes.extend(destination.port().to_be_bytes());
    bytes.extend(sixteen(from));
    bytes.extend(sixteen(to));
    let interface = match source {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    };
    bytes.extend(interface.to_ne_bytes());
    bytes.extend(NO_COOKIE.to_ne_bytes());
    bytes.extend(NO_COOKIE.to_ne_bytes());
    let mut request = [0; HEADER + REQUEST];
    request.copy_from_slice(&bytes);
    request
}

fn sixteen(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut bytes = [0; 16];
            bytes[..4].copy_from_slice(&address.octets());
            bytes
        }
        IpAddr::V6(address) => address.octets(),
    }
}

/// Reads struct inet_diag_msg. An answer for other addresses is a listener's: where the kernel finds no connection it looks for one.
fn inode_in(answer: &[u8], source: SocketAddr, destination: SocketAddr) -> Option<u64> {
    let kind = u16::from_ne_bytes(answer.get(4..6)?.try_into().ok()?);
    let body = answer.get(HEADER..)?;
    if kind != SOCK_DIAG_BY_FAMILY
        || end_in(body, 4, 8)? != (source.ip().to_canonical(), source.port())
        || end_in(body, 6, 24)? != (destination.ip().to_canonical(), destination.port())
    {
        return None;
    }
    let inode = u32::from_ne_bytes(body.get(ANSWER_INODE)?.try_into().ok()?);
    // A socket that was closed has none left.
    (inode != 0).then_some(u64::from(inode))
}

/// One end of the connection in an answer, by where its port and its address stand. A socket of the IPv6 family answers in its own
/// form, mapped, when asked for as an IPv4 connection: Java's always are.
fn end_in(body: &[u8], port: usize, address: usize) -> Option<(IpAddr, u16)> {
    let port = u16::from_be_bytes(body.get(port..port + 2)?.try_into().ok()?);
    let bytes: [u8; 16] = body.get(address..address + 16)?.try_into().ok()?;
    let address = match i32::from(*body.first()?) {
        libc::AF_INET => IpAddr::from(<[u8; 4]>::try_from(&bytes[..4]).ok()?),
        _ => IpAddr::from(bytes).to_canonical(),
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;
    use std::time::{Duration, Instant};

    use super::*;

    fn inode_of(socket: &impl AsRawFd) -> u64 {
        let path = format!("/proc/self/fd/{}", socket.as_raw_fd());
        fs::metadata(path).unwrap().ino()
    }

    #[test]
    fn the_kernel_knows_the_clients_inode() {
        for (listen, connect) in [
            ("127.0.0.1", "127.0.0.1"),
            ("[::1]", "[::1]"),
            ("[::]", "127.0.0.1"),
        ] {
            let listener = TcpListener::bind(format!("{listen}:0")).unwrap();
            let port = listener.local_addr().unwrap().port();
            let client = TcpStream::connect(format!("{connect}:{port}")).unwrap();
            let (accepted, peer) = listener.accept().unwrap();
            let local = accepted.local_addr().unwrap();
            let kernel = Kernel::open().unwrap();
            let inode = kernel.client_inode(local, peer);
            assert_eq!(inode, Some(inode_of(&client)), "{listen} {connect}");
            // The other way round: with a listener on [::] an IPv6 socket of an IPv4 connection.
            assert_eq!(kernel.client_inode(peer, local), Some(inode_of(&accepted)));
            // The kernel finds the listener, which is not what was asked for.
            assert_eq!(kernel.client_inode(local, local), None);

            let own = std::process::id();
            assert_eq!(leader_of(local, peer, &[own]), Some(own));
            assert_eq!(leader_of(local, peer, &[]), None);
            drop(client);
            // A child that another test forks at this moment still holds it until it executes its program.
            let begin = Instant::now();
            while leader_of(local, peer, &[own]).is_some() {
                assert!(begin.elapsed() < Duration::from_secs(20));
                std::thread::yield_now();
            }
        }
    }

    #[test]
    fn a_unix_sockets_peer_is_exact() {
        let (one, _other) = UnixStream::pair().unwrap();
        let own = std::process::id();
        assert_eq!(peer_pid(&one), Some(own));
        assert_eq!(leader_of_pid(own, &[7, own]), Some(own));
        assert_eq!(leader_of_pid(own, &[]), None);
        assert_eq!(leader_of_pid(u32::MAX, &[own]), None);
    }
}
