//! The sandbox, by trying: code in a process that is confined as the daemon is tries what an attacker in it would. Each
//! attempt is made without the sandbox, too, where it works: else it would show nothing.

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{
        fs::PermissionsExt,
        process::{CommandExt, ExitStatusExt},
    },
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Stdio},
};

use alppaca::{
    config,
    confinement::{
        Confinement,
        calls::{ALLOWED, Call, HOSTILE},
    },
    daemon::{self, FixedNeeds},
    mock_ims::{Behaviour, LIST_PATH},
};
use support::{Daemon, Ims, cannot, get, needs_root};

/// What the process that tries reads from its environment.
const ATTEMPT: &str = "ALPPACA_TEST_ATTEMPT";
const CONFIG: &str = "ALPPACA_TEST_CONFIG";
const ARGUMENT: &str = "ALPPACA_TEST_ARGUMENT";
/// The signal of a process that has made a hostile system call.
const SIGSYS: i32 = 31;
const DONE: &str = "attempt: done";
const DENIED: &str = "attempt: denied";

/// The kernel's version of Landlock, as the log of a daemon has it.
fn has_landlock() -> bool {
    let ims = Ims::start(Behaviour::default());
    let line = Daemon::start(&ims.config()).wait_for_log("sandbox: ");
    line.contains("by Landlock") || cannot("Landlock", "this kernel has none")
}

/// What an attempt comes to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The call failed.
    Denied,
    /// The process was ended.
    Killed,
}

/// Has another process, which is confined by `config` with this mode, try something.
fn attempt(what: &str, argument: &str, mode: &str, config: &str, uid: u32) -> Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    let run = directory.path().join("run");
    fs::create_dir(&run).expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    fs::write(&file, format!("{config}sandbox: {mode}\nrun_dir: {}\n", run.display())).expect("a file");
    for path in [directory.path(), &run] {
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).expect("ours");
    }
    let mut command = Command::new(std::env::current_exe().expect("a test"));
    command.args(["--exact", "tries", "--nocapture", "--test-threads=1"]).uid(uid).stdin(Stdio::null());
    command.env(ATTEMPT, what).env(CONFIG, &file).env(ARGUMENT, argument);
    let output = command.output().expect("it runs");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    outcome(output.status, &out).unwrap_or_else(|| panic!("{what} with {mode}: {out}\n{err}"))
}

fn outcome(status: ExitStatus, out: &str) -> Option<Outcome> {
    match (status.signal(), out.contains(DONE), out.contains(DENIED)) {
        (Some(SIGSYS), ..) => Some(Outcome::Killed),
        (None, true, false) => Some(Outcome::Done),
        (None, false, true) => Some(Outcome::Denied),
        _ => None,
    }
}

/// No test, but the process that tries.
#[test]
#[allow(clippy::disallowed_methods, clippy::print_stdout, reason = "it is another program")]
fn tries() {
    let variable = |name| std::env::var(name).ok();
    let (Some(what), Some(path), Some(argument)) = (variable(ATTEMPT), variable(CONFIG), variable(ARGUMENT)) else {
        return;
    };
    let path = PathBuf::from(path);
    let loaded = config::load(&path).expect("legal");
    let fixed = FixedNeeds {
        config: &loaded.config,
        uid: rustix::process::geteuid().as_raw(),
        session_dir: None,
        taken: Vec::new(),
        authorities: Vec::new(),
        abstract_manager: false,
    };
    let needs = daemon::needs(&fixed, &path, &loaded, &alppaca_command::environment::host_env());
    let state = Confinement::new(loaded.config.sandbox, &needs).apply();
    assert!(state.problems.is_empty(), "{state:?}");
    println!("\n{}", if try_to(&what, &argument) { DONE } else { DENIED });
}

