//! Stands between clients and the daemon: notes what is asked and answered, and can be a metadata
//! service that is older than IMDSv2.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex, PoisonError},
    thread,
};

/// What the front does with a PUT.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Tokens {
    Passed,
    /// As a metadata service that knows none; every client that falls back at all does so on this.
    Refused,
}

/// One request and its answer.
#[derive(Debug, Clone)]
pub struct Exchange {
    pub head: String,
    pub status: u16,
}

impl Exchange {
    pub fn has_token(&self) -> bool {
        self.head.to_ascii_lowercase().contains("\r\nx-aws-ec2-metadata-token:")
    }

    pub fn is(&self, method: &str) -> bool {
        self.head.split(' ').next() == Some(method)
    }
}

/// Passes each request on, one for each connection. It ends with the test's process.
pub struct Front {
    pub address: SocketAddr,
    shared: Arc<Shared>,
}

struct Shared {
    tokens: Tokens,
    daemon: Mutex<SocketAddr>,
    exchanges: Mutex<Vec<Exchange>>,
}

impl Front {
    pub fn start(daemon: SocketAddr, tokens: Tokens) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        let shared = Arc::new(Shared { tokens, daemon: Mutex::new(daemon), exchanges: Mutex::default() });
        let front = Self { address, shared: Arc::clone(&shared) };
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let shared = Arc::clone(&shared);
                // A client that goes away is no fault of ours, and one that is cut off will tell.
                thread::spawn(move || pass_on(client, &shared).unwrap_or_default());
            }
        });
        front
    }

    /// Another daemon in place of the first.
    pub fn set_daemon(&self, daemon: SocketAddr) {
        *self.shared.daemon.lock().unwrap_or_else(PoisonError::into_inner) = daemon;
    }

    /// Everything since the last call.
    pub fn take(&self) -> Vec<Exchange> {
        std::mem::take(&mut self.shared.exchanges.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn pass_on(mut client: TcpStream, shared: &Shared) -> std::io::Result<()> {
    let mut head = Vec::new();
    // Clients of a metadata service send no bodies, so the head is the request.
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        if client.read(&mut byte)? == 0 {
            return Ok(());
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let answer = if shared.tokens == Tokens::Refused && head.starts_with("PUT ") {
        b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".to_vec()
    } else {
        let daemon = *shared.daemon.lock().unwrap_or_else(PoisonError::into_inner);
        // It then closes, which ends the answer, and says so in a header for the client.
        ask(daemon, &head.replacen("\r\n\r\n", "\r\nConnection: close\r\n\r\n", 1))?
    };
    let status = String::from_utf8_lossy(&answer).split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or(0);
    shared.exchanges.lock().unwrap_or_else(PoisonError::into_inner).push(Exchange { head, status });
    client.write_all(&answer)
}

fn ask(daemon: SocketAddr, head: &str) -> std::io::Result<Vec<u8>> {
    let mut upstream = TcpStream::connect(daemon)?;
    upstream.write_all(head.as_bytes())?;
    let mut answer = Vec::new();
    upstream.read_to_end(&mut answer)?;
    Ok(answer)
}
