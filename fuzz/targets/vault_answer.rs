//! Vault's answers: no panic, and what is accepted is fit to be served.
#![no_main]

use std::time::Duration;

use alppaca::{
    credentials::is_key_text,
    source::vault::{parse_credentials, parse_errors, parse_login},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    if let Ok(set) = parse_credentials(body) {
        assert!(is_key_text(&set.access_key_id) && is_key_text(set.secret_access_key.expose()));
        assert!(set.session_token.is_none_or(|token| is_key_text(token.expose())));
        assert!(set.lifetime > Duration::ZERO && set.lifetime <= Duration::from_secs(366 * 24 * 3600));
    }
    if let Ok(login) = parse_login(body) {
        assert!(is_key_text(login.token.expose()) && login.lifetime != Some(Duration::ZERO));
    }
    let said = parse_errors(body);
    assert!(said.chars().count() <= 300 && !said.contains(char::is_control));
});
