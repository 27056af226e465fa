//! Whatever names an authority puts into a certificate, they are judged without a panic, and only whole names count.
#![no_main]

use std::sync::{Arc, OnceLock};
use std::time::{Duration, SystemTime};
use std::{env, fs, process};

use alppaca_identity::mtls::{Authority, Mtls, SanType, Settings};
use alppaca_identity::{Evidence, Peer, Prove as _};
use http::{HeaderMap, Method};
use libfuzzer_sys::fuzz_target;
use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls_pki_types::CertificateDer;

/// <https://www.rfc-editor.org/rfc/rfc5280#section-4.2.1.6>
const ALTERNATIVE_NAMES: [u64; 4] = [2, 5, 29, 17];

struct Site {
    issuer: CertifiedIssuer<'static, KeyPair>,
    key: KeyPair,
    /// For any name, and for the ID of a workload.
    methods: [Mtls; 2],
}

fn start() -> Site {
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let issuer = CertifiedIssuer::self_signed(parameters, KeyPair::generate().expect("a key")).expect("an authority");
    let file = env::temp_dir().join(format!("alppaca-fuzz-ca-{}", process::id()));
    fs::write(&file, issuer.pem()).expect("a file");
    let authority = Arc::new(Authority::load(vec![file.clone()], Vec::new()).expect("an authority"));
    fs::remove_file(file).expect("the file");
    let method = |names, trust_domain| {
        let settings = Settings { name: "x".into(), names, max_age: None, trust_domain };
        Mtls::new(settings, Arc::clone(&authority))
    };
    let any = method(vec![SanType::Dns, SanType::Uri, SanType::Ip], None);
    let workloads = method(Vec::new(), Some("example.org".to_owned()));
    Site { issuer, key: KeyPair::generate().expect("a key"), methods: [any, workloads] }
}

fuzz_target!(|names: &[u8]| {
    static SITE: OnceLock<Site> = OnceLock::new();
    let site = SITE.get_or_init(start);
    let mut parameters = CertificateParams::default();
    parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    parameters.custom_extensions = vec![CustomExtension::from_oid_content(&ALTERNATIVE_NAMES, names.to_vec())];
    let Ok(certificate) = parameters.signed_by(&site.key, &site.issuer) else { return };
    let forged = CertificateDer::from(names.to_vec());
    for (chain, genuine) in [([certificate.der().clone()], true), ([forged], false)] {
        for method in &site.methods {
            let evidence = Evidence {
                peer: &Peer::Unix { uid: 0 },
                certificates: &chain,
                method: &Method::GET,
                path: "/",
                headers: &HeaderMap::new(),
                now: SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000),
            };
            let Ok(Some(identity)) = method.prove(&evidence) else { continue };
            assert!(genuine, "nobody has signed it");
            let whole = |name: &String| !name.is_empty() && name.chars().all(|c| c.is_ascii_graphic() && c != '*');
            assert!(identity.names.iter().all(whole), "{:?}", identity.names);
        }
    }
});
