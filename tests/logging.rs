//! The log in real surroundings: logrotate, syslog, and clients that try to forge lines.

mod support;

use std::{
    fs,
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        net::UnixDatagram,
    },
    path::Path,
    process::Command,
    thread,
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, PATIENCE, connect_when_listening, get, needs, needs_root, raw};
use tempfile::TempDir;

/// The daemon with a log handler of the test's own, listening on a free port.
struct Logged {
    _ims: Ims,
    daemon: Running,
    address: std::net::SocketAddr,
}

struct Running(std::process::Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

fn start(directory: &Path, config: &str) -> Logged {
    let ims = Ims::start(Behaviour::default());
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
    let file = directory.join("alppaca.yaml");
    fs::write(&file, format!("{}bind_port: {}\n{config}", ims.config(), address.port())).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    let daemon = Running(command.arg("run").arg("-c").arg(file).spawn().expect("it starts"));
    drop(connect_when_listening(address));
    Logged { _ims: ims, daemon, address }
}

fn directory() -> TempDir {
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
    directory
}

const ROTATIONS: usize = 5;
/// So many requests are sent during each, together no more than are logged of one client at once.
const EACH: usize = 90;

/// Requests go on while logrotate runs several times; `check` then gets the texts of all files.
fn rotate(mode: &str, check: impl FnOnce(&[String], usize)) {
    if !needs_root("logrotate") || !needs("logrotate", "logrotate") {
        return;
    }
    let directory = directory();
    let logs = directory.path().join("logs");
    fs::create_dir(&logs).expect("a directory");
    std::os::unix::fs::chown(&logs, Some(65534), Some(65534)).expect("we are root");
    let log = logs.join("alppaca.log");
    let handler = format!(
        "user: nobody\ngroup: nogroup\nlog_format: '%(message)s'\nlogging_handler: {{module: logging.handlers, \
         class: WatchedFileHandler, args: ['{}']}}\n",
        log.display()
    );
    let daemon = start(directory.path(), &handler);
    // It listens before it opens its log, and answers after that.
    get(daemon.address, "/first/");
    let config = directory.path().join("logrotate.conf");
    let text = format!("{} {{\n su nobody nogroup\n rotate 20\n {mode}\n}}\n", log.display());
    fs::write(&config, text).expect("a file");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("ours");
    for rotation in 0..ROTATIONS {
        thread::scope(|scope| {
            scope.spawn(|| {
                for request in 0..EACH {
                    get(daemon.address, &format!("/request/{}/", rotation * EACH + request));
                }
            });
            let state = directory.path().join("state");
            let output = Command::new("/usr/sbin/logrotate").arg("-f").arg("-s").arg(state).arg(&config).output();
            let output = output.expect("it runs");
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        });
    }
    let sent = ROTATIONS * EACH;
    // Stopping flushes.
    drop(daemon_stopped(daemon));
    let mut names: Vec<_> = fs::read_dir(&logs).expect("ours").map(|entry| entry.expect("a file").path()).collect();
    names.sort();
    let texts: Vec<_> = names.iter().map(|name| fs::read_to_string(name).expect("text without holes")).collect();
    check(&texts, sent);
}

/// Stops it in an orderly way.
fn daemon_stopped(mut logged: Logged) -> Logged {
    let pid = rustix::process::Pid::from_child(&logged.daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    logged.daemon.0.wait().expect("it ends");
    logged
}

#[test]
fn after_rename_and_create_no_line_is_lost_or_doubled() {
    rotate("create 0640 nobody nogroup", |texts, sent| {
        assert_eq!(texts.len(), 6, "the file and five old ones");
        let all = texts.concat();
        for request in 0..sent {
            assert_eq!(all.matches(&format!("/request/{request}/ ")).count(), 1, "request {request} of {sent}");
        }
    });
}

#[test]
fn after_copytruncate_it_goes_on_at_the_new_end() {
    rotate("copytruncate", |texts, sent| {
        assert_eq!(texts.len(), 6, "the file and five old ones");
        // Between copy and truncation lines may get lost, which is copytruncate's own way.
        assert!(texts.iter().all(|text| !text.contains('\0')), "no holes");
        assert!(texts.concat().contains(&format!("/request/{}/ ", sent - 1)), "the last request is there");
    });
}

#[test]
fn the_shipped_rotation_works_as_the_account_and_follows_no_link_that_it_plants() {
    if !needs_root("logrotate") || !needs("logrotate", "logrotate") {
        return;
    }
    let directory = directory();
    let logs = directory.path().join("logs");
    fs::create_dir(&logs).expect("a directory");
    std::os::unix::fs::chown(&logs, Some(65534), Some(65534)).expect("we are root");
    // Root refuses to rotate in a directory that a group may change, unless it becomes the account for it.
    fs::set_permissions(&logs, fs::Permissions::from_mode(0o775)).expect("ours");
    let shipped = include_str!("../packaging/logrotate/alppaca");
    let text =
        shipped.replace("/var/log/alppaca", &logs.display().to_string()).replace("alppaca alppaca", "nobody nogroup");
    let config = directory.path().join("logrotate.conf");
    fs::write(&config, text).expect("a file");
    fs::set_permissions(&config, fs::Permissions::from_mode(0o644)).expect("ours");
    let rotate = || {
        let state = directory.path().join("state");
        Command::new("/usr/sbin/logrotate").arg("-f").arg("-s").arg(state).arg(&config).output().expect("it runs")
    };
    for name in ["alppaca.log", "audit.log"] {
        let log = logs.join(name);
        fs::write(&log, "a line\n").expect("a file");
        std::os::unix::fs::chown(&log, Some(65534), Some(65534)).expect("we are root");
    }
    let output = rotate();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    for name in ["alppaca.log", "audit.log"] {
        assert_eq!(fs::read_to_string(logs.join(format!("{name}.1"))).expect("rotated"), "a line\n");
        assert_eq!(fs::metadata(logs.join(name)).expect("made anew").uid(), 65534);
    }
    let secret = directory.path().join("secret");
    fs::write(&secret, "of root\n").expect("a file");
    fs::set_permissions(&secret, fs::Permissions::from_mode(0o600)).expect("ours");
    for planted in ["alppaca.log", "alppaca.log.1", "alppaca.log.2.gz"] {
        let _there_is_none = fs::remove_file(logs.join(planted));
        std::os::unix::fs::symlink(&secret, logs.join(planted)).expect("free");
        // It may complain of the link or rotate the link itself.
        let _complaint = rotate();
        let metadata = fs::symlink_metadata(&secret).expect("still there");
        assert_eq!((metadata.uid(), metadata.mode() & 0o777), (0, 0o600), "{planted}");
        assert_eq!(fs::read_to_string(&secret).expect("text"), "of root\n", "{planted}");
    }
}

#[test]
fn syslog_gets_the_bytes_that_python_sends() {
    if !needs("syslog as Python has it", "python3") {
        return;
    }
    let directory = directory();
    let path = directory.path().join("log");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("settable");
    let receive = || {
        let mut packet = [0; 4096];
        let length = socket.recv(&mut packet).expect("a packet");
        packet[..length].to_vec()
    };
    let handler = format!(
        "log_format: 'alppaca: [%(levelname)s] stopped'\nlogging_handler: {{module: logging.handlers, \
         class: SysLogHandler, kwargs: {{address: '{}', facility: daemon}}}}\n",
        path.display()
    );
    let daemon = start(directory.path(), &handler);
    let ours = receive();
    drop(daemon);
    let script = format!(
        "import logging, logging.handlers as h\n\
         s = h.SysLogHandler(address='{}', facility='daemon')\n\
         s.setFormatter(logging.Formatter('alppaca: [%(levelname)s] stopped'))\n\
         logging.getLogger().addHandler(s)\nlogging.warning('x')\n\
         s.mapPriority = lambda level: 'notice'\nlogging.warning('x')",
        path.display()
    );
    let drained =
        socket.set_nonblocking(true).is_ok() && std::iter::from_fn(|| socket.recv(&mut [0; 4096]).ok()).count() < 1000;
    assert!(drained);
    socket.set_nonblocking(false).expect("settable");
    assert!(Command::new("/usr/bin/python3").args(["-c", &script]).status().expect("it runs").success());
    // A notice looks as a warning in all but its priority.
    let pythons = [receive(), receive()];
    assert!(pythons.contains(&ours), "{ours:?} {pythons:?}");
}

#[test]
fn under_systemd_each_line_tells_the_journal_its_priority() {
    let ims = Ims::start(Behaviour::default());
    let directory = directory();
    let path = directory.path().join("stderr");
    let stderr = fs::File::create(&path).expect("a file");
    let stream = stderr.metadata().expect("ours");
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
    let config = directory.path().join("alppaca.yaml");
    fs::write(
        &config,
        format!("{}bind_port: {}\nrun_dir: {}\n", ims.config(), address.port(), directory.path().display()),
    )
    .expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.arg("run").arg("-c").arg(&config).env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino()));
    let mut daemon = Running(command.stderr(stderr).spawn().expect("it starts"));
    drop(connect_when_listening(address));
    // Only who is answered is served by a daemon that knows what to do when told to stop.
    get(address, "/");
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    daemon.0.wait().expect("it ends");
    let text = fs::read_to_string(path).expect("text");
    assert!(
        text.contains("<5>alppaca: [WARNING] alppaca ")
            && text.ends_with("<5>alppaca: [WARNING] stopped\n")
            && text.contains("<6>alppaca: [INFO] 127.0.0.1:"),
        "{text}"
    );
}

