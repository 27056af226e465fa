//! Whatever a person writes into the configuration is accepted or refused with a message, never with a panic.
//! A form feed separates the files of a directory.
#![no_main]

use std::path::PathBuf;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    let files: Vec<_> = text
        .split('\u{c}')
        .enumerate()
        .map(|(index, text)| (PathBuf::from(format!("{index}.yaml")), text.to_owned()))
        .collect();
    if let Err(error) = alppaca::config::parse(files) {
        assert!(!error.to_string().is_empty());
    }
});
