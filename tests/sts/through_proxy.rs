//! A real proxy (tinyproxy) for the calls to STS alone.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    thread,
    time::Duration,
};

use crate::{
    HOUR, ims, key,
    stand_in::{Reply, StandIn},
    start, support,
};

/// Ended with the test.
struct Tinyproxy {
    child: Child,
    address: SocketAddr,
    _directory: tempfile::TempDir,
}

impl Tinyproxy {
    fn start(extra: &str) -> Self {
        // It cannot bind port 0, so another process may be quicker; then it exits and is tried anew.
        for _ in 0..10 {
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
            let address = free.local_addr().expect("bound");
            drop(free);
            let directory = tempfile::tempdir().expect("a directory");
            let file = directory.path().join("tinyproxy.conf");
            let text = format!("Port {}\nListen 127.0.0.1\nTimeout 30\nMaxClients 20\n{extra}\n", address.port());
            std::fs::write(&file, text).expect("writable");
            let mut command = Command::new("tinyproxy");
            command.arg("-d").arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
            let child = command.spawn().expect("it was looked for");
            let mut proxy = Self { child, address, _directory: directory };
            if proxy.is_up() {
                return proxy;
            }
        }
        panic!("tinyproxy does not come up")
    }

    fn is_up(&mut self) -> bool {
        loop {
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                let mut answer = String::new();
                let asked = stream.write_all(b"GET http://tinyproxy.stats/ HTTP/1.0\r\n\r\n");
                let _ = asked.and_then(|()| stream.read_to_string(&mut answer).map(drop));
                return answer.to_lowercase().contains("tinyproxy");
            }
            if self.child.try_wait().expect("a child").is_some() {
                return false;
            }
            thread::sleep(Duration::from_millis(5));
        }
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

#[test]
fn aws_proxy_host_is_for_the_call_to_sts_alone() {
    if !support::needs("aws_proxy_host", "tinyproxy") {
        return;
    }
    let proxy = Tinyproxy::start("");
    let ims = ims(&["base"]);
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let config = format!(
        "{}assume_role: arn:aws:iam::123456789012:role/a\naws_proxy_host: 127.0.0.1\naws_proxy_port: {}\n",
        ims.config(),
        proxy.address.port()
    );
    let daemon = start(&config, &sts);
    daemon.wait_for_log("role a: fetched ");
    key(&daemon, "a");
    assert!(sts.calls()[0].via.as_deref().is_some_and(|via| via.contains("tinyproxy")), "{:?}", sts.calls());
    assert!(ims.handle.requests().iter().all(|request| request.header("via").is_none()));
}

#[test]
fn a_source_may_have_a_proxy_that_wants_a_password() {
    if !support::needs("the proxy of a source", "tinyproxy") {
        return;
    }
    let proxy = Tinyproxy::start("BasicAuth me s3cr3t");
    let ims = ims(&["base"]);
    let sts = StandIn::start(|_| Reply::Set(HOUR));
    let config = |password: &str| {
        format!(
            "{}sources:\n  sts1: {{kind: sts, endpoint: '{}', proxy: 'http://me:{password}@{}'}}\n\
             roles:\n  a: {{source: ims, role_arn: 'arn:aws:iam::123456789012:role/a', via: sts1}}\n",
            ims.config(),
            sts.url(),
            proxy.address
        )
    };
    let daemon = start(&config("s3cr3t"), &sts);
    daemon.wait_for_log("role a: fetched ");
    assert!(sts.calls()[0].via.is_some());
    // The proxy's own refusal is not AWS's word.
    let daemon = start(&config("wrong"), &sts);
    let told = daemon.wait_for_log("role a: cannot fetch credentials");
    assert!(!told.contains("wrong") && !told.contains("ERROR"), "{told}");
    assert_eq!(sts.calls().len(), 1);
}

#[test]
fn an_ims_is_asked_through_the_environments_proxy_where_that_is_said() {
    if !support::needs("the proxy of an IMS", "tinyproxy") {
        return;
    }
    let proxy = Tinyproxy::start("BasicAuth me s3cr3t");
    let ims = ims(&["base"]);
    for (config, through) in [
        ("sources:\n  afp: {kind: ims, url: 'http://IMS', proxy: environment}\n", true),
        ("sources:\n  afp: {kind: ims, url: 'http://IMS', proxy: environment, no_proxy: [127.0.0.0/8]}\n", false),
        ("sources:\n  afp: {kind: ims, url: 'http://IMS'}\n", false),
        ("ims_url: http://IMS\nims_proxy: environment\n", true),
    ] {
        let before = ims.handle.requests().len();
        let daemon = support::Daemon::start_with(&config.replace("IMS", &ims.address.to_string()), |command| {
            command.env("http_proxy", format!("http://me:s3cr3t@{}", proxy.address)).env_remove("no_proxy");
        });
        daemon.wait_for_log("role base: fetched ");
        let vias: Vec<bool> =
            ims.handle.requests().iter().skip(before).map(|request| request.header("via").is_some()).collect();
        assert!(!vias.is_empty() && vias.iter().all(|via| *via == through), "{config}: {vias:?}");
        assert!(!daemon.log().contains("s3cr3t"), "{}", daemon.log());
    }
}
