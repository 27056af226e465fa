//! Says when this host gets another address, default route or link, and when its clock is set or it wakes up: what could not be
//! fetched before may be possible now. Also when it loses an address, at which the daemon may listen.

use std::{collections::HashSet, io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, socket_with},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};
use tokio::io::{Interest, unix::AsyncFd};

/// `RTMGRP_LINK`, `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE` of
/// `linux/rtnetlink.h`.
const GROUPS: u32 = 0x1 | 0x10 | 0x40 | 0x100 | 0x400;
/// `RTM_NEWLINK`, `RTM_DELLINK`, `RTM_NEWADDR`, `RTM_DELADDR` and `RTM_NEWROUTE`.
const NEW_LINK: u16 = 16;
const LOST_LINK: u16 = 17;
const NEW_ADDRESS: u16 = 20;
const LOST_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
/// `RT_SCOPE_UNIVERSE`: an address that others can reach.
const UNIVERSE: u8 = 0;
/// `IFF_RUNNING`: something is at the other end of the link.
const RUNNING: u32 = 0x40;
/// `IFLA_LINKINFO` and, in it, `IFLA_INFO_KIND` and `IFLA_INFO_SLAVE_KIND`.
const LINK_INFO: u16 = 18;
const KIND: u16 = 1;
const PORT_KIND: u16 = 4;
/// The kinds of links of containers and virtual machines. A `tun` may be a VPN, too, which brings an address.
const GUESTS: [&[u8]; 3] = [b"veth\0", b"netkit\0", b"tun\0"];
/// A part of these tells nothing that they do not tell themselves. A link of a VRF or of Open vSwitch does.
const WHOLES: [&[u8]; 3] = [b"bridge\0", b"bond\0", b"team\0"];
/// `AF_BRIDGE`, in the place of no family.
const BRIDGE: u8 = 7;
/// The header of a netlink message.
const HEADER: usize = 16;
/// A moment that no clock will show (in the year 2200): the timer is there to be cancelled.
const NEVER: i64 = 7_258_118_400;

/// What has happened to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostEvent {
    /// It has a new address or default route, or one of its links is up again.
    Network,
    /// It has lost an address, or has one that only the host itself can reach.
    Addresses,
    /// Its clock was set, or it was suspended.
    Clock,
}

/// Hears of them.
#[derive(Debug)]
pub struct HostEvents {
    routes: AsyncFd<OwnedFd>,
    clock: AsyncFd<OwnedFd>,
    /// The links that are known to be up.
    running: HashSet<u32>,
}

