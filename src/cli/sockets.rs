//! The listening sockets of the daemon: those that systemd hands over, the others its own. Each shows a face.

use std::{
    net::{SocketAddr, TcpListener},
    os::{fd::OwnedFd, unix::net::UnixListener},
};

use alppaca_settings::Listen;
use listenfd::ListenFd;

use rustix::net::{getsockname, sockopt::socket_acceptconn};

use super::{
    Failure, environment,
    predecessor::{LeftFile, Passed, cannot_replace},
};
use crate::{
    admin::Former,
    config::{Config, DEFAULT_CAPTURE, DEFAULT_LISTEN},
    daemon::{ADMIN, METRICS, PAGE, admin_file, face_addresses},
    faces::{self, ecs, imds},
    handover::{self, passing::SETS},
    http::{Face, Place},
};

/// What the service manager, or the daemon before this one, has handed over.
pub(super) struct HandedOver {
    sockets: ListenFd,
    names: Vec<String>,
    /// Sockets of socket units whose names could be ours.
    of_units: Vec<(String, TcpListener)>,
    /// The names of what is of another version.
    unknown: Vec<String>,
    /// By that daemon itself.
    passed: Passed,
}

impl HandedOver {
    /// What the environment says that there is. Only the first call gets it. What a newer version has kept for a purpose that this
    /// one does not know is closed: an upgrade may be taken back.
    pub(super) fn from_env() -> Self {
        let (mut sockets, names) = (ListenFd::from_env(), environment::socket_names());
        let (mut of_units, mut unknown) = (Vec::new(), Vec::new());
        for (index, name) in names.iter().enumerate().filter(|(_, name)| is_unknown(name)) {
            // Every version names listeners of its own as such. To close another one would free no address.
            if handover::face_of_listener(name).is_none()
                && let Ok(Some(listener)) = sockets.take_tcp_listener(index)
            {
                of_units.push((name.clone(), listener));
                continue;
            }
            if let Ok(Some(descriptor)) = sockets.take_raw_fd(index) {
                handover::discard(descriptor);
            }
            unknown.push(name.clone());
        }
        Self { sockets, names, of_units, unknown, passed: Vec::new() }
    }

    /// The same, and what a daemon has passed on that runs.
    pub(super) fn and_passed(self, passed: Passed) -> Self {
        Self { passed, ..self }
    }

    /// The admin socket.
    pub(super) fn admin(&mut self) -> Result<Option<UnixListener>, Failure> {
        let Some(index) = self.names.iter().position(|name| name == ADMIN) else { return Ok(None) };
        self.sockets.take_unix_listener(index).map_err(|error| {
            Failure::runtime(format!("socket {index} from systemd, {ADMIN}, is not a listening Unix socket: {error}"))
        })
    }

    /// The admin sockets of daemons before this one.
    pub(super) fn former_admins(&mut self) -> Result<Vec<Former>, Failure> {
        let file = |name: &str| handover::face_of_listener(name).and_then(admin_file);
        let mut former = Vec::new();
        for (index, (name, id)) in
            self.names.iter().enumerate().filter_map(|(at, name)| Some((at, (name, file(name)?))))
        {
            let taken = self.sockets.take_unix_listener(index).map_err(|error| {
                Failure::runtime(format!(
                    "socket {index} from systemd, {name}, is not a listening Unix socket: {error}"
                ))
            })?;
            former.extend(taken.map(|listener| (id, listener)));
        }
        for (name, socket) in std::mem::take(&mut self.passed) {
            match file(&name) {
                Some(id) => former.push((id, socket.into())),
                None => self.passed.push((name, socket)),
            }
        }
        Ok(former)
    }

    /// The files that a daemon before this one has left.
    pub(super) fn left(&mut self) -> Vec<LeftFile> {
        let ours = self.names.iter().enumerate().filter(|(_, name)| handover::is_ours(name));
        let taken = ours.filter_map(|(index, name)| {
            let descriptor = self.sockets.take_raw_fd(index).ok()??;
            Some(LeftFile { name: name.clone(), content: handover::take(descriptor) })
        });
        let mut left: Vec<_> = taken.collect();
        if let Some(index) = self.passed.iter().position(|(name, _)| name == SETS) {
            let (name, file) = self.passed.swap_remove(index);
            left.push(LeftFile { name, content: handover::read_sealed(&file.into()) });
        }
        left
    }
}

