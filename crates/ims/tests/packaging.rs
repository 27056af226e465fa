//! What is shipped beside the program: checked by the programs that will read it.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use support::needs::needs;

fn packaging(file: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../packaging").join(file)
}

fn run(command: &mut Command) -> Output {
    command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"))
}

#[test]
fn systemd_finds_no_fault_with_the_unit_and_little_exposure() {
    if !needs("systemd unit of alppaca-ims", "systemd-analyze") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let text = fs::read_to_string(packaging("systemd/alppaca-ims.service")).expect("text");
    let path = directory.path().join("alppaca-ims.service");
    // Nothing is installed here, and there is no manual page yet.
    let text = text
        .replace("/usr/bin/alppaca-ims", env!("CARGO_BIN_EXE_alppaca-ims"))
        .replace("Documentation=man:alppaca-ims(8)\n", "");
    fs::write(&path, text).expect("a file");
    let output = run(Command::new("systemd-analyze").arg("verify").arg(&path));
    let complaints = String::from_utf8_lossy(&output.stderr).into_owned();
    let about_ours: Vec<_> = complaints.lines().filter(|line| line.contains("alppaca")).collect();
    assert!(about_ours.is_empty() && output.status.success(), "{complaints}");
    let output = run(Command::new("systemd-analyze").args(["security", "--offline=true", "--threshold=20"]).arg(&path));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn the_debian_package_has_all_and_starts_nothing() {
    if !needs("the Debian package of alppaca-ims", "dpkg-deb") {
        return;
    }
    let directory = tempfile::tempdir().expect("a directory");
    let built = run(Command::new(packaging("deb/build"))
        .arg("alppaca-ims")
        .arg(env!("CARGO_BIN_EXE_alppaca-ims"))
        .arg(directory.path())
        // A debug binary takes long to compress.
        .arg("-Znone"));
    assert!(built.status.success(), "{}", String::from_utf8_lossy(&built.stderr));
    let package = String::from_utf8_lossy(&built.stdout).trim().to_owned();
    let list = run(Command::new("dpkg-deb").arg("--contents").arg(&package));
    let list = String::from_utf8_lossy(&list.stdout).into_owned();
    for (file, mode) in [
        ("usr/bin/alppaca-ims", "-rwxr-xr-x root/root"),
        ("usr/lib/systemd/system/alppaca-ims.service", "-rw-r--r-- root/root"),
        ("etc/alppaca-ims/ims.yaml", "-rw-r----- root/root"),
        ("usr/share/man/man8/alppaca-ims.8.gz", "-rw-r--r-- root/root"),
        ("usr/share/man/man5/alppaca-ims.yaml.5.gz", "-rw-r--r-- root/root"),
        ("usr/share/alppaca-ims/alppaca-ims.schema.json", "-rw-r--r-- root/root"),
        ("usr/share/doc/alppaca-ims/ims-guide.md", "-rw-r--r-- root/root"),
        ("usr/share/doc/alppaca-ims/prometheus/alppaca-ims.rules.yml", "-rw-r--r-- root/root"),
    ] {
        let line = list.lines().find(|line| line.ends_with(&format!(" ./{file}")));
        assert!(line.is_some_and(|line| line.starts_with(mode)), "{file}: {line:?}\n{list}");
    }
    let control = run(Command::new("dpkg-deb").args(["--field", &package]));
    let control = String::from_utf8_lossy(&control.stdout).into_owned();
    assert!(
        control.contains("Package: alppaca-ims\n") && !control.contains("@SIZE@") && !control.contains("@LIBC@"),
        "{control}"
    );
    let extracted = directory.path().join("control");
    assert!(run(Command::new("dpkg-deb").arg("--control").arg(&package).arg(&extracted)).status.success());
    for script in ["postinst", "prerm", "postrm"] {
        let path = extracted.join(script);
        assert!(run(Command::new("sh").arg("-n").arg(&path)).status.success(), "{script}");
        let text = fs::read_to_string(path).expect("text");
        assert!(!text.contains("systemctl start") && !text.contains("systemctl enable"), "{script}");
    }
    let conffiles = fs::read_to_string(extracted.join("conffiles")).expect("text");
    assert_eq!(conffiles, "/etc/alppaca-ims/ims.yaml\n/etc/logrotate.d/alppaca-ims\n");
}

/// The configuration that is shipped, without its comment signs, is legal.
#[test]
fn the_shipped_configuration_is_legal_once_it_is_switched_on() {
    let text = fs::read_to_string(packaging("deb-ims/ims.yaml")).expect("text");
    let settings = text.split("\n#\n").skip(1).collect::<Vec<_>>().join("\n");
    let lines: Vec<&str> = settings.lines().map(|line| line.trim_start_matches("# ")).collect();
    let settings = lines.join("\n").replace("# ", "");
    let read = alppaca_ims::site::parse(vec![("ims.yaml".into(), settings.clone())]);
    assert!(read.is_ok(), "{settings}\n{}", read.err().map(|errors| errors.to_string()).unwrap_or_default());
}
