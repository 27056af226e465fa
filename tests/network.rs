//! A network that comes after the daemon, in a namespace.

mod support;

use std::{
    io::Read,
    process::{Child, Command, Stdio},
};

use support::{Daemon, needs, needs_root};

const IN_THE_NAMESPACE: &str = "ip link set lo up && exec \"$0\" \"$@\"";

#[test]
fn an_upstream_is_asked_as_soon_as_the_network_leads_to_it() {
    if !needs_root("a network that comes late") {
        return;
    }
    let config = "ims_protocol: http\nims_host: 192.0.2.1\nims_port: 8080\nready_wait: 100ms\n";
    let start = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--net", "sh", "-c", IN_THE_NAMESPACE, program]);
        command
    };
    let daemon = Daemon::start_through(config, start, || {});
    daemon.wait_for_log("192.0.2.1:8080");
    let inside = |arguments: &[&str]| {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &daemon.pid().to_string()]).args(arguments);
        command
    };
    let bind = ["--bind", "0.0.0.0:8080"];
    let mut mock = inside(&[env!("CARGO_BIN_EXE_alppaca"), "mock-ims", "--quiet"]).args(bind).spawn().expect("it runs");
    // Nothing leads there yet. Then it does.
    let added = inside(&["ip", "address", "add", "192.0.2.1/32", "dev", "lo"]).status().expect("it runs");
    assert!(added.success());
    daemon.wait_for_log("the network has changed: what failed is tried again");
    daemon.wait_for_log(" fetched ");
    mock.kill().expect("it runs");
    mock.wait().expect("it ends");
}

/// A process that ends with this.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// A network of its own, which ends with this.
struct Network(Running);

impl Network {
    fn new() -> Self {
        let mut command = Command::new("unshare");
        // It says that it is there.
        command.args(["--net", "sh", "-c", "ip link set lo up && echo && read end"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it runs");
        child.stdout.as_mut().expect("piped").read_exact(&mut [0]).expect("it begins");
        Self(Running(child))
    }

    fn id(&self) -> u32 {
        self.0.0.id()
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.id().to_string(), program]);
        command
    }

    fn ip(&self, arguments: &str) {
        let status = self.inside("ip").args(arguments.split(' ')).status();
        assert!(status.expect("it runs").success(), "{arguments}");
    }
}

/// An upstream at 192.0.2.1, beyond a bridge, and at 198.51.100.1 behind that. `event` has it be reached from `ims_host`.
fn is_noticed(what: &str, ims_host: &str, begun: &str, event: impl FnOnce(&Network, &Network)) {
    if !needs_root(what) || !["unshare", "nsenter", "ip"].iter().all(|program| needs(what, program)) {
        return;
    }
    let (near, far) = (Network::new(), Network::new());
    near.ip("link add br0 type bridge");
    near.ip(&format!("link add v0 type veth peer name v1 netns {}", far.id()));
    near.ip("link set v0 master br0 up");
    near.ip("address add 192.0.2.2/24 dev br0");
    near.ip("link set br0 up");
    far.ip("address add 192.0.2.1/24 dev v1");
    far.ip("address add 198.51.100.1/32 dev lo");
    if !begun.is_empty() {
        far.ip(begun);
    }
    let mut mock = far.inside(env!("CARGO_BIN_EXE_alppaca"));
    let _mock = Running(mock.args(["mock-ims", "--quiet", "--bind", "0.0.0.0:8080"]).spawn().expect("it runs"));
    let config = format!("ims_protocol: http\nims_host: {ims_host}\nims_port: 8080\nready_wait: 100ms\n");
    let daemon = Daemon::start_through(&config, |program| near.inside(program), || {});
    daemon.wait_for_log("cannot read the role list");
    // It listens to the kernel by now.
    daemon.wait_for_log("serving without them");
    assert!(!daemon.log().contains("the network has changed"), "{}", daemon.log());
    event(&near, &far);
    daemon.wait_for_log("the network has changed: what failed is tried again");
    daemon.wait_for_log(" fetched ");
}

#[test]
fn a_link_that_comes_up_wakes_the_refresher_though_addresses_and_routes_stay() {
    is_noticed("a link that comes up", "192.0.2.1", "", |_, far| far.ip("link set v1 up"));
}

#[test]
fn a_default_route_that_comes_late_wakes_the_refresher() {
    is_noticed("a late default route", "198.51.100.1", "link set v1 up", |near, _| {
        near.ip("route add default via 192.0.2.1");
    });
}
