//! The listening sockets of the daemon: those that systemd hands over, the others its own. Each shows a face.

use std::net::{IpAddr, SocketAddr, TcpListener};

use listenfd::ListenFd;

use super::{Failure, environment};
use crate::{
    config::Config,
    daemon::face_addresses,
    serve::{Face, Server},
};

/// The sockets: those that were handed over, and those of the configuration for which none was.
pub(super) fn listeners(config: &Config) -> Result<Vec<(TcpListener, Face)>, Failure> {
    let configured = face_addresses(config);
    let mut listeners = Vec::new();
    let mut handed = Vec::new();
    for (listener, address, face) in handed_over(&configured)? {
        listeners.push((listener, face));
        handed.push((address, face));
    }
    for (address, face) in left_to_bind(configured, handed) {
        listeners.push((Server::bind(address).map_err(Failure::runtime)?, face));
    }
    Ok(listeners)
}

/// What is left of `configured`: each socket that was handed over stands for its own address, or, if the configuration does
/// not name that one, for the first of its face.
fn left_to_bind(
    mut configured: Vec<(SocketAddr, Face)>,
    mut handed: Vec<(SocketAddr, Face)>,
) -> Vec<(SocketAddr, Face)> {
    let named = configured.clone();
    configured.retain(|one| !handed.contains(one));
    handed.retain(|one| !named.contains(one));
    for (_, face) in handed {
        if let Some(first) = configured.iter().position(|(_, of)| *of == face) {
            configured.remove(first);
        }
    }
    configured
}

fn handed_over(configured: &[(SocketAddr, Face)]) -> Result<Vec<(TcpListener, SocketAddr, Face)>, Failure> {
    let mut handed = ListenFd::from_env();
    let names = environment::socket_names();
    let mut listeners = Vec::new();
    for index in 0..handed.len() {
        let wrong = |error: &dyn std::fmt::Display| {
            Failure::runtime(format!("socket {index} that was handed over is no listening TCP socket: {error}"))
        };
        let Some(listener) = handed.take_tcp_listener(index).map_err(|error| wrong(&error))? else { continue };
        let address = listener.local_addr().map_err(|error| wrong(&error))?;
        let name = names.get(index).map_or("", String::as_str);
        let face = face_of(name, address, configured);
        if !configured.iter().any(|(_, known)| *known == face) {
            return Err(Failure::usage(format!(
                "socket {index} that was handed over, {address}, is for the face {}, which is not configured",
                face.as_str()
            )));
        }
        listeners.push((listener, address, face));
    }
    Ok(listeners)
}

/// What a socket is for: its name (`FileDescriptorName=`) says it, or its address.
fn face_of(name: &str, address: SocketAddr, configured: &[(SocketAddr, Face)]) -> Face {
    let faces = [Face::Imds, Face::Container, Face::PodIdentity];
    if let Some(face) = faces.into_iter().find(|face| face.as_str() == name) {
        return face;
    }
    if let Some((_, face)) = configured.iter().find(|(known, _)| *known == address) {
        return *face;
    }
    match address.ip() {
        IpAddr::V4(ip) if ip.octets() == [169, 254, 170, 2] => Face::Container,
        IpAddr::V4(ip) if ip.octets() == [169, 254, 170, 23] => Face::PodIdentity,
        IpAddr::V6(ip) if ip.segments() == [0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23] => Face::PodIdentity,
        _ => Face::Imds,
    }
}

/// Where which face is, for the log: `127.0.0.1:25772; container at 127.0.0.1:25773`.
pub(super) fn describe(listeners: &[(TcpListener, Face)]) -> String {
    let of = |wanted: Face| -> Vec<String> {
        let those = listeners.iter().filter(|(_, face)| *face == wanted);
        let address = |listener: &TcpListener| listener.local_addr().map(|address| address.to_string());
        those.map(|(listener, _)| address(listener).unwrap_or_else(|error| error.to_string())).collect()
    };
    let mut text = of(Face::Imds).join(", ");
    for face in [Face::Container, Face::PodIdentity] {
        let addresses = of(face);
        if !addresses.is_empty() {
            text = format!("{text}; {} at {}", face.as_str(), addresses.join(", "));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_shows_the_face_that_its_name_or_its_address_says() {
        let configured = [("127.0.0.1:25773".parse().expect("an address"), Face::Container)];
        for (name, address, face) in [
            ("container", "127.0.0.1:1", Face::Container),
            ("pod-identity", "127.0.0.1:1", Face::PodIdentity),
            ("imds", "169.254.170.2:80", Face::Imds),
            ("alppaca.socket", "127.0.0.1:25773", Face::Container),
            ("", "169.254.170.2:80", Face::Container),
            ("unknown", "169.254.170.23:80", Face::PodIdentity),
            ("", "[fd00:ec2::23]:80", Face::PodIdentity),
            ("", "169.254.169.254:80", Face::Imds),
            ("connection", "127.0.0.1:25772", Face::Imds),
        ] {
            assert_eq!(face_of(name, address.parse().expect("an address"), &configured), face, "{name} {address}");
        }
    }

    #[test]
    fn a_socket_stands_for_one_address_and_the_others_are_bound() {
        let imds = |address: &str| (address.parse::<SocketAddr>().expect("an address"), Face::Imds);
        let (link_local, loopback, other) = (imds("169.254.169.254:80"), imds("127.0.0.1:25772"), imds("127.0.0.1:99"));
        let container = ("169.254.170.2:80".parse().expect("an address"), Face::Container);
        let configured = vec![link_local, loopback, container];
        for (handed, left) in [
            (vec![], configured.clone()),
            (vec![loopback], vec![link_local, container]),
            (vec![other], vec![loopback, container]),
            (vec![other, loopback], vec![container]),
            (vec![link_local, loopback, other], vec![container]),
            (vec![container], vec![link_local, loopback]),
        ] {
            assert_eq!(left_to_bind(configured.clone(), handed.clone()), left, "{handed:?}");
        }
    }
}
