//! The clients of the interoperability tests, one for each language, in `target/test-env`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::outcome::{Counts, Row};
use crate::shell;

/// A language whose client has to be fetched or built.
struct Language {
    /// Also its folder in `tests/interop` and in `target/test-env`.
    name: &'static str,
    /// The programs that do it.
    needs: &'static [&'static str],
    /// Does it: from the sources in the first folder into the second.
    build: fn(&Path, &Path) -> Result<()>,
}

const LANGUAGES: &[Language] = &[
    Language { name: "go", needs: &["go"], build: go },
    Language { name: "java", needs: &["java", "javac", "mvn"], build: java },
    Language { name: "javascript", needs: &["node", "npm"], build: javascript },
    Language { name: "rust", needs: &[], build: rust },
];

/// Makes what is missing or older than its sources; a row for each language.
pub fn ensure() -> Vec<Row> {
    LANGUAGES.iter().map(ensure_one).collect()
}

fn ensure_one(language: &Language) -> Row {
    let step = format!("client in {}", language.name);
    let missing = language.needs.iter().find(|program| shell::which(program).is_none());
    if let Some(program) = missing {
        return Row::skipped(step, format!("there is no {program}"), true);
    }
    match make(language.name, language.build) {
        Ok(()) => Row::new(step, Counts::NONE, "it is there"),
        Err(error) => Row::skipped(step, format!("{error:#}"), true),
    }
}

/// Whether what is made of `tests/interop/NAME` is there, and is newer than that.
pub fn is_made(name: &str) -> Result<bool> {
    let wanted = contents(&sources(name))?;
    Ok(fs::read_to_string(stamp(name)).is_ok_and(|made_from| made_from == wanted))
}

/// Makes it, unless it is.
pub fn make(name: &str, build: fn(&Path, &Path) -> Result<()>) -> Result<()> {
    if is_made(name)? {
        return Ok(());
    }
    shell::heading(&format!("making tests/interop/{name}"));
    let folder = made(name);
    fs::create_dir_all(&folder)?;
    build(&sources(name), &folder)?;
    // Written last, so that an interrupted build is done again.
    fs::write(stamp(name), contents(&sources(name))?)?;
    Ok(())
}

fn sources(name: &str) -> PathBuf {
    shell::root().join("tests/interop").join(name)
}

/// Where it is.
pub fn made(name: &str) -> PathBuf {
    shell::target().join("test-env").join(name)
}

fn stamp(name: &str) -> PathBuf {
    made(name).join("made-from")
}

/// All sources in one text, to tell whether one has changed.
fn contents(folder: &Path) -> Result<String> {
    let mut text = String::new();
    let entries = fs::read_dir(folder).with_context(|| folder.display().to_string())?;
    let mut paths: Vec<PathBuf> = entries.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    paths.sort();
    for path in paths {
        let part = if path.is_dir() { contents(&path)? } else { fs::read_to_string(&path)? };
        text.extend([&path.display().to_string(), "\n", &part, "\n"]);
    }
    Ok(text)
}

fn go(source: &Path, folder: &Path) -> Result<()> {
    let mut command = Command::new("go");
    // Modules that can be deleted with everything else in target/.
    command.args(["build", "-modcacherw", "-buildvcs=false", "-o"]).arg(folder.join("client")).arg(".");
    command.env("GOPATH", folder.join("path")).env("GOCACHE", folder.join("cache"));
    shell::run(command.current_dir(source))
}

/// Builds a large program, without keeping what it was built from.
pub fn go_program(source: &Path, folder: &Path, name: &str) -> Result<()> {
    let parts = folder.join("parts");
    let mut command = Command::new("nice");
    command.args(["go", "build", "-modcacherw", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o"]);
    command.arg(folder.join(name)).arg(".");
    command.env("GOPATH", parts.join("path")).env("GOCACHE", parts.join("cache"));
    shell::run(command.current_dir(source))?;
    // What a newer Go is made of cannot be removed otherwise, where Go fetches one.
    shell::run(Command::new("chmod").args(["-R", "u+w"]).arg(&parts))?;
    // It is many times the size of the program.
    fs::remove_dir_all(parts).with_context(|| format!("what {name} was built from"))
}

fn java(source: &Path, folder: &Path) -> Result<()> {
    let (libraries, classes) = (folder.join("lib"), folder.join("classes"));
    for old in [&libraries, &classes].into_iter().filter(|old| old.exists()) {
        fs::remove_dir_all(old)?;
    }
    let mut maven = Command::new("mvn");
    maven.args(["--quiet", "--batch-mode", "--file"]).arg(source.join("pom.xml"));
    maven.arg(format!("-Dmaven.repo.local={}", folder.join("repository").display()));
    maven.arg("org.apache.maven.plugins:maven-dependency-plugin:3.8.1:copy-dependencies");
    shell::run(maven.arg(format!("-DoutputDirectory={}", libraries.display())).current_dir(folder))?;
    let mut compiler = Command::new("javac");
    compiler.arg("-cp").arg(libraries.join("*")).arg("-d").arg(&classes).arg(source.join("Client.java"));
    shell::run(&mut compiler)
}

fn javascript(source: &Path, folder: &Path) -> Result<()> {
    for file in ["package.json", "package-lock.json", "client.mjs", "provider.mjs"] {
        fs::copy(source.join(file), folder.join(file)).with_context(|| file.to_owned())?;
    }
    let mut command = Command::new("npm");
    command.args(["ci", "--no-audit", "--no-fund", "--loglevel=error", "--cache"]).arg(folder.join("cache"));
    shell::run(command.current_dir(folder))
}

fn rust(source: &Path, folder: &Path) -> Result<()> {
    let mut command = shell::cargo();
    command.args(["build", "--quiet", "--locked", "--target-dir"]).arg(folder);
    // In its own folder: it is a workspace of its own.
    shell::run(command.current_dir(source))
}
