//! An IMS for tests, demonstrations and checks of one's own hosts: it issues random
//! credentials that AWS does not know, and misbehaves on demand.
//!
//! It speaks HTTP over raw sockets, because half of what it can do is not HTTP any more.

mod answer;
mod connection;
mod handle;
mod issue;

use alppaca_core::credentials;

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener},
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

pub use answer::Answer;
pub use handle::{Handle, Request};
pub use issue::Issued;

use handle::Shared;

/// Where the role list is, as in 2015.
pub const LIST_PATH: &str = "/latest/meta-data/iam/security-credentials/";

/// What a mock IMS does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Behaviour {
    /// The lines of the role list, legal or not. Documents are issued for these and no others.
    pub roles: Vec<String>,
    /// How long credentials are valid.
    pub lifetime: Duration,
    /// How long each answer is held back.
    pub latency: Duration,
    /// How many percent of the requests get a 503 instead of their answer.
    pub fail_percent: u8,
    /// The path of the role list, with slashes at both ends.
    pub list_path: String,
    /// How the list is answered.
    pub list: Answer,
    /// How documents are answered, of roles that are not in `documents`.
    pub document: Answer,
    /// How the documents of certain roles are answered.
    pub documents: Vec<(String, Answer)>,
    /// Further headers of each answer, as names and values.
    pub headers: Vec<(String, String)>,
}

impl Default for Behaviour {
    /// The role `test_role` as in 2015, with credentials for one hour.
    fn default() -> Self {
        Self {
            roles: vec!["test_role".to_owned()],
            lifetime: Duration::from_hours(1),
            latency: Duration::ZERO,
            fail_percent: 0,
            list_path: LIST_PATH.to_owned(),
            list: Answer::Good,
            document: Answer::Good,
            documents: Vec::new(),
            headers: Vec::new(),
        }
    }
}

impl Behaviour {
    fn answer_for(&self, role: &str) -> &Answer {
        self.documents.iter().find(|(name, _)| name == role).map_or(&self.document, |(_, answer)| answer)
    }
}

/// A mock IMS that is bound and not yet running.
#[derive(Debug)]
pub struct MockIms {
    listeners: Vec<TcpListener>,
    shared: Arc<Shared>,
}

impl MockIms {
    /// Binds to `address`; connections are accepted from now on and served once it runs.
    pub fn bind(address: SocketAddr, behaviour: Behaviour) -> io::Result<Self> {
        Ok(Self { listeners: vec![TcpListener::bind(address)?], shared: Arc::new(Shared::new(behaviour)) })
    }

    /// Binds to what `localhost` means: 127.0.0.1, and `::1` on a host that has it.
    pub fn bind_localhost(port: u16, behaviour: Behaviour) -> io::Result<Self> {
        let mut mock = Self::bind((Ipv4Addr::LOCALHOST, port).into(), behaviour)?;
        let same_port = mock.local_addr()?.port();
        match TcpListener::bind((Ipv6Addr::LOCALHOST, same_port)) {
            Ok(listener) => mock.listeners.push(listener),
            // If the kernel chose the port, it may be taken on `::1`; that is no error of the caller.
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && port != 0 => return Err(error),
            Err(_) => {}
        }
        Ok(mock)
    }

    /// The address it is bound to; the IPv4 one of two.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listeners.first().ok_or(io::ErrorKind::NotConnected)?.local_addr()
    }

    /// A handle to watch it and to change what it does, also while it runs.
    pub fn handle(&self) -> Handle {
        Handle(Arc::clone(&self.shared))
    }

    /// Serves until it fails or is dropped, which closes all its connections.
    pub async fn run(self) -> io::Result<()> {
        let mut accepting = JoinSet::new();
        for listener in self.listeners {
            listener.set_nonblocking(true)?;
            let listener = tokio::net::TcpListener::from_std(listener)?;
            accepting.spawn(accept(listener, Arc::clone(&self.shared)));
        }
        while let Some(ended) = accepting.join_next().await {
            ended.map_err(io::Error::other)?;
        }
        Ok(())
    }
}

async fn accept(listener: tokio::net::TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    // Out of file descriptors, or the client is gone already.
                    tokio::time::sleep(Duration::from_millis(20)).await;
                    continue;
                };
                shared.count_connection();
                connections.spawn(connection::serve(stream, Arc::clone(&shared)));
            }
            // Only to forget it: how a connection ends is the client's business.
            Some(_) = connections.join_next() => {}
        }
    }
}
