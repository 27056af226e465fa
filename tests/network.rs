//! A network that comes after the daemon, in a namespace.

mod support;

use std::process::Command;

use support::{Daemon, needs_root};

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
