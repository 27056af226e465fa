//! The client against the bytes of the real server, a strict server, and the real ssh-agent.

#[path = "../../../../../tests/support/hologram.rs"]
mod fake;
#[path = "../../../../../tests/support/openssh.rs"]
mod openssh;

use fake::{Manner, State, vectors};
use openssh::{folder, keygen, new_key, public};

use super::*;
use crate::refresh::ErrorKind;

const END: i64 = 1_795_654_987;

/// The blob of a key of a folder.
fn blob(folder: &Path, name: &str) -> Vec<u8> {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let public = public(folder, name);
    STANDARD.decode(public.split(' ').nth(1).expect("base64")).expect("base64")
}

/// A source with all keys of an agent, or with one.
fn source(server: &fake::Hologram, agent: &openssh::Agent, choice: Option<&str>) -> Arc<Hologram> {
    let pin = server.pin.parse().ok();
    let patience = Duration::from_secs(20);
    let to = Server::new(&server.address.to_string(), patience, pin, None).expect("a server");
    let agent = Agent::new(&agent.socket, patience);
    Arc::new(Hologram::new(to, agent, choice.map(Choice::parse), patience))
}

async fn fetch(hologram: &Arc<Hologram>, role: Option<&str>) -> Result<Credentials, SourceError> {
    Asked { hologram: Arc::clone(hologram), role: role.map(str::to_owned), role_arn: None }.fetch(None).await
}

fn state(keys: Vec<Vec<u8>>) -> State {
    State { keys, roles: vec!["dev".to_owned()], expiration: END, ..State::default() }
}

#[tokio::test]
async fn the_bytes_are_those_of_the_real_server() {
    assert_eq!(*frame::encode(&message::request(Some("dev"))), vectors::bytes(vectors::ASSUME_DEV));
    assert_eq!(*frame::encode(&message::request(None)), vectors::bytes(vectors::DEFAULT_ROLE));
    assert_eq!(message::signature(b"SIG", "ssh-ed25519"), vectors::bytes(vectors::SIGNATURE));
    assert_eq!(*frame::encode(&message::error("no")), vectors::bytes(vectors::ERROR_NO));
    let read = async |hex: &str, more: &[u8]| {
        let bytes = [vectors::bytes(hex), more.to_vec()].concat();
        parse_reply(&frame::read(&mut &bytes[..]).await.expect("a frame")).expect("a message")
    };
    assert_eq!(read(vectors::WRONG_SIGNATURE, b"").await, Reply::WrongSignature);
    assert_eq!(read(vectors::ERROR_NO, b"").await, Reply::Error("no".to_owned()));
    assert_eq!(read(vectors::ZEROS, &[0; 64]).await, Reply::Challenge(vec![0; 64]));
    assert_eq!(read(vectors::PONG, b"").await, Reply::Other);
    let set = parse_reply(&vectors::bytes(vectors::CREDENTIALS)).expect("a message");
    let Reply::Credentials(set) = set else { panic!("{set:?}") };
    assert_eq!((&*set.access_key_id, set.secret_access_key.expose(), set.session_token.expose()), ("AK", "SK", "TOK"));
    assert_eq!(set.expiration.as_second(), END);
}

#[test]
fn messages_that_are_cut_off_or_changed_are_refused_or_harmless() {
    let whole = vectors::bytes(vectors::CREDENTIALS);
    for length in 1..whole.len() {
        parse_reply(&whole[..length]).expect_err("cut off");
    }
    for (message, part) in [
        ("3a0d320b0a02414b1202534b1a0154", "no expiration"),
        ("3a10320e0a02414b1202534b20cb8a9ed806", "missing"),
        ("3a1532130a02414b1202530a1a03544f4b20cb8a9ed806", "illegal characters"),
        ("3a022200", "a challenge in it is empty"),
        ("ffffffffffffffffffffff", "protobuf"),
        ("0b", "protobuf"),
    ] {
        let error = parse_reply(&vectors::bytes(message)).expect_err(message);
        assert!(error.contains(part), "{message}: {error}");
    }
    // Fields that nobody knows.
    assert_eq!(parse_reply(&vectors::bytes("10029a06013f3d000000003a022a00")), Ok(Reply::WrongSignature));
}

