//! The gate believes nothing by accident: published examples of signatures, and each way to be wrong.

use jiff::Timestamp;

use crate::rig::sigv4::{Claim, Key, Refusal, Request, sha256, verify};

const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";

fn key(secret: &str, token: Option<&str>) -> impl Fn(&str) -> Option<Key> {
    let key = Key { secret: secret.to_owned(), token: token.map(str::to_owned), expires: Timestamp::MAX };
    move |id| (id == "AKIAIOSFODNN7EXAMPLE" || id == "AKIDEXAMPLE").then(|| key.clone())
}

fn at(text: &str) -> Timestamp {
    text.parse().expect("a date")
}

fn request(method: &str, path: &str, query: &str, headers: &[(&str, &str)], body: &[u8]) -> Request {
    Request {
        method: method.to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers: headers.iter().map(|&(name, value)| (name.to_owned(), value.to_owned())).collect(),
        body: body.to_vec(),
    }
}

/// `get-vanilla` of the Signature Version 4 test suite.
fn vanilla() -> Request {
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/20150830/us-east-1/service/aws4_request, \
                         SignedHeaders=host;x-amz-date, \
                         Signature=5fa00fa31553b73ebf1942676e86291e8372ff2a2260956d9b8aae1d763fbf31";
    let headers =
        [("host", "example.amazonaws.com"), ("x-amz-date", "20150830T123600Z"), ("authorization", authorization)];
    request("GET", "/", "", &headers, b"")
}

const VANILLA_SECRET: &str = "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY";
const VANILLA_TIME: &str = "2015-08-30T12:36:05Z";

/// "GET object" of S3's documentation.
fn s3_get() -> Request {
    let digest = sha256(b"");
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                         SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,\
                         Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41";
    let headers = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("range", "bytes=0-9"),
        ("x-amz-content-sha256", &digest),
        ("x-amz-date", "20130524T000000Z"),
        ("authorization", authorization),
    ];
    request("GET", "/test.txt", "", &headers, b"")
}

/// "PUT object" of S3's documentation; its path holds a character that is encoded.
fn s3_put() -> Request {
    let body = b"Welcome to Amazon S3.";
    let digest = sha256(body);
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                         SignedHeaders=date;host;x-amz-content-sha256;x-amz-date;x-amz-storage-class,\
                         Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd";
    let headers = [
        ("date", "Fri, 24 May 2013 00:00:00 GMT"),
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-content-sha256", &digest),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", authorization),
    ];
    request("PUT", "/test%24file.text", "", &headers, body)
}

/// "List objects" of S3's documentation, which has a query.
fn s3_list() -> Request {
    let digest = sha256(b"");
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                         SignedHeaders=host;x-amz-content-sha256;x-amz-date,\
                         Signature=34b48302e7b5fa45bde8084f4b7868a86f0a534bc59db6670ed5711ef69dc6f7";
    let headers = [
        ("host", "examplebucket.s3.amazonaws.com"),
        ("x-amz-content-sha256", &digest),
        ("x-amz-date", "20130524T000000Z"),
        ("authorization", authorization),
    ];
    request("GET", "/", "max-keys=2&prefix=J", &headers, b"")
}

/// The presigned URL of S3's documentation.
fn presigned() -> Request {
    let query = "X-Amz-Algorithm=AWS4-HMAC-SHA256\
                 &X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%2Fs3%2Faws4_request\
                 &X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host\
                 &X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404";
    request("GET", "/test.txt", query, &[("host", "examplebucket.s3.amazonaws.com")], b"")
}

/// The body in signed chunks of S3's documentation.
fn chunked() -> Request {
    let authorization = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request,\
                         SignedHeaders=content-encoding;content-length;host;x-amz-content-sha256;x-amz-date;\
                         x-amz-decoded-content-length;x-amz-storage-class,\
                         Signature=4f232c4386841ef735655705268965c44a0e4690baa4adea153f7db9fa80a0a9";
    let headers = [
        ("host", "s3.amazonaws.com"),
        ("x-amz-date", "20130524T000000Z"),
        ("x-amz-storage-class", "REDUCED_REDUNDANCY"),
        ("authorization", authorization),
        ("x-amz-content-sha256", "STREAMING-AWS4-HMAC-SHA256-PAYLOAD"),
        ("content-encoding", "aws-chunked"),
        ("x-amz-decoded-content-length", "66560"),
        ("content-length", "66824"),
    ];
    let chunk = |length: usize, signature: &str| {
        format!("{length:x};chunk-signature={signature}\r\n{}\r\n", "a".repeat(length))
    };
    let body = [
        chunk(65536, "ad80c730a21e5b8d04586a2213dd63b9a0e99e0e2307b0ade35a65485a288648"),
        chunk(1024, "0055627c9e194cb4542bae2aa5492e3c1575bbb81b612b7d234b86a503ef5497"),
        chunk(0, "b6c6ea8a5354eaf15b3cb7646744f4275b71ea724fed81ceb9323e279d449df9"),
    ];
    request("PUT", "/examplebucket/chunkObject.txt", "", &headers, body.concat().as_bytes())
}

const S3_TIME: &str = "2013-05-24T00:00:05Z";

