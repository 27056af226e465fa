//! The listener for metrics and health: `/metrics`, `/livez` and `/readyz`.

use std::{convert::Infallible, io, net::TcpListener, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header::CONTENT_TYPE};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net;

use crate::{
    budget::{Bounds, Rank, Shares},
    clock, open_metrics,
};

/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// More than any set-up of monitors and probes has, each of which has an address of its own.
const CONNECTIONS: Bounds = Bounds { total: 64, reserved: 0, each: 16, scarce: 0 };

/// What a server shows of itself.
pub trait Report: Send + Sync + 'static {
    /// The metrics as text.
    fn metrics(&self) -> String;

    /// Why it is not ready, if it is not.
    fn unready(&self) -> Option<String>;
}

/// Answers for ever.
pub async fn run(listener: TcpListener, server: Arc<impl Report>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = net::TcpListener::from_std(listener)?;
    let shares = Shares::new(CONNECTIONS);
    loop {
        let (stream, address) = match listener.accept().await {
            Ok((stream, peer)) => (stream, peer.ip().to_canonical()),
            Err(error) => {
                tracing::debug!("metrics: {error}");
                clock::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let Some(share) = shares.take(&address, Rank::Ordinary) else { continue };
        let server = Arc::clone(&server);
        tokio::spawn(async move {
            let service = service_fn(|request: Request<Incoming>| {
                let answer = answer(&*server, &request);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut http = http1::Builder::new();
            http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT);
            // An error is the client's.
            let _ended = http.serve_connection(TokioIo::new(stream), service).await;
            drop(share);
        });
    }
}

fn answer(server: &impl Report, request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let (status, kind, text) = if request.method() != Method::GET && request.method() != Method::HEAD {
        (StatusCode::METHOD_NOT_ALLOWED, "text/plain", "GET only\n".to_owned())
    } else {
        match request.uri().path() {
            "/metrics" => (StatusCode::OK, open_metrics::CONTENT_TYPE, server.metrics()),
            "/livez" => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
            "/readyz" => match server.unready() {
                None => (StatusCode::OK, "text/plain", "ok\n".to_owned()),
                Some(why) => (StatusCode::SERVICE_UNAVAILABLE, "text/plain", format!("{why}\n")),
            },
            _ => (StatusCode::NOT_FOUND, "text/plain", "/metrics, /livez, /readyz\n".to_owned()),
        }
    };
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    response
}
