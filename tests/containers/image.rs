//! The image that `cargo xtask package` makes, with a small static stand-in for the program.
#![allow(unreachable_pub, reason = "a part of one test program")]

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use crate::{
    LIST,
    place::{Container, Runtime, get_at},
    support::{cannot, eventually, needs},
};

/// Says who it is and what it sees.
const STAND_IN: &str = r#"use std::fs;
fn main() {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    println!("{}", status.lines().find(|line| line.starts_with("Uid:")).unwrap());
    println!("arguments: {:?}", std::env::args().skip(1).collect::<Vec<_>>());
    let mut names: Vec<_> = fs::read_dir("/usr/bin").unwrap().map(|entry| entry.unwrap().file_name()).collect();
    names.sort();
    println!("programs: {names:?}");
    for file in ["/run/alppaca/x", "/var/log/alppaca/x", "/etc/alppaca/x"] {
        println!("{file}: {}", fs::write(file, "x").is_ok());
    }
    let certificates = fs::read_to_string("/etc/ssl/certs/ca-certificates.crt").unwrap();
    println!("certificates: {}", certificates.matches("BEGIN CERTIFICATE").count() > 50);
}"#;

pub fn the_image_has_nothing_but_the_program_and_is_not_root<R: Runtime>() {
    let xtask = Path::new(env!("CARGO_BIN_EXE_alppaca")).with_file_name("xtask");
    if !xtask.exists() {
        crate::support::skip("the image", "there is no xtask beside the program: test the whole workspace");
        return;
    }
    let runtime = R::start();
    let at = |name: &str| runtime.place().path(name).display().to_string();
    fs::write(at("stand-in.rs"), STAND_IN).expect("a file");
    done(Command::new("rustc").args(["--edition=2024", "-Ctarget-feature=+crt-static", "-Cstrip=symbols"]).args([
        "-o",
        &at("stand-in"),
        &at("stand-in.rs"),
    ]));
    let packages = ["package", "--only=alppaca", "--format=image", "--program", &at("stand-in"), "--out", &at("out")];
    done(Command::new(xtask).args(packages));
    let architecture = if cfg!(target_arch = "aarch64") { "arm64" } else { "amd64" };
    let image = format!("{}/alppaca-{}-linux-{architecture}.oci.tar", at("out"), env!("CARGO_PKG_VERSION"));

    let name = load(&runtime, &image);
    let said = runtime.run(&["run", "--rm", "--network", "none", &name]);
    assert_eq!(
        said.replace('\t', " "),
        "Uid: 65532 65532 65532 65532\narguments: [\"run\"]\nprograms: [\"alppaca\"]\n/run/alppaca/x: true\n\
         /var/log/alppaca/x: true\n/etc/alppaca/x: false\ncertificates: true"
    );
    if !needs("the image", "skopeo") {
        return;
    }
    let inspected = done(Command::new("skopeo").args(["inspect", "--config", &format!("oci-archive:{image}")]));
    let config: serde_json::Value = serde_json::from_str(&inspected).expect("JSON");
    let label = |name: &str| &config["config"]["Labels"][format!("org.opencontainers.image.{name}")];
    assert_eq!((&config["architecture"], &config["os"]), (&architecture.into(), &"linux".into()));
    assert_eq!((label("title"), label("licenses")), (&"alppaca".into(), &"Apache-2.0".into()));
    assert_eq!(label("version"), env!("CARGO_PKG_VERSION"));
}

/// The daemon itself, as `docs/install.md` has it run, and its demonstration.
pub fn the_daemon_of_the_image_serves_and_stops<R: Runtime>() {
    let Some(image) = image_of_the_daemon() else {
        cannot("the image of the daemon", "`cargo xtask test` makes it, or name one in ALPPACA_TEST_IMAGE");
        return;
    };
    let runtime = R::start();
    let name = load(&runtime, &image.display().to_string());
    let etc = runtime.place().path("etc");
    fs::create_dir(&etc).expect("a folder");
    let file = etc.join("alppaca.yaml");
    fs::write(&file, CONFIG).expect("a file");
    // The daemon there is another account, whatever the umask is.
    for (path, mode) in [(&etc, 0o755), (&file, 0o644)] {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    }
    let configured = format!("{}:/etc/alppaca:ro", etc.display());
    for (container, options, program) in
        [("daemon", &["--volume", &configured][..], &[][..]), ("demo", &["--cap-drop", "all"][..], &["demo"][..])]
    {
        let start = &["run", "--detach", "--network", "none", "--name", container];
        runtime.run(&[start, options, &[name.as_str()], program].concat());
        let running = runtime.container(container);
        let log = || format!("{:?}", runtime.call(&["logs", container]));
        let get = |path: &str| get_at(running.command(), "127.0.0.1:25772", path);
        // Nobody waits for a daemon without a manager.
        let served = || Some(get(LIST)).filter(|(status, _)| *status == 200);
        let (_, role) = eventually("it serves", served, log);
        assert_eq!(role, "test_role", "{}", log());
        let (status, document) = get(&format!("{LIST}{role}"));
        assert!(status == 200 && document.contains("\"AccessKeyId\""), "{status} {document}");
        is_nobody_special(&running);
        let shell = runtime.call(&["exec", container, "/bin/sh", "-c", "true"]);
        assert!(!shell.status.success(), "there is a shell");
        if program.is_empty() {
            let said = runtime.run(&["exec", container, "/usr/bin/alppaca", "status"]);
            assert!(said.contains("test_role"), "{said}");
        }
        // Within the time, else it would be killed, and end with another code.
        runtime.run(&["stop", "--time", "60", container]);
        let code = runtime.run(&["inspect", "--format", "{{.State.ExitCode}}", container]);
        assert_eq!(code, "0", "{}", log());
    }
}

/// A role for whoever asks.
const CONFIG: &str = "sources: {given: {kind: static, access_key_id: ASIAX, secret_access_key: s, session_token: t, \
                      expiration: '2099-01-01T00:00:00Z'}}\nroles: {test_role: {source: given}}\n";

#[allow(clippy::disallowed_methods, reason = "the environment says where it is")]
fn image_of_the_daemon() -> Option<PathBuf> {
    std::env::var_os("ALPPACA_TEST_IMAGE").map(PathBuf::from)
}

/// Its account is the image's, and it may do nothing that others may not.
fn is_nobody_special<R: Runtime>(container: &Container<'_, R>) {
    let status = fs::read_to_string(format!("/proc/{}/status", container.pid)).expect("it runs");
    let field = |name: &str| {
        let line = status.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    assert_eq!(field("Uid:"), "65532 65532 65532 65532");
    assert_eq!((field("CapEff:").trim_matches('0'), field("CapPrm:").trim_matches('0')), ("", ""), "{status}");
}

/// The name under which the runtime knows the image of an archive.
fn load<R: Runtime>(runtime: &R, image: &str) -> String {
    let loaded = runtime.run(&["load", "--quiet", "--input", image]);
    let name = loaded.lines().last().and_then(|line| line.split(": ").nth(1)).expect("a name");
    assert!(name.ends_with(&format!("alppaca:{}", env!("CARGO_PKG_VERSION"))), "{loaded}");
    name.to_owned()
}

/// What it prints.
fn done(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
