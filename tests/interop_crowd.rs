//! Many programs that start at once. In a file of its own, because it takes the whole machine.
#![allow(clippy::disallowed_methods, reason = "the clients' clocks are real")]

mod support;

#[path = "interop/rig/mod.rs"]
mod rig;

use std::{
    fs::{self, File},
    io::pipe,
    net::SocketAddr,
    process::{Command, Stdio},
};

use alppaca::mock_ims::Behaviour;
use rig::{
    client::Client,
    kinds::{KINDS, tell},
    tools::Tools,
    world::{Place, Site},
};
use serde_json::Value;
use support::{Daemon, Ims, needs};
use tempfile::TempDir;

const CROWD: usize = 1_000;

/// Waits for the start, fetches by IMDSv2, and writes one line at once.
const SCRIPT: &str = r#"
read -r _
token=$(curl -sS -m 120 -X PUT "$0/latest/api/token" -H 'X-aws-ec2-metadata-token-ttl-seconds: 21600') &&
role=$(curl -sS -m 120 -f "$0/latest/meta-data/iam/security-credentials/" -H "X-aws-ec2-metadata-token: $token") &&
set=$(curl -sS -m 120 -f "$0/latest/meta-data/iam/security-credentials/$role" -H "X-aws-ec2-metadata-token: $token") &&
printf '%s\n' "$(printf %s "$set" | tr '\n' ' ')"
"#;

#[test]
fn a_thousand_processes_that_start_at_once_all_get_the_same_set() {
    if !needs("a thousand processes", "curl") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}imds_v1: false\nrefresh_interval: 1h\n", ims.config()));
    let (before, issued) = (ims.calls(), ims.handle.issued());
    let issued = issued.last().expect("the daemon has it");

    let lines = run_crowd(daemon.address());

    assert_eq!(lines.len(), CROWD);
    for line in lines {
        let set: Value = serde_json::from_str(&line).expect("a whole document");
        assert_eq!(set["AccessKeyId"], *issued.access_key_id);
        assert_eq!(set["SecretAccessKey"], *issued.secret_access_key);
        assert_eq!(set["Token"], *issued.session_token);
    }
    assert_eq!(ims.calls(), before, "the upstream was asked");
}

fn run_crowd(daemon: SocketAddr) -> Vec<String> {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("lines");
    // Lines of less than a page are appended whole, whoever else appends.
    let sink = File::options().create(true).append(true).open(&file).expect("a file");
    let (start, hold) = pipe().expect("a pipe");
    let mut command = Command::new("sh");
    command.args(["-c", SCRIPT, &format!("http://{daemon}")]).stderr(Stdio::inherit());
    let children: Vec<_> = (0..CROWD)
        .map(|_| {
            command.stdin(start.try_clone().expect("a descriptor")).stdout(sink.try_clone().expect("a descriptor"));
            command.spawn().expect("a process")
        })
        .collect();
    // The end of their input is the start.
    drop(hold);
    for mut child in children {
        let status = child.wait().expect("it ends");
        assert!(status.success(), "{status}");
    }
    fs::read_to_string(&file).expect("the file").lines().map(str::to_owned).collect()
}

/// Twenty, because each needs half a second of a processor only to start.
#[test]
fn many_processes_with_boto3_that_start_at_once_all_work() {
    let Some(tools) = Tools::find() else {
        support::skip("many processes with boto3", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let boto3 = KINDS.iter().find(|kind| kind.name == "boto3").expect("one of the clients");
    let site = Site::start(&tools.python, Place::Anywhere);
    let (home, door) = (TempDir::new().expect("a directory"), site.door(&site.lasting.ims));
    let command = || {
        let mut command = boto3.at(&door, &tools, home.path()).expect("it comes with moto");
        tell(&mut command, site.lasting.daemon.address());
        command
    };
    let mut crowd: Vec<_> = (0..20).map(|_| Client::start(command())).collect();
    let began: Vec<_> = crowd.iter_mut().map(Client::begin).collect();
    for (client, began) in crowd.iter_mut().zip(began) {
        let round = client.finish(began);
        assert!(round.result.is_ok(), "{round:?}");
    }
    assert_eq!(door.refusals(), [""; 0]);
}