#[test]
fn the_journal_gets_the_reason_of_an_end_as_an_error() {
    let directory = directory();
    let (config, path) = (directory.path().join("alppaca.yaml"), directory.path().join("stderr"));
    fs::write(&config, "nonsense: {").expect("a file");
    let said = |is_journal: bool| {
        let stderr = fs::File::create(&path).expect("a file");
        let stream = stderr.metadata().expect("ours");
        let inode = if is_journal { stream.ino() } else { 0 };
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        command.args(["check", "-c"]).arg(&config).env("JOURNAL_STREAM", format!("{}:{inode}", stream.dev()));
        assert_eq!(command.stderr(stderr).status().expect("it runs").code(), Some(2));
        fs::read_to_string(&path).expect("text")
    };
    let (plain, journal) = (said(false), said(true));
    assert!(plain.starts_with("alppaca: ") && plain.lines().count() > 1, "{plain}");
    let marked: Vec<_> = plain.lines().map(|line| format!("<3>{line}")).collect();
    assert_eq!(journal.lines().collect::<Vec<_>>(), marked);
}

/// In a mount namespace of its own, where the journal's socket is the test's.
#[test]
fn the_journal_gets_fields_by_its_own_protocol_from_a_confined_daemon() {
    let what = "the journal's own protocol";
    if !needs_root(what) || !needs(what, "unshare") {
        return;
    }
    let (ims, directory) = (Ims::start(Behaviour::default()), directory());
    let journal = UnixDatagram::bind(directory.path().join("socket")).expect("a socket");
    journal.set_read_timeout(Some(PATIENCE)).expect("settable");
    let stderr_path = directory.path().join("stderr");
    let stderr = fs::File::create(&stderr_path).expect("a file");
    let stream = stderr.metadata().expect("ours");
    let address = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
    let config = directory.path().join("alppaca.yaml");
    let run = directory.path().join("run");
    let text = format!("{}bind_port: {}\nrun_dir: {}\nuser: root\n", ims.config(), address.port(), run.display());
    fs::write(&config, text).expect("a file");
    let script = "mount -t tmpfs none /run && mkdir -p /run/systemd/journal && \
                  mount --bind \"$0\" /run/systemd/journal && exec \"$@\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(directory.path());
    command.arg(env!("CARGO_BIN_EXE_alppaca")).arg("run").arg("-c").arg(&config);
    command.env("JOURNAL_STREAM", format!("{}:{}", stream.dev(), stream.ino())).stderr(stderr);
    let mut daemon = Running(command.spawn().expect("it starts"));
    let wait_for = |message: &str| loop {
        let mut packet = [0; 8192];
        let length = journal.recv(&mut packet).unwrap_or_else(|error| panic!("no {message:?}: {error}"));
        let entry = String::from_utf8_lossy(&packet[..length]).into_owned();
        // `journalctl -p warning` has nothing of a life without trouble, but on a host with several people one advice.
        let quiet = ["PRIORITY=5\n", "PRIORITY=6\n"].iter().any(|priority| entry.contains(priority));
        assert!(quiet || entry.contains("there is no policy"), "{entry}");
        if entry.lines().any(|line| line.starts_with("MESSAGE=") && line.contains(message)) {
            break entry;
        }
    };
    let has = |entry: &str, fields: &[&str]| {
        assert!(entry.ends_with('\n'), "{entry:?}");
        for field in fields {
            assert!(entry.lines().any(|line| line == *field), "no {field} in {entry}");
        }
    };
    has(&wait_for("sandbox: "), &["PRIORITY=5", "SYSLOG_IDENTIFIER=alppaca"]);
    has(&wait_for(" serves at "), &["PRIORITY=5"]);
    let fetched = wait_for(" fetched ");
    has(
        &fetched,
        &["PRIORITY=5", "ROLE=test_role", "SOURCE=ims", "LOGGER=alppaca_refresh::report", "THREAD_NAME=refresh"],
    );
    assert!(fetched.contains("\nACCESS_KEY_ID=ASIA"), "{fetched}");
    drop(connect_when_listening(address));
    get(address, "/latest/meta-data/");
    let request = wait_for("\"GET /latest/meta-data/ ");
    has(&request, &["PRIORITY=6", "FACE=imds", "STATUS=200", "LOGGER=alppaca.access"]);
    assert!(request.contains("\nCALLER_ADDRESS=127.0.0.1:"), "{request}");
    let pid = rustix::process::Pid::from_child(&daemon.0);
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
    has(&wait_for("stopped"), &["PRIORITY=5", "MESSAGE=alppaca: [WARNING] stopped"]);
    daemon.0.wait().expect("it ends");
    assert_eq!(fs::read_to_string(stderr_path).expect("text"), "", "and nothing twice");
}

