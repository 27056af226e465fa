//! The Debian package and its units, policy by unit, reload, restarts and clock steps on a machine of its own, with systemd as its first
//! process and cgroup v2: Debian in qemu, where `check.sh` finds out what is so.

#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    io::{Read, Write},
    os::unix::net::UnixStream,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::LazyLock,
    thread,
    time::Duration,
};

use support::{cannot, needs, needs_root};

/// Without hardware support a boot takes most of a minute, and more while other tests run.
const LIMIT: &str = "1200";

/// Nobody waits at the first port, or for the network.
const KERNEL: &str = "root=/dev/vda rw quiet console=ttyS0 systemd.mask=serial-getty@ttyS0.service \
                      systemd.mask=NetworkManager-wait-online.service";

macro_rules! checks {
    ($($name:ident)*) => {
        /// What `check.sh` finds out.
        const CHECKS: &[&str] = &[$(stringify!($name)),*];
        $(#[test]
        fn $name() {
            holds(stringify!($name));
        })*
    };
}

checks! {
    machine booted no_complaint confined
    unit slice user nobody_else other_user another_role_by_name
    name_forged_below_a_user_manager name_forged_in_a_delegated_group explained status_by_policy
    podman unverified_container dropin container
    doctor reload refused_reload only_trouble crash port_kept socket_activation no_gap memory_limit watchdog upgrade
    network_manager suspend deleted_link
    user_activated user_confined user_crash user_end
    clock_steps_forward clock_steps_back clock_of_1970 no_secrets
    stop wiped release removal purge nothing_failed
}

#[test]
fn every_check_was_made_and_no_other() {
    let Some(report) = &*REPORT else { return };
    let made: Vec<&str> = report.lines().filter_map(|line| line.split_once("ok ")).map(|(_, name)| name).collect();
    assert_eq!(made, CHECKS, "{report}");
    assert_eq!(report.lines().last(), Some("end"), "{report}");
}

fn holds(name: &str) {
    let Some(report) = &*REPORT else { return };
    assert!(report.lines().any(|line| line == format!("ok {name}")), "{report}");
}

/// What the machine said, if one could be had.
static REPORT: LazyLock<Option<String>> = LazyLock::new(|| {
    let possible = needs_root("machine")
        && ["qemu-system-x86_64", "mkfs.ext4", "objcopy", "dpkg-deb"].iter().all(|program| needs("machine", program));
    let base = possible.then(base).flatten()?;
    let place = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).expect("a directory");
    let root = place.path().join("root");
    run(Command::new("cp").arg("-al").arg(base).arg(&root));
    furnish(&root);
    let disk = place.path().join("disk");
    fs::File::create(&disk).and_then(|file| file.set_len(1 << 31)).expect("a file");
    run(Command::new("mkfs.ext4").arg("-q").arg("-d").arg(&root).arg(&disk));
    Some(boot(place.path(), &root, &disk))
});

/// A Debian that only has to be furnished.
#[allow(clippy::disallowed_methods, reason = "the environment says where it is")]
fn base() -> Option<PathBuf> {
    let base = std::env::var_os("ALPPACA_TEST_MACHINE").map(PathBuf::from);
    if base.is_none() {
        cannot("machine", "`cargo xtask test` makes the Debian that it boots");
    }
    base
}

