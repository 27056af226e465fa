//! Asks the kernel which user owns a connection: one question on a netlink socket that is kept open, without any right and
//! without reading a table. It takes some microseconds, however many sockets the host has, and never waits.
//!
//! Behind a firewall's redirection the answer is a claim, not a proof: address translation may have given the connection
//! the source port of another user's socket. Such a claim is believed only if the socket that it names receives what is
//! sent on the connection.

use std::{
    io,
    net::{SocketAddr, TcpListener, TcpStream},
    os::fd::OwnedFd,
    path::Path,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, connect,
        netdevice::index_to_name,
        netlink::{self, SocketAddrNetlink},
        recv, send, socket_with, sockopt,
    },
};

use super::{
    Membership, Origin, Peer, Process, namespace,
    netlink::{Described, LOOPBACK, Reply, Route, ask_route, ask_socket, find_reply, read_route, read_socket},
};

/// The links of this host; those that are bridges have a directory of that name.
const LINKS: &str = "/sys/class/net";
/// The longest packet that is read. A description of a socket has some hundred bytes.
const PACKET: usize = 4096;
/// How many packets that belong to no question are thrown away before giving up.
const STRAY: usize = 16;
/// How often it is looked whether the bytes of a proof have arrived. On this host they have after the first look, unless
/// another processor has them in hand.
const LOOKS: usize = 32;

/// Sends the first bytes of an answer on a connection, and says how many it sent. None: the connection takes no more.
pub type Open<'a> = dyn FnMut() -> io::Result<usize> + 'a;

/// The kernel, ready to be asked.
#[derive(Debug)]
pub struct Kernel {
    sockets: Mutex<Netlink>,
    routes: Mutex<Netlink>,
    /// The user id that stands for all users that our user namespace does not map.
    overflow: Option<u32>,
    /// Where redirected connections are expected: nothing else can connect there.
    captured: Option<SocketAddr>,
    /// Whether it was logged that redirected connections come elsewhere.
    warned: AtomicBool,
}

#[derive(Debug)]
struct Netlink {
    protocol: Option<rustix::net::Protocol>,
    socket: OwnedFd,
    sequence: u32,
}

impl Kernel {
    /// Opens what it needs. It needs no privileges. `captured` is where redirected connections are expected.
    pub fn open(captured: Option<SocketAddr>) -> io::Result<Self> {
        // `NETLINK_ROUTE` is protocol 0.
        let routes = None;
        Ok(Self {
            sockets: Mutex::new(Netlink::open(Some(netlink::SOCK_DIAG))?),
            routes: Mutex::new(Netlink::open(routes)?),
            overflow: namespace::overflow_uid()?,
            captured,
            warned: AtomicBool::new(false),
        })
    }

    /// The user as whom the kernel shows all users that are not mapped into our user namespace, if we are in one of our
    /// own. Such a caller is not identified.
    pub fn overflow_uid(&self) -> Option<u32> {
        self.overflow
    }

    /// Tests on a connection to itself whether the kernel can identify callers.
    pub fn check(&self) -> io::Result<bool> {
        let listener = TcpListener::bind((std::net::Ipv4Addr::LOCALHOST, 0))?;
        let _client = TcpStream::connect(listener.local_addr()?)?;
        let (server, peer) = listener.accept()?;
        let own = rustix::process::geteuid().as_raw();
        let known = self.identify(&server, &Peer::unasked(peer), &mut || Ok(0)).origin;
        Ok(matches!(known, Origin::Process(process) if process.uid == own))
    }

    /// Whose the other end of `socket` is, a connection that was accepted from `peer`. Where a firewall has redirected the
    /// connection, `open` sends the beginning of its next answer, by which the client proves its identity.
    pub fn identify(&self, socket: &TcpStream, peer: &Peer, open: &mut Open<'_>) -> Peer {
        let origin =
            peer.address.map_or_else(|| Origin::unidentified(None), |address| self.origin(socket, address, open));
        Peer { address: peer.address, origin }
    }

