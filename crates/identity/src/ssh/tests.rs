//! With keys of the tests' own, for what OpenSSH would not sign. What it does sign is in `tests/interop_openssh.rs`.

use std::time::Duration;

use aws_lc_rs::{
    digest::{SHA256, SHA512, digest},
    rand::SystemRandom,
    rsa::KeySize,
    signature::{Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair},
};
use http::{HeaderMap, HeaderValue, Method, header};

use super::*;
use crate::{
    Peer,
    clock::{Clock, Moment, SystemClock},
    ssh_agent::wire::put,
};

const NOW: i64 = 1_800_000_000;

struct Fixed;

impl Clock for Fixed {
    fn now(&self) -> Moment {
        Moment { wall: jiff::Timestamp::from_second(NOW).expect("a time"), ..SystemClock.now() }
    }
}

fn strings(parts: &[&[u8]]) -> Vec<u8> {
    let mut all = Vec::new();
    for part in parts {
        put(&mut all, part);
    }
    all
}

/// A key in software, or one that claims to be in hardware.
struct Signer {
    pair: Ed25519KeyPair,
    /// The flags, if it is in hardware.
    flags: Option<u8>,
}

impl Signer {
    fn new(flags: Option<u8>) -> Self {
        Self { pair: Ed25519KeyPair::generate().expect("a key"), flags }
    }

    fn kind(&self) -> &'static str {
        if self.flags.is_some() { "sk-ssh-ed25519@openssh.com" } else { "ssh-ed25519" }
    }

    /// The fields of the key after its type.
    fn fields(&self) -> Vec<u8> {
        let key = self.pair.public_key().as_ref();
        if self.flags.is_some() { strings(&[key, b"ssh:"]) } else { strings(&[key]) }
    }

    fn blob(&self) -> Vec<u8> {
        [strings(&[self.kind().as_bytes()]), self.fields()].concat()
    }

    fn line(&self) -> String {
        format!("{} {}", self.kind(), STANDARD.encode(self.blob()))
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        let Some(flags) = self.flags else {
            return strings(&[b"ssh-ed25519", self.pair.sign(message).as_ref()]);
        };
        let tail = [flags, 0, 0, 0, 9];
        let (application, message) = (digest(&SHA256, b"ssh:"), digest(&SHA256, message));
        let message = [application.as_ref(), &tail, message.as_ref()].concat();
        [&strings(&[self.kind().as_bytes(), self.pair.sign(&message).as_ref()])[..], &tail].concat()
    }
}

/// A certificate of a person, changed.
struct Issue<'a> {
    ca: &'a Signer,
    principals: &'a [&'a str],
    critical: Vec<u8>,
    kind: u32,
    validity: (u64, u64),
}

impl<'a> Issue<'a> {
    fn new(ca: &'a Signer) -> Self {
        Self { ca, principals: &["alice"], critical: Vec::new(), kind: 1, validity: (0, u64::MAX) }
    }

    fn of(&self, signer: &Signer) -> Vec<u8> {
        let kind = signer.kind().trim_end_matches("@openssh.com");
        let principals: Vec<&[u8]> = self.principals.iter().map(|principal| principal.as_bytes()).collect();
        let mut blob = strings(&[format!("{kind}-cert-v01@openssh.com").as_bytes(), b"nonce"]);
        blob.extend(signer.fields());
        blob.extend(7_u64.to_be_bytes());
        blob.extend(self.kind.to_be_bytes());
        blob.extend(strings(&[b"id", &strings(&principals)]));
        blob.extend(self.validity.0.to_be_bytes());
        blob.extend(self.validity.1.to_be_bytes());
        blob.extend(strings(&[&self.critical, b"", b"", &self.ca.blob()]));
        let signature = self.ca.sign(&blob);
        put(&mut blob, &signature);
        blob
    }
}

struct Site {
    ssh: Ssh,
    _folder: tempfile::TempDir,
}

impl Site {
    fn new(lines: &str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("signers");
        std::fs::write(&file, lines).expect("a file");
        let hosts = vec!["ims".to_owned()];
        let settings = Settings { name: "keys".to_owned(), subjects: Subjects::People, file: Some(file), hosts };
        Self { ssh: Ssh::load(settings, None, Arc::new(Fixed)).expect("a method"), _folder: folder }
    }

    /// With the keys of a directory in addition.
    fn with_directory(self, directory: Arc<dyn Directory>) -> Self {
        Self { ssh: Ssh { directory: Some(directory), ..self.ssh }, ..self }
    }

    fn challenge(&self) -> String {
        let asked = self.ssh.challenge().expect("a challenge");
        asked.split('"').nth(1).expect("the challenge").to_owned()
    }