#[test]
fn json_has_a_line_for_each_record_with_its_fields() {
    let ims = Ims::start(Behaviour::default());
    let mut daemon = Daemon::with_credentials(&format!("{}log_format: json\n", ims.config()));
    raw(daemon.address(), b"GET /nowhere HTTP/1.1\r\nUser-Agent: a\"b\tc\\\r\nConnection: close\r\n\r\n");
    assert_eq!(daemon.stop(), Some(0));
    daemon.wait_for_log("\"stopped\"");
    let log = daemon.log();
    let records: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"))).collect();
    let find = |part: &str| {
        let found =
            records.iter().find(|record| record["message"].as_str().is_some_and(|message| message.contains(part)));
        found.unwrap_or_else(|| panic!("no {part}: {log}"))
    };
    let fetched = find(" fetched ");
    assert_eq!(
        (&fetched["level"], &fetched["role"], &fetched["source"]),
        (&"notice".into(), &"test_role".into(), &"ims".into())
    );
    let request = find("GET /nowhere");
    assert_eq!((&request["level"], &request["logger"]), (&"info".into(), &"alppaca.access".into()));
    assert!(request["status"].is_number() && !log.contains('\t'), "{request}");
    assert_eq!(find("stopped")["level"], "notice");
}

#[test]
fn a_client_cannot_forge_a_line() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let request =
        b"GET /\x1b[2Jforged?\xff HTTP/1.1\r\nUser-Agent: a\tb\"\xf0 [ERROR] forged\r\nConnection: close\r\n\r\n";
    raw(daemon.address(), request);
    raw(daemon.address(), b"GET /last HTTP/1.1\r\nConnection: close\r\n\r\n");
    daemon.wait_for_log("/last");
    let log = daemon.log();
    assert!(log.lines().all(|line| line.starts_with("alppaca: [")), "{log}");
    assert!(!log.contains(['\x1b', '\t']), "{log}");
}

