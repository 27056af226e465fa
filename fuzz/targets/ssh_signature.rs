//! Whatever comes as a signature or a certificate of OpenSSH is judged without a panic, and proves nothing.
#![no_main]

use std::sync::OnceLock;
use std::time::{Duration, SystemTime};
use std::{env, fs, process};

use alppaca::clock::{Clock as _, SystemClock};
use alppaca_identity::ssh::{Settings, Ssh, Subjects};
use alppaca_identity::{Evidence, Peer, Prove as _};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::{HeaderMap, HeaderValue, Method, header};
use libfuzzer_sys::fuzz_target;

/// The key and the authority of the seeds, whose private halves are gone.
const SIGNERS: &str = include_str!("../ssh_signers");

fn ssh() -> &'static Ssh {
    static SSH: OnceLock<Ssh> = OnceLock::new();
    SSH.get_or_init(|| {
        let file = env::temp_dir().join(format!("alppaca-fuzz-{}", process::id()));
        fs::write(&file, SIGNERS).expect("a file");
        let settings = Settings {
            name: "x".into(),
            subjects: Subjects::People,
            file: Some(file.clone()),
            hosts: vec!["ims".into()],
        };
        let ssh = Ssh::load(settings, None, SystemClock::shared());
        fs::remove_file(file).expect("the file");
        ssh.expect("a method")
    })
}

fuzz_target!(|signature: &[u8]| {
    let asked = ssh().challenge().expect("a challenge");
    let challenge = asked.split('"').nth(1).expect("the challenge");
    let proof = format!("Alppaca-SSH challenge=\"{challenge}\", signature=\"{}\"", STANDARD.encode(signature));
    let headers: HeaderMap = [
        (header::HOST, HeaderValue::from_static("ims")),
        (header::AUTHORIZATION, HeaderValue::from_str(&proof).expect("a value")),
    ]
    .into_iter()
    .collect();
    let peer = Peer::Unix { uid: 0 };
    let wall = SystemClock.now().wall.as_duration();
    let now = SystemTime::UNIX_EPOCH + Duration::try_from(wall).expect("after 1970");
    let evidence = Evidence { peer: &peer, certificates: &[], method: &Method::GET, path: "/", headers: &headers, now };
    assert!(ssh().prove(&evidence).is_err(), "the challenge is new, and nobody has signed it");
});
