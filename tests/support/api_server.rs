//! A strict stand-in for the API server of a Kubernetes cluster, as far as service accounts go: lists in pages, watches from
//! any version that it still has, and all the ways in which these fail.
#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

use std::{
    collections::BTreeMap,
    fmt::Write as _,
    io::{self, BufRead, BufReader, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Condvar, Mutex, MutexGuard},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

/// What clients have to send.
pub const TOKEN: &str = "the-token-of-the-daemon";

const LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
const WATCH: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";

/// How it behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Mood {
    #[default]
    Right,
    /// Connections are closed before anything is said.
    Away,
    /// Every call gets this status.
    Refusing(u16),
    /// A watch ends in the middle of the next event.
    CuttingOff,
    /// What has been forgotten is said by the status, and not by an event.
    GoneByStatus,
    /// Everything has been forgotten, whatever the version.
    AlwaysGone,
}

#[derive(Default)]
struct State {
    version: u64,
    /// Versions before are forgotten.
    oldest: u64,
    accounts: BTreeMap<(String, String), Value>,
    events: Vec<(u64, String)>,
    mood: Mood,
    /// Watches of another round end.
    round: u64,
    asked: Vec<String>,
    wrong: Vec<String>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

pub struct StandIn {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

impl StandIn {
    pub fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared::default());
        let of_listener = Arc::clone(&shared);
        of_listener.lock().version = 100;
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&of_listener);
                thread::spawn(move || shared.converse(&stream));
            }
        });
        Self { address, shared }
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Makes or changes an account, whose uid is `u`.
    pub fn put(&self, namespace: &str, name: &str, annotations: &[(&str, &str)]) {
        self.put_with(namespace, name, "u", annotations);
    }

    pub fn put_with(&self, namespace: &str, name: &str, uid: &str, annotations: &[(&str, &str)]) {
        let annotations: BTreeMap<_, _> = annotations.iter().copied().collect();
        let mut state = self.shared.lock();
        state.version += 1;
        let object = json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": {
            "name": name, "namespace": namespace, "uid": uid, "resourceVersion": state.version.to_string(),
            "annotations": annotations, "managedFields": [{"manager": "kubectl", "fieldsV1": {"f:metadata": {}}}]}});
        let key = (namespace.to_owned(), name.to_owned());
        let kind = if state.accounts.insert(key, object.clone()).is_some() { "MODIFIED" } else { "ADDED" };
        state.happen(kind, &object);
        self.shared.changed.notify_all();
    }

    pub fn remove(&self, namespace: &str, name: &str) {
        let mut state = self.shared.lock();
        state.version += 1;
        let key = (namespace.to_owned(), name.to_owned());
        let mut object = state.accounts.remove(&key).expect("it is there");
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        state.happen("DELETED", &object);
        self.shared.changed.notify_all();
    }

    /// Tells all watches which version it is, which nothing else has changed.
    pub fn bookmark(&self) {
        let mut state = self.shared.lock();
        state.version += 1;
        let metadata = json!({"resourceVersion": state.version.to_string(), "creationTimestamp": null});
        state.happen("BOOKMARK", &json!({"kind": "PartialObjectMetadata", "metadata": metadata}));
        self.shared.changed.notify_all();
    }

    /// Forgets what has happened, and changes without telling.
    pub fn forget(&self) {
        let mut state = self.shared.lock();
        state.version += 1;
        state.oldest = state.version;
        state.events.clear();
    }

    /// Behaves so from now on; all watches end.
    pub fn behave(&self, mood: Mood) {
        let mut state = self.shared.lock();
        state.mood = mood;
        state.round += u64::from(mood != Mood::CuttingOff);
        self.shared.changed.notify_all();
    }

    /// The targets of the requests so far.
    pub fn asked(&self) -> Vec<String> {
        self.shared.lock().asked.clone()
    }

    /// What clients have done wrong.
    pub fn wrong(&self) -> Vec<String> {
        self.shared.lock().wrong.clone()
    }
}

impl Drop for StandIn {
    fn drop(&mut self) {
        self.behave(Mood::Away);
    }
}

impl State {
    fn happen(&mut self, kind: &str, object: &Value) {
        let event = (self.version, json!({"type": kind, "object": object}).to_string());
        self.events.push(event);
    }

    fn page(&self, limit: usize, after: Option<&str>) -> Value {
        let after = after.and_then(|after| after.split_once('/'));
        let rest: Vec<_> = self
            .accounts
            .iter()
            .filter(|((namespace, name), _)| after.is_none_or(|after| (namespace.as_str(), name.as_str()) > after))
            .collect();
        let items: Vec<_> = rest.iter().take(limit).map(|(_, object)| (*object).clone()).collect();
        let last = rest.get(limit).and_then(|_| rest.get(limit.wrapping_sub(1)));
        let more = last.map(|((namespace, name), _)| format!("{namespace}/{name}"));
        let metadata = json!({"resourceVersion": self.version.to_string(), "continue": more.unwrap_or_default()});
        json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "metadata": metadata, "items": items})
    }
}

