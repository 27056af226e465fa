//! Any `log_format` is accepted or refused with a message, never with a panic.
#![no_main]

use alppaca::logging::{Fields, Format, Level, Record};
use libfuzzer_sys::fuzz_target;

const RECORD: Record<'_> = Record {
    created: jiff::Timestamp::UNIX_EPOCH,
    started: jiff::Timestamp::UNIX_EPOCH,
    level: Level::Warning,
    name: "alppaca",
    message: "wörld",
    fields: Fields::of("role=web\ncaller_uid:1000\n"),
    thread: "main",
    path: "src/x.rs",
    line: 1,
};

fuzz_target!(|text: &str| {
    match Format::parse(text) {
        Ok(format) => format.render(&RECORD, &mut String::new()),
        Err(error) => assert!(!error.to_string().is_empty()),
    }
});
