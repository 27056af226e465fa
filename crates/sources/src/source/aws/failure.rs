//! Classifies errors of AWS: transient, in need of an administrator, or caused by a wrong clock.

use std::path::Path;

use aws_smithy_runtime_api::{client::orchestrator::HttpResponse, client::result::SdkError};
use aws_smithy_types::error::metadata::ProvideErrorMetadata;
use jiff::{SignedDuration, Timestamp, fmt::rfc2822};

use crate::{
    refresh::{ErrorKind, SourceError},
    source::ims::NO_SUCH_ROLE,
    text::{flatten, printable},
};

/// A difference of clocks that spoils signatures: AWS takes signatures of a few minutes ago and ahead only.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference_sigv-troubleshooting.html>
const SKEW: SignedDuration = SignedDuration::from_mins(4);

/// AWS says that it has no time now. Some of these come with the status 400.
/// (`THROTTLING_ERRORS` in `aws-runtime/src/retries/classifiers.rs` of the SDK, and the like of it in botocore)
const THROTTLED: &[&str] = &[
    "Throttling",
    "ThrottlingException",
    "ThrottledException",
    "RequestThrottledException",
    "RequestThrottled",
    "TooManyRequestsException",
    "ProvisionedThroughputExceededException",
    "TransactionInProgressException",
    "RequestLimitExceeded",
    "BandwidthLimitExceeded",
    "LimitExceededException",
    "SlowDown",
    "PriorRequestNotComplete",
    "EC2ThrottledException",
];

/// Nothing will change until a person has changed something.
const FINAL: &[&str] = &[
    "AccessDenied",
    "AccessDeniedException",
    "MalformedPolicyDocument",
    "RegionDisabledException",
    "ValidationError",
    "InvalidParameterValue",
    "InvalidParameterCombination",
    "MissingParameter",
    "OptInRequired",
];

/// Whether this error says that AWS gets too many calls.
pub(crate) fn is_throttling(code: &str) -> bool {
    THROTTLED.contains(&code)
}

/// How a call authenticates.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Proof<'a> {
    /// A signature, made with credentials.
    Signature,
    /// The token in that file.
    Token(&'a Path),
}

/// What went wrong with a call to AWS.
pub(crate) fn failure<E>(call: &str, proof: Proof, error: &SdkError<E, HttpResponse>, now: Timestamp) -> SourceError
where
    E: ProvideErrorMetadata + std::error::Error + 'static,
{
    let Some(service) = error.as_service_error() else {
        return SourceError::transient(format!("{call}: {}", flatten(error)));
    };
    let response = error.raw_response();
    let date = response.and_then(|response| response.headers().get("date"));
    let skew = date.and_then(|date| skew(date, now));
    let status = response.map_or(0, |response| response.status().as_u16());
    classify(call, proof, service.code(), service.message(), status, skew)
}

/// How far `now` is ahead of the `Date` of an answer, if that is worth mentioning.
fn skew(date: &str, now: Timestamp) -> Option<SignedDuration> {
    let date = rfc2822::DateTimeParser::new().parse_timestamp(date).ok()?;
    Some(now.duration_since(date)).filter(|skew| skew.abs() >= SKEW)
}

