//! The commands as a person types them.

mod support;

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    os::unix::fs::symlink,
    path::Path,
    process::{Command, Output, Stdio},
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims};

fn alppaca(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_alppaca")).args(arguments).output().expect("it runs")
}

fn stdout(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// Ended by Ctrl-C, and by the end of its terminal.
#[test]
fn the_demo_serves_and_tells_what_to_type_and_what_happens() {
    for signal in [rustix::process::Signal::INT, rustix::process::Signal::HUP] {
        prove_demo(signal);
    }
}

fn prove_demo(signal: rustix::process::Signal) {
    let temporary = tempfile::tempdir().expect("a directory");
    let mut child = Command::new(env!("CARGO_BIN_EXE_alppaca"))
        .args(["demo", "--port", "0"])
        .env("TMPDIR", temporary.path())
        .stdout(Stdio::piped())
        .spawn()
        .expect("it starts");
    let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
    let mut address = None;
    let mut socket = None;
    for line in lines {
        if let Some((_, path)) = line.split_once("export ALPPACA_SOCKET=") {
            socket = Some(path.to_owned());
        }
        if let Some((_, url)) = line.split_once("serves the role test_role at http://") {
            address = Some(url.trim_end_matches('/').to_owned());
        }
        if line.contains("credentials fetched: ASIA") {
            break;
        }
    }
    let mut stream = TcpStream::connect(address.expect("it says where")).expect("it listens");
    stream.write_all(b"GET /latest/meta-data/iam/security-credentials/test_role HTTP/1.0\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("it answers");
    assert!(answer.contains("\"Code\" : \"Success\""), "{answer}");
    let socket = std::path::PathBuf::from(socket.expect("it says where"));
    let said = stdout(
        &Command::new(env!("CARGO_BIN_EXE_alppaca"))
            .arg("status")
            .env("ALPPACA_SOCKET", &socket)
            .output()
            .expect("it runs"),
    );
    assert!(said.contains("\ntest_role  fresh "), "{said}");
    let directory = socket.parent().expect("a directory");
    assert!(directory.starts_with(temporary.path()) && directory.join("imds-token.key").exists());
    let pid = rustix::process::Pid::from_child(&child);
    rustix::process::kill_process(pid, signal).expect("it runs");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert_eq!(std::fs::read_dir(temporary.path()).expect("ours").count(), 0, "nothing is left behind");
}

#[test]
fn a_busy_port_is_told_with_the_way_out() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("free");
    let port = taken.local_addr().expect("bound").port().to_string();
    let output = alppaca(&["demo", "--port", &port]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains(" in use (os error 98) by uid "), "{said}");
    assert!(said.contains("`alppaca demo --port 0` takes a free port."), "{said}");
}

#[test]
fn without_the_role_server_the_demo_of_a_desktop_says_which_package_has_it() {
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let program = place.path().join("alppaca");
    // No copy: another test's child could still have it open for writing.
    std::fs::hard_link(env!("CARGO_BIN_EXE_alppaca"), &program).expect("another name");
    let output = Command::new(program).args(["demo", "--desktop"]).env("PATH", place.path()).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(1) && said.contains("install the package alppaca-ims"), "{said}");
}

#[test]
fn help_version_completions_and_the_manual_are_there() {
    let version = stdout(&alppaca(&["--version"]));
    assert!(version.starts_with(concat!("alppaca ", env!("CARGO_PKG_VERSION"), " (")), "{version}");
    assert!(version.contains("features: "), "{version}");
    for command in [
        "run",
        "check",
        "status",
        "credentials",
        "exec",
        "roles",
        "use",
        "me",
        "console",
        "profiles",
        "prompt",
        "doctor",
        "demo",
        "mock-ims",
        "capture",
        "generate",
        "source",
        "policy",
        "migrate",
    ] {
        let output = alppaca(&[command, "--help"]);
        assert!(output.status.success() && stdout(&output).contains("Usage: alppaca "), "{command}");
        assert!(!stdout(&output).contains("docs/"), "{command}: an installed host has no docs/");
    }
    for (what, part) in [
        ("bash", "_clap_complete_alppaca()"),
        ("zsh", "#compdef alppaca"),
        ("fish", "--command alppaca"),
        ("man", ".TH alppaca 1"),
    ] {
        let output = alppaca(&["generate", what]);
        assert!(output.status.success() && stdout(&output).contains(part), "{what}");
    }
    for (what, part) in [("bash", "_alppacad()"), ("zsh", "#compdef alppacad"), ("man", ".TH alppacad 8")] {
        let output = alppaca(&["generate", what, "--of", "alppacad"]);
        assert!(output.status.success() && stdout(&output).contains(part), "{what}");
    }
    let configuration = alppaca(&["generate", "man", "--of", "alppaca.yaml"]);
    assert!(configuration.status.success() && stdout(&configuration).contains(".TH alppaca.yaml 5"));
    assert_eq!(alppaca(&["generate", "bash", "--of", "alppaca.yaml"]).status.code(), Some(2));
    let manual = stdout(&alppaca(&["generate", "man"]));
    for part in [
        "COMMAND CAPTURE",
        "COMMAND POLICY EXPLAIN",
        "COMMAND SOURCE TEST",
        "alppaca exec deploy",
        "4 there is no such",
    ] {
        assert!(manual.contains(part), "{part}");
    }
    assert!(!manual.contains("EXTRA") && !manual.contains("run(1)"), "pages that are not there");
}

