//! Asking the kernel whose a connection is: one question on a netlink socket that is kept open, without any right and
//! without reading a table. It takes some microseconds, however many sockets the host has, and never waits.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    sync::{Mutex, PoisonError},
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect,
        netlink::{self, SocketAddrNetlink},
        recv, send, socket_with, sockopt,
    },
};

use super::{
    Membership, Origin, Peer, Process,
    netlink::{Reply, ask_route, ask_socket, find_reply, read_route, read_socket},
};

/// The longest packet that is read. A description of a socket has some hundred bytes.
const PACKET: usize = 4096;
/// How many packets that belong to no question are thrown away before giving up.
const STRAY: usize = 16;

/// The kernel, ready to be asked.
#[derive(Debug)]
pub struct Kernel {
    sockets: Mutex<Netlink>,
    routes: Mutex<Netlink>,
}

#[derive(Debug)]
struct Netlink {
    protocol: Option<rustix::net::Protocol>,
    socket: OwnedFd,
    sequence: u32,
}

impl Kernel {
    /// Opens what it needs. It needs no privileges.
    pub fn open() -> io::Result<Self> {
        // `NETLINK_ROUTE` is protocol 0.
        let routes = None;
        Ok(Self {
            sockets: Mutex::new(Netlink::open(Some(netlink::SOCK_DIAG))?),
            routes: Mutex::new(Netlink::open(routes)?),
        })
    }

    /// Tries on a connection to itself whether the kernel says who calls.
    pub fn check(&self) -> io::Result<bool> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let _client = TcpStream::connect(listener.local_addr()?)?;
        let (server, peer) = listener.accept()?;
        let own = rustix::process::geteuid().as_raw();
        let known = self.identify(&server, &Peer::unasked(peer)).origin;
        Ok(matches!(known, Origin::Process(process) if process.uid == own))
    }

    /// Whose the other end of `socket` is, a connection that was accepted from `peer`.
    pub fn identify(&self, socket: &TcpStream, peer: &Peer) -> Peer {
        let origin = peer.address.map_or(Origin::Unknown, |address| self.origin(socket, address));
        Peer { address: peer.address, origin }
    }

    fn origin(&self, socket: &TcpStream, peer: SocketAddr) -> Origin {
        let Ok(destination) = destination(socket) else { return Origin::Unknown };
        match self.client(peer, destination) {
            Ok(Some(process)) => Origin::Process(process),
            // Nobody is taken for a stranger who may be one of us.
            Ok(None) | Err(_) => match self.is_local(peer) {
                Ok(false) => Origin::Elsewhere,
                Ok(true) | Err(_) => Origin::Unknown,
            },
        }
    }

    /// The client whose socket has the address `own` and is connected to `other`; `None` if there is no such socket in
    /// our network namespace, or if nobody holds it any more.
    pub fn client(&self, own: SocketAddr, other: SocketAddr) -> io::Result<Option<Process>> {
        let found = ask(&self.sockets, |number| ask_socket(number, own, other), |body| Some(read_socket(body)))?;
        let Some(found) = found.flatten() else { return Ok(None) };
        let same = |told: SocketAddr, asked: SocketAddr| (told.ip(), told.port()) == (asked.ip(), asked.port());
        // The kernel may answer with a listening socket, or with the remains of one that was closed; a socket that
        // nobody holds is said to be root's.
        let valid =
            found.state.is_connected_client() && found.inode != 0 && same(found.own, own) && same(found.other, other);
        Ok(valid.then_some(Process {
            uid: found.uid,
            gid: None,
            pid: None,
            inode: found.inode.into(),
            cgroup: found.cgroup.map_or(Membership::Unknown, Membership::Id),
        }))
    }

    /// The user and the inode of the socket that listens at `address`; `None` if there is none in our network namespace.
    pub(super) fn listener(&self, address: SocketAddr) -> io::Result<Option<(u32, u64)>> {
        let nobody: SocketAddr = match address {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let found = ask(&self.sockets, |number| ask_socket(number, address, nobody), |body| Some(read_socket(body)))?;
        Ok(found.flatten().filter(|found| found.state.is_listening()).map(|found| (found.uid, found.inode.into())))
    }

    /// Whether `address` is one of this host's.
    pub fn is_local(&self, address: SocketAddr) -> io::Result<bool> {
        if address.ip().is_loopback() {
            return Ok(true);
        }
        ask(&self.routes, |number| ask_route(number, address), read_route).map(|local| local.unwrap_or(false))
    }
}

/// Where the client meant to go: before the redirection of a firewall, if there was one.
fn destination(socket: &TcpStream) -> io::Result<SocketAddr> {
    let local = socket.local_addr()?;
    let canonical = SocketAddr::new(local.ip().to_canonical(), local.port());
    let original = match canonical {
        SocketAddr::V4(_) => sockopt::ip_original_dst(socket).map(SocketAddr::V4),
        SocketAddr::V6(_) => sockopt::ipv6_original_dst(socket).map(SocketAddr::V6),
    };
    match original {
        Ok(original) => Ok(original),
        // Connections are not tracked, or not this one; then it was not redirected.
        Err(Errno::NOENT | Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::INVAL) => Ok(canonical),
        Err(error) => Err(error.into()),
    }
}

