//! The daemon's side of the admin socket: accept within limits, one request a connection.

use std::{
    convert::Infallible,
    io,
    net::IpAddr,
    sync::{Arc, Mutex, OnceLock, PoisonError, atomic::AtomicBool},
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
    task::yield_now,
    time::timeout,
};

use super::{
    AdminSocket, Conversations, MAX_WAIT, PeerCredentials,
    document::Code,
    replacing::{self, REPLACEMENT, Replacing},
    reply::{Call, Outcome, Reply},
    respond::{Admin, look},
};
use crate::{
    caller::{
        Owner, Subordinates,
        budget::{Allowance, Bounds, Rank, Rate, Share, Shares},
    },
    clock::{self, BootTime, Moment, SharedClock},
    page::{Door, PageServer},
};

/// Connections at a time. Root is not counted: it can always look.
const CONNECTIONS: Bounds = Bounds { total: 128, reserved: 64, each: 16, scarce: 32 };
/// The same for the metrics, by address.
const CONNECTIONS_OF_METRICS: Bounds = Bounds { total: 64, reserved: 0, each: 16, scarce: 0 };
/// How often an owner is answered: what asks more often waits. An answer is more work than one of the servers of credentials,
/// and is made on the same thread.
const PACE: Rate = Rate { burst: 200, every: Duration::from_millis(5) };
/// From the connection to the end of the head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For everything else, waiting for credentials included.
const TIMEOUT: Duration = Duration::from_secs(MAX_WAIT + 10);
/// The longest body.
const MAX_BODY: usize = 16 * 1024;
/// The longest head.
const MAX_HEAD: usize = 16 * 1024;
/// The states of the roles are looked at no more often than this, and at least so often.
const LOOK_PAUSE: Duration = Duration::from_millis(100);
const LOOK_AGAIN: Duration = Duration::from_secs(15);
/// For how long a page of metrics is good for all who ask for it: loopback is one address for all users.
const METRICS_AGE: Duration = Duration::from_millis(250);
/// The pause after a failed accept (out of files), to avoid a busy loop.
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

