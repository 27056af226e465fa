//! Has upstreams that failed asked again when the network or the clock of this host changes, and says when it loses an
//! address at which the daemon listens.

use std::{net::IpAddr, time::Duration};

use crate::{
    capture::{REPAIR, is_lost},
    clock,
    host_events::{HostEvent, HostEvents},
    http::{Face, Place},
    refresh::RoleRequests,
};

/// Upstreams are asked for this reason no more often: a network that comes and goes is no reason to flood them.
const PAUSE: Duration = Duration::from_secs(5);

/// An address and the route through it come one after the other.
const SETTLED: Duration = Duration::from_millis(200);

/// Addresses of this host that the daemon listens at, and that it can lose: such as 169.254.169.254.
pub(super) struct Addresses(Vec<(IpAddr, bool)>);

impl Addresses {
    /// Those of the places that are not there from boot to end.
    pub(super) fn of(places: &[(Place, &'static dyn Face)]) -> Self {
        let mut all: Vec<_> = places.iter().filter_map(|(place, _)| Some(place.address().ok()?.ip())).collect();
        all.retain(|address| !address.is_loopback() && !address.is_unspecified());
        all.sort_unstable();
        all.dedup();
        Self(all.into_iter().map(|address| (address, is_lost(address))).collect())
    }

    /// Reports what has been lost or come back since it was looked at last.
    async fn look(&mut self) {
        for (address, lost) in &mut self.0 {
            if is_lost(*address) == *lost {
                continue;
            }
            // It may be replaced.
            clock::sleep(SETTLED).await;
            if is_lost(*address) == *lost {
                continue;
            }
            *lost = !*lost;
            if *lost {
                let remedy = if is_captured(*address) { REPAIR } else { "give the address back to its link" };
                tracing::error!("this host has lost {address}, so no program reaches this daemon there: {remedy}");
            } else {
                notice!("this host has {address} again");
            }
        }
    }
}

/// Whether it is one that `capture` gives to a host: all that programs look for are of this kind.
fn is_captured(address: IpAddr) -> bool {
    matches!(address, IpAddr::V4(address) if address.is_link_local())
}

/// For ever.
pub(super) async fn follow(requests: RoleRequests, mut addresses: Addresses) {
    let mut events = match HostEvents::open() {
        Ok(events) => events,
        Err(error) => {
            tracing::warn!("changes of the network and the clock are not heard, so upstreams are back later: {error}");
            return;
        }
    };
    loop {
        match events.next().await {
            Ok(HostEvent::Network) => tracing::info!("the network has changed: what failed is tried again"),
            Ok(HostEvent::Addresses) => {
                addresses.look().await;
                continue;
            }
            Ok(HostEvent::Clock) => tracing::info!("the clock was set: what failed is tried again"),
            Err(error) => {
                tracing::warn!("changes of the network and the clock are not heard any more: {error}");
                return;
            }
        }
        clock::sleep(SETTLED).await;
        events.forget();
        addresses.look().await;
        requests.try_again();
        clock::sleep(PAUSE).await;
    }
}
