//! The bytes of netlink: requests about sockets and routes, and the kernel's answers. Pure.
//!
//! Formats: `linux/netlink.h`, `linux/inet_diag.h`, `linux/rtnetlink.h` of the kernel's user-space headers.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

const REQUEST: u16 = 1;
/// `NLMSG_ERROR`.
const ERROR: u16 = 2;
/// `SOCK_DIAG_BY_FAMILY`.
const SOCKET: u16 = 20;
/// `RTM_NEWROUTE` and `RTM_GETROUTE`.
const ROUTE: u16 = 24;
const GET_ROUTE: u16 = 26;
const RTA_DST: u16 = 1;
const RTA_OIF: u16 = 4;
/// `RTN_LOCAL`: an address of this host.
const LOCAL: u8 = 2;
/// `INET_DIAG_CGROUP_ID`.
const CGROUP_ID: u16 = 21;
/// `INET_DIAG_INFO`: a `struct tcp_info`.
const INFO: u16 = 2;
/// Where `tcpi_bytes_received` stands in it.
const BYTES_RECEIVED: usize = 128;
const INET: u8 = 2;
const INET6: u8 = 10;
const TCP: u8 = 6;
/// The length of a message's header.
const HEADER: usize = 16;
/// `struct inet_diag_req_v2` and `struct inet_diag_msg`, which attributes follow.
const QUESTION: usize = 56;
const DESCRIPTION: usize = 72;
/// `struct rtmsg`.
const ROUTE_MESSAGE: usize = 12;

/// What the kernel says to a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply<'a> {
    /// Nothing in there belongs to the question.
    None,
    /// An error number, such as `ENOENT`.
    Error(i32),
    /// The body of a message of the kind that was asked for.
    Body(&'a [u8]),
}

/// The state of a TCP socket (`net/tcp_states.h`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TcpState(pub u8);

impl TcpState {
    /// Whether this is the state of a client's socket that is connected and can still get our answer: `ESTABLISHED`,
    /// and `FIN_WAIT1` and `FIN_WAIT2` if it will say no more.
    pub fn is_connected_client(self) -> bool {
        matches!(self.0, 1 | 4 | 5)
    }

    /// Whether it waits for connections: `LISTEN`.
    pub fn is_listening(self) -> bool {
        self.0 == 10
    }
}

/// What the kernel reports of a socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Described {
    /// Its state.
    pub state: TcpState,
    /// Its own address.
    pub own: SocketAddr,
    /// Whom it is connected to.
    pub other: SocketAddr,
    /// The user who made it; 0 also if no process holds it any more.
    pub uid: u32,
    /// Its inode; 0 if no process holds it any more.
    pub inode: u32,
    /// The id of its control group.
    pub cgroup: Option<u64>,
    /// How many bytes it has received (`tcpi_bytes_received`), if that was asked for.
    pub received: Option<u64>,
}

/// The number of `lo` in every network namespace.
pub const LOOPBACK: u32 = 1;

/// Asks for the TCP socket that has the address `own` and is connected to `other`, both of one family. A socket that is
/// bound to a device (`SO_BINDTODEVICE`) is found only with the number of that `device`; 0 stands for none. `counted`:
/// how many bytes it has received is wanted as well.
pub fn ask_socket(sequence: u32, own: SocketAddr, other: SocketAddr, device: u32, counted: bool) -> Vec<u8> {
    let mut message = header(SOCKET, HEADER + QUESTION, sequence);
    let extensions = u8::from(counted) << (INFO - 1);
    message.extend_from_slice(&[if own.is_ipv4() { INET } else { INET6 }, TCP, extensions, 0]);
    // Of all states.
    message.extend_from_slice(&u32::MAX.to_ne_bytes());
    message.extend_from_slice(&own.port().to_be_bytes());
    message.extend_from_slice(&other.port().to_be_bytes());
    message.extend_from_slice(&octets(own.ip()));
    message.extend_from_slice(&octets(other.ip()));
    let device = if device == 0 { scope(own) } else { device };
    message.extend_from_slice(&device.to_ne_bytes());
    // `INET_DIAG_NOCOOKIE`: whatever its cookie.
    message.extend_from_slice(&u64::MAX.to_ne_bytes());
    message
}