#[test]
fn a_wrong_command_line_is_exit_code_2() {
    let output = alppaca(&["run", "-c", "/no/such/place"]);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("name another with -c"), "{said}");
    for arguments in [&["dance"][..], &["run", "--frobnicate"], &["capture"], &[]] {
        let output = alppaca(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(!output.stderr.is_empty());
    }
}

/// What can be written to and is always full.
fn full() -> File {
    File::options().write(true).open("/dev/full").expect("it is on every Linux")
}

/// A configuration of a role that needs no upstream.
fn configured(directory: &Path) -> String {
    let file = directory.join("alppaca.yaml");
    let keys = "{kind: static, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: hush}";
    let run = directory.join("run");
    let text =
        format!("sources:\n  keys: {keys}\nroles:\n  web: {{source: keys}}\nrun_dir: {}\nuser: root\n", run.display());
    fs::write(&file, text).expect("ours");
    file.display().to_string()
}

#[test]
fn output_that_cannot_be_written_is_a_failure_like_any_other() {
    let directory = tempfile::tempdir().expect("a directory");
    let place = |name: &str| directory.path().join(name).display().to_string();
    let (config, old, profiles, bundle) =
        (configured(directory.path()), place("old.env"), place("profiles"), place("bundle"));
    fs::write(&old, "").expect("ours");
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let url = format!("http://{}", daemon.address());
    for arguments in [
        &["check", "-c", &config][..],
        &["status"],
        &["status", "--json"],
        &["status", "--nagios"],
        &["credentials"],
        &["roles"],
        &["roles", "--json"],
        &["use", "test_role"],
        &["me"],
        &["whoami"],
        &["whoami", "--json"],
        &["doctor"],
        &["doctor", "--json"],
        &["debug", "bundle", "--out", &bundle, "-c", &config],
        &["policy", "explain", "--address", "192.0.2.1", "-c", &config],
        &["conformance", &url, "--v1"],
        &["capture", "print"],
        &["profiles", "write", "--dry-run", "--file", &profiles],
        &["source", "test", "keys", "-c", &config],
        &["migrate", "metadataproxy", &old],
        &["generate", "man"],
        &["mock-ims", "--bind", "127.0.0.1:0"],
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        command.args(arguments).env("ALPPACA_SOCKET", daemon.socket()).stdout(full());
        prove_failure(&mut command, "alppaca", &arguments.join(" "));
    }
    let alppacad = directory.path().join("alppacad");
    symlink(env!("CARGO_BIN_EXE_alppaca"), &alppacad).expect("a link");
    for word in ["status", "stop"] {
        prove_failure(Command::new(&alppacad).args([word, "-c", &config]).stdout(full()), "alppacad", word);
    }
}

fn prove_failure(command: &mut Command, name: &str, what: &str) {
    let output = command.output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    let last = said.lines().last().unwrap_or_default();
    let expected = format!("{name}: cannot write: No space left on device (os error 28)");
    assert!(output.status.code() == Some(1) && last == expected, "{what}: {:?}: {said}", output.status);
}

#[test]
fn a_prompt_is_never_an_error() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    let output = command.arg("prompt").env("ALPPACA_SOCKET", daemon.socket()).stdout(full()).output().expect("it runs");
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
}

#[test]
fn a_reader_that_has_seen_enough_is_no_failure() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = configured(directory.path());
    for arguments in [&["check", "-c", &config][..], &["policy", "explain", "--address", "192.0.2.1", "-c", &config]] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        let output = command.args(arguments).stdout(writer).output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && !said.contains("cannot write"), "{:?}: {said}", output.status);
    }
}

#[test]
fn an_error_that_cannot_be_told_is_an_exit_code_all_the_same() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    let status = command.args(["check", "-c", "/no/such/place"]).stderr(full()).status().expect("it runs");
    assert_eq!(status.code(), Some(2));
}
