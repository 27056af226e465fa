//! One bounded call: in time, in size, without redirects, decoding or retries.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::{BodyExt, Full};
use hyper::body::{Body, Incoming};
use hyper_util::{
    client::legacy::{Client as Pool, Error, connect::capture_connection},
    rt::{TokioExecutor, TokioTimer},
};
use zeroize::Zeroizing;

use super::{
    Answer, FetchError, Options, Proxy, SetupError,
    connector::{Connector, History},
    resolver::Resolver,
    settings::parse_proxy_url,
    tls,
};
use crate::{credentials::Secret, text::flatten};

/// For the documents that follow a list, and for attempts that follow a failure. Between two lists thousands of idle
/// connections would cost an IMS more than their handshakes do. One that it has closed meanwhile costs nothing. With the
/// greatest age of a connection it is less than a minute: so soon an address of before is not used any more.
const IDLE: Duration = Duration::from_secs(25);

/// The number of idle connections that are kept.
const MAX_IDLE: usize = 8;

/// Heads of answers are some hundred bytes.
const MAX_HEAD: usize = 64 * 1024;

/// How much of an error's body is read for quoting, and how long to wait for it.
const ERROR_BYTES: usize = 1024;
const ERROR_WAIT: Duration = Duration::from_millis(250);

/// A body of unknown length begins with this capacity.
const FIRST_CAPACITY: usize = 8 * 1024;

/// A request.
pub struct Call<'a> {
    method: Method,
    url: &'a str,
    headers: HeaderMap,
    body: Bytes,
    whole_errors: bool,
}

impl<'a> Call<'a> {
    /// A request without a body.
    pub fn new(method: Method, url: &'a str) -> Self {
        Self { method, url, headers: HeaderMap::new(), body: Bytes::new(), whole_errors: false }
    }

    /// With a header that may be seen.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    /// Adds a header whose value is never logged. Fails if the secret cannot be a header's value.
    pub fn secret_header(self, name: HeaderName, secret: &Secret) -> Result<Self, FetchError> {
        let mut value = HeaderValue::from_str(secret.expose()).map_err(|_| {
            FetchError(format!("the value for the header {name} has characters that are not allowed in headers"))
        })?;
        value.set_sensitive(true);
        Ok(self.header(name, value))
    }

    /// With these headers in place of all that it had.
    #[must_use]
    pub fn headers(mut self, headers: HeaderMap) -> Self {
        self.headers = headers;
        self
    }

    /// With that body.
    #[must_use]
    pub fn bytes(mut self, body: &[u8]) -> Self {
        self.body = Bytes::from_owner(Zeroizing::new(body.to_vec()));
        self
    }

    /// Errors, too, are read to their end: they are documents, and not only to quote from.
    #[must_use]
    pub fn with_whole_errors(mut self) -> Self {
        self.whole_errors = true;
        self
    }

    /// With a JSON body, which is wiped when it has been sent.
    #[must_use]
    pub fn json(self, body: Zeroizing<Vec<u8>>) -> Self {
        let mut call = self.header(header::CONTENT_TYPE, const { HeaderValue::from_static("application/json") });
        call.body = Bytes::from_owner(body);
        call
    }
}

/// An HTTP client for one server.
pub struct Client {
    pool: Pool<Connector, Full<Bytes>>,
    timeout: Duration,
    forwarding: bool,
    /// For the proxy, if it sees the requests.
    authorization: Option<HeaderValue>,
    /// Ends each message about a connection: `, through the proxy http://…`.
    through: String,
    /// Ends the message about a body that is too long.
    limit_name: String,
}

impl Client {
    /// A client for the server of `url`, with which all calls begin.
    pub fn new(url: &Uri, options: &Options) -> Result<Self, SetupError> {
        Self::with_resolver(url, options, Resolver::new())
    }

