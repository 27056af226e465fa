//! The sandbox of the server, by trying: code in a process that is confined as the server is tries what an attacker in it
//! would. Each attempt is made without the sandbox, too, where it works: else it would show nothing.

mod support;

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::{fs::PermissionsExt, process::ExitStatusExt},
    path::PathBuf,
    process::{Command, Stdio},
};

use alppaca_ims::{cli, site};
use support::{
    Scene, Server, Sts,
    needs::{cannot, needs_root},
};

/// What the process that tries reads from its environment.
const ATTEMPT: &str = "ALPPACA_TEST_ATTEMPT";
const CONFIG: &str = "ALPPACA_TEST_CONFIG";
const ARGUMENT: &str = "ALPPACA_TEST_ARGUMENT";
/// The signal of a process that has made a hostile system call.
const SIGSYS: i32 = 31;
const DONE: &str = "attempt: done";
const DENIED: &str = "attempt: denied";
const WEB: &str = "/latest/meta-data/iam/security-credentials/web";

/// What an attempt comes to.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Done,
    /// The call failed.
    Denied,
    /// The process was ended.
    Killed,
}

/// Whether the server finds Landlock in this kernel.
fn has_landlock(server: &Server) -> bool {
    server.wait_for_log("sandbox: ").contains("by Landlock") || cannot("Landlock", "this kernel has none")
}

/// Has another process, which is confined by `config` with this mode, try something.
fn attempt(what: &str, argument: &str, mode: &str, config: &str) -> Outcome {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("ims.yaml");
    fs::write(&file, format!("{config}sandbox: {mode}\n")).expect("a file");
    let mut command = Command::new(std::env::current_exe().expect("a test"));
    command.args(["--exact", "tries", "--nocapture", "--test-threads=1"]).stdin(Stdio::null());
    command.env(ATTEMPT, what).env(CONFIG, &file).env(ARGUMENT, argument);
    let output = command.output().expect("it runs");
    let out = String::from_utf8_lossy(&output.stdout).into_owned();
    match (output.status.signal(), out.contains(DONE), out.contains(DENIED)) {
        (Some(SIGSYS), ..) => Outcome::Killed,
        (None, true, false) => Outcome::Done,
        (None, false, true) => Outcome::Denied,
        _ => panic!("{what} with {mode}: {output:?}"),
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
    let loaded = site::load(&path).expect("legal");
    let state = cli::confinement(&path, &loaded, &alppaca_command::environment::host_env()).apply(false);
    assert!(state.problems.is_empty(), "{state:?}");
    let done = match what.as_str() {
        "read" => fs::read(&argument).is_ok(),
        "write" => fs::write(&argument, "x").is_ok(),
        "link" => {
            let (file, link) = argument.split_once(' ').expect("two");
            fs::hard_link(file, link).and_then(|()| fs::remove_file(link)).is_ok()
        }
        "remove" => fs::rename(&argument, format!("{argument}.old"))
            .and_then(|()| fs::rename(format!("{argument}.old"), &argument))
            .is_ok(),
        "execute" => Command::new(&argument).status().is_ok(),
        "bind" => TcpListener::bind(&argument).is_ok(),
        "connect" => TcpStream::connect(&argument).is_ok(),
        "trace" => nix::sys::ptrace::attach(nix::unistd::Pid::from_raw(argument.parse().expect("a number"))).is_ok(),
        _ => panic!("an unknown attempt: {what}"),
    };
    println!("\n{}", if done { DONE } else { DENIED });
}

/// A server that every process may connect to.
fn open() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
    let address = listener.local_addr().expect("bound");
    (listener, address)
}

