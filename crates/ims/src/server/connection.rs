//! One connection: HTTP/1.1 over TLS, TCP or a Unix socket.

use std::{convert::Infallible, pin::pin, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header::CONNECTION};
use http_body_util::Full;
use hyper::{
    body::{Body as _, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    sync::watch,
};

use super::{client::Client, respond::Server};
use crate::{
    clock,
    https::stopped,
    protocol::{Answer, Body},
};

/// How long a client may take for the head of a request, and stay silent between two.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Longer heads are refused with 431. A token or a signature has a few kilobytes.
const MAX_HEAD: usize = 64 * 1024;
/// As many headers as a browser behind two proxies sends, twice.
const MAX_HEADERS: usize = 100;
/// How long an answer may take when the server stops.
const LAST_ANSWER: Duration = Duration::from_secs(10);

/// Answers the requests of a connection until it ends, or the server stops.
pub(super) async fn serve<S>(stream: S, client: Client, server: Arc<Server>, mut stop: watch::Receiver<bool>)
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    let service = service_fn(|request: Request<Incoming>| {
        let (client, server) = (&client, &server);
        async move { Ok::<_, Infallible>(exchange(server, client, request).await) }
    });
    let mut http = http1::Builder::new();
    http.timer(TokioTimer::new()).header_read_timeout(HEAD_TIMEOUT).max_buf_size(MAX_HEAD).max_headers(MAX_HEADERS);
    let mut connection = pin!(http.serve_connection(TokioIo::new(stream), service));
    // An error is the client's: it went away, or sent no HTTP, which hyper has answered.
    tokio::select! {
        _ended = connection.as_mut() => return,
        () = stopped(&mut stop) => connection.as_mut().graceful_shutdown(),
    }
    tokio::select! {
        _ended = connection => {}
        () = clock::sleep(LAST_ANSWER) => {}
    }
}

async fn exchange(server: &Server, client: &Client, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    // No request has a body. One that is there is not read: what follows it would be taken for another request.
    let has_body = !body.is_end_stream();
    let mut response = response(server.answer(client, head).await);
    if has_body {
        response.headers_mut().insert(CONNECTION, const { HeaderValue::from_static("close") });
    }
    response
}

fn response(answer: Answer) -> Response<Full<Bytes>> {
    let Answer { status, headers, body } = answer;
    let bytes = match body {
        Body::Open(text) => Bytes::from(text),
        Body::Secret(bytes) => Bytes::from_owner(Exposed(bytes)),
        Body::Unknown => Bytes::new(),
    };
    let mut response = Response::new(Full::new(bytes));
    *response.status_mut() = status;
    for (name, value) in headers {
        response.headers_mut().append(name, value);
    }
    response
}

/// Wiped when it has been written.
struct Exposed(crate::credentials::SecretBytes);

impl AsRef<[u8]> for Exposed {
    fn as_ref(&self) -> &[u8] {
        self.0.expose()
    }
}
