//! What happens to the daemon when its host is in trouble: the table of docs/behaviour.md, as far as no other test has it.

mod support;

use std::{
    collections::BTreeSet,
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use alppaca::mock_ims::Behaviour;
use rustix::process::{Pid, Resource, Rlimit, Signal, kill_process, prlimit};
use support::{
    Daemon, Ims, connect, connect_when_listening, get,
    load::{ask_on, head},
    needs, needs_root,
    service::Service,
    small::Small,
};
use tempfile::TempDir;

const DOCUMENT: &str = "/latest/meta-data/iam/security-credentials/test_role";
const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");

fn pid(daemon: &Daemon) -> Pid {
    Pid::from_raw(daemon.pid().cast_signed()).expect("not 0")
}

fn has_credentials(daemon: &Daemon) -> bool {
    get(daemon.address(), DOCUMENT).status == 200
}

/// There is no event for "somebody else's process has done it".
fn wait_until(done: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    for _ in 0..3000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it takes too long: {}", otherwise());
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the daemon goes by the real clock")]
fn a_stopped_process_goes_on_where_it_was() {
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(12), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&ims.config());
    kill_process(pid(&daemon), Signal::STOP).expect("it runs");
    let waiting: Vec<_> = (0..20).map(|_| connect(daemon.address())).collect();
    let answers: Vec<_> = waiting.into_iter().map(|stream| thread::spawn(|| ask_on(stream, &head(DOCUMENT)))).collect();
    // Longer than the credentials live, so that those must not be served.
    thread::sleep(Duration::from_secs(13));
    assert!(answers.iter().all(|answer| !answer.is_finished()), "nobody answers");
    kill_process(pid(&daemon), Signal::CONT).expect("it runs");
    for answer in answers {
        let answer = answer.join().expect("no panic").expect("an answer");
        let key = answer.split("\"AccessKeyId\"").nth(1).and_then(|rest| rest.split('"').nth(1));
        // None, or a new one: what is answered has not expired.
        let issued = key.map(|key| ims.handle.issued_with(key).expect("it was issued"));
        assert!(issued.is_none_or(|issued| issued.expiration > jiff::Timestamp::now()), "{answer}");
    }
    wait_until(|| has_credentials(&daemon), || daemon.log());
}

#[test]
fn without_free_descriptors_clients_wait_and_are_answered_later() {
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(12), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&ims.config());
    let open = fs::read_dir(format!("/proc/{}/fd", daemon.pid())).expect("it runs");
    let open: BTreeSet<u64> = open.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok()).collect();
    // The limit is one of the numbers.
    let free = (0..1024).find(|number| !open.contains(number));
    let limits = fs::read_to_string(format!("/proc/{}/limits", daemon.pid())).expect("it runs");
    let line = limits.lines().find(|line| line.starts_with("Max open files")).expect("a line");
    let maximum = line.split_whitespace().nth(4).and_then(|maximum| maximum.parse().ok());
    let before = prlimit(Some(pid(&daemon)), Resource::Nofile, Rlimit { current: free, maximum });
    let before = before.expect("ours");
    let waiting = connect(daemon.address());
    let answer = thread::spawn(|| ask_on(waiting, &head(DOCUMENT)));
    daemon.wait_for_log("cannot accept connections: Too many open files");
    prlimit(Some(pid(&daemon)), Resource::Nofile, before).expect("ours");
    assert!(answer.join().expect("no panic").expect("an answer").contains("AccessKeyId"));
    assert_eq!(daemon.log().matches("cannot accept connections").count(), 1, "it is said once");
    wait_until(|| has_credentials(&daemon), || daemon.log());
}

