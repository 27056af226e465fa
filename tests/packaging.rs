//! What is shipped beside the binary: checked by the programs that will read it.

mod support;

use std::{
    fs,
    os::unix::{fs::PermissionsExt, net::UnixDatagram},
    path::{Path, PathBuf},
    process::{Command, Output},
    time::Duration,
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, PATIENCE, needs, needs_root, request};

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging").join(file)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[test]
fn the_init_script_calls_alppacad_with_the_same_word() {
    let directory = tempfile::tempdir().expect("a directory");
    let fake = directory.path().join("alppacad");
    fs::write(&fake, "#!/bin/sh\necho \"$@\"\nexit 3\n").expect("a file");
    fs::set_permissions(&fake, fs::Permissions::from_mode(0o755)).expect("ours");
    let script = packaging("init.d/alppaca");
    for (word, line, code) in [
        ("start", "start -c /etc/alppaca\n", 3),
        ("stop", "stop -c /etc/alppaca\n", 3),
        ("restart", "restart -c /etc/alppaca\n", 3),
        ("force-reload", "restart -c /etc/alppaca\n", 3),
        ("status", "status -c /etc/alppaca\n", 3),
        ("dance", "", 2),
    ] {
        let output =
            run(Command::new("/bin/sh").arg(&script).arg(word).env("PATH", directory.path()).env_remove("CONFIG"));
        assert_eq!(
            (String::from_utf8_lossy(&output.stdout).as_ref(), output.status.code()),
            (line, Some(code)),
            "{word}"
        );
    }
    assert!(fs::read_to_string(script).expect("text").contains("### BEGIN INIT INFO\n# Provides:"));
}

