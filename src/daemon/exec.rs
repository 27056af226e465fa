//! Where programs that `alppaca exec` starts get their credentials.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    admin::{AdminSocket, ExecEndpoint, Leases},
    caller::Subordinates,
    faces::ecs::{self, EcsTokens},
    http::{Face, Place, ServerError},
};

/// Sockets for programs that `exec` starts, bound before the daemon is confined and may bind none.
#[derive(Debug, Default)]
pub struct ExecSockets {
    bound: Vec<TcpListener>,
    /// Ports that another socket has.
    pub taken: Vec<SocketAddr>,
}

impl ExecSockets {
    /// Those that a daemon with this admin socket may need, beside those that were `kept` for it.
    pub fn bind(admin_socket: &Path, kept: Vec<TcpListener>) -> Self {
        let mut sockets = Self { bound: kept, taken: Vec::new() };
        for address in Leases::ports_in(&leases_file(admin_socket)).into_iter().map(own_address) {
            sockets.add(address);
        }
        if sockets.bound.is_empty() {
            sockets.add(own_address(0));
        }
        sockets
    }

    fn add(&mut self, address: SocketAddr) {
        if self.position(address).is_some() {
            return;
        }
        match Place::bind(address) {
            Ok(listener) => self.bound.push(listener),
            Err(error) if error.is_in_use() => self.taken.push(address),
            // Reported when it is needed.
            Err(_) => {}
        }
    }

    fn position(&self, address: SocketAddr) -> Option<usize> {
        self.bound.iter().position(|listener| listener.local_addr().ok() == Some(address))
    }

    /// The one with this address; any for the port 0. What is not there is bound now.
    fn take(&mut self, address: SocketAddr) -> Result<TcpListener, ServerError> {
        let found = match address.port() {
            0 => self.bound.len().checked_sub(1),
            _ => self.position(address),
        };
        found.map_or_else(|| Place::bind(address), |index| Ok(self.bound.remove(index)))
    }
}

/// Where programs of this host reach a port.
fn own_address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn leases_file(admin_socket: &Path) -> PathBuf {
    admin_socket.with_extension("leases")
}

/// The tokens that are valid, and where they are: at a container listener that the configuration names, else at a listener of
/// its own, which is added to `places`. Ports at which programs of before expect to be served are listened on again, unless
/// they are among `sockets`. There is nothing without the admin socket, which gives the tokens out.
pub(super) fn open(
    socket: Option<&AdminSocket>,
    mut sockets: ExecSockets,
    tokens: EcsTokens,
    places: &mut Vec<(Place, &'static dyn Face)>,
    users: Arc<Subordinates>,
) -> io::Result<(Leases, Option<ExecEndpoint>)> {
    let leases = Leases::new(tokens, socket.map(|socket| leases_file(socket.path())), users)?;
    if socket.is_none() {
        return Ok((leases, None));
    }
    let held = places.iter().filter(|(place, face)| *face == ecs::FACE && matches!(place, Place::Held(_)));
    let configured = held.filter_map(|(place, _)| place.address().ok()).find_map(usable);
    let mut own = Vec::new();
    for port in leases.ports() {
        own.extend(listen_again(&mut sockets, own_address(port)));
    }
    if configured.is_none() && !own.iter().any(|place| matches!(place, Place::Held(_))) {
        match sockets.take(own_address(0)) {
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
fn listen_again(sockets: &mut ExecSockets, address: SocketAddr) -> Option<Place> {
    match sockets.take(address) {
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
