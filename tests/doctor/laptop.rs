//! Routes of other programs, and a capture that is gone, in network namespaces of the test's own.

use std::{path::Path, process::Command};

use crate::{
    ALPPACA, assert_found,
    blocked::Namespace,
    support::{Daemon, needs, needs_root},
};

const URL: &str = "http://169.254.169.254";
/// A link that leads nowhere.
const NETWORK: &str = "ip link add veth0 type veth peer name veth1 && ip link set veth0 up && ip link set veth1 up && \
                       ip address add 192.0.2.1/24 dev veth0";

fn daemon(namespace: &Namespace, listen: &str) -> Daemon {
    let name = &namespace.0;
    let config = format!("ims_protocol: http\nims_host: 192.0.2.2\nready_wait: 1\nlisten: ['{listen}']\n");
    let within = |program: &str| {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", name, program]);
        command
    };
    Daemon::start_through(&config, |program| within(program), || {})
}

fn lines(namespace: &Namespace, socket: &Path) -> Vec<String> {
    namespace.doctor(socket.to_str().expect("UTF-8"), &[]).1
}

#[test]
fn what_takes_the_address_away_is_named() {
    let what = "doctor: routes of others";
    if !needs_root(what) || !needs(what, "ip") || !needs(what, "/dev/net/tun") {
        return;
    }
    let vpn = "ip tuntap add tun0 mode tun && ip link set tun0 up";
    for (script, said) in [
        ("ip route add default via 192.0.2.2".to_owned(), "leave by veth0, route `default via 192.0.2.2 dev veth0`"),
        (
            "ip route add 169.254.0.0/16 dev veth0 metric 1000".to_owned(),
            "leave by veth0 (a link-local network, as of zeroconf), route `169.254.0.0/16 dev veth0 ",
        ),
        (
            format!("{vpn} && ip route add 169.254.169.254 dev tun0"),
            "leave by tun0 (a VPN), route `169.254.169.254 dev tun0 ",
        ),
        (
            format!("{vpn} && ip route add default dev tun0 table 51820 && ip rule add not fwmark 51820 lookup 51820"),
            "leave by tun0 (a VPN), route `default dev tun0 table 51820 ",
        ),
        (
            "ip link add br-1 type bridge && ip address add 169.254.169.1/24 dev br-1 && ip link set br-1 up"
                .to_owned(),
            "leave by br-1 (a bridge, as of Docker), route `169.254.169.0/24 dev br-1 ",
        ),
    ] {
        let namespace = Namespace::new();
        namespace.shell(&format!("{NETWORK} && {script}"));
        let found = lines(&namespace, Path::new("/no/daemon.sock"));
        assert_eq!(found.len(), 1, "{found:#?}");
        assert_found(&found, &format!("problem reach {URL} cannot be reached: "), said);
        assert_found(&found, "", "`sudo alppaca capture apply --mode dnat`");
    }
}

#[test]
fn a_capture_that_is_gone_or_bypassed_is_named_with_its_repair() {
    let what = "doctor: a lost capture";
    if !needs_root(what) || !needs(what, "ip") || !needs(what, "nft") {
        return;
    }
    let namespace = Namespace::new();
    let apply = || namespace.shell(&format!("{ALPPACA} capture apply"));
    namespace.shell(NETWORK);
    apply();
    let daemon = daemon(&namespace, "169.254.169.254:80");
    let well = || assert_found(&lines(&namespace, &daemon.socket()), &format!("good protocol IMDSv2 at {URL}"), "");
    well();
    namespace.shell("ip link delete alppaca0 2>/dev/null || ip address delete 169.254.169.254/32 dev lo");
    let lost = lines(&namespace, &daemon.socket());
    let said = "; the daemon listens there, but this host has lost the address -> `sudo alppaca capture apply`";
    assert_found(&lost, &format!("problem reach {URL} cannot be reached: no route leads there"), said);
    apply();
    well();
    let firewall = "chain ip t c { type filter hook output priority 0; ip daddr 169.254.169.254 drop; }";
    namespace.shell(&format!("nft \"add table ip t; add {firewall}\""));
    assert_found(&lines(&namespace, &daemon.socket()), "problem reach ", "so a firewall of this host is in between");
    namespace.shell("nft delete table ip t");
    // A VPN client that moves the addresses of this host behind its own rule.
    namespace.shell(
        "ip route add default dev veth0 table 51820 && ip rule add pref 50 lookup 51820 && \
         ip rule add pref 100 lookup local && ip rule delete pref 0",
    );
    let bypassed = lines(&namespace, &daemon.socket());
    assert_found(&bypassed, "problem reach ", "packets leave by veth0, route `default dev veth0 table 51820 ");
    assert_found(&bypassed, "problem reach ", " has the address -> `ip rule` shows the rule");
    namespace.shell("ip rule add pref 0 lookup local");
    well();
}

#[test]
fn the_way_to_capture_that_is_said_works() {
    let what = "doctor: a daemon that listens elsewhere";
    if !needs_root(what) || !needs(what, "ip") || !needs(what, "nft") {
        return;
    }
    let unreachable = format!("problem reach {URL} cannot be reached: ");
    let listen = "`listen: ['169.254.169.254:80']` in its configuration, then `sudo alppaca capture apply`";
    for before in [format!("{NETWORK} && ip route add default via 192.0.2.2"), format!("{ALPPACA} capture apply")] {
        let namespace = Namespace::new();
        namespace.shell(&before);
        let daemon = daemon(&namespace, "127.0.0.1:25772");
        let said = "the daemon answers at 127.0.0.1:25772: `sudo alppaca capture apply --mode dnat` makes programs \
                    reach it";
        assert_found(&lines(&namespace, &daemon.socket()), &unreachable, said);
        namespace.shell(&format!("{ALPPACA} capture apply --mode dnat"));
        let well = format!("good protocol IMDSv2 at {URL}");
        assert_found(&lines(&namespace, &daemon.socket()), &well, "");
    }
    // Without a route nothing is redirected, and without the listener for it there is nowhere to redirect to.
    for (before, address) in [("true", "127.0.0.1:25772"), (NETWORK, "127.0.0.1:25780")] {
        let namespace = Namespace::new();
        namespace.shell(before);
        let daemon = daemon(&namespace, address);
        let said = format!("the daemon answers at {address}: {listen}");
        assert_found(&lines(&namespace, &daemon.socket()), &unreachable, &said);
    }
}
