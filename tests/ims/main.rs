//! The IMS source over real sockets: against the mock, through TLS, and through a real proxy.

mod answers;
mod connections;
mod mock;
mod proxies;
#[path = "../support/mod.rs"]
mod support;
#[path = "../support/tinyproxy.rs"]
mod tinyproxy;
mod tls;

use std::{net::SocketAddr, time::Duration};

use alppaca::{
    credentials::RoleName,
    fetch::Proxies,
    mock_ims::{Behaviour, Handle, LIST_PATH, MockIms},
    refresh::{ErrorKind, SourceError},
    source::ims::{ImsSource, Settings},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
};

/// Settings as a user has them by default, for the IMS at `list_url`.
fn settings(list_url: impl Into<String>) -> Settings {
    Settings {
        list_url: list_url.into(),
        connect_timeout: Duration::from_secs(10),
        timeout: Duration::from_secs(20),
        max_response_bytes: 64 * 1024,
        concurrency: 8,
        ca_file: None,
        client_certificate: None,
        identity: None,
        proxies: Proxies::none(),
    }
}

fn source(settings: Settings) -> ImsSource {
    ImsSource::new(settings).expect("good settings")
}

/// A mock that runs until the test's runtime ends.
fn start(behaviour: Behaviour) -> (SocketAddr, Handle) {
    let mock = MockIms::bind(localhost(), behaviour).expect("a free port");
    let (address, handle) = (mock.local_addr().expect("bound"), mock.handle());
    tokio::spawn(mock.run());
    (address, handle)
}

/// A mock and a source that asks it.
fn start_with_source(behaviour: Behaviour) -> (ImsSource, Handle) {
    let (address, handle) = start(behaviour);
    (source(settings(url(address))), handle)
}

fn url(address: SocketAddr) -> String {
    format!("http://{address}{LIST_PATH}")
}

fn localhost() -> SocketAddr {
    ([127, 0, 0, 1], 0).into()
}

fn role(name: &str) -> RoleName {
    name.parse().expect("a role name")
}

fn is_transient(error: &SourceError) -> bool {
    error.kind == ErrorKind::Transient
}

fn is_doubtful(error: &SourceError) -> bool {
    matches!(error.kind, ErrorKind::Refused { withdraws: false, .. })
}

/// Runs `serve` for each connection to the returned address; it gets the stream and the number of
/// the connection, from 1.
async fn start_server<F>(serve: impl Fn(TcpStream, usize) -> F + Send + 'static) -> SocketAddr
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = TcpListener::bind(localhost()).await.expect("a free port");
    let address = listener.local_addr().expect("bound");
    tokio::spawn(async move {
        for number in 1.. {
            let (stream, _) = listener.accept().await.expect("a connection");
            tokio::spawn(serve(stream, number));
        }
    });
    address
}

/// Reads the head of a request; empty if the client closed the connection.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        match stream.read_u8().await {
            Ok(byte) => head.push(byte),
            Err(_) => return String::new(),
        }
    }
    String::from_utf8(head).expect("ASCII")
}

/// Answers with a list of one role, `test_role`.
async fn write_list(stream: &mut TcpStream) {
    stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ntest_role").await.expect("an open connection");
}