/// Reads what [`ask_socket`] is answered with.
pub fn read_socket(body: &[u8]) -> Option<Described> {
    let (fixed, mut attributes) = body.split_at_checked(DESCRIPTION)?;
    let family = *fixed.first()?;
    let port = |at: usize| Some(u16::from_be_bytes(fixed.get(at..at + 2)?.try_into().ok()?));
    let number = |at: usize| Some(u32::from_ne_bytes(fixed.get(at..at + 4)?.try_into().ok()?));
    let address = |at: usize| {
        let octets: [u8; 16] = fixed.get(at..at + 16)?.try_into().ok()?;
        let [a, b, c, d, ..] = octets;
        match family {
            INET => Some(IpAddr::V4(Ipv4Addr::new(a, b, c, d))),
            // An IPv6 socket may carry IPv4.
            INET6 => Some(Ipv6Addr::from_octets(octets).to_canonical()),
            _ => None,
        }
    };
    let (mut cgroup, mut received) = (None, None);
    while let Some((kind, value)) = attribute(&mut attributes) {
        let word = |at: usize| value.get(at..at + 8)?.try_into().ok().map(u64::from_ne_bytes);
        match kind {
            CGROUP_ID => cgroup = word(0),
            // Before Linux 4.1 the structure ends before that.
            INFO => received = word(BYTES_RECEIVED),
            _ => {}
        }
    }
    Some(Described {
        state: TcpState(*fixed.get(1)?),
        own: SocketAddr::new(address(8)?, port(4)?),
        other: SocketAddr::new(address(24)?, port(6)?),
        uid: number(64)?,
        inode: number(68)?,
        cgroup,
        received,
    })
}