#[test]
fn code_in_the_server_reaches_what_its_configuration_names_and_nothing_else() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let usual = scene.usual(&sts.url());
    let server = Server::start(&scene, &usual);
    if !needs_root("other processes") || !has_landlock(&server) {
        return;
    }
    let other = tempfile::tempdir().expect("a directory");
    let own = tempfile::tempdir().expect("a directory");
    let path = |name: &str| own.path().join(name).to_str().expect("text").to_owned();
    let elsewhere = |name: &str| other.path().join(name).to_str().expect("text").to_owned();
    for file in [path("key"), elsewhere("file")] {
        fs::write(&file, "1".repeat(64))
            .and_then(|()| fs::set_permissions(&file, fs::Permissions::from_mode(0o600)))
            .expect("ours");
    }
    fs::create_dir(path("records")).expect("ours");
    fs::write(path("records/first"), "x").expect("ours");
    let ((_ldap, ldap), (_closed, closed)) = (open(), open());
    let sts_address = sts.url().trim_start_matches("http://").trim_end_matches('/').to_owned();
    let config = format!(
        "{}approvals: {{directory: {}, key_file: {}}}\ndirectories: {{corp: {{urls: 'ldap://localhost:{}', base_dn: 'dc=x'}}}}\n",
        usual.replace("from_networks: 127.0.0.1}", "from_networks: 127.0.0.1, groups_from: corp}"),
        path("records"),
        path("key"),
        ldap.port(),
    );
    let mut process = Command::new("sleep").arg("1000").spawn().expect("it runs");
    for (what, argument, with) in [
        ("read", scene.path().join("server.key").to_str().expect("text").to_owned(), Outcome::Done),
        ("read", path("key"), Outcome::Done),
        ("write", path("records/new"), Outcome::Done),
        ("link", format!("{} {}", path("records/first"), path("records/second")), Outcome::Done),
        ("connect", sts_address, Outcome::Done),
        ("connect", ldap.to_string(), Outcome::Done),
        ("connect", closed.to_string(), Outcome::Denied),
        ("bind", "127.0.0.1:0".to_owned(), Outcome::Denied),
        ("read", elsewhere("file"), Outcome::Denied),
        ("write", elsewhere("file"), Outcome::Denied),
        // Beside the audit no file is changed by removing it; making one is what its rotation needs.
        ("remove", scene.path().join("server.pem").to_str().expect("text").to_owned(), Outcome::Denied),
        ("execute", "/bin/true".to_owned(), Outcome::Killed),
        ("trace", process.id().to_string(), Outcome::Killed),
    ] {
        assert_eq!(attempt(what, &argument, "off", &config), Outcome::Done, "{what} {argument} without it");
        assert_eq!(attempt(what, &argument, "enforce", &config), with, "{what} {argument} with it");
    }
    assert_eq!(attempt("execute", "/bin/true", "report", &config), Outcome::Done);
    process.kill().and_then(|()| process.wait()).expect("ours");
}

#[test]
fn the_server_says_what_is_in_force_and_the_kernel_agrees() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &(scene.usual(&sts.url()) + "metrics_listen: 127.0.0.1:0\n"));
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    assert_eq!(client.get(WEB, &[]).status, 200, "{}", server.log());
    let line = server.wait_for_log("sandbox: ");
    assert!(
        line.contains("system calls: ") && line.contains("no new privileges, not dumpable, no core dumps"),
        "{line}"
    );
    // All threads, those that were started later, too.
    for thread in fs::read_dir(format!("/proc/{}/task", server.id())).expect("it runs") {
        let status = fs::read_to_string(thread.expect("a thread").path().join("status")).unwrap_or_default();
        assert!(status.is_empty() || status.contains("Seccomp_filters:\t2"), "{status}");
        assert!(status.is_empty() || status.contains("NoNewPrivs:\t1"), "{status}");
    }
    let metrics = server.monitor("/metrics");
    for series in
        ["alppaca_ims_sandbox_info{mode=\"enforce\"} 1", "alppaca_ims_sandbox_in_force{part=\"system_calls\"} 1"]
    {
        assert!(metrics.contains(series), "{series}: {metrics}");
    }
    let check = Command::new(env!("CARGO_BIN_EXE_alppaca-ims"))
        .args(["check", "-c"])
        .arg(scene.path().join("ims.yaml"))
        .output();
    let text = String::from_utf8_lossy(&check.expect("it runs").stdout).into_owned();
    let here = text.lines().find_map(|line| line.strip_prefix("on this kernel: ")).expect("a line");
    assert!(line.contains(&format!("sandbox: {here}; ")), "{here}: {line}");
    assert!(text.contains("(sts: STS)") && text.contains("(audit_log: the file)"), "{text}");
    // What is the host's or the server's own belongs to no section.
    let of_console: Vec<&str> = text.lines().filter(|line| line.contains("console: ")).collect();
    assert!(matches!(of_console[..], [line] if line.contains("(console: the sign-in of AWS)")), "{of_console:#?}");
}