/// Where the daemon listens.
pub(super) struct Sockets {
    /// In the order of the configuration.
    pub(super) places: Vec<(Place, &'static dyn Face)>,
    /// Those of before for programs that `exec` starts.
    pub(super) exec: Vec<TcpListener>,
    /// Where the metrics are.
    pub(super) metrics: Option<Place>,
    /// Where the status page is, over TCP.
    pub(super) page: Vec<Place>,
    /// The addresses that a socket unit keeps open.
    pub(super) units: Vec<SocketAddr>,
    /// The names of the sockets that the service manager has kept open for the daemon.
    pub(super) kept: Vec<String>,
    /// The names of what was kept that this version does not know.
    pub(super) unknown: Vec<String>,
}

/// The places in the order of the configuration, on which the tokens depend that clients hold. Sockets that were handed
/// over are used; others are bound. `later`: whether an address may be bound after the privileges have been dropped; if
/// another socket has it now, it is waited for.
pub(super) fn places(
    config: &Config,
    handed_over: HandedOver,
    later: impl Fn(SocketAddr) -> bool,
) -> Result<Sockets, Failure> {
    let configured = face_addresses(config);
    let unknown = handed_over.unknown.clone();
    let is_kept = |name: &&String| handover::face_of_listener(name).is_some() || unknown.contains(name);
    let kept = handed_over.names.iter().filter(is_kept).cloned().collect();
    let passed: Vec<SocketAddr> = handed_over.passed.iter().filter_map(|(_, socket)| address_of(socket)).collect();
    let bind = |address| bind(address, &passed, &later);
    let Listeners { faces: mut handed, exec, metrics, page } = listeners(handed_over, &configured)?;
    let units = handed.iter().filter(|handed| !handed.own).map(|handed| handed.address).collect();
    let known: Vec<_> = handed.iter().map(|handed| (handed.address, handed.face)).collect();
    let mut places = Vec::new();
    for (wanted, stand_in) in assign(&configured, &known) {
        let stand_in = stand_in.and_then(|index| handed.get_mut(index));
        let place = match stand_in.and_then(|handed| handed.listener.take()) {
            Some(listener) => Place::Held(listener),
            None => bind(wanted.0)?,
        };
        places.push((place, wanted.1));
    }
    places.extend(handed.into_iter().filter_map(|handed| Some((Place::Held(handed.listener?), handed.face))));
    let mut own = metrics.into_iter().chain(page).collect::<Vec<_>>();
    let mut of_ours = |address: SocketAddr| {
        let kept = own.iter().position(|listener| listener.local_addr().is_ok_and(|own| own == address));
        kept.map_or_else(|| bind(address), |kept| Ok(Place::Held(own.swap_remove(kept))))
    };
    let metrics = config.admin.metrics.map(&mut of_ours).transpose()?;
    let pages = config.status_page.iter().flat_map(|page| &page.listen).filter_map(Listen::address);
    let page = pages.map(of_ours).collect::<Result<_, _>>()?;
    Ok(Sockets { places, exec, metrics, page, units, kept, unknown })
}

/// Whether a name is of another version of this program, and means nothing to this one.
fn is_unknown(name: &str) -> bool {
    let is_listener = |face: &str| {
        let mut faces = faces::protocols().into_iter();
        admin_file(face).is_some() || [METRICS, PAGE].contains(&face) || faces.any(|known| known.name() == face)
    };
    let is_known = handover::is_ours(name) || handover::face_of_listener(name).is_some_and(is_listener);
    handover::is_of_any_version(name) && !is_known
}

fn address_of(socket: &OwnedFd) -> Option<SocketAddr> {
    getsockname(socket).ok()?.try_into().ok()
}

/// Listens at `address`, or has it waited for. The daemon that has `passed` sockets on still listens at them all.
fn bind(address: SocketAddr, passed: &[SocketAddr], later: impl Fn(SocketAddr) -> bool) -> Result<Place, Failure> {
    let overlaps = |other: &SocketAddr| {
        let (one, other_ip) = (address.ip(), other.ip());
        other.port() == address.port() && (one == other_ip || one.is_unspecified() || other_ip.is_unspecified())
    };
    let in_the_way = passed.iter().find(|passed| overlaps(passed));
    match (Place::bind(address), in_the_way) {
        (Ok(listener), _) => Ok(Place::Held(listener)),
        (Err(error), Some(passed)) if error.is_in_use() => {
            Err(cannot_replace(&format!("it listens at {passed}, and this configuration has {address}")))
        }
        (Err(error), _) if error.is_in_use() && later(address) => Ok(Place::Taken(address)),
        (Err(error), _) => Err(Failure::runtime(error)),
    }
}

/// What is in the way of each of the `places` that another socket has.
pub(super) fn in_the_way<'a>(places: impl Iterator<Item = &'a Place>) -> Vec<String> {
    let taken = places.filter_map(|place| match place {
        Place::Taken(address) => Some(*address),
        Place::Held(_) => None,
    });
    taken.filter_map(|address| Place::bind(address).err()).map(|error| error.to_string()).collect()
}

