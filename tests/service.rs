//! The daemon in the background, as an init script uses it: LSB exit codes, pid file, complaints.

mod support;

use std::{
    fs,
    net::TcpListener,
    os::unix::fs::{PermissionsExt, symlink},
    process::Command,
};

use alppaca::mock_ims::Behaviour;
use support::{get, service::Service};
use tempfile::TempDir;

#[test]
fn it_starts_tells_its_status_restarts_and_stops_with_lsb_codes() {
    let service = Service::new();
    assert_eq!(service.say("status"), (Some(3), "alppaca is not running\n".to_owned()));
    assert_eq!(service.say("start"), (Some(0), "alppaca started\n".to_owned()));
    // Started means that credentials are there.
    assert_eq!(get(service.address(), "/latest/meta-data/iam/security-credentials/").body, "test_role");
    let pid = service.pid().expect("a pid file");
    let (code, said) = service.say("status");
    assert!(code == Some(0) && said.starts_with(&format!("alppaca is running (process {pid})\n")), "{said}");
    assert!(said.contains("169.254.169.254:80 does not reach it: "), "{said}");
    assert_eq!(service.say("start"), (Some(0), format!("alppaca is already running (process {pid})\n")));
    assert_eq!(service.say("restart"), (Some(0), "alppaca restarted\n".to_owned()));
    assert_ne!(service.pid().expect("a pid file"), pid);
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
    assert_eq!(service.pid(), None, "the pid file is gone");
    assert_eq!(service.say("stop"), (Some(0), "alppaca is not running\n".to_owned()));
}

#[test]
fn a_daemon_is_shown_and_stopped_also_when_its_configuration_has_become_wrong() {
    let service = Service::new();
    let wrong = format!("{}nonsense: 1\n", service.config(""));
    service.configure(&wrong);
    let (code, said) = service.say("stop");
    assert!(code == Some(6) && said.contains("there is no setting \"nonsense\""), "none runs: {code:?} {said}");
    service.configure(&service.config(""));
    assert_eq!(service.say("start").0, Some(0));
    service.configure(&wrong);
    let running = format!("alppaca is running (process {})\n", service.pid().expect("a pid file"));
    let (code, said) = service.say("status");
    assert!(code == Some(0) && said.contains("\"nonsense\"") && said.starts_with(&running), "{code:?} {said}");
    let (code, said) = service.say("stop");
    assert!(code == Some(0) && said.contains("\"nonsense\"") && said.contains("alppaca stopped"), "{code:?} {said}");
    assert_eq!(service.pid(), None, "the pid file is gone");
    let (code, said) = service.say("status");
    assert!(code == Some(4) && said.contains("\"nonsense\""), "none runs: {code:?} {said}");
}

#[test]
fn no_daemon_is_stopped_of_which_it_is_not_known_that_it_is_the_one() {
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    for wrong in ["run_dir: []\n", "run_dir: /run/x\n  ims_host: y\n", "{"] {
        service.configure(wrong);
        let (code, said) = service.say("stop");
        assert!(code == Some(6) && said.contains("none is stopped"), "{wrong:?}: {code:?} {said}");
    }
    fs::remove_file(service.path("alppaca.yaml")).expect("it was there");
    let (code, said) = service.say("stop");
    assert!(code == Some(6) && said.contains("none is stopped"), "{code:?} {said}");
    service.configure(&service.config(""));
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
}

#[test]
fn a_daemon_in_the_foreground_is_named_where_none_is_in_the_background() {
    let service = Service::new();
    let program = env!("CARGO_BIN_EXE_alppaca");
    let mut daemon =
        Command::new(program).arg("run").arg("-c").arg(service.path("alppaca.yaml")).spawn().expect("it runs");
    let socket = service.path("run/alppaca.sock");
    let answers = || std::os::unix::net::UnixStream::connect(&socket).is_ok();
    let settled = || (answers() || daemon.try_wait().expect("ours").is_some()).then_some(());
    support::eventually("it answers, or has ended", settled, String::new);
    let (code, said) = service.say("reload");
    daemon.kill().and_then(|()| daemon.wait()).expect("ours");
    let named = format!("{} is the socket of a daemon that was started otherwise", socket.display());
    assert!(code == Some(7) && said.contains(&named), "{code:?} {said}");
}

#[test]
fn a_pid_file_that_was_left_behind_is_told_and_never_believed() {
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let pid = service.pid().and_then(|pid| rustix::process::Pid::from_raw(pid.cast_signed())).expect("a process");
    rustix::process::kill_process(pid, rustix::process::Signal::KILL).expect("it runs");
    while rustix::process::test_kill_process(pid).is_ok() && service.say("status").0 == Some(0) {}
    assert_eq!(service.say("status").0, Some(1));
    // Ourselves: if the number were believed, this test would be stopped.
    fs::write(service.path("run/alppaca.pid"), format!("{}\n", std::process::id())).expect("writable");
    assert_eq!(service.say("stop"), (Some(0), "alppaca is not running\n".to_owned()));
    assert_eq!(service.say("start").0, Some(0));
}

