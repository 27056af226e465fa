//! The daemon's side of the admin socket: accept within limits, one request a connection.

use std::{
    collections::HashMap,
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use http::{Request, Response, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::{
    body::{Bytes, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener, UnixStream},
    time::timeout,
};

use super::{
    AdminSocket, Caller, MAX_WAIT,
    document::Code,
    respond::{Admin, Call, Outcome, Reply, look},
};
use crate::clock::{self, SharedClock};

/// Connections at a time, and how many of them one account may have. Root is not counted: it can always look.
const CONNECTIONS: usize = 64;
const CONNECTIONS_OF_ONE: usize = 16;
/// Whoever comes by TCP: nobody's number.
const STRANGER: u32 = u32::MAX;
/// From the connection to the end of the head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything else, waiting for credentials included.
const TIMEOUT: Duration = Duration::from_secs(MAX_WAIT + 10);
/// The longest body.
const MAX_BODY: usize = 4 * 1024;
/// The longest head.
const MAX_HEAD: usize = 16 * 1024;
/// The states of the roles are looked at no more often than this, and at least so often.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// The pause after a failed accept, which without it would be repeated at once (out of files).
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Serves at `socket` until it is dropped, which removes the socket.
pub async fn serve(admin: Arc<Admin>, socket: AdminSocket, clock: SharedClock) -> io::Result<()> {
    let (listener, _file) = socket.into_parts();
    let listener = UnixListener::from_std(listener)?;
    tokio::select! {
        never = accept(&admin, &listener, &clock) => never,
        never = watch(&admin, &clock) => never,
    }
}

/// Notes since when roles are in their states, and which tokens are of no more use.
async fn watch<T>(admin: &Admin, clock: &SharedClock) -> T {
    loop {
        let changed = admin.store.changed();
        look(&admin.store, clock.now());
        if !admin.leases.is_empty() {
            admin.leases.sweep();
        }
        // Many roles change in a row: one look for all of them.
        clock::sleep(LOOK_PAUSE).await;
        tokio::select! {
            () = changed => {}
            // A set may expire without any change of the store.
            () = clock::sleep(LOOK_AGAIN) => {}
        }
    }
}

async fn accept<T>(admin: &Arc<Admin>, listener: &UnixListener, clock: &SharedClock) -> T {
    let guests = Arc::new(Guests::default());
    let mut failing = false;
    loop {
        let accepted = match listener.accept().await {
            Ok((stream, _)) => identify(stream),
            Err(error) => Err(error),
        };
        match accepted {
            Ok((stream, caller)) => {
                failing = false;
                // One too many is closed without a word: whoever floods is not worth more.
                if let Some(seat) = guests.seat(caller.uid) {
                    let (admin, caller, clock) = (Arc::clone(admin), Arc::new(caller), Arc::clone(clock));
                    tokio::spawn(converse(stream, seat, move |request| {
                        let (admin, caller, clock) = (Arc::clone(&admin), Arc::clone(&caller), Arc::clone(&clock));
                        async move { answer(&admin, request, &caller, &clock).await }
                    }));
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!("the admin socket cannot accept connections: {error}");
                }
                clock::sleep(ACCEPT_PAUSE).await;
            }
        }
    }
}

/// Who is at the other end.
fn identify(stream: UnixStream) -> io::Result<(UnixStream, Caller)> {
    let stream = stream.into_std()?;
    let caller = Caller::of(&stream)?;
    Ok((UnixStream::from_std(stream)?, caller))
}

/// Serves the metrics, and nothing else, to whoever reaches `listener`, until it is dropped.
pub async fn serve_metrics(admin: Arc<Admin>, listener: std::net::TcpListener, clock: SharedClock) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let guests = Arc::new(Guests::default());
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(seat) = guests.seat(STRANGER) else { continue };
                let (admin, clock) = (Arc::clone(&admin), Arc::clone(&clock));
                tokio::spawn(converse(stream, seat, move |request| {
                    let reply = match (request.method().as_str(), request.uri().path()) {
                        ("GET", "/metrics") => admin.metrics(clock.now()),
                        ("GET", "/livez") => Reply::text(200, "ok"),
                        ("GET", "/readyz") => admin.readiness(clock.now()),
                        _ => Reply::error(Code::NoSuchPath, "only GET /metrics, /livez and /readyz are answered here"),
                    };
                    std::future::ready(reply)
                }));
            }
            Err(_) => clock::sleep(ACCEPT_PAUSE).await,
        }
    }
}

