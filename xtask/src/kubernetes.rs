//! The API server of Kubernetes with its etcd, for the tests that need a real one. It takes many minutes of processor time, so
//! it is built only where that was asked for; CI uses what it finds.

use std::env;
use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::outcome::{Counts, Row};
use crate::{clients, shell};

/// Says that it shall be built.
const SWITCH: &str = "ALPPACA_TEST_KUBERNETES";

/// Makes it if that was asked for; otherwise it is there or not.
pub fn ensure() -> Row {
    let step = "kube-apiserver";
    let wanted = env::var(SWITCH).is_ok_and(|value| !matches!(&*value, "" | "0"));
    match clients::is_made("kubernetes") {
        Ok(true) => Row::new(step, Counts::NONE, "it is there"),
        Ok(false) if !wanted => {
            Row::skipped(step, format!("it was never built here; {SWITCH}=1 builds it, in some ten minutes"), false)
        }
        Ok(false) if shell::which("go").is_none() => Row::skipped(step, "there is no go", true),
        Ok(false) => match clients::make("kubernetes", build) {
            Ok(()) => Row::new(step, Counts::NONE, "it is there"),
            Err(error) => Row::skipped(step, format!("{error:#}"), true),
        },
        Err(error) => Row::skipped(step, format!("{error:#}"), true),
    }
}

fn build(source: &Path, folder: &Path) -> Result<()> {
    let parts = folder.join("parts");
    let mut command = Command::new("nice");
    command.args(["go", "build", "-modcacherw", "-buildvcs=false", "-trimpath", "-ldflags=-s -w", "-o"]);
    command.arg(folder.join("cluster")).arg(".");
    command.env("GOPATH", parts.join("path")).env("GOCACHE", parts.join("cache"));
    shell::run(command.current_dir(source))?;
    // It is many times the size of the program.
    fs::remove_dir_all(parts).context("what the API server was built from")
}
