//! Programs of others that tests talk to, built with Go of their pinned sources, once. An OpenTelemetry Collector takes four
//! minutes of processor time, amazon-ec2-metadata-mock one. A program of other sources does not count.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::outcome::{Counts, Row};
use crate::{clients, shell};

/// The Collector, and whether it is there.
pub fn collector() -> (Option<PathBuf>, Row) {
    ensure("OpenTelemetry Collector", "collector", |source, folder| clients::go_program(source, folder, "collector"))
}

/// Whether the mock is there.
pub fn metadata_mock() -> Row {
    let build = |source: &Path, folder: &Path| clients::go_program(source, folder, "metadata-mock");
    ensure("amazon-ec2-metadata-mock", "metadata-mock", build).1
}

fn ensure(step: &str, program: &str, build: fn(&Path, &Path) -> Result<()>) -> (Option<PathBuf>, Row) {
    let made = match clients::is_made(program) {
        Ok(false) if shell::which("go").is_none() => {
            return (None, Row::skipped(step, "there is no go", true));
        }
        Ok(false) => clients::make(program, build),
        known => known.map(drop),
    };
    match made {
        Ok(()) => (Some(clients::made(program).join(program)), Row::new(step, Counts::NONE, "it is there")),
        Err(error) => (None, Row::skipped(step, format!("{error:#}"), true)),
    }
}