#[tokio::test]
async fn each_kind_of_key_gets_credentials() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let agent = openssh::Agent::start(folder);
    for (name, kind) in [("rsa", &["rsa", "-b", "2048"][..]), ("ecdsa", &["ecdsa"]), ("ed", &["ed25519"])] {
        new_key(folder, name, kind);
        agent.add(folder, name);
    }
    new_key(folder, "ca", &["ed25519"]);
    let server = fake::Hologram::start(state(Vec::new()));
    for (name, formats) in [
        ("rsa", &["rsa-sha2-512 accepted"][..]),
        ("ecdsa", &["rsa-sha2-512 refused", "ssh-rsa refused", "ecdsa-sha2-nistp256 accepted"]),
        ("ed", &["rsa-sha2-512 refused", "ssh-rsa refused", "ecdsa-sha2-nistp256 refused", "ssh-ed25519 accepted"]),
    ] {
        server.change(|state| state.keys = vec![blob(folder, name)]);
        let hologram = source(&server, &agent, None);
        let set = fetch(&hologram, Some("dev")).await.expect("credentials");
        assert_eq!((&*set.access_key_id, set.expiration.as_second()), ("ASIADEV", END));
        assert_eq!(server.seen(), [&["dev"][..], formats].concat());
        // The one that was accepted is tried first.
        let set = fetch(&hologram, None).await.expect("credentials");
        assert_eq!(&*set.access_key_id, "ASIADEFAULT");
        assert_eq!(server.seen(), ["default", formats.last().expect("a format")]);
        let chosen = fetch(&source(&server, &agent, Some(name)), None).await;
        assert!(chosen.is_ok() && server.seen().len() == 2, "{chosen:?}");
    }
    // A server of old, and a certificate, which is never shown.
    keygen(folder, &["-s", "ca", "-I", "rsa", "-n", "rsa", "rsa.pub"]);
    agent.add(folder, "rsa");
    server.change(|state| (state.keys, state.manner) = (vec![blob(folder, "rsa")], Manner::Old));
    fetch(&source(&server, &agent, Some("rsa")), None).await.expect("credentials");
    assert_eq!(server.seen(), ["default", "rsa-sha2-512 refused", "ssh-rsa accepted"]);
}

#[tokio::test]
async fn refusals_are_told_from_trouble() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let agent = openssh::Agent::start(folder);
    new_key(folder, "one", &["ed25519"]);
    let server = fake::Hologram::start(state(vec![blob(folder, "one")]));
    let hologram = source(&server, &agent, None);
    let failed = async |role: &str| fetch(&hologram, Some(role)).await.expect_err("no credentials");

    let empty = failed("dev").await;
    assert!(empty.kind == ErrorKind::Transient && empty.message.contains("ssh-add -X"), "{empty}");
    assert!(server.seen().is_empty(), "the server need not know");
    agent.add(folder, "one");
    let refused = failed("admin").await;
    assert!(refused.withdraws() && refused.message.contains("User alice is not authorized"), "{refused}");
    server.change(|state| state.error = Some("AccessDenied: x is not authorized to perform: y".to_owned()));
    let denied = failed("dev").await;
    assert!(matches!(denied.kind, ErrorKind::Refused { withdraws: false, .. }), "{denied:?}");
    server.change(|state| state.error = Some("RequestLimitExceeded:\n slow down".to_owned()));
    let busy = failed("dev").await;
    assert!(busy.kind == ErrorKind::Transient && busy.message.contains("slow down"), "{busy}");
    server.change(|state| (state.error, state.keys) = (None, Vec::new()));
    let unknown = failed("dev").await;
    assert!(matches!(unknown.kind, ErrorKind::Refused { withdraws: false, .. }), "{unknown:?}");
    server.change(|state| state.keys = vec![blob(folder, "one")]);
    agent.lock(folder, "-x");
    assert!(failed("dev").await.message.contains("it is locked"));
    agent.lock(folder, "-X");
    fetch(&hologram, Some("dev")).await.expect("credentials");
    drop(agent);
    let gone = failed("dev").await;
    assert!(gone.kind == ErrorKind::Transient && gone.message.contains("cannot be reached"), "{gone}");
}

/// The request to log in by SSH as alice that the user's key would have to sign (RFC 4252, section 7): what an attacker
/// wants.
fn userauth(key: &[u8]) -> Vec<u8> {
    let mut request = Vec::new();
    crate::ssh_agent::wire::put(&mut request, &[7; 32]);
    request.push(50);
    for part in [&b"alice"[..], b"ssh-connection", b"publickey"] {
        crate::ssh_agent::wire::put(&mut request, part);
    }
    request.push(1);
    for part in [&b"ssh-ed25519"[..], key] {
        crate::ssh_agent::wire::put(&mut request, part);
    }
    request
}

