//! Says when this host gets another address or default route, and when its clock is set or it wakes up: what could not be
//! fetched before may be possible now. Also when it loses an address, at which the daemon may listen.

use std::{io, os::fd::OwnedFd};

use rustix::{
    io::Errno,
    net::{AddressFamily, RecvFlags, SocketFlags, SocketType, bind, netlink::SocketAddrNetlink, recv, socket_with},
    time::{Itimerspec, TimerfdClockId, TimerfdFlags, TimerfdTimerFlags, Timespec, timerfd_create, timerfd_settime},
};
use tokio::io::{Interest, unix::AsyncFd};

/// `RTMGRP_IPV4_IFADDR`, `RTMGRP_IPV4_ROUTE`, `RTMGRP_IPV6_IFADDR` and `RTMGRP_IPV6_ROUTE` of `linux/rtnetlink.h`.
const GROUPS: u32 = 0x10 | 0x40 | 0x100 | 0x400;
/// `RTM_NEWADDR`, `RTM_DELADDR` and `RTM_NEWROUTE`.
const NEW_ADDRESS: u16 = 20;
const LOST_ADDRESS: u16 = 21;
const NEW_ROUTE: u16 = 24;
/// `RT_SCOPE_UNIVERSE`: an address that others can reach.
const UNIVERSE: u8 = 0;
/// The header of a netlink message.
const HEADER: usize = 16;
/// A moment that no clock will show (in the year 2200): the timer is there to be cancelled.
const NEVER: i64 = 7_258_118_400;

/// What has happened to the host.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HostEvent {
    /// It has a new address or default route.
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
        Ok(Self { routes: watch(routes)?, clock: watch(clock)? })
    }

    /// Waits for the next one.
    pub async fn next(&mut self) -> io::Result<HostEvent> {
        loop {
            let event = tokio::select! {
                changed = self.routes.async_io(Interest::READABLE, hear_network) => changed?,
                set = self.clock.async_io(Interest::READABLE, hear_clock) => set?.then_some(HostEvent::Clock),
            };
            if let Some(event) = event {
                return Ok(event);
            }
        }
    }

    /// What has happened by now is not heard any more.
    pub fn forget(&self) {
        while hear_network(self.routes.get_ref()).is_ok() {}
        while hear_clock(self.clock.get_ref()).is_ok() {}
    }
}

#[expect(deprecated, reason = "the new function is unsafe, because a type may lie about its descriptor; this does not")]
fn watch(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    AsyncFd::with_interest(descriptor, Interest::READABLE)
}

fn hear_network(socket: &OwnedFd) -> io::Result<Option<HostEvent>> {
    let mut messages = [0; 8192];
    match recv(socket, &mut messages, RecvFlags::empty()) {
        Ok((_, length)) => Ok(messages.get(..length).and_then(told)),
        // More has happened than there was room for.
        Err(Errno::NOBUFS) => Ok(Some(HostEvent::Network)),
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

/// What the messages tell: of a default route, or of an address that is not local, or else of another address. Containers
/// come and go with routes of their own, which lead nowhere else.
fn told(mut messages: &[u8]) -> Option<HostEvent> {
    let mut told = None;
    while let Some(message) = first(messages) {
        let kind = message.get(4..6).map_or(0, |kind| u16::from_ne_bytes([kind[0], kind[1]]));
        // `rtm_dst_len` is the second byte of `struct rtmsg`, `ifa_scope` the fourth of `struct ifaddrmsg`.
        match kind {
            NEW_ROUTE if message.get(HEADER + 1) == Some(&0) => return Some(HostEvent::Network),
            NEW_ADDRESS if message.get(HEADER + 3) == Some(&UNIVERSE) => return Some(HostEvent::Network),
            NEW_ADDRESS | LOST_ADDRESS => told = Some(HostEvent::Addresses),
            _ => {}
        }
        messages = messages.get(message.len().next_multiple_of(4)..).unwrap_or_default();
    }
    told
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
            (message(16, &[0; 16]), None),
            ([route(16), address(254), route(0)].concat(), network),
            ([lost, route(16)].concat(), addresses),
            (route(0)[..20].to_vec(), None),
            (vec![], None),
            (vec![1, 0, 0, 0, 24, 0], None),
        ] {
            assert_eq!(told(&messages), expected, "{messages:?}");
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
            let _ = told(&bytes);
        }
    }
}
