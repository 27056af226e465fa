//! What a client is told does not depend on how its requests arrive.

use std::{
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, Shutdown, TcpListener},
};

use proptest::{prelude::*, sample::Index};

use super::*;
use crate::{
    faces::imds,
    http::{listener, request::MAX_HEAD},
};

/// Both ends of a connection, neither of which blocks.
fn connection() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let client = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
    let (server, _) = listener.accept().expect("connected");
    for socket in [&client, &server] {
        socket.set_nonblocking(true).expect("settable");
        socket.set_nodelay(true).expect("settable");
    }
    (client, server)
}

/// A client that says one thing after the other.
struct Dialogue {
    client: TcpStream,
    server: TcpStream,
    exchange: Exchange,
    answers: Vec<u8>,
}

impl Dialogue {
    fn new() -> Self {
        let (client, server) = connection();
        let context = Arc::new(listener::tests::context());
        let peer = client.local_addr().expect("connected");
        Self { client, server, exchange: Exchange::new(context, peer, 0, imds::FACE), answers: Vec::new() }
    }

    /// Whether the server waits for more afterwards.
    fn say(&mut self, bytes: &[u8]) -> bool {
        // Each comes in one packet.
        for part in bytes.chunks(8 * 1024) {
            self.client.write_all(part).expect("room");
            self.server.set_nonblocking(false).expect("settable");
            self.server.peek(&mut [0]).expect("it comes");
            self.server.set_nonblocking(true).expect("settable");
            loop {
                let mut wait = self.exchange.read_turn(&self.server).expect("connected");
                while matches!(wait, Wait::Nothing) {
                    wait = self.exchange.turn(&self.server, true).expect("connected");
                }
                if let Err(error) = self.client.read_to_end(&mut self.answers) {
                    assert_eq!(error.kind(), ErrorKind::WouldBlock);
                }
                match wait {
                    Wait::Input if self.exchange.drained => break,
                    Wait::Input => {}
                    Wait::Linger | Wait::End => return false,
                    _ => panic!("it waits for something else"),
                }
            }
        }
        true
    }

    /// What the client was told in all.
    fn answers(mut self) -> String {
        self.server.shutdown(Shutdown::Write).expect("connected");
        self.client.set_nonblocking(false).expect("settable");
        self.client.read_to_end(&mut self.answers).expect("its end");
        String::from_utf8_lossy(&self.answers).into_owned()
    }
}

/// Requests of all kinds, the last of which may be incomplete, refused or the last one of the connection.
fn requests() -> impl Strategy<Value = Vec<u8>> {
    let request = prop_oneof![
        Just("GET / HTTP/1.1\r\n\r\n".to_owned()),
        Just("HEAD /latest/ HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n".to_owned()),
        Just("GET /latest/meta-data/ HTTP/1.1\r\nX-aws-ec2-metadata-token: wrong\r\n\r\n".to_owned()),
        Just("POST /latest/ HTTP/1.1\r\nContent-Length: 21\r\n\r\nGET / HTTP/1.1\r\n\r\nxyz".to_owned()),
        (0..3000_usize).prop_map(|length| format!("GET /{} HTTP/1.1\r\n\r\n", "x".repeat(length))),
    ];
    let last = prop_oneof![
        Just(String::new()),
        Just("GET /latest/ HT".to_owned()),
        Just("GET / HTTP/1.1\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n\r\n".to_owned()),
        Just("nonsense\r\n\r\n".to_owned()),
        Just(format!("GET / HTTP/1.1\r\nX-Long: {}", "y".repeat(MAX_HEAD))),
    ];
    (proptest::collection::vec(request, 0..40), last).prop_map(|(all, last)| (all.concat() + &last).into_bytes())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]
    #[test]
    fn the_answers_do_not_depend_on_where_the_requests_are_cut(
        requests in requests(),
        cuts in proptest::collection::vec(any::<Index>(), 0..6),
    ) {
        let mut whole = Dialogue::new();
        let goes_on = whole.say(&requests);
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(requests.len() + 1)).collect();
        cuts.extend([0, requests.len()]);
        cuts.sort_unstable();
        let mut pieces = Dialogue::new();
        let went_on = cuts.windows(2).all(|ends| pieces.say(&requests[ends[0]..ends[1]]));
        prop_assert_eq!(went_on, goes_on);
        prop_assert!(pieces.exchange.unread.bytes().len() < MAX_HEAD);
        prop_assert_eq!(pieces.answers(), whole.answers());
    }
}

#[test]
fn an_idle_connection_has_no_buffer() {
    let mut dialogue = Dialogue::new();
    assert!(dialogue.say("GET / HTTP/1.1\r\n\r\n".repeat(100).as_bytes()));
    assert!(!dialogue.exchange.has_more() && dialogue.exchange.unread.capacity() == 0);
    assert_eq!(dialogue.answers().matches("HTTP/1.1 200 OK").count(), 100);
}
