//! A strict hologram-server, after the bytes that the real one (AdRoll/hologram 1.3) sends and accepts. Tests of other crates
//! include this file.

#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

use std::{
    io::{self, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

use aws_lc_rs::{
    digest::{SHA256, digest},
    rand,
    signature::{
        ECDSA_P256_SHA256_FIXED, ED25519, RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY, RSA_PKCS1_2048_8192_SHA256,
        RSA_PKCS1_2048_8192_SHA512, RsaPublicKeyComponents, UnparsedPublicKey,
    },
};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use rcgen::PublicKeyData as _;
use rustls::{
    ServerConfig, ServerConnection, StreamOwned,
    crypto::aws_lc_rs::{default_provider, sign::any_supported_type},
    server::ResolvesServerCert,
    sign::{CertifiedKey, SingleCertAndKey},
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer};

/// Frames as the real server sent or accepted them.
pub mod vectors {
    pub const PING: &str = "02000000d7deb22e00000000000000002a00";
    pub const PONG: &str = "040000000caf98cb00000000000000002a020802";
    pub const ASSUME_DEV: &str = "09000000fe0f43020000000000000000320722051203646576";
    pub const DEFAULT_ROLE: &str = "0400000021e54b5d000000000000000032023a00";
    pub const WRONG_SIGNATURE: &str = "040000009fdf3dd200000000000000003a022a00";
    pub const ERROR_NO: &str = "04000000f6d10e6b00000000000000000a026e6f";
    /// The head of the frame of a challenge of 64 zeros, which follow it.
    pub const ZEROS: &str = "4600000025cd1be400000000000000003a4422420a40";
    /// Bodies without their frames: signature `SIG` of the format `ssh-ed25519`; the credentials AK, SK, TOK until 1795654987.
    pub const SIGNATURE: &str = "32142a120a03534947120b7373682d65643235353139";
    pub const CREDENTIALS: &str = "3a1532130a02414b1202534b1a03544f4b20cb8a9ed806";

    pub fn bytes(hex: &str) -> Vec<u8> {
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex")).collect()
    }
}

/// What a server does to a client that has asked for a role.
#[derive(Clone, PartialEq, Eq, Default)]
pub enum Manner {
    /// What it should.
    #[default]
    Honest,
    /// As those built before 2022: for RSA keys only SHA-1.
    Old,
    /// Has this signed.
    Oracle(Vec<u8>),
    /// Never accepts a signature.
    Deaf,
    /// Says without end that a signature is wrong.
    Nagging,
    /// Sends these bytes.
    Raw(Vec<u8>),
    /// Says nothing.
    Silent,
}

/// A running server; it ends with the process.
pub struct Hologram {
    pub address: SocketAddr,
    /// The pin of its key.
    pub pin: String,
    seen: Arc<Mutex<Vec<String>>>,
    state: Arc<Mutex<State>>,
}

/// What it knows, which may change.
#[derive(Clone, Default)]
pub struct State {
    pub manner: Manner,
    /// The users' keys, as sent.
    pub keys: Vec<Vec<u8>>,
    /// The roles that everybody may have, beside the default one.
    pub roles: Vec<String>,
    /// The end of the credentials, in seconds since 1970.
    pub expiration: i64,
    /// What `assumeRole` fails with.
    pub error: Option<String>,
}

impl Hologram {
    /// A server on a port of its own, with a certificate of version 1 that has expired, as the real one's.
    pub fn start(state: State) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("an address");
        let key = rcgen::KeyPair::generate().expect("a key");
        let public = key.subject_public_key_info();
        let pin = format!("sha256//{}", STANDARD.encode(digest(&SHA256, &public)));
        let private = PrivateKeyDer::try_from(key.serialize_der()).expect("a key");
        let certified = CertifiedKey::new(vec![certificate(&public)], any_supported_type(&private).expect("a key"));
        let resolver: Arc<dyn ResolvesServerCert> = Arc::new(SingleCertAndKey::from(certified));
        let config = ServerConfig::builder_with_provider(Arc::new(default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_cert_resolver(resolver);
        let server = Self { address, pin, seen: Arc::default(), state: Arc::new(Mutex::new(state)) };
        let (seen, state, config) = (Arc::clone(&server.seen), Arc::clone(&server.state), Arc::new(config));
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (seen, config) = (Arc::clone(&seen), Arc::clone(&config));
                let state = state.lock().expect("a lock").clone();
                thread::spawn(move || {
                    let tls = ServerConnection::new(config).expect("a connection");
                    let mut visit = Visit { stream: StreamOwned::new(tls, stream), state, seen };
                    // The client may leave at any time.
                    let _left = visit.serve();
                });
            }
        });
        server
    }

    pub fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.state.lock().expect("a lock"));
    }

    /// What clients have done since the last call.
    pub fn seen(&self) -> Vec<String> {
        std::mem::take(&mut self.seen.lock().expect("a lock"))
    }
}

/// One connection.
struct Visit {
    stream: StreamOwned<ServerConnection, TcpStream>,
    state: State,
    seen: Arc<Mutex<Vec<String>>>,
}

