//! The API server of Kubernetes with its etcd, for the tests that need a real one. It takes many minutes of processor time, so
//! it is built only where that was asked for; CI uses what it finds.

use std::env;
use std::path::PathBuf;

use crate::outcome::{Counts, Row};
use crate::{clients, shell};

/// Says that it shall be built.
const SWITCH: &str = "ALPPACA_TEST_KUBERNETES";
/// Its name.
const PROGRAM: &str = "cluster";

/// Makes it if that was asked for; otherwise it is there or not. One of other sources does not count.
pub fn ensure() -> (Option<PathBuf>, Row) {
    let step = "kube-apiserver";
    let program = clients::made("kubernetes").join(PROGRAM);
    let wanted = env::var(SWITCH).is_ok_and(|value| !matches!(&*value, "" | "0"));
    let skipped = |why: String, installable| (None, Row::skipped(step, why, installable));
    let made = match clients::is_made("kubernetes") {
        Ok(false) if !wanted => {
            let why = if program.exists() { "it was built from other sources" } else { "it was never built here" };
            return skipped(format!("{why}; {SWITCH}=1 builds it, in some ten minutes"), false);
        }
        Ok(false) if shell::which("go").is_none() => return skipped("there is no go".to_owned(), true),
        Ok(false) => clients::make("kubernetes", |source, folder| clients::go_program(source, folder, PROGRAM)),
        known => known.map(drop),
    };
    match made {
        Ok(()) => (Some(program), Row::new(step, Counts::NONE, "it is there")),
        Err(error) => skipped(format!("{error:#}"), true),
    }
}
