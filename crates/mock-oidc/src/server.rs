//! Requests in, answers out.

use std::sync::{Arc, Mutex, PoisonError};

use alppaca_mock_http::{Bytes, Response, response};
use http::{
    HeaderValue, Method,
    header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, HOST, HeaderName, LOCATION, REFERRER_POLICY},
    request::Parts,
};
use tokio::net::TcpListener;

use super::provider::{AUTHORIZE, CHOOSE, DISCOVERY, KEYS, Provider, REVOKE, Reply, TOKEN};
use crate::{
    clock::SharedClock,
    text::page::{page, policy},
};

/// No form is longer.
const MAX_BYTES: usize = 16 * 1024;

pub(super) struct Shared {
    pub(super) provider: Mutex<Provider>,
    /// `127.0.0.1:PORT`, as a client has to say it.
    pub(super) authority: String,
    pub(super) clock: SharedClock,
}

pub(super) async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let answer = move |head: Parts, body: Option<Bytes>| {
        let answer = as_http(answer(&head, body, &shared));
        async { answer }
    };
    alppaca_mock_http::accept(listener, MAX_BYTES, answer).await;
}

fn answer(head: &Parts, body: Option<Bytes>, shared: &Shared) -> Reply {
    // A name that leads to 127.0.0.1 is another site's.
    if head.headers.get(HOST).is_none_or(|host| host.as_bytes() != shared.authority.as_bytes()) {
        return Reply::Page(421, page("Not found", "<p>This is not the address of this page.</p>"));
    }
    let Some(body) = body else {
        return Reply::Page(413, page("Not found", "<p>The request is too long.</p>"));
    };
    let body = String::from_utf8_lossy(&body).into_owned();
    let now = shared.clock.now().wall;
    // Nothing that could panic is done while it is held.
    let mut provider = shared.provider.lock().unwrap_or_else(PoisonError::into_inner);
    let reply = match (&head.method, head.uri.path()) {
        (&Method::GET, DISCOVERY) => Ok(provider.discovery()),
        (&Method::GET, KEYS) => Ok(provider.keys()),
        (&Method::GET, AUTHORIZE) => provider.authorize(head.uri.query().unwrap_or_default(), now),
        (&Method::POST, CHOOSE) => provider.choose(&body, now),
        (&Method::POST, TOKEN) => provider.token(&body, now),
        (&Method::POST, REVOKE) => Ok(provider.revoke(&body, now)),
        _ => Ok(Reply::Page(404, page("Not found", "<p>There is nothing here.</p>"))),
    };
    reply.unwrap_or_else(Reply::from)
}

fn as_http(reply: Reply) -> Response {
    let (status, kind, body, location) = match reply {
        Reply::Page(status, html) => (status, "text/html; charset=utf-8", html, None),
        Reply::Redirect(url) => (303, "text/plain", String::new(), Some(url)),
        Reply::Json(status, json) => (status, "application/json", json.to_string(), None),
        Reply::Broken => (500, "text/plain", "the system provides no random numbers\n".to_owned(), None),
    };
    let mut response = response(status, kind, body);
    // A browser also holds the redirection after a form to this.
    let forms = policy("'self' http://127.0.0.1:*");
    let headers: [(HeaderName, &str); 3] =
        [(CACHE_CONTROL, "no-store"), (REFERRER_POLICY, "no-referrer"), (CONTENT_SECURITY_POLICY, &forms)];
    for (name, value) in headers.into_iter().chain(location.as_deref().map(|url| (LOCATION, url))) {
        if let Ok(value) = HeaderValue::from_str(value) {
            response.headers_mut().insert(name, value);
        }
    }
    response
}
