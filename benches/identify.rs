//! What it costs to ask whose a connection is, while the host has ten thousand sockets open. Run by `cargo xtask bench`,
//! which reads what it prints.
#![allow(clippy::print_stdout, clippy::disallowed_methods, reason = "a measurement reads a clock and is printed")]

use std::{
    net::{TcpListener, TcpStream},
    time::{Duration, Instant},
};

use alppaca::caller::{Kernel, Origin, Peer};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Each connection over loopback has two.
const OPEN: usize = 10_000;
const SAMPLES: usize = 4_000;

fn main() {
    // Cargo also calls it to list its tests.
    if std::env::args().any(|argument| argument == "--list") {
        return;
    }
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).expect("up to the maximum it may be raised");
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    let connect = || {
        let client = TcpStream::connect(address).expect("it listens");
        let (server, peer) = listener.accept().expect("a connection");
        (client, server, Peer::unasked(peer))
    };
    let open: Vec<_> = (0..OPEN / 2).map(|_| connect()).collect();
    let kernel = Kernel::open(None).expect("netlink");
    let mut times: Vec<Duration> = (0..SAMPLES)
        .map(|_| {
            let (_client, server, peer) = connect();
            let start = Instant::now();
            let known = kernel.identify(&server, &peer, &mut || Ok(0));
            let time = start.elapsed();
            assert!(matches!(known.origin, Origin::Process(_)), "{known:?}");
            time
        })
        .collect();
    times.sort_unstable();
    let micros = |share: usize| times[times.len() * share / 100].as_secs_f64() * 1e6;
    println!("identify: median {:.1} p99 {:.1} microseconds, {} sockets open", micros(50), micros(99), open.len() * 2);
}
