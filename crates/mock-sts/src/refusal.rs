//! How S3 and STS word a refusal.
//! <https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>,
//! <https://docs.aws.amazon.com/STS/latest/APIReference/CommonErrors.html>

use super::sigv4::Refusal;

/// The status, the code and the message.
type Words = (u16, &'static str, &'static str);

/// The code that clients see, such as `ExpiredToken`.
pub fn code(refusal: Refusal, service: &str) -> &'static str {
    words(refusal, service).1
}

/// The status and the body.
pub fn render(refusal: Refusal, service: &str) -> (u16, String) {
    let (status, code, message) = words(refusal, service);
    let detail = match refusal {
        Refusal::Incomplete(what) => format!("{message}: {what}"),
        _ => message.to_owned(),
    };
    let body = if service == "s3" {
        format!(
            "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code><Message>{detail}</Message>\
             <RequestId>4442587FB7D0A2F9</RequestId><HostId>gate</HostId></Error>"
        )
    } else {
        format!(
            "<ErrorResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">\n  <Error>\n    <Type>Sender</Type>\n    \
             <Code>{code}</Code>\n    <Message>{detail}</Message>\n  </Error>\n  \
             <RequestId>c6104cbe-af31-11e0-8154-cbc7ccf896c7</RequestId>\n</ErrorResponse>\n"
        )
    };
    (status, body)
}

fn words(refusal: Refusal, service: &str) -> Words {
    if service == "s3" { s3(refusal) } else { sts(refusal) }
}

fn s3(refusal: Refusal) -> Words {
    match refusal {
        Refusal::Unsigned => (403, "AccessDenied", "Access Denied"),
        Refusal::Incomplete(_) => (400, "AuthorizationHeaderMalformed", "The authorization header is malformed"),
        Refusal::UnknownKey => {
            (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")
        }
        Refusal::WrongToken => (400, "InvalidToken", "The provided token is malformed or otherwise invalid."),
        Refusal::Expired => (400, "ExpiredToken", "The provided token has expired."),
        Refusal::WrongSignature => (
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
        Refusal::Skewed => {
            (403, "RequestTimeTooSkewed", "The difference between the request time and the current time is too large.")
        }
        Refusal::UrlExpired => (403, "AccessDenied", "Request has expired"),
        Refusal::WrongDigest => (
            400,
            "XAmzContentSHA256Mismatch",
            "The provided 'x-amz-content-sha256' header does not match what was computed.",
        ),
    }
}

fn sts(refusal: Refusal) -> Words {
    match refusal {
        Refusal::Unsigned => (403, "MissingAuthenticationToken", "Request is missing Authentication Token"),
        Refusal::Incomplete(_) => (400, "IncompleteSignature", "The request signature does not conform"),
        Refusal::UnknownKey | Refusal::WrongToken => {
            (403, "InvalidClientTokenId", "The security token included in the request is invalid.")
        }
        Refusal::Expired => (403, "ExpiredToken", "The security token included in the request is expired"),
        Refusal::WrongSignature | Refusal::WrongDigest => (
            403,
            "SignatureDoesNotMatch",
            "The request signature we calculated does not match the signature you provided.",
        ),
        Refusal::Skewed | Refusal::UrlExpired => (403, "SignatureDoesNotMatch", "Signature expired"),
    }
}
