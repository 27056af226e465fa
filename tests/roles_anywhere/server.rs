//! A server in place of IAM Roles Anywhere. It checks each request by itself, as the service's documentation says, and has
//! `openssl` do the hashing, the certificates and the signature: nothing of the code under test takes part.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use base64::{Engine, engine::general_purpose::STANDARD};
use tempfile::TempDir;

use crate::pki::{openssl, openssl_accepts};

/// What a request was found to be.
#[derive(Debug, Clone)]
pub struct Seen {
    pub algorithm: String,
    pub serial: String,
    pub certificates: usize,
    pub body: serde_json::Value,
}

/// What is answered to a request that was found good.
#[derive(Debug, Clone)]
pub struct Reply {
    pub status: &'static str,
    pub headers: String,
    pub body: String,
}

impl Reply {
    /// A set that lives for an hour.
    pub fn credentials(key: &str) -> Self {
        let body = serde_json::json!({
            "credentialSet": [{
                "assumedRoleUser": {"arn": "arn:aws:sts::123456789012:assumed-role/web/x", "assumedRoleId": "AROA:x"},
                "credentials": {
                    "accessKeyId": key, "secretAccessKey": "c2VjcmV0", "sessionToken": "dG9rZW4=",
                    "expiration": date("+1 hour", "+%Y-%m-%dT%H:%M:%SZ"),
                },
                "packedPolicySize": 10,
                "roleArn": "arn:aws:iam::123456789012:role/web",
                "sourceIdentity": "CN=web",
            }],
            "subjectArn": "arn:aws:rolesanywhere:eu-central-1:123456789012:subject/1",
        });
        Self { status: "201 Created", headers: String::new(), body: body.to_string() }
    }

    pub fn error(status: &'static str, code: &str, message: &str) -> Self {
        let body = serde_json::json!({ "message": message }).to_string();
        Self { status, headers: format!("x-amzn-ErrorType: {code}:http://internal.amazon.com/\r\n"), body }
    }
}

/// A moment as `date` (coreutils) writes it.
pub fn date(when: &str, format: &str) -> String {
    let output = std::process::Command::new("date").args(["-u", "-d", when, format]).output().expect("date runs");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("ASCII").trim().to_owned()
}

/// The server, on a thread of its own for as long as the process lives.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Result<Seen, String>>>>,
    reply: Arc<Mutex<Reply>>,
    last: Arc<Mutex<Option<Request>>>,
}

impl Server {
    /// One that trusts the certificates below `root`.
    pub fn start(root: &Path) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("bound");
        let seen: Arc<Mutex<Vec<_>>> = Arc::default();
        let reply = Arc::new(Mutex::new(Reply::credentials("ASIAFIRST")));
        let last = Arc::default();
        let server = Self { address, seen: Arc::clone(&seen), reply: Arc::clone(&reply), last: Arc::clone(&last) };
        let root = root.to_owned();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let stream = stream.expect("a connection");
                serve(stream, &root, &seen, &reply, &last);
            }
        });
        server
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn reply_with(&self, reply: Reply) {
        *self.reply.lock().expect("not poisoned") = reply;
    }

    /// All requests so far, each with what is wrong with it if anything is.
    pub fn seen(&self) -> Vec<Result<Seen, String>> {
        self.seen.lock().expect("not poisoned").clone()
    }

    /// The last request, which must have been good.
    pub fn last(&self) -> Seen {
        self.seen().pop().expect("a request").expect("a good one")
    }
}

fn serve(
    mut stream: TcpStream,
    root: &Path,
    seen: &Mutex<Vec<Result<Seen, String>>>,
    reply: &Mutex<Reply>,
    last: &Mutex<Option<Request>>,
) {
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("settable");
    let request = Request::read(&stream);
    let judged = request.judge(root);
    let reply = match &judged {
        Ok(_) => reply.lock().expect("not poisoned").clone(),
        Err(problem) => Reply::error("403 Forbidden", "AccessDeniedException", problem),
    };
    seen.lock().expect("not poisoned").push(judged);
    let Reply { status, headers, body } = reply;
    let length = body.len();
    let now = date("now", "+%a, %d %b %Y %H:%M:%S GMT");
    let answer = format!(
        "HTTP/1.1 {status}\r\n{headers}Date: {now}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{body}"
    );
    *last.lock().expect("not poisoned") = Some(request);
    stream.write_all(answer.as_bytes()).expect("it listens");
}

