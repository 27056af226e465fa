//! `alppaca conformance` at our own daemons, at a server that is no IMDS, and where there is none.

mod support;

#[path = "interop/rig/mod.rs"]
mod rig;

use std::{
    io::Write as _,
    net::{SocketAddr, TcpListener},
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use alppaca::mock_ims::Behaviour;
use rig::{
    moto::Moto,
    tools::{Tools, pinned},
};
use support::{Daemon, Ims};
use tempfile::NamedTempFile;

fn conformance(url: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.arg("conformance").arg(url).args(arguments).output().expect("it runs")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn holds_no_secret(ims: &Ims, text: &str) -> bool {
    let issued = ims.handle.issued();
    !issued.is_empty()
        && !issued.iter().any(|set| text.contains(&set.secret_access_key) || text.contains(&set.session_token))
}

#[test]
fn our_own_daemon_passes_every_case() {
    let ims = Ims::start(Behaviour::default());
    let metadata = "metadata: {region: eu-central-1, account_id: '123456789012'}\n";
    for (setting, arguments) in [("imds_v1: false\n", &["--json"][..]), ("", &["--json", "--v1"])] {
        let daemon = Daemon::with_credentials(&format!("{}{metadata}{setting}", ims.config()));
        let output = conformance(&format!("http://{}", daemon.address()), arguments);
        let report: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let cases = report["cases"].as_array().expect("a list");
        let (slow, others): (Vec<_>, Vec<_>) =
            cases.iter().filter(|case| case["result"] != "passed").partition(|case| case["number"] == QUICK);
        assert!(others.is_empty() && cases.len() > 35, "{others:#?}");
        let row = format!("| alppaca | {} | 0 | 0 |\n", cases.len());
        let documented = include_str!("../docs/conformance.md").contains(&row);
        assert!(documented || !arguments.contains(&"--v1"), "docs/conformance.md has no\n{row}");
        let is_quick = slow.is_empty() || is_quick(&format!("http://{}", daemon.address()));
        assert!(is_quick && output.status.success() == slow.is_empty(), "{slow:#?}");
        assert!(holds_no_secret(&ims, &text(&output)));
    }
}

#[test]
fn what_a_service_lacks_is_no_difference_and_what_it_does_otherwise_is() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}imds_v1: false\nlist_roles: all\n", ims.config()));
    let url = format!("http://{}/", daemon.address());
    // Neither region nor account are known.
    let output = conformance(&url, &["--case", "41", "--case", "43"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert!(text(&output).contains("\n0 passed, 0 differ, 2 absent\n"), "{output:?}");
    // It refuses what IMDSv1 would answer.
    let output = conformance(&url, &["--case", "13", "--v1"]);
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = text(&output);
    assert!(
        said.contains("13 differs  ") && said.contains("401 to GET /latest/meta-data/ without a token, not 200"),
        "{said}"
    );
    assert!(said.contains("needed by: rusoto") && !said.contains('\x1b'), "{said}");
}

#[test]
fn another_kind_of_server_is_judged_without_showing_its_secrets() {
    let ims = Ims::start(Behaviour::default());
    // It has credentials, but no tokens.
    let daemon = Daemon::with_credentials(&ims.config());
    let url = format!("http://{}", ims.address);
    for form in ["", "--json", "--junit"] {
        let output = conformance(&url, &["--v1", form][..if form.is_empty() { 1 } else { 2 }]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(holds_no_secret(&ims, &text(&output)), "{output:?}");
        if form == "--junit" {
            assert!(
                text(&output).starts_with("<?xml version") && text(&output).contains("<failure message="),
                "{output:?}"
            );
        }
    }
    drop(daemon);
}

#[test]
fn where_no_service_answers_that_is_said() {
    let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let nowhere = format!("http://{free}");
    let output = conformance(&nowhere, &[]);
    assert_eq!(output.status.code(), Some(3));
    assert!(
        String::from_utf8_lossy(&output.stderr).contains(&format!("no service answers at {nowhere}")),
        "{output:?}"
    );
    for wrong in ["https://127.0.0.1", "127.0.0.1", "http://127.0.0.1/latest"] {
        assert_eq!(conformance(wrong, &[]).status.code(), Some(2), "{wrong}");
    }
    assert_eq!(conformance("http://127.0.0.1:9", &["--case", "99"]).status.code(), Some(2));
}

#[test]
fn the_documented_figures_of_moto_are_true() {
    let Some(tools) = Tools::find() else {
        support::skip("conformance of moto", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let moto = Moto::start(&tools.python);
    is_documented(&format!("moto {}", pinned("python/requirements.txt", "moto==")), moto.address);
}

#[test]
fn the_documented_figures_of_ec2_metadata_mock_are_true() {
    let program = Tools::find().and_then(|tools| tools.program("metadata-mock/metadata-mock").ok());
    let Some(program) = program else {
        support::skip(
            "conformance of amazon-ec2-metadata-mock",
            "it was not built; `cargo xtask test` does that, with Go",
        );
        return;
    };
    let mock = Mock::start(&program);
    let version = pinned("metadata-mock/go.mod", "amazon-ec2-metadata-mock ");
    is_documented(&format!("amazon-ec2-metadata-mock {version}"), mock.address);
}

/// The case about how quick a server is. On a machine that does other things, too, it may have to be tried again.
const QUICK: u64 = 46;

fn is_quick(url: &str) -> bool {
    (0..10).any(|_| conformance(url, &["--case", &QUICK.to_string(), "--v1"]).status.success())
}

/// The mock, once it answers at a port of its own, where that of another run may be.
struct Mock {
    child: Child,
    address: SocketAddr,
    _settings: NamedTempFile,
}

impl Mock {
    fn start(program: &Path) -> Self {
        let started = (0..5).find_map(|_| Self::at_a_free_port(program));
        started.expect("others are at each port that was free")
    }

    fn at_a_free_port(program: &Path) -> Option<Self> {
        let free = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
        let own = format!("ami-{}-{}", std::process::id(), free.port());
        let mut settings = NamedTempFile::with_suffix(".json").expect("a file");
        write!(settings, r#"{{"metadata": {{"values": {{"ami-id": "{own}"}}}}}}"#).expect("written");
        let mut command = Command::new(program);
        command.args(["--hostname", "127.0.0.1", "--port", &free.port().to_string(), "--config-file"]);
        command
            .arg(settings.path())
            .env_clear()
            .env("HOME", "/nonexistent")
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let mock = Self { child: command.spawn().expect("it starts"), address: free, _settings: settings };
        drop(support::connect_when_listening(free));
        (support::get(free, "/latest/meta-data/ami-id").body == own).then_some(mock)
    }
}

impl Drop for Mock {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// Compares what the table says of a service with what it does.
fn is_documented(name: &str, address: SocketAddr) {
    let url = format!("http://{address}");
    let mut said = text(&conformance(&url, &["--v1"]));
    let slow = format!("{QUICK:>2} differs ");
    if said.lines().any(|line| line.starts_with(&slow)) && is_quick(&url) {
        said = said.replace(&slow, &format!("{QUICK:>2} ok      "));
    }
    let count =
        |result: &str| said.lines().filter(|line| line.get(3..).is_some_and(|rest| rest.starts_with(result))).count();
    let row = format!("| {name} | {} | {} | {} |", count("ok "), count("differs "), count("absent "));
    let documented = include_str!("../docs/conformance.md");
    assert!(documented.contains(&row), "docs/conformance.md has no\n{row}\n{said}");
}