#[test]
fn requests_are_logged_unless_that_is_switched_off() {
    let ims = Ims::start(Behaviour::default());
    for (setting, lines) in [("", 1), ("access_log: false\n", 0)] {
        let mut daemon = Daemon::with_credentials(&format!("{}{setting}", ims.config()));
        get(daemon.address(), "/latest/meta-data/");
        daemon.stop();
        daemon.wait_for_log("[WARNING] stopped");
        let line = "\"GET /latest/meta-data/ HTTP/1.1\" 200 ";
        assert_eq!(daemon.log().matches(line).count(), lines, "{}", daemon.log());
    }
}

/// What a user without any role can do to the log.
#[test]
fn a_flood_of_long_requests_is_a_bounded_log() {
    const FLOOD: usize = 2000;
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let before = daemon.log().len();
    let agent = [0xff; 15_000];
    let mut stream = support::connect(daemon.address());
    let mut writer = stream.try_clone().expect("a socket");
    let sending = std::thread::spawn(move || {
        for _ in 0..FLOOD {
            for part in [&b"GET /flood HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: "[..], &agent, b"\r\n\r\n"] {
                std::io::Write::write_all(&mut writer, part).expect("it reads");
            }
        }
    });
    for _ in 0..FLOOD {
        assert_eq!(support::read_one(&mut stream).status, 404);
    }
    sending.join().expect("all is sent");
    // The budget grows again, and the next line is preceded by the number of those that are missing.
    while !daemon.log().contains(" more request(s) before this one were not logged") {
        get(daemon.address(), "/later");
    }
    let log = daemon.log();
    let flood: Vec<&str> = log.lines().filter(|line| line.contains("GET /flood")).collect();
    assert!(flood.len() < FLOOD && log.len() - before < FLOOD * 400, "{} lines of {} bytes", flood.len(), log.len());
    assert!(flood.iter().all(|line| line.len() < 500 && line.contains("...[15000 bytes]")), "{flood:?}");
}
