//! Which process listens at an address of this host: for messages, and to check what would answer programs.

use std::{fmt, io, net::SocketAddr};

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
        // The directory of a process that must not be dumped is root's.
        let process = Holder::find(uid, inode).or_else(|| Holder::find(0, inode));
        Ok(Some(Self { uid, process }))
    }
}

impl fmt::Display for Listening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid {}", self.uid)?;
        match &self.process {
            // The name of a program is its user's choice: quoted.
            Some(Holder { pid, exe: Some(exe) }) => write!(f, ", process {pid}, {:?}", exe.to_string_lossy()),
            Some(Holder { pid, exe: None }) => write!(f, ", process {pid}"),
            None => Ok(()),
        }
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
    fn a_connection_from_the_port_is_no_listener() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let client = std::net::TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        assert_eq!(Listening::at(client.local_addr().expect("connected")).expect("an answer"), None);
    }
}
