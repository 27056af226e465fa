//! The API server of Kubernetes with its etcd, for the tests that need a real one. It takes many minutes of processor time, so
//! it is built only where that was asked for; CI uses what it finds.

use std::env;

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
        Ok(false) => match clients::make("kubernetes", |source, folder| clients::go_program(source, folder, "cluster"))
        {
            Ok(()) => Row::new(step, Counts::NONE, "it is there"),
            Err(error) => Row::skipped(step, format!("{error:#}"), true),
        },
        Err(error) => Row::skipped(step, format!("{error:#}"), true),
    }
}