/// Answers one request.
async fn converse<F: Future<Output = Reply>>(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    seat: Seat,
    answer: impl Fn(Request<Incoming>) -> F,
) {
    let service = service_fn(|request| {
        let reply = answer(request);
        async move { Ok::<_, Infallible>(render(reply.await)) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service);
    match timeout(TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("admin socket, user {}: connection ended: {error}", seat.uid),
        Err(_elapsed) => tracing::debug!("admin socket, user {}: took longer than {TIMEOUT:?}", seat.uid),
    }
}

async fn answer(admin: &Admin, request: Request<Incoming>, caller: &Caller, clock: &SharedClock) -> Reply {
    let (request, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Reply::error(Code::BadRequest, "the body is too long, or not whole");
    };
    let body = body.to_bytes();
    let call = Call { method: request.method.as_str(), path: request.uri.path(), body: &body };
    let patience = match patience(request.uri.query()) {
        Ok(patience) => patience,
        Err(message) => return Reply::error(Code::BadRequest, message),
    };
    let patience = clock::sleep(patience);
    tokio::pin!(patience);
    let mut over = false;
    loop {
        let (changed, known) = (admin.store.changed(), admin.gatekeeper.changed());
        match admin.respond(call, caller, clock.now()) {
            Outcome::Reply(reply) => return reply,
            Outcome::Wait(reply) if over => return reply,
            // Only to say that it waits: what it waits for is `changed`, from before it looked.
            Outcome::Wait(_) => drop(admin.store.awaited_change()),
        }
        tokio::select! {
            () = changed => {}
            () = known => {}
            () = &mut patience => over = true,
        }
    }
}

/// How long a request may wait: `wait=SECONDS`.
fn patience(query: Option<&str>) -> Result<Duration, &'static str> {
    let mut patience = Duration::ZERO;
    for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
        let seconds = pair.strip_prefix("wait=").and_then(|seconds| seconds.parse().ok());
        let seconds = seconds.ok_or("the query can only be wait=SECONDS")?;
        patience = Duration::from_secs(MAX_WAIT.min(seconds));
    }
    Ok(patience)
}

fn render(reply: Reply) -> Response<Full<Bytes>> {
    let length = reply.body.len();
    // The body is wiped when it has been sent.
    let mut response = Response::new(Full::new(Bytes::from_owner(reply.body)));
    *response.status_mut() =
        http::StatusCode::from_u16(reply.status).unwrap_or(http::StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, http::HeaderValue::from_static(reply.content_type));
    headers.insert(header::CONTENT_LENGTH, length.into());
    headers.insert(header::CACHE_CONTROL, http::HeaderValue::from_static("no-store"));
    if let Some(allow) = reply.allow {
        headers.insert(header::ALLOW, http::HeaderValue::from_static(allow));
    }
    response
}

/// Who is connected, and how often.
#[derive(Debug, Default)]
struct Guests(Mutex<HashMap<u32, usize>>);

/// A place that is taken until it is dropped.
#[derive(Debug)]
struct Seat {
    guests: Arc<Guests>,
    uid: u32,
}

impl Guests {
    fn seat(self: &Arc<Self>, uid: u32) -> Option<Seat> {
        let mut guests = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let all: usize = guests.iter().filter(|(uid, _)| **uid != 0).map(|(_, count)| count).sum();
        let own = guests.get(&uid).copied().unwrap_or_default();
        if uid != 0 && (all >= CONNECTIONS || own >= CONNECTIONS_OF_ONE) {
            return None;
        }
        guests.insert(uid, own + 1);
        Some(Seat { guests: Arc::clone(self), uid })
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut guests = self.guests.0.lock().unwrap_or_else(PoisonError::into_inner);
        match guests.get_mut(&self.uid) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(guests.remove(&self.uid)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_account_leaves_room_for_the_others_and_root_is_always_let_in() {
        let guests = Arc::new(Guests::default());
        let mut seats: Vec<_> = (0..CONNECTIONS_OF_ONE).map(|_| guests.seat(1000).expect("free")).collect();
        assert!(guests.seat(1000).is_none());
        for uid in 2000.. {
            match guests.seat(uid) {
                Some(seat) => seats.push(seat),
                None => break,
            }
        }
        assert_eq!(seats.len(), CONNECTIONS);
        assert!(guests.seat(0).is_some());
        seats.clear();
        assert!(guests.seat(1000).is_some());
        assert!(guests.0.lock().expect("not poisoned").is_empty());
    }

    #[test]
    fn a_wait_is_bounded_and_nothing_else_is_understood() {
        assert_eq!(patience(None), Ok(Duration::ZERO));
        assert_eq!(patience(Some("wait=3")), Ok(Duration::from_secs(3)));
        assert_eq!(patience(Some("wait=999999")), Ok(Duration::from_secs(MAX_WAIT)));
        for query in ["wait=", "wait=-1", "weight=1", "wait=1&x=2"] {
            assert!(patience(Some(query)).is_err(), "{query}");
        }
    }
}
