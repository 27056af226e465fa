//! Determines what answers at an address: nothing, alppaca, or another program.

use std::{
    fmt,
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream},
    time::Duration,
};

/// No answer to the probe is longer.
const MAX_ANSWER: u64 = 64 * 1024;

/// What answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answerer {
    /// Nothing, and why.
    Nobody(String),
    /// A daemon of ours.
    Alppaca {
        /// Its process id, which it reveals to processes of its host.
        pid: Option<u32>,
    },
    /// Another server: EC2's own, or another tool.
    Other {
        /// Its status line.
        status: String,
        /// Its `Server` header.
        server: Option<String>,
    },
}

impl fmt::Display for Answerer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Nobody(why) => write!(f, "no answer ({why})"),
            Self::Alppaca { pid: Some(pid) } => write!(f, "alppaca answers (process {pid})"),
            Self::Alppaca { pid: None } => write!(f, "alppaca answers, on another host or outside this container"),
            Self::Other { status, server } => {
                let server = server.as_deref().unwrap_or("unknown");
                write!(f, "another server answers ({status}; Server: {server})")
            }
        }
    }
}

/// Asks at `address`. Our answers look like EC2's but for one header that only this question gets.
pub fn who_answers(address: SocketAddr, timeout: Duration) -> Answerer {
    match ask(address, timeout) {
        Ok(answer) => read(&answer),
        Err(error) => Answerer::Nobody(match error.kind() {
            io::ErrorKind::ConnectionRefused => {
                "connection refused: the address is captured or local, and nothing listens".to_owned()
            }
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => format!("no answer within {timeout:?}"),
            _ => error.to_string(),
        }),
    }
}

fn ask(address: SocketAddr, timeout: Duration) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&address, timeout)?;
    stream.set_read_timeout(Some(timeout))?;
    stream.set_write_timeout(Some(timeout))?;
    let host = address.ip();
    write!(stream, "GET / HTTP/1.1\r\nHost: {host}\r\nX-Alppaca-Probe: 1\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    Ok(answer)
}

fn read(answer: &[u8]) -> Answerer {
    let mut lines = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut lines);
    if !matches!(response.parse(answer), Ok(httparse::Status::Complete(_))) {
        return Answerer::Other { status: "not HTTP".to_owned(), server: None };
    }
    let header = |name: &str| {
        let line = response.headers.iter().find(|line| line.name.eq_ignore_ascii_case(name))?;
        Some(line.value.escape_ascii().to_string())
    };
    match header("x-alppaca-pid").and_then(|pid| pid.parse().ok()) {
        Some(pid) => Answerer::Alppaca { pid: Some(pid).filter(|pid| *pid != 0) },
        None => Answerer::Other {
            status: format!("{} {}", response.code.unwrap_or_default(), response.reason.unwrap_or_default()),
            server: header("server"),
        },
    }
}