#[test]
fn the_published_examples_are_signed_rightly() {
    let claim = Claim { key: "AKIDEXAMPLE".into(), service: "service".into(), region: "us-east-1".into() };
    assert_eq!(verify(&vanilla(), key(VANILLA_SECRET, None), at(VANILLA_TIME)), Ok(claim));
    for request in [s3_get(), s3_put(), s3_list(), presigned(), chunked()] {
        let verdict = verify(&request, key(SECRET, None), at(S3_TIME));
        assert!(verdict.is_ok(), "{verdict:?}: {} {}", request.method, request.path);
    }
}

#[test]
fn whatever_is_changed_on_the_way_is_noticed() {
    let changes: [fn(&mut Request); 5] = [
        |request| request.method = "DELETE".into(),
        |request| request.path.push('x'),
        |request| request.query.push_str("&x=y"),
        |request| request.headers.retain(|(name, _)| name != "host"),
        |request| {
            let host = request.headers.iter_mut().find(|(name, _)| name == "host");
            host.expect("all have it").1.push('x');
        },
    ];
    for original in [s3_get(), s3_put(), s3_list(), presigned(), chunked()] {
        for (number, change) in changes.into_iter().enumerate() {
            let mut request = original.clone();
            change(&mut request);
            let verdict = verify(&request, key(SECRET, None), at(S3_TIME));
            assert_eq!(verdict, Err(Refusal::WrongSignature), "change {number} of {}", original.path);
        }
        let verdict = verify(&original, key("another secret", None), at(S3_TIME));
        assert_eq!(verdict, Err(Refusal::WrongSignature), "{}", original.path);
    }
}

#[test]
fn a_changed_body_is_noticed() {
    let mut put = s3_put();
    put.body.push(b'!');
    assert_eq!(verify(&put, key(SECRET, None), at(S3_TIME)), Err(Refusal::WrongDigest));
    let mut post = vanilla();
    post.body.push(b'!');
    assert_eq!(verify(&post, key(VANILLA_SECRET, None), at(VANILLA_TIME)), Err(Refusal::WrongSignature));
    let mut chunks = chunked();
    let middle = chunks.body.len() / 2;
    chunks.body[middle] = b'b';
    assert_eq!(verify(&chunks, key(SECRET, None), at(S3_TIME)), Err(Refusal::WrongSignature));
    let mut cut = chunked();
    cut.body.truncate(70_000 - 4_000);
    assert!(verify(&cut, key(SECRET, None), at(S3_TIME)).is_err());
}

#[test]
fn a_key_must_be_known_valid_and_come_with_its_token() {
    let unknown = |_: &str| None;
    assert_eq!(verify(&s3_get(), unknown, at(S3_TIME)), Err(Refusal::UnknownKey));
    assert_eq!(verify(&s3_get(), key(SECRET, Some("its token")), at(S3_TIME)), Err(Refusal::UnknownKey));
    let mut with_token = s3_get();
    with_token.headers.push(("x-amz-security-token".into(), "another".into()));
    assert_eq!(verify(&with_token, key(SECRET, Some("its token")), at(S3_TIME)), Err(Refusal::WrongToken));
    assert_eq!(verify(&with_token, key(SECRET, None), at(S3_TIME)), Err(Refusal::WrongToken));
    // The right token, but outside of what is signed.
    with_token.headers.last_mut().expect("pushed").1 = "its token".into();
    let verdict = verify(&with_token, key(SECRET, Some("its token")), at(S3_TIME));
    assert_eq!(verdict, Err(Refusal::Incomplete("SignedHeaders")));

    let ended = |id: &str| key(SECRET, None)(id).map(|key| Key { expires: at(S3_TIME), ..key });
    assert_eq!(verify(&s3_get(), ended, at(S3_TIME)), Err(Refusal::Expired));
    assert!(verify(&s3_get(), ended, at("2013-05-24T00:00:04Z")).is_ok());
}

#[test]
fn an_old_signature_is_worth_nothing() {
    assert_eq!(verify(&s3_get(), key(SECRET, None), at("2013-05-24T00:16:00Z")), Err(Refusal::Skewed));
    assert_eq!(verify(&s3_get(), key(SECRET, None), at("2013-05-23T23:44:00Z")), Err(Refusal::Skewed));
    assert!(verify(&presigned(), key(SECRET, None), at("2013-05-24T23:59:00Z")).is_ok());
    assert_eq!(verify(&presigned(), key(SECRET, None), at("2013-05-25T00:00:01Z")), Err(Refusal::UrlExpired));
}

#[test]
fn without_a_whole_signature_nobody_gets_in() {
    let verdict = |request: &Request| verify(request, key(SECRET, None), at(S3_TIME));
    let mut unsigned = s3_get();
    unsigned.headers.retain(|(name, _)| name != "authorization");
    assert_eq!(verdict(&unsigned), Err(Refusal::Unsigned));
    for broken in ["", "Basic YTpi", "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE", "AWS4-HMAC-SHA256"] {
        let mut request = s3_get();
        request.headers.last_mut().expect("the last is it").1 = broken.into();
        assert!(matches!(verdict(&request), Err(Refusal::Incomplete(_))), "{broken}");
    }
}
