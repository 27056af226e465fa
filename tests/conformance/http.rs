//! HTTP as clients speak it, and how quickly they are answered.

use std::{
    io::{Read, Write},
    net::SocketAddr,
    thread,
    time::Duration,
};

use alppaca::{clock::SystemClock, mock_ims::Behaviour};

use crate::{
    LIST, ROLE, get, get_v1, rig,
    support::{Daemon, Ims, connect, raw, read_one, request},
};

pub(crate) fn http_1_0_and_close_are_served() {
    let rig = rig();
    let response = raw(rig.v1.address(), format!("GET {LIST} HTTP/1.0\r\n\r\n").as_bytes());
    assert_eq!((response.status, &*response.body, response.header("connection")), (200, "test_role", Some("close")));
    let mut stream = connect(rig.v1.address());
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("open");
        assert_eq!(read_one(&mut stream).header("connection"), Some("keep-alive"));
    }
    let mut stream = connect(rig.v1.address());
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("open");
    read_one(&mut stream);
    assert_eq!(stream.read(&mut [0]).expect("not reset"), 0);
    assert_eq!(rig.ims.handle.connections(), 2, "one from each daemon, kept open");
}

pub(crate) fn a_connection_serves_many_requests() {
    let rig = rig();
    let mut stream = connect(rig.v1.address());
    for _ in 0..3 {
        stream.write_all(format!("GET {LIST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).expect("open");
        assert_eq!(read_one(&mut stream).body, "test_role");
    }
    stream.write_all(format!("GET {LIST} HTTP/1.1\r\n\r\n").repeat(20).as_bytes()).expect("open");
    for _ in 0..20 {
        assert_eq!(read_one(&mut stream).body, "test_role");
    }
    for byte in format!("GET {LIST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes() {
        stream.write_all(&[*byte]).expect("open");
    }
    assert_eq!(read_one(&mut stream).body, "test_role");
}

pub(crate) fn every_answer_names_ec2s_server() {
    for address in rig().both() {
        for bytes in [
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
            "GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n",
            "POST / HTTP/1.1\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            "nonsense\r\n\r\n",
            &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)),
        ] {
            let response = raw(address, bytes.as_bytes());
            assert_eq!(response.header("server"), Some("EC2ws"), "{bytes:.40}");
            assert!(response.header("date").is_some());
        }
    }
}

/// The shortest of some tries: the machine may be busy, but not always.
fn shortest(tries: usize, mut what: impl FnMut()) -> Duration {
    let clock = SystemClock::shared();
    let measure = || {
        let began = clock.now().boot;
        what();
        clock.now().boot.since(began)
    };
    std::iter::repeat_with(measure).take(tries).min().expect("a try")
}

pub(crate) fn answers_are_quick() {
    let rig = rig();
    let warm = shortest(10, || assert_eq!(get_v1(rig.v1.address(), ROLE).status, 200));
    assert!(warm < Duration::from_millis(250), "{warm:?}");
    // While the first fetch runs a request waits for it, but not long. Two calls of 100 ms: the answer comes with them.
    let slow = |latency| Ims::start(Behaviour { latency: Duration::from_millis(latency), ..Behaviour::default() });
    let quick = slow(100);
    let daemon = Daemon::start(&quick.config());
    assert_eq!(get_v1(daemon.address(), LIST).status, 200);
    // Of 20 s: the patience is over before.
    let hanging = slow(20_000);
    let daemon = Daemon::start(&hanging.config());
    let cold = shortest(5, || assert_eq!(get_v1(daemon.address(), LIST).status, 503));
    assert!(cold < Duration::from_millis(500), "{cold:?}");
}

pub(crate) fn unusual_hosts_are_refused() {
    let rig = rig();
    let ask = |host: &str| request(rig.v1.address(), &format!("GET / HTTP/1.1\r\nHost: {host}\r\n")).status;
    for host in ["[fd00:ec2::254]", "169.254.169.254", "169.254.169.254:80", "localhost:25772", "127.0.0.1"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in ["evil.example", "169.254.169.254.evil.example", "localhost.evil.example"] {
        assert_eq!(ask(host), 403, "{host}");
    }
    let v6 = rig.v1.addresses[1];
    assert!(v6.is_ipv6());
    assert_eq!(get(v6, LIST).body, "test_role");
}

pub(crate) fn head_has_headers_only() {
    let rig = rig();
    for (path, length) in [(LIST, Some("9")), (ROLE, None)] {
        let response = request(rig.v1.address(), &format!("HEAD {path} HTTP/1.1\r\n"));
        assert_eq!((response.status, &*response.body), (200, ""));
        assert!(length.is_none() || response.header("content-length") == length);
    }
}

pub(crate) fn nothing_redirects() {
    let rig = rig();
    let paths =
        ["/", "/latest", "/latest/meta-data", "/latest/meta-data/iam", LIST.trim_end_matches('/'), "/latest/dynamic"];
    for path in paths {
        let response = get(rig.v1.address(), path);
        assert_eq!((response.status, response.header("location")), (200, None), "{path}");
    }
}

/// So many at the same time; all are asked before the first is read.
fn storm(address: SocketAddr, path: &str, count: usize) {
    let mut streams: Vec<_> = (0..count).map(|_| connect(address)).collect();
    for stream in &mut streams {
        write!(stream, "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("open");
    }
    for mut stream in streams {
        assert_eq!(read_one(&mut stream).status, 200);
    }
}

pub(crate) fn a_thousand_gets_cost_no_upstream_call() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!(
        "{}container: {{listen: '127.0.0.1:0', roles: {{test_role: {{open: true}}}}}}\n",
        ims.config()
    ));
    let calls = ims.calls();
    let (imds, container) = (daemon.address(), daemon.face("container"));
    thread::scope(|scope| {
        scope.spawn(|| (0..4).for_each(|_| storm(imds, ROLE, 150)));
        scope.spawn(|| (0..4).for_each(|_| storm(container, "/role/test_role", 150)));
    });
    assert_eq!(ims.calls(), calls);
}

pub(crate) fn a_head_of_eight_kilobytes_is_accepted() {
    let rig = rig();
    let agent = |length: usize| format!("GET / HTTP/1.1\r\nUser-Agent: {}\r\n", "x".repeat(length));
    assert_eq!(request(rig.v1.address(), &agent(8192)).status, 200);
    assert_eq!(request(rig.v1.address(), &agent(20_000)).status, 431);
}