    fn origin(&self, socket: &TcpStream, peer: SocketAddr, open: &mut Open<'_>) -> Origin {
        let Ok(Destination { meant, local }) = destination(socket) else {
            return Origin::Unknown { ours: self.is_local(peer).unwrap_or(false) };
        };
        let client = if meant == local {
            self.client(peer, meant)
        } else {
            self.warn_of_redirection(peer, meant, local);
            self.proven_client(peer, meant, open)
        };
        match client {
            // It has a socket in our network namespace.
            Ok(Some(process)) if Some(process.uid) == self.overflow => Origin::Unknown { ours: true },
            Ok(Some(process)) => Origin::Process(process),
            // A remote client is one that certainly is not of this host.
            Ok(None) | Err(_) => match self.is_local(peer) {
                Ok(false) => Origin::Elsewhere,
                Ok(true) => Origin::Unknown { ours: true },
                Err(_) => Origin::unidentified(Some(peer)),
            },
        }
    }

    /// The client whose socket has the address `own` and is connected to `other`; `None` if there is no such socket in
    /// our network namespace, or if no process holds it any more.
    pub fn client(&self, own: SocketAddr, other: SocketAddr) -> io::Result<Option<Process>> {
        Ok(self.socket(own, other, false)?.map(Into::into))
    }

    /// Logs once that a client of this host was redirected to where it could have connected directly.
    fn warn_of_redirection(&self, peer: SocketAddr, meant: SocketAddr, local: SocketAddr) {
        let expected = self.captured == Some(local) || !self.is_local(peer).unwrap_or(true);
        if !expected && !self.warned.swap(true, Ordering::Relaxed) {
            tracing::warn!(
                "a firewall rule redirects {meant} to {local}, where other connections arrive, too: the clients that \
                 it \
                 makes look alike are refused (503). `alppaca capture apply --mode dnat` makes a rule without that weakness; \
                 if that made this one, set `capture_listen: {local}`"
            );
        }
    }

    /// The same for a redirected connection: the socket must receive what `open` sends, all of it and nothing else.
    /// Counters can be imitated beforehand, because anybody may read them; what was just sent cannot.
    fn proven_client(&self, own: SocketAddr, other: SocketAddr, open: &mut Open<'_>) -> io::Result<Option<Process>> {
        let Some(before) = self.socket(own, other, true)? else { return Ok(None) };
        let sent = open()? as u64;
        let Some(awaited) = before.received.map(|received| received + sent).filter(|_| sent > 0) else {
            return Ok(None);
        };
        for _ in 0..LOOKS {
            let Some(now) = self.socket(own, other, true)?.filter(|now| now.inode == before.inode) else {
                return Ok(None);
            };
            if now.received == Some(awaited) {
                return Ok(Some(before.into()));
            }
            if now.received > Some(awaited) {
                return Ok(None);
            }
            thread::yield_now();
        }
        Ok(None)
    }