#[test]
fn a_reload_that_needs_more_is_refused_and_the_former_configuration_stays() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let usual = scene.usual(&sts.url());
    let server = Server::start(&scene, &usual);
    if !has_landlock(&server) {
        return;
    }
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    let elsewhere = tempfile::tempdir().expect("a directory");
    let secrets = elsewhere.path().join("secrets");
    fs::write(&secrets, "")
        .and_then(|()| fs::set_permissions(&secrets, fs::Permissions::from_mode(0o600)))
        .expect("ours");
    let more =
        usual.replace("identities:\n", &format!("identities:\n  t: {{kind: token, file: {}}}\n", secrets.display()));
    server.reload(&more, "the new configuration needs a restart, and nothing has been changed: the sandbox");
    assert!(server.log().contains("(identity method t: "), "{}", server.log());
    assert_eq!(client.get(WEB, &[]).status, 200, "{}", server.log());
    server.reload(&usual, "the configuration was read again");
}

#[test]
fn a_helper_runs_the_program_of_the_credentials_and_the_server_stays_confined() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let program = scene.path().join("login");
    let set = format!(
        r#"{{"Version":1,"AccessKeyId":"AKIAIOSFODNN7EXAMPLE","SecretAccessKey":"{}","Expiration":"2099-01-01T00:00:00Z"}}"#,
        support::SECRET
    );
    // What the server may not read.
    fs::write(&program, format!("#!/bin/sh\nls / >/dev/null || exit 1\necho '{set}'\n")).expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let config = scene.usual(&sts.url());
    let keys = config.lines().find(|line| line.contains("credentials: {kind: static")).expect("there");
    let config = config.replace(keys, &format!("  credentials: {{kind: process, command: ['{}']}}", program.display()));
    let server = Server::start(&scene, &config);
    let client = scene.client(server.address, Some(&scene.authority.host("web1.example.com", 7)));
    assert_eq!(client.get(WEB, &[]).status, 200, "{}", server.log());
    assert!(server.wait_for_log("sandbox: ").contains("a helper runs programs"));
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    // Neither without the other.
    let children = fs::read_to_string(format!("/proc/{0}/task/{0}/children", server.id())).expect("it runs");
    let helper = nix::unistd::Pid::from_raw(children.trim().parse().expect("one child"));
    nix::sys::signal::kill(helper, nix::sys::signal::Signal::SIGKILL).expect("ours");
    server.wait_for_log(
        "the helper that runs the programs of sources has ended: what they gave is served until it expires",
    );
}

#[test]
fn a_helper_runs_the_alert_of_an_emergency_and_the_server_stays_confined() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let (program, told) = (scene.path().join("page"), tempfile::tempdir().expect("a directory"));
    let told = told.path().join("told");
    // Where the server may not write.
    fs::write(&program, format!("#!/bin/sh\necho \"$EMERGENCY_ROLE: $EMERGENCY_REASON\" > {}\n", told.display()))
        .expect("a file");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).expect("ours");
    let rule = "  - {name: break glass, match: {method: people, groups: oncall}, account: demo, role: admin,\n     \
                emergency: {reason: required, for: 20m}}\n";
    let alert = format!("audit_required: yes\nemergency_alert: '{}'\n", program.display());
    let server = Server::start(&scene, &format!("{}{rule}{alert}", scene.usual(&sts.url())));
    assert!(server.wait_for_log("sandbox: ").contains("a helper runs programs"));
    let status = fs::read_to_string(format!("/proc/{}/status", server.id())).expect("it runs");
    assert!(status.contains("Seccomp:\t2"), "{status}");
    let headers = [("X-Remote-User", "alice"), ("X-Groups", "oncall"), ("X-Alppaca-Reason", "ticket 4711; $(id)")];
    let answer = scene.client(server.address, None).get("/account/demo/admin/credentials", &headers);
    assert_eq!(answer.status, 200, "{answer:?}\n{}", server.log());
    assert_eq!(fs::read_to_string(&told).expect("it has run"), "admin: ticket 4711; $(id)\n");
}
