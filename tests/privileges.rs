//! Privileges are dropped for good: seen from outside, through /proc.

mod support;

use std::{
    collections::HashMap,
    fs,
    os::unix::{fs::MetadataExt, process::CommandExt},
    process::Command,
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, cannot, needs, needs_root};

fn status(path: &str) -> HashMap<String, String> {
    let text = fs::read_to_string(path).expect("it runs");
    text.lines()
        .filter_map(|line| line.split_once(":\t"))
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

#[test]
fn root_binds_and_then_becomes_somebody_without_any_right() {
    if !needs_root("privileges: drop") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    // An address that no other test has, with a port that only root can bind.
    let config = format!("{}listen: ['127.45.67.89:81']\nuser: nobody\ngroup: nogroup\n", ims.config());
    let daemon = Daemon::with_credentials(&config);
    assert_eq!(daemon.address().port(), 81);
    assert_eq!(daemon.get("/latest/meta-data/iam/security-credentials/").body, "test_role");
    let pid = daemon.pid();
    let tasks = fs::read_dir(format!("/proc/{pid}/task")).expect("it runs");
    let threads: Vec<_> = tasks.map(|task| task.expect("a thread").path().join("status")).collect();
    assert!(threads.len() >= 3);
    for thread in threads {
        let status = status(thread.to_str().expect("ASCII"));
        assert_eq!(status["Uid"], "65534\t65534\t65534\t65534");
        assert_eq!(status["Gid"], "65534\t65534\t65534\t65534");
        assert_eq!(status["Groups"].trim(), "65534");
        for set in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
            assert_eq!(status[set], "0000000000000000", "{set}");
        }
        assert_eq!(status["NoNewPrivs"], "1");
    }
    let limits = fs::read_to_string(format!("/proc/{pid}/limits")).expect("it runs");
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).expect("a line");
    assert_eq!(core.split_whitespace().skip(4).take(2).collect::<Vec<_>>(), ["0", "0"]);
    // The files of a process that cannot be dumped belong to root.
    assert_eq!(fs::metadata(format!("/proc/{pid}/environ")).expect("it runs").uid(), 0);
}

#[test]
fn memory_is_locked_where_there_is_no_limit_and_nowhere_else() {
    const WHAT: &str = "privileges: locked memory";
    if !needs_root(WHAT) || !needs(WHAT, "prlimit") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let raised = Command::new("prlimit").args(["--memlock=unlimited:unlimited", "--", "true"]).output();
    let can_raise = raised.expect("it is there").status.success() || cannot(WHAT, "the limit cannot be raised here");
    for (limit, is_locked) in [("unlimited", true), ("65536", false)] {
        if is_locked && !can_raise {
            continue;
        }
        let start = |program: &str| {
            let mut command = Command::new("prlimit");
            command.args([&format!("--memlock={limit}:{limit}"), "--", program]);
            command
        };
        let daemon = Daemon::start_through(&format!("{}user: nobody\ngroup: nogroup\n", ims.config()), start, || {});
        let line = daemon.wait_for_log("sandbox: ");
        assert_eq!(!line.contains("memory not locked"), is_locked, "{line}");
        let locked = status(&format!("/proc/{}/status", daemon.pid()))["VmLck"].clone();
        assert_eq!(locked.trim() != "0 kB", is_locked, "{limit}: {locked}");
        let map = fs::read_to_string(format!("/proc/{}/smaps", daemon.pid())).expect("it runs");
        // What is mapped later, too: the stacks of threads, and all else that can be written.
        let mut writable = map.split("VmFlags:").skip(1).filter_map(|flags| flags.lines().next());
        assert_eq!(
            writable.all(|flags| !flags.contains(" wr ") || flags.contains(" lo ")),
            is_locked,
            "{limit}: {map}"
        );
    }
}

fn run_with(config: &str, change: impl FnOnce(&mut Command)) -> (Option<i32>, String) {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::set_permissions(directory.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("ours");
    let file = directory.path().join("alppaca.yaml");
    fs::write(&file, format!("ims_protocol: http\nims_host: localhost\nbind_port: 0\n{config}")).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.arg("run").arg("-c").arg(file);
    change(&mut command);
    let output = command.output().expect("it runs");
    (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
}

#[test]
fn an_account_that_does_not_exist_keeps_it_from_starting() {
    for (config, name) in [("user: no-such-user\n", "no-such-user"), ("group: no-such-group\n", "no-such-group")] {
        let (code, said) = run_with(config, |_command| {});
        assert!(code == Some(2) && said.contains(&format!("{name:?} on this host")), "{said}");
    }
}

#[test]
fn somebody_else_cannot_be_become_without_root() {
    if !needs_root("privileges: start as another user") {
        return;
    }
    // The binary has to be where that user can reach it.
    let directory = tempfile::Builder::new().permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755)).tempdir();
    let directory = directory.expect("a directory");
    let binary = directory.path().join("alppaca");
    fs::copy(env!("CARGO_BIN_EXE_alppaca"), &binary).expect("a copy");
    let (code, said) = run_with("user: daemon\n", |command| {
        let arguments: Vec<_> = command.get_args().map(ToOwned::to_owned).collect();
        *command = Command::new(&binary);
        command.args(arguments).uid(65534).gid(65534);
    });
    assert!(code == Some(2) && said.contains("cannot become daemon: only root can"), "{said}");
}
