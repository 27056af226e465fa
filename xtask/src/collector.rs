//! An OpenTelemetry Collector, for the test of traces. It takes four minutes of processor time, once.

use crate::outcome::{Counts, Row};
use crate::{clients, shell};

pub fn ensure() -> Row {
    let step = "OpenTelemetry Collector";
    if shell::which("go").is_none() {
        return Row::skipped(step, "there is no go", true);
    }
    match clients::make("collector", |source, folder| clients::go_program(source, folder, "collector")) {
        Ok(()) => Row::new(step, Counts::NONE, "it is there"),
        Err(error) => Row::skipped(step, format!("{error:#}"), true),
    }
}
