//! Any `log_format` is accepted or refused with a message, never with a panic.
#![no_main]

use alppaca::logging::Format;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    if let Err(error) = Format::parse(text) {
        assert!(!error.to_string().is_empty());
    }
});
