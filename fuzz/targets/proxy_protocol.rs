//! Whatever a balancer sends first is read as a header without a panic, and not a byte beyond it.
#![no_main]

use std::sync::OnceLock;

use alppaca_ims::server::{Origin, read_header};
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};

fuzz_target!(|input: &[u8]| {
    static RUNTIME: OnceLock<Runtime> = OnceLock::new();
    let runtime = RUNTIME.get_or_init(|| Builder::new_current_thread().build().expect("a runtime"));
    let mut rest = input;
    let Ok(origin) = runtime.block_on(read_header(&mut rest)) else { return };
    let header = &input[..input.len() - rest.len()];
    let expected = match input[0] {
        b'P' => header.iter().position(|byte| *byte == b'\n').map(|end| end + 1),
        _ => Some(16 + usize::from(header[14]) * 256 + usize::from(header[15])),
    };
    assert_eq!(Some(header.len()), expected);
    if let Origin::Client(address) = origin {
        assert_eq!(address, address.to_canonical());
    }
});
