//! Waits for what comes.

use std::{
    thread,
    time::{Duration, Instant},
};

/// How long to wait for something that comes.
const PATIENCE: Duration = Duration::from_mins(1);

/// What `look` finds, as soon as it finds something.
#[allow(clippy::disallowed_methods, reason = "tests wait in real time")]
pub fn eventually<T>(what: &str, mut look: impl FnMut() -> Option<T>, explain: impl Fn() -> String) -> T {
    let end = Instant::now() + PATIENCE;
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(Instant::now() < end, "never: {what}\n{}", explain());
        thread::sleep(Duration::from_millis(20));
    }
}
