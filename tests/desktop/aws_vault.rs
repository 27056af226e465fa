//! The guide for those who come from aws-vault: its configuration, with a stand-in for aws-vault, and its commands.

use std::{fs, os::unix::fs::PermissionsExt, path::Path, process::Command};

use crate::{ALPPACA, support::Daemon};

const GUIDE: &str = include_str!("../../docs/coming-from-aws-vault.md");

/// The first block of that language behind `mark`.
fn block<'a>(mark: &str, language: &str) -> &'a str {
    let (_, rest) = GUIDE.split_once(mark).expect("the mark");
    let (_, block) = rest.split_once(&format!("```{language}\n")).expect("a block");
    block.split("```").next().expect("its text")
}

#[test]
fn the_commands_of_the_guide_work_with_its_configuration() {
    let directory = tempfile::tempdir().expect("a directory");
    let vault = directory.path().join("aws-vault");
    // What it prints is of the form of a `credential_process`.
    let script = "#!/bin/sh\necho \"$*\" >>\"$0.calls\"\necho '{\"Version\": 1, \"AccessKeyId\": \"ASIAVAULT\", \
                  \"SecretAccessKey\": \"s3cret\", \"SessionToken\": \"t0ken\", \"Expiration\": \"2099-01-01T00:00:00Z\"}'\n";
    fs::write(&vault, script).expect("ours");
    fs::set_permissions(&vault, fs::Permissions::from_mode(0o755)).expect("ours");
    let config = block("## Keep the keys", "yaml");
    // The other role needs an STS.
    let config: Vec<&str> = config.lines().filter(|line| !line.contains("role_arn")).collect();
    let config = (config.join("\n") + "\n").replace("[aws-vault,", &format!("[{},", vault.display()));
    let daemon = Daemon::start(&config);
    daemon.wait_for_log("role work: fetched ");

    let folder = Path::new(ALPPACA).parent().expect("a folder");
    let mut shell = Command::new("sh");
    shell.args(["-e", "-c", block("## Try it", "sh")]).env("ALPPACA_SOCKET", daemon.socket());
    shell.env("PATH", format!("{}:/usr/bin:/bin", folder.display())).env("NO_PROXY", "*");
    shell.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}/", daemon.address()));
    let output = shell.output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "{output:?}\n{}", daemon.log());
    assert_eq!(said.matches("ASIAVAULT").count(), 4, "two servers and two exports: {said}");
    assert!(said.contains("AWS_CONTAINER_CREDENTIALS_FULL_URI=http://127.0.0.1:"), "{said}");
    assert!(said.contains("export AWS_ACCESS_KEY_ID='ASIAVAULT'"), "{said}");
    let calls = fs::read_to_string(directory.path().join("aws-vault.calls")).expect("it was called");
    assert_eq!(calls.lines().collect::<Vec<_>>(), ["export --format=json --no-session --prompt=ykman work"]);
}
