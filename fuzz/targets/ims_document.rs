//! Whatever an IMS sends is read without a panic, and what was read renders to a document that reads the same.
#![no_main]

use alppaca::credentials::{parse_document, render_document};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(credentials) = parse_document(body) else { return };
    let last_updated = credentials.last_updated.unwrap_or(credentials.expiration);
    let rendered = render_document(&credentials, last_updated);
    let again = parse_document(rendered.expose()).expect("our own document");
    // The rendered document has whole seconds, so times are compared after a second rendering.
    assert_eq!(again.access_key_id, credentials.access_key_id);
    assert_eq!(again.secret_access_key, credentials.secret_access_key);
    assert_eq!(again.session_token, credentials.session_token);
    let second = render_document(&again, again.last_updated.expect("we always write it"));
    assert_eq!(second.expose(), rendered.expose());
});
