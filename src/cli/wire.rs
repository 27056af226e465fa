//! One request as a program of this user would make it: no proxy, short time-outs, and how long it took.

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpStream, ToSocketAddrs},
    time::Duration,
};

use http::uri::{Authority, PathAndQuery, Uri};
use zeroize::Zeroizing;

use crate::clock::{Clock, SystemClock};

/// Longer than any SDK waits.
const TIMEOUT: Duration = Duration::from_secs(3);
/// No answer is longer.
const MAX_ANSWER: u64 = 64 * 1024;

/// An answer.
pub(super) struct Heard {
    pub(super) status: u16,
    headers: Vec<(String, String)>,
    /// May be secret.
    pub(super) body: Zeroizing<String>,
    /// From the connection to the end of the answer.
    pub(super) took: Duration,
}

impl Heard {
    /// A header, whose name is in lower case.
    pub(super) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }
}

/// Sends `method` to `url`, which is `http://host[:port]/path`, with some header lines.
pub(super) fn ask(method: &str, url: &str, lines: &[(&str, &str)]) -> io::Result<Heard> {
    let url: Uri = url.parse().map_err(io::Error::other)?;
    let authority = url.authority().ok_or_else(|| io::Error::other("no host"))?;
    let path = url.path_and_query().map_or("/", PathAndQuery::as_str);
    let mut head = Zeroizing::new(format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n"));
    for (name, value) in lines {
        for part in [name, ": ", value, "\r\n"] {
            head.push_str(part);
        }
    }
    head.push_str("Content-Length: 0\r\n\r\n");
    exchange(authority, head.as_bytes())
}

/// Sends these bytes, and reads until the other side closes.
pub(super) fn exchange(authority: &Authority, request: &[u8]) -> io::Result<Heard> {
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let began = SystemClock.now().boot;
    let mut stream = connect(host, authority.port_u16().unwrap_or(80))?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    stream.set_write_timeout(Some(TIMEOUT))?;
    stream.write_all(request)?;
    let mut answer = Zeroizing::new(Vec::with_capacity(16 * 1024));
    stream.take(MAX_ANSWER).read_to_end(&mut answer)?;
    let took = SystemClock.now().boot.since(began);
    let mut parsed = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut parsed);
    let Ok(httparse::Status::Complete(end)) = response.parse(&answer) else {
        return Err(io::Error::other("what came back is no HTTP"));
    };
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    Ok(Heard {
        status: response.code.unwrap_or_default(),
        headers: response.headers.iter().map(|line| (line.name.to_ascii_lowercase(), text(line.value))).collect(),
        body: Zeroizing::new(text(answer.get(end..).unwrap_or_default())),
        took,
    })
}

fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    let addresses: Vec<SocketAddr> = (host, port).to_socket_addrs()?.collect();
    let mut last = io::Error::other("the name has no address");
    for address in addresses {
        match TcpStream::connect_timeout(&address, TIMEOUT) {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}
