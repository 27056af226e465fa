//! Where the server listens.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::settings::{Node, Problem, read};

/// A place at which clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket; always plain HTTP.
    Unix(PathBuf),
}

impl Listen {
    /// Reads `address:port` or `unix:/path`.
    pub(super) fn read(node: &Node) -> Result<Self, Problem> {
        let text = read::text(node)?;
        let wrong =
            || Problem::new(node.place.clone(), "address:port, such as 0.0.0.0:8443, or unix:/path is expected here");
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err(wrong()),
            None => text.parse().map(Self::Tcp).map_err(|_| wrong()),
        }
    }

    /// The path of a Unix socket.
    pub fn socket(&self) -> Option<&Path> {
        match self {
            Self::Tcp(_) => None,
            Self::Unix(path) => Some(path),
        }
    }

    /// Whether only this host can connect.
    pub fn is_local(&self) -> bool {
        match self {
            Self::Tcp(address) => address.ip().to_canonical().is_loopback(),
            Self::Unix(_) => true,
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => address.fmt(f),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}