/// An address, and the face that is shown there.
type Wanted = (SocketAddr, &'static dyn Face);

/// Which of the sockets that were handed over, if any, each of `configured` is. A socket stands for its own address; if the
/// configuration does not name that one, for the first of its face that has none. The sockets of the shipped unit stand for
/// themselves only: they are open without being asked for.
fn assign(configured: &[Wanted], handed: &[Wanted]) -> Vec<(Wanted, Option<usize>)> {
    let mut assigned: Vec<_> =
        configured.iter().map(|one| (*one, handed.iter().position(|handed| handed == one))).collect();
    let shipped = [DEFAULT_LISTEN, DEFAULT_CAPTURE].map(SocketAddr::from);
    for (index, other) in handed.iter().enumerate() {
        if configured.contains(other) || shipped.contains(&other.0) {
            continue;
        }
        if let Some(first) = assigned.iter_mut().find(|((_, face), socket)| *face == other.1 && socket.is_none()) {
            first.1 = Some(index);
        }
    }
    assigned
}

/// A listening socket that was handed over.
struct Handed {
    listener: Option<TcpListener>,
    address: SocketAddr,
    face: &'static dyn Face,
    /// Whether a daemon before this one has bound it, not a socket unit.
    own: bool,
}

/// All that were handed over.
#[derive(Default)]
struct Listeners {
    faces: Vec<Handed>,
    exec: Vec<TcpListener>,
    metrics: Option<TcpListener>,
    page: Vec<TcpListener>,
}

impl Listeners {
    /// One of a socket unit.
    fn add_units(&mut self, name: &str, listener: TcpListener, configured: &[Wanted]) -> Result<(), Failure> {
        let address = listener.local_addr().map_err(|error| not_listening(name, &error))?;
        let face = face_of(name, address, configured);
        if !configured.iter().any(|(_, known)| *known == face) {
            return Err(Failure::usage(format!(
                "the socket {address} from systemd is for the face {}, which is not configured",
                face.name()
            )));
        }
        self.faces.push(Handed { listener: Some(listener), address, face, own: false });
        Ok(())
    }

    /// One that a daemon before this one has bound for `face` stands for itself only.
    fn add_own(&mut self, face: &str, listener: TcpListener, configured: &[Wanted]) {
        let Ok(address) = listener.local_addr() else { return };
        if face == ecs::EXEC.name() {
            self.exec.push(listener);
        } else if face == METRICS {
            self.metrics = Some(listener);
        } else if face == PAGE {
            self.page.push(listener);
        } else if let Some((_, face)) = configured.iter().find(|(known, of)| *known == address && of.name() == face) {
            self.faces.push(Handed { listener: Some(listener), address, face: *face, own: true });
        }
    }
}

fn not_listening(socket: impl std::fmt::Display, error: &dyn std::fmt::Display) -> Failure {
    Failure::runtime(format!("socket {socket} from systemd is not a listening TCP socket: {error}"))
}

fn listeners(handed_over: HandedOver, configured: &[Wanted]) -> Result<Listeners, Failure> {
    let HandedOver { sockets: mut handed, names, of_units, passed, .. } = handed_over;
    let mut listeners = Listeners::default();
    for index in 0..handed.len() {
        let taken = handed.take_tcp_listener(index).map_err(|error| not_listening(index, &error))?;
        let Some(listener) = taken else { continue };
        let name = names.get(index).map_or("", String::as_str);
        match handover::face_of_listener(name) {
            Some(face) => listeners.add_own(face, listener, configured),
            None => listeners.add_units(name, listener, configured)?,
        }
    }
    for (name, listener) in of_units {
        listeners.add_units(&name, listener, configured)?;
    }
    for (name, socket) in passed.into_iter().filter(|(_, socket)| socket_acceptconn(socket) == Ok(true)) {
        if let Some(face) = handover::face_of_listener(&name) {
            listeners.add_own(face, socket.into(), configured);
        }
    }
    Ok(listeners)
}

/// The faces that have configured listeners.
fn configurable() -> impl Iterator<Item = &'static dyn Face> {
    faces::protocols().into_iter().filter(|face| !face.is_internal())
}

