//! Connections to an upstream: direct or through a proxy, plain or TLS, within one time-out.

use std::{
    future::Future,
    io::{self, IoSlice},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tower_service::Service;

use super::resolver::Resolver;

/// An older connection is not used again after the next call: the name of its server may have moved to another host, which is
/// only seen when it is looked up again.
const MAX_AGE: Duration = Duration::from_secs(30);

type Tcp = HttpConnector<Resolver>;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Opens connections for the pool.
#[derive(Clone)]
pub(super) struct Connector {
    route: Route,
    timeout: Duration,
}

#[derive(Clone)]
enum Route {
    Plain(Tcp),
    Tls(HttpsConnector<Tcp>),
    /// To the proxy, which gets the requests in absolute form.
    Forward(Tcp, Uri),
    /// CONNECT, and TLS with the server inside.
    Tunnel(HttpsConnector<Tunnel<Tcp>>),
}

impl Connector {
    /// With `tls` for an `https` server, without for an `http` one. `proxy` is a URL and the value of
    /// `Proxy-Authorization`. Names are looked up by `resolver`. `timeout` is for one connection, all its handshakes included.
    pub(super) fn new(
        resolver: Resolver,
        tls: Option<ClientConfig>,
        proxy: Option<(Uri, Option<HeaderValue>)>,
        timeout: Duration,
    ) -> Self {
        let mut tcp = Tcp::new_with_resolver(resolver);
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        // Shared out among the addresses of a name, so that a dead one leaves time for the next.
        tcp.set_connect_timeout(Some(timeout));
        let route = match (tls, proxy) {
            (None, None) => Route::Plain(tcp),
            (Some(tls), None) => Route::Tls((tcp, tls).into()),
            (None, Some((uri, _))) => Route::Forward(tcp, uri),
            (Some(tls), Some((uri, authorization))) => {
                let tunnel = Tunnel::new(uri, tcp);
                let tunnel = match authorization {
                    Some(value) => tunnel.with_auth(value),
                    None => tunnel,
                };
                Route::Tunnel((tunnel, tls).into())
            }
        };
        Self { route, timeout }
    }
}

impl Route {
    async fn connect(&mut self, destination: Uri) -> Result<Stream, BoxError> {
        let (inner, forwarding) = match self {
            Self::Plain(connector) => (MaybeHttpsStream::Http(connector.call(destination).await?), false),
            Self::Tls(connector) => (connector.call(destination).await?, false),
            Self::Forward(connector, proxy) => (MaybeHttpsStream::Http(connector.call(proxy.clone()).await?), true),
            Self::Tunnel(connector) => (connector.call(destination).await?, false),
        };
        Ok(Stream { inner, forwarding, history: History::begin() })
    }
}

impl Service<Uri> for Connector {
    type Response = Stream;
    type Error = BoxError;
    type Future = Pin<Box<dyn Future<Output = Result<Stream, BoxError>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, destination: Uri) -> Self::Future {
        let Self { mut route, timeout } = self.clone();
        Box::pin(async move {
            let connecting = tokio::time::timeout(timeout, route.connect(destination));
            connecting.await.map_err(|_| format!("no connection within {timeout:?}"))?
        })
    }
}

/// What has become of a connection; shared with the pool and its callers.
#[derive(Debug, Clone, Default)]
pub(super) struct History(Arc<Flags>);

#[derive(Debug, Default)]
struct Flags {
    used: AtomicBool,
    old: AtomicBool,
}

impl History {
    /// Of a connection that is open from now on.
    fn begin() -> Self {
        let history = Self::default();
        let flags = Arc::downgrade(&history.0);
        tokio::spawn(async move {
            tokio::time::sleep(MAX_AGE).await;
            if let Some(flags) = flags.upgrade() {
                flags.old.store(true, Ordering::Relaxed);
            }
        });
        history
    }

    /// It has served a request.
    pub(super) fn note_use(&self) {
        self.0.used.store(true, Ordering::Relaxed);
    }

    /// Whether it has served a request before.
    pub(super) fn is_used(&self) -> bool {
        self.0.used.load(Ordering::Relaxed)
    }

    /// Whether another one should be opened in its place.
    pub(super) fn is_old(&self) -> bool {
        self.0.old.load(Ordering::Relaxed)
    }
}

/// A connection that can report to the pool whether requests must be in absolute form.
pub(super) struct Stream {
    inner: MaybeHttpsStream<TokioIo<TcpStream>>,
    forwarding: bool,
    history: History,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.inner.connected().proxy(self.forwarding).extra(self.history.clone())
    }
}

impl Read for Stream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: ReadBufCursor<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write(cx, buf)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.inner).poll_write_vectored(cx, bufs)
    }
}
