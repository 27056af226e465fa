//! Behind a real load balancer (`HAProxy`) that passes TLS through, with both versions of the PROXY protocol.

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
};

use support::{Scene, Server, Sts, eventually, needs::needs};

/// The address that the server sees.
const BALANCER: &str = "127.0.0.3";
const WEB: &str = "/latest/meta-data/iam/security-credentials/web";

struct Balancer(Child, SocketAddr);

impl Balancer {
    /// `how`: what it sends, and how it looks whether the server is there.
    fn start(directory: &Path, server: SocketAddr, how: &str) -> Self {
        let address = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let path = directory.join("haproxy.cfg");
        let text = format!(
            "\
defaults
  mode tcp
  timeout connect 5s
  timeout client 1m
  timeout server 1m
listen ims
  bind {address}
  option httpchk GET /status
  server ims {server} source {BALANCER} check inter 100ms check-ssl verify none {how}
"
        );
        fs::write(&path, text).expect("ours");
        let log = fs::File::create(directory.join("haproxy.log")).expect("ours");
        let mut command = Command::new("haproxy");
        command.arg("-db").arg("-f").arg(&path).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let balancer = Self(command.spawn().expect("it starts"), address);
        let said = || fs::read_to_string(directory.join("haproxy.log")).unwrap_or_default();
        eventually("it listens", || TcpStream::connect(address).ok(), said);
        balancer
    }
}

impl Drop for Balancer {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

#[test]
fn haproxy_says_where_the_client_is() {
    if !needs("the PROXY protocol", "haproxy") {
        return;
    }
    for (how, checked) in [("send-proxy-v2 check-send-proxy", true), ("send-proxy no-check", false)] {
        let (scene, sts) = (Scene::new(), Sts::start());
        let usual = scene.usual(&sts.url());
        // The role is for clients at this address, which is not the one that connects.
        let config = usual.replace("match: {method: hosts,", "match: {method: hosts, from: 127.0.0.9,");
        let server = Server::start(&scene, &format!("{config}proxy_protocol_from: {BALANCER}\n"));
        let balancer = Balancer::start(scene.path(), server.address, how);
        let client = scene.client(balancer.1, Some(&scene.authority.host("web1.example.com", 7))).at("127.0.0.9");
        assert_eq!(client.get(WEB, &[]).status, 200, "{how}: {}", server.log());
        let elsewhere = scene.client(balancer.1, Some(&scene.authority.host("web1.example.com", 7)));
        assert_eq!(elsewhere.get(WEB, &[]).status, 403, "{how}");
        let audit = || fs::read_to_string(scene.path().join("audit.log")).unwrap_or_default();
        for peer in ["127.0.0.9", "127.0.0.1"] {
            eventually("a record", || audit().contains(&format!("\"peer\":\"{peer}\"")).then_some(()), audit);
        }
        if checked {
            server.wait_for_log(&format!("{BALANCER} - \"GET /status\" 200"));
        }
        assert!(!server.log().contains("was closed"), "{}", server.log());
    }
}
