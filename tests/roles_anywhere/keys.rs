//! Every kind and form of key and certificate, as `openssl` makes them.

use std::fs;

use alppaca::{
    credentials::AccountId,
    source::roles_anywhere::{Identity, check_pair},
};

use crate::{
    fetch, files,
    pki::{Leaf, P256, P384, Pki, RSA},
    role,
    server::Server,
};

/// Fetches with the identity; the server must have found the request good.
fn works(server: &Server, what: &str, settings: alppaca::source::roles_anywhere::IdentitySettings) {
    let credentials = fetch(&role(server, &Identity::new(settings)));
    let credentials = credentials.unwrap_or_else(|error| panic!("{what}: {error}"));
    assert_eq!(credentials.access_key_id, "ASIAFIRST", "{what}");
    assert_eq!(credentials.account_id.as_ref().map(AccountId::as_str), Some("123456789012"), "{what}");
    let seen = server.last();
    assert_eq!(seen.body["durationSeconds"], 3600, "{what}");
    assert_eq!(seen.body["roleArn"], "arn:aws:iam::123456789012:role/web", "{what}");
    assert_eq!(seen.body["profileArn"], "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/p", "{what}");
    assert_eq!(seen.body["trustAnchorArn"], "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/t", "{what}");
    assert_eq!(seen.body["roleSessionName"], "alppaca-on-host", "{what}");
}

#[test]
fn each_kind_of_key_in_each_form_signs_what_openssl_verifies() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    for (name, kind, algorithm) in [
        ("rsa", RSA, "AWS4-X509-RSA-SHA256"),
        ("p256", P256, "AWS4-X509-ECDSA-SHA256"),
        ("p384", P384, "AWS4-X509-ECDSA-SHA256"),
    ] {
        pki.issue(&Leaf::new(name, kind));
        let (pem, key) = (format!("{name}.pem"), format!("{name}.key"));
        // PKCS#8 is what `genpkey` writes; PKCS#1 or SEC1, and all of them in DER.
        let (old, der, old_der) = (format!("{name}.old"), format!("{name}.der"), format!("{name}.old.der"));
        pki.run(&["pkey", "-in", &key, "-traditional", "-out", &old]);
        pki.run(&["pkcs8", "-topk8", "-nocrypt", "-in", &key, "-outform", "DER", "-out", &der]);
        pki.run(&["pkey", "-in", &key, "-traditional", "-outform", "DER", "-out", &old_der]);
        for form in [&key, &old, &der, &old_der] {
            let mut settings = files(&pki.path(&pem), &pki.path(form));
            settings.chain = Some(pki.path("intermediate.pem"));
            works(&server, form, settings);
            let seen = server.last();
            assert_eq!((seen.algorithm.as_str(), seen.certificates), (algorithm, 2), "{form}");
        }
    }
    assert!(server.seen().iter().all(Result::is_ok));
}

#[test]
fn the_chain_may_be_in_either_file_and_each_may_be_der() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    pki.issue(&Leaf::new("web", P256));
    let text = |name: &str| fs::read_to_string(pki.path(name)).expect("a file");
    // As many tools write it: the certificate, then its issuers.
    fs::write(pki.path("full.pem"), format!("{}{}", text("web.pem"), text("intermediate.pem"))).expect("a file");
    works(&server, "full.pem", files(&pki.path("full.pem"), &pki.path("web.key")));
    assert_eq!(server.last().certificates, 2);
    // The same file as the chain: our own certificate is not sent twice.
    let mut settings = files(&pki.path("web.pem"), &pki.path("web.key"));
    settings.chain = Some(pki.path("full.pem"));
    works(&server, "chain with the leaf", settings);
    assert_eq!(server.last().certificates, 2);
    for name in ["web", "intermediate"] {
        pki.run(&["x509", "-in", &format!("{name}.pem"), "-outform", "DER", "-out", &format!("{name}.crt")]);
    }
    let mut settings = files(&pki.path("web.crt"), &pki.path("web.key"));
    settings.chain = Some(pki.path("intermediate.crt"));
    works(&server, "DER", settings);
    // Without the chain nobody can follow it to the trust anchor.
    let error = fetch(&role(&server, &Identity::new(files(&pki.path("web.pem"), &pki.path("web.key")))));
    assert!(error.expect_err("refused").message.contains("Untrusted certificate. Insufficient certificate"));
}

