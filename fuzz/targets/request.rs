//! To come: any bytes on a connection get an HTTP answer or a closed connection, never a panic.
//! Not in the manifest until `alppaca::serve` has a function from bytes to an answer.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|head: &[u8]| {
    alppaca::serve::fuzz_request(head);
});
