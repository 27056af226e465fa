//! The audit when its records cannot be written, and when its file is rotated: nothing is lost without being counted.

#[path = "support/schema.rs"]
mod schema;
mod support;

use std::{
    fs::{self, File},
    io::Read,
    path::Path,
    process::Command,
    thread,
    time::Duration,
};

use alppaca::mock_ims::{Behaviour, LIST_PATH};
use support::{Daemon, Ims, get, needs, needs_root, request, small::Small};
use tempfile::TempDir;

/// A daemon whose audit goes to `target`.
struct Audited {
    daemon: Daemon,
    ims: Ims,
}

impl Audited {
    fn start(target: &Path) -> Self {
        Self::start_through(target, |program| Command::new(program))
    }

    fn start_through(target: &Path, command: impl FnOnce(&str) -> Command) -> Self {
        Self::start_as(target, "", command)
    }

    /// `more`: settings beside that.
    fn start_as(target: &Path, more: &str, command: impl FnOnce(&str) -> Command) -> Self {
        let ims = Ims::start(Behaviour::default());
        let config = format!("{}audit_log: {}\n{more}", ims.config(), target.display());
        let daemon = Daemon::start_through(&config, command, || {});
        daemon.wait_for_log(" fetched ");
        Self { daemon, ims }
    }

    /// So many hand-outs.
    fn hand_out(&self, count: usize) {
        for _ in 0..count {
            assert_eq!(get(self.daemon.address(), &format!("{LIST_PATH}test_role")).status, 200);
        }
    }

    /// What the metrics say is lost.
    fn lost(&self) -> usize {
        self.daemon.metric("alppaca_audit_lost_total")
    }

    fn wait_for_lost(&self, count: usize) {
        wait_until(|| self.lost() >= count, || self.daemon.log());
        assert_eq!(self.lost(), count);
    }
}

/// There is no event for "somebody else's process has done it".
fn wait_until(done: impl Fn() -> bool, otherwise: impl Fn() -> String) {
    for _ in 0..1000 {
        if done() {
            return;
        }
        thread::sleep(Duration::from_millis(20));
    }
    panic!("it takes too long: {}", otherwise());
}

/// How many hand-outs are recorded, and how many losses are told. Each line has to be whole, and as is published.
fn counted(text: &str) -> (usize, usize) {
    schema::check_records(include_str!("../docs/schemas/audit.schema.json"), text);
    let (mut recorded, mut told) = (0, 0);
    for line in text.lines() {
        let record: serde_json::Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        match record["event"].as_str() {
            Some("hand-out") => recorded += 1,
            Some("notice") => {
                let number = record["message"].as_str().and_then(|message| message.split(' ').next());
                told += number.and_then(|number| number.parse::<usize>().ok()).expect("a number");
            }
            _ => panic!("{line}"),
        }
    }
    (recorded, told)
}

#[test]
fn on_a_full_device_every_record_is_counted_as_lost() {
    let mut audited = Audited::start(Path::new("/dev/full"));
    assert_eq!(audited.lost(), 0);
    audited.hand_out(1);
    let line = audited.daemon.wait_for_log("audit: cannot write to /dev/full: No space left on device");
    assert!(line.contains("[ERROR]") && line.contains("; 1 record(s) are lost so far"), "{line}");
    audited.hand_out(41);
    audited.wait_for_lost(42);
    assert_eq!(audited.daemon.stop(), Some(0));
    audited.daemon.wait_for_log("audit: 42 record(s) were lost while they could not be written");
    assert_eq!(audited.daemon.log().matches("audit: cannot write").count(), 1, "told once");
}

#[test]
fn a_full_disk_tears_no_line_and_what_it_cost_is_told_to_the_record() {
    if !needs_root("audit: full disk") || !needs("audit: full disk", "unshare") || !needs("audit: full disk", "nsenter")
    {
        return;
    }
    let small = Small::new("1m");
    // What is left fills up in the middle of a record.
    fs::write(small.outside("filler"), vec![b'x'; (1024 - 16) * 1024]).expect("there is room");
    let mut audited = Audited::start_through(&small.inside("audit.log"), |program| small.enter(program));
    let mut sent = 0;
    while !audited.daemon.log().contains("No space left on device") {
        audited.hand_out(10);
        sent += 10;
        assert!(sent < 10_000, "the disk is not full");
    }
    audited.hand_out(20);
    sent += 20;
    fs::remove_file(small.outside("filler")).expect("it is there");
    audited.hand_out(10);
    sent += 10;
    assert_eq!(audited.daemon.stop(), Some(0));
    let text = fs::read_to_string(small.outside("audit.log")).expect("text");
    let (recorded, told) = counted(&text);
    assert_eq!(recorded + told, sent, "{told} are told as lost");
    assert!(told > 0 && recorded > 10, "{recorded} {told}");
    audited.daemon.wait_for_log(&format!("audit: {told} record(s) were lost while they could not be written"));
}