/// A service manager would start it again. What it must not do is to live on without a part of itself.
#[test]
fn at_the_limit_of_its_memory_it_ends() {
    let ims = Ims::start(Behaviour::default());
    let mut daemon = Daemon::with_credentials(&ims.config());
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    let size = status.lines().find_map(|line| line.strip_prefix("VmSize:")?.trim().split(' ').next()?.parse().ok());
    let size: u64 = size.map(|kilobytes: u64| kilobytes * 1024).expect("a number");
    let limit = Rlimit { current: Some(size), maximum: Some(size) };
    prlimit(Some(pid(&daemon)), Resource::As, limit).expect("ours");
    let mut held = Vec::new();
    let ended = (0..20_000).find_map(|number: u32| {
        // Connections and requests take memory, and the first of either may be the one that finds none.
        if let Ok(mut stream) = TcpStream::connect(daemon.address()) {
            // It may have ended meanwhile.
            let _ended = stream.write_all(format!("GET /{} HTTP/1.1\r\n", "x".repeat(4000)).as_bytes());
            held.push(stream);
        }
        number.is_multiple_of(50).then(|| daemon.ended()).flatten()
    });
    let ended = ended.unwrap_or_else(|| panic!("it lives on: {}", daemon.log()));
    assert_eq!(ended.signal(), Some(6), "{ended:?}\n{}", daemon.log());
    daemon.wait_for_log("memory allocation of ");
}

#[test]
fn on_a_read_only_file_system_it_serves_without_its_socket() {
    const WHAT: &str = "behaviour: read-only file system";
    if !needs_root(WHAT) || !needs(WHAT, "unshare") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let directory = TempDir::new().expect("a directory");
    let run = directory.path().display();
    let script = format!("mount -t tmpfs -o ro none {run} && exec \"$0\" \"$@\"");
    let start = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script, program]);
        command
    };
    let config = format!("{}run_dir: {run}\n", ims.config());
    let daemon = Daemon::start_through(&config, start, || {});
    daemon.wait_for_log("no admin socket, so no `alppaca status`, `credentials` and `exec`: ");
    daemon.wait_for_log("Read-only file system");
    wait_until(|| has_credentials(&daemon), || daemon.log());
}

#[test]
fn a_full_disk_of_the_log_delays_nobody_and_what_is_missing_is_said() {
    const WHAT: &str = "behaviour: full disk of the log";
    if !needs_root(WHAT) || !needs(WHAT, "unshare") || !needs(WHAT, "nsenter") {
        return;
    }
    let (ims, small) = (Ims::start(Behaviour::default()), Small::new("1m"));
    fs::write(small.outside("filler"), vec![b'x'; (1024 - 16) * 1024]).expect("there is room");
    let place = TempDir::new().expect("a directory");
    let (file, run) = (place.path().join("alppaca.yaml"), place.path().join("run"));
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free").port();
    let config = format!(
        "{}bind_port: {port}\nrun_dir: {}\nlogging_handler: {{module: logging, class: FileHandler, args: [{}]}}\n",
        ims.config(),
        run.display(),
        small.inside("log").display()
    );
    fs::write(&file, config).expect("a file");
    let mut command = small.enter(ALPPACA);
    let _daemon = Running(command.args(["run", "-c"]).arg(&file).stderr(Stdio::null()).spawn().expect("it runs"));
    let address = ([127, 0, 0, 1], port).into();
    drop(connect_when_listening(address));
    let text = || fs::read_to_string(small.outside("log")).unwrap_or_default();
    let mut full = 0;
    while full < 3 {
        let before = text().len();
        for _ in 0..200 {
            assert_eq!(get(address, DOCUMENT).status, 200);
        }
        full = if text().len() == before { full + 1 } else { 0 };
    }
    fs::remove_file(small.outside("filler")).expect("it is there");
    wait_until(
        || {
            assert_eq!(get(address, DOCUMENT).status, 200);
            text().contains("log record(s)")
        },
        text,
    );
}

/// A daemon and its upstream in a network and with names of their own.
struct Island {
    daemon: Daemon,
    hosts: std::path::PathBuf,
    _directory: TempDir,
}

