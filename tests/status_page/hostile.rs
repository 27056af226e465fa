//! Clients that mean no good.

use std::{
    io::{Read, Write},
    net::TcpStream,
};

use super::{PAGE, get, page_of};
use crate::support::{Daemon, Ims, connect};
use alppaca::mock_ims::Behaviour;

/// Of one address.
const MOST: usize = 16;

#[test]
fn many_connections_and_slow_readers_keep_nobody_from_credentials() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&(ims.config() + PAGE));
    let address = page_of(&daemon);
    let mut silent: Vec<TcpStream> = (0..MOST).map(|_| connect(address)).collect();
    // Each has its place: one more is closed without an answer.
    for stream in &mut silent {
        stream.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
    }
    let refused = || {
        let mut one = connect(address);
        // It may be closed before that.
        let _closed = one.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        let mut answer = Vec::new();
        let _reset = one.read_to_end(&mut answer);
        answer.is_empty()
    };
    assert!(refused());
    assert_eq!(daemon.get("/latest/meta-data/iam/security-credentials/test_role").status, 200);
    // They are closed when their time is over, and others have the places.
    let mut rest = Vec::new();
    silent.pop().expect("one").read_to_end(&mut rest).expect("it is closed");
    drop(silent);
    while refused() {}
    assert_eq!(get(address, "/", "Host: localhost\r\n").status, 200);
}

#[test]
fn a_head_without_end_is_refused() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&(ims.config() + PAGE));
    let mut stream = connect(page_of(&daemon));
    let line = [b"X-Long: ".as_slice(), &[b'x'; 1000], b"\r\n"].concat();
    let _refused = stream.write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n");
    for _ in 0..100 {
        if stream.write_all(&line).is_err() {
            break;
        }
    }
    let mut answer = String::new();
    let _reset = stream.read_to_string(&mut answer);
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 431"), "{answer}");
}