#[test]
fn where_the_audit_is_required_nothing_is_handed_out_that_cannot_be_recorded() {
    let mut audited =
        Audited::start_as(Path::new("/dev/full"), "audit_required: true\n", |program| Command::new(program));
    // What was accepted before the device was known to be full is kept until the end.
    audited.hand_out(1);
    audited.daemon.wait_for_log("audit: cannot write to /dev/full: No space left on device");
    let ask = || get(audited.daemon.address(), &format!("{LIST_PATH}test_role")).status;
    assert_eq!((0..10).map(|_| ask()).collect::<Vec<_>>(), [503; 10]);
    // Nobody needs a record of what is no secret.
    assert_eq!(get(audited.daemon.address(), LIST_PATH).status, 200);
    let alppaca = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        let output = command.args(arguments).env("ALPPACA_SOCKET", audited.daemon.socket()).output().expect("it runs");
        [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat()
    };
    let refused = alppaca(&["credentials"]);
    assert!(refused.contains("audit_required") && !refused.contains("SecretAccessKey"), "{refused}");
    let status = alppaca(&["status"]);
    assert!(status.contains("the audit cannot be written: no credentials are handed out"), "{status}");
    assert_eq!(audited.daemon.metric("alppaca_audit_failing"), 1);
    assert_eq!(audited.daemon.metric("alppaca_audit_withheld_total"), 11);
    assert_eq!(audited.lost(), 0);
    assert_eq!(audited.daemon.stop(), Some(0));
    audited.daemon.wait_for_log("audit: 1 record(s) were lost while they could not be written");
}

#[test]
fn where_the_audit_is_required_each_hand_out_of_a_full_disk_is_recorded() {
    if !needs_root("audit: required") || !needs("audit: required", "unshare") || !needs("audit: required", "nsenter") {
        return;
    }
    let small = Small::new("1m");
    fs::write(small.outside("filler"), vec![b'x'; (1024 - 16) * 1024]).expect("there is room");
    let target = small.inside("audit.log");
    let mut audited = Audited::start_as(&target, "audit_required: true\n", |program| small.enter(program));
    let ask = || get(audited.daemon.address(), &format!("{LIST_PATH}test_role")).status;
    let (mut given, mut withheld) = (0, 0);
    while withheld < 20 {
        match ask() {
            200 => given += 1,
            503 => withheld += 1,
            other => panic!("{other}"),
        }
        assert!(given < 10_000, "the disk is not full");
    }
    fs::remove_file(small.outside("filler")).expect("it is there");
    audited.daemon.wait_for_log("audit.log can be written again");
    assert_eq!((0..10).map(|_| ask()).collect::<Vec<_>>(), [200; 10]);
    given += 10;
    assert_eq!(audited.lost(), 0);
    let recorded = || counted(&fs::read_to_string(small.outside("audit.log")).expect("text"));
    wait_until(|| recorded().0 >= given, || audited.daemon.log());
    assert_eq!(audited.daemon.stop(), Some(0));
    assert_eq!(recorded(), (given, 0));
}

