//! The listening sockets: connections are accepted, counted, and given their TLS.

use std::{
    io,
    net::{IpAddr, SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixListener},
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
};

use ipnet::IpNet;
use nix::unistd::Gid;
use tokio::{net, sync::watch};
use tokio_rustls::TlsAcceptor;

use super::{
    client::Client,
    connection::serve,
    proxy_header::{HeaderError, Origin, read_header},
    respond::Server,
    tls::Tls,
};
use crate::{
    budget::{Bounds, Rank, Share, Shares},
    clock, https,
    identity::Peer,
    settings::Listen,
    site::Limits,
};

/// How long a client may take no byte of an answer, in milliseconds.
const UNREAD: u32 = 75_000;

/// Why the server cannot listen.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen at {place}: {source}")]
pub struct ListenError {
    /// Where.
    pub place: String,
    /// The reason.
    pub source: io::Error,
}

/// A listening socket.
#[derive(Debug)]
pub enum Bound {
    /// TCP.
    Tcp(TcpListener),
    /// A Unix socket at this path.
    Unix(UnixListener, PathBuf),
}

/// Listens. A Unix socket that no server listens at any more is replaced; `group` may connect to it.
pub fn bind(listen: &Listen, group: Option<Gid>) -> Result<Bound, ListenError> {
    let bound = match listen {
        Listen::Tcp(address) => TcpListener::bind(address).map(Bound::Tcp),
        Listen::Unix(path) => bind_unix(path, group).map(|listener| Bound::Unix(listener, path.clone())),
    };
    bound.map_err(|source| ListenError { place: listen.to_string(), source })
}

fn bind_unix(path: &Path, group: Option<Gid>) -> io::Result<UnixListener> {
    let listener = match UnixListener::bind(path) {
        Err(error) if error.kind() == io::ErrorKind::AddrInUse && is_abandoned(path) => {
            std::fs::remove_file(path)?;
            UnixListener::bind(path)?
        }
        bound => bound?,
    };
    if let Some(group) = group {
        std::os::unix::fs::chown(path, None, Some(group.as_raw()))?;
    }
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(if group.is_some() { 0o660 } else { 0o600 }))?;
    Ok(listener)
}