    fn with_resolver(url: &Uri, options: &Options, resolver: Resolver) -> Result<Self, SetupError> {
        let proxy = match options.proxies.for_url(url) {
            Some(proxy) => Some((parse_proxy_url(&proxy.url)?, basic_authorization(proxy)?)),
            None => None,
        };
        let through = proxy.as_ref().and_then(|(uri, _)| uri.authority().cloned());
        let tls = if url.scheme_str() == Some("https") { Some(tls::client_config(options)?) } else { None };
        let forwarding = proxy.is_some() && tls.is_none();
        let authorization = proxy.as_ref().filter(|_| forwarding).and_then(|(_, authorization)| authorization.clone());
        let connector = Connector::new(resolver, tls, proxy, options.connect_timeout);
        let pool = Pool::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE)
            .pool_max_idle_per_host(MAX_IDLE)
            .http1_max_buf_size(MAX_HEAD)
            .build(connector);
        let through = through.map(|proxy| format!(", through the proxy {proxy}")).unwrap_or_default();
        let limit_name = options.limit_name.map(|name| format!(" ({name})")).unwrap_or_default();
        Ok(Self { pool, timeout: options.timeout, forwarding, authorization, through, limit_name })
    }

    /// Asks for `url` and waits for the whole answer. A body longer than `limit` is an error and not
    /// read further.
    pub async fn get(&self, url: &str, limit: usize) -> Result<Answer, FetchError> {
        self.send(Call::new(Method::GET, url), limit).await
    }

    /// Sends a request and waits for the whole answer; see [`Client::get`].
    pub async fn send(&self, call: Call<'_>, limit: usize) -> Result<Answer, FetchError> {
        let Call { method, url, .. } = &call;
        let (method, url) = (method.clone(), (*url).to_owned());
        let uri: Uri = url.parse().map_err(|error| FetchError(format!("{method} {url}: {error}")))?;
        let outcome = match tokio::time::timeout(self.timeout, self.exchange(&call, &uri, limit)).await {
            Ok(outcome) => outcome,
            Err(_) => Err(format!("no complete answer within {:?}{}", self.timeout, self.through)),
        };
        outcome.map_err(|what| FetchError(format!("{method} {url}: {what}")))
    }

    /// Sends a request and waits for the head of the answer; its body is an unending stream. An error has only the
    /// beginning of its body, as elsewhere.
    pub async fn stream(&self, call: Call<'_>) -> Result<Result<Stream, Answer>, FetchError> {
        let Call { method, url, .. } = &call;
        let (method, url) = (method.clone(), (*url).to_owned());
        let failed = |what: String| FetchError(format!("{method} {url}: {what}"));
        let uri: Uri = url.parse().map_err(|error| failed(format!("{error}")))?;
        let response = match tokio::time::timeout(self.timeout, self.repeat(&call, &uri)).await {
            Ok(response) => response.map_err(|error| failed(self.describe(&error)))?,
            Err(_) => return Err(failed(format!("no answer within {:?}{}", self.timeout, self.through))),
        };
        let (head, body) = response.into_parts();
        if head.status.is_success() {
            return Ok(Ok(Stream { body, what: format!("{method} {url}") }));
        }
        let body = beginning(body).await;
        Ok(Err(Answer { status: head.status, headers: head.headers, body, forwarded: self.forwarding }))
    }

    async fn exchange(&self, call: &Call<'_>, uri: &Uri, limit: usize) -> Result<Answer, String> {
        let response = self.repeat(call, uri).await.map_err(|error| self.describe(&error))?;
        let (head, body) = response.into_parts();
        let whole = head.status.is_success() || call.whole_errors;
        let body = if whole { self.collect(body, limit).await? } else { beginning(body).await };
        Ok(Answer { status: head.status, headers: head.headers, body, forwarded: self.forwarding })
    }

    /// Sends the request, again if the server closed the pooled connection at that very moment. That
    /// ends: each repetition uses up a connection that had been used before.
    async fn repeat(&self, call: &Call<'_>, uri: &Uri) -> Result<Response<Incoming>, Error> {
        loop {
            let mut request = self.request(call, uri);
            let connection = capture_connection(&mut request);
            match self.pool.request(request).await {
                Ok(response) => {
                    if let Some(history) = response.extensions().get::<History>() {
                        history.note_use();
                        if history.is_old()
                            && let Some(connected) = &*connection.connection_metadata()
                        {
                            connected.poison();
                        }
                    }
                    return Ok(response);
                }
                Err(error) if closed_while_idle(&error) => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn request(&self, call: &Call<'_>, uri: &Uri) -> Request<Full<Bytes>> {
        let mut request = Request::new(Full::new(call.body.clone()));
        request.method_mut().clone_from(&call.method);
        uri.clone_into(request.uri_mut());
        let headers = request.headers_mut();
        headers.extend(call.headers.clone());
        headers
            .entry(header::USER_AGENT)
            .or_insert(const { HeaderValue::from_static(concat!("alppaca/", env!("CARGO_PKG_VERSION"))) });
        headers.insert(header::ACCEPT_ENCODING, const { HeaderValue::from_static("identity") });
        if let Some(authorization) = &self.authorization {
            headers.insert(header::PROXY_AUTHORIZATION, authorization.clone());
        }
        request
    }

    fn describe(&self, error: &Error) -> String {
        let causes = std::error::Error::source(error).map_or_else(|| error.to_string(), flatten);
        let what = if error.is_connect() { "cannot connect" } else { "the connection broke off" };
        format!("{what}{}: {causes}", self.through)
    }

    async fn collect(&self, mut body: Incoming, limit: usize) -> Result<Zeroizing<Vec<u8>>, String> {
        let too_long = || format!("the body is longer than {limit} bytes{}", self.limit_name);
        let announced = body.size_hint().exact().map(|bytes| usize::try_from(bytes).unwrap_or(usize::MAX));
        if announced.is_some_and(|bytes| bytes > limit) {
            return Err(too_long());
        }
        let mut collected = Zeroizing::new(Vec::with_capacity(announced.unwrap_or(FIRST_CAPACITY.min(limit))));
        while let Some(frame) = body.frame().await {
            let frame = frame.map_err(|error| format!("the body broke off: {}", flatten(&error)))?;
            let Ok(data) = frame.into_data() else { continue };
            if data.len() > limit - collected.len() {
                return Err(too_long());
            }
            append(&mut collected, &data);
        }
        Ok(collected)
    }
}

/// The body of an answer as it arrives. It ends the connection when it is dropped.
pub struct Stream {
    body: Incoming,
    what: String,
}

impl Stream {
    /// What arrives next, within `patience`; `None` at the end.
    pub async fn next(&mut self, patience: Duration) -> Result<Option<Bytes>, FetchError> {
        loop {
            let frame = match tokio::time::timeout(patience, self.body.frame()).await {
                Ok(Some(frame)) => frame,
                Ok(None) => return Ok(None),
                Err(_) => return Err(FetchError(format!("{}: nothing arrives for {patience:?}", self.what))),
            };
            match frame.map(|frame| frame.into_data().ok()) {
                Ok(Some(data)) => return Ok(Some(data)),
                // Trailers say nothing.
                Ok(None) => {}
                Err(error) => {
                    return Err(FetchError(format!("{}: the body broke off: {}", self.what, flatten(&error))));
                }
            }
        }
    }
}

fn basic_authorization(proxy: &Proxy) -> Result<Option<HeaderValue>, SetupError> {
    use base64::{Engine, prelude::BASE64_STANDARD};

    let Some((user, password)) = &proxy.credentials else { return Ok(None) };
    if user.contains(':') {
        return Err(SetupError::ProxyUser("must not contain a colon"));
    }
    let pair = Zeroizing::new(format!("{user}:{}", password.expose()));
    let text = Zeroizing::new(format!("Basic {}", *Zeroizing::new(BASE64_STANDARD.encode(pair.as_bytes()))));
    let mut value = HeaderValue::from_str(&text).map_err(|_| SetupError::ProxyUser("cannot be sent"))?;
    value.set_sensitive(true);
    Ok(Some(value))
}

fn closed_while_idle(error: &Error) -> bool {
    let mut extensions = http::Extensions::new();
    if let Some(info) = error.connect_info() {
        info.get_extras(&mut extensions);
    }
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<hyper::Error>());
    // A malformed answer is an answer; all that is left is a connection that went away.
    extensions.get::<History>().is_some_and(History::is_used)
        && cause.is_none_or(|cause| !cause.is_parse() && !cause.is_user())
}

/// Appends without leaving an unwiped copy behind, as a `Vec` that grows by itself would.
fn append(collected: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let needed = collected.len() + data.len();
    if needed > collected.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(collected.capacity() * 2)));
        larger.extend_from_slice(collected);
        *collected = larger;
    }
    collected.extend_from_slice(data);
}