#[test]
fn systemd_finds_no_fault_with_the_units_and_little_exposure() {
    if !needs("systemd units", "systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let mut units = Vec::new();
    for unit in ["alppaca.service", "alppaca.socket", "alppaca-capture.service"] {
        let text = fs::read_to_string(packaging("systemd").join(unit)).expect("text");
        let path = directory.path().join(unit);
        // Nothing is installed here, and there is no manual page yet.
        let text = text
            .replace("/usr/bin/alppaca", env!("CARGO_BIN_EXE_alppaca"))
            .replace("Documentation=man:alppaca(1)\n", "");
        fs::write(&path, text).expect("a file");
        units.push(path);
    }
    let output = run(Command::new("systemd-analyze").arg("verify").args(&units));
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_ours: Vec<_> = complaints.lines().filter(|line| line.contains("alppaca")).collect();
    assert!(about_ours.is_empty() && output.status.success(), "{complaints}");
    let output =
        run(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=15"]).arg(&units[0]));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_service_manager_is_told_when_credentials_are_there() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("settable");
    let ims = Ims::start(Behaviour { latency: Duration::from_millis(200), ..Behaviour::default() });
    let daemon = Daemon::start_with(&ims.config(), |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let mut said = String::new();
    while !said.contains("1 fresh") {
        let mut message = [0; 4096];
        let length = receive(&socket, &mut message);
        let message = String::from_utf8_lossy(&message[..length]).into_owned();
        if message.contains("READY=1") {
            assert!(ims.calls() >= 2, "not before the first fetch");
        }
        said.push_str(&message);
    }
    assert!(said.contains("STATUS=waiting for the upstream's first answer\n"), "{said}");
    assert_eq!(said.matches("READY=1\n").count(), 1, "{said}");
    assert!(said.contains("first to expire: test_role at "), "{said}");
    assert_eq!(daemon.get("/latest/meta-data/iam/security-credentials/").status, 200);
}

#[test]
fn without_credentials_readiness_is_told_after_the_wait() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("settable");
    let config = "ims_protocol: http\nims_host: 127.0.0.1\nims_port: 1\nready_wait: 300ms\n";
    let _daemon = Daemon::start_with(config, |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let mut message = [0; 4096];
    while !String::from_utf8_lossy(&message).contains("READY=1") {
        message = [0; 4096];
        socket.recv(&mut message).expect("READY=1 comes");
    }
}

#[test]
fn a_service_manager_is_told_of_a_wait_that_is_longer_than_the_units_allow() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("settable");
    let config = "ims_protocol: http\nims_host: 127.0.0.1\nims_port: 1\nready_wait: 2h\n";
    let _daemon = Daemon::start_with(config, |command| {
        command.env("NOTIFY_SOCKET", &path);
    });
    let mut said = String::new();
    // Two hours and half a minute.
    while !said.contains("EXTEND_TIMEOUT_USEC=7230000000\n") {
        let mut message = [0; 4096];
        let length = receive(&socket, &mut message);
        said.push_str(&String::from_utf8_lossy(&message[..length]));
    }
    assert!(!said.contains("READY=1"), "{said}");
    for unit in ["systemd/alppaca.service", "systemd/user/alppaca.service"] {
        let text = fs::read_to_string(packaging(unit)).expect("text");
        assert!(text.contains("\nTimeoutStartSec=60\n"), "the daemon goes by that: {unit}");
    }
}

#[test]
fn a_service_manager_that_watches_hears_again_and_again_that_the_daemon_lives() {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("notify");
    let socket = UnixDatagram::bind(&path).expect("a socket");
    socket.set_read_timeout(Some(PATIENCE)).expect("settable");
    let ims = Ims::start(Behaviour::default());
    let _daemon = Daemon::start_with(&ims.config(), |command| {
        command.env("NOTIFY_SOCKET", &path).env("WATCHDOG_USEC", "300000").env_remove("WATCHDOG_PID");
    });
    let mut said = String::new();
    while said.matches("WATCHDOG=1\n").count() < 4 {
        let mut message = [0; 4096];
        let length = receive(&socket, &mut message);
        said.push_str(&String::from_utf8_lossy(&message[..length]));
    }
    let unit = fs::read_to_string(packaging("systemd/alppaca.service")).expect("text");
    assert!(unit.contains("\nWatchdogSec="), "{unit}");
}

#[test]
fn a_socket_that_is_handed_over_is_served() {
    if !needs("socket activation", "systemd-socket-activate") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let port = std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
    let daemon = Daemon::start_through(
        &ims.config(),
        |program| {
            let mut command = Command::new("systemd-socket-activate");
            command.arg(format!("--listen={port}")).arg(program);
            command
        },
        || {
            // The daemon is started by the first connection.
            drop(support::connect_when_listening(port));
        },
    );
    assert_eq!(daemon.address(), port);
    assert_eq!(request(port, "GET / HTTP/1.1\r\n").status, 200);
}

#[test]
fn sockets_that_are_handed_over_belong_to_the_faces_that_their_names_say() {
    if !needs("socket activation by name", "systemd-socket-activate") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let free = || std::net::TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free");
    let (container, imds) = (free(), free());
    let daemon = Daemon::start_through(
        &format!("{}container: {{roles: {{test_role: {{open: true}}}}}}\n", ims.config()),
        |program| {
            let mut command = Command::new("systemd-socket-activate");
            command.arg(format!("--listen={container}")).arg(format!("--listen={imds}"));
            command.arg("--fdname=container:imds").arg(program);
            command
        },
        || drop(support::connect_when_listening(imds)),
    );
    assert_eq!((daemon.address(), daemon.face("container")), (imds, container));
    daemon.wait_for_log(" fetched ");
    assert_eq!(request(container, "GET /role/test_role HTTP/1.1\r\n").status, 200);
    assert_eq!(request(imds, "GET /latest/meta-data/ HTTP/1.1\r\n").status, 200);
}

#[test]
fn an_admin_socket_that_is_handed_over_starts_the_daemon_and_outlives_it() {
    if !needs("socket activation of the admin socket", "systemd-socket-activate") {
        return;
    }
    let ims = Ims::start(Behaviour::default());
    let place = tempfile::tempdir().expect("a directory");
    let socket = place.path().join("admin.sock");
    let alppaca = |arguments: &[&str]| {
        run(Command::new(env!("CARGO_BIN_EXE_alppaca")).args(arguments).env("ALPPACA_SOCKET", &socket))
    };
    let mut daemon = Daemon::start_through(
        &ims.config(),
        |program| {
            let mut command = Command::new("systemd-socket-activate");
            command.arg(format!("--listen={}", socket.display())).arg("--fdname=admin").arg(program);
            command
        },
        || {
            // The first command starts the daemon, and waits for what it says.
            while !socket.exists() {
                std::thread::yield_now();
            }
            let output = alppaca(&["credentials"]);
            assert!(output.status.success(), "{output:?}");
        },
    );
    assert!(alppaca(&["status"]).status.success());
    assert_eq!(daemon.stop(), Some(0));
    assert!(socket.exists(), "it is the service manager's");
}

#[test]
fn systemd_finds_no_fault_with_the_units_of_a_user() {
    if !needs("systemd user units", "systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let units = ["alppaca.service", "alppaca.socket"].map(|unit| {
        let text = fs::read_to_string(packaging("systemd/user").join(unit)).expect("text");
        let text = text
            .replace("/usr/bin/alppaca", env!("CARGO_BIN_EXE_alppaca"))
            .replace("Documentation=man:alppaca(1)\n", "");
        let path = directory.path().join(unit);
        fs::write(&path, text).expect("a file");
        path
    });
    let mut command = Command::new("systemd-analyze");
    // A user's service manager wants a directory of its own.
    command.args(["--user", "verify"]).args(&units).env("XDG_RUNTIME_DIR", directory.path());
    let output = run(&mut command);
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_ours: Vec<_> = complaints.lines().filter(|line| line.contains("alppaca")).collect();
    assert!(about_ours.is_empty() && output.status.success(), "{complaints}");
}

/// Receives a datagram, however many signals of other tests' children come in between.
fn receive(socket: &UnixDatagram, message: &mut [u8]) -> usize {
    loop {
        match socket.recv(message) {
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            received => return received.expect("a message"),
        }
    }
}

/// On a copy of this host that is thrown away: an overlay, in a mount namespace of its own.
#[test]
fn the_debian_package_is_installed_upgraded_and_purged() {
    let what = "the Debian package";
    if !needs_root(what) || !needs(what, "dpkg-deb") || !needs(what, "unshare") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let folder = directory.path().to_str().expect("UTF-8");
    // Not compressed: only for a moment.
    let built =
        run(Command::new(packaging("deb/build")).args(["alppaca", env!("CARGO_BIN_EXE_alppaca"), folder, "-Znone"]));
    assert!(built.status.success(), "{built:?}");
    let package = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    let installed = run(Command::new("unshare").args(["--mount", "sh", "-c", INSTALL, folder, &package]));
    let said = format!("{}{}", String::from_utf8_lossy(&installed.stdout), String::from_utf8_lossy(&installed.stderr));
    if installed.status.code() == Some(77) {
        support::cannot(what, &said);
        return;
    }
    assert!(installed.status.success(), "{said}");
    for line in [
        "version: alppaca 0.1.0 (",
        "account: /nonexistent:/usr/sbin/nologin\n",
        "alppacad: alppaca is not running\n",
        "conffiles: /etc/alppaca/alppaca.yaml /etc/init.d/alppaca /etc/logrotate.d/alppaca\n",
        "changed: \n",
        "kept: ims_host: x\n",
        "left:\n",
    ] {
        assert!(said.contains(line), "{line}{said}");
    }
}

/// $0 is a folder of ours, $1 the package. 77: overlays cannot be had here.
const INSTALL: &str = r#"
set -e
folder=$0 package=$1
mkdir "$folder/copy"
mount -t tmpfs none "$folder/copy" && cd "$folder/copy" && mkdir upper work root
mount -t overlay none -o lowerdir=/,upperdir=upper,workdir=work root || exit 77
mount --bind /dev root/dev && mount -t tmpfs none root/run && mount -t tmpfs none root/tmp
mount --bind /proc root/proc
cp "$package" root/tmp/alppaca.deb
inside() { chroot root env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C DEBIAN_FRONTEND=noninteractive "$@"; }

inside dpkg --force-unsafe-io --no-triggers -i /tmp/alppaca.deb
echo "version: $(inside alppaca --version)"
echo "account: $(inside getent passwd alppaca | cut -d : -f 6,7)"
echo "alppacad: $(inside alppacad status -c /usr/share/doc/alppaca/examples/minimal.yaml)"
echo "conffiles:" $(inside dpkg-query -W -f '${Conffiles}' alppaca | cut -d ' ' -f 2)
echo "changed: $(inside dpkg -V alppaca)"
inside test -s /usr/share/doc/alppaca/prometheus/alppaca.rules.yml
inside sh -c 'zcat /usr/share/man/man1/alppaca.1.gz | grep -q "^.TH alppaca 1" && zcat /usr/share/doc/alppaca/changelog.gz | grep -q "^alppaca (0.1.0) "'
inside bash -n /usr/share/bash-completion/completions/alppaca
inside bash -n /usr/share/bash-completion/completions/alppacad
if inside alppaca check >/dev/null; then echo "not configured, and yet valid"; exit 1; fi

echo 'ims_host: x' > root/etc/alppaca/alppaca.yaml
inside alppaca check --quiet
inside dpkg --force-unsafe-io --no-triggers --force-confold -i /tmp/alppaca.deb
echo "kept: $(cat root/etc/alppaca/alppaca.yaml)"

inside dpkg --force-unsafe-io --no-triggers --purge alppaca
# Only what the overlay has got, and the traces that every package leaves.
cd upper && echo "left:" $(find . -name '*alppaca*' ! -type c)
"#;