fn is_abandoned(path: &Path) -> bool {
    matches!(std::os::unix::net::UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

impl Bound {
    /// The address of a TCP listener.
    pub fn tcp_address(&self) -> Option<SocketAddr> {
        match self {
            Self::Tcp(listener) => listener.local_addr().ok(),
            Self::Unix(..) => None,
        }
    }

    /// Its address as it is, with the port that the kernel has chosen for port 0.
    pub fn address(&self) -> io::Result<Listen> {
        match self {
            Self::Tcp(listener) => listener.local_addr().map(Listen::Tcp),
            Self::Unix(_, path) => Ok(Listen::Unix(path.clone())),
        }
    }
}

enum Listener {
    Tcp(net::TcpListener),
    Unix(net::UnixListener),
}

enum Stream {
    Tcp(net::TcpStream, SocketAddr),
    Unix(net::UnixStream),
}

impl https::Listener for Listener {
    type Accepted = Stream;

    async fn accept(&self) -> io::Result<Stream> {
        match self {
            Self::Tcp(listener) => listener.accept().await.map(|(stream, address)| Stream::Tcp(stream, address)),
            Self::Unix(listener) => listener.accept().await.map(|(stream, _)| Stream::Unix(stream)),
        }
    }
}

/// All listeners of the server.
pub(super) struct Door {
    pub(super) server: Arc<Server>,
    /// How TLS is spoken over TCP; without it, plain HTTP is.
    pub(super) tls: Option<Arc<Tls>>,
    shares: Arc<Shares<Option<IpAddr>>>,
    /// Whose connections begin with a PROXY header.
    balancers: Vec<IpNet>,
    /// Whether it was said that one did not.
    header_missed: AtomicBool,
    stop: watch::Receiver<bool>,
}

impl Door {
    pub(super) fn new(
        server: Arc<Server>,
        tls: Option<Arc<Tls>>,
        limits: Limits,
        balancers: Vec<IpNet>,
        stop: watch::Receiver<bool>,
    ) -> Arc<Self> {
        let bounds = Bounds { total: limits.connections, reserved: 0, each: limits.per_address, scarce: 0 };
        let shares = Shares::new(bounds);
        Arc::new(Self { server, tls, shares, balancers, header_missed: AtomicBool::new(false), stop })
    }

    /// Accepts connections until the server stops, and their last requests are answered.
    pub(super) async fn open(self: Arc<Self>, bound: Bound) -> io::Result<()> {
        let (listener, path) = match bound {
            Bound::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                (Listener::Tcp(net::TcpListener::from_std(listener)?), None)
            }
            Bound::Unix(listener, path) => {
                listener.set_nonblocking(true)?;
                (Listener::Unix(net::UnixListener::from_std(listener)?), Some(path))
            }
        };
        https::accept(listener, self.stop.clone(), |stream| Arc::clone(&self).connection(stream)).await;
        // It may be gone already.
        let _gone = path.map(std::fs::remove_file);
        Ok(())
    }

    async fn connection(self: Arc<Self>, stream: Stream) {
        match stream {
            Stream::Tcp(stream, address) => self.tcp(stream, address.ip().to_canonical()).await,
            Stream::Unix(stream) => self.unix(stream).await,
        }
    }

    async fn tcp(&self, mut stream: net::TcpStream, address: IpAddr) {
        self.server.counters().connections.fetch_add(1, Ordering::Relaxed);
        let Some(mut share) = self.admit(Some(address)) else { return };
        // Answers are written at once; without it they would wait for the client's acknowledgement.
        let _slower = stream.set_nodelay(true);
        // Without it a client that takes no answer would keep its connection for ever.
        let _longer = rustix::net::sockopt::set_tcp_user_timeout(&stream, UNREAD);
        let Some(address) = self.origin(&mut stream, address).await else { return };
        if *share.owner() != Some(address) {
            let Some(of_client) = self.admit(Some(address)) else { return };
            share = of_client;
        }
        self.secured(stream, address).await;
        drop(share);
    }

    /// Where the client is that connects from `address`, which may be that of a balancer.
    async fn origin(&self, stream: &mut net::TcpStream, address: IpAddr) -> Option<IpAddr> {
        if !self.balancers.iter().any(|network| network.contains(&address)) {
            return Some(address);
        }
        let read = tokio::select! {
            read = read_header(stream) => read,
            () = clock::sleep(https::HANDSHAKE) => Err(HeaderError::Ended(io::ErrorKind::TimedOut.into())),
        };
        match read {
            Ok(Origin::Client(client)) => Some(client),
            Ok(Origin::Balancer) => Some(address),
            Err(error) => {
                self.server.counters().headers_refused.fetch_add(1, Ordering::Relaxed);
                if self.header_missed.swap(true, Ordering::Relaxed) {
                    tracing::debug!("{address}: {error}");
                } else {
                    tracing::warn!(
                        "{address} is in `proxy_protocol_from`, and its connection was closed: {error}. This is said once; \
                         metrics count them"
                    );
                }
                None
            }
        }
    }

    async fn secured(&self, stream: net::TcpStream, address: IpAddr) {
        let peer = Peer::Tcp(address);
        let Some(tls) = &self.tls else {
            let client = Client { peer, certificates: Arc::from([]) };
            return self.serve(stream, client).await;
        };
        let stream = match https::handshake(stream, &TlsAcceptor::from(tls.config())).await {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(error) => {
                self.server.counters().handshakes_failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("{address}: no TLS: {error}");
                return;
            }
        };
        let certificates = stream.get_ref().1.peer_certificates().unwrap_or_default();
        let client = Client { peer, certificates: certificates.iter().map(|der| der.clone().into_owned()).collect() };
        self.serve(stream, client).await;
    }

    async fn unix(&self, stream: net::UnixStream) {
        self.server.counters().connections.fetch_add(1, Ordering::Relaxed);
        let Some(_share) = self.admit(None) else { return };
        match stream.peer_cred() {
            Ok(credentials) => {
                let client = Client { peer: Peer::Unix { uid: credentials.uid() }, certificates: Arc::from([]) };
                self.serve(stream, client).await;
            }
            Err(error) => tracing::warn!("a connection was closed: its process cannot be found out: {error}"),
        }
    }

    /// A place for a connection from there, if there is one.
    fn admit(&self, address: Option<IpAddr>) -> Option<Share<Option<IpAddr>>> {
        let share = self.shares.take(&address, Rank::Ordinary);
        if share.is_none() {
            self.server.counters().refused.fetch_add(1, Ordering::Relaxed);
        }
        share
    }

    async fn serve<S>(&self, stream: S, client: Client)
    where
        S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin,
    {
        let open = &self.server.counters().open;
        open.fetch_add(1, Ordering::Relaxed);
        serve(stream, client, Arc::clone(&self.server), self.stop.clone()).await;
        open.fetch_sub(1, Ordering::Relaxed);
    }
}
