//! An address that another socket has: who that is, what is served meanwhile, and that it is taken when it is free.

mod support;

use std::{
    net::{SocketAddr, TcpListener},
    os::unix::{fs::PermissionsExt, net::UnixDatagram, process::CommandExt},
    process::Command,
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, PATIENCE, cannot, get, needs_root};

/// A user without an account.
const STRANGER: u32 = 61000;

/// A listener on a free port. Root makes it another user's: a socket belongs to who its thread was when it made it.
fn of_a_stranger() -> (TcpListener, SocketAddr, u32) {
    let root = rustix::process::geteuid().is_root();
    let listener = std::thread::spawn(move || {
        if root {
            let uid = rustix::process::Uid::from_raw(STRANGER);
            rustix::thread::set_thread_res_uid(uid, uid, uid).expect("root may");
        }
        TcpListener::bind("127.0.0.1:0").expect("a free port")
    });
    let listener = listener.join().expect("bound");
    let address = listener.local_addr().expect("bound");
    (listener, address, if root { STRANGER } else { rustix::process::geteuid().as_raw() })
}

#[test]
fn a_port_that_a_stranger_has_is_taken_when_it_is_free_and_its_holder_is_named_until_then() {
    let (stranger, address, uid) = of_a_stranger();
    let ims = Ims::start(Behaviour::default());
    let directory = tempfile::tempdir().expect("a directory");
    let notify = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
    notify.set_nonblocking(true).expect("settable");
    let config = format!("{}listen: ['{address}', '127.0.0.1:0']\n", ims.config());
    let mut daemon = Daemon::start_with(&config, |command| {
        command.env("NOTIFY_SOCKET", directory.path().join("notify"));
    });
    daemon.wait_for_log(&format!("cannot listen on {address}: Address already in use (os error 98) by uid {uid}"));
    daemon.wait_for_log(" fetched ");
    // The third attempt is not told.
    daemon.wait_for_count("; trying again until it is free", 3);
    assert_ne!(daemon.address(), address);
    assert_eq!(get(daemon.address(), "/latest/meta-data/").status, 200);
    let said = || std::iter::from_fn(|| receive(&notify)).collect::<String>();
    let before = said();
    assert!(before.contains("EXTEND_TIMEOUT_USEC=") && !before.contains("READY=1"), "{before}");
    // The log is on stderr: it need not be said there twice.
    assert!(!daemon.log().contains("alppaca takes the address"), "{}", daemon.log());
    drop(stranger);
    daemon.wait_for_log(&format!("{address} is free now: listening there"));
    assert_eq!(get(address, "/latest/meta-data/").status, 200);
    notify.set_nonblocking(false).expect("settable");
    notify.set_read_timeout(Some(PATIENCE)).expect("settable");
    while !receive(&notify).expect("READY=1 comes").contains("READY=1") {}
    assert_eq!(daemon.stop(), Some(0));
}

fn receive(socket: &UnixDatagram) -> Option<String> {
    let mut message = [0; 4096];
    let length = socket.recv(&mut message).ok()?;
    Some(String::from_utf8_lossy(&message[..length]).into_owned())
}

#[test]
fn a_second_daemon_of_the_same_configuration_says_so_and_ends() {
    let ims = Ims::start(Behaviour::default());
    let first = Daemon::start(&ims.config());
    let config = first.directory.path().join("second.yaml");
    let text = format!(
        "{}listen: ['{}']\nrun_dir: {}\n",
        ims.config(),
        first.address(),
        first.directory.path().join("run").display()
    );
    std::fs::write(&config, text).expect("a file");
    let output =
        Command::new(env!("CARGO_BIN_EXE_alppaca")).arg("run").arg("-c").arg(&config).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("alppaca is running already") && said.contains("Address already in use"), "{said}");
    assert_eq!(get(first.address(), "/latest/meta-data/").status, 200);
}

#[test]
fn an_address_that_this_host_does_not_have_is_not_waited_for() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("alppaca.yaml");
    std::fs::write(&config, "ims_host: localhost\nlisten: ['192.0.2.1:25772']\n").expect("a file");
    let output =
        Command::new(env!("CARGO_BIN_EXE_alppaca")).arg("run").arg("-c").arg(&config).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(1), "{said}");
    assert!(said.contains("cannot listen on 192.0.2.1:25772") && said.contains("does not have the address"), "{said}");
}

#[test]
fn a_check_warns_of_ports_that_are_reserved_for_root() {
    if !needs_root("another user") {
        return;
    }
    let lowest = std::fs::read_to_string("/proc/sys/net/ipv4/ip_unprivileged_port_start");
    if lowest.is_ok_and(|lowest| lowest.trim().parse().is_ok_and(|lowest: u16| lowest <= 80)) {
        cannot("low ports", "every user of this host may listen at port 80");
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(0o755)).expect("ours");
    let config = directory.path().join("alppaca.yaml");
    std::fs::write(&config, "ims_host: localhost\nlisten: ['127.0.0.1:80', '127.0.0.1:25772']\n").expect("a file");
    let warned = |uid: u32| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        let output = command.args(["check", "--quiet", "-c"]).arg(&config).uid(uid).output().expect("it runs");
        String::from_utf8_lossy(&output.stderr).into_owned()
    };
    let said = warned(STRANGER);
    assert!(said.contains("warning: 127.0.0.1:80: only root, or a process with CAP_NET_BIND_SERVICE"), "{said}");
    assert!(!said.contains("127.0.0.1:25772") && !warned(0).contains("127.0.0.1:80"), "{said}");
}
