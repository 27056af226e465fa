//! Sockets and HTTP: requests in, verified, answers out.

use std::{convert::Infallible, io, sync::Arc};

use http::{
    HeaderValue, Request, Response, StatusCode,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpListener, task::JoinSet};

use super::{Handle, Script, Shared, State, federation, respond, sigv4};
use crate::{clock::SharedClock, text::page::policy};

/// A form with a session policy has some 10 KB.
const MAX_BYTES: usize = 256 * 1024;

/// Answers at `listener` until the handle is dropped. Call it on a tokio runtime.
pub fn serve(listener: TcpListener, script: Script, clock: SharedClock) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    let state = State { script, ..State::default() };
    let shared = Arc::new(Shared { state: state.into(), clock });
    let task = tokio::spawn(accept(listener, Arc::clone(&shared))).abort_handle();
    Ok(Handle { shared, address, task })
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((stream, _)) = accepted else { continue };
                let shared = Arc::clone(&shared);
                connections.spawn(async move {
                    let service = service_fn(|request| answer(request, &shared));
                    // How a connection ends is the client's business.
                    let _ended = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn answer(request: Request<Incoming>, shared: &Shared) -> Result<Response<Full<Bytes>>, Infallible> {
    let (head, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BYTES).collect().await else {
        return Ok(response(413, "", String::new()));
    };
    let headers = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned()));
    let request = sigv4::Request {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: headers.collect(),
        body: body.to_bytes().to_vec(),
    };
    let latency = shared.state().script.latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let now = shared.clock.now().wall;
    if request.path == federation::PATH {
        let reply = federation::reply(&mut shared.state(), &request, now);
        return Ok(of_federation(reply));
    }
    let respond::Reply { status, request_id, body } = respond::reply(&mut shared.state(), &request, now);
    Ok(response(status, &request_id, body))
}

fn of_federation(reply: federation::Reply) -> Response<Full<Bytes>> {
    let mut response = response(reply.status, "", reply.body);
    let kind = if reply.is_page { "text/html; charset=utf-8" } else { "application/json" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(policy) = HeaderValue::from_str(&policy("'none'")) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn response(status: u16, request_id: &str, body: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(body)));
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/xml"));
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
