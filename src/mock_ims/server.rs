//! The mock's server. Raw sockets, because it must be able to break every rule.

use std::{
    collections::HashMap,
    io,
    net::{SocketAddr, TcpListener as StdListener},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

use super::{Behaviour, Issued, Misbehaviour};
use crate::clock::{self, Clock, SystemClock};

/// Where the IMS protocol has the role list.
const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const HUGE: usize = 100 * 1024 * 1024;
const DRIP: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
struct Shared {
    behaviour: Behaviour,
    calls: HashMap<String, u64>,
    total: u64,
    connections: u64,
    issued: HashMap<String, Issued>,
}

/// Watches and steers a running mock.
#[derive(Debug, Clone)]
pub struct Handle(Arc<Mutex<Shared>>);

impl Handle {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the behaviour from the next call on.
    pub fn set(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut self.shared().behaviour);
    }

    /// How often a path was asked for.
    pub fn calls(&self, path: &str) -> u64 {
        self.shared().calls.get(path).copied().unwrap_or_default()
    }

    /// How many calls there were.
    pub fn total_calls(&self) -> u64 {
        self.shared().total
    }

    /// How many connections were made.
    pub fn connections(&self) -> u64 {
        self.shared().connections
    }

    /// All sets that were issued.
    pub fn all_issued(&self) -> Vec<Issued> {
        self.shared().issued.values().cloned().collect()
    }

    /// The set with that key, if it was issued here.
    pub fn issued(&self, access_key_id: &str) -> Option<Issued> {
        self.shared().issued.get(access_key_id).cloned()
    }
}

/// A mock that listens.
#[derive(Debug)]
pub struct MockIms {
    listener: StdListener,
    address: SocketAddr,
    handle: Handle,
}

impl MockIms {
    /// Listens on `address`; port 0 takes a free one.
    pub fn bind(address: SocketAddr, behaviour: Behaviour) -> io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let shared = Shared { behaviour, ..Shared::default() };
        Ok(Self { listener, address, handle: Handle(Arc::new(Mutex::new(shared))) })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Something to watch and steer it with.
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves, for ever. An error means that it cannot accept connections any more.
    pub async fn run(self) -> io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        loop {
            let (stream, _) = listener.accept().await?;
            let handle = self.handle.clone();
            handle.shared().connections += 1;
            tokio::spawn(async move {
                // A client that goes away is no news.
                let _gone = converse(stream, &handle).await;
            });
        }
    }
}

async fn converse(mut stream: TcpStream, handle: &Handle) -> io::Result<()> {
    let mut input = Vec::new();
    loop {
        let Some(path) = next_request(&mut stream, &mut input).await? else { return Ok(()) };
        let (answer, latency) = decide(handle, &path);
        clock::sleep(latency).await;
        match answer {
            Answer::Whole(bytes) => stream.write_all(&bytes).await?,
            Answer::Hang => return std::future::pending().await,
            Answer::Reset => {
                stream.write_all(&head(200, 1000, "")).await?;
                stream.write_all(b"{\"Code\"").await?;
                // Closing with a linger time of zero sends a reset.
                rustix::net::sockopt::set_socket_linger(&stream, Some(Duration::ZERO))?;
                return Ok(());
            }
            Answer::Huge => {
                stream.write_all(&head(200, HUGE, "")).await?;
                let block = vec![b'a'; 64 * 1024];
                for _ in 0..HUGE / block.len() {
                    stream.write_all(&block).await?;
                }
            }
            Answer::Drip => {
                stream.write_all(&head(200, 10_000, "")).await?;
                loop {
                    stream.write_all(b"a").await?;
                    clock::sleep(DRIP).await;
                }
            }
        }
    }
}

