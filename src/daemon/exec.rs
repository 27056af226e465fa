//! Where programs that `alppaca exec` starts get their credentials.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
};

use crate::{
    admin::{AdminSocket, ExecEndpoint, Leases},
    caller::Subordinates,
    faces::ecs::{self, EcsTokens},
    http::{Face, Place},
};

/// The tokens that are valid, and where they are: at a container listener that the configuration names, else at a listener of
/// its own, which is added to `places`. Ports at which programs of before expect to be served are listened on again, unless
/// they are `kept`. There is nothing without the admin socket, which gives the tokens out.
pub(super) fn open(
    socket: Option<&AdminSocket>,
    tokens: EcsTokens,
    places: &mut Vec<(Place, &'static dyn Face)>,
    mut kept: Vec<TcpListener>,
    users: Arc<Subordinates>,
) -> io::Result<(Leases, Option<ExecEndpoint>)> {
    let leases = Leases::new(tokens, socket.map(|socket| socket.path().with_extension("leases")), users)?;
    if socket.is_none() {
        return Ok((leases, None));
    }
    let held = places.iter().filter(|(place, face)| *face == ecs::FACE && matches!(place, Place::Held(_)));
    let configured = held.filter_map(|(place, _)| place.address().ok()).find_map(usable);
    let mut own = Vec::new();
    for port in leases.ports() {
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let found = kept.iter().position(|listener| listener.local_addr().ok() == Some(address));
        own.extend(match found {
            Some(index) => Some(Place::Held(kept.swap_remove(index))),
            None => listen_again(address),
        });
    }
    if configured.is_none() && !own.iter().any(|place| matches!(place, Place::Held(_))) {
        match kept.pop().map_or_else(|| Place::bind((Ipv4Addr::LOCALHOST, 0).into()), Ok) {
            Ok(listener) => own.insert(0, Place::Held(listener)),
            Err(error) => tracing::error!("no `alppaca exec`: {error}"),
        }
    }
    let first = own.iter().find(|place| matches!(place, Place::Held(_))).and_then(|place| place.address().ok());
    let configured = configured.map(|address| ExecEndpoint { address, own: false });
    let endpoint = configured.or(first.map(|address| ExecEndpoint { address, own: true }));
    if let Some(ExecEndpoint { address, .. }) = endpoint {
        tracing::info!("programs that `alppaca exec` starts are served at {address}");
    }
    places.extend(own.into_iter().map(|place| (place, ecs::EXEC)));
    Ok((leases, endpoint))
}

/// The port of programs that run; if another socket has it, it is waited for.
fn listen_again(address: SocketAddr) -> Option<Place> {
    match Place::bind(address) {
        Ok(listener) => Some(Place::Held(listener)),
        Err(error) => {
            tracing::error!(
                "programs that `alppaca exec` started before use {address}, and may get credentials from \
                 another process: {error}. Restart them; `alppaca exec` uses another port now"
            );
            error.is_in_use().then_some(Place::Taken(address))
        }
    }
}

/// Where a program of this host reaches that listener, if the SDKs accept the address for `http`: loopback, or those of the
/// agents of ECS and EKS.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>
fn usable(address: SocketAddr) -> Option<SocketAddr> {
    let ip = match address.ip() {
        ip if !ip.is_unspecified() => ip,
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    let agents = [Ipv4Addr::new(169, 254, 170, 2), Ipv4Addr::new(169, 254, 170, 23)];
    (ip.is_loopback() || agents.iter().any(|agent| ip == *agent)).then(|| SocketAddr::new(ip, address.port()))
}
