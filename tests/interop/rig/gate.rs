//! The gate in front of moto: it lets through what is signed with a key that the IMS issued and that
//! is still valid, and refuses all else in the words of AWS.

use std::{
    collections::BTreeSet,
    convert::Infallible,
    io,
    net::{SocketAddr, TcpListener},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicI64, Ordering},
    },
    thread,
};

use alppaca::mock_ims::Handle;
use http_body_util::{BodyExt, Full};
use hyper::{Response, body::Bytes, body::Incoming, header, service::service_fn};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::{TokioExecutor, TokioIo},
};
use jiff::{SignedDuration, Timestamp};
use tokio::sync::oneshot;

use super::{
    refusal,
    sigv4::{self, Claim, Key, Request},
};

/// What the gate said to one request.
#[derive(Debug, Clone)]
pub struct Call {
    /// None if the request was not signed at all.
    pub claim: Option<Claim>,
    /// The code of the refusal.
    pub refused: Option<&'static str>,
}

/// A way through the gate for one client, with a record of its calls.
pub struct Door {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _open: oneshot::Sender<Infallible>,
}

struct Shared {
    ims: Handle,
    moto: SocketAddr,
    calls: Mutex<Vec<Call>>,
    /// How many seconds AWS's clock is ahead of ours.
    ahead: AtomicI64,
}

impl Door {
    /// Lets requests with keys of `ims` through to `moto`, until it is dropped.
    pub fn open(listener: TcpListener, ims: Handle, moto: SocketAddr) -> Self {
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared { ims, moto, calls: Mutex::default(), ahead: AtomicI64::new(0) });
        let (open, closed) = oneshot::channel::<Infallible>();
        let served = Arc::clone(&shared);
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                tokio::select! {
                    ended = serve(listener, served) => ended.expect("it accepts"),
                    _ = closed => {}
                }
            });
        });
        Self { address, shared, _open: open }
    }

    /// Every call so far.
    pub fn calls(&self) -> Vec<Call> {
        self.shared.calls.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The codes of all refusals.
    pub fn refusals(&self) -> Vec<&'static str> {
        self.calls().iter().filter_map(|call| call.refused).collect()
    }

    /// The access keys that were let through.
    pub fn keys(&self) -> BTreeSet<String> {
        let good = self.calls().into_iter().filter(|call| call.refused.is_none());
        good.filter_map(|call| Some(call.claim?.key)).collect()
    }

    /// The services that let the client in.
    pub fn services(&self) -> BTreeSet<String> {
        let good = self.calls().into_iter().filter(|call| call.refused.is_none());
        good.filter_map(|call| Some(call.claim?.service)).collect()
    }

    /// The access key of the newest call.
    pub fn last_key(&self) -> Option<String> {
        self.calls().last()?.claim.as_ref().map(|claim| claim.key.clone())
    }

    /// From now on AWS's clock is so far ahead of ours.
    pub fn set_ahead(&self, ahead: SignedDuration) {
        self.shared.ahead.store(ahead.as_secs(), Ordering::Relaxed);
    }
}

impl Shared {
    fn judge(&self, request: &Request) -> Result<(), (u16, String)> {
        let find = |id: &str| {
            self.ims.issued_with(id).map(|issued| Key {
                secret: issued.secret_access_key,
                token: Some(issued.session_token),
                expires: issued.expiration,
            })
        };
        let now = Timestamp::now() + SignedDuration::from_secs(self.ahead.load(Ordering::Relaxed));
        let verdict = sigv4::verify(request, find, now);
        let claim = sigv4::claim(request);
        let service = claim.as_ref().map_or("s3", |claim| &claim.service).to_owned();
        let refused = verdict.as_ref().err().map(|&why| refusal::code(why, &service));
        self.calls.lock().unwrap_or_else(PoisonError::into_inner).push(Call { claim, refused });
        verdict.map(drop).map_err(|why| refusal::render(why, &service))
    }
}

type Upstream = Client<HttpConnector, Full<Bytes>>;

async fn serve(listener: TcpListener, shared: Arc<Shared>) -> io::Result<()> {
    listener.set_nonblocking(true)?;
    let listener = tokio::net::TcpListener::from_std(listener)?;
    let upstream: Upstream = Client::builder(TokioExecutor::new()).build_http();
    loop {
        let (stream, _) = listener.accept().await?;
        let (shared, upstream) = (Arc::clone(&shared), upstream.clone());
        tokio::spawn(async move {
            let service = service_fn(|request| answer(request, &shared, &upstream));
            // How a connection ends is the client's business.
            let _ended =
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn answer(
    request: hyper::Request<Incoming>,
    shared: &Shared,
    upstream: &Upstream,
) -> Result<Response<Full<Bytes>>, Box<dyn std::error::Error + Send + Sync>> {
    let (head, body) = request.into_parts();
    let body = body.collect().await?.to_bytes();
    let text = |value: &header::HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
    let seen = Request {
        method: head.method.to_string(),
        path: head.uri.path().to_owned(),
        query: head.uri.query().unwrap_or_default().to_owned(),
        headers: head.headers.iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
        body: body.to_vec(),
    };
    if let Err((status, body)) = shared.judge(&seen) {
        let answer = Response::builder().status(status).header(header::CONTENT_TYPE, "text/xml");
        return Ok(answer.body(Full::from(body))?);
    }
    let target = head.uri.path_and_query().map_or("/", |target| target.as_str());
    let mut forward = hyper::Request::builder().method(head.method).uri(format!("http://{}{target}", shared.moto));
    for (name, value) in &head.headers {
        // The gate has waited for the body and knows its length.
        if ![header::EXPECT, header::CONTENT_LENGTH, header::TRANSFER_ENCODING, header::CONNECTION].contains(name) {
            forward = forward.header(name, value);
        }
    }
    let (mut head, body) = upstream.request(forward.body(Full::from(body))?).await?.into_parts();
    let body = body.collect().await?.to_bytes();
    head.headers.remove(header::TRANSFER_ENCODING);
    head.headers.remove(header::CONTENT_LENGTH);
    head.headers.remove(header::CONNECTION);
    Ok(Response::from_parts(head, Full::from(body)))
}