#[derive(Clone)]
struct Request {
    line: String,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Request {
    fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream);
        let mut lines = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a request");
            let line = line.trim_end_matches("\r\n").to_owned();
            if line.is_empty() {
                break;
            }
            lines.push(line);
        }
        let line = lines.remove(0);
        let headers: Vec<(String, String)> = lines
            .iter()
            .map(|line| line.split_once(": ").expect("a header"))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let length =
            headers.iter().find(|(name, _)| name == "content-length").map_or(0, |(_, v)| v.parse().expect("a number"));
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("the whole body");
        Self { line, headers, body }
    }

    fn header(&self, name: &str) -> Result<&str, String> {
        let mut values = self.headers.iter().filter(|(known, _)| known == name).map(|(_, value)| value.as_str());
        match (values.next(), values.next()) {
            (Some(value), None) => Ok(value),
            (None, _) => Err(format!("there is no header {name}")),
            _ => Err(format!("the header {name} is there twice")),
        }
    }

    /// <https://docs.aws.amazon.com/rolesanywhere/latest/userguide/authentication-sign-process.html>
    fn judge(&self, root: &Path) -> Result<Seen, String> {
        let scratch = TempDir::new().expect("a directory");
        let directory = scratch.path();
        equal("the request line", &self.line, "POST /sessions HTTP/1.1")?;
        equal("the content type", self.header("content-type")?, "application/json")?;
        // The date: basic ISO 8601, and within five minutes.
        let time = self.header("x-amz-date")?;
        let spread =
            |t: &str| format!("{}-{}-{}T{}:{}:{}Z", &t[..4], &t[4..6], &t[6..8], &t[9..11], &t[11..13], &t[13..15]);
        let sent: u64 = date(&spread(time), "+%s").parse().expect("a number");
        #[allow(clippy::disallowed_methods, reason = "the server has a clock of its own")]
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_secs();
        if now.abs_diff(sent) > 300 {
            return Err("Signature expired".to_owned());
        }
        // The certificates.
        let leaf = decode(self.header("x-amz-x509")?)?;
        fs::write(directory.join("leaf.der"), &leaf).expect("a file");
        let pem = |der: &str| openssl(directory, &["x509", "-inform", "DER", "-in", der]);
        fs::write(directory.join("leaf.pem"), pem("leaf.der")).expect("a file");
        let mut chain = Vec::new();
        let mut certificates = 1;
        if let Ok(list) = self.header("x-amz-x509-chain") {
            for text in list.split(',') {
                fs::write(directory.join("chain.der"), decode(text)?).expect("a file");
                chain.extend(pem("chain.der"));
                certificates += 1;
            }
        }
        fs::write(directory.join("chain.pem"), &chain).expect("a file");
        let trusted = root.to_str().expect("UTF-8");
        let mut verify = vec!["verify", "-x509_strict", "-CAfile", trusted];
        if !chain.is_empty() {
            verify.extend(["-untrusted", "chain.pem"]);
        }
        verify.push("leaf.pem");
        if !openssl_accepts(directory, &verify) {
            return Err("Untrusted certificate. Insufficient certificate".to_owned());
        }
        let text =
            String::from_utf8(openssl(directory, &["x509", "-in", "leaf.pem", "-noout", "-text"])).expect("UTF-8");
        let algorithm = if text.contains("id-ecPublicKey") { "AWS4-X509-ECDSA-SHA256" } else { "AWS4-X509-RSA-SHA256" };
        let serial = String::from_utf8(openssl(directory, &["x509", "-in", "leaf.pem", "-noout", "-serial"]));
        let serial = serial.expect("ASCII").trim().replace("serial=", "");
        let serial = u128::from_str_radix(&serial, 16).expect("at most 16 bytes").to_string();
        // The scope.
        let authorization = self.header("authorization")?;
        let rest = authorization.strip_prefix(algorithm).ok_or("the algorithm does not fit the key")?;
        let parts: Vec<&str> = rest.trim_start().split(", ").collect();
        let [credential, signed, signature] = parts.as_slice() else {
            return Err("Authorization has not 3 parts".into());
        };
        let scope = format!("{}/eu-central-1/rolesanywhere/aws4_request", &time[..8]);
        equal("the credential", credential, &format!("Credential={serial}/{scope}"))?;
        let signed = signed.strip_prefix("SignedHeaders=").ok_or("no SignedHeaders")?;
        let names: Vec<&str> = signed.split(';').collect();
        if !names.is_sorted() {
            return Err("the signed headers are not sorted".to_owned());
        }
        // All that the service insists on, and every x-amz header.
        let must = self.headers.iter().map(|(name, _)| name.as_str()).filter(|name| name.starts_with("x-amz-"));
        for name in must.chain(["host", "content-type"]) {
            if !names.contains(&name) {
                return Err(format!("the header {name} is not signed"));
            }
        }
        // The canonical request, the string to sign, the signature.
        let values: Result<Vec<String>, String> =
            names.iter().map(|name| Ok(format!("{name}:{}\n", self.header(name)?.trim()))).collect();
        let hashed = sha256(directory, &self.body);
        let canonical = format!("POST\n/sessions\n\n{}\n{signed}\n{hashed}", values?.concat());
        let to_sign = format!("{algorithm}\n{time}\n{scope}\n{}", sha256(directory, canonical.as_bytes()));
        fs::write(directory.join("to_sign"), &to_sign).expect("a file");
        let signature = signature.strip_prefix("Signature=").ok_or("no Signature")?;
        if signature.len() % 2 != 0 || !signature.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
            return Err("the signature is not lower-case hexadecimal".to_owned());
        }
        let bytes =
            (0..signature.len()).step_by(2).map(|at| u8::from_str_radix(&signature[at..at + 2], 16).expect("hex"));
        fs::write(directory.join("signature"), bytes.collect::<Vec<u8>>()).expect("a file");
        fs::write(directory.join("key"), openssl(directory, &["x509", "-in", "leaf.pem", "-noout", "-pubkey"]))
            .expect("a file");
        let verified =
            openssl_accepts(directory, &["dgst", "-sha256", "-verify", "key", "-signature", "signature", "to_sign"]);
        if !verified {
            return Err("the signature does not match".to_owned());
        }
        let body = serde_json::from_slice(&self.body).map_err(|error| format!("the body is not JSON: {error}"))?;
        Ok(Seen { algorithm: algorithm.to_owned(), serial, certificates, body })
    }
}

