//! Ways to 169.254.169.254 that are closed, in network namespaces of the test's own: nothing is told to `doctor`, as in a
//! program's own environment.

use std::{
    process::{Command, Output},
    sync::atomic::{AtomicU32, Ordering},
};

use alppaca::mock_ims::Behaviour;

use crate::{
    ALPPACA, assert_found, findings,
    support::{Daemon, Ims, needs, needs_root},
};

/// Gone when dropped.
pub struct Namespace(pub String);

impl Namespace {
    pub fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let namespace = Self(format!("alp{}d{number}", std::process::id()));
        shell(&format!("ip netns add {0} && ip -n {0} link set lo up", namespace.0));
        namespace
    }

    pub fn shell(&self, script: &str) {
        shell(&format!("ip netns exec {} sh -c '{script}'", self.0));
    }

    pub fn doctor(&self, socket: &str, variables: &[(&str, &str)]) -> (Option<i32>, Vec<String>) {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.0, ALPPACA, "doctor", "--json", "--socket", socket]);
        findings(&command.env_clear().env("PATH", PATH).envs(variables.iter().copied()).output().expect("it runs"))
    }
}

const PATH: &str = "/usr/sbin:/usr/bin:/sbin:/bin";

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

fn shell(script: &str) {
    let Output { status, stderr, .. } = Command::new("sh").args(["-c", script]).output().expect("a shell");
    assert!(status.success(), "{script}: {}", String::from_utf8_lossy(&stderr));
}

#[test]
fn each_way_to_close_the_way_has_its_words() {
    let what = "doctor where the way is closed";
    if !needs_root(what) || !needs(what, "ip") || !needs(what, "iptables") || !needs(what, "nft") {
        return;
    }
    let route = |kind: &str| format!("ip route add {kind} 169.254.169.254/32");
    let here = |rule: &str| format!("ip address add 169.254.169.254/32 dev lo && {rule}");
    let nft = |verdict: &str| {
        here(&format!(
            "nft \"add table ip t; add chain ip t c {{ type filter hook output priority 0; }}; add rule ip t c ip daddr \
             169.254.169.254 {verdict}\""
        ))
    };
    let (no_route, late, start) = ("no route leads there", "no answer in time", "start the daemon");
    for (script, what, remedy) in [
        ("true".to_owned(), no_route, start),
        (route("unreachable"), no_route, start),
        (route("blackhole"), "a blackhole route of this host drops it", "`ip route get`"),
        (route("prohibit"), "a route of this host, or a sandbox around this program, forbids it", "remove it, then "),
        (here("true"), "Connection refused", "`systemctl status alppaca` may show why it stopped"),
        (here("iptables -A OUTPUT -p tcp -d 169.254.169.254 -j REJECT"), "Connection refused", start),
        (here("iptables -A OUTPUT -p tcp -d 169.254.169.254 -j DROP"), late, "or a firewall drops it"),
        (nft("drop"), late, "hop limit of 1 looks the same"),
    ] {
        let namespace = Namespace::new();
        namespace.shell(&script);
        let (code, lines) = namespace.doctor("/no/daemon.sock", &[]);
        assert_eq!((code, lines.len()), (Some(1), 1), "{script}: {lines:#?}");
        let (said, told) = lines[0].split_once(" -> ").expect("a remedy");
        let wanted = "problem reach http://169.254.169.254 cannot be reached: ";
        assert!(said.starts_with(wanted) && said.contains(what) && told.contains(remedy), "{script}: {lines:#?}");
    }
}

#[test]
fn ports_that_every_user_may_take_are_told() {
    let what = "doctor where users have low ports";
    if !needs_root(what) || !needs(what, "ip") {
        return;
    }
    let namespace = Namespace::new();
    let (_, lines) = namespace.doctor("/no/daemon.sock", &[]);
    assert!(!lines.iter().any(|line| line.starts_with("note port ")), "{lines:#?}");
    namespace.shell("echo 80 > /proc/sys/net/ipv4/ip_unprivileged_port_start");
    let (_, lines) = namespace.doctor("/no/daemon.sock", &[]);
    assert_found(&lines, "note port every user may listen on ports from 80 up", "ip_unprivileged_port_start=1024");
    let loopback = [("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:25772")];
    let (_, lines) = namespace.doctor("/no/daemon.sock", &loopback);
    assert!(!lines.iter().any(|line| line.starts_with("note port ")), "{lines:#?}");
}

/// Two hosts away from a metadata service that gives its packets one hop, as EC2's with a hop limit of 1.
#[test]
fn a_hop_limit_of_one_is_a_silence_behind_a_router() {
    let what = "doctor behind a hop limit";
    if !needs_root(what) || !needs(what, "ip") {
        return;
    }
    let [client, router, server] = [(); 3].map(|()| Namespace::new());
    let (c, r, s) = (&client.0, &router.0, &server.0);
    shell(&format!(
        "ip -n {r} link add c type veth peer name e netns {c} && ip -n {r} link add s type veth peer name e netns {s} &&
         ip -n {r} address add 192.0.2.1/30 dev c && ip -n {c} address add 192.0.2.2/30 dev e &&
         ip -n {r} address add 192.0.2.5/30 dev s && ip -n {s} address add 192.0.2.6/30 dev e &&
         for n in \"-n {r} link set c\" \"-n {r} link set s\" \"-n {c} link set e\" \"-n {s} link set e\"; do ip $n up; done &&
         ip -n {c} route add default via 192.0.2.1 && ip -n {s} route add default via 192.0.2.5 &&
         ip -n {r} route add 169.254.169.254 via 192.0.2.6 && ip -n {s} address add 169.254.169.254/32 dev lo &&
         ip netns exec {r} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_forward'"
    ));
    let ims = Ims::start(Behaviour::default());
    let start = || {
        let config = "ims_protocol: http\nims_host: 192.0.2.2\nready_wait: 1\nlisten: ['169.254.169.254:80']\n";
        Daemon::start_through(
            config,
            |program| {
                let mut command = Command::new("ip");
                command.args(["netns", "exec", s, program]);
                command
            },
            || {},
        )
    };
    let daemon = start();
    let (_, lines) = client.doctor("/no/daemon.sock", &[]);
    assert_found(&lines, "good protocol IMDSv2 at http://169.254.169.254", "");
    drop(daemon);
    shell(&format!("ip netns exec {s} sh -c 'echo 1 > /proc/sys/net/ipv4/ip_default_ttl'"));
    let _daemon = start();
    let (code, lines) = client.doctor("/no/daemon.sock", &[]);
    assert_eq!(code, Some(1));
    assert_found(&lines, "problem reach http://169.254.169.254 cannot be reached: no answer in time", "hop limit of 1");
    drop(ims);
}

#[test]
fn what_the_variables_name_is_asked_for() {
    let what = "doctor without a network";
    if !needs_root(what) || !needs(what, "ip") {
        return;
    }
    for (variable, value, asked) in [
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6", "http://[fd00:ec2::254]"),
        ("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://no-such-host.invalid", "http://no-such-host.invalid"),
        ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/x", "http://169.254.170.2/v2/x"),
    ] {
        let (code, lines) = Namespace::new().doctor("/no/daemon.sock", &[(variable, value)]);
        assert_eq!(code, Some(1));
        assert_found(&lines, &format!("problem reach {asked} cannot be reached: "), "start the daemon");
    }
}
