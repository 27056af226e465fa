//! Restarts under a service manager that keeps descriptors: nothing is lost, even if the upstream is down.

mod support;

use std::{
    fmt::Write as _,
    fs,
    io::{IoSliceMut, Read, Write},
    mem::MaybeUninit,
    net::{SocketAddr, TcpListener, TcpStream},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{fs::PermissionsExt, net::UnixDatagram},
    },
    path::PathBuf,
    process::Command,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use alppaca::mock_ims::Behaviour;
use rustix::{
    io::{FdFlags, fcntl_dupfd_cloexec, fcntl_setfd},
    net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg},
};
use support::{Daemon, Ims, get};
use tempfile::TempDir;

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const DOCUMENT: &str = "/latest/meta-data/iam/security-credentials/test_role";

/// As much of systemd as the store needs: `man 5 systemd.service`, `FileDescriptorStoreMax=`.
struct Manager {
    socket: UnixDatagram,
    directory: TempDir,
    stored: Vec<(String, OwnedFd)>,
}

impl Manager {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let socket = UnixDatagram::bind(directory.path().join("notify")).expect("a socket");
        socket.set_read_timeout(Some(Duration::from_mins(1))).expect("settable");
        Self { socket, directory, stored: Vec::new() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("notify")
    }

    /// Takes one message; what it said.
    fn take(&mut self, flags: RecvFlags) -> Option<String> {
        let mut text = [0; 4096];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(4))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let flags = flags | RecvFlags::CMSG_CLOEXEC;
        let received = recvmsg(&self.socket, &mut [IoSliceMut::new(&mut text)], &mut control, flags).ok()?;
        let said = String::from_utf8_lossy(&text[..received.bytes]).into_owned();
        let name = said.lines().find_map(|line| line.strip_prefix("FDNAME=")).unwrap_or_default().to_owned();
        if said.contains("FDSTOREREMOVE=1") {
            self.stored.retain(|(stored, _)| *stored != name);
        }
        let rights = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(descriptors) => Some(descriptors),
            _ => None,
        });
        self.stored.extend(rights.flatten().map(|descriptor| (name.clone(), descriptor)));
        Some(said)
    }

    /// Waits for a message with `part`.
    fn wait_for(&mut self, part: &str) {
        while !self.take(RecvFlags::empty()).expect("more is said").contains(part) {}
    }

    fn names(&mut self) -> Vec<&str> {
        while self.take(RecvFlags::DONTWAIT).is_some() {}
        self.stored.iter().map(|(name, _)| &**name).collect()
    }

    /// Starts the daemon with what is stored.
    fn start(&mut self, config: &str) -> Daemon {
        // Only the daemon of this test inherits them.
        static STARTING: Mutex<()> = Mutex::new(());
        let names = self.names().join(":");
        let starting = STARTING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut script = String::new();
        let mut inherited = Vec::new();
        for (number, (_, descriptor)) in (3..).zip(&self.stored) {
            // Out of the way of the numbers that they get.
            let descriptor = fcntl_dupfd_cloexec(descriptor, 100).expect("a descriptor");
            fcntl_setfd(&descriptor, FdFlags::empty()).expect("settable");
            let _infallible = writeln!(script, "exec {number}<&{0} {0}<&-", descriptor.as_raw_fd());
            inherited.push(descriptor);
        }
        script += "exec \"$0\" \"$@\"";
        let (count, notify) = (inherited.len(), self.path());
        let command = |program: &str| {
            // Not every sh knows descriptors above 9.
            let mut command = Command::new("bash");
            command.args(["-c", &script, program]).env("NOTIFY_SOCKET", notify);
            command.env("LISTEN_FDS", count.to_string()).env("LISTEN_FDNAMES", names);
            command
        };
        Daemon::start_through(config, command, || drop((inherited, starting)))
    }
}

fn free_port() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port")
}

/// The key that is served.
fn key(daemon: &Daemon) -> String {
    let answer = get(daemon.address(), DOCUMENT);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", daemon.log());
    answer.json()["AccessKeyId"].as_str().expect("a key").to_owned()
}

fn config(ims: &Ims, listen: SocketAddr) -> String {
    format!("{}listen: '{listen}'\n", ims.config())
}