fn equal(what: &str, is: &str, should: &str) -> Result<(), String> {
    if is == should { Ok(()) } else { Err(format!("{what} is {is:?}, not {should:?}")) }
}

fn decode(text: &str) -> Result<Vec<u8>, String> {
    STANDARD.decode(text).map_err(|error| format!("a certificate is not base64: {error}"))
}

fn sha256(directory: &Path, bytes: &[u8]) -> String {
    let file: PathBuf = directory.join("hashed");
    fs::write(&file, bytes).expect("a file");
    let text = String::from_utf8(openssl(directory, &["dgst", "-sha256", "-r", "hashed"])).expect("ASCII");
    text.split(' ').next().expect("a hash").to_owned()
}

/// The checks can fail: a good request is spoilt in every part that they look at.
#[test]
fn the_server_finds_what_is_spoilt() {
    use crate::pki::{Leaf, P256, Pki};
    use alppaca::source::roles_anywhere::Identity;

    let Some(pki) = Pki::new() else { return };
    let root = pki.path("root.pem");
    let server = Server::start(&root);
    for name in ["web", "other"] {
        pki.issue(&Leaf::new(name, P256));
    }
    let mut settings = crate::files(&pki.path("web.pem"), &pki.path("web.key"));
    settings.chain = Some(pki.path("intermediate.pem"));
    crate::fetch(&crate::role(&server, &Identity::new(settings))).expect("credentials");
    let good = server.last.lock().expect("not poisoned").clone().expect("a request");
    good.judge(&root).expect("good");
    let spoilt = |name: &str, from: &str, to: &str| {
        let mut request = good.clone();
        let header = request.headers.iter_mut().find(|(known, _)| known == name).expect("it is there");
        assert!(header.1.contains(from), "{header:?}");
        header.1 = header.1.replace(from, to);
        request.judge(&root).map(|_| ()).expect_err(name)
    };
    let other = STANDARD.encode(pki.run(&["x509", "-in", "other.pem", "-outform", "DER"]));
    let leaf = good.header("x-amz-x509").expect("there").to_owned();
    assert!(spoilt("x-amz-x509", &leaf, &other).starts_with("the credential is"));
    assert!(spoilt("x-amz-x509-chain", good.header("x-amz-x509-chain").expect("there"), &leaf).contains("Untrusted"));
    let year = good.header("x-amz-date").expect("there")[..4].to_owned();
    assert_eq!(spoilt("x-amz-date", &year, "2020"), "Signature expired");
    assert_eq!(spoilt("host", "127.0.0.1", "127.0.0.2"), "the signature does not match");
    assert!(spoilt("content-type", "json", "xml").starts_with("the content type"));
    assert_eq!(spoilt("authorization", "ECDSA", "RSA"), "the algorithm does not fit the key");
    assert!(spoilt("authorization", "eu-central-1", "eu-west-1").starts_with("the credential is"));
    assert_eq!(spoilt("authorization", "x-amz-date;", ""), "the header x-amz-date is not signed");
    let signature = good.header("authorization").expect("there").rsplit('=').next().expect("hex")[20..24].to_owned();
    assert_eq!(spoilt("authorization", &signature, "beef"), "the signature does not match");
    let mut body = good.clone();
    body.body[5] ^= 1;
    assert_eq!(body.judge(&root).map(|_| ()), Err("the signature does not match".to_owned()));
}