/// Notes since when roles are in their states, and what is of no more use: tokens, sets that no user waits for.
async fn watch<T>(admin: &Admin, clock: &SharedClock) -> T {
    loop {
        let changed = admin.store.changed();
        look(&admin.store, clock.now());
        if !admin.leases.is_empty() {
            admin.leases.sweep();
        }
        admin.selections.sweep(clock.now().boot);
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
    let (permits, pace) = (Shares::new(CONNECTIONS), Arc::new(Pace::new()));
    let mut failing = false;
    loop {
        let accepted = listener.accept().await.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream)));
        match accepted {
            Ok((uid, stream)) => {
                failing = false;
                match Permit::at_socket(&permits, uid, &admin.subordinates, admin.restricted) {
                    Some(permit) => {
                        let (admin, pace, clock) = (Arc::clone(admin), Arc::clone(&pace), Arc::clone(clock));
                        tokio::spawn(serve_one(admin, stream, permit, pace, clock));
                    }
                    // Connections over the limit are closed without an answer, and none in a row, to keep floods cheap. Without
                    // a pause: the next one may be root's.
                    None => yield_now().await,
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

/// Waits until the owner may be answered, and answers.
async fn serve_one(admin: Arc<Admin>, stream: UnixStream, permit: Permit, pace: Arc<Pace>, clock: SharedClock) {
    pace.wait(&permit, &clock).await;
    let (stream, caller) = match identify(stream) {
        Ok((stream, caller)) => (stream, Arc::new(caller)),
        Err(error) => {
            tracing::debug!("admin connection of {:?}: {error}", permit.whose);
            return;
        }
    };
    let conversations = admin.conversations.clone();
    let answer = move |request| {
        let (admin, caller, clock) = (Arc::clone(&admin), Arc::clone(&caller), Arc::clone(&clock));
        async move { answer(&admin, request, &caller, &clock).await }
    };
    converse(stream, permit, conversations, answer).await;
}

/// Identifies the client.
fn identify(stream: UnixStream) -> io::Result<(UnixStream, PeerCredentials)> {
    let stream = stream.into_std()?;
    let caller = PeerCredentials::of(&stream)?;
    Ok((UnixStream::from_std(stream)?, caller))
}

/// Serves the metrics, and nothing else, to every client of `listener`, until it is dropped.
pub async fn serve_metrics(admin: Arc<Admin>, listener: std::net::TcpListener, clock: SharedClock) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = TcpListener::from_std(listener)?;
    let (permits, page) = (Shares::new(CONNECTIONS_OF_METRICS), Arc::<Page>::default());
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Some(permit) = Permit::at_metrics(&permits, peer.ip()) else {
                    yield_now().await;
                    continue;
                };
                let (admin, clock, page) = (Arc::clone(&admin), Arc::clone(&clock), Arc::clone(&page));
                let conversations = admin.conversations.clone();
                tokio::spawn(converse(stream, permit, conversations, move |request| {
                    let reply = match (request.method().as_str(), request.uri().path()) {
                        ("GET", "/metrics") => page.get(&admin, clock.now()),
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

/// Serves the status page at a Unix socket until it is dropped, which removes the socket.
pub async fn serve_page(page: Arc<PageServer>, socket: AdminSocket) -> io::Result<()> {
    let (listener, _file) = socket.into_parts();
    page.serve(Door::Unix(listener)).await
}

/// The last page of metrics, and when it was made.
#[derive(Default)]
struct Page(Mutex<Option<(BootTime, Reply)>>);

impl Page {
    /// The page, made anew if it is too old.
    fn get(&self, admin: &Admin, now: Moment) -> Reply {
        // Nothing under the lock can panic half-way: the page is set as a whole.
        let mut page = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match &*page {
            Some((made, reply)) if now.boot.since(*made) < METRICS_AGE => reply.clone(),
            _ => page.insert((now.boot, admin.metrics(now))).1.clone(),
        }
    }
}

/// Answers one request.
async fn converse<F: Future<Output = Reply>>(
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
    permit: Permit,
    conversations: Conversations,
    answer: impl Fn(Request<Incoming>) -> F,
) {
    // From the request on, to the last byte of the answer.
    let conversation = OnceLock::new();
    let service = service_fn(|request| {
        conversation.get_or_init(|| conversations.begin());
        let reply = answer(request);
        async move { Ok::<_, Infallible>(render(reply.await)) }
    });
    let connection = http1::Builder::new()
        .keep_alive(false)
        .max_buf_size(MAX_HEAD)
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), service)
        .with_upgrades();
    match timeout(TIMEOUT, connection).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => tracing::debug!("admin connection of {:?} ended: {error}", permit.whose),
        Err(_elapsed) => tracing::debug!("admin connection of {:?} took longer than {TIMEOUT:?}", permit.whose),
    }
}

async fn answer(admin: &Admin, request: Request<Incoming>, caller: &PeerCredentials, clock: &SharedClock) -> Reply {
    if request.uri().path() == REPLACEMENT && request.method() == http::Method::POST {
        return replacing::answer(admin, request, caller);
    }
    let is_closed = || admin.replacing.as_ref().is_some_and(Replacing::is_closed);
    let (request, body) = request.into_parts();
    let Ok(body) = Limited::new(body, MAX_BODY).collect().await else {
        return Reply::error(Code::BadRequest, "the body is too long, or not whole");
    };
    let body = body.to_bytes();
    let begun = AtomicBool::new(false);
    let call = Call { method: request.method.as_str(), path: request.uri.path(), body: &body, begun: &begun };
    let patience = match patience(request.uri.query()) {
        Ok(patience) => patience,
        Err(message) => return Reply::error(Code::BadRequest, message),
    };
    let patience = clock::sleep(patience);
    tokio::pin!(patience);
    let mut over = false;
    let mut conversation = admin.conversations.begin();
    loop {
        // Also if it is too late since its head was read, or while it has waited.
        if request.method != http::Method::GET && is_closed() {
            return replacing::restarting();
        }
        let (changed, known) = (admin.store.changed(), admin.gatekeeper.changed());
        let signed_in = admin.sign_ins.changed();
        match admin.respond(call, caller, clock.now()) {
            Outcome::Reply(reply) => return reply,
            Outcome::Wait(reply) if over => return reply,
            // Only to say that it waits: what it waits for is `changed`, from before it looked.
            Outcome::Wait(_) => drop(admin.store.awaited_change()),
        }
        tokio::select! {
            () = changed => {}
            () = known => {}
            () = signed_in => {}
            () = conversation.cut_short() => return replacing::restarting(),
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
    if let Some(protocol) = reply.upgrade {
        headers.remove(header::CONTENT_LENGTH);
        headers.insert(header::CONNECTION, http::HeaderValue::from_static("upgrade"));
        headers.insert(header::UPGRADE, http::HeaderValue::from_static(protocol));
    }
    response
}

/// A place that is taken until it is dropped.
#[derive(Debug)]
struct Permit {
    /// For the log.
    whose: Owner,
    /// Root has none: it is not counted.
    share: Option<Share<Owner>>,
}

impl Permit {
    /// A place at the admin socket. Some are kept for accounts that an administrator made, and for `admin_group`: there may
    /// be many thousands of subordinate users, all of one account.
    fn at_socket(permits: &Arc<Shares<Owner>>, uid: u32, users: &Subordinates, restricted: bool) -> Option<Self> {
        let whose = users.party(Owner::User(uid));
        if uid == 0 {
            return Some(Self { whose, share: None });
        }
        let rank = if restricted || users.is_below(uid) { Rank::Privileged } else { Rank::Ordinary };
        Some(Self { whose, share: Some(permits.take(&whose, rank)?) })
    }

    /// A place at the metrics.
    fn at_metrics(permits: &Arc<Shares<Owner>>, address: IpAddr) -> Option<Self> {
        let whose = Subordinates::default().party(Owner::Address(address.to_canonical()));
        Some(Self { whose, share: Some(permits.take(&whose, Rank::Ordinary)?) })
    }
}

/// How often each owner is answered.
struct Pace(Mutex<Allowance<Owner>>);

impl Pace {
    fn new() -> Self {
        Self(Mutex::new(Allowance::new(PACE)))
    }

    /// Waits until the owner may be answered. Root never waits.
    async fn wait(&self, permit: &Permit, clock: &SharedClock) {
        while permit.share.is_some() && !self.spend(permit.whose, clock.now().boot) {
            clock::sleep(PACE.every).await;
        }
    }

    fn spend(&self, whose: Owner, now: BootTime) -> bool {
        // Nothing under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner).spend(whose, now).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::fake::FakeClock;

    #[test]
    fn one_account_leaves_room_for_the_others_and_root_is_always_let_in() {
        let (permits, users) = (Shares::new(CONNECTIONS), Subordinates::default());
        let permit = |uid| Permit::at_socket(&permits, uid, &users, false);
        let mut taken: Vec<_> = std::iter::from_fn(|| permit(1000)).collect();
        assert_eq!(taken.len(), CONNECTIONS.scarce);
        taken.extend((2000..).map_while(&permit));
        assert_eq!(permits.taken(), CONNECTIONS.total);
        assert!(permit(0).is_some());
        drop(taken);
        assert!(permit(1000).is_some());
        assert_eq!(permits.taken(), 0);
    }

    #[test]
    fn subordinate_users_leave_room_for_accounts_and_for_the_admin_group() {
        let (permits, users) = (Shares::new(CONNECTIONS), Subordinates::default());
        // Of ranges that nothing is known of: each uid is a party of its own.
        let many: Vec<_> = (100_000..).map_while(|uid| Permit::at_socket(&permits, uid, &users, false)).collect();
        assert_eq!(many.len(), CONNECTIONS.total - CONNECTIONS.reserved);
        assert!(Permit::at_socket(&permits, 1000, &users, false).is_some());
        assert!(Permit::at_socket(&permits, 200_000, &users, true).is_some());
        drop(many);
    }

    #[test]
    fn one_address_leaves_room_for_the_others_at_the_metrics() {
        let permits = Shares::new(CONNECTIONS_OF_METRICS);
        let permit = |last: u8| Permit::at_metrics(&permits, [192, 0, 2, last].into());
        let greedy: Vec<_> = std::iter::from_fn(|| permit(1)).collect();
        assert_eq!(greedy.len(), CONNECTIONS_OF_METRICS.each);
        assert!(permit(2).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn an_account_that_asks_too_often_waits_and_delays_no_other() {
        let clock = FakeClock::new();
        let (permits, users, pace) = (Shares::new(CONNECTIONS), Subordinates::default(), Pace::new());
        let clock: SharedClock = clock;
        let waits = async |uid, times| {
            let (permit, began) = (Permit::at_socket(&permits, uid, &users, false).expect("room"), clock.now().boot);
            for _ in 0..times {
                pace.wait(&permit, &clock).await;
            }
            clock.now().boot.since(began)
        };
        assert_eq!(waits(1000, PACE.burst).await, Duration::ZERO);
        assert!(waits(1000, 50).await >= 49 * PACE.every);
        assert_eq!(waits(1001, 1).await, Duration::ZERO);
        assert_eq!(waits(0, 2 * PACE.burst).await, Duration::ZERO);
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