/// Installs the Debian package, and what the test adds. `root` shares its files with the base: they are replaced, never
/// written to.
fn furnish(root: &Path) {
    let (at, own) = (|path: &str| root.join(path), Path::new("tests/machine"));
    run(Command::new("objcopy").arg("--strip-debug").arg(env!("CARGO_BIN_EXE_alppaca")).arg(at("alppaca")));
    let package = run(Command::new("packaging/deb/build").arg("alppaca").arg(at("alppaca")).arg(root).arg("-Znone"));
    fs::rename(package.trim(), at("alppaca.deb")).expect("the package is there");
    run(Command::new("rm").arg("-f").arg(at("var/log/dpkg.log")));
    run(Command::new("chroot").arg(root).args(["dpkg", "--force-unsafe-io", "-i", "/alppaca.deb"]));
    for (from, to) in [
        ("alppaca.yaml", "etc/alppaca/alppaca.yaml"),
        ("policy.yaml", "etc/alppaca/policy.yaml"),
        ("users.conf", "usr/lib/sysusers.d/test.conf"),
        ("check.service", "etc/systemd/system/check.service"),
        ("mock.service", "etc/systemd/system/mock.service"),
        (
            "../../packaging/systemd/alppaca.service.d/low-ports.conf",
            "etc/systemd/system/alppaca.service.d/low-ports.conf",
        ),
        ("../../packaging/systemd/podman.socket.d/alppaca.conf", "etc/systemd/system/podman.socket.d/alppaca.conf"),
    ] {
        run(Command::new("install").args(["-D", "-m", "644"]).arg(own.join(from)).arg(at(to)));
    }
    run(Command::new("install").arg(own.join("check.sh")).arg(at("usr/bin/check")));
    run(Command::new("install").arg("-D").arg("/dev/null").arg(at("var/lib/systemd/linger/bert")));
    let units = ["alppaca", "alppaca-capture", "podman.socket", "mock", "check"];
    run(Command::new("chroot").arg(root).args(["systemctl", "enable", "--quiet"]).args(units));
}

/// What the machine writes to its second serial port, until it switches itself off.
fn boot(place: &Path, root: &Path, disk: &Path) -> String {
    let (console, report) = (place.join("console"), place.join("report"));
    let mut qemu = Command::new("timeout");
    qemu.args([LIMIT, "qemu-system-x86_64", "-accel", "tcg,thread=multi", "-cpu", "max", "-smp", "2", "-m", "768"]);
    qemu.args(["-display", "none", "-no-reboot"]);
    // A network of its own, which leads nowhere.
    qemu.args(["-nic", "user,model=virtio-net-pci,restrict=on"]);
    qemu.arg("-kernel").arg(newest(root, "vmlinuz-")).arg("-initrd").arg(newest(root, "initrd.img-"));
    qemu.arg("-append").arg(KERNEL);
    qemu.arg("-drive").arg(format!("file={},format=raw,if=virtio", disk.display()));
    for port in [&console, &report] {
        qemu.arg("-serial").arg(format!("file:{}", port.display()));
    }
    let monitor = place.join("monitor");
    qemu.arg("-monitor").arg(format!("unix:{},server,nowait", monitor.display()));
    qemu.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let child = qemu.spawn().expect("qemu runs");
    let waker = thread::spawn(move || wake(&monitor));
    let output = child.wait_with_output().expect("it ends");
    waker.join().expect("no panic");
    let read = |path| String::from_utf8_lossy(&fs::read(path).unwrap_or_default()).replace('\r', "");
    let report = read(report);
    assert!(report.ends_with("end\n"), "{}\n{}\n{report}", String::from_utf8_lossy(&output.stderr), read(console));
    report
}

/// Wakes the machine up, should it be suspended, until it is switched off.
#[allow(clippy::disallowed_methods, reason = "a machine that sleeps says nothing that could be waited for")]
fn wake(monitor: &Path) {
    let connected = (0..600).find_map(|_| {
        thread::sleep(Duration::from_millis(100));
        UnixStream::connect(monitor).ok()
    });
    let Some(mut monitor) = connected else { return };
    monitor.set_read_timeout(Some(Duration::from_secs(5))).expect("settable");
    let mut said = [0; 4096];
    // It answers with a prompt each time.
    while monitor.write_all(b"system_wakeup\n").is_ok() && !matches!(monitor.read(&mut said), Ok(0)) {
        thread::sleep(Duration::from_secs(5));
    }
}

/// Of the kernel.
fn newest(root: &Path, name: &str) -> PathBuf {
    let files = fs::read_dir(root.join("boot")).expect("a directory");
    let paths = files.map(|file| file.expect("a file").path());
    let of_name = |path: &PathBuf| path.file_name().is_some_and(|file| file.to_string_lossy().starts_with(name));
    paths.filter(of_name).max().expect("a kernel is installed")
}

fn run(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
