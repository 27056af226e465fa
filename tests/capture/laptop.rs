//! What happens to the network of a laptop, and what that does to the capture.

use std::{fs, os::unix::fs::PermissionsExt};

use crate::{ALPPACA, Namespace, needs, possible, text};

/// Takes away what `capture apply` made: its link, or the address where the kernel has no links of that kind.
const LOSE: &str = "ip link delete alppaca0 2>/dev/null || ip address delete 169.254.169.254/32 dev lo";

/// What happens, and whether a redirection still works then: it needs a route.
const EVENTS: [(&str, bool); 14] = [
    // No Wi-Fi, the same again, and another one.
    ("ip link set veth0 down", false),
    ("ip link set veth0 up && ip route replace default via 192.0.2.2", true),
    ("ip address flush dev veth0", false),
    ("ip address add 198.51.100.7/24 dev veth0 && ip route replace default via 198.51.100.1", true),
    // Zeroconf.
    ("ip route add 169.254.0.0/16 dev veth0 metric 1000", true),
    ("ip address add 169.254.7.7/16 dev veth0 scope link", true),
    // A VPN: with two halves of a default route, with a route to the address, and with rules, as wg-quick makes them.
    ("ip tuntap add tun0 mode tun && ip link set tun0 up && ip address add 10.8.0.2/24 dev tun0", true),
    ("ip route add 0.0.0.0/1 dev tun0 && ip route add 128.0.0.0/1 dev tun0", true),
    ("ip route add 169.254.169.254 dev tun0", true),
    (
        "ip route add default dev tun0 table 51820 && ip rule add not fwmark 51820 lookup 51820 && \
         ip rule add lookup main suppress_prefixlength 0",
        true,
    ),
    ("ip link delete tun0", true),
    // A network of Docker's that includes the address.
    ("ip link add br-1 type bridge && ip address add 169.254.169.1/24 dev br-1 && ip link set br-1 up", true),
    ("ip route add blackhole 169.254.169.254", false),
    ("ip address flush dev br-1 && ip route flush table main", false),
];

fn prove(arguments: &str, listen: &str, survives: impl Fn(bool) -> bool) {
    let mut namespace = Namespace::new();
    namespace.alppaca(&format!("capture apply {arguments}"));
    let pid = namespace.start_daemon(listen);
    for (event, with_redirection) in EVENTS {
        namespace.shell(event);
        let (code, said) = namespace.alppaca("capture check");
        let answers = code == Some(0) && said.contains(&format!("alppaca answers (process {pid})"));
        assert_eq!(answers, survives(with_redirection), "{arguments}: {event}: {said}");
        if answers {
            assert_eq!(namespace.roles(), ["test_role", "test_role"], "{arguments}: {event}");
        }
    }
}

#[test]
fn networks_that_come_and_go_leave_the_address_alone() {
    let what = "capture: a laptop";
    if possible(what) && needs(what, "/dev/net/tun") {
        prove("--mode address", "listen: ['169.254.169.254:80']\n", |_| true);
    }
}

#[test]
fn a_redirection_works_as_long_as_there_is_a_route() {
    let what = "capture: a laptop, dnat";
    if possible(what) && needs(what, "/dev/net/tun") {
        for tool in ["nft", "iptables"] {
            prove(&format!("--mode dnat --tool {tool}"), "", |with_redirection| with_redirection);
        }
    }
}

#[test]
fn an_address_that_was_taken_away_is_told_and_comes_back_without_a_restart_of_the_daemon() {
    if !possible("capture: a lost address") {
        return;
    }
    let mut namespace = Namespace::new();
    namespace.alppaca("capture apply");
    let pid = namespace.start_daemon("listen: ['169.254.169.254:80', '192.0.2.1:25780']\n");
    for remove_first in [false, true] {
        namespace.shell(LOSE);
        let (code, said) = namespace.alppaca("capture check");
        namespace
            .wait_for_log("this host has lost 169.254.169.254, so no program reaches this daemon there: `sudo alppaca");
        let told = "packets leave by veth0, route `default via 192.0.2.2 dev veth0`: `sudo alppaca capture apply`";
        assert!(code == Some(1) && said.contains(told) && !said.contains("captured: "), "{said}");
        if remove_first {
            // What `systemctl restart alppaca-capture` does.
            let (code, said) = namespace.alppaca("capture remove");
            assert!(code == Some(0) && said.contains("nothing to remove"), "{said}");
        }
        assert_eq!(namespace.alppaca("capture apply").0, Some(0));
        namespace.wait_for_log("this host has 169.254.169.254 again");
        let (code, said) = namespace.alppaca("capture check");
        assert!(code == Some(0) && said.contains(&format!("alppaca answers (process {pid})")), "{said}");
        assert_eq!(namespace.roles(), ["test_role", "test_role"]);
    }
    namespace.shell("ip address delete 192.0.2.1/24 dev veth0");
    namespace
        .wait_for_log("this host has lost 192.0.2.1, so no program reaches this daemon there: give the address back");
}

#[test]
fn a_unit_that_makes_the_capture_again_is_named() {
    if !possible("capture: a unit that is active") {
        return;
    }
    let namespace = Namespace::new();
    let systemctl = namespace.directory.path().join("systemctl");
    let path = format!("{}:/usr/sbin:/usr/bin:/sbin:/bin", namespace.directory.path().display());
    for (state, warned) in [("inactive", false), ("active", true)] {
        fs::write(
            &systemctl,
            format!("#!/bin/sh\n[ \"$*\" = 'is-active --quiet alppaca-capture.service' ] && [ {state} = active ]\n"),
        )
        .expect("ours");
        fs::set_permissions(&systemctl, fs::Permissions::from_mode(0o755)).expect("ours");
        namespace.alppaca("capture apply");
        let output =
            namespace.command(ALPPACA).args(["capture", "remove"]).env("PATH", &path).output().expect("it runs");
        let said = text(&output);
        assert!(output.status.success() && said.contains("removed: "), "{said}");
        let warning = "warning: the unit alppaca-capture is active and makes the capture again";
        assert_eq!(said.contains(warning), warned, "{said}");
        assert_eq!(said.contains("`sudo systemctl disable --now alppaca-capture`"), warned, "{said}");
    }
}
