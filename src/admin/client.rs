//! The client side, for the commands: one request, one answer. Blocking; there is nothing else to do meanwhile.

use std::{
    io::{self, Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use serde::de::{DeserializeOwned, IgnoredAny};
use zeroize::Zeroizing;

use super::{
    document::{Code, ErrorDocument},
    replacing::TURN,
};

/// More than any answer has: the state of some thousand roles.
const MAX_ANSWER: u64 = 16 * 1024 * 1024;
/// Room for the credentials of one role, so that the buffer does not grow and leave copies behind.
const USUAL_ANSWER: usize = 64 * 1024;

/// How often, and with which pause, a daemon is asked again that is being restarted: as long as that may take, and five seconds
/// more.
const RESTARTING: u128 = (TURN.as_millis() + 5_000) / PAUSE.as_millis();
const PAUSE: Duration = Duration::from_millis(100);
/// How often it is asked again where the connection was closed without an answer: the daemon was killed, or has more connections
/// of this account than it answers at once.
const CUT: u32 = 5;

/// A client of the daemon's admin socket.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
}

/// An answer.
pub struct Answered {
    /// HTTP status.
    pub status: u16,
    /// The body, which may be secret.
    pub body: Zeroizing<Vec<u8>>,
}

/// Why there is no good answer.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No daemon listens there.
    #[error("no daemon answers at {}: {source}", socket.display())]
    NoDaemon {
        /// Where.
        socket: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// The conversation broke off.
    #[error("the daemon at {} did not answer: {source}", socket.display())]
    Broken {
        /// Where.
        socket: PathBuf,
        /// The reason.
        source: io::Error,
    },
    /// Not what a daemon of ours says.
    #[error("the answer at {} is not from alppaca, or from another version", .0.display())]
    NotUnderstood(PathBuf),
    /// It says no.
    #[error("{message}")]
    Refused {
        /// What kind of no.
        code: Code,
        /// Its words.
        message: String,
    },
}

impl ClientError {
    fn is_restart(&self) -> bool {
        matches!(self, Self::Refused { code: Code::Restarting, .. })
    }

    fn is_cut(&self) -> bool {
        use io::ErrorKind::{BrokenPipe, ConnectionReset, UnexpectedEof};
        matches!(self, Self::Broken { source, .. } if [BrokenPipe, ConnectionReset, UnexpectedEof].contains(&source.kind()))
    }
}

impl Client {
    /// A client of the daemon whose socket that is.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self { socket: socket.into() }
    }

    /// Where the daemon is.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Asks for a document. `limit` bounds each wait for the daemon.
    pub fn get<T: DeserializeOwned>(&self, path: &str, limit: Duration) -> Result<T, ClientError> {
        self.document(&self.call("GET", path, b"", limit)?)
    }

    /// Sends one request, again if a restart has kept the daemon from doing anything, or if there was no answer and nothing
    /// can have been changed.
    pub fn call(&self, method: &str, path: &str, body: &[u8], limit: Duration) -> Result<Answered, ClientError> {
        let mut cut = if method == "GET" { 0 } else { CUT };
        for _ in 0..RESTARTING {
            match self.call_once(method, path, body, limit) {
                Err(error) if error.is_cut() && cut < CUT => {
                    thread::sleep(PAUSE * cut);
                    cut += 1;
                }
                Ok(answered) if self.is_restart(&answered) => thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
        self.call_once(method, path, body, limit)
    }

    fn is_restart(&self, answered: &Answered) -> bool {
        answered.status == Code::Restarting.status()
            && self.document::<IgnoredAny>(answered).is_err_and(|error| error.is_restart())
    }

    fn call_once(&self, method: &str, path: &str, body: &[u8], limit: Duration) -> Result<Answered, ClientError> {
        let stream = UnixStream::connect(&self.socket);
        let stream = stream.map_err(|source| ClientError::NoDaemon { socket: self.socket.clone(), source })?;
        let bytes = converse(stream, method, path, body, limit);
        self.parse(&bytes.map_err(|source| self.broken(source, limit))?)
    }

    fn broken(&self, source: io::Error, limit: Duration) -> ClientError {
        // The kernel says of a wait that has ended only that there is nothing.
        let source = match source.kind() {
            io::ErrorKind::WouldBlock => {
                io::Error::new(io::ErrorKind::TimedOut, format!("nothing came within {limit:?}"))
            }
            _ => source,
        };
        ClientError::Broken { socket: self.socket.clone(), source }
    }

    fn parse(&self, bytes: &[u8]) -> Result<Answered, ClientError> {
        let mut lines = [httparse::EMPTY_HEADER; 32];
        let mut response = httparse::Response::new(&mut lines);
        match (response.parse(bytes), response.code) {
            (Ok(httparse::Status::Complete(head)), Some(status)) => {
                // One copy of exactly the right size, wiped like the other.
                let body = Zeroizing::new(bytes.get(head..).unwrap_or_default().to_vec());
                Ok(Answered { status, body })
            }
            _ => Err(ClientError::NotUnderstood(self.socket.clone())),
        }
    }

    /// Asks for another protocol than HTTP at `path`; `limit` bounds each wait for the daemon. Returns the connection on which
    /// it is spoken.
    pub fn upgrade(&self, path: &str, protocol: &str, limit: Duration) -> Result<UnixStream, ClientError> {
        for _ in 0..RESTARTING {
            match self.upgrade_once(path, protocol, limit) {
                Err(error) if error.is_restart() => thread::sleep(PAUSE),
                outcome => return outcome,
            }
        }
        self.upgrade_once(path, protocol, limit)
    }

    fn upgrade_once(&self, path: &str, protocol: &str, limit: Duration) -> Result<UnixStream, ClientError> {
        let broken = |source| self.broken(source, limit);
        let stream = UnixStream::connect(&self.socket);
        let mut stream = stream.map_err(|source| ClientError::NoDaemon { socket: self.socket.clone(), source })?;
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: alppaca\r\nConnection: upgrade\r\nUpgrade: {protocol}\r\nContent-Length: 0\r\n\r\n"
        );
        let answer = converse_head(&mut stream, head.as_bytes(), limit).map_err(broken)?;
        if answer.starts_with(b"HTTP/1.1 101 ") {
            return Ok(stream);
        }
        let mut answer = Zeroizing::new(answer);
        stream.take(MAX_ANSWER).read_to_end(&mut answer).map_err(broken)?;
        let refused = self.parse(&answer).and_then(|answered| self.document::<IgnoredAny>(&answered));
        Err(refused.err().unwrap_or_else(|| ClientError::NotUnderstood(self.socket.clone())))
    }

    /// Reads the document of an answer; an answer that is no success becomes an error.
    pub fn document<T: DeserializeOwned>(&self, answer: &Answered) -> Result<T, ClientError> {
        let not_understood = |_| ClientError::NotUnderstood(self.socket.clone());
        if answer.status != 200 {
            let ErrorDocument { code, message } = serde_json::from_slice(&answer.body).map_err(not_understood)?;
            return Err(ClientError::Refused { code, message });
        }
        serde_json::from_slice(&answer.body).map_err(not_understood)
    }
}

/// Sends a request and reads the head of the answer, and nothing of what follows.
fn converse_head(stream: &mut UnixStream, request: &[u8], limit: Duration) -> io::Result<Vec<u8>> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    stream.write_all(request)?;
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if head.len() >= USUAL_ANSWER {
            return Err(io::Error::other("its head does not end"));
        }
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(head)
}

fn converse(
    mut stream: UnixStream,
    method: &str,
    path: &str,
    body: &[u8],
    limit: Duration,
) -> io::Result<Zeroizing<Vec<u8>>> {
    stream.set_read_timeout(Some(limit))?;
    stream.set_write_timeout(Some(limit))?;
    let length = body.len();
    let head =
        format!("{method} {path} HTTP/1.1\r\nHost: alppaca\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n");
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    let mut answer = Zeroizing::new(Vec::with_capacity(USUAL_ANSWER));
    if stream.take(MAX_ANSWER).read_to_end(&mut answer)? == 0 {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(answer)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixListener;

    use super::*;

    #[test]
    fn a_daemon_that_says_nothing_is_reported_with_the_time_that_was_waited() {
        let directory = tempfile::tempdir().expect("a directory");
        let socket = directory.path().join("socket");
        let _silent = UnixListener::bind(&socket).expect("ours");
        let asked = Client::new(socket).get::<IgnoredAny>("/", Duration::from_millis(10));
        let error = asked.expect_err("nobody answers").to_string();
        assert!(error.ends_with("did not answer: nothing came within 10ms"), "{error}");
    }
}
