//! The image that `cargo xtask package` makes, with a small static stand-in for the program.
#![allow(unreachable_pub, reason = "a part of one test program")]

use std::{fs, path::Path, process::Command};

use crate::{place::Runtime, support::needs};

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

    let loaded = runtime.run(&["load", "--quiet", "--input", &image]);
    let name = loaded.lines().last().and_then(|line| line.split(": ").nth(1)).expect("a name");
    assert!(name.ends_with(&format!("alppaca:{}", env!("CARGO_PKG_VERSION"))), "{loaded}");
    let said = runtime.run(&["run", "--rm", "--network", "none", name]);
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

/// What it prints.
fn done(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8_lossy(&output.stdout).into_owned()
}