#[test]
fn keys_that_openssl_encrypted_are_decrypted() {
    let Some(pki) = Pki::new() else { return };
    let server = Server::start(&pki.path("root.pem"));
    fs::write(pki.path("passphrase"), "correct horse\n").expect("a file");
    for (name, kind) in [("rsa", RSA), ("p384", P384)] {
        pki.issue(&Leaf::new(name, kind));
        for (number, options) in [
            &["-v2", "aes-256-cbc"][..],
            &["-v2", "aes-128-cbc", "-v2prf", "hmacWithSHA1"],
            &["-v2", "aes-192-cbc", "-v2prf", "hmacWithSHA512", "-iter", "100000"],
            &["-v2", "aes-256-cbc", "-outform", "DER"],
        ]
        .iter()
        .enumerate()
        {
            let encrypted = format!("{name}.{number}");
            let (key, pem) = (format!("{name}.key"), format!("{name}.pem"));
            let base = ["pkcs8", "-topk8", "-passout", "file:passphrase", "-in", &key, "-out", &encrypted];
            pki.run(&[&base, *options].concat());
            let mut settings = files(&pki.path(&pem), &pki.path(&encrypted));
            settings.chain = Some(pki.path("intermediate.pem"));
            settings.passphrase_file = Some(pki.path("passphrase"));
            works(&server, &format!("{name} {options:?}"), settings);
        }
    }
}

#[test]
fn a_key_that_cannot_be_used_says_why() {
    let Some(pki) = Pki::new() else { return };
    pki.issue(&Leaf::new("web", RSA));
    let wrong = |key: &str, passphrase: Option<&[u8]>| {
        let read = |name: &str| fs::read(pki.path(name)).expect("a file");
        check_pair(&read("web.pem"), &read(key), passphrase).expect_err(key).to_string()
    };
    let encrypt = |options: &[&str], out: &str| {
        let base = ["pkcs8", "-topk8", "-passout", "pass:right", "-in", "web.key", "-out", out];
        pki.run(&[&base, options].concat())
    };
    encrypt(&["-v2", "aes-256-cbc"], "aes");
    assert_eq!(wrong("aes", None), "key: the key is encrypted and no passphrase file is configured");
    assert_eq!(wrong("aes", Some(b"wrong")), "key: the passphrase is wrong");
    encrypt(&["-scrypt"], "scrypt");
    assert!(wrong("scrypt", Some(b"right")).contains("the key derivation scrypt, which is not supported; convert it"));
    encrypt(&["-v2", "des3"], "des3");
    assert!(wrong("des3", Some(b"right")).contains("the cipher DES-EDE3-CBC, which is not supported; convert it"));
    pki.run(&["rsa", "-in", "web.key", "-traditional", "-aes256", "-passout", "pass:right", "-out", "legacy"]);
    assert!(wrong("legacy", Some(b"right")).contains("OpenSSL's old format (Proc-Type: 4,ENCRYPTED)"));
    pki.run(&["genpkey", "-algorithm", "ED25519", "-out", "ed25519"]);
    assert!(wrong("ed25519", None).contains(
        "neither an RSA key of 2048 to 8192 bits nor an ECDSA key on P-256 or \
         P-384"
    ));
    pki.run(&["genrsa", "-out", "short", "1024"]);
    assert!(wrong("short", None).contains("neither an RSA key of 2048 to 8192 bits"));
    assert!(wrong("web.pem", None).contains("there is no private key in it"));
    // Keys of others: of the same kind and of another.
    pki.run(&["genrsa", "-out", "other", "2048"]);
    assert_eq!(wrong("other", None), "the key key does not belong to the certificate certificate");
    assert_eq!(wrong("root.key", None), "the key key does not belong to the certificate certificate");
}

#[test]
fn a_certificate_that_cannot_be_used_says_why() {
    let Some(pki) = Pki::new() else { return };
    let key = || fs::read(pki.path("web.key")).expect("a file");
    let wrong = |leaf: &Leaf<'_>| {
        pki.issue(leaf);
        let pem = fs::read(pki.path("web.pem")).expect("a file");
        check_pair(&pem, &key(), None).expect_err("unusable").to_string()
    };
    let authority = Leaf { extensions: "ca", ..Leaf::new("web", P256) };
    assert!(wrong(&authority).contains("certificate authority's (CA:TRUE)"));
    let encipher = Leaf { extensions: "encipher", ..Leaf::new("web", RSA) };
    assert!(wrong(&encipher).contains("without digitalSignature"));
    assert!(
        wrong(&Leaf::new("web", &["-algorithm", "ED25519"]))
            .contains("the certificate's key is of the algorithm 1.3.101.112")
    );
    let p521 = Leaf::new("web", &["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-521"]);
    assert!(wrong(&p521).contains("an ECDSA key of another curve"));
    pki.run(&["x509", "-req", "-in", "web.csr", "-key", "web.key", "-out", "old.pem"]);
    let old = check_pair(&fs::read(pki.path("old.pem")).expect("a file"), &key(), None).expect_err("version 1");
    assert!(old.to_string().contains("X.509 version 1 or 2"), "{old}");
}
