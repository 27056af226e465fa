//! Where the server listens: the sockets that it has, and the addresses that another socket has at the moment.

use std::{
    io,
    net::{SocketAddr, TcpListener},
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};

use crate::{caller::Listening, clock};

/// Connections that the kernel completes before we accept them: a thousand programs may start at
/// once. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How long an address that is in use is left alone before it is tried again.
const AGAIN: Duration = Duration::from_millis(250);

/// Why there is no listener.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: {source}{}", hint(source, *address))]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The reason.
        source: io::Error,
    },
    /// The runtime refused a socket.
    #[error("cannot use a listening socket: {0}")]
    Socket(#[from] io::Error),
}

impl ServerError {
    /// Whether another socket has the address: that may end at any time.
    pub fn is_in_use(&self) -> bool {
        matches!(self, Self::Bind { source, .. } if source.kind() == io::ErrorKind::AddrInUse)
    }
}

/// A place where the server listens, or will.
#[derive(Debug)]
pub enum Place {
    /// This socket listens.
    Held(TcpListener),
    /// Another socket has this address. It is tried again until it is free.
    Taken(SocketAddr),
}

impl Place {
    /// Listens on `address`. Done before privileges are dropped, so that port 80 works.
    pub fn bind(address: SocketAddr) -> Result<TcpListener, ServerError> {
        listen_on(address).map_err(|source| ServerError::Bind { address, source: source.into() })
    }

    /// The address, as far as it is known.
    pub fn address(&self) -> io::Result<SocketAddr> {
        match self {
            Self::Held(listener) => listener.local_addr(),
            Self::Taken(address) => Ok(*address),
        }
    }

    /// The address, if another socket has it.
    pub fn taken(&self) -> Option<SocketAddr> {
        match self {
            Self::Held(_) => None,
            Self::Taken(address) => Some(*address),
        }
    }

    /// The socket; waits until the address is free. What is in the way is logged at the 1st, 2nd, 4th, 8th … attempt: it
    /// may be a user who answers programs in our place.
    pub async fn listener(self) -> TcpListener {
        let address = match self {
            Self::Held(listener) => return listener,
            Self::Taken(address) => address,
        };
        let mut attempts = 0_u64;
        loop {
            match Self::bind(address) {
                Ok(listener) => {
                    notice!("{address} is free now: listening there");
                    return listener;
                }
                Err(error) => {
                    attempts = attempts.saturating_add(1);
                    if attempts.is_power_of_two() {
                        tracing::error!("{error}; trying again until it is free");
                    }
                }
            }
            clock::sleep(AGAIN).await;
        }
    }
}

/// What is behind it, and what to do. Looked up when it is shown.
fn hint(error: &io::Error, address: SocketAddr) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => match Listening::at(address) {
            Ok(Some(listening)) => format!(" by {listening}"),
            // Bound and not listening, or listening at another address that excludes this one.
            Ok(None) | Err(_) => " (`ss -antp` shows the sockets that have the port)".to_owned(),
        },
        io::ErrorKind::AddrNotAvailable => {
            " (this host does not have the address; `alppaca capture apply` adds 169.254.169.254, and `ip address add \
             ADDRESS dev lo` any other)"
                .to_owned()
        }
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            " (ports below 1024 need root or CAP_NET_BIND_SERVICE; for systemd there is the drop-in low-ports.conf)"
                .to_owned()
        }
        _ => String::new(),
    }
}

fn listen_on(address: SocketAddr) -> rustix::io::Result<TcpListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // To listen on both families, configure both addresses.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit it. Answers are written whole, so waiting for more is of no use.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}
