//! Just enough HTTP to prepare a measurement: one request, one connection, the whole answer.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};

pub const LIST: &str = "/latest/meta-data/iam/security-credentials/";
pub const TOKEN: &str = "/latest/api/token";

/// Status and body.
pub struct Answer {
    pub status: u16,
    pub body: String,
}

/// One request on a connection of its own.
pub fn ask(server: SocketAddr, method: &str, path: &str, headers: &str) -> Result<Answer> {
    let mut stream = TcpStream::connect_timeout(&server, Duration::from_secs(1))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "{method} {path} HTTP/1.1\r\nHost: {server}\r\nConnection: close\r\n{headers}\r\n")?;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer)?;
    let text = String::from_utf8(answer)?;
    let (head, body) = text.split_once("\r\n\r\n").context("no complete answer")?;
    let status = head.split(' ').nth(1).context("no status")?.parse()?;
    Ok(Answer { status, body: body.to_owned() })
}

/// The header with a fresh IMDS token.
pub fn token_header(server: SocketAddr) -> Result<String> {
    let answer = ask(server, "PUT", TOKEN, "X-aws-ec2-metadata-token-ttl-seconds: 21600\r\nContent-Length: 0\r\n")?;
    ensure!(answer.status == 200, "{server} answers {} to the PUT of a token", answer.status);
    Ok(format!("X-aws-ec2-metadata-token: {}", answer.body))
}

/// A GET with a token that must succeed.
pub fn get(server: SocketAddr, path: &str) -> Result<String> {
    let token = token_header(server)?;
    let answer = ask(server, "GET", path, &format!("{token}\r\n"))?;
    ensure!(answer.status == 200, "{server} answers {} to {path}", answer.status);
    Ok(answer.body)
}

/// Asks again and again until it succeeds.
pub fn wait_for(server: SocketAddr, path: &str, limit: Duration) -> Result<String> {
    let deadline = Instant::now() + limit;
    loop {
        match get(server, path) {
            Ok(body) => return Ok(body),
            Err(error) if Instant::now() > deadline => bail!("not served within {limit:?}: {path}: {error:#}"),
            Err(_) => std::thread::sleep(Duration::from_micros(200)),
        }
    }
}
