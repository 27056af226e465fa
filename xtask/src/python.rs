//! The Python environment of the interoperability tests.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::outcome::{Counts, Row};
use crate::shell;

/// A Python that can make environments: the person's own, else Debian's. A shim of a version manager
/// is as good as any other if it works.
pub fn interpreter() -> Option<PathBuf> {
    ["python3", "/usr/bin/python3"]
        .into_iter()
        .map(PathBuf::from)
        .find(|python| shell::output(Command::new(python).args(["-c", "import ensurepip, ssl, venv"])).is_ok())
}

/// Makes the environment unless it is there with the same requirements; returns its Python for the
/// tests, and a row for the summary.
pub fn environment() -> (Option<PathBuf>, Row) {
    let step = "Python environment";
    let Some(interpreter) = interpreter() else {
        return (None, Row::skipped(step, "no python3 with venv", true));
    };
    match make(&interpreter) {
        Ok(python) => (Some(python), Row::new(step, Counts::NONE, "its packages are there")),
        Err(error) => (None, Row::skipped(step, format!("{error:#}"), true)),
    }
}

fn make(interpreter: &Path) -> Result<PathBuf> {
    let folder = shell::target().join("test-env/venv");
    let python = folder.join("bin/python");
    let wanted = shell::root().join("tests/interop/python/requirements.txt");
    let requirements = fs::read_to_string(&wanted).with_context(|| wanted.display().to_string())?;
    // Written last, so that an interrupted installation is done again.
    let stamp = folder.join("requirements.installed");
    if fs::read_to_string(&stamp).is_ok_and(|installed| installed == requirements) {
        return Ok(python);
    }
    shell::heading("making the Python environment");
    shell::run(Command::new(interpreter).args(["-m", "venv", "--clear"]).arg(&folder))?;
    shell::run(
        Command::new(&python)
            .args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"])
            .arg(wanted),
    )?;
    fs::write(&stamp, requirements)?;
    Ok(python)
}