fn try_to(what: &str, argument: &str) -> bool {
    let pid = || nix::unistd::Pid::from_raw(argument.parse().expect("a number"));
    let raw = |family, protocol| rustix::net::socket(family, rustix::net::SocketType::RAW, protocol).is_ok();
    match what {
        "read" => fs::read(argument).is_ok(),
        "link" => fs::read_link(argument).is_ok(),
        "list" => fs::read_dir(argument).is_ok(),
        "write" => fs::write(argument, "x").is_ok(),
        "execute" => Command::new(argument).status().is_ok(),
        "trace" => nix::sys::ptrace::attach(pid()).is_ok(),
        "signal" => nix::sys::signal::kill(pid(), nix::sys::signal::Signal::SIGCONT).is_ok(),
        "raw socket" => raw(rustix::net::AddressFamily::INET, Some(rustix::net::ipproto::ICMP)),
        "packet socket" => raw(rustix::net::AddressFamily::PACKET, None),
        "bind" => TcpListener::bind(argument).is_ok(),
        "connect" => TcpStream::connect(argument).is_ok(),
        // Two ways past Landlock's rules for ports, which are about plain TCP and the system call `connect`.
        "multipath" => stream_socket(Some(rustix::net::ipproto::MPTCP)).is_ok(),
        "fast open" => {
            let (socket, address) = (stream_socket(None).expect("TCP"), argument.parse::<SocketAddr>().expect("one"));
            let flags = rustix::net::SendFlags::from_bits_retain(0x2000_0000);
            rustix::net::sendto(&socket, b"x", flags, &address).is_ok()
        }
        "become" => rustix::process::getuid().is_root() && nix::unistd::setuid(nix::unistd::Uid::from_raw(1)).is_ok(),
        "lay open" => nix::sys::prctl::set_dumpable(true).is_ok(),
        "unlisted" => nix::unistd::sethostname(nix::unistd::gethostname().expect("a name")).is_ok(),
        _ => panic!("an unknown attempt: {what}"),
    }
}

fn stream_socket(protocol: Option<rustix::net::Protocol>) -> rustix::io::Result<std::os::fd::OwnedFd> {
    rustix::net::socket(rustix::net::AddressFamily::INET, rustix::net::SocketType::STREAM, protocol)
}

/// A server that every process may connect to.
fn server() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

fn config(ims: SocketAddr) -> String {
    format!("ims_protocol: http\nims_host: 127.0.0.1\nims_port: {}\n", ims.port())
}

/// Each attempt works without the sandbox, and comes to this with it.
fn each_comes_to(uid: u32, attempts: &[(&str, &str, Outcome)]) {
    let (_ims, ims) = server();
    for (what, argument, expected) in attempts {
        let config = config(ims);
        assert_eq!(attempt(what, argument, "off", &config, uid), Outcome::Done, "{what} {argument} without it");
        assert_eq!(attempt(what, argument, "enforce", &config, uid), *expected, "{what} {argument} with it");
    }
}

#[test]
fn code_in_the_daemon_reaches_no_other_file_and_no_other_port() {
    if !needs_root("the files of other users") || !has_landlock() {
        return;
    }
    let other = tempfile::tempdir().expect("a directory");
    fs::set_permissions(other.path(), fs::Permissions::from_mode(0o777)).expect("ours");
    let (readable, new) = (other.path().join("theirs"), other.path().join("new"));
    fs::write(&readable, "another user's").expect("a file");
    let path = |path: &Path| path.to_str().expect("text").to_owned();
    let (_server, server) = server();
    let server = server.to_string();
    let mut process = Command::new("sleep").arg("1000").spawn().expect("it runs");
    let pid = process.id().to_string();
    each_comes_to(
        0,
        &[
            ("read", &path(&readable), Outcome::Denied),
            ("list", &path(other.path()), Outcome::Denied),
            ("list", "/root", Outcome::Denied),
            ("write", &path(&new), Outcome::Denied),
            ("link", &format!("/proc/{pid}/exe"), Outcome::Denied),
            ("signal", &pid, Outcome::Denied),
            ("bind", "127.0.0.1:0", Outcome::Denied),
            ("connect", &server, Outcome::Denied),
            ("fast open", &server, Outcome::Denied),
        ],
    );
    if fs::read_to_string("/proc/sys/net/mptcp/enabled").is_ok_and(|enabled| enabled.trim() == "1") {
        each_comes_to(0, &[("multipath", "", Outcome::Denied)]);
    }
    process.kill().and_then(|()| process.wait()).expect("ours");
}

