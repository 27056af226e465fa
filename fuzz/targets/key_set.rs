//! Whatever comes as a set of keys is read without a panic.
#![no_main]

use alppaca::jwt::parse_key_set;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &[u8]| {
    if let Ok(keys) = parse_key_set(text) {
        assert!(keys.len() <= 64);
    }
});