impl Visit {
    fn note(&self, what: impl Into<String>) {
        self.seen.lock().expect("a lock").push(what.into());
    }

    fn send(&mut self, body: &[u8]) -> io::Result<()> {
        self.stream.write_all(&frame(body))
    }

    fn receive(&mut self) -> io::Result<Vec<u8>> {
        let mut head = [0; 16];
        self.stream.read_exact(&mut head)?;
        let number = |at: usize| u32::from_le_bytes(head[at..at + 4].try_into().expect("four"));
        let mut body = vec![0; usize::try_from(number(0)).expect("a length")];
        assert!(body.len() <= 1_048_576 && head[8..] == [0; 8], "{head:?}");
        self.stream.read_exact(&mut body)?;
        assert_eq!(number(4), crc32(&body), "the checksum");
        Ok(body)
    }

    fn serve(&mut self) -> io::Result<()> {
        let body = self.receive()?;
        let request = one(&body, 6);
        // `None` is the default role.
        let role = match request.first() {
            Some(0x22) => Some(String::from_utf8(one(one(request, 4), 2).to_vec()).expect("a name")),
            _ => {
                assert_eq!(one(request, 7), b"", "{body:?}");
                None
            }
        };
        self.note(role.clone().unwrap_or_else(|| "default".to_owned()));
        match self.state.manner.clone() {
            Manner::Oracle(data) => self.oracle(&data),
            Manner::Raw(bytes) => {
                self.stream.write_all(&bytes)?;
                self.wait()
            }
            Manner::Silent => self.wait(),
            Manner::Nagging => loop {
                self.send(&bytes(7, &bytes(5, b"")))?;
            },
            Manner::Honest | Manner::Old | Manner::Deaf => self.dialogue(role.as_deref()),
        }
    }

    /// Until the client leaves.
    fn wait(&mut self) -> io::Result<()> {
        self.stream.read_exact(&mut [0])
    }

    fn oracle(&mut self, data: &[u8]) -> io::Result<()> {
        self.send(&bytes(7, &bytes(4, &bytes(1, data))))?;
        let answer = self.receive()?;
        let what = if answer[0] == 0x0a { "error" } else { "SIGNED" };
        self.note(what);
        self.wait()
    }

    fn dialogue(&mut self, role: Option<&str>) -> io::Result<()> {
        loop {
            let mut challenge = [0; 64];
            rand::fill(&mut challenge).expect("randomness");
            self.send(&bytes(7, &bytes(4, &bytes(1, &challenge))))?;
            let body = self.receive()?;
            let response = one(one(&body, 6), 5);
            let signature = field(response);
            let format = field(signature.2);
            assert!((signature.0, format.0) == (1, 2) && format.2.is_empty(), "{response:?}");
            let format_text = std::str::from_utf8(format.1).expect("a text");
            let is_known = |key: &Vec<u8>| self.verify(key, format_text, signature.1, &challenge);
            let accepted = self.state.manner != Manner::Deaf && self.state.keys.iter().any(is_known);
            self.note(format!("{format_text} {}", if accepted { "accepted" } else { "refused" }));
            if accepted {
                break;
            }
            self.send(&bytes(7, &bytes(5, b"")))?;
        }
        if let Some(role) = role {
            let refusal = format!("User alice is not authorized to assume role {role}!");
            let known = self.state.roles.iter().any(|known| known == role);
            if let Some(error) = self.state.error.clone().or_else(|| (!known).then_some(refusal)) {
                self.send(&bytes(1, error.as_bytes()))?;
                // And then the default role, of which no client wants to know.
            }
        }
        self.send(&credentials(role.unwrap_or("default"), self.state.expiration))?;
        self.wait()
    }

    fn verify(&self, key: &[u8], format: &str, signature: &[u8], message: &[u8]) -> bool {
        let (kind, rest) = string(key);
        let (first, rest) = string(rest);
        match (kind, format) {
            (b"ssh-ed25519", "ssh-ed25519") => {
                UnparsedPublicKey::new(&ED25519, first).verify(message, signature).is_ok()
            }
            (b"ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => {
                let (r, rest_of_it) = string(signature);
                let (s, end) = string(rest_of_it);
                let fixed = [fixed(r), fixed(s)].concat();
                end.is_empty()
                    && UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, string(rest).0).verify(message, &fixed).is_ok()
            }
            (b"ssh-rsa", format) => {
                let parameters = match format {
                    "ssh-rsa" => &RSA_PKCS1_2048_8192_SHA1_FOR_LEGACY_USE_ONLY,
                    _ if self.state.manner == Manner::Old => return false,
                    "rsa-sha2-256" => &RSA_PKCS1_2048_8192_SHA256,
                    "rsa-sha2-512" => &RSA_PKCS1_2048_8192_SHA512,
                    _ => return false,
                };
                let components = RsaPublicKeyComponents { n: unsigned(string(rest).0), e: unsigned(first) };
                components.verify(parameters, message, signature).is_ok()
            }
            _ => false,
        }
    }
}

/// A string of SSH, and what follows it.
fn string(bytes: &[u8]) -> (&[u8], &[u8]) {
    let length = u32::from_be_bytes(bytes[..4].try_into().expect("four"));
    bytes[4..].split_at(usize::try_from(length).expect("a length"))
}

