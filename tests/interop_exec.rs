//! `alppaca exec`: the real binary, a real daemon, programs that outlive a restart of it, and boto3.

mod support;

use std::{
    io::{BufRead, BufReader, Write},
    net::SocketAddr,
    path::Path,
    process::{Child, Command, Stdio},
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims};

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");

/// A program that was started by `exec`, and talks by lines.
struct Program {
    child: Child,
    said: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Program {
    fn start(socket: &Path, home: &Path, arguments: &[&str]) -> Self {
        let mut child = Command::new(ALPPACA)
            .arg("exec")
            .arg("--socket")
            .arg(socket)
            .args(arguments)
            .env("HOME", home)
            .env("AWS_PROFILE", "other")
            .env("AWS_ACCESS_KEY_ID", "AKIAOTHER")
            .env("AWS_EC2_METADATA_DISABLED", "true")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let said = BufReader::new(child.stdout.take().expect("piped")).lines();
        Self { child, said }
    }

    fn line(&mut self) -> String {
        self.said.next().expect("it says more").expect("UTF-8")
    }

    fn ask(&mut self) -> String {
        self.child.stdin.as_mut().expect("piped").write_all(b"\n").expect("it reads");
        self.line()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

struct Place {
    ims: Ims,
    directory: tempfile::TempDir,
    config: String,
}

impl Place {
    /// A configuration with which a daemon can be started again and again.
    fn new() -> Self {
        let ims = Ims::start(Behaviour { lifetime: std::time::Duration::from_secs(12), ..Behaviour::default() });
        let directory = tempfile::tempdir().expect("a directory");
        let config = format!(
            "{}metadata: {{region: eu-west-1}}\nrun_dir: {}\n",
            ims.config(),
            directory.path().join("run").display()
        );
        Self { ims, directory, config }
    }

    fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("run/alppaca.sock")
    }
}

fn address(url: &str) -> SocketAddr {
    let (address, _) = url.strip_prefix("http://").and_then(|rest| rest.split_once('/')).expect("a URL");
    address.parse().expect("an address")
}

fn get_path(address: SocketAddr, path: &str, token: &str) -> support::Response {
    support::request(address, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: {token}\r\n"))
}

fn get(url: &str, token: &str) -> support::Response {
    get_path(address(url), &format!("/role/{}", url.rsplit('/').next().expect("a role")), token)
}

/// A program that says where it gets its credentials and with which token, and then waits; both of these.
fn waiting(place: &Place) -> (Program, String, String) {
    let script = "echo \"$AWS_CONTAINER_CREDENTIALS_FULL_URI\"; echo \"$AWS_CONTAINER_AUTHORIZATION_TOKEN\"; read line";
    let mut program = Program::start(&place.socket(), place.directory.path(), &["--", "sh", "-c", script]);
    let (url, token) = (program.line(), program.line());
    (program, url, token)
}

#[test]
fn the_listener_of_exec_takes_its_tokens_alone_and_outlives_reloads() {
    let mut place = Place::new();
    let file = place.directory.path().join("token");
    std::fs::write(&file, "of-a-file").expect("ours");
    let role = format!("test_role: {{open: true, authorization_token_file: '{}'}}", file.display());
    place.config = format!("{}container: {{listen: '127.0.0.1:0', roles: {{{role}}}}}\n", place.config);
    let daemon = Daemon::with_credentials(&place.config);
    let (_configured, url, token) = waiting(&place);
    let container = daemon.face("container");
    assert_eq!(address(&url), container, "a listener of the configuration comes first");
    assert_eq!(get_path(container, "/role/test_role", "").status, 200, "it is open");
    // It is there for the program, even if the configuration names it no more.
    let written = daemon.directory.path().join("alppaca.yaml");
    let text = std::fs::read_to_string(&written).expect("written");
    let rest: Vec<&str> = text.lines().filter(|line| !line.starts_with("container:")).collect();
    std::fs::write(&written, rest.join("\n")).expect("ours");
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
    assert_eq!(get(&url, &token).status, 200);
    for (path, token, status) in [
        ("/role/test_role", "", 401),
        ("/role/test_role", "of-a-file", 401),
        ("/v2/credentials/of-a-file", "", 400),
        ("/role/other", token.as_str(), 403),
        ("/any/path", token.as_str(), 200),
    ] {
        assert_eq!(get_path(container, path, token).status, status, "{path} {token}");
    }
}

#[test]
fn exec_has_a_listener_of_its_own_on_loopback_and_none_without_the_admin_socket() {
    let place = Place::new();
    let daemon = Daemon::with_credentials(&place.config);
    let (_program, url, token) = waiting(&place);
    assert!(address(&url).ip().is_loopback());
    let status = Command::new(ALPPACA).args(["status", "--json", "--socket"]).arg(place.socket()).output();
    let status: serde_json::Value = serde_json::from_slice(&status.expect("it runs").stdout).expect("JSON");
    let listeners = status["listeners"].as_array().expect("a list");
    let own = serde_json::json!({"face": "exec", "address": address(&url).to_string()});
    assert!(listeners.contains(&own), "{status}");
    for (path, token, status) in [
        ("/role/test_role", token.as_str(), 200),
        ("/role/test_role", "", 401),
        ("/latest/meta-data/iam/security-credentials/", "", 401),
        ("/role/other", token.as_str(), 403),
    ] {
        assert_eq!(get_path(address(&url), path, token).status, status, "{path}");
    }
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
    assert_eq!(get(&url, &token).status, 200);
    let off = Daemon::with_credentials(&format!("{}admin_socket: off\n", place.ims.config()));
    assert!(!off.log().contains("exec"), "{}", off.log());
}

#[test]
fn a_port_that_was_taken_meanwhile_is_told_and_taken_back_when_it_is_free() {
    let place = Place::new();
    let mut daemon = Daemon::with_credentials(&place.config);
    let (_program, url, token) = waiting(&place);
    assert_eq!(daemon.stop(), Some(0));
    drop(daemon);
    let stranger = std::net::TcpListener::bind(address(&url)).expect("it is free");
    let daemon = Daemon::with_credentials(&place.config);
    let said = daemon.wait_for_log("programs that `alppaca exec` started before use ");
    // A confined daemon cannot look into the processes of others, so it only knows whose it is.
    let whose = [format!("process {}", std::process::id()), format!("uid {}", rustix::process::geteuid().as_raw())];
    assert!(said.contains(&address(&url).to_string()) && whose.iter().any(|whose| said.contains(whose)), "{said}");
    // Others are served in the meantime, elsewhere.
    let (_other, other_url, other_token) = waiting(&place);
    assert_ne!(address(&other_url), address(&url));
    assert_eq!(get(&other_url, &other_token).status, 200);
    drop(stranger);
    daemon.wait_for_log(&format!("{} is free now", address(&url)));
    for (url, token) in [(&url, &token), (&other_url, &other_token)] {
        assert_eq!(get(url, token).status, 200);
    }
}

#[test]
fn the_program_takes_our_place_and_its_token_lives_as_long_as_it_does() {
    let place = Place::new();
    let mut daemon = Daemon::with_credentials(&place.config);
    let script = "echo $$; echo \"$AWS_CONTAINER_CREDENTIALS_FULL_URI\"; echo \"$AWS_CONTAINER_AUTHORIZATION_TOKEN\"; \
                  echo \"${AWS_PROFILE-none} ${AWS_ACCESS_KEY_ID-none} $AWS_REGION\"; read line; exit 7";
    let home = tempfile::tempdir().expect("a directory");
    let mut program = Program::start(&place.socket(), home.path(), &["test_role", "--", "sh", "-c", script]);
    assert_eq!(program.line(), program.child.id().to_string(), "the program has our process");
    let (url, token) = (program.line(), program.line());
    assert_eq!(program.line(), "none none eu-west-1");
    let answer = get(&url, &token);
    assert_eq!(answer.status, 200, "{answer:?}");
    assert!(answer.json()["AccessKeyId"].as_str().is_some_and(|key| key.starts_with("ASIA")));
    assert_eq!(get(&url, "x").status, 401);
    assert_eq!(daemon.stop(), Some(0));
    drop(daemon);
    let daemon = Daemon::with_credentials(&place.config);
    assert_eq!(get(&url, &token).status, 200, "the token has survived the daemon");
    let leases = place.directory.path().join("run/alppaca.leases");
    assert!(!std::fs::read_to_string(leases).expect("written").contains(&token));
    assert!(!daemon.log().contains(&token));
    program.child.stdin.as_mut().expect("piped").write_all(b"\n").expect("it reads");
    assert_eq!(program.child.wait().expect("it ends").code(), Some(7));
    // Looked after at each change of the store; there is one every four seconds.
    let ended = (0..2000).any(|_| {
        std::thread::sleep(std::time::Duration::from_millis(5));
        get(&url, &token).status == 401
    });
    assert!(ended, "the token ends with the program");
    assert!(place.ims.calls() > 0);
}

#[test]
fn what_keeps_a_program_from_starting_has_its_exit_code() {
    let place = Place::new();
    let _daemon = Daemon::with_credentials(&place.config);
    let (socket, nowhere) = (place.socket(), place.directory.path().join("none.sock"));
    for (socket, arguments, code, part) in [
        (&socket, &["wob", "--", "true"][..], 4, "there is no role wob for user "),
        (&socket, &["--", "/no/such/program"], 127, "cannot run /no/such/program"),
        (&socket, &["--", "/etc/passwd"], 126, "cannot run /etc/passwd"),
        (&socket, &["test_role"], 2, "required arguments"),
        (&nowhere, &["--", "true"], 3, "no daemon answers at "),
    ] {
        let mut command = Command::new(ALPPACA);
        let output = command.arg("exec").arg("--socket").arg(socket).args(arguments).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(part), "{arguments:?}: {output:?}");
    }
}

/// Prints the access key that the default chain finds, for each line that it reads.
const SCRIPT: &str = "
import sys, boto3
session = boto3.Session()
for line in sys.stdin:
    found = session.get_credentials()
    print(found.method, found.get_frozen_credentials().access_key, session.region_name, flush=True)
";

#[test]
#[allow(clippy::disallowed_methods, reason = "the environment tells which Python has boto3")]
fn boto3_gets_new_credentials_by_itself_across_rollovers_and_a_restart() {
    let Ok(python) = std::env::var("ALPPACA_TEST_PYTHON") else {
        support::skip("exec with boto3", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let place = Place::new();
    let mut daemon = Daemon::with_credentials(&place.config);
    let home = tempfile::tempdir().expect("a directory");
    std::fs::create_dir(home.path().join(".aws")).expect("ours");
    // What exec has to keep from the program.
    let shadow = "[default]\naws_access_key_id = AKIASHADOW\naws_secret_access_key = x\n";
    std::fs::write(home.path().join(".aws/credentials"), shadow).expect("ours");
    let mut program = Program::start(&place.socket(), home.path(), &["--", &python, "-c", SCRIPT]);
    let mut seen = std::collections::BTreeSet::new();
    for restart in [false, true, false] {
        let before = seen.len();
        while seen.len() < before + 2 {
            let line = program.ask();
            let [method, key, region] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            assert_eq!((method, region), ("container-role", "eu-west-1"));
            assert!(key.starts_with("ASIA"), "{line}");
            seen.insert(key.to_owned());
        }
        if restart {
            daemon.stop();
            daemon = Daemon::with_credentials(&place.config);
        }
    }
    let issued: Vec<String> = place.ims.handle.issued().into_iter().map(|set| set.access_key_id).collect();
    assert!(seen.iter().all(|key| issued.contains(key)), "{seen:?}");
}