    /// An SSHSIG for a new challenge.
    fn sign(&self, key: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) -> (String, Vec<u8>) {
        let challenge = self.challenge();
        let message = digest(&SHA512, format!("GET / ims {challenge}").as_bytes());
        let signed = [&b"SSHSIG"[..], &strings(&[b"alppaca-user", b"", b"sha512", message.as_ref()])].concat();
        let tail = strings(&[key, b"alppaca-user", b"", b"sha512", &sign(&signed)]);
        (challenge, [&b"SSHSIG"[..], &[0, 0, 0, 1], &tail].concat())
    }

    fn prove(&self, (challenge, signature): &(String, Vec<u8>)) -> Result<String, String> {
        let signature = STANDARD.encode(signature);
        let header = format!(r#"Alppaca-SSH challenge="{challenge}", signature="{signature}""#);
        match self.show(&header, Some("ims")) {
            Ok(identity) => Ok(identity.expect("a proof").name),
            Err(refusal) => Err(refusal.to_string()),
        }
    }

    fn show(&self, authorization: &str, host: Option<&'static str>) -> Result<Option<Identity>, Refusal> {
        let mut headers = HeaderMap::new();
        headers.insert(header::AUTHORIZATION, HeaderValue::from_str(authorization).expect("a value"));
        headers.extend(host.map(|host| (header::HOST, HeaderValue::from_static(host))));
        let peer = Peer::Tcp([192, 0, 2, 1].into());
        let now = SystemTime::UNIX_EPOCH + Duration::from_secs(NOW.unsigned_abs());
        self.ssh.prove(&Evidence {
            peer: &peer,
            certificates: &[],
            method: &Method::GET,
            path: "/",
            headers: &headers,
            now,
        })
    }

    /// With a key or certificate of a signer.
    fn with(&self, key: &[u8], signer: &Signer) -> Result<String, String> {
        self.prove(&self.sign(key, |message| signer.sign(message)))
    }
}

fn refused(found: Result<String, String>, part: &str) {
    let text = found.expect_err(part);
    assert!(text.contains(part), "{part}: {text}");
}

#[test]
fn a_key_in_hardware_has_to_be_touched() {
    for (flags, accepted) in [(0, false), (1, true), (4, false), (5, true)] {
        let signer = Signer::new(Some(flags));
        let site = Site::new(&format!("alice {}\n", signer.line()));
        assert_eq!(site.with(&signer.blob(), &signer).is_ok(), accepted, "{flags}");
    }
    // A key in software cannot claim that.
    let (soft, hard) = (Signer::new(None), Signer::new(Some(1)));
    let site = Site::new(&format!("alice {}\nbob {}\n", soft.line(), hard.line()));
    refused(site.with(&hard.blob(), &soft), "the algorithm of the signature");
    refused(site.with(&soft.blob(), &hard), "something follows it");
}

#[test]
fn what_is_cut_off_or_changed_is_refused() {
    let (ca, signer) = (Signer::new(None), Signer::new(None));
    let site = Site::new(&format!("alice {}\n* cert-authority {}\n", signer.line(), ca.line()));
    let certificate = Issue::new(&ca).of(&signer);
    for key in [&signer.blob(), &certificate] {
        let (challenge, right) = site.sign(key, |message| signer.sign(message));
        for length in 0..right.len() {
            assert!(site.prove(&(challenge.clone(), right[..length].to_vec())).is_err(), "{length}");
        }
        for position in 0..right.len() {
            let mut changed = right.clone();
            changed[position] ^= 0x40;
            assert!(site.prove(&(challenge.clone(), changed)).is_err(), "{position}");
        }
        let longer = [&right[..], b"x"].concat();
        assert!(site.prove(&(challenge.clone(), longer)).is_err());
        assert_eq!(site.prove(&(challenge, right)).as_deref(), Ok("alice"));
    }
}

#[test]
fn certificates_are_checked_in_each_respect() {
    let (ca, signer) = (Signer::new(None), Signer::new(None));
    let site = Site::new(&format!("alice*,bob cert-authority {}\n", ca.line()));
    let judge = |change: &dyn Fn(&mut Issue<'_>)| {
        let mut issue = Issue::new(&ca);
        change(&mut issue);
        site.with(&issue.of(&signer), &signer)
    };
    let seconds = NOW.unsigned_abs();
    assert_eq!(judge(&|_| {}).as_deref(), Ok("alice"));
    assert_eq!(judge(&|issue| issue.principals = &["mallory", "bob"]).as_deref(), Ok("bob"));
    assert_eq!(judge(&|issue| issue.validity = (seconds, seconds + 1)).as_deref(), Ok("alice"));
    refused(judge(&|issue| issue.validity = (seconds - 9, seconds)), "it has expired");
    refused(judge(&|issue| issue.validity = (seconds + 1, u64::MAX)), "it is not valid yet");
    refused(judge(&|issue| issue.kind = 2), "not a certificate for people");
    refused(judge(&|issue| issue.kind = 0), "not a certificate for people");
    refused(judge(&|issue| issue.principals = &[]), "has no principal");
    refused(judge(&|issue| issue.principals = &["mallory"]), "has no principal");
    refused(judge(&|issue| issue.principals = &["alice", "a\nb"]), "names nobody");
    refused(judge(&|issue| issue.principals = &["x"; 257]), "too many principals");
    let critical = |name: &str, data: &[u8]| strings(&[name.as_bytes(), data]);
    let with = |option: Vec<u8>| judge(&move |issue| issue.critical.clone_from(&option));
    for networks in ["192.0.2.1", "10.0.0.0/8,192.0.2.0/24"] {
        assert!(with(critical("source-address", &strings(&[networks.as_bytes()]))).is_ok(), "{networks}");
    }
    for networks in ["192.0.2.2", "", "192.0.2.1x", "::/0"] {
        refused(with(critical("source-address", &strings(&[networks.as_bytes()]))), "not for this address");
    }
    refused(with(critical("force-command", &strings(&[b"x"]))), "a critical option");
    refused(with(critical("other", b"")), "a critical option");
    refused(with(critical("verify-required", b"")), "cannot verify the person");
    for (flags, accepted) in [(1, false), (5, true)] {
        let hard = Signer::new(Some(flags));
        let issue = Issue { critical: critical("verify-required", b""), ..Issue::new(&ca) };
        assert_eq!(site.with(&issue.of(&hard), &hard).is_ok(), accepted, "{flags}");
    }
    // A certificate of somebody else, and one by a key that is only certified itself.
    let thief = Signer::new(None);
    refused(site.with(&Issue::new(&ca).of(&signer), &thief), "the signature is wrong");
    refused(site.with(&Issue::new(&signer).of(&thief), &thief), "is not listed");
}

#[test]
fn a_signature_by_rsa_names_its_hash_which_is_not_sha_1() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).expect("a key");
    let number = |bytes: &[u8]| [&[0], bytes].concat();
    let modulus = number(pair.public_key().modulus().big_endian_without_leading_zero());
    let blob = strings(&[b"ssh-rsa", pair.public_key().exponent().big_endian_without_leading_zero(), &modulus]);
    let site = Site::new(&format!("alice ssh-rsa {}\n", STANDARD.encode(&blob)));
    let sign = |name: &'static str| {
        let site = &site;
        let (pair, blob) = (&pair, &blob);
        site.prove(&site.sign(blob, |message| {
            let mut signature = vec![0; pair.public_modulus_len()];
            pair.sign(&RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature).expect("a signature");
            strings(&[name.as_bytes(), &signature])
        }))
    };
    assert_eq!(sign("rsa-sha2-256").as_deref(), Ok("alice"));
    refused(sign("rsa-sha2-512"), "the signature is wrong");
    refused(sign("ssh-rsa"), "the algorithm of the signature");
}