impl Island {
    /// `ims.test` is not known yet.
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        let (hosts, resolv) = (directory.path().join("hosts"), directory.path().join("resolv.conf"));
        fs::write(&hosts, "127.0.0.1 localhost\n").expect("a file");
        // Nobody answers there, and nothing leads there.
        fs::write(&resolv, "nameserver 192.0.2.53\n").expect("a file");
        let script = format!(
            "ip link set lo up && mount --bind {} /etc/hosts && mount --bind {} /etc/resolv.conf && exec \"$0\" \"$@\"",
            hosts.display(),
            resolv.display()
        );
        let start = |program: &str| {
            let mut command = Command::new("unshare");
            command.args(["--net", "--mount", "sh", "-c", &script, program]);
            command
        };
        let config = "ims_protocol: http\nims_host: ims.test\nims_port: 8080\nready_wait: 100ms\n";
        let daemon = Daemon::start_through(config, start, || {});
        Self { daemon, hosts, _directory: directory }
    }

    fn inside(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.args(["--net", "--target", &self.daemon.pid().to_string(), program]);
        command
    }

    /// An upstream at `address`.
    fn upstream(&self, address: &str, role: &str) -> Running {
        let mut command = self.inside(ALPPACA);
        command.args(["mock-ims", "--quiet", "--lifetime", "20s", "--role", role, "--bind", address]);
        Running(command.spawn().expect("it runs"))
    }

    /// From now on `ims.test` has that address.
    fn name(&self, address: &str) {
        // The file that is mounted cannot be replaced.
        fs::write(&self.hosts, format!("127.0.0.1 localhost\n{address} ims.test\n")).expect("a file");
    }

    /// What a program inside is told.
    fn ask(&self, path: &str) -> String {
        let url = format!("http://{}{path}", self.daemon.address());
        let output = self.inside("curl").args(["-sS", "-m", "20", &url]).output().expect("curl");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
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

fn can_be_an_island(what: &str) -> bool {
    needs_root(what) && ["unshare", "nsenter", "ip", "curl"].iter().all(|program| needs(what, program))
}

#[test]
#[allow(clippy::disallowed_methods, reason = "what a program sees is measured by the real clock")]
fn names_that_are_known_late_are_asked_for_as_soon_as_a_program_waits() {
    if !can_be_an_island("behaviour: late DNS") {
        return;
    }
    let island = Island::new();
    let upstream = island.upstream("127.0.0.1:8080", "test_role");
    island.daemon.wait_for_count("ims.test", 3);
    island.name("127.0.0.1");
    let began = Instant::now();
    while !island.ask(DOCUMENT).contains("AccessKeyId") {
        assert!(began.elapsed() < Duration::from_secs(10), "{}", island.daemon.log());
    }
    drop(upstream);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "what a program sees is measured by the real clock")]
fn another_address_of_the_upstream_is_followed_within_a_minute() {
    if !can_be_an_island("behaviour: another address") {
        return;
    }
    let island = Island::new();
    island.name("127.0.0.1");
    let old = island.upstream("127.0.0.1:8080", "test_role");
    island.daemon.wait_for_log(" fetched ");
    let new = island.upstream("127.0.0.2:8080", "other_role");
    // What keeps a connection to the old one would go on with it for as long as both use it.
    drop(old);
    island.name("127.0.0.2");
    let began = Instant::now();
    while !island.ask("/latest/meta-data/iam/security-credentials/").contains("other_role") {
        assert!(began.elapsed() < Duration::from_mins(1), "{}", island.daemon.log());
        thread::sleep(Duration::from_millis(200));
    }
    drop(new);
}

/// The run directory, with the pid file in it.
#[test]
fn a_run_directory_that_disappears_is_made_again_with_the_pid_file() {
    // The sandbox is about the directory that was there: in it a restart makes the next one.
    let service = Service::with("sandbox: report\n");
    assert_eq!(service.say("start").0, Some(0));
    let pid = service.pid();
    fs::remove_dir_all(service.path("run")).expect("ours");
    wait_until(|| service.say("status").0 == Some(0), || service.log());
    assert_eq!(service.pid(), pid);
    assert_eq!(service.say("restart"), (Some(0), "alppaca restarted\n".to_owned()));
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
}
