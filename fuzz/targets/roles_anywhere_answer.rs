//! Whatever the service sends is read without a panic, and what was read can be handed out.
#![no_main]

use alppaca::{
    credentials::{parse_document, render_document},
    source::roles_anywhere::parse_session,
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(credentials) = parse_session(body) else { return };
    let rendered = render_document(&credentials, credentials.expiration);
    let again = parse_document(rendered.expose()).expect("our own document");
    assert_eq!(again.secret_access_key, credentials.secret_access_key);
    assert_eq!(again.session_token, credentials.session_token);
});
