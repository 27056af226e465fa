//! Where a server listens: over TCP, or at a Unix socket.

use std::{
    fmt,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use crate::{
    Node, Problem, read,
    render::{AsYaml, quoted},
};

/// A place at which clients connect.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Listen {
    /// TCP.
    Tcp(SocketAddr),
    /// A Unix socket.
    Unix(PathBuf),
}

/// What an editor can know of it.
const FORM: &str = "^(unix:/.*|(\\[[0-9A-Fa-f:.]+(%[0-9]+)?\\]|[0-9.]+):[0-9]+)$";

impl Listen {
    /// Reads `address:port` or `unix:/path`.
    pub fn read(node: &Node) -> Result<Self, Problem> {
        let text = read::text_like(node, FORM)?;
        let wrong =
            || Problem::new(node.place.clone(), "address:port, such as 127.0.0.1:8443, or unix:/path is expected here");
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

    /// The address of TCP.
    pub fn address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(address) => Some(*address),
            Self::Unix(_) => None,
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

impl AsYaml for Listen {
    fn as_yaml(&self) -> Option<String> {
        Some(quoted(&self.to_string()))
    }
}