fn classify(
    call: &str,
    proof: Proof,
    code: Option<&str>,
    said: Option<&str>,
    status: u16,
    skew: Option<SignedDuration>,
) -> SourceError {
    let Some(code) = code.map(|code| printable(code, 64)).filter(|code| !code.is_empty()) else {
        // Not AWS's own words: a proxy, a gateway.
        return SourceError::transient(format!("{call}: the answer is {status} and no error of AWS"));
    };
    let said = printable(said.unwrap_or_default(), 300);
    let clock = skew.map(|skew| {
        let (minutes, way) = (skew.as_mins().abs(), if skew.is_positive() { "ahead of" } else { "behind" });
        format!("; this host's clock is {minutes} minutes {way} that of AWS, set it right")
    });
    let message = format!("{call}: {code} ({said}){}", clock.as_deref().unwrap_or_default());
    let refused = |hint: &str| {
        // A set that is there stays: it is good until it expires, whatever becomes of the next one.
        let reason = format!("{code}: {said}");
        let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: reason, withdraws: false };
        SourceError::new(kind, format!("{message}{hint}"))
    };
    match &*code {
        _ if status >= 500 || is_throttling(&code) => SourceError::transient(message),
        // AWS says that both may go by: the issuer was not reached, or has new keys that are not everywhere yet.
        "IDPCommunicationError"
        | "InvalidIdentityToken"
        | "RequestTimeout"
        | "RequestTimeoutException"
        | "InternalFailure"
        | "ServiceUnavailable" => SourceError::transient(message),
        // With a wrong clock good credentials get these errors, too; newer ones would not help.
        "ExpiredToken"
        | "ExpiredTokenException"
        | "RequestExpired"
        | "SignatureDoesNotMatch"
        | "RequestTimeTooSkewed"
        | "InvalidSignatureException"
            if clock.is_some() =>
        {
            SourceError::transient(message)
        }
        "ExpiredToken" | "ExpiredTokenException" => match proof {
            Proof::Token(file) => {
                let file = file.display();
                SourceError::transient(format!("{message}; the program that writes {file} must write a new token"))
            }
            Proof::Signature => SourceError::new(ErrorKind::ParentExpired, message),
        },
        "IDPRejectedClaim" => refused("; the issuer rejects this token, or it has been used before"),
        "InvalidClientTokenId" | "UnrecognizedClientException" => SourceError::new(ErrorKind::ParentExpired, message),
        "SignatureDoesNotMatch" | "InvalidSignatureException" => {
            refused("; the secret key that signs the call does not belong to its key id")
        }
        "AccessDenied" | "AccessDeniedException" if matches!(proof, Proof::Token(_)) => {
            refused("; the role's trust policy does not accept this token (issuer, audience, subject)")
        }
        "AccessDenied" | "AccessDeniedException" if said.contains("sts:TagSession") => refused(
            "; the session has tags, so the role's trust policy must allow the signer sts:TagSession as well as \
             sts:AssumeRole",
        ),
        "AccessDenied" | "AccessDeniedException" => refused(
            "; the role's trust policy must accept the signer (external id, tags and source identity \
             included), and the signer needs sts:AssumeRole",
        ),
        "ValidationError" if said.contains("role chaining") => refused("; set `duration: 1h`, or none"),
        "ValidationError" if said.contains("MaxSessionDuration") => {
            refused("; request less (`duration`), or raise the role's maximum session duration")
        }
        "PackedPolicyTooLarge" => refused(
            "; the session policies and tags are more than one session can have: shorten `policy`, or use fewer \
             `policy_arns` and `tags`",
        ),
        "RegionDisabledException" => refused("; activate STS in this region, or use another `region`"),
        code if FINAL.contains(&code) => refused(""),
        _ if status == 403 => refused(""),
        // Unknown codes.
        _ => SourceError::transient(message),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kind(code: &str, status: u16) -> &'static str {
        word(&classify("AssumeRole", Proof::Signature, Some(code), Some("said"), status, None).kind)
    }

    fn word(kind: &ErrorKind) -> &'static str {
        match kind {
            ErrorKind::Transient => "transient",
            ErrorKind::Refused { withdraws: true, .. } => "withdraws",
            ErrorKind::Refused { .. } => "refused",
            ErrorKind::ParentExpired => "parent",
        }
    }

    #[test]
    fn each_error_has_its_consequence() {
        for (code, status, expected) in [
            ("AccessDenied", 403, "refused"),
            ("ValidationError", 400, "refused"),
            ("MalformedPolicyDocument", 400, "refused"),
            ("PackedPolicyTooLarge", 400, "refused"),
            ("RegionDisabledException", 403, "refused"),
            ("SignatureDoesNotMatch", 403, "refused"),
            ("Unheard", 403, "refused"),
            ("Throttling", 400, "transient"),
            ("ThrottlingException", 429, "transient"),
            ("RequestLimitExceeded", 503, "transient"),
            ("IDPCommunicationError", 400, "transient"),
            ("InternalFailure", 500, "transient"),
            ("AccessDenied", 500, "transient"),
            ("Unheard", 400, "transient"),
            ("ExpiredToken", 403, "parent"),
            ("ExpiredTokenException", 400, "parent"),
            ("InvalidClientTokenId", 403, "parent"),
        ] {
            assert_eq!(kind(code, status), expected, "{code} {status}");
        }
        assert_eq!(
            classify("AssumeRole", Proof::Signature, None, None, 403, None).kind,
            ErrorKind::Transient,
            "a proxy's own words"
        );
    }

    #[test]
    fn a_wrong_clock_is_named_and_blames_no_credentials() {
        let now = "2026-11-23T10:12:00Z".parse().expect("a timestamp");
        let ahead = skew("Mon, 23 Nov 2026 10:00:00 GMT", now);
        assert_eq!(ahead, Some(SignedDuration::from_mins(12)));
        assert_eq!(skew("Mon, 23 Nov 2026 10:11:00 GMT", now), None);
        assert_eq!(skew("yesterday", now), None);
        for code in ["SignatureDoesNotMatch", "ExpiredToken", "RequestExpired"] {
            let error = classify("AssumeRole", Proof::Signature, Some(code), Some("said"), 403, ahead);
            assert_eq!(error.kind, ErrorKind::Transient, "{code}");
            assert!(error.message.contains("this host's clock is 12 minutes ahead of that of AWS"), "{error}");
        }
        let behind = skew("Mon, 23 Nov 2026 10:22:00 GMT", now);
        let error = classify("AssumeRole", Proof::Signature, Some("AccessDenied"), Some("said"), 403, behind);
        assert!(error.message.contains("10 minutes behind") && word(&error.kind) == "refused", "{error}");
    }

    #[test]
    fn a_token_is_not_signed_for_and_a_wrong_clock_is_named_all_the_same() {
        let proof = Proof::Token(Path::new("/run/token"));
        let said = |code: &str, skew| classify("call", proof, Some(code), Some("said"), 403, skew);
        for (code, expected, hint) in [
            ("ExpiredTokenException", "transient", "the program that writes /run/token must write a new token"),
            ("InvalidIdentityToken", "transient", "said"),
            ("IDPRejectedClaim", "refused", "the issuer rejects this token"),
            ("AccessDenied", "refused", "does not accept this token"),
        ] {
            let error = said(code, None);
            assert!(word(&error.kind) == expected && error.message.contains(hint), "{code}: {error:?}");
        }
        let error = said("ExpiredTokenException", Some(SignedDuration::from_mins(-12)));
        assert!(error.message.contains("12 minutes behind") && !error.message.contains("new token"), "{error}");
    }

    #[test]
    fn the_limits_of_sessions_are_explained() {
        for (said, hint) in [
            ("The requested DurationSeconds exceeds the 1 hour session limit for roles assumed by role chaining", "1h"),
            ("The requested DurationSeconds exceeds the MaxSessionDuration set for this role.", "request less"),
        ] {
            let error = classify("AssumeRole", Proof::Signature, Some("ValidationError"), Some(said), 400, None);
            assert!(error.message.contains(hint), "{error}");
        }
        for (code, said, hint) in [
            (
                "AccessDenied",
                "User: arn:aws:sts::1:assumed-role/a/b is not authorized to perform: sts:TagSession on resource: x",
                "must allow the signer sts:TagSession",
            ),
            ("PackedPolicyTooLarge", "Packed size of session tags and policy consumes 104%", "shorten `policy`"),
        ] {
            let error = classify("AssumeRole", Proof::Signature, Some(code), Some(said), 400, None);
            assert!(error.message.contains(hint) && word(&error.kind) == "refused", "{error}");
        }
    }
}
