//! Requests in, verified, answers out.

use std::{io, sync::Arc};

use alppaca_mock_http::{Bytes, Response};
use http::{
    HeaderValue,
    header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE},
    request::Parts,
};
use tokio::net::TcpListener;

use super::{Handle, Script, Shared, State, federation, respond, sigv4};
use crate::{clock::SharedClock, text::page::policy};

/// A form with a session policy has some 10 KB.
const MAX_BYTES: usize = 256 * 1024;

/// Answers at `listener` until the handle is dropped. Call it on a tokio runtime.
pub fn serve(listener: TcpListener, script: Script, clock: SharedClock) -> io::Result<Handle> {
    let address = listener.local_addr()?;
    let state = State { script, ..State::default() };
    let shared = Arc::new(Shared { state: state.into(), clock });
    let answering = Arc::clone(&shared);
    let answer = move |head, body| answer(head, body, Arc::clone(&answering));
    let task = tokio::spawn(alppaca_mock_http::accept(listener, MAX_BYTES, answer)).abort_handle();
    Ok(Handle { shared, address, task })
}

async fn answer(head: Parts, body: Option<Bytes>, shared: Arc<Shared>) -> Response {
    let Some(body) = body else {
        return response(413, "", String::new());
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
        body: body.to_vec(),
    };
    let latency = shared.state().script.latency;
    if !latency.is_zero() {
        tokio::time::sleep(latency).await;
    }
    let now = shared.clock.now().wall;
    if request.path == federation::PATH {
        let reply = federation::reply(&mut shared.state(), &request, now);
        return of_federation(reply);
    }
    let respond::Reply { status, request_id, body } = respond::reply(&mut shared.state(), &request, now);
    response(status, &request_id, body)
}

fn of_federation(reply: federation::Reply) -> Response {
    let mut response = response(reply.status, "", reply.body);
    let kind = if reply.is_page { "text/html; charset=utf-8" } else { "application/json" };
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    if let Ok(policy) = HeaderValue::from_str(&policy("'none'")) {
        response.headers_mut().insert(CONTENT_SECURITY_POLICY, policy);
    }
    response
}

fn response(status: u16, request_id: &str, body: String) -> Response {
    let mut response = alppaca_mock_http::response(status, "text/xml", body);
    if let Ok(id) = HeaderValue::from_str(request_id) {
        response.headers_mut().insert("x-amzn-requestid", id);
    }
    response
}
