//! Verifies AWS Signature Version 4 as S3 and STS do, in headers and in a presigned query.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-authenticating-requests.html>

use aws_lc_rs::{digest, hmac};
use jiff::{SignedDuration, Timestamp, civil::DateTime, tz::Offset};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

use super::chunks;

const ALGORITHM: &str = "AWS4-HMAC-SHA256";
const UNSIGNED: &str = "UNSIGNED-PAYLOAD";
/// What `UriEncode` of the specification leaves as it is.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
const UNRESERVED_AND_SLASH: &AsciiSet = &UNRESERVED.remove(b'/');
/// How far a client's clock may be off.
const SKEW: SignedDuration = SignedDuration::from_mins(15);

/// What came in.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// `GET` and the like.
    pub method: String,
    /// As on the wire.
    pub path: String,
    /// As on the wire, without the question mark.
    pub query: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

impl Request {
    /// The first header of that name, which is in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What the service knows about an access key.
#[derive(Debug, Clone)]
pub struct Key {
    /// The secret key.
    pub secret: String,
    /// None for a user's permanent key.
    pub token: Option<String>,
    /// When it ends.
    pub expires: Timestamp,
}

/// Why a request is refused. The text of each service's error follows from it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// No signature.
    Unsigned,
    /// Not in the form of the specification.
    Incomplete(&'static str),
    /// No such key.
    UnknownKey,
    /// The key is known; the session token is not its.
    WrongToken,
    /// The key has ended.
    Expired,
    /// Not made with the key, or of something else.
    WrongSignature,
    /// The client's clock is wrong.
    Skewed,
    /// A presigned URL whose own time is over.
    UrlExpired,
    /// The body is not the one whose digest was signed.
    WrongDigest,
}

/// Who made a request that is in order, or what can be told about one that is not.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    /// The key id.
    pub key: String,
    /// Such as `sts`.
    pub service: String,
    /// Such as `eu-central-1`.
    pub region: String,
}

/// The parts of a signature, wherever they stood.
struct Signature {
    claim: Claim,
    /// `20260101/eu-central-1/s3/aws4_request`
    scope: String,
    /// `20260101T000000Z`
    date: String,
    signed_headers: Vec<String>,
    digits: String,
    token: Option<String>,
    /// Seconds; only a presigned URL has it.
    valid_for: Option<i64>,
}

/// Who `request` says it is from, signed or not.
pub fn claim(request: &Request) -> Option<Claim> {
    parts(request).ok().map(|parts| parts.claim)
}

/// Whether `request` is signed with a key that is known and valid at `now`.
pub fn verify(request: &Request, find: impl Fn(&str) -> Option<Key>, now: Timestamp) -> Result<Claim, Refusal> {
    let parts = parts(request)?;
    let key = find(&parts.claim.key).ok_or(Refusal::UnknownKey)?;
    match (&key.token, &parts.token) {
        (None, None) => {}
        // A temporary key without its token is a key that nobody knows.
        (Some(_), None) => return Err(Refusal::UnknownKey),
        (None, Some(_)) => return Err(Refusal::WrongToken),
        (Some(known), Some(sent)) if known != sent => return Err(Refusal::WrongToken),
        _ => {}
    }
    if now >= key.expires {
        return Err(Refusal::Expired);
    }
    check_time(&parts, now)?;
    check_signed_headers(request, &parts)?;

    let payload = payload_hash(request, &parts);
    let canonical = canonical_request(request, &parts, &payload);
    let secret = signing_key(&key.secret, &parts);
    let text = format!("{ALGORITHM}\n{}\n{}\n{}", parts.date, parts.scope, sha256(canonical.as_bytes()));
    let signature = hex(hmac::sign(&secret, text.as_bytes()).as_ref());
    if signature != parts.digits {
        return Err(Refusal::WrongSignature);
    }
    check_body(request, &parts, &payload, &secret)?;
    Ok(parts.claim)
}

fn parts(request: &Request) -> Result<Signature, Refusal> {
    let Some(text) = request.header("authorization") else { return presigned(request) };
    let fields = text.strip_prefix(ALGORITHM).ok_or(Refusal::Incomplete("the algorithm"))?;
    let field = |name: &str| {
        let found = fields.split(',').find_map(|field| field.trim().strip_prefix(name)?.strip_prefix('='));
        found.ok_or(Refusal::Incomplete("a field of Authorization"))
    };
    let date = request.header("x-amz-date").ok_or(Refusal::Incomplete("X-Amz-Date"))?.to_owned();
    let token = request.header("x-amz-security-token").map(str::to_owned);
    signature(field("Credential")?, field("SignedHeaders")?, field("Signature")?.to_owned(), date, token, None)
}

fn presigned(request: &Request) -> Result<Signature, Refusal> {
    let query = pairs(&request.query);
    let parameter = |name: &str| query.iter().find(|(key, _)| key == name).map(|(_, value)| value.clone());
    if parameter("X-Amz-Algorithm").ok_or(Refusal::Unsigned)? != ALGORITHM {
        return Err(Refusal::Incomplete("the algorithm"));
    }
    let needed = |name: &'static str| parameter(name).ok_or(Refusal::Incomplete(name));
    let valid_for = needed("X-Amz-Expires")?.parse().map_err(|_| Refusal::Incomplete("X-Amz-Expires"))?;
    signature(
        &needed("X-Amz-Credential")?,
        &needed("X-Amz-SignedHeaders")?,
        needed("X-Amz-Signature")?,
        needed("X-Amz-Date")?,
        parameter("X-Amz-Security-Token"),
        Some(valid_for),
    )
}