/// What a socket is for: its name (`FileDescriptorName=`) says it, or its address.
fn face_of(name: &str, address: SocketAddr, configured: &[Wanted]) -> &'static dyn Face {
    if let Some(face) = configurable().find(|face| face.name() == name) {
        return face;
    }
    if let Some((_, face)) = configured.iter().find(|(known, _)| *known == address) {
        return *face;
    }
    configurable().find(|face| face.is_at(address.ip())).unwrap_or(imds::FACE)
}

/// Where which face is, for the log: `127.0.0.1:25772; container at 127.0.0.1:25773`. `None` while no socket listens.
pub(super) fn describe(places: &[(Place, &'static dyn Face)]) -> Option<String> {
    let of = |wanted: &'static dyn Face| -> Vec<String> {
        let held = places.iter().filter(|(place, face)| *face == wanted && matches!(place, Place::Held(_)));
        held.map(|(place, _)| place.address().map_or_else(|error| error.to_string(), |a| a.to_string())).collect()
    };
    let part = |face: &'static dyn Face| {
        let addresses = of(face).join(", ");
        let name = if face == imds::FACE { String::new() } else { format!("{} at ", face.name()) };
        (!addresses.is_empty()).then(|| name + &addresses)
    };
    let parts: Vec<String> = configurable().filter_map(part).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::faces::{ecs, pod_identity};

    #[test]
    fn a_socket_shows_the_face_that_its_name_or_its_address_says() {
        let configured = [("127.0.0.1:25773".parse().expect("an address"), ecs::FACE)];
        for (name, address, face) in [
            ("container", "127.0.0.1:1", ecs::FACE),
            ("pod-identity", "127.0.0.1:1", pod_identity::FACE),
            ("imds", "169.254.170.2:80", imds::FACE),
            ("alppaca.socket", "127.0.0.1:25773", ecs::FACE),
            ("", "169.254.170.2:80", ecs::FACE),
            ("unknown", "169.254.170.23:80", pod_identity::FACE),
            ("", "[fd00:ec2::23]:80", pod_identity::FACE),
            ("", "169.254.169.254:80", imds::FACE),
            ("connection", "127.0.0.1:25772", imds::FACE),
        ] {
            assert_eq!(face_of(name, address.parse().expect("an address"), &configured), face, "{name} {address}");
        }
    }

    #[test]
    fn what_a_newer_version_has_kept_is_known_by_its_name() {
        for (name, unknown) in [
            ("alppaca-sets-1", false),
            ("alppaca-listener-imds", false),
            ("alppaca-listener-exec", false),
            ("alppaca-listener-metrics", false),
            ("alppaca-listener-admin-fe01-2a", false),
            ("alppaca-listener-admin", true),
            ("alppaca-listener-of-another-face", true),
            ("alppaca-queue", true),
            ("alppaca-container.socket", false),
            ("alppaca.socket", false),
            ("imds", false),
        ] {
            assert_eq!(is_unknown(name), unknown, "{name}");
        }
    }

    #[test]
    fn a_socket_stands_for_one_address_and_the_others_are_bound() {
        let imds = |address: &str| (address.parse::<SocketAddr>().expect("an address"), imds::FACE);
        let (link_local, loopback, other) = (imds("169.254.169.254:80"), imds("127.0.0.1:25772"), imds("127.0.0.1:99"));
        let container = ("169.254.170.2:80".parse().expect("an address"), ecs::FACE);
        let configured = vec![link_local, loopback, container];
        for (handed, expected) in [
            (vec![], [None, None, None]),
            (vec![loopback], [None, Some(0), None]),
            (vec![other], [Some(0), None, None]),
            (vec![other, loopback], [Some(0), Some(1), None]),
            (vec![link_local, loopback, other], [Some(0), Some(1), None]),
            (vec![container], [None, None, Some(0)]),
        ] {
            let sockets: Vec<_> = assign(&configured, &handed).into_iter().map(|(_, socket)| socket).collect();
            assert_eq!(sockets, expected, "{handed:?}");
        }
    }

    #[test]
    fn the_socket_of_the_shipped_unit_keeps_no_other_address_from_being_bound() {
        let address = |text: &str| text.parse::<SocketAddr>().expect("an address");
        let configured = [(address("169.254.169.254:80"), imds::FACE)];
        for shipped in ["127.0.0.1:25772", "127.0.0.1:25774"] {
            assert_eq!(assign(&configured, &[(address(shipped), imds::FACE)]), [(configured[0], None)], "{shipped}");
        }
    }
}
