//! The few calls of the Docker Engine API that are needed, over its Unix socket. Podman's service answers the same.
//!
//! <https://docs.docker.com/reference/api/engine/>: `GET /containers/json`, `/containers/{id}/json`,
//! `/events`. Nothing is ever changed, so a proxy that lets only these through is enough.

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::{BodyExt, Empty};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use tokio::{net::UnixStream, task::JoinHandle};
use zeroize::Zeroizing;

use super::{
    facts::ContainerId,
    messages::{self, Event, Inspected, Listed},
};

/// For one call. An inspection waits for the start of its container, which may pull up a network.
const PATIENCE: Duration = Duration::from_secs(10);
/// The list of a host with ten thousand containers, and the description of one with megabytes of labels.
const MAX_BODY: usize = 32 * 1024 * 1024;
/// An event carries all labels of its container.
const MAX_EVENT: usize = 1024 * 1024;

/// Why the runtime did not answer.
#[derive(Debug, thiserror::Error)]
pub enum ApiError {
    /// Nothing listens at the socket, or we may not connect.
    #[error("cannot connect to {}: {source}", path.display())]
    Connect {
        /// The socket.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The exchange broke off.
    #[error("the connection broke off: {0}")]
    Http(#[from] hyper::Error),
    /// An answer that is none.
    #[error("GET {path} was answered with status {status}")]
    Status {
        /// What was asked for.
        path: String,
        /// The answer's status.
        status: u16,
    },
    /// What it says is not what the API's reference says.
    #[error("the answer to GET {path} cannot be parsed: {source}")]
    Json {
        /// What was asked for.
        path: String,
        /// What is wrong. Positions only: the text may hold secrets.
        source: messages::Unreadable,
    },
    /// It says more than anybody has to say.
    #[error("more than {0} bytes in one message")]
    TooLong(usize),
    /// It took too long.
    #[error("no answer within {} s", PATIENCE.as_secs())]
    Late,
    /// The stream of events ended.
    #[error("the runtime ended the stream of events")]
    Ended,
}

/// One runtime.
#[derive(Debug, Clone)]
pub struct Api {
    socket: PathBuf,
}

/// An exchange; dropping it closes its connection.
struct Exchange {
    response: Response<Incoming>,
    connection: JoinHandle<()>,
}

impl Drop for Exchange {
    fn drop(&mut self) {
        self.connection.abort();
    }
}

/// What happens, as it happens.
pub struct Events {
    exchange: Exchange,
    /// The beginning of an event whose rest has not come.
    unread: Vec<u8>,
}

impl Api {
    /// The runtime behind this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Its socket.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// All running containers, as listed.
    pub async fn list(&self) -> Result<Vec<Listed>, ApiError> {
        let path = "/containers/json";
        let Some(body) = self.get(path).await? else {
            return Err(ApiError::Status { path: path.to_owned(), status: 404 });
        };
        messages::list(&body).map_err(|source| ApiError::Json { path: path.to_owned(), source })
    }

    /// All that there is to say of one; `None` if it does not exist (any more).
    pub async fn inspect(&self, id: &ContainerId, wanted: &[String]) -> Result<Option<Inspected>, ApiError> {
        self.find(id.as_str(), wanted).await
    }

    /// The same by a name, or by what an id begins with.
    pub async fn find(&self, name: &str, wanted: &[String]) -> Result<Option<Inspected>, ApiError> {
        let path = format!("/containers/{}/json", utf8_percent_encode(name, NON_ALPHANUMERIC));
        let Some(body) = self.get(&path).await? else { return Ok(None) };
        match messages::inspected(&body, wanted) {
            Ok(inspected) => Ok(Some(inspected)),
            Err(source) => Err(ApiError::Json { path, source }),
        }
    }

    /// What happens to containers and their networks from the moment `since` (seconds of the wall clock) on.
    pub async fn events(&self, since: i64) -> Result<Events, ApiError> {
        // {"type":["container","network"]}
        let filter = "%7B%22type%22%3A%5B%22container%22%2C%22network%22%5D%7D";
        let path = format!("/events?since={since}&filters={filter}");
        let exchange = in_time(self.open(&path)).await?;
        match exchange.response.status() {
            StatusCode::OK => Ok(Events { exchange, unread: Vec::new() }),
            status => Err(ApiError::Status { path, status: status.as_u16() }),
        }
    }

    /// The body of an answer; `None` for 404. Wiped when dropped: it may hold the variables of a container.
    async fn get(&self, path: &str) -> Result<Option<Zeroizing<Vec<u8>>>, ApiError> {
        let exchange = async {
            let mut exchange = self.open(path).await?;
            match exchange.response.status() {
                StatusCode::OK => {}
                StatusCode::NOT_FOUND => return Ok(None),
                status => return Err(ApiError::Status { path: path.to_owned(), status: status.as_u16() }),
            }
            let mut body = Zeroizing::new(Vec::new());
            while let Some(frame) = exchange.response.body_mut().frame().await {
                let frame = frame?;
                let Some(data) = frame.data_ref() else { continue };
                if body.len() + data.len() > MAX_BODY {
                    return Err(ApiError::TooLong(MAX_BODY));
                }
                append(&mut body, data);
            }
            Ok(Some(body))
        };
        in_time(exchange).await
    }

    /// A request on a connection of its own: they are few, and a Unix socket is near.
    async fn open(&self, path: &str) -> Result<Exchange, ApiError> {
        let connect = |source| ApiError::Connect { path: self.socket.clone(), source };
        let stream = UnixStream::connect(&self.socket).await.map_err(connect)?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        let connection = tokio::spawn(async move {
            // The caller that waits for the answer gets the error that ended the connection.
            let _told = connection.await;
        });
        let mut request = Request::new(Empty::<Bytes>::new());
        *request.uri_mut() = path.parse().unwrap_or_default();
        // The API's servers require a host; its value does not matter behind a Unix socket.
        request.headers_mut().insert(http::header::HOST, const { http::HeaderValue::from_static("docker") });
        match sender.send_request(request).await {
            Ok(response) => Ok(Exchange { response, connection }),
            Err(error) => {
                connection.abort();
                Err(error.into())
            }
        }
    }
}

impl Events {
    /// The runtime's name and version, for people. `GET /version` would be dear: Podman starts programs to answer it.
    pub fn runtime(&self) -> String {
        let line = self.exchange.response.headers().get(http::header::SERVER);
        messages::server(line.map_or(b"".as_slice(), http::HeaderValue::as_bytes))
    }

    /// The next event; those that are none of ours are left out. It may be cancelled without losing anything.
    pub async fn next(&mut self) -> Result<Event, ApiError> {
        loop {
            while let Some(end) = self.unread.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = self.unread.drain(..=end).collect();
                let read =
                    messages::event(&line).map_err(|source| ApiError::Json { path: "/events".to_owned(), source })?;
                if let Some(event) = read {
                    return Ok(event);
                }
            }
            let frame = self.exchange.response.body_mut().frame().await.ok_or(ApiError::Ended)??;
            let Some(data) = frame.data_ref() else { continue };
            if self.unread.len() + data.len() > MAX_EVENT {
                return Err(ApiError::TooLong(MAX_EVENT));
            }
            self.unread.extend_from_slice(data);
        }
    }
}

async fn in_time<T>(call: impl Future<Output = Result<T, ApiError>>) -> Result<T, ApiError> {
    tokio::time::timeout(PATIENCE, call).await.unwrap_or(Err(ApiError::Late))
}

/// Appends without leaving an unwiped copy behind, as a `Vec` that grows by itself would.
fn append(body: &mut Zeroizing<Vec<u8>>, data: &[u8]) {
    let needed = body.len() + data.len();
    if needed > body.capacity() {
        let mut larger = Zeroizing::new(Vec::with_capacity(needed.max(body.capacity() * 2)));
        larger.extend_from_slice(body);
        *body = larger;
    }
    body.extend_from_slice(data);
}