#[test]
fn what_only_an_attacker_would_do_ends_the_daemon() {
    if !needs_root("raw sockets and other users' processes") {
        return;
    }
    let mut process = Command::new("sleep").arg("1000").spawn().expect("it runs");
    let pid = process.id().to_string();
    each_comes_to(
        0,
        &[
            ("execute", "/bin/true", Outcome::Killed),
            ("trace", &pid, Outcome::Killed),
            ("raw socket", "", Outcome::Killed),
            ("packet socket", "", Outcome::Killed),
            ("become", "", Outcome::Killed),
            ("lay open", "", Outcome::Killed),
            ("unlisted", "", Outcome::Killed),
        ],
    );
    process.kill().and_then(|()| process.wait()).expect("ours");
}

#[test]
fn what_the_configuration_names_is_reached_with_the_sandbox_as_well() {
    let (_server, server) = server();
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("token");
    fs::write(&file, "of the configuration").expect("a file");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    let named = format!("{}ims_identity: {{kind: token, file: {}}}\n", config(server), file.display());
    let uid = rustix::process::getuid().as_raw();
    assert_eq!(attempt("read", file.to_str().expect("text"), "enforce", &named, uid), Outcome::Done);
    assert_eq!(attempt("connect", &server.to_string(), "enforce", &named, uid), Outcome::Done);
    assert_eq!(attempt("read", "/etc/passwd", "enforce", &named, uid), Outcome::Done);
}

/// Files in `/etc` are replaced, so the directory is allowed; which of them may be read the account decides.
#[test]
fn the_account_keeps_the_daemon_from_the_passwords() {
    if !needs_root("another account") {
        return;
    }
    let (_ims, ims) = server();
    assert_eq!(attempt("read", "/etc/shadow", "off", &config(ims), 0), Outcome::Done);
    assert_eq!(attempt("read", "/etc/shadow", "enforce", &config(ims), 65534), Outcome::Denied);
}

#[test]
fn a_report_refuses_nothing() {
    let (_ims, ims) = server();
    let uid = rustix::process::getuid().as_raw();
    for (what, argument) in [("execute", "/bin/true"), ("bind", "127.0.0.1:0"), ("read", "/usr/bin/env")] {
        assert_eq!(attempt(what, argument, "report", &config(ims), uid), Outcome::Done, "{what}");
    }
}

#[test]
fn the_daemon_says_what_is_in_force_and_the_kernel_agrees() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let line = daemon.wait_for_log("sandbox: ");
    assert!(line.contains("system calls: ") && line.contains("no new privileges, not dumpable"), "{line}");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    for wanted in ["Seccomp:\t2", "NoNewPrivs:\t1"] {
        assert!(status.contains(wanted), "{wanted}: {status}");
    }
    // All threads, those that were started later, too.
    for thread in fs::read_dir(format!("/proc/{}/task", daemon.pid())).expect("it runs") {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).unwrap_or_default();
        assert!(status.is_empty() || status.contains("Seccomp_filters:\t2"), "{status}");
    }
    let off = Daemon::with_credentials(&format!("{}sandbox: off\n", ims.config()));
    assert!(off.wait_for_log("sandbox: ").contains("sandbox: off; system calls: all"));
}

