//! The output of a `credential_process`: no panic, and what is accepted is fit to be served.
#![no_main]

use alppaca::{credentials::is_key_text, source::process::parse_output};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|output: &[u8]| match parse_output(output) {
    Ok(set) => {
        assert!(is_key_text(&set.access_key_id) && is_key_text(set.secret_access_key.expose()));
        assert!(set.session_token.is_none_or(|token| is_key_text(token.expose())));
        assert!(set.account_id.is_none_or(|id| id.as_str().len() == 12));
    }
    // Whatever it was, nothing of it is told.
    Err(error) => assert!(error.to_string().len() < 120),
});