#[test]
fn a_number_that_the_daemons_account_wrote_makes_nobody_stop() {
    let service = Service::new();
    assert_eq!(service.say("start").0, Some(0));
    let pid = service.pid().expect("a process");
    // Ourselves: if the number were obeyed, this test would get SIGHUP and SIGTERM.
    fs::write(service.path("run/alppaca.pid"), format!("{}\n", std::process::id())).expect("writable");
    let (code, said) = service.say("status");
    assert!(code == Some(0) && said.starts_with(&format!("alppaca is running (process {pid})\n")), "{said}");
    assert_eq!(service.say("reload").0, Some(0));
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
    assert_eq!(service.say("status").0, Some(3));
}

#[test]
fn whatever_else_has_the_name_of_the_pid_file_is_told_at_once() {
    let service = Service::new();
    let (run, other) = (service.path("run"), service.path("other"));
    fs::create_dir(&run).expect("a directory");
    fs::write(&other, "of somebody\n").expect("a file");
    let pid_file = run.join("alppaca.pid");
    let fifo = || {
        let mode = rustix::fs::Mode::from_bits_truncate(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, &pid_file, rustix::fs::FileType::Fifo, mode, 0).expect("a FIFO");
    };
    let (link, name) =
        (|| symlink(&other, &pid_file).expect("a link"), || fs::hard_link(&other, &pid_file).expect("a name"));
    for make in [&fifo as &dyn Fn(), &link, &name] {
        make();
        for (word, expected) in [("status", 4), ("start", 1), ("stop", 1), ("reload", 1)] {
            let (code, said) = service.say(word);
            assert!(code == Some(expected) && said.contains("alppaca.pid: "), "{word}: {code:?} {said}");
        }
        fs::remove_file(&pid_file).expect("ours");
    }
    assert_eq!(fs::read_to_string(&other).expect("there"), "of somebody\n");
}

#[test]
fn a_lock_for_reading_keeps_nobody_from_starting() {
    let service = Service::new();
    fs::create_dir(service.path("run")).expect("a directory");
    let pid_file = service.path("run/alppaca.pid");
    fs::write(&pid_file, "").expect("a file");
    let reader = fs::File::open(&pid_file).expect("readable");
    rustix::fs::fcntl_lock(&reader, rustix::fs::FlockOperation::NonBlockingLockShared).expect("free");
    assert_eq!(service.say("status").0, Some(1), "nobody runs");
    assert_eq!(service.say("start"), (Some(0), "alppaca started\n".to_owned()));
    assert_eq!(service.say("stop").0, Some(0));
}

/// The daemon's directory is its account's; a process of yet another user is neither stopped nor told anything.
#[test]
fn a_process_of_another_user_that_has_the_lock_is_left_alone() {
    let what = "service: a lock of another user";
    if !support::needs_root(what) || !support::needs(what, "python3") {
        return;
    }
    let service = Service::new();
    fs::create_dir(service.path("run")).expect("a directory");
    let script = "import fcntl, os, sys\nf = open(sys.argv[1], 'w')\nfcntl.lockf(f, fcntl.LOCK_EX)\nos.setuid(61000)\nprint('locked', flush=True)\nsys.stdin.read()";
    let mut other = Command::new("python3");
    other.args(["-c", script]).arg(service.path("run/alppaca.pid"));
    let mut other =
        other.stdin(std::process::Stdio::piped()).stdout(std::process::Stdio::piped()).spawn().expect("it runs");
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(other.stdout.take().expect("piped")), &mut line)
        .expect("a line");
    for word in ["stop", "reload"] {
        let (code, said) = service.say(word);
        assert!(code == Some(1) && said.contains(&format!("process {} of user 61000", other.id())), "{word}: {said}");
    }
    drop(other.stdin.take());
    assert!(other.wait().expect("it ends").success(), "it got no signal");
}

#[test]
fn what_keeps_it_from_starting_is_said() {
    let service = Service::new();
    service.configure("ims_hots: x\n");
    let (code, said) = service.say("start");
    assert!(code == Some(6) && said.contains("did you mean `ims_host`?"), "{said}");
    assert_eq!(service.say("status").0, Some(4));
    service.configure(&format!("ims_host: localhost\nrun_dir: {}\n", service.path("run").display()));
}