#[test]
fn headers_are_exact() {
    let signer = Signer::new(None);
    let site = Site::new(&format!("alice {}\n", signer.line()));
    let (challenge, signature) = site.sign(&signer.blob(), |message| signer.sign(message));
    let signature = STANDARD.encode(signature);
    let long = "a".repeat(20_000);
    for parameters in [
        format!(r#"challenge="{challenge}""#),
        format!(r#"signature="{signature}""#),
        format!(r#"challenge="{challenge}", signature={signature}"#),
        format!(r#"challenge="{challenge}", challenge="{challenge}", signature="{signature}""#),
        format!(r#"challenge="{challenge}", signature="{signature}", x="y""#),
        format!(r#"challenge="{challenge}", signature="{long}""#),
        "x".to_owned(),
    ] {
        let text = site.show(&format!("Alppaca-SSH {parameters}"), Some("ims")).expect_err("wrong").to_string();
        assert!(text.contains("each once"), "{parameters}: {text}");
    }
    let right = format!(r#"alppaca-ssh signature="{signature}",challenge="{challenge}""#);
    for host in [None, Some("evil"), Some("ims.evil"), Some("")] {
        assert!(site.show(&right, host).expect_err("another server").to_string().contains("ost"), "{host:?}");
    }
    assert_eq!(site.show(&right, Some("ims")).expect("accepted").expect("a proof").name, "alice");
    assert_eq!(site.show("Bearer x", Some("ims")), Ok(None));
}

#[test]
fn lines_that_are_not_understood_are_wrong() {
    let key = Signer::new(None).line();
    let blob = key.split(' ').nth(1).expect("a key");
    for (subjects, line, part) in [
        (Subjects::Hosts, format!("|1|aa=|bb= {key}"), "hashed names"),
        (Subjects::Hosts, format!("*.example.com {key}"), "not the name of one host"),
        (Subjects::Hosts, format!("[web1]:2222 {key}"), "not the name of one host"),
        (Subjects::Hosts, format!("a,,b {key}"), "not the name of one host"),
        (Subjects::Hosts, format!("@cert-authority !a,* {key}"), "not a pattern"),
        (Subjects::Hosts, format!("@other a {key}"), "the marker @other"),
        (Subjects::Hosts, "a".to_owned(), "the type of a key is expected"),
        (Subjects::Hosts, "a ssh-ed25519".to_owned(), "a key in base64 is expected"),
        (Subjects::Hosts, "a ssh-ed25519 !".to_owned(), "not in base64"),
        (Subjects::Hosts, "a ssh-ed25519 AAAA".to_owned(), "cannot be used"),
        (Subjects::Hosts, format!("a ssh-rsa {blob}"), "of the type ssh-ed25519, not ssh-rsa"),
        (Subjects::Hosts, format!("a cert-authority {key}"), "not in base64"),
        (Subjects::People, format!("a* {key}"), "not the name of one host or person"),
        (Subjects::People, format!("a namespaces=\"git\" {key}"), "the namespace is \"alppaca-user\""),
        (Subjects::People, format!("a valid-before=\"20300101\" {key}"), "has no meaning here"),
        (Subjects::People, format!("a cert-authority,no-touch-required {key}"), "has no meaning here"),
    ] {
        let text = format!("# keys\n{line}\n");
        let (number, cause) = Allowed::parse(&text, subjects).expect_err(&line);
        assert!(number == 2 && cause.contains(part), "{line}: {cause}");
    }
    let two = format!("Web1.example.com,2001:DB8::1 {key} root@web1\nweb2 {key}\n");
    let allowed = Allowed::parse(&two, Subjects::Hosts).expect("right");
    let names: Vec<_> = allowed.keys.into_values().collect();
    assert_eq!(names, [["web1.example.com", "2001:db8::1", "web2"].map(str::to_owned)]);
}

/// Of one key, which these people have, if it can be read.
struct People(Vec<u8>, Result<&'static [&'static str], &'static str>);

impl Directory for People {
    fn person(&self, _: &str) -> Result<crate::Person, String> {
        panic!("nobody asks for groups")
    }

    fn want_keys(&self) {}

    fn key_owners(&self, key: &[u8]) -> Result<Vec<String>, String> {
        let owners = self.1.map_err(str::to_owned)?;
        Ok(if key == self.0 { owners.iter().map(|owner| (*owner).to_owned()).collect() } else { Vec::new() })
    }
}

#[test]
fn a_key_of_a_directory_has_one_owner_or_the_one_that_is_named() {
    let (listed, signer) = (Signer::new(None), Signer::new(None));
    let site = |owners, lines: &str| {
        let lines = format!("root {}\n{lines}", listed.line());
        Site::new(&lines).with_directory(Arc::new(People(signer.blob(), owners)))
    };
    let judge = |site: &Site, key: &Signer, user: &str| {
        let (challenge, signature) = site.sign(&key.blob(), |message| key.sign(message));
        let signature = STANDARD.encode(signature);
        let proof = format!(r#"Alppaca-SSH challenge="{challenge}", signature="{signature}"{user}"#);
        site.show(&proof, Some("ims")).map(|identity| identity.expect("a proof"))
    };
    let alice = judge(&site(Ok(&["alice"]), ""), &signer, "").expect("known");
    assert_eq!((alice.name.as_str(), alice.groups), ("alice", Vec::<String>::new()));
    let both = site(Ok(&["mallory", "alice"]), "");
    assert_eq!(judge(&both, &signer, r#", user="alice""#).expect("one of them").names, ["alice"]);
    let said = |found: Result<Identity, Refusal>, part: &str| {
        let refusal = found.expect_err(part);
        assert!(matches!(refusal, Refusal::Refused(_)) && refusal.to_string().contains(part), "{refusal:?}");
    };
    said(judge(&both, &signer, ""), "several people have the SSH key");
    said(judge(&both, &signer, r#", user="root""#), "several people have the SSH key");
    said(judge(&site(Ok(&["alice"]), ""), &signer, r#", user="root""#), "not one of \"root\"");
    said(judge(&site(Ok(&[]), ""), &signer, r#", user="alice""#), "is not listed");
    said(judge(&site(Ok(&["alice"]), &format!("@revoked * {}\n", signer.line())), &signer, ""), "is not listed");
    // An outage is no decision, and the file needs no directory.
    let gone = site(Err("it is gone"), "");
    assert_eq!(judge(&gone, &signer, ""), Err(Refusal::Unavailable("it is gone".to_owned())));
    assert_eq!(judge(&gone, &listed, "").expect("in the file").name, "root");
}
