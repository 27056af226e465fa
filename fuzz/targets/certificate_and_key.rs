//! Whatever stands in the files of a certificate and a key, PEM or DER, encrypted or not, is read without a panic.
//! The input is a certificate, a key and a passphrase with a zero byte between them.
#![no_main]

use alppaca::source::roles_anywhere::check_pair;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let mut parts = input.splitn(3, |byte| *byte == 0);
    let certificate = parts.next().unwrap_or_default();
    let key = parts.next().unwrap_or_default();
    // Both in either place: then DER, which has zero bytes itself, is whole in one of them.
    let _result = check_pair(certificate, key, parts.next());
    let _result = check_pair(input, key, None);
    let _result = check_pair(GOOD, input, Some(b"passphrase"));
});

const GOOD: &[u8] = include_bytes!("../../tests/data/roles_anywhere/rsa.pem");