fn refusal(code: u16, message: &str) -> String {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "message": message, "code": code}).to_string()
}

fn answer(mut stream: &TcpStream, status: u16, body: &str) -> io::Result<()> {
    let length = body.len();
    write!(stream, "HTTP/1.1 {status} Said\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}")
}

/// A target as its path and its query, which is decoded.
fn split(target: &str) -> (&str, BTreeMap<&str, String>) {
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    (path, pairs.map(|(key, value)| (key, decode(value))).collect())
}

fn decode(text: &str) -> String {
    let mut parts = text.split('%');
    let mut decoded = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let byte = u8::from_str_radix(&part[..2], 16).expect("two digits");
        let _infallible = write!(decoded, "{}{}", char::from(byte), &part[2..]);
    }
    decoded
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("not poisoned")
    }

    fn converse(&self, stream: &TcpStream) {
        let mut lines = BufReader::new(stream).lines().map_while(Result::ok);
        loop {
            let head: Vec<String> = lines.by_ref().take_while(|line| !line.is_empty()).collect();
            let mood = self.lock().mood;
            let Some(target) = head.first().and_then(|line| line.split(' ').nth(1)).filter(|_| mood != Mood::Away)
            else {
                return;
            };
            if self.reply(stream, target, &head, mood).is_err() {
                return;
            }
        }
    }

    /// An error ends the connection.
    fn reply(&self, stream: &TcpStream, target: &str, head: &[String], mood: Mood) -> io::Result<()> {
        self.lock().asked.push(target.to_owned());
        let (path, query) = split(target);
        let header = |name: &str| {
            let found =
                head.iter().filter_map(|line| line.split_once(": ")).find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_owned())
        };
        if let Mood::Refusing(status) = mood {
            return answer(stream, status, &refusal(status, "not now"));
        }
        let watching = query.contains_key("watch");
        let known: &[&str] = if watching {
            &["watch", "allowWatchBookmarks", "resourceVersion", "timeoutSeconds"]
        } else {
            &["limit", "continue"]
        };
        let form = if watching { WATCH } else { LIST };
        let right = path == "/api/v1/serviceaccounts"
            && head[0].starts_with("GET ")
            && query.keys().all(|key| known.contains(key))
            && header("authorization") == Some(format!("Bearer {TOKEN}"))
            && header("accept").as_deref() == Some(form);
        if !right {
            self.lock().wrong.push(head.join("\n"));
            return answer(stream, 400, &refusal(400, "that is not how it is asked"));
        }
        if !watching {
            let limit = query["limit"].parse().expect("a number");
            let page = self.lock().page(limit, query.get("continue").map(String::as_str));
            return answer(stream, 200, &page.to_string());
        }
        let from = query["resourceVersion"].parse().expect("a number");
        self.watch(stream, from)?;
        Err(io::ErrorKind::ConnectionAborted.into())
    }

    fn watch(&self, mut stream: &TcpStream, mut from: u64) -> io::Result<()> {
        let mut state = self.lock();
        if state.mood == Mood::Away {
            // Since the request was read. This watch would not end.
            return Ok(());
        }
        let (round, forgotten) = (state.round, from < state.oldest);
        let gone = refusal(410, "too old resource version");
        if state.mood == Mood::AlwaysGone || forgotten && state.mood == Mood::GoneByStatus {
            return answer(stream, 410, &gone);
        }
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
        stream.write_all(head.as_bytes())?;
        let chunk = |text: &str| format!("{:x}\r\n{text}\r\n", text.len());
        if forgotten {
            let event = format!("{{\"type\":\"ERROR\",\"object\":{gone}}}\n");
            return stream.write_all(format!("{}0\r\n\r\n", chunk(&event)).as_bytes());
        }
        loop {
            let next = state.events.iter().find(|(version, _)| *version > from).cloned();
            match next {
                Some((_, event)) if state.mood == Mood::CuttingOff => {
                    state.mood = Mood::Right;
                    let half = &event[..event.len() / 2];
                    return stream.write_all(format!("{}0\r\n\r\n", chunk(half)).as_bytes());
                }
                Some((version, event)) => {
                    from = version;
                    stream.write_all(chunk(&format!("{event}\n")).as_bytes())?;
                }
                None => state = self.changed.wait_timeout(state, Duration::from_mins(1)).expect("not poisoned").0,
            }
            if state.round != round {
                return Ok(());
            }
        }
    }
}
