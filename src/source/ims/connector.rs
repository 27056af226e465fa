//! Connections to the IMS: direct, through a proxy's `CONNECT` tunnel (for `https`), or to a proxy
//! that is asked for the whole URL (for `http`); all within the connect time-out.

use std::{
    error::Error,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::{HeaderValue, Uri};
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_rustls::{DefaultServerNameResolver, HttpsConnector, MaybeHttpsStream};
use hyper_util::{
    client::legacy::connect::{Connected, Connection, HttpConnector, proxy::Tunnel},
    rt::TokioIo,
};
use rustls::ClientConfig;
use tokio::{net::TcpStream, time::timeout};
use tower_service::Service;

type BoxError = Box<dyn Error + Send + Sync>;
type Connecting<T> = Pin<Box<dyn Future<Output = Result<T, BoxError>> + Send>>;

/// Makes connections that speak TLS if the URL says so.
#[derive(Clone)]
pub(super) struct Connector {
    https: HttpsConnector<Route>,
    limit: Duration,
}

impl Connector {
    /// `proxy` is the proxy's URL and what to authenticate with there.
    pub(super) fn new(tls: ClientConfig, proxy: Option<(Uri, Option<HeaderValue>)>, limit: Duration) -> Self {
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        let route = match proxy {
            None => Route::Direct(tcp),
            Some((proxy, auth)) => {
                let tunnel = Tunnel::new(proxy.clone(), tcp.clone());
                let tunnel = match auth {
                    Some(auth) => tunnel.with_auth(auth),
                    None => tunnel,
                };
                Route::Proxy(Box::new(Proxied { proxy, tcp, tunnel }))
            }
        };
        let https = HttpsConnector::new(route, tls, false, Arc::new(DefaultServerNameResolver::default()));
        Self { https, limit }
    }
}

impl Service<Uri> for Connector {
    type Response = MaybeHttpsStream<Stream>;
    type Error = BoxError;
    type Future = Connecting<Self::Response>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        self.https.poll_ready(context)
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let (connecting, limit) = (self.https.call(to), self.limit);
        Box::pin(async move {
            timeout(limit, connecting).await.map_err(|_elapsed| format!("no connection within {limit:?}"))?
        })
    }
}

/// How the TCP connection is made.
#[derive(Clone)]
enum Route {
    Direct(HttpConnector),
    Proxy(Box<Proxied>),
}

#[derive(Clone)]
struct Proxied {
    proxy: Uri,
    tcp: HttpConnector,
    tunnel: Tunnel<HttpConnector>,
}

impl Service<Uri> for Route {
    type Response = Stream;
    type Error = BoxError;
    type Future = Connecting<Stream>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), BoxError>> {
        match self {
            Self::Direct(tcp) => tcp.poll_ready(context).map_err(Into::into),
            Self::Proxy(proxied) => proxied.tcp.poll_ready(context).map_err(Into::into),
        }
    }

    fn call(&mut self, to: Uri) -> Self::Future {
        let https = to.scheme_str() == Some("https");
        match self {
            Self::Direct(tcp) => {
                let connecting = tcp.call(to);
                Box::pin(async move { Ok(Stream { io: connecting.await?, asks_proxy: false }) })
            }
            Self::Proxy(proxied) if https => {
                let connecting = proxied.tunnel.call(to);
                Box::pin(async move { Ok(Stream { io: connecting.await?, asks_proxy: false }) })
            }
            Self::Proxy(proxied) => {
                let connecting = proxied.tcp.call(proxied.proxy.clone());
                Box::pin(async move { Ok(Stream { io: connecting.await?, asks_proxy: true }) })
            }
        }
    }
}

/// A TCP connection that knows whether a proxy at its end must be told the whole URL.
pub(super) struct Stream {
    io: TokioIo<TcpStream>,
    asks_proxy: bool,
}

impl Connection for Stream {
    fn connected(&self) -> Connected {
        self.io.inner().connected().proxy(self.asks_proxy)
    }
}

impl Read for Stream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(context, buffer)
    }
}

impl Write for Stream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.io).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(context)
    }
}