/// `None` if the kernel says that there is no such thing.
fn ask<T>(
    netlink: &Mutex<Netlink>,
    question: impl Fn(u32) -> Vec<u8>,
    read: impl Fn(&[u8]) -> Option<T>,
) -> io::Result<Option<T>> {
    // A panic leaves at most a packet behind that belongs to no question.
    let mut netlink = netlink.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = netlink.ask(&question, &read);
    if answer.is_err() {
        // Whatever is the matter with the socket, the next question gets another.
        netlink.socket = Netlink::open(netlink.protocol)?.socket;
    }
    answer
}

impl Netlink {
    fn open(protocol: Option<rustix::net::Protocol>) -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, protocol)?;
        // Connected to the kernel: nobody else can send to it.
        connect(&socket, &SocketAddrNetlink::new(0, 0))?;
        Ok(Self { protocol, socket, sequence: 0 })
    }

    fn ask<T>(
        &mut self,
        question: impl Fn(u32) -> Vec<u8>,
        read: impl Fn(&[u8]) -> Option<T>,
    ) -> io::Result<Option<T>> {
        self.sequence = self.sequence.wrapping_add(1);
        // The kernel answers before it returns from `send`.
        send(&self.socket, &question(self.sequence), SendFlags::empty())?;
        let mut packet = [0; PACKET];
        for _ in 0..STRAY {
            let (length, _) = recv(&self.socket, &mut packet[..], RecvFlags::DONTWAIT)?;
            match find_reply(self.sequence, packet.get(..length).unwrap_or_default()) {
                Reply::None => {}
                Reply::Error(code) => {
                    return match Errno::from_raw_os_error(code) {
                        Errno::NOENT | Errno::NETUNREACH | Errno::HOSTUNREACH => Ok(None),
                        error => Err(error.into()),
                    };
                }
                Reply::Body(body) => return read(body).map(Some).ok_or_else(|| io::ErrorKind::InvalidData.into()),
            }
        }
        Err(io::ErrorKind::InvalidData.into())
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn pair(listen: &str, connect: &str) -> (TcpListener, TcpStream, TcpStream, Peer) {
        let listener = TcpListener::bind(listen).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let client = TcpStream::connect(format!("{connect}:{port}")).expect("it listens");
        let (server, peer) = listener.accept().expect("a connection");
        (listener, client, server, Peer::unasked(peer))
    }

    fn uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    fn inode(socket: &TcpStream) -> u64 {
        rustix::fs::fstat(socket).expect("open").st_ino
    }

    #[test]
    fn the_owner_of_the_other_end_is_told_for_each_family() {
        let kernel = Kernel::open().expect("netlink");
        for (listen, connect) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "[::1]"),
            ("[::]:0", "127.0.0.1"),
            ("0.0.0.0:0", "[::ffff:127.0.0.1]"),
        ] {
            let (_listener, client, server, peer) = pair(listen, connect);
            let Peer { origin: Origin::Process(process), .. } = kernel.identify(&server, &peer) else {
                panic!("{listen} {connect}: {:?}", kernel.identify(&server, &peer));
            };
            assert_eq!((process.uid, process.inode), (uid(), inode(&client)), "{listen} {connect}");
        }
    }

    #[test]
    fn a_client_that_says_no_more_is_known_and_one_that_is_gone_is_not() {
        let kernel = Kernel::open().expect("netlink");
        let (_listener, client, server, peer) = pair("127.0.0.1:0", "127.0.0.1");
        client.shutdown(std::net::Shutdown::Write).expect("connected");
        assert!(matches!(kernel.identify(&server, &peer).origin, Origin::Process(_)));
        drop(client);
        // An orphan: the kernel would say that it is root's.
        assert_eq!(kernel.identify(&server, &peer).origin, Origin::Unknown);
    }

    #[test]
    fn a_port_that_was_taken_over_tells_nothing_of_the_old_connection() {
        let kernel = Kernel::open().expect("netlink");
        let reusable = || {
            let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None).expect("a socket");
            sockopt::set_socket_reuseaddr(&socket, true).expect("settable");
            socket
        };
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let other = listener.local_addr().expect("bound");
        let client = reusable();
        rustix::net::bind(&client, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        connect(&client, &other).expect("it listens");
        let (server, own) = listener.accept().expect("a connection");
        let peer = Peer::unasked(own);
        assert!(matches!(kernel.identify(&server, &peer).origin, Origin::Process(_)));
        drop(client);
        // Somebody else takes the port and listens there.
        let taken = reusable();
        rustix::net::bind(&taken, &own).expect("reusable");
        rustix::net::listen(&taken, 1).expect("it can listen");
        assert_eq!(kernel.identify(&server, &peer).origin, Origin::Unknown);
        assert_eq!(kernel.client(own, other).expect("an answer"), None);
    }

    #[test]
    fn addresses_of_this_host_are_told_from_others() {
        let kernel = Kernel::open().expect("netlink");
        let local = |text: &str| kernel.is_local(text.parse().expect("an address")).expect("an answer");
        assert!(local("127.9.9.9:1") && local("[::1]:1"));
        assert!(!local("192.0.2.77:1"));
    }

    #[test]
    fn many_threads_get_the_answers_to_their_own_questions() {
        let kernel = Kernel::open().expect("netlink");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let (_listener, client, server, peer) = pair("127.0.0.1:0", "127.0.0.1");
                        let Origin::Process(process) = kernel.identify(&server, &peer).origin else {
                            panic!("not found")
                        };
                        assert_eq!(process.inode, inode(&client));
                    }
                });
            }
        });
    }
}
