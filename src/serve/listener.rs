//! The listening sockets and the life of the server: bind, accept, keep within limits, stop.

use std::{
    future::Future,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::Arc,
    time::Duration,
};

use rustix::net::{AddressFamily, SocketFlags, SocketType, bind, listen, socket_with, sockopt};
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
    time::timeout,
};

use super::{
    connection::{Connection, Context},
    imds::Imds,
    registry::Registry,
};
use crate::clock::{self, SharedClock};

/// Connections that the kernel completes before we accept them: a thousand programs may start at
/// once. The kernel cuts it to `net.core.somaxconn`.
const BACKLOG: i32 = 4096;
/// How often deadlines are looked at while connections are open.
const SWEEP: Duration = Duration::from_secs(1);
/// How long requests that are being answered may take to end when the server stops.
const DRAIN: Duration = Duration::from_secs(2);
/// How long idle connections are still listened to when the server stops.
const LAST_CALL: Duration = Duration::from_millis(50);
/// The pause after a failed accept, which without it would be repeated at once (out of files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Bounds of the server.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// How many connections may be open at once; one more ends the one that was idle for longest.
    pub connections: usize,
    /// From the first byte of a head to its end.
    pub header_timeout: Duration,
    /// Without a request.
    pub idle_timeout: Duration,
    /// For the client to take an answer.
    pub write_timeout: Duration,
}

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

fn hint(error: &io::Error, address: SocketAddr) -> &'static str {
    match error.kind() {
        io::ErrorKind::AddrInUse => " (is another alppaca running? `ss -ltnp` shows who has the port)",
        io::ErrorKind::AddrNotAvailable => {
            " (this host does not have the address; `alppaca capture apply` adds 169.254.169.254)"
        }
        io::ErrorKind::PermissionDenied if address.port() < 1024 => {
            " (ports below 1024 need root or CAP_NET_BIND_SERVICE)"
        }
        _ => "",
    }
}

/// The IMDS server.
pub struct Server {
    context: Arc<Context>,
    registry: Arc<Registry>,
}

impl Server {
    /// A server that answers with `imds`, writing a line for each request if `access_log`.
    pub fn new(imds: Imds, clock: SharedClock, limits: Limits, access_log: bool) -> Self {
        Self { context: Arc::new(Context { imds, clock, limits, access_log }), registry: Arc::default() }
    }

    /// Listens on `address`. Done before privileges are dropped, so that port 80 works.
    pub fn bind(address: SocketAddr) -> Result<StdListener, ServerError> {
        listen_on(address).map_err(|source| ServerError::Bind { address, source: source.into() })
    }

    /// Serves until `stop` is ready, then lets the requests that are being answered end.
    pub async fn run(self, listeners: Vec<StdListener>, stop: impl Future<Output = ()>) -> Result<(), ServerError> {
        let mut tasks = JoinSet::new();
        for (number, listener) in (0_u16..).zip(listeners) {
            listener.set_nonblocking(true)?;
            let listener = TcpListener::from_std(listener)?;
            let (context, registry) = (Arc::clone(&self.context), Arc::clone(&self.registry));
            tasks.spawn(async move { accept(listener, number, context, registry).await });
        }
        let (context, registry) = (Arc::clone(&self.context), Arc::clone(&self.registry));
        tasks.spawn(async move { sweep(context, registry).await });
        stop.await;
        tasks.shutdown().await;
        // What has been sent to us by now is still answered.
        self.registry.stop();
        clock::sleep(LAST_CALL).await;
        self.registry.abort(false);
        if timeout(DRAIN, self.registry.until(false)).await.is_err() {
            tracing::warn!("{} connection(s) were still busy after {DRAIN:?}", self.registry.len());
            self.registry.abort(true);
        }
        Ok(())
    }
}

fn listen_on(address: SocketAddr) -> rustix::io::Result<StdListener> {
    let family = if address.is_ipv4() { AddressFamily::INET } else { AddressFamily::INET6 };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = socket_with(family, SocketType::STREAM, flags, None)?;
    sockopt::set_socket_reuseaddr(&socket, true)?;
    if address.is_ipv6() {
        // Whoever wants both lists both.
        sockopt::set_ipv6_v6only(&socket, true)?;
    }
    // Accepted sockets inherit it. Answers are written whole, so waiting for more is of no use.
    sockopt::set_tcp_nodelay(&socket, true)?;
    bind(&socket, &address)?;
    listen(&socket, BACKLOG)?;
    Ok(socket.into())
}

async fn accept(listener: TcpListener, number: u16, context: Arc<Context>, registry: Arc<Registry>) {
    let mut failing = false;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                failing = false;
                while registry.len() >= context.limits.connections {
                    registry.evict();
                }
                start(stream, peer, number, &context, &registry);
            }
            // The client gave up before we came to it.
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!("cannot accept connections: {error}; the longest idle one is closed to make room");
                }
                registry.evict();
                clock::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

fn start(stream: TcpStream, peer: SocketAddr, listener: u16, context: &Arc<Context>, registry: &Arc<Registry>) {
    let now = context.clock.now().boot;
    let registration = registry.open(now, now + context.limits.idle_timeout);
    let id = registration.id();
    let context = Arc::clone(context);
    let connection = Connection { stream, peer, listener, context, registration, unread: Vec::new(), discard: 0 };
    let task = tokio::spawn(connection.serve());
    registry.set_abort(id, task.abort_handle());
}

/// Ends connections whose deadline has passed. Sleeps for good while there are none.
async fn sweep(context: Arc<Context>, registry: Arc<Registry>) {
    loop {
        registry.until(true).await;
        clock::sleep(SWEEP).await;
        registry.sweep(context.clock.now().boot);
    }
}