#[test]
fn a_port_that_is_in_use_is_told_at_once_and_taken_later() {
    let service = Service::new();
    let taken = TcpListener::bind(("127.0.0.1", service.port)).expect("free");
    let (code, said) = service.say("start");
    assert_eq!(code, Some(1), "{said}");
    let who = format!(" by uid {}, process {}", rustix::process::geteuid().as_raw(), std::process::id());
    assert!(said.contains("cannot listen on 127.0.0.1") && said.contains(&who), "{said}");
    assert!(said.contains("alppaca runs, but is not ready"), "{said}");
    let (code, said) = service.say("start");
    assert!(code == Some(0) && said.starts_with("alppaca is already running"), "{said}");
    drop(taken);
    drop(support::connect_when_listening(service.address()));
    assert_eq!(service.say("stop"), (Some(0), "alppaca stopped\n".to_owned()));
}

#[test]
fn a_port_that_is_in_use_is_told_also_where_the_log_is_stderr() {
    let service = Service::new();
    let config = service.config("");
    let rest: Vec<&str> = config.lines().filter(|line| !line.starts_with("logging_handler:")).collect();
    service.configure(&format!("{}\nlogging_handler: {{module: logging, class: StreamHandler}}\n", rest.join("\n")));
    let _taken = TcpListener::bind(("127.0.0.1", service.port)).expect("free");
    let (code, said) = service.say("start");
    let why = format!("cannot listen on 127.0.0.1:{}", service.port);
    assert!(code == Some(1) && said.contains(&why) && said.contains("as soon as it is free"), "{code:?} {said}");
}

#[test]
fn the_mock_has_its_old_name() {
    let directory = TempDir::new().expect("a directory");
    let mock = directory.path().join("alppaca-server-mock");
    symlink(env!("CARGO_BIN_EXE_alppaca"), &mock).expect("a link");
    let output = Command::new(mock).arg("--help").output().expect("it runs");
    assert!(String::from_utf8_lossy(&output.stdout).contains("Usage: alppaca-server-mock "));
}

/// By the host's configuration, with a daemon of root's in `/run/alppaca`: both are of a mount namespace only.
#[test]
fn the_daemon_of_the_host_is_shown_to_other_users_and_left_to_root() {
    let what = "service: the daemon of the host";
    if !support::needs_root(what) || !support::needs(what, "setpriv") {
        return;
    }
    let place = tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o755)).tempdir().expect("a directory");
    let (alppacad, config) = (place.path().join("alppacad"), place.path().join("alppaca.yaml"));
    symlink("alppaca", &alppacad).expect("a link");
    let ims = support::Ims::start(Behaviour::default());
    let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free").port();
    let log = place.path().join("log");
    let log = format!("logging_handler: {{module: logging, class: FileHandler, args: ['{}']}}\n", log.display());
    fs::write(&config, format!("{}bind_port: {port}\nuser: root\n{log}", ims.config())).expect("ours");
    // The copy is for users who may not enter the directory of the program.
    let script = "set -e; umask 022\n\
                  cp \"$2\" \"${0%d}\"\n\
                  mount -t tmpfs none /mnt && cp -a /etc /mnt/etc && mount --bind /mnt/etc /etc && mount -t tmpfs none /run\n\
                  rm -rf /etc/alppaca && mkdir -m 755 /etc/alppaca && install -m 644 \"$1\" /etc/alppaca/alppaca.yaml\n\
                  \"$0\" start && cat /run/alppaca/alppaca.pid\n\
                  for word in status stop restart reload; do\n\
                      unshare --net setpriv --reuid=4242 --regid=4242 --clear-groups \\\n\
                          env -i HOME=/nowhere PATH=/usr/bin:/bin \"$0\" $word 2>&1 && code=0 || code=$?\n\
                      echo \"$word: $code\"\n\
                  done\n\
                  \"$0\" stop\n";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script]).arg(&alppacad).arg(&config).arg(env!("CARGO_BIN_EXE_alppaca"));
    let (code, said) = support::service::said(&command.output().expect("it runs"));
    let pid = said.lines().nth(1).unwrap_or_default();
    assert!(code == Some(0) && said.starts_with("alppaca started\n") && pid.parse::<u32>().is_ok(), "{code:?} {said}");
    assert!(
        said.contains(&format!("\nalppaca is running (process {pid})\n")) && said.contains("\nstatus: 0\n"),
        "{said}"
    );
    for word in ["stop", "restart", "reload"] {
        let refused =
            format!("\nalppacad: process {pid} is the daemon of the host, which is root's: use sudo\n{word}: 4\n");
        assert!(said.contains(&refused), "{refused} {said}");
    }
    assert!(said.contains("\nalppaca stopped\n"), "{said}");
}
