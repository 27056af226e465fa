//! The SDKs' own pattern: new connection, PUT token, GET list, GET document; by many clients at once, on one thread.

use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use super::http::{LIST, TOKEN};
use super::measure::{Sample, percentile};
use super::servers::Server;

/// A client without an answer for this long counts as an error: SDKs give up after a second.
const PATIENCE: Duration = Duration::from_secs(1);

/// Runs `clients` at once for `time`; each begins anew as soon as it has the document.
pub fn run(server: &Server, clients: usize, time: Duration) -> Result<Sample> {
    let mut poll = Poll::new()?;
    let mut events = Events::with_capacity(1024);
    let before = server.process.cpu()?;
    let started = Instant::now();
    let mut clients: Vec<Client> =
        (0..clients).map(|id| Client::connect(&poll, id, server.address)).collect::<Result<_>>()?;
    let (mut micros, mut errors) = (Vec::new(), 0);
    while started.elapsed() < time {
        poll.poll(&mut events, Some(Duration::from_millis(50)))?;
        for event in &events {
            let id = event.token().0;
            match clients[id].drive() {
                Ok(Progress::Waiting) => {}
                Ok(Progress::Done) => {
                    micros.push(u64::try_from(clients[id].started.elapsed().as_micros())?);
                    clients[id] = Client::connect(&poll, id, server.address)?;
                }
                Err(_) => {
                    errors += 1;
                    clients[id] = Client::connect(&poll, id, server.address)?;
                }
            }
        }
    }
    let elapsed = started.elapsed();
    errors += clients.iter().filter(|client| client.started.elapsed() > PATIENCE).count() as u64;
    let cpu = server.process.cpu()?.checked_sub(before).unwrap_or_default();
    ensure!(!micros.is_empty(), "no client got the document from {}", server.address);
    let latency = [0.5, 0.99, 0.999].map(|share| percentile(&mut micros, share));
    Ok(Sample::new(micros.len() as u64, errors, elapsed, cpu, latency))
}

enum Progress {
    Waiting,
    Done,
}

struct Client {
    stream: TcpStream,
    started: Instant,
    /// How many answers it has had.
    answers: u8,
    request: Vec<u8>,
    sent: usize,
    answer: Vec<u8>,
    token: String,
}

impl Client {
    fn connect(poll: &Poll, id: usize, server: SocketAddr) -> Result<Self> {
        let mut stream = TcpStream::connect(server)?;
        poll.registry().register(&mut stream, Token(id), Interest::READABLE | Interest::WRITABLE)?;
        let request = format!(
            "PUT {TOKEN} HTTP/1.1\r\nHost: {server}\r\nX-aws-ec2-metadata-token-ttl-seconds: 21600\r\n\
             Content-Length: 0\r\n\r\n"
        );
        let started = Instant::now();
        let request = request.into_bytes();
        Ok(Self {
            stream,
            started,
            answers: 0,
            request,
            sent: 0,
            answer: Vec::with_capacity(4096),
            token: String::new(),
        })
    }

    /// Goes on until the socket would block or the document is there.
    fn drive(&mut self) -> Result<Progress> {
        loop {
            while self.sent < self.request.len() {
                match self.stream.write(&self.request[self.sent..]) {
                    Ok(sent) => self.sent += sent,
                    // NotConnected: the connection is still being made.
                    Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {
                        return Ok(Progress::Waiting);
                    }
                    Err(error) => return Err(error.into()),
                }
            }
            let mut chunk = [0; 4096];
            match self.stream.read(&mut chunk) {
                Ok(0) => anyhow::bail!("closed early"),
                Ok(length) => self.answer.extend_from_slice(&chunk[..length]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(Progress::Waiting),
                Err(error) => return Err(error.into()),
            }
            if let Some(body) = complete(&self.answer)? {
                let body = body.trim_end().to_owned();
                self.answer.clear();
                self.answers += 1;
                if self.answers == 3 {
                    return Ok(Progress::Done);
                }
                self.ask_next(&body);
            }
        }
    }

    fn ask_next(&mut self, body: &str) {
        let role = if self.answers == 1 {
            body.clone_into(&mut self.token);
            ""
        } else {
            body.lines().next().unwrap_or_default()
        };
        self.request = format!(
            "GET {LIST}{role} HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: {}\r\n\r\n",
            self.token
        )
        .into_bytes();
        self.sent = 0;
    }
}

/// The body, once it is all there. An error unless the status is 200.
fn complete(answer: &[u8]) -> Result<Option<&str>> {
    let Some(end) = answer.windows(4).position(|window| window == b"\r\n\r\n") else { return Ok(None) };
    let head = std::str::from_utf8(&answer[..end])?;
    ensure!(head.starts_with("HTTP/1.1 200"), "not a 200");
    let length = head
        .lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .map_or(Ok(0), |(_, length)| length.trim().parse::<usize>())?;
    let body = &answer[end + 4..];
    Ok(if body.len() >= length { Some(std::str::from_utf8(&body[..length])?) } else { None })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_complete_when_its_body_is() {
        let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 3\r\n\r\nabc";
        assert_eq!(complete(answer).expect("a 200"), Some("abc"));
        assert_eq!(complete(&answer[..answer.len() - 1]).expect("a 200"), None);
        assert!(complete(b"HTTP/1.1 503 No\r\n\r\n").is_err());
    }
}