fn unsigned(number: &[u8]) -> &[u8] {
    number.strip_prefix(&[0]).unwrap_or(number)
}

fn fixed(number: &[u8]) -> Vec<u8> {
    let digits = unsigned(number);
    [&vec![0; 32 - digits.len()], digits].concat()
}

/// A message in its frame.
pub fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("short");
    [&length.to_le_bytes()[..], &crc32(body).to_le_bytes(), &[0; 8], body].concat()
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = if crc & 1 == 1 { (crc >> 1) ^ 0xEDB8_8320 } else { crc >> 1 };
        }
    }
    !crc
}

/// A field of protobuf with bytes.
pub fn bytes(number: u8, value: &[u8]) -> Vec<u8> {
    let mut all = vec![number * 8 + 2];
    all.extend(varint(value.len().try_into().expect("a length")));
    all.extend(value);
    all
}

fn varint(mut number: u64) -> Vec<u8> {
    let mut all = Vec::new();
    while number >= 0x80 {
        all.push(u8::try_from(number % 0x80).expect("seven bits") | 0x80);
        number /= 0x80;
    }
    all.push(u8::try_from(number).expect("seven bits"));
    all
}

/// The first field, which has bytes: its number, its value, what follows it.
fn field(message: &[u8]) -> (u8, &[u8], &[u8]) {
    assert_eq!(message[0] % 8, 2, "{message:?}");
    let (mut length, mut at, mut shift) = (0, 1, 0);
    loop {
        length |= usize::from(message[at] % 0x80) << shift;
        at += 1;
        shift += 7;
        if message[at - 1] < 0x80 {
            break;
        }
    }
    let (value, rest) = message[at..].split_at(length);
    (message[0] / 8, value, rest)
}

/// The only field.
fn one(message: &[u8], number: u8) -> &[u8] {
    let (found, value, rest) = field(message);
    assert!(found == number && rest.is_empty(), "{number}: {message:?}");
    value
}

/// Credentials that show what was asked for.
pub fn credentials(role: &str, expiration: i64) -> Vec<u8> {
    let id: String = role.chars().filter(char::is_ascii_alphanumeric).collect();
    set(&format!("ASIA{}", id.to_uppercase()), "secret", "token", expiration)
}

fn set(id: &str, secret: &str, token: &str, expiration: i64) -> Vec<u8> {
    let texts = [bytes(1, id.as_bytes()), bytes(2, secret.as_bytes()), bytes(3, token.as_bytes())].concat();
    bytes(7, &bytes(6, &[texts, vec![0x20], varint(expiration.cast_unsigned())].concat()))
}

/// A certificate of version 1 for a key, which expired in 2019. Nobody verifies its signature.
fn certificate(public: &[u8]) -> CertificateDer<'static> {
    let der = |tag: u8, parts: &[&[u8]]| {
        let body = parts.concat();
        let length = u8::try_from(body.len()).expect("short");
        let long: &[u8] = if length < 0x80 { &[] } else { &[0x81] };
        [&[tag], long, &[length], &body].concat()
    };
    // ecdsa-with-SHA256
    let algorithm = der(0x30, &[&[6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2]]);
    let name = der(0x30, &[]);
    let validity = der(0x30, &[&der(0x17, &[b"180602175959Z"]), &der(0x17, &[b"191015175959Z"])]);
    let tbs = der(0x30, &[&[2, 1, 1], &algorithm, &name, &validity, &name, public]);
    der(0x30, &[&tbs, &algorithm, &der(3, &[&[0, 0x30, 0]])]).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_server_speaks_as_the_real_one() {
        let sent = |body: &[u8]| frame(body);
        assert_eq!(sent(&bytes(5, b"")), vectors::bytes(vectors::PING));
        assert_eq!(sent(&bytes(5, &[8, 2])), vectors::bytes(vectors::PONG));
        assert_eq!(sent(&bytes(7, &bytes(5, b""))), vectors::bytes(vectors::WRONG_SIGNATURE));
        assert_eq!(sent(&bytes(1, b"no")), vectors::bytes(vectors::ERROR_NO));
        let zeros = sent(&bytes(7, &bytes(4, &bytes(1, &[0; 64]))));
        assert_eq!(zeros, [vectors::bytes(vectors::ZEROS), vec![0; 64]].concat());
        assert_eq!(set("AK", "SK", "TOK", 1_795_654_987), vectors::bytes(vectors::CREDENTIALS));
        // What it accepts.
        let request = vectors::bytes(vectors::ASSUME_DEV);
        assert_eq!(one(one(one(&request[16..], 6), 4), 2), b"dev");
        let request = vectors::bytes(vectors::DEFAULT_ROLE);
        assert_eq!(one(one(&request[16..], 6), 7), b"");
        let response = vectors::bytes(vectors::SIGNATURE);
        let response = one(one(&response, 6), 5);
        let signature = field(response);
        assert_eq!((signature.1, field(signature.2).1), (&b"SIG"[..], &b"ssh-ed25519"[..]));
    }
}
