//! One connection: HTTP/1.1 over TLS.

use std::{
    convert::Infallible,
    net::IpAddr,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::{
    body::{Body, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{net::TcpStream, sync::watch};
use tokio_rustls::TlsAcceptor;

use crate::{
    budget::{Bounds, Rank, Share, Shares},
    clock::{self, BootTime},
    counters::Failure,
    https::{handshake, stopped},
    respond::{Answer, Webhook},
};

/// Where reviews are sent, as with EKS's webhook.
const PATH: &str = "/mutate";
/// As large as the API server's own requests may be.
const MAX_BODY: usize = 3 * 1024 * 1024;
/// Memory for bodies is given in pieces of this size.
const BLOCK: usize = 16 * 1024;
/// What may be held of all bodies together, by address. One has half of it; while it is scarce one body of full length, or as many
/// small ones as it has connections.
pub(crate) const BODIES: Bounds =
    Bounds { total: 8 * MAX_BODY / BLOCK, reserved: 0, each: MAX_BODY / BLOCK, scarce: 4 * MAX_BODY / BLOCK };
/// How long a client may take for the head of a request, and stay silent between two: longer than the API server keeps a
/// connection (90 s), so that it is not closed while a request is under way.
const HEAD_TIMEOUT: Duration = Duration::from_mins(2);
/// How long a body may take. The API server gives up after 30 s at most.
const BODY_TIMEOUT: Duration = Duration::from_secs(10);
/// Longer heads are refused with 431.
const MAX_HEAD: usize = 16 * 1024;
/// How long an answer may take when the webhook stops.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// What all connections share.
pub(crate) struct Shared {
    pub(crate) webhook: Arc<Webhook>,
    pub(crate) tls: TlsAcceptor,
    memory: Arc<Shares<IpAddr>>,
    pub(crate) stop: watch::Receiver<bool>,
}

impl Shared {
    pub(crate) fn new(webhook: Arc<Webhook>, tls: TlsAcceptor, stop: watch::Receiver<bool>) -> Arc<Self> {
        Arc::new(Self { webhook, tls, memory: Shares::new(BODIES), stop })
    }

    /// Answers the requests of a connection until it ends, or the webhook stops.
    pub(crate) async fn serve(&self, stream: TcpStream, address: IpAddr) {
        let counters = &self.webhook.counters;
        // Answers are written at once; without it they would wait for the client's acknowledgement.
        let _slower = stream.set_nodelay(true);
        let stream = match handshake(stream, &self.tls).await {
            Ok(Some(stream)) => stream,
            Ok(None) => return,
            Err(error) => {
                counters.handshakes_failed.fetch_add(1, Ordering::Relaxed);
                tracing::debug!("{address}: no TLS: {error}");
                return;
            }
        };
        counters.open.fetch_add(1, Ordering::Relaxed);
        let service = service_fn(|request| async move { Ok::<_, Infallible>(self.exchange(request, address).await) });
        let mut http = http1::Builder::new();
        http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD);
        let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
        let mut stop = self.stop.clone();
        // An error is the client's: it went away, or sent no HTTP, which hyper has answered.
        let ended = tokio::select! {
            _ended = connection.as_mut() => true,
            () = stopped(&mut stop) => false,
        };
        if !ended {
            connection.as_mut().graceful_shutdown();
            tokio::select! {
                _ended = connection => {}
                () = clock::sleep(LAST_ANSWER) => {}
            }
        }
        counters.open.fetch_sub(1, Ordering::Relaxed);
    }

    async fn exchange(&self, request: Request<Incoming>, address: IpAddr) -> Response<Full<Bytes>> {
        let began = self.webhook.boot();
        let (head, body) = request.into_parts();
        let is_json = head.headers.get(header::CONTENT_TYPE).is_some_and(|kind| {
            kind.to_str().is_ok_and(|kind| kind.split(';').next().is_some_and(|kind| kind.trim() == "application/json"))
        });
        let unknown = |status: StatusCode, why: &str| {
            let (_, kind, body) = self.webhook.fail(Failure::Unknown, why);
            (status, kind, body)
        };
        let (answer, whole) = match (head.uri.path(), head.method == Method::POST, is_json) {
            (PATH, true, true) => self.review(body, address, began).await,
            (PATH, true, false) => {
                (unknown(StatusCode::UNSUPPORTED_MEDIA_TYPE, "a review is application/json"), body.is_end_stream())
            }
            (PATH, false, _) => {
                (unknown(StatusCode::METHOD_NOT_ALLOWED, "a review is sent by POST"), body.is_end_stream())
            }
            _ => (unknown(StatusCode::NOT_FOUND, "reviews are sent to /mutate"), body.is_end_stream()),
        };
        let (status, kind, body) = answer;
        let mut response = Response::new(Full::new(Bytes::from(body)));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
        if !whole {
            // What was not read would be taken for another request.
            headers.insert(header::CONNECTION, const { HeaderValue::from_static("close") });
        }
        response
    }

    /// The answer to a review, and whether all of it was read.
    async fn review(&self, body: Incoming, address: IpAddr, began: BootTime) -> (Answer, bool) {
        let read = tokio::select! {
            read = self.read(body, address) => read,
            () = clock::sleep(BODY_TIMEOUT) => Err((Failure::TooSlow, "the body takes too long".to_owned())),
        };
        match read {
            Ok((body, _held)) => (self.webhook.review(&body, began), true),
            Err((failure, why)) => (self.webhook.fail(failure, &why), false),
        }
    }

    /// The body, with a claim to the memory that it takes.
    async fn read(
        &self,
        mut body: Incoming,
        address: IpAddr,
    ) -> Result<(Vec<u8>, Vec<Share<IpAddr>>), (Failure, String)> {
        let too_large = || Err((Failure::TooLarge, format!("the body is larger than {MAX_BODY} bytes")));
        if body.size_hint().lower() > MAX_BODY as u64 {
            return too_large();
        }
        let (mut whole, mut held) = (Vec::new(), Vec::new());
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| (Failure::TooSlow, format!("the body ends early: {error}")))?;
            let Ok(data) = frame.into_data() else { continue };
            if whole.len() + data.len() > MAX_BODY {
                return too_large();
            }
            while held.len() * BLOCK < whole.len() + data.len() {
                let busy = || (Failure::Busy, format!("too much is being read at once, of {address} or of all"));
                held.push(self.memory.take(&address, Rank::Ordinary).ok_or_else(busy)?);
            }
            whole.extend_from_slice(&data);
        }
        Ok((whole, held))
    }
}