#[test]
fn a_restart_or_a_crash_loses_nothing_while_the_upstream_is_down() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let config = config(&ims, free_port());
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    let held = key(&daemon);
    drop(ims);
    for round in 0..4 {
        // SIGTERM, then SIGKILL.
        if round % 2 == 0 {
            assert_eq!(daemon.stop(), Some(0));
        }
        drop(daemon);
        let names = manager.names();
        // A process that was killed may have left the set before the last one, too.
        let most = 1 + round % 2;
        let sets = names.iter().filter(|name| name.starts_with("alppaca-sets-")).count();
        assert!((1..=most).contains(&sets), "{names:?}");
        assert_eq!(names.iter().filter(|name| **name == "alppaca-listener-imds").count(), 1, "{names:?}");
        daemon = manager.start(&config);
        assert_eq!(get(daemon.address(), LIST).body, "test_role", "round {round}");
        assert_eq!(key(&daemon), held, "round {round}");
        manager.wait_for("READY=1");
        manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    }
    assert!(daemon.log().contains("1 set(s) of credentials were held before the restart"), "{}", daemon.log());
}

#[test]
fn what_is_kept_cannot_be_changed_and_no_program_inherits_it() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let listen = free_port();
    let mut daemon = manager.start(&config(&ims, listen));
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    daemon.stop();
    let (_, descriptor) =
        manager.stored.iter().find(|(name, _)| name.starts_with("alppaca-sets-")).expect("it is stored");
    assert!(rustix::io::write(descriptor, b"x").is_err(), "it is sealed");
    let (program, seen) = (manager.directory.path().join("login"), manager.directory.path().join("seen"));
    let set = r#"{"Version":1,"AccessKeyId":"ASIAPROC","SecretAccessKey":"s","SessionToken":"t","Expiration":"2099-01-01T00:00:00Z"}"#;
    let script = format!("#!/bin/sh\nls -l /proc/self/fd > {}\necho '{set}'\n", seen.display());
    fs::write(&program, script).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("own");
    let process = format!(
        "listen: '{listen}'\nsources:\n  login: {{kind: process, command: {}}}\nroles:\n  made: {{source: login}}\n",
        program.display()
    );
    let daemon = manager.start(&process);
    daemon.wait_for_log(" fetched ");
    let seen = fs::read_to_string(seen).expect("written");
    assert!(seen.contains("/dev/null") && !seen.contains("memfd") && !seen.contains("socket:"), "{seen}");
    assert_eq!(get(listen, DOCUMENT).status, 404, "the configuration does not name that role any more");
}

#[test]
fn a_damaged_file_is_ignored_and_so_are_sets_of_another_role() {
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let config = config(&ims, free_port());
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    daemon.stop();
    drop(daemon);
    manager.names();
    let good = manager.stored.iter().position(|(name, _)| name.starts_with("alppaca-sets-")).expect("it is stored");
    let (name, _) = manager.stored.remove(good);
    let file = rustix::fs::memfd_create("x", rustix::fs::MemfdFlags::CLOEXEC).expect("memory");
    rustix::io::write(&file, b"alppaca handover 1\ngarbage").expect("room");
    manager.stored.push((name, file));
    let daemon = manager.start(&config);
    daemon.wait_for_log("is not used: ");
    daemon.wait_for_log(" fetched ");
}

#[test]
fn clients_do_not_notice_restarts() {
    const CLIENTS: usize = 4;
    let (mut manager, ims) = (Manager::new(), Ims::start(Behaviour::default()));
    let listen = free_port();
    let config = config(&ims, listen);
    let mut daemon = manager.start(&config);
    manager.wait_for("FDSTORE=1\nFDNAME=alppaca-sets-");
    let held = key(&daemon);
    drop(ims);
    let (over, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
    let clients: Vec<_> = (0..CLIENTS)
        .map(|_| {
            let (over, answered, held) = (Arc::clone(&over), Arc::clone(&answered), held.clone());
            thread::spawn(move || {
                while !over.load(Ordering::Relaxed) {
                    let answer = ask(listen);
                    assert!(answer.contains(&held), "{answer}");
                    answered.fetch_add(1, Ordering::Relaxed);
                }
            })
        })
        .collect();
    for _ in 0..10 {
        let before = answered.load(Ordering::Relaxed);
        assert_eq!(daemon.stop(), Some(0));
        drop(daemon);
        daemon = manager.start(&config);
        manager.wait_for("READY=1");
        while answered.load(Ordering::Relaxed) < before + 50 {
            assert!(clients.iter().all(|client| !client.is_finished()), "a client has failed");
            thread::yield_now();
        }
    }
    over.store(true, Ordering::Relaxed);
    for client in clients {
        client.join().expect("no request failed");
    }
}

/// One request on a connection of its own, without a second try.
fn ask(address: SocketAddr) -> String {
    let mut stream = TcpStream::connect(address).expect("the port is open");
    write!(stream, "GET {DOCUMENT} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n").expect("it is taken");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("an answer");
    answer
}
