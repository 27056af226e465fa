//! Whatever a hologram-server sends is read without a panic, and what is taken from it fits into a header.
#![no_main]

use alppaca::source::hologram::{Reply, parse_reply};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| match parse_reply(data) {
    Ok(Reply::Credentials(set)) => {
        let texts = [&set.access_key_id, set.secret_access_key.expose(), set.session_token.expose()];
        assert!(texts.into_iter().all(|text| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_graphic())));
    }
    Ok(Reply::Challenge(challenge)) => assert!(challenge.len() < data.len()),
    _ => {}
});
