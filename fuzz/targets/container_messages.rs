//! Whatever a container runtime says is read without a panic, and no id that was accepted can leave its path.
#![no_main]

use alppaca::caller::containers::{Event, event, inspected, list};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|message: &[u8]| {
    let wanted = ["IAM_ROLE".to_owned()];
    if let Ok(inspected) = inspected(message, &wanted) {
        assert!(inspected.facts.environment.keys().all(|name| *name == wanted[0]));
        assert!(inspected.facts.addresses.iter().all(|address| !address.is_loopback() && !address.is_unspecified()));
        check(inspected.facts.id.as_str());
    }
    for listed in list(message).into_iter().flatten() {
        check(listed.id.as_str());
    }
    for line in message.split(|byte| *byte == b'\n') {
        if let Ok(Some(Event::Changed(id) | Event::Lost(id))) = event(line) {
            check(id.as_str());
        }
    }
});

fn check(id: &str) {
    assert!(id.len() == 64 && id.bytes().all(|byte| byte.is_ascii_hexdigit()), "{id}");
}