#[test]
fn an_audit_that_is_not_there_cannot_be_required() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    fs::write(&file, "ims_host: 127.0.0.1\naudit_required: true\n").expect("a file");
    let output =
        Command::new(env!("CARGO_BIN_EXE_alppaca")).args(["check", "-c"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(
        !output.status.success() && said.contains("alppaca.yaml:2:1: ") && said.contains("set `audit_log`"),
        "{said}"
    );
}

#[test]
fn a_file_that_cannot_be_opened_any_more_is_opened_again_as_soon_as_it_can() {
    let directory = TempDir::new().expect("a directory");
    let (logs, moved) = (directory.path().join("logs"), directory.path().join("moved"));
    fs::create_dir(&logs).expect("free");
    let mut audited = Audited::start(&logs.join("audit.log"));
    fs::rename(&logs, &moved).expect("ours");
    audited.hand_out(5);
    audited.wait_for_lost(5);
    fs::create_dir(&logs).expect("free");
    audited.hand_out(3);
    assert_eq!(audited.daemon.stop(), Some(0));
    assert_eq!(counted(&fs::read_to_string(logs.join("audit.log")).expect("text")), (3, 5));
    assert_eq!(fs::read_to_string(moved.join("audit.log")).expect("text"), "");
}

#[test]
fn a_daemon_that_cannot_open_its_audit_does_not_start() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    let target = directory.path().join("nowhere/audit.log");
    let text = format!("ims_host: 127.0.0.1\nbind_port: 0\naudit_log: {}\n", target.display());
    fs::write(&file, text).expect("a file");
    let output = Command::new(env!("CARGO_BIN_EXE_alppaca")).args(["run", "-c"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && said.contains("nowhere/audit.log"), "{said}");
}

#[test]
fn who_writes_too_slowly_delays_nobody_and_what_finds_no_room_is_told_at_once() {
    let directory = TempDir::new().expect("a directory");
    let path = directory.path().join("pipe");
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).expect("free");
    // Open for both, so that nobody waits for the other end.
    let mut reader = File::options().read(true).write(true).open(&path).expect("it is there");
    let mut audited = Audited::start(&path);
    let head = format!("GET {LIST_PATH}test_role HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: {}\r\n", "x".repeat(3000));
    let mut sent = 0;
    while audited.lost() < 50 {
        assert_eq!(request(audited.daemon.address(), &head).status, 200);
        sent += 1;
        assert!(sent < 5000, "the queue has no end");
    }
    let line = audited.daemon.wait_for_log("audit: records are being lost: they come faster than they can be written");
    assert!(line.contains("[ERROR]"), "{line}");
    let mut text = Vec::new();
    let mut buffer = vec![0; 64 * 1024];
    // Until each hand-out is recorded or told as lost.
    let (recorded, told) = loop {
        let read = reader.read(&mut buffer).expect("a pipe");
        text.extend_from_slice(&buffer[..read]);
        if text.ends_with(b"}\n")
            && let (recorded, told) = counted(std::str::from_utf8(&text).expect("text"))
            && recorded + told >= sent
        {
            break (recorded, told);
        }
    };
    assert_eq!((recorded + told, audited.lost()), (sent, told));
    assert!(recorded > 100 && told >= 50, "{recorded} {told}");
    audited.daemon.wait_for_log("record(s) were lost: they came faster than they could be written");
    assert_eq!(audited.daemon.stop(), Some(0));
}

/// All files of an audit that a real logrotate has rotated.
fn rotated(mode: &str, between: impl Fn(&Audited) -> usize) -> (usize, (usize, usize), usize) {
    let directory = TempDir::new().expect("a directory");
    let logs = directory.path().join("logs");
    fs::create_dir(&logs).expect("free");
    let mut audited = Audited::start(&logs.join("audit.log"));
    let config = directory.path().join("logrotate.conf");
    let mode = mode.replace("PID", &audited.daemon.pid().to_string());
    let text = format!("{} {{\n su root root\n rotate 20\n {mode}\n}}\n", logs.join("audit.log").display());
    fs::write(&config, text).expect("a file");
    let mut sent = 0;
    for _ in 0..5 {
        sent += between(&audited);
        let mut logrotate = Command::new("/usr/sbin/logrotate");
        logrotate.arg("-f").arg("-s").arg(directory.path().join("state")).arg(&config);
        let output = logrotate.output().expect("it runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
    sent += between(&audited);
    let lost = audited.lost();
    assert_eq!(audited.daemon.stop(), Some(0));
    let names = fs::read_dir(&logs).expect("ours").map(|entry| entry.expect("an entry").path());
    let texts: Vec<String> = names.map(|name| fs::read_to_string(name).expect("text without holes")).collect();
    assert_eq!(texts.len(), 6, "the file and five old ones");
    assert!(audited.ims.calls() > 0);
    (sent, counted(&texts.concat()), lost)
}

fn can_rotate(what: &str) -> bool {
    needs_root(what) && needs(what, "logrotate")
}

#[test]
fn after_create_and_a_signal_nothing_is_lost_though_requests_went_on() {
    if !can_rotate("audit: logrotate create") {
        return;
    }
    for mode in ["create 0640 root root", "create 0640 root root\n postrotate\n kill -HUP PID\n endscript"] {
        let (sent, found, lost) = rotated(mode, |audited| {
            // The last ones are still on their way when the file is renamed.
            audited.hand_out(100);
            100
        });
        assert_eq!((found, lost), ((sent, 0), 0), "{mode}");
    }
}

#[test]
fn after_copytruncate_it_goes_on_at_the_new_end() {
    if !can_rotate("audit: logrotate copytruncate") {
        return;
    }
    let (sent, found, lost) = rotated("copytruncate", |audited| {
        audited.hand_out(50);
        // Nothing is on its way meanwhile: what is written between copy and truncation is lost unseen.
        let file = audited.daemon.directory.path().join("alppaca.yaml");
        let text = fs::read_to_string(file).expect("readable");
        let path = text.lines().find_map(|line| line.strip_prefix("audit_log: ")).expect("the key").to_owned();
        let all = || counted(&fs::read_to_string(&path).expect("text")).0 == 50;
        wait_until(all, || audited.daemon.log());
        50
    });
    assert_eq!((found, lost), ((sent, 0), 0));
}
