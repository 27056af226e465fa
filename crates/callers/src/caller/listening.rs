//! Which process listens at an address of this host: for messages, and to check what would answer programs.

use std::{fmt, fs, io, net::SocketAddr};

use super::{Holder, Kernel};

/// The owner of a listening socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listening {
    /// The user who made the socket.
    pub uid: u32,
    /// A process that holds it, where `/proc` shows that: to root, and to its own user.
    pub process: Option<Holder>,
}

impl Listening {
    /// The listener at `address`; `None` if there is none in this network namespace.
    pub fn at(address: SocketAddr) -> io::Result<Option<Self>> {
        let Some((uid, inode)) = Kernel::open(None)?.listener(address)? else { return Ok(None) };
        // What has opened it may have become another account since, as the daemon does.
        let process = Holder::find(uid, inode).or_else(|| Holder::find_any(inode));
        Ok(Some(Self { uid, process }))
    }

    /// Whether systemd holds the socket, so that it stays when the daemon ends; `None` if only root can see that.
    pub fn is_of_systemd(&self) -> Option<bool> {
        let first = fs::read_to_string("/proc/1/comm");
        let is_systemd = first.map_or(true, |name| name.trim_end() == "systemd");
        self.is_held_by_first(is_systemd, fs::read_dir("/proc/1/fd").is_ok())
    }

    /// Of root's processes that hold it the first is found, if it can be looked into.
    fn is_held_by_first(&self, is_systemd: bool, can_be_seen: bool) -> Option<bool> {
        if self.uid != 0 || !is_systemd {
            return Some(false);
        }
        can_be_seen.then(|| self.process.as_ref().is_some_and(|holder| holder.pid == 1))
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        self.process.as_ref().map_or(Ok(()), |process| write!(f, ", {process}"))
    }
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;

    use super::*;

    #[test]
    fn the_owner_of_a_listener_is_told_at_its_address_or_at_all() {
        for listen in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = TcpListener::bind(listen).expect("a free port");
            let bound = listener.local_addr().expect("bound");
            let asked = match bound {
                SocketAddr::V4(_) => SocketAddr::from(([127, 0, 0, 1], bound.port())),
                SocketAddr::V6(_) => SocketAddr::from((std::net::Ipv6Addr::LOCALHOST, bound.port())),
            };
            let found = Listening::at(asked).expect("an answer").unwrap_or_else(|| panic!("no listener at {listen}"));
            assert_eq!(found.uid, rustix::process::getuid().as_raw(), "{listen}");
            assert_eq!(found.process.as_ref().map(|process| process.pid), Some(std::process::id()), "{listen}");
            assert!(found.to_string().contains(&format!(", process {}, \"/", std::process::id())), "{found}");
            drop(listener);
            assert_eq!(Listening::at(asked).expect("an answer"), None, "{listen}");
        }
    }

    #[test]
    fn a_socket_of_roots_is_systemds_only_if_the_first_process_holds_it() {
        let held = |uid, pid: Option<u32>, is_systemd, can_be_seen| {
            let process = pid.map(|pid| Holder { pid, exe: None });
            Listening { uid, process }.is_held_by_first(is_systemd, can_be_seen)
        };
        assert_eq!(held(0, Some(1), true, true), Some(true));
        for holder in [Some(4242), None] {
            assert_eq!(held(0, holder, true, true), Some(false));
            assert_eq!(held(0, holder, true, false), None, "to another user");
            assert_eq!(held(1000, holder, true, false), Some(false));
        }
        assert_eq!(held(0, Some(1), false, true), Some(false), "the first process of a container");
    }

    #[test]
    fn a_connection_from_the_port_is_no_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        assert_eq!(Listening::at(client.local_addr().expect("connected")).expect("an answer"), None);
    }
}