    /// The connected socket between two addresses that a process holds.
    fn socket(&self, own: SocketAddr, other: SocketAddr, counted: bool) -> io::Result<Option<Described>> {
        let same = |told: SocketAddr, asked: SocketAddr| (told.ip(), told.port()) == (asked.ip(), asked.port());
        // The kernel may answer with a listening socket, or with the remains of one that was closed; it says of a socket
        // that no process holds that it is root's.
        let valid = |found: &Described| {
            found.state.is_connected_client() && found.inode != 0 && same(found.own, own) && same(found.other, other)
        };
        // A client may be bound to `lo` (SO_BINDTODEVICE), through which all addresses of this host are reached.
        for device in [0, LOOPBACK] {
            let question = |number| ask_socket(number, own, other, device, counted);
            let found = ask(&self.sockets, question, |body| Some(read_socket(body)))?;
            if let Some(found) = found.flatten().filter(valid) {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The user and the inode of the socket that listens at `address`; `None` if there is none in our network namespace.
    pub(super) fn listener(&self, address: SocketAddr) -> io::Result<Option<(u32, u64)>> {
        let nobody: SocketAddr = match address {
            SocketAddr::V4(_) => (std::net::Ipv4Addr::UNSPECIFIED, 0).into(),
            SocketAddr::V6(_) => (std::net::Ipv6Addr::UNSPECIFIED, 0).into(),
        };
        let found =
            ask(&self.sockets, |number| ask_socket(number, address, nobody, 0, false), |body| Some(read_socket(body)))?;
        Ok(found.flatten().filter(|found| found.state.is_listening()).map(|found| (found.uid, found.inode.into())))
    }

    /// Whether `address` is one of this host's.
    pub fn is_local(&self, address: SocketAddr) -> io::Result<bool> {
        if address.ip().to_canonical().is_loopback() {
            return Ok(true);
        }
        Ok(self.route(address)?.is_some_and(|route| route.local))
    }

    /// Whether `address` is behind a bridge of this host, as those of containers are.
    pub fn is_behind_bridge(&self, address: SocketAddr) -> io::Result<bool> {
        let Some(Route { local: false, link: Some(link) }) = self.route(address)? else { return Ok(false) };
        let name =
            index_to_name(socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None)?, link)?;
        Ok(Path::new(LINKS).join(name).join("bridge").exists())
    }

    fn route(&self, address: SocketAddr) -> io::Result<Option<Route>> {
        ask(&self.routes, |number| ask_route(number, address), read_route)
    }
}

impl From<Described> for Process {
    fn from(found: Described) -> Self {
        Self {
            uid: found.uid,
            gid: None,
            pid: None,
            inode: found.inode.into(),
            cgroup: found.cgroup.map_or(Membership::Unknown, Membership::Id),
        }
    }
}

struct Destination {
    /// Where the client connected to.
    meant: SocketAddr,
    /// Where it is: the same, unless a firewall has redirected it.
    local: SocketAddr,
}

/// Where the client meant to go: before the redirection of a firewall, if there was one.
fn destination(socket: &TcpStream) -> io::Result<Destination> {
    let local = socket.local_addr()?;
    let canonical = SocketAddr::new(local.ip().to_canonical(), local.port());
    let original = match canonical {
        SocketAddr::V4(_) => sockopt::ip_original_dst(socket).map(SocketAddr::V4),
        SocketAddr::V6(_) => sockopt::ipv6_original_dst(socket).map(SocketAddr::V6),
    };
    match original {
        // An IPv6 address comes without the scope that it has as a local one.
        Ok(original) if (original.ip(), original.port()) == (canonical.ip(), canonical.port()) => {
            Ok(Destination { meant: canonical, local: canonical })
        }
        Ok(original) => Ok(Destination { meant: original, local: canonical }),
        // Connections are not tracked, or not this one; then it was not redirected.
        Err(Errno::NOENT | Errno::NOPROTOOPT | Errno::OPNOTSUPP | Errno::INVAL) => {
            Ok(Destination { meant: canonical, local: canonical })
        }
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
        // Connected to the kernel: no other process can send to it.
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
    use std::{io::Write, os::unix::net::UnixStream, thread};

    use super::*;

    fn pair(listen: &str, connect: &str) -> (TcpListener, TcpStream, TcpStream, Peer) {
        let listener = TcpListener::bind(listen).expect("a free port");
        let port = listener.local_addr().expect("bound").port();
        let client = TcpStream::connect(format!("{connect}:{port}")).expect("it listens");
        let (server, peer) = listener.accept().expect("a connection");
        (listener, client, server, Peer::unasked(peer))
    }

    /// Where nothing was redirected, nothing has to be proved.
    fn identify(kernel: &Kernel, server: &TcpStream, peer: &Peer) -> Peer {
        kernel.identify(server, peer, &mut || panic!("nothing is to be proved"))
    }

    fn uid() -> u32 {
        rustix::process::getuid().as_raw()
    }

    fn inode(socket: &TcpStream) -> u64 {
        rustix::fs::fstat(socket).expect("open").st_ino
    }

    #[test]
    fn the_owner_of_the_other_end_is_told_for_each_family() {
        let kernel = Kernel::open(None).expect("netlink");
        for (listen, connect) in [
            ("127.0.0.1:0", "127.0.0.1"),
            ("[::1]:0", "[::1]"),
            ("[::]:0", "127.0.0.1"),
            ("0.0.0.0:0", "[::ffff:127.0.0.1]"),
        ] {
            let (_listener, client, server, peer) = pair(listen, connect);
            let Peer { origin: Origin::Process(process), .. } = identify(&kernel, &server, &peer) else {
                panic!("{listen} {connect}: {:?}", identify(&kernel, &server, &peer));
            };
            assert_eq!((process.uid, process.inode), (uid(), inode(&client)), "{listen} {connect}");
        }
    }

    #[test]
    fn a_client_that_says_no_more_is_known_and_one_that_is_gone_is_not() {
        let kernel = Kernel::open(None).expect("netlink");
        let (_listener, client, server, peer) = pair("127.0.0.1:0", "127.0.0.1");
        client.shutdown(std::net::Shutdown::Write).expect("connected");
        assert!(matches!(identify(&kernel, &server, &peer).origin, Origin::Process(_)));
        drop(client);
        // An orphan: the kernel would say that it is root's.
        assert_eq!(identify(&kernel, &server, &peer).origin, Origin::Unknown { ours: true });
    }

    #[test]
    fn a_port_that_was_taken_over_tells_nothing_of_the_old_connection() {
        let kernel = Kernel::open(None).expect("netlink");
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
        assert!(matches!(identify(&kernel, &server, &peer).origin, Origin::Process(_)));
        drop(client);
        // Another socket takes the port and listens there.
        let taken = reusable();
        rustix::net::bind(&taken, &own).expect("reusable");
        rustix::net::listen(&taken, 1).expect("it can listen");
        assert_eq!(identify(&kernel, &server, &peer).origin, Origin::Unknown { ours: true });
        assert_eq!(kernel.client(own, other).expect("an answer"), None);
    }

    #[test]
    fn a_claim_is_believed_only_if_what_is_sent_arrives_there() {
        let kernel = Kernel::open(None).expect("netlink");
        let (listener, client, mut server, peer) = pair("127.0.0.1:0", "127.0.0.1");
        let (_client, mut another) = {
            let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
            (client, listener.accept().expect("a connection").0)
        };
        let (own, other) = (peer.address.expect("given"), server.local_addr().expect("connected"));
        let prove = |open: &mut Open<'_>| kernel.proven_client(own, other, open).expect("an answer");
        let proven = prove(&mut || server.write(b"HTTP/1.1 ")).expect("proven");
        assert_eq!((proven.uid, proven.inode), (uid(), inode(&client)));
        assert_eq!(prove(&mut || another.write(b"HTTP/1.1 ")), None, "another connection got it");
        assert_eq!(prove(&mut || Ok(0)), None, "nothing was sent");
        assert_eq!(prove(&mut || server.write(b"HTTP/1.1 ").map(|_sent| 4)), None, "it got more");
    }

    #[test]
    fn a_client_that_is_bound_to_the_loopback_device_is_known() {
        let kernel = Kernel::open(None).expect("netlink");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client =
            socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
        nix::sys::socket::setsockopt(&client, nix::sys::socket::sockopt::BindToDevice, &"lo".into())
            .expect("lo is there");
        connect(&client, &listener.local_addr().expect("bound")).expect("it listens");
        let (server, peer) = listener.accept().expect("a connection");
        let Origin::Process(process) = identify(&kernel, &server, &Peer::unasked(peer)).origin else {
            panic!("not known")
        };
        assert_eq!((process.uid, process.inode), (uid(), inode(&client.into())));
    }

    #[test]
    fn of_a_bound_and_an_unbound_socket_with_the_same_addresses_the_one_that_gets_the_answers_is_named() {
        let kernel = Kernel::open(None).expect("netlink");
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let other = listener.local_addr().expect("bound");
        let reusable = || {
            let socket =
                socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None).expect("a socket");
            sockopt::set_socket_reuseaddr(&socket, true).expect("settable");
            socket
        };
        let bound = reusable();
        nix::sys::socket::setsockopt(&bound, nix::sys::socket::sockopt::BindToDevice, &"lo".into())
            .expect("lo is there");
        rustix::net::bind(&bound, &SocketAddr::from(([127, 0, 0, 1], 0))).expect("a free port");
        connect(&bound, &other).expect("it listens");
        let (_first, own) = listener.accept().expect("a connection");
        let unbound = reusable();
        rustix::net::bind(&unbound, &own).expect("reusable");
        // The handshake of the second is answered on behalf of the first, or it takes the place of the first: whatever the
        // kernel does, a claim holds only for the socket that gets what is sent.
        if connect(&unbound, &other).is_err() {
            return;
        }
        let (mut second, _) = listener.accept().expect("a connection");
        let named = kernel.proven_client(own, other, &mut || second.write(b"HTTP/1.1 ")).expect("an answer");
        let unbound = TcpStream::from(unbound);
        assert!(named.is_none_or(|named| named.inode == inode(&unbound)), "the answers reach the unbound one");
    }

    #[test]
    fn addresses_of_this_host_are_told_from_others() {
        let kernel = Kernel::open(None).expect("netlink");
        let local = |text: &str| kernel.is_local(text.parse().expect("an address")).expect("an answer");
        assert!(local("127.9.9.9:1") && local("[::1]:1"));
        assert!(!local("192.0.2.77:1"));
    }

    #[test]
    fn a_client_that_cannot_be_looked_up_is_only_at_loopback_one_of_ours() {
        let mut kernel = Kernel::open(None).expect("netlink");
        let (_listener, _client, server, _) = pair("127.0.0.1:0", "127.0.0.1");
        let remote = Peer::unasked("192.0.2.77:1".parse().expect("an address"));
        // The kernel cannot be asked there, but the next question gets another socket.
        let socket = socket_with(AddressFamily::INET, SocketType::DGRAM, SocketFlags::CLOEXEC, None).expect("a socket");
        kernel.routes = Mutex::new(Netlink { protocol: None, socket, sequence: 0 });
        assert_eq!(identify(&kernel, &server, &remote).origin, Origin::Unknown { ours: false });
        assert_eq!(identify(&kernel, &server, &remote).origin, Origin::Elsewhere);
        // It has no destination.
        let unconnected = TcpStream::from(OwnedFd::from(UnixStream::pair().expect("a pair").0));
        for (address, ours) in [("192.0.2.77:1", false), ("127.0.0.9:1", true), ("[::ffff:127.0.0.9]:1", true)] {
            let peer = Peer { address: Some(address.parse().expect("an address")), origin: Origin::Unasked };
            assert_eq!(identify(&kernel, &unconnected, &peer).origin, Origin::Unknown { ours }, "{address}");
            assert_eq!(Origin::unidentified(peer.address), Origin::Unknown { ours }, "{address}");
        }
        assert_eq!(Origin::unidentified(None), Origin::Unknown { ours: true });
    }

    #[test]
    fn many_threads_get_the_answers_to_their_own_questions() {
        let kernel = Kernel::open(None).expect("netlink");
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..100 {
                        let (_listener, client, server, peer) = pair("127.0.0.1:0", "127.0.0.1");
                        let Origin::Process(process) = identify(&kernel, &server, &peer).origin else {
                            panic!("not found")
                        };
                        assert_eq!(process.inode, inode(&client));
                    }
                });
            }
        });
    }
}
