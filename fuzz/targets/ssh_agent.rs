//! Whatever an ssh-agent answers, or a file of a key holds, is read without a panic, and no more is kept than came.
#![no_main]

use alppaca_ssh_agent::{PrivateKey, parse_keys, parse_signature, sshsig::SshSig};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    if let Ok(keys) = parse_keys(data) {
        assert!(keys.iter().map(|key| key.blob.len()).sum::<usize>() <= data.len());
        for key in keys {
            assert!(key.fingerprint().starts_with("SHA256:"));
            assert!(!key.to_string().contains('\n'));
        }
    }
    if let Ok(signature) = parse_signature(data) {
        signature.parts().expect("its parts are there");
    }
    if let Ok(signature) = SshSig::parse(data) {
        let _either = signature.signed(b"x");
    }
    if let Ok(key) = PrivateKey::parse(data) {
        key.sign(b"x").expect("a key that was accepted signs");
    }
});
