//! The sockets that listen: for those who wait for them, and for the process that listens there next.

use std::{borrow::Cow, fmt, os::fd::AsFd, sync::Arc};

use tokio::sync::watch;

/// A socket that listens.
#[derive(Clone)]
pub struct OpenSocket {
    /// The name of the face that it shows, or what else it is for.
    pub name: Cow<'static, str>,
    /// Whether somebody waits for it to listen.
    pub awaited: bool,
    /// The socket, which several processes may have.
    pub socket: Arc<dyn AsFd + Send + Sync>,
}

impl fmt::Debug for OpenSocket {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenSocket").field("name", &self.name).finish_non_exhaustive()
    }
}

/// All of them. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct OpenSockets(watch::Sender<Vec<OpenSocket>>);

impl OpenSockets {
    /// One more listens.
    pub fn add(&self, socket: OpenSocket) {
        self.0.send_modify(|sockets| sockets.push(socket));
    }

    /// Those of that name do not listen any more.
    pub fn remove(&self, name: &str) {
        self.0.send_modify(|sockets| sockets.retain(|socket| socket.name != name));
    }

    /// None listens any more.
    pub fn clear(&self) {
        self.0.send_replace(Vec::new());
    }

    /// Those that listen now.
    pub fn all(&self) -> Vec<OpenSocket> {
        self.0.borrow().clone()
    }

    /// The same from now on.
    pub fn follow(&self) -> watch::Receiver<Vec<OpenSocket>> {
        self.0.subscribe()
    }
}
