//! The versions of the tools that release work uses, and how each gets below `target/tools`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, ensure};

use crate::{python, shell};

/// The book of the documentation.
const MDBOOK: &str = "0.5.4";
/// Names of crates and their versions inside of the binary.
const AUDITABLE: &str = "0.7.7";
/// A C compiler and linker for any version of glibc and any processor, and what makes cargo use it.
const ZIG: &str = "0.17.1";
const ZIGBUILD: &str = "0.24.1";
/// Packages for Alpine.
const NFPM: &str = "v2.45.2";
/// Charts of Kubernetes.
const HELM: &str = "v3.22.0";

fn tools() -> PathBuf {
    shell::target().join("tools")
}

pub fn mdbook() -> Result<PathBuf> {
    cargo_install("mdbook", MDBOOK, &["--no-default-features"])
}

pub fn auditable() -> Result<PathBuf> {
    cargo_install("cargo-auditable", AUDITABLE, &[])
}

/// The folder of `cargo-zigbuild` and of the Python with which it finds zig.
pub fn zigbuild() -> Result<PathBuf> {
    let folder = tools().join("zig");
    let bin = folder.join("bin");
    once(&bin.join("cargo-zigbuild"), &format!("ziglang=={ZIG} cargo-zigbuild=={ZIGBUILD}"), |wanted| {
        let python = python::interpreter().context("no python3 with venv: apt-get install python3-venv")?;
        shell::run(Command::new(python).args(["-m", "venv", "--clear"]).arg(&folder))?;
        let pip = ["-m", "pip", "install", "--quiet", "--disable-pip-version-check"];
        shell::run(Command::new(bin.join("python")).args(pip).args(wanted.split(' ')))
    })?;
    Ok(bin)
}

pub fn nfpm() -> Result<PathBuf> {
    go_install("nfpm", &format!("github.com/goreleaser/nfpm/v2/cmd/nfpm@{NFPM}"))
}

pub fn helm() -> Result<PathBuf> {
    go_install("helm", &format!("helm.sh/helm/v3/cmd/helm@{HELM}"))
}

fn go_install(name: &str, wanted: &str) -> Result<PathBuf> {
    let program = tools().join("bin").join(name);
    once(&program, wanted, |wanted| {
        ensure!(shell::which("go").is_some(), "there is no go, which builds {name}");
        let mut go = Command::new("go");
        // Modules that can be deleted with everything else in target/.
        go.args(["install", "-trimpath", "-modcacherw", wanted]).env("GOBIN", tools().join("bin"));
        go.env("GOPATH", tools().join("go")).env("GOCACHE", tools().join("go/cache"));
        shell::run(go.env("GOFLAGS", "-mod=mod"))?;
        // What a newer Go is made of cannot be removed otherwise, where Go fetches one.
        shell::run(Command::new("chmod").args(["-R", "u+w"]).arg(tools().join("go")))?;
        // It is many times the size of the program.
        fs::remove_dir_all(tools().join("go")).with_context(|| format!("what {name} was built from"))
    })?;
    Ok(program)
}

fn cargo_install(name: &str, version: &str, options: &[&str]) -> Result<PathBuf> {
    let program = tools().join("bin").join(name);
    once(&program, &format!("{name}@{version}"), |wanted| {
        let mut install = shell::cargo();
        install.args(["install", "--quiet", "--locked", "--force", wanted]).args(options).arg("--root").arg(tools());
        shell::run(&mut install)
    })?;
    Ok(program)
}

/// Has `install` make `program` unless it was made of `wanted`.
fn once(program: &std::path::Path, wanted: &str, install: impl FnOnce(&str) -> Result<()>) -> Result<()> {
    let name = program.file_name().context("a program has a name")?.to_string_lossy();
    // Written last, so that an interrupted installation is done again.
    let stamp = tools().join(format!("{name}.installed"));
    if program.is_file() && fs::read_to_string(&stamp).is_ok_and(|made_of| made_of == wanted) {
        return Ok(());
    }
    shell::heading(&format!("installing {wanted}"));
    fs::create_dir_all(tools())?;
    install(wanted).with_context(|| format!("cannot install {wanted}"))?;
    fs::write(&stamp, wanted)?;
    Ok(())
}