impl HostEvents {
    /// Hears of everything from now on. To be called in a runtime.
    pub fn open() -> io::Result<Self> {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        // `NETLINK_ROUTE` is protocol 0.
        let routes = socket_with(AddressFamily::NETLINK, SocketType::RAW, flags, None)?;
        bind(&routes, &SocketAddrNetlink::new(0, GROUPS))?;
        let clock = timerfd_create(TimerfdClockId::Realtime, TimerfdFlags::CLOEXEC | TimerfdFlags::NONBLOCK)?;
        arm(&clock)?;
        Ok(Self { routes: watch(routes)?, clock: watch(clock)?, running: HashSet::new() })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> io::Result<HostEvent> {
        let Self { routes, clock, running } = self;
        loop {
            let event = tokio::select! {
                changed = routes.async_io(Interest::READABLE, |socket| hear_network(socket, running)) => changed?,
                set = clock.async_io(Interest::READABLE, hear_clock) => set?.then_some(HostEvent::Clock),
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// What has happened by now is not heard any more.
    pub fn forget(&mut self) {
        while hear_network(self.routes.get_ref(), &mut self.running).is_ok() {}
        while hear_clock(self.clock.get_ref()).is_ok() {}
    }
}

#[expect(deprecated, reason = "the new function is unsafe, because a type may lie about its descriptor; this does not")]
fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

fn hear_network(socket: &OwnedFd, running: &mut HashSet<u32>) -> io::Result<Option<HostEvent>> {
    let mut messages = [0; 8192];
    match recv(socket, &mut messages, RecvFlags::empty()) {
        Ok((_, length)) => Ok(messages.get(..length).and_then(|messages| told(messages, running))),
        // More has happened than there was room for.
        Err(Errno::NOBUFS) => {
            running.clear();
            Ok(Some(HostEvent::Network))
        }
        Err(error) => Err(error.into()),
    }
}

fn hear_clock(timer: &OwnedFd) -> io::Result<bool> {
    match rustix::io::read(timer, &mut [0; 8]) {
        Err(Errno::CANCELED) => arm(timer).map(|()| true),
        Ok(_) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// From now on the timer is cancelled when the clock is set, or the host wakes up (`man 2 timerfd_create`).
fn arm(timer: &OwnedFd) -> io::Result<()> {
    let zero = Timespec { tv_sec: 0, tv_nsec: 0 };
    let value = Itimerspec { it_interval: zero, it_value: Timespec { tv_sec: NEVER, tv_nsec: 0 } };
    timerfd_settime(timer, TimerfdTimerFlags::ABSTIME | TimerfdTimerFlags::CANCEL_ON_SET, &value)?;
    Ok(())
}

/// What the messages tell: of a default route, of an address that is not local, of a link that was not `running`, or else of
/// another address. Containers come and go with routes of their own, which lead nowhere else.
fn told(mut messages: &[u8], running: &mut HashSet<u32>) -> Option<HostEvent> {
    let mut told = None;
    while let Some(message) = first(messages) {
        let kind = message.get(4..6).map_or(0, |kind| u16::from_ne_bytes([kind[0], kind[1]]));
        // `rtm_dst_len` is the second byte of `struct rtmsg`, `ifa_scope` the fourth of `struct ifaddrmsg`.
        match kind {
            NEW_ROUTE if message.get(HEADER + 1) == Some(&0) => told = Some(HostEvent::Network),
            NEW_ADDRESS if message.get(HEADER + 3) == Some(&UNIVERSE) => told = Some(HostEvent::Network),
            NEW_LINK | LOST_LINK if is_up_now(kind, message, running) => told = Some(HostEvent::Network),
            NEW_ADDRESS | LOST_ADDRESS => told = told.or(Some(HostEvent::Addresses)),
            _ => {}
        }
        messages = messages.get(message.len().next_multiple_of(4)..).unwrap_or_default();
    }
    told
}

/// Whether the message is about a link that was not known to be up, and is. The first one about each link counts. Those of
/// containers and virtual machines, and parts of bridges and bonds, do not.
fn is_up_now(kind: u16, message: &[u8], running: &mut HashSet<u32>) -> bool {
    // `ifi_index` and `ifi_flags` of `struct ifinfomsg`, which has 16 bytes.
    let number = |at: usize| message.get(HEADER + at..)?.first_chunk().copied().map(u32::from_ne_bytes);
    let (Some(index), Some(flags), Some(attributes)) = (number(4), number(8), message.get(HEADER + 16..)) else {
        return false;
    };
    // What a bridge says of its ports, without their kind.
    if message.get(HEADER) == Some(&BRIDGE) {
        return false;
    }
    let info = attribute(attributes, LINK_INFO).unwrap_or_default();
    let is_one_of = |wanted, names: &[&[u8]]| {
        attribute(info, wanted).is_some_and(|kind| names.iter().any(|name| kind.starts_with(name)))
    };
    if kind == LOST_LINK || flags & RUNNING == 0 || is_one_of(KIND, &GUESTS) || is_one_of(PORT_KIND, &WHOLES) {
        running.remove(&index);
        return false;
    }
    running.insert(index)
}

/// The content of the first attribute of that kind.
fn attribute(mut attributes: &[u8], wanted: u16) -> Option<&[u8]> {
    loop {
        let [length, kind] = [0, 2].map(|at| Some(u16::from_ne_bytes(attributes.get(at..)?.first_chunk().copied()?)));
        let length = usize::from(length?);
        let content = attributes.get(4..length)?;
        if kind? == wanted {
            return Some(content);
        }
        attributes = attributes.get(length.next_multiple_of(4)..)?;
    }
}

/// The first message, if there is a whole one.
fn first(messages: &[u8]) -> Option<&[u8]> {
    let length = u32::from_ne_bytes(messages.first_chunk().copied()?);
    let length = usize::try_from(length).ok().filter(|length| *length >= HEADER)?;
    messages.get(..length)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn message(kind: u16, body: &[u8]) -> Vec<u8> {
        let length = u32::try_from(HEADER + body.len()).expect("short");
        let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), &[0; 10], body].concat();
        bytes.resize(bytes.len().next_multiple_of(4), 0);
        bytes
    }

    #[test]
    fn only_what_may_lead_to_an_upstream_counts_and_addresses() {
        let route = |length: u8| message(NEW_ROUTE, &[2, length, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0]);
        let address = |scope: u8| message(NEW_ADDRESS, &[2, 24, 0, scope, 1, 0, 0, 0]);
        let lost = message(LOST_ADDRESS, &[2, 32, 0, UNIVERSE, 1, 0, 0, 0]);
        let (network, addresses) = (Some(HostEvent::Network), Some(HostEvent::Addresses));
        for (messages, expected) in [
            (route(0), network),
            (route(16), None),
            (address(UNIVERSE), network),
            (address(254), addresses),
            (lost.clone(), addresses),
            (message(NEW_LINK, &[0; 16]), None),
            ([route(16), address(254), route(0)].concat(), network),
            ([route(0), lost.clone()].concat(), network),
            ([lost, route(16)].concat(), addresses),
            (route(0)[..20].to_vec(), None),
            (vec![], None),
            (vec![1, 0, 0, 0, 24, 0], None),
        ] {
            assert_eq!(told(&messages, &mut HashSet::new()), expected, "{messages:?}");
        }
    }

    #[test]
    fn a_link_counts_when_it_comes_up_and_those_of_containers_do_not() {
        let attribute = |kind: u16, content: &[u8]| {
            let length = u16::try_from(4 + content.len()).expect("short");
            let mut bytes = [&length.to_ne_bytes()[..], &kind.to_ne_bytes(), content].concat();
            bytes.resize(bytes.len().next_multiple_of(4), 0);
            bytes
        };
        let of = |kind, index: u32, flags: u32, attributes: &[u8]| {
            let head = [&[0; 4][..], &index.to_ne_bytes(), &flags.to_ne_bytes(), &[0; 4]].concat();
            message(kind, &[&head, attributes].concat())
        };
        let link = |index, flags| of(NEW_LINK, index, flags, &attribute(3, b"eth0\0"));
        let part = |index, whole: &[u8]| {
            let info = [attribute(KIND, b"dummy\0"), attribute(PORT_KIND, whole)].concat();
            of(NEW_LINK, index, RUNNING, &[attribute(3, b"eth1\0"), attribute(LINK_INFO, &info)].concat())
        };
        let veth = of(NEW_LINK, 5, RUNNING, &attribute(LINK_INFO, &attribute(KIND, b"veth\0")));
        let network = Some(HostEvent::Network);
        let mut of_bridge = link(9, RUNNING);
        of_bridge[HEADER] = BRIDGE;
        let mut running = HashSet::new();
        for (messages, expected) in [
            (link(2, 0), None),
            (link(2, RUNNING), network),
            (link(2, RUNNING), None),
            (link(3, RUNNING), network),
            (link(2, 0), None),
            (link(2, RUNNING), network),
            (of(LOST_LINK, 3, RUNNING, &[]), None),
            (link(3, RUNNING), network),
            (part(4, b"bridge\0"), None),
            (part(4, b"bond\0"), None),
            (part(7, b"vrf\0"), network),
            (part(8, b"openvswitch\0"), network),
            (veth, None),
            (of_bridge, None),
            (link(9, RUNNING), network),
            ([link(3, 0), link(3, RUNNING)].concat(), network),
            (link(6, RUNNING)[..30].to_vec(), None),
        ] {
            assert_eq!(told(&messages, &mut running), expected, "{messages:?}");
        }
    }

    #[tokio::test]
    async fn the_kernel_lets_every_user_listen() {
        let mut events = HostEvents::open().expect("netlink and a timer");
        let waited = tokio::time::timeout(std::time::Duration::from_millis(10), events.next()).await;
        assert!(waited.is_err() || waited.is_ok_and(|event| event.is_ok()));
    }

    proptest! {
        #[test]
        fn no_messages_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = told(&bytes, &mut HashSet::new());
            let _ = is_up_now(NEW_LINK, &bytes, &mut HashSet::new());
        }
    }
}
