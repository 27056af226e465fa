//! The names by which containers find their host.

use std::process::Command;

use crate::support::{Daemon, needs, needs_root};

/// Network namespaces: a host with a bridge, behind that a container, and another machine of the host's network.
struct Network {
    host: String,
    container: String,
    machine: String,
}

impl Network {
    fn new() -> Self {
        let name = |part: &str| format!("alph{}{part}", std::process::id());
        let network = Self { host: name("h"), container: name("c"), machine: name("m") };
        let Self { host, container, machine } = &network;
        shell(&format!(
            "for n in {host} {container} {machine}; do ip netns add $n && ip -n $n link set lo up || exit 1; done
             ip -n {host} link add docker9 type bridge && ip -n {host} address add 198.51.100.1/24 dev docker9 &&
             ip -n {host} link add v0 type veth peer name eth0 netns {container} &&
             ip -n {host} link set v0 master docker9 up && ip -n {host} link set docker9 up &&
             ip -n {container} address add 198.51.100.2/24 dev eth0 && ip -n {container} link set eth0 up &&
             ip -n {container} route add default via 198.51.100.1 &&
             ip -n {host} link add lan0 type veth peer name eth0 netns {machine} &&
             ip -n {host} address add 203.0.113.1/24 dev lan0 && ip -n {host} link set lan0 up &&
             ip -n {machine} address add 203.0.113.2/24 dev eth0 && ip -n {machine} link set eth0 up &&
             ip -n {machine} route add default via 203.0.113.1"
        ));
        network
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for name in [&self.host, &self.container, &self.machine] {
            let _gone = Command::new("ip").args(["netns", "delete", name]).status();
        }
    }
}

fn shell(script: &str) -> String {
    let output = Command::new("sh").args(["-c", script]).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

pub(crate) fn containers_may_call_their_host_by_name() {
    const WHAT: &str = "conformance: names of the host in containers";
    if !needs_root(WHAT) || !["ip", "curl"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let network = Network::new();
    let config = "ims_host: 127.0.0.1\nims_port: 1\nlisten: ['198.51.100.1:1', '127.0.0.1:1']\ncontainer: {listen: \
                  '198.51.100.1:2'}\npod_identity: {listen: '198.51.100.1:3', issuer: 'https://x', jwks_file: \
                  /dev/null, associations: [{role: r}]}\n";
    let in_host = |program: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &network.host, program]);
        command
    };
    let _daemon = Daemon::start_through(config, in_host, || {});
    let ask = |from: &str, host: &str, place: &str| {
        let curl = "curl -s -m 20 -o /dev/null -w %{http_code}";
        shell(&format!("ip netns exec {from} {curl} -H 'Host: {host}' http://{place}"))
    };
    for name in ["host.docker.internal", "host.containers.internal", "Host.Docker.Internal:8080"] {
        // Each face goes on to its next question: the versions, a token that is missing.
        for (place, accepted) in
            [("198.51.100.1:1/", "200"), ("198.51.100.1:2/", "401"), ("198.51.100.1:3/v1/credentials", "400")]
        {
            assert_eq!(ask(&network.container, name, place), accepted, "{name} {place}");
            assert_eq!(ask(&network.host, name, place), "403", "{name} {place}: a process of the host");
            assert_eq!(ask(&network.machine, name, place), "403", "{name} {place}: another machine");
        }
        assert_eq!(ask(&network.host, name, "127.0.0.1:1/"), "403", "{name}: by loopback");
    }
    for name in ["evil.internal", "host.docker.internal.evil.example"] {
        assert_eq!(ask(&network.container, name, "198.51.100.1:1/"), "403", "{name}");
    }
}