fn signature(
    credential: &str,
    signed_headers: &str,
    digits: String,
    date: String,
    token: Option<String>,
    valid_for: Option<i64>,
) -> Result<Signature, Refusal> {
    let (key, scope) = credential.split_once('/').ok_or(Refusal::Incomplete("Credential"))?;
    let words: Vec<_> = scope.split('/').collect();
    let &[day, region, service, "aws4_request"] = words.as_slice() else {
        return Err(Refusal::Incomplete("the credential's scope"));
    };
    if !date.starts_with(day) {
        return Err(Refusal::Incomplete("the day in the credential's scope"));
    }
    let claim = Claim { key: key.to_owned(), service: service.to_owned(), region: region.to_owned() };
    let signed_headers = signed_headers.split(';').map(str::to_owned).collect();
    Ok(Signature { claim, scope: scope.to_owned(), date, signed_headers, digits, token, valid_for })
}

fn check_time(parts: &Signature, now: Timestamp) -> Result<(), Refusal> {
    let signed_at = DateTime::strptime("%Y%m%dT%H%M%SZ", &parts.date)
        .and_then(|civil| Offset::UTC.to_timestamp(civil))
        .map_err(|_| Refusal::Incomplete("X-Amz-Date"))?;
    let age = now.duration_since(signed_at);
    match parts.valid_for {
        Some(seconds) if age > SignedDuration::from_secs(seconds) => Err(Refusal::UrlExpired),
        Some(_) if age < -SKEW => Err(Refusal::Skewed),
        None if age.abs() > SKEW => Err(Refusal::Skewed),
        _ => Ok(()),
    }
}

/// What is not signed can be changed on the way, so what decides must be signed.
fn check_signed_headers(request: &Request, parts: &Signature) -> Result<(), Refusal> {
    let deciding = ["host", "x-amz-date", "x-amz-security-token", "x-amz-content-sha256"];
    let forgotten =
        |name: &str| request.header(name).is_some() && !parts.signed_headers.iter().any(|signed| signed == name);
    if deciding.into_iter().any(forgotten) || !parts.signed_headers.is_sorted() {
        return Err(Refusal::Incomplete("SignedHeaders"));
    }
    Ok(())
}

/// The text that stands for the body in what is signed.
fn payload_hash(request: &Request, parts: &Signature) -> String {
    match request.header("x-amz-content-sha256") {
        Some(declared) => declared.to_owned(),
        None if parts.valid_for.is_some() && parts.claim.service == "s3" => UNSIGNED.to_owned(),
        None => sha256(&request.body),
    }
}

fn canonical_request(request: &Request, parts: &Signature, payload: &str) -> String {
    // S3 takes a path as it is; all others encode it once more.
    let path = if parts.claim.service == "s3" {
        let plain: Vec<u8> = percent_decode_str(&request.path).collect();
        percent_encoding::percent_encode(&plain, UNRESERVED_AND_SLASH).to_string()
    } else {
        utf8_percent_encode(&request.path, UNRESERVED_AND_SLASH).to_string()
    };
    let encode = |text: &str| utf8_percent_encode(text, UNRESERVED).to_string();
    let mut query: Vec<_> = pairs(&request.query)
        .iter()
        .filter(|(name, _)| name != "X-Amz-Signature")
        .map(|(name, value)| (encode(name), encode(value)))
        .collect();
    query.sort();
    let query: Vec<_> = query.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let headers: String = parts.signed_headers.iter().map(|name| canonical_header(request, name)).collect();
    let signed = parts.signed_headers.join(";");
    format!("{}\n{path}\n{}\n{headers}\n{signed}\n{payload}", request.method, query.join("&"))
}

fn canonical_header(request: &Request, name: &str) -> String {
    let values = request.headers.iter().filter(|(key, _)| key == name);
    let values: Vec<_> = values.map(|(_, value)| value.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
    format!("{name}:{}\n", values.join(","))
}

fn check_body(request: &Request, parts: &Signature, payload: &str, key: &hmac::Key) -> Result<(), Refusal> {
    let signer = chunks::Signer { key, date: &parts.date, scope: &parts.scope, seed: &parts.digits };
    match payload {
        UNSIGNED => Ok(()),
        "STREAMING-UNSIGNED-PAYLOAD-TRAILER" => chunks::verify(&request.body, None, true),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD" => chunks::verify(&request.body, Some(&signer), false),
        "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER" => chunks::verify(&request.body, Some(&signer), true),
        digest if digest == sha256(&request.body) => Ok(()),
        _ => Err(Refusal::WrongDigest),
    }
}

fn signing_key(secret: &str, parts: &Signature) -> hmac::Key {
    let key = |bytes: &[u8]| hmac::Key::new(hmac::HMAC_SHA256, bytes);
    let first = key(format!("AWS4{secret}").as_bytes());
    parts.scope.split('/').fold(first, |current, word| key(hmac::sign(&current, word.as_bytes()).as_ref()))
}

fn pairs(query: &str) -> Vec<(String, String)> {
    let decode = |text: &str| percent_decode_str(text).decode_utf8_lossy().into_owned();
    let parts = query.split('&').filter(|part| !part.is_empty());
    parts.map(|part| part.split_once('=').unwrap_or((part, ""))).map(|(k, v)| (decode(k), decode(v))).collect()
}

/// The SHA-256 of `bytes`, in hexadecimal digits.
pub fn sha256(bytes: &[u8]) -> String {
    hex(digest::digest(&digest::SHA256, bytes).as_ref())
}

/// `bytes` in hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