#[test]
fn a_reload_that_needs_more_is_refused_and_the_former_configuration_stays() {
    if !has_landlock() {
        return;
    }
    let (ims, other) = (Ims::start(Behaviour::default()), Ims::start(Behaviour::default()));
    let daemon = Daemon::with_credentials(&ims.config());
    let file = daemon.directory.path().join("alppaca.yaml");
    let before = fs::read_to_string(&file).expect("a configuration");
    let elsewhere = tempfile::tempdir().expect("a directory");
    let token = elsewhere.path().join("token");
    fs::write(&token, "t").expect("a file");
    fs::set_permissions(&token, fs::Permissions::from_mode(0o600)).expect("ours");
    for (count, (more, lacking)) in [
        (
            before.replace(&ims.config(), &other.config()),
            format!("port {} (source ims: the IMS)", other.address.port()),
        ),
        (
            format!("{before}ims_identity: {{kind: token, file: {}}}\n", token.display()),
            "(source ims: identity)".into(),
        ),
        (
            format!("{before}sources: {{p: {{kind: process, command: [/bin/true]}}}}\n"),
            "the program source p: /bin/true".into(),
        ),
    ]
    .into_iter()
    .enumerate()
    {
        fs::write(&file, more).expect("written");
        daemon.hang_up();
        daemon.wait_for_count("needs a restart, and nothing has been changed", count + 1);
        daemon.wait_for_log(&lacking);
        assert_eq!(get(daemon.address(), LIST_PATH).body, "test_role");
    }
    fs::write(&file, before).expect("written");
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
}

/// The tables of system calls in the documentation.
#[test]
#[allow(clippy::disallowed_methods, reason = "a developer asks for rewriting through the environment")]
fn the_documentation_has_every_system_call_as_the_code_has_it() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/sandbox.md");
    let text = fs::read_to_string(&path).expect("text");
    let (before, rest) = text.split_once("<!-- generated: calls -->\n").expect("a marker");
    let (generated, after) = rest.split_once("<!-- end -->").expect("a marker");
    let tables = format!("{}\n{}", table("allowed for", ALLOWED), table("hostile, since", HOSTILE));
    if std::env::var_os("UPDATE_DOCS").is_some() {
        let text = format!("{before}<!-- generated: calls -->\n{tables}<!-- end -->{after}");
        fs::write(&path, text).expect("writable");
        return;
    }
    assert_eq!(generated, tables, "run UPDATE_DOCS=1 cargo test --test confinement");
}

/// A row for each reason.
fn table(head: &str, calls: &[Call]) -> String {
    let mut rows: Vec<(&str, Vec<String>)> = Vec::new();
    for call in calls {
        let restriction = if call.only.is_empty() { String::new() } else { format!(" ({})", call.restriction) };
        let name = format!("`{}`{restriction}", call.name);
        match rows.iter_mut().find(|(reason, _)| *reason == call.reason) {
            Some((_, names)) => names.push(name),
            None => rows.push((call.reason, vec![name])),
        }
    }
    let rows = rows.into_iter().map(|(reason, names)| format!("| {reason} | {} |\n", names.join(", ")));
    format!("| {head} | system calls |\n|---|---|\n{}", rows.collect::<String>())
}

#[test]
fn a_helper_runs_the_programs_and_the_daemon_stays_confined() {
    let directory = tempfile::tempdir().expect("a directory");
    let program = directory.path().join("login");
    let set = r#"{"Version":1,"AccessKeyId":"ASIAPROC","SecretAccessKey":"wJalr","SessionToken":"IQoJ","Expiration":"2099-01-01T00:00:00Z"}"#;
    // What the daemon may not read.
    let script = format!("#!/bin/sh\nls / >/dev/null || exit 1\necho '{set}'\n");
    fs::write(&program, script).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let config = format!(
        "sources: {{ext: {{kind: process, command: ['{}']}}}}\nroles: {{app: {{source: ext}}}}\n",
        program.display()
    );
    let daemon = Daemon::with_credentials(&config);
    let answer = daemon.get(&format!("{LIST_PATH}app"));
    assert_eq!(answer.json()["AccessKeyId"], "ASIAPROC", "{answer:?}");
    let status = fs::read_to_string(format!("/proc/{}/status", daemon.pid())).expect("it runs");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    // Neither without the other.
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", daemon.pid())).expect("it runs");
    let helper: i32 = children.trim().parse().expect("one child");
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(helper), nix::sys::signal::Signal::SIGKILL).expect("ours");
    daemon.wait_for_log("the helper that runs the programs of sources has ended, and so does the daemon");
}
