//! The image of the daemon that the tests run. A static build of its own would take minutes: what the tests have compiled is
//! linked once more, without a C library of the host's, which takes seconds.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::Instant;

use anyhow::{Context, Result, ensure};
use serde_json::Value;

use crate::outcome::{Counts, Row};
use crate::{package, shell};

/// What names it to the tests.
pub const VARIABLE: &str = "ALPPACA_TEST_IMAGE";
/// Which tests want it.
const TESTS: &str = "containers";

/// The image, if tests that want it are among those of these arguments of cargo test.
pub fn ensure(arguments: &[OsString]) -> (Option<PathBuf>, Option<Row>) {
    let (started, step) = (Instant::now(), "image of the daemon");
    // Such as that of a release.
    if let Some(given) = env::var_os(VARIABLE).map(|given| fs::canonicalize(&given).unwrap_or(given.into())) {
        return (Some(given), Some(Row::new(step, Counts::NONE, format!("that of {VARIABLE}"))));
    }
    match make(arguments) {
        Ok(None) => (None, None),
        Ok(image) => (image, Some(Row::new(step, Counts::NONE, format!("made in {} s", started.elapsed().as_secs())))),
        Err(error) => (None, Some(Row::skipped(step, format!("{error:#}"), true))),
    }
}

fn make(arguments: &[OsString]) -> Result<Option<PathBuf>> {
    shell::heading("compiling the tests");
    let mut cargo = shell::cargo();
    cargo.args(["test", "--no-run", "--message-format=json-render-diagnostics"]).args(arguments);
    // Only this says which of the libraries that lie there is that of the present sources.
    let output = cargo.stdin(Stdio::null()).stderr(Stdio::inherit()).output().context("cannot start cargo")?;
    ensure!(output.status.success(), "the tests cannot be compiled");
    let Some(library) = library(&String::from_utf8_lossy(&output.stdout))? else { return Ok(None) };
    let program = shell::target().join("image/alppaca");
    let folder = program.with_file_name("");
    fs::create_dir_all(&folder)?;
    let mut rustc = Command::new("rustc");
    rustc.args([
        "--edition=2024",
        "--crate-name=alppaca",
        "-Ctarget-feature=+crt-static",
        "-Cstrip=symbols",
        "src/main.rs",
    ]);
    // Those with which the library was compiled.
    rustc.args(env::var("RUSTFLAGS").unwrap_or_default().split_whitespace());
    rustc.arg(format!("-Ldependency={}", library.with_file_name("").display()));
    rustc.arg(format!("--extern=alppaca={}", library.display())).arg("-o").arg(&program);
    shell::run(rustc.current_dir(shell::root()))?;
    package::image(&program, &folder).map(Some)
}

/// The daemon's library among what cargo says that it has compiled, if the tests are.
fn library(messages: &str) -> Result<Option<PathBuf>> {
    let artifacts: Vec<Value> = messages.lines().filter_map(|line| serde_json::from_str(line).ok()).collect();
    let is = |artifact: &Value, kind: &str, name: &str| {
        artifact["target"]["kind"][0] == kind && artifact["target"]["name"] == name
    };
    if !artifacts.iter().any(|artifact| is(artifact, "test", TESTS)) {
        return Ok(None);
    }
    let libraries = artifacts.iter().filter(|artifact| is(artifact, "lib", "alppaca"));
    let files = libraries.filter_map(|artifact| artifact["filenames"].as_array()).flatten();
    let mut files = files.filter_map(Value::as_str).map(PathBuf::from);
    let file = files.find(|file| file.extension().is_some_and(|extension| extension == "rlib"));
    Ok(Some(file.context("cargo names no library of the daemon")?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_taken_that_cargo_names() {
        let lines = [
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"alppaca_core"},"filenames":["/t/libalppaca_core-1.rlib"]}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"alppaca"},"filenames":["/t/alppaca-3"]}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["lib"],"name":"alppaca"},"filenames":["/t/libalppaca-2.rlib","/t/libalppaca-2.rmeta"]}"#,
            r#"{"reason":"compiler-artifact","target":{"kind":["test"],"name":"containers"},"filenames":["/t/containers-4"]}"#,
        ];
        assert_eq!(library(&lines.join("\n")).expect("a library"), Some("/t/libalppaca-2.rlib".into()));
        assert_eq!(library(&lines[..3].join("\n")).expect("no such test"), None);
        assert!(library(lines[3]).is_err());
    }
}
