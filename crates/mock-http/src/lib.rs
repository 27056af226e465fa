//! The HTTP server of the mocks: whole requests in, whole answers out.

use std::{convert::Infallible, time::Duration};

use http::{HeaderValue, Request, StatusCode, header::CONTENT_TYPE, request::Parts};
use http_body_util::{BodyExt, Collected, Full, Limited};
pub use hyper::body::Bytes;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

/// An answer.
pub type Response = http::Response<Full<Bytes>>;

/// How long to wait if no connection can be accepted: there are no file descriptors, or the client is gone already.
const PAUSE: Duration = Duration::from_millis(20);

/// Accepts connections until it is dropped, which closes all of them. `answer` gets each request; its body is `None` if it is
/// longer than `max_bytes` or was cut off.
pub async fn accept<A, F>(listener: TcpListener, max_bytes: usize, answer: A)
where
    A: Fn(Parts, Option<Bytes>) -> F + Clone + Send + 'static,
    F: Future<Output = Response> + Send,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                };
                let answer = answer.clone();
                connections.spawn(async move {
                    let service = service_fn(move |request: Request<Incoming>| {
                        let ((head, body), answer) = (request.into_parts(), answer.clone());
                        async move {
                            let body = Limited::new(body, max_bytes).collect().await.ok().map(Collected::to_bytes);
                            Ok::<_, Infallible>(answer(head, body).await)
                        }
                    });
                    // How a connection ends is the client's business.
                    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// An answer of this content type.
pub fn response(status: u16, content_type: &'static str, body: String) -> Response {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}