/// What can be had soon of an error's body.
async fn beginning(mut body: Incoming) -> Zeroizing<Vec<u8>> {
    let mut collected = Zeroizing::new(Vec::with_capacity(ERROR_BYTES));
    let reading = async {
        while let Some(Ok(frame)) = body.frame().await {
            let Some(data) = frame.data_ref() else { continue };
            let room = ERROR_BYTES - collected.len();
            collected.extend_from_slice(&data[..data.len().min(room)]);
            if collected.len() == ERROR_BYTES {
                break;
            }
        }
    };
    // Late or never: the status says enough.
    let _ = tokio::time::timeout(ERROR_WAIT, reading).await;
    collected
}

#[cfg(test)]
mod tests {
    use std::{
        io::{self, BufRead, BufReader, Write},
        net::{Ipv4Addr, SocketAddr, TcpListener, ToSocketAddrs},
        sync::atomic::{AtomicBool, Ordering},
        thread,
    };

    use super::*;

    static MOVED: AtomicBool = AtomicBool::new(false);

    fn look_up(_name: &str) -> io::Result<std::vec::IntoIter<SocketAddr>> {
        let address = if MOVED.load(Ordering::Relaxed) { "127.0.0.2" } else { "127.0.0.1" };
        (address, 0).to_socket_addrs()
    }

