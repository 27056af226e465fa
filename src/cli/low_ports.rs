//! Whether the daemon will be able to listen at ports that are reserved for root.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
};

/// Where the service manager finds units, the most important place first.
const UNITS: [&str; 4] = ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];
const CAPABILITY: &str = "CAP_NET_BIND_SERVICE";

/// What to do about it.
const REMEDY: &str = "install the drop-in low-ports.conf (`sudo install -D -m 644 \
    /usr/share/doc/alppaca/systemd/alppaca.service.d/low-ports.conf /etc/systemd/system/alppaca.service.d/low-ports.conf`), or \
    have systemd hold the address (`ListenStream=` in a drop-in of alppaca.socket); then `sudo systemctl daemon-reload`";

/// Who is going to bind them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Binder {
    /// A service of the host, whose units are in the file system at this root.
    Unit,
    /// A process like this one, which may, or not.
    Process {
        /// As root, or with the capability.
        may: bool,
    },
}

/// A warning for each address below port `lowest` at which it is unlikely that the daemon can listen.
pub(super) fn judge(addresses: &[SocketAddr], lowest: u16, binder: Binder, root: &Path) -> Vec<String> {
    let low = addresses.iter().filter(|address| address.port() != 0 && address.port() < lowest);
    let who = "only root, or a process with CAP_NET_BIND_SERVICE, can listen at ports below";
    let warn = |address: &SocketAddr| match binder {
        Binder::Process { may: true } => None,
        Binder::Process { may: false } => Some(format!(
            "{address}: {who} {lowest} (net.ipv4.ip_unprivileged_port_start), which you are not: choose a higher port, or run the \
             daemon as a service"
        )),
        Binder::Unit if has_capability(root) || has_socket(root, *address) => None,
        Binder::Unit => Some(format!("{address}: {who} {lowest}, and alppaca.service has no such right: {REMEDY}")),
    };
    low.filter_map(warn).collect()
}

/// Whether there is a unit of the daemon.
pub(super) fn is_installed(root: &Path) -> bool {
    UNITS.iter().any(|place| root.join(place).join("alppaca.service").is_file())
}

/// Whether the service is started with the right, or as root.
fn has_capability(root: &Path) -> bool {
    let lines = settings(root, "alppaca.service");
    let user = lines.iter().rev().find_map(|line| line.strip_prefix("User="));
    let ambient = lines.iter().filter_map(|line| line.strip_prefix("AmbientCapabilities="));
    // An empty one takes back those before.
    let given = ambient.fold(false, |given, names| !names.is_empty() && (given || names.contains(CAPABILITY)));
    given || user.is_none_or(|user| user.is_empty() || user == "root" || user == "0")
}

/// Whether the service manager holds the address for the daemon.
fn has_socket(root: &Path, address: SocketAddr) -> bool {
    let covers = |held: &str| match held.parse::<SocketAddr>() {
        Ok(held) => held.port() == address.port() && (held.ip() == address.ip() || held.ip().is_unspecified()),
        Err(_) => held == address.port().to_string(),
    };
    settings(root, "alppaca.socket").iter().filter_map(|line| line.strip_prefix("ListenStream=")).any(covers)
}

/// The lines of a unit, and then those of its drop-ins.
fn settings(root: &Path, unit: &str) -> Vec<String> {
    let places = || UNITS.iter().map(|place| root.join(place));
    let main = places().map(|place| place.join(unit)).find(|file| file.is_file());
    let files = |directory: PathBuf| fs::read_dir(directory).into_iter().flatten().flatten().map(|entry| entry.path());
    let mut more: Vec<_> = places().flat_map(|place| files(place.join(format!("{unit}.d")))).collect();
    more.retain(|file| file.extension().is_some_and(|extension| extension == "conf"));
    more.sort_by_key(|file| file.file_name().map(ToOwned::to_owned));
    let text = |file: PathBuf| fs::read_to_string(file).unwrap_or_default();
    let lines = main.into_iter().chain(more).map(text).collect::<Vec<_>>().join("\n");
    lines.lines().map(|line| line.trim().to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn the_unit_as_it_is_shipped_needs_its_drop_in_or_a_socket() {
        let root = tempfile::tempdir().expect("a directory");
        let shipped = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/systemd");
        let place = |from: &str, to: &str| {
            let to = root.path().join(to);
            fs::create_dir_all(to.parent().expect("in one")).expect("ours");
            fs::copy(shipped.join(from), to).expect("shipped");
        };
        let imds = [address("169.254.169.254:80"), address("127.0.0.1:25772")];
        let warnings = || judge(&imds, 1024, Binder::Unit, root.path());
        assert!(!is_installed(root.path()));
        place("alppaca.service", "usr/lib/systemd/system/alppaca.service");
        place("alppaca.socket", "usr/lib/systemd/system/alppaca.socket");
        assert!(is_installed(root.path()));
        let [warning] = &*warnings() else { panic!("{:?}", warnings()) };
        assert!(
            warning.starts_with("169.254.169.254:80: only root") && warning.contains("low-ports.conf"),
            "{warning}"
        );
        assert_eq!(judge(&imds, 80, Binder::Unit, root.path()), [""; 0]);
        let dropped = "etc/systemd/system/alppaca.service.d/low-ports.conf";
        place("alppaca.service.d/low-ports.conf", dropped);
        assert_eq!(warnings(), [""; 0]);
        fs::remove_file(root.path().join(dropped)).expect("there");
        assert_eq!(warnings().len(), 1);
        let socket = root.path().join("etc/systemd/system/alppaca.socket.d/imds.conf");
        fs::create_dir_all(socket.parent().expect("in one")).expect("ours");
        for (held, count) in [("169.254.169.254:80", 0), ("0.0.0.0:80", 0), ("80", 0), ("127.0.0.1:80", 1)] {
            fs::write(&socket, format!("[Socket]\nListenStream={held}\n")).expect("ours");
            assert_eq!(warnings().len(), count, "{held}");
        }
    }

    #[test]
    fn a_process_is_judged_by_itself() {
        let port = [address("127.0.0.1:80"), address("127.0.0.1:0")];
        let judged = |may| judge(&port, 1024, Binder::Process { may }, Path::new("/"));
        assert_eq!(judged(true), [""; 0]);
        assert!(judged(false)[0].starts_with("127.0.0.1:80: only root"), "{:?}", judged(false));
    }
}
