//! Who is at the other end of the admin socket, as the kernel says (`SO_PEERCRED`, unix(7)).

/// The process that connected, as it was at that moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    /// Its effective user.
    pub uid: u32,
    /// Its effective group.
    pub gid: u32,
    /// Its number, as the daemon sees it; none if it is in a PID namespace that the daemon cannot see into.
    pub pid: Option<u32>,
}

impl From<tokio::net::unix::UCred> for Peer {
    fn from(credentials: tokio::net::unix::UCred) -> Self {
        let pid = credentials.pid().and_then(|pid| u32::try_from(pid).ok()).filter(|pid| *pid != 0);
        Self { uid: credentials.uid(), gid: credentials.gid(), pid }
    }
}