    /// A server that keeps its connections open, and answers with its name.
    fn server(name: &'static str, address: SocketAddr) -> SocketAddr {
        let listener = TcpListener::bind(address).expect("a port");
        let address = listener.local_addr().expect("it listens");
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                thread::spawn(move || {
                    let mut lines = BufReader::new(&stream).lines().map_while(Result::ok);
                    while lines.by_ref().take_while(|line| !line.is_empty()).count() > 0 {
                        write!(&stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{name}", name.len())?;
                    }
                    Ok::<_, io::Error>(())
                });
            }
        });
        address
    }

    #[tokio::test]
    async fn another_address_of_a_server_is_followed_within_a_minute_though_the_old_one_answers() {
        // How long its owner pauses between two calls, in seconds.
        for pause in [1, 10, 20, 24, 26, 29, 40] {
            MOVED.store(false, Ordering::Relaxed);
            let old = server("old", (Ipv4Addr::LOCALHOST, 0).into());
            server("new", (Ipv4Addr::new(127, 0, 0, 2), old.port()).into());
            let url = format!("http://ims.test:{}/", old.port());
            let options = Options::direct(Duration::from_secs(20), None);
            let client = Client::with_resolver(&url.parse().expect("a URL"), &options, Resolver::with(look_up));
            let client = client.expect("a client");
            let ask = async || String::from_utf8(client.get(&url, 99).await.expect("an answer").body.to_vec());
            assert_eq!(ask().await.as_deref(), Ok("old"));
            MOVED.store(true, Ordering::Relaxed);
            let mut passed = 0;
            loop {
                // The sockets are real: only between the calls time is the test's.
                tokio::time::pause();
                tokio::time::advance(Duration::from_secs(pause)).await;
                tokio::time::resume();
                passed += pause;
                if ask().await.as_deref() == Ok("new") {
                    break;
                }
                assert!(passed < 60, "the old address is used after {passed} s, with a call every {pause} s");
            }
        }
    }
}
