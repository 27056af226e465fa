//! Whatever an IMS sends as its list of roles is read without a panic, and no name that was accepted can leave its path.
#![no_main]

use alppaca::source::ims::parse_role_list;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|body: &[u8]| {
    let Ok(list) = parse_role_list(body) else { return };
    for name in &list.names {
        let name = name.as_str();
        assert!(!name.is_empty() && name != "." && name != "..", "{name:?}");
        assert!(!name.contains(['/', '?', '#', '%', '\r', '\n', ' ']), "{name:?}");
    }
});
