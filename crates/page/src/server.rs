//! The listener of the page: connections within bounds, one request each. It reads nothing but the head of a request.

use std::{
    convert::Infallible,
    io,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, UnixListener},
    task::yield_now,
    time::timeout,
};

use crate::{
    caller::{
        Owner,
        budget::{Bounds, Rank, Share, Shares},
    },
    clock::{self, BootTime, Moment, SharedClock},
    gate::{Refusal, Wanted, judge},
    render::REFRESH_SECONDS,
    style::{policy, protect},
    text::page,
    view::View,
};

/// Connections at a time, by user or address. Loopback is one address for all users.
const CONNECTIONS: Bounds = Bounds { total: 32, reserved: 0, each: 16, scarce: 0 };
/// From the connection to the end of the head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// For all of it.
const TIMEOUT: Duration = Duration::from_secs(30);
/// The longest head.
const MAX_HEAD: usize = 16 * 1024;
/// For how long a page is good for all who ask.
const AGE: Duration = Duration::from_secs(1);
/// The pause after a failed accept (out of files), to avoid a busy loop.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// A listening socket.
#[derive(Debug)]
pub enum Door {
    /// TCP.
    Tcp(std::net::TcpListener),
    /// A Unix socket.
    Unix(std::os::unix::net::UnixListener),
}

/// Serves the page.
pub struct PageServer {
    make: Box<dyn Fn(Moment) -> View + Send + Sync>,
    hosts: Vec<String>,
    clock: SharedClock,
    shares: Arc<Shares<Owner>>,
    /// The last page of each kind, and when it was made.
    made: Mutex<[Option<(BootTime, Bytes)>; 2]>,
}

impl PageServer {
    /// A server of what `make` makes, under addresses, `localhost` and the names of `hosts`.
    pub fn new(
        hosts: Vec<String>,
        clock: SharedClock,
        make: impl Fn(Moment) -> View + Send + Sync + 'static,
    ) -> Arc<Self> {
        let (make, shares) = (Box::new(make), Shares::new(CONNECTIONS));
        Arc::new(Self { make, hosts, clock, shares, made: Mutex::default() })
    }

    /// Serves it at `door`, for ever.
    pub async fn serve(self: Arc<Self>, door: Door) -> io::Result<()> {
        match door {
            Door::Tcp(listener) => {
                listener.set_nonblocking(true)?;
                let listener = TcpListener::from_std(listener)?;
                loop {
                    let accepted = listener.accept().await;
                    let accepted = accepted.map(|(stream, peer)| (stream, Owner::Address(peer.ip().to_canonical())));
                    self.take(accepted).await;
                }
            }
            Door::Unix(listener) => {
                listener.set_nonblocking(true)?;
                let listener = UnixListener::from_std(listener)?;
                loop {
                    let accepted = listener.accept().await;
                    let accepted = accepted.and_then(|(stream, _)| Ok((stream.peer_cred()?.uid(), stream)));
                    self.take(accepted.map(|(uid, stream)| (stream, Owner::User(uid)))).await;
                }
            }
        }
    }

    async fn take(
        self: &Arc<Self>,
        accepted: io::Result<(impl AsyncRead + AsyncWrite + Send + Unpin + 'static, Owner)>,
    ) {
        match accepted {
            Ok((stream, owner)) => match self.shares.take(&owner, Rank::Ordinary) {
                Some(share) => {
                    tokio::spawn(Arc::clone(self).converse(stream, share));
                }
                // Closed without an answer, and none in a row, to keep floods cheap.
                None => yield_now().await,
            },
            Err(error) => {
                tracing::debug!("the status page: {error}");
                clock::sleep(ACCEPT_PAUSE).await;
            }
        }
    }

    async fn converse(self: Arc<Self>, stream: impl AsyncRead + AsyncWrite + Unpin, share: Share<Owner>) {
        let service = service_fn(|request: Request<Incoming>| {
            let answer = self.answer(&request.into_parts().0);
            async move { Ok::<_, Infallible>(answer) }
        });
        let connection = http1::Builder::new()
            .keep_alive(false)
            .max_buf_size(MAX_HEAD)
            .timer(TokioTimer::new())
            .header_read_timeout(HEAD_TIMEOUT)
            .serve_connection(TokioIo::new(stream), service);
        match timeout(TIMEOUT, connection).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!("the status page: a connection of {:?} ended: {error}", share.owner()),
            Err(_elapsed) => tracing::debug!("the status page: {:?} took longer than {TIMEOUT:?}", share.owner()),
        }
    }

