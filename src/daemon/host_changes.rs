//! Has upstreams that failed asked again when the network or the clock of this host changes.

use std::time::Duration;

use crate::{
    clock,
    host_events::{HostEvent, HostEvents},
    refresh::RoleRequests,
};

/// Upstreams are asked for this reason no more often: a network that comes and goes is no reason to flood them.
const PAUSE: Duration = Duration::from_secs(5);

/// An address and the route through it come one after the other.
const SETTLED: Duration = Duration::from_millis(200);

/// For ever.
pub(super) async fn follow(requests: RoleRequests) {
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
            Ok(HostEvent::Clock) => tracing::info!("the clock was set: what failed is tried again"),
            Err(error) => {
                tracing::warn!("changes of the network and the clock are not heard any more: {error}");
                return;
            }
        }
        clock::sleep(SETTLED).await;
        events.forget();
        requests.try_again();
        clock::sleep(PAUSE).await;
    }
}