/// Asks how `address` is reached; its scope counts for link-local addresses.
pub fn ask_route(sequence: u32, address: SocketAddr) -> Vec<u8> {
    let octets: &[u8] = match address.ip() {
        IpAddr::V4(address) => &address.octets(),
        IpAddr::V6(address) => &address.octets(),
    };
    let family = if address.is_ipv4() { INET } else { INET6 };
    let mut attributes = Vec::new();
    put_attribute(&mut attributes, RTA_DST, octets);
    if scope(address) != 0 {
        put_attribute(&mut attributes, RTA_OIF, &scope(address).to_ne_bytes());
    }
    let mut message = header(GET_ROUTE, HEADER + ROUTE_MESSAGE + attributes.len(), sequence);
    let bits = if address.is_ipv4() { 32 } else { 128 };
    message.extend_from_slice(&[family, bits, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    message.extend_from_slice(&attributes);
    message
}

/// The way to an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Route {
    /// Whether the address is one of this host's.
    pub local: bool,
    /// The index of the link that leads there.
    pub link: Option<u32>,
}

/// Reads what [`ask_route`] is answered with.
pub fn read_route(body: &[u8]) -> Option<Route> {
    let (fixed, mut attributes) = body.split_at_checked(ROUTE_MESSAGE)?;
    let mut link = None;
    while let Some((kind, value)) = attribute(&mut attributes) {
        if kind == RTA_OIF {
            link = value.try_into().ok().map(u32::from_ne_bytes);
        }
    }
    Some(Route { local: *fixed.get(7)? == LOCAL, link })
}

/// Finds the reply to the question `sequence` in a packet from the kernel.
pub fn find_reply(sequence: u32, mut packet: &[u8]) -> Reply<'_> {
    let word = |bytes: &[u8], at: usize| Some(u32::from_ne_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let kind_of = |bytes: &[u8]| Some(u16::from_ne_bytes(bytes.get(4..6)?.try_into().ok()?));
    while let (Some(length), Some(kind), Some(number)) = (word(packet, 0), kind_of(packet), word(packet, 8)) {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        let Some(body) = packet.get(HEADER..length) else { break };
        match kind {
            _ if number != sequence => {}
            ERROR => {
                let code = body.get(..4).and_then(|code| code.try_into().ok()).map_or(0, i32::from_ne_bytes);
                return Reply::Error(code.saturating_neg());
            }
            SOCKET | ROUTE => return Reply::Body(body),
            _ => {}
        }
        // Messages begin at multiples of four.
        packet = packet.get(length.next_multiple_of(4)..).unwrap_or_default();
    }
    Reply::None
}

fn header(kind: u16, length: usize, sequence: u32) -> Vec<u8> {
    let mut message = Vec::with_capacity(length);
    // Questions have some eighty bytes.
    message.extend_from_slice(&u32::try_from(length).unwrap_or(u32::MAX).to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(&REQUEST.to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    message.extend_from_slice(&0_u32.to_ne_bytes());
    message
}

fn put_attribute(message: &mut Vec<u8>, kind: u16, value: &[u8]) {
    let length = u16::try_from(4 + value.len()).unwrap_or(u16::MAX);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&kind.to_ne_bytes());
    message.extend_from_slice(value);
}

/// Takes the next attribute: its kind without flags, and its value.
fn attribute<'a>(rest: &mut &'a [u8]) -> Option<(u16, &'a [u8])> {
    let length = usize::from(u16::from_ne_bytes(rest.get(..2)?.try_into().ok()?));
    let kind = u16::from_ne_bytes(rest.get(2..4)?.try_into().ok()?) & 0x3fff;
    let value = rest.get(4..length)?;
    *rest = rest.get(length.next_multiple_of(4)..).unwrap_or_default();
    Some((kind, value))
}

fn octets(address: IpAddr) -> [u8; 16] {
    match address {
        IpAddr::V4(address) => {
            let mut octets = [0; 16];
            octets[..4].copy_from_slice(&address.octets());
            octets
        }
        IpAddr::V6(address) => address.octets(),
    }
}

fn scope(address: SocketAddr) -> u32 {
    match address {
        SocketAddr::V4(_) => 0,
        SocketAddr::V6(address) => address.scope_id(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    /// A description as the kernel sends it.
    fn described(family: u8, ports: (u16, u16), addresses: [[u8; 16]; 2], tail: &[u8]) -> Vec<u8> {
        let mut body = vec![family, 1, 0, 0];
        body.extend(ports.0.to_be_bytes());
        body.extend(ports.1.to_be_bytes());
        body.extend(addresses.concat());
        body.extend([0; 24]);
        body.extend(1000_u32.to_ne_bytes());
        body.extend(4711_u32.to_ne_bytes());
        body.extend(tail);
        body
    }

    fn packet(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut packet = header(kind, HEADER + body.len(), sequence);
        packet.extend(body);
        packet.resize(packet.len().next_multiple_of(4), 0);
        packet
    }

    #[test]
    fn a_question_has_the_length_that_it_says() {
        let [v4, other4] = ["127.0.0.1:1", "169.254.169.254:80"].map(address);
        let [v6, other6] =
            ["[fe80::1%2]:1", "[fd00:ec2::254]:80"].map(|text| text.replace("%2", "")).map(|text| address(&text));
        for message in [
            ask_socket(7, v4, other4, 0, true),
            ask_socket(7, v6, other6, 0, false),
            ask_route(7, v4),
            ask_route(7, v6),
        ] {
            assert_eq!(message[..4], u32::try_from(message.len()).expect("short").to_ne_bytes());
            assert_eq!(message[8..12], 7_u32.to_ne_bytes());
        }
        assert_eq!(ask_socket(7, v4, other4, LOOPBACK, true).len(), 72);
    }

    #[test]
    fn a_description_is_read_with_its_cgroup_whatever_stands_around_it() {
        let mut tail = Vec::new();
        put_attribute(&mut tail, 8, &[0, 0, 0, 0]);
        put_attribute(&mut tail, 0x8000 | CGROUP_ID, &77_u64.to_ne_bytes());
        let mut info = vec![0; BYTES_RECEIVED];
        info.extend(4096_u64.to_ne_bytes());
        put_attribute(&mut tail, INFO, &info);
        let mapped = |last| {
            let mut octets = [0; 16];
            octets[10..].copy_from_slice(&[255, 255, 127, 0, 0, last]);
            octets
        };
        let body = described(INET6, (40_000, 80), [mapped(1), mapped(2)], &tail);
        let found = read_socket(&body).expect("whole");
        assert_eq!((found.own, found.other), (address("127.0.0.1:40000"), address("127.0.0.2:80")));
        assert_eq!((found.uid, found.inode, found.cgroup, found.received), (1000, 4711, Some(77), Some(4096)));
        assert!(found.state.is_connected_client());
        assert_eq!(read_socket(&body[..71]), None);
        assert_eq!(read_socket(&described(7, (1, 2), [mapped(1), mapped(2)], &[])), None);
    }

    #[test]
    fn only_the_reply_to_the_question_is_found() {
        let packets =
            [packet(SOCKET, 1, b"old"), packet(3, 2, b"done"), packet(SOCKET, 2, b"new"), packet(SOCKET, 2, b"x")];
        assert_eq!(find_reply(2, &packets.concat()), Reply::Body(b"new"));
        assert_eq!(find_reply(3, &packets.concat()), Reply::None);
        assert_eq!(find_reply(2, &packet(ERROR, 2, &(-2_i32).to_ne_bytes())), Reply::Error(2));
        assert_eq!(find_reply(2, &packets.concat()[..10]), Reply::None);
        let mut endless = packet(SOCKET, 1, b"");
        endless[..4].copy_from_slice(&0_u32.to_ne_bytes());
        assert_eq!(find_reply(2, &endless), Reply::None);
    }

    proptest::proptest! {
        #[test]
        fn nothing_that_comes_makes_it_panic(bytes: Vec<u8>, sequence: u32) {
            if let Reply::Body(body) = find_reply(sequence, &bytes) {
                let _anything = (read_socket(body), read_route(body));
            }
            let _anything = (read_socket(&bytes), read_route(&bytes));
        }
    }
}