    fn answer(&self, request: &http::request::Parts) -> Response<Full<Bytes>> {
        let judged = judge(request, &self.hosts);
        let body = match judged {
            Ok(wanted) => self.page(wanted),
            Err(refusal) => {
                let (status, why) = refusal.answer();
                let title = status.canonical_reason().unwrap_or_default();
                page::page(title, &format!("<p>{}</p>", page::escaped(why))).into()
            }
        };
        let mut response = Response::new(Full::new(body));
        protect(response.headers_mut());
        let policy = match judged {
            Ok(_) => Ok(policy()),
            Err(refusal) => {
                *response.status_mut() = refusal.answer().0;
                HeaderValue::try_from(page::policy("'none'"))
            }
        };
        if let Ok(policy) = policy {
            response.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
        }
        match judged {
            // A header, which no reader of the page stumbles upon.
            Ok(Wanted::Refreshing) => {
                response.headers_mut().insert(header::REFRESH, REFRESH_SECONDS.into());
            }
            Err(Refusal::Method) => {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET"));
            }
            Ok(Wanted::Still) | Err(_) => {}
        }
        response
    }

    /// The page, made anew if it is too old.
    fn page(&self, wanted: Wanted) -> Bytes {
        let now = self.clock.now();
        // Nothing under the lock can panic half-way: a page is set as a whole.
        let mut made = self.made.lock().unwrap_or_else(PoisonError::into_inner);
        let [refreshing, still] = &mut *made;
        let kept = if wanted == Wanted::Refreshing { refreshing } else { still };
        match kept {
            Some((at, page)) if now.boot.since(*at) < AGE => page.clone(),
            _ => kept.insert((now.boot, (self.make)(now).render(wanted).into())).1.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;
    use crate::{
        clock::fake::FakeClock,
        view::{Tone, View},
    };

    fn server(made: Arc<AtomicU32>) -> Arc<PageServer> {
        PageServer::new(Vec::new(), FakeClock::new(), move |now| {
            let count = made.fetch_add(1, Ordering::Relaxed);
            View {
                program: "alppaca",
                host: "host".to_owned(),
                at: now.wall,
                verdict: (Tone::Good, format!("made {count}")),
                notices: Vec::new(),
                figures: Vec::new(),
                sections: Vec::new(),
            }
        })
    }

    fn answer(server: &PageServer, target: &str) -> Response<Full<Bytes>> {
        server.answer(&Request::builder().uri(target).body(()).expect("a request").into_parts().0)
    }

    #[tokio::test(start_paused = true)]
    async fn a_page_is_made_once_a_second_however_many_ask() {
        let made = Arc::<AtomicU32>::default();
        let server = server(Arc::clone(&made));
        for _ in 0..100 {
            assert_eq!(answer(&server, "/").status(), 200);
        }
        assert_eq!(made.load(Ordering::Relaxed), 1);
        clock::sleep(AGE).await;
        answer(&server, "/");
        answer(&server, "/?refresh=0");
        assert_eq!(made.load(Ordering::Relaxed), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn every_answer_is_protected_and_only_one_kind_is_read_again() {
        let server = server(Arc::default());
        for (target, status, refresh) in [("/", 200, Some("30")), ("/?refresh=0", 200, None), ("/x", 404, None)] {
            let response = answer(&server, target);
            let header = |name| response.headers().get(name).map(|value| value.to_str().expect("text"));
            assert_eq!((response.status().as_u16(), header("refresh")), (status, refresh), "{target}");
            let policy = header("content-security-policy").expect("a policy");
            assert!(policy.starts_with("default-src 'none'; style-src 'sha256-"), "{policy}");
            assert!(policy.contains("frame-ancestors 'none'") && policy.contains("form-action 'none'"), "{policy}");
            assert_eq!(header("cache-control"), Some("no-store"));
            assert_eq!(header("x-content-type-options"), Some("nosniff"));
            assert_eq!(header("referrer-policy"), Some("no-referrer"));
            assert_eq!(header("access-control-allow-origin"), None);
        }
    }
}