/// The path of the next request; `None` at the end or when it is no HTTP.
async fn next_request(stream: &mut TcpStream, input: &mut Vec<u8>) -> io::Result<Option<String>> {
    loop {
        let mut lines = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut lines);
        match request.parse(input) {
            Ok(httparse::Status::Complete(length)) => {
                let path = request.path.unwrap_or_default();
                // A proxy's client sends whole URLs.
                let path =
                    path.strip_prefix("http://").map_or(path, |rest| rest.find('/').map_or("/", |at| &rest[at..]));
                let path = path.to_owned();
                input.drain(..length);
                return Ok(Some(path));
            }
            Ok(httparse::Status::Partial) if input.len() < 64 * 1024 => {}
            _ => return Ok(None),
        }
        if stream.read_buf(input).await? == 0 {
            return Ok(None);
        }
    }
}

enum Answer {
    Whole(Vec<u8>),
    Hang,
    Reset,
    Huge,
    Drip,
}

fn decide(handle: &Handle, path: &str) -> (Answer, Duration) {
    let mut shared = handle.shared();
    shared.total += 1;
    *shared.calls.entry(path.to_owned()).or_default() += 1;
    let behaviour = shared.behaviour.clone();
    let fails = fastrand::u8(0..100) < behaviour.fail_percent;
    let answer = match path.strip_prefix(LIST) {
        _ if fails => whole(500, "Internal Server Error"),
        Some("") => misbehave(behaviour.list).unwrap_or_else(|| whole(200, &behaviour.roles.join("\n"))),
        Some(escaped) => {
            let role = percent_encoding::percent_decode_str(escaped).decode_utf8_lossy();
            if behaviour.roles.iter().any(|known| *known == role) {
                misbehave(behaviour.document).unwrap_or_else(|| {
                    let issued = Issued::new();
                    let document = document(&issued, &behaviour);
                    shared.issued.insert(issued.access_key_id.clone(), issued);
                    whole(200, &document)
                })
            } else {
                whole(404, "no such role")
            }
        }
        None => whole(404, "not found"),
    };
    (answer, behaviour.latency)
}

fn document(issued: &Issued, behaviour: &Behaviour) -> String {
    let now = SystemClock.now().wall;
    let expiration = match behaviour.document {
        Some(Misbehaviour::Expired) => now - Duration::from_mins(1),
        _ => now + behaviour.lifetime,
    };
    issued.document(now, expiration, behaviour.document)
}

/// What is sent instead; `None` for those that are a document with something wrong in it.
fn misbehave(kind: Option<Misbehaviour>) -> Option<Answer> {
    Some(match kind? {
        Misbehaviour::Status(status) => whole(status, "<html><body>the mock was told to say this</body></html>"),
        Misbehaviour::Empty => whole(200, ""),
        Misbehaviour::Html => whole(200, "<html>\n<body>\nHello\n</body>\n</html>"),
        Misbehaviour::Garbage => Answer::Whole([head(200, 4, ""), vec![0xff, 0xfe, 0, 1]].concat()),
        Misbehaviour::ErrorDocument => whole(
            200,
            "{\"Code\": \"AssumeRoleUnauthorizedAccess\", \"Message\": \"the mock may not assume this role\"}",
        ),
        Misbehaviour::Redirect => Answer::Whole(head(302, 0, "Location: http://elsewhere.example/secret\r\n")),
        Misbehaviour::Gzip => Answer::Whole([head(200, 2, "Content-Encoding: gzip\r\n"), vec![0x1f, 0x8b]].concat()),
        Misbehaviour::Huge => Answer::Huge,
        Misbehaviour::Drip => Answer::Drip,
        Misbehaviour::Reset => Answer::Reset,
        Misbehaviour::Hang => Answer::Hang,
        Misbehaviour::BadDate
        | Misbehaviour::FractionalDate
        | Misbehaviour::OffsetDate
        | Misbehaviour::Expired
        | Misbehaviour::MissingField => return None,
    })
}

fn whole(status: u16, body: &str) -> Answer {
    Answer::Whole([head(status, body.len(), "").as_slice(), body.as_bytes()].concat())
}

fn head(status: u16, length: usize, more: &str) -> Vec<u8> {
    let reason = if status == 200 { "OK" } else { "Mock" };
    format!("HTTP/1.1 {status} {reason}\r\nContent-Type: text/plain\r\n{more}Content-Length: {length}\r\n\r\n")
        .into_bytes()
}