#[tokio::test]
async fn nothing_but_a_challenge_is_signed() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let agent = openssh::Agent::start(folder);
    new_key(folder, "one", &["ed25519"]);
    agent.add(folder, "one");
    let key = blob(folder, "one");
    let login = userauth(&key);
    assert_eq!(login.len(), 148);
    // What `ssh-keygen -Y sign -n file` signs, with SHA-256: of all namespaces the one with 64 bytes.
    let mut file = b"SSHSIG".to_vec();
    for part in [&b"file"[..], b"", b"sha256", &[9; 32]] {
        crate::ssh_agent::wire::put(&mut file, part);
    }
    assert_eq!(file.len(), 64);
    let server = fake::Hologram::start(state(vec![key]));
    for data in [login, file, vec![0; 63], vec![0; 65], Vec::new()] {
        let length = data.len();
        server.change(|state| state.manner = Manner::Oracle(data));
        let error = fetch(&source(&server, &agent, None), Some("dev")).await.expect_err("refused");
        assert_eq!(error.kind, ErrorKind::Transient);
        assert!(error.message.contains(&format!("sent {length} bytes")), "{error}");
        assert!(!server.seen().contains(&"SIGNED".to_owned()));
    }
}

#[tokio::test]
async fn a_server_that_misbehaves_is_bounded() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let agent = openssh::Agent::start(folder);
    new_key(folder, "one", &["ed25519"]);
    agent.add(folder, "one");
    let server = fake::Hologram::start(state(Vec::new()));
    let mut damaged = fake::frame(b"x");
    damaged[4] ^= 1;
    let long = [&u32::try_from(frame::MAX_BODY + 1).expect("short").to_le_bytes()[..], &[0; 12]].concat();
    for (manner, part) in [
        (Manner::Deaf, "knows none of the keys"),
        (Manner::Nagging, "does not come to an end"),
        (Manner::Raw(damaged), "checksum"),
        (Manner::Raw(long), "too long"),
        (Manner::Raw(vectors::bytes(vectors::PONG)), "does not have"),
    ] {
        server.change(|state| state.manner = manner);
        let error = fetch(&source(&server, &agent, None), None).await.expect_err(part);
        assert!(error.message.contains(part), "{part}: {error}");
    }
    server.change(|state| state.manner = Manner::Silent);
    let slow = Duration::from_millis(500);
    let to = Server::new(&server.address.to_string(), slow, server.pin.parse().ok(), None).expect("a server");
    let hologram = Arc::new(Hologram::new(to, Agent::new(&agent.socket, slow), None, slow));
    assert!(fetch(&hologram, None).await.expect_err("silent").message.contains("within 500ms"));
}

#[tokio::test]
async fn the_server_is_verified_by_pin_or_authority() {
    let Some(folder) = folder() else { return };
    let folder = folder.path();
    let agent = openssh::Agent::start(folder);
    new_key(folder, "one", &["ed25519"]);
    agent.add(folder, "one");
    let server = fake::Hologram::start(state(vec![blob(folder, "one")]));
    let other = fake::Hologram::start(state(Vec::new()));
    let authority = folder.join("ca.pem");
    let own = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).expect("a certificate");
    std::fs::write(&authority, own.cert.pem()).expect("a file");
    let patience = Duration::from_secs(20);
    let attempt = async |pin: Option<&str>, ca_file: Option<&Path>| {
        let pin = pin.map(|pin| pin.parse().expect("a pin"));
        let to = Server::new(&server.address.to_string(), patience, pin, ca_file).expect("a server");
        let hologram = Hologram::new(to, Agent::new(&agent.socket, patience), None, patience);
        hologram.credentials(None).await.map_err(|error| error.to_string())
    };
    attempt(Some(&server.pin), None).await.expect("its pin");
    attempt(None, None).await.expect("unverified");
    attempt(Some(&other.pin), None).await.expect_err("the pin of another");
    attempt(None, Some(&authority)).await.expect_err("an authority that is not its own");
    assert!("sha256//AAAA".parse::<Pin>().is_err() && "x".parse::<Pin>().is_err());
    let public: Pin = "sha256//Z1Ai4qQavSyuCtyUEn1ATGx6Wym53I3IXf3pJcEKiSA=".parse().expect("a pin");
    assert!(public.is_public() && !server.pin.parse::<Pin>().expect("a pin").is_public());
}
