//! An OpenTelemetry Collector, for the test of traces. It takes four minutes of processor time, once.

use std::path::PathBuf;

use crate::outcome::{Counts, Row};
use crate::{clients, shell};

/// Its name.
const PROGRAM: &str = "collector";

/// Makes it, unless it is there. One of other sources does not count.
pub fn ensure() -> (Option<PathBuf>, Row) {
    let step = "OpenTelemetry Collector";
    let made = match clients::is_made(PROGRAM) {
        Ok(false) if shell::which("go").is_none() => {
            return (None, Row::skipped(step, "there is no go", true));
        }
        Ok(false) => clients::make(PROGRAM, |source, folder| clients::go_program(source, folder, PROGRAM)),
        known => known.map(drop),
    };
    match made {
        Ok(()) => (Some(clients::made(PROGRAM).join(PROGRAM)), Row::new(step, Counts::NONE, "it is there")),
        Err(error) => (None, Row::skipped(step, format!("{error:#}"), true)),
    }
}
