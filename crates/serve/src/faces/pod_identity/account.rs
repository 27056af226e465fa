//! The token of a service account: from its text to a namespace and a name, if it can be believed.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde::Deserialize as _;

use super::{keys::PublicKey, options::Options};
use crate::clock::Moment;

/// A service account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Account {
    pub(super) namespace: String,
    pub(super) name: String,
}

/// Why a token is not believed, in the words of the agent (`internal/validation` in aws/eks-pod-identity-agent).
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum TokenError {
    #[error("Service account token cannot be parsed: token is malformed")]
    Malformed,
    #[error("Service account token failed basic claim validations: token has invalid claims: token is expired")]
    Expired,
    #[error("Service account token failed basic claim validations: token has invalid claims: token is not valid yet")]
    TooEarly,
    #[error("Service account token failed claim validations: invalid audience")]
    Audience,
    #[error("Service account token failed claim validations: invalid issuer")]
    Issuer,
    #[error("Service account token failed claim validations: invalid subject")]
    Subject,
    #[error("JWT signature validation failed: no matching key found")]
    UnknownKey,
    #[error("JWT signature validation failed: the algorithm is not that of the key")]
    Algorithm,
    #[error("JWT signature validation failed: signature is invalid")]
    Signature,
}

#[derive(serde::Deserialize)]
struct Claims {
    iss: Option<serde_json::Value>,
    sub: Option<String>,
    exp: Option<f64>,
    nbf: Option<f64>,
}

/// Verifies a token and says whose it is.
pub(super) fn verify(token: &str, keys: &[PublicKey], demands: &Options, now: Moment) -> Result<Account, TokenError> {
    let header = decode_header(token).map_err(|_| TokenError::Malformed)?;
    if has_critical_extensions(token) {
        return Err(TokenError::Malformed);
    }
    let key = match &header.kid {
        Some(id) => keys.iter().find(|key| key.id.as_ref() == Some(id)),
        None => keys.first().filter(|_| keys.len() == 1),
    };
    let key = key.ok_or(TokenError::UnknownKey)?;
    // The key says which algorithms are possible, never the token.
    if !key.algorithms.contains(&header.alg) {
        return Err(TokenError::Algorithm);
    }
    let claims = check(token, &key.key, header.alg, demands)?;
    // The library also takes a list that has the issuer in it.
    if !claims.iss.is_some_and(|issuer| issuer.is_string()) {
        return Err(TokenError::Issuer);
    }
    // Judged by our clock, not by the library's.
    let (seconds, leeway) = (now.wall.as_duration().as_secs_f64(), demands.leeway.as_secs_f64());
    let exp = claims.exp.filter(|exp| exp.is_finite()).ok_or(TokenError::Malformed)?;
    if seconds >= exp + leeway {
        return Err(TokenError::Expired);
    }
    if claims.nbf.is_some_and(|nbf| !nbf.is_finite() || seconds + leeway < nbf) {
        return Err(TokenError::TooEarly);
    }
    account(claims.sub.as_deref().unwrap_or_default()).ok_or(TokenError::Subject)
}

/// Whether the header has a `crit`: extensions that have to be understood, and none are (RFC 7515, section 4.1.11).
fn has_critical_extensions(token: &str) -> bool {
    #[derive(serde::Deserialize)]
    struct Header {
        // Also `null` is there.
        #[serde(default, deserialize_with = "is_there")]
        crit: bool,
    }
    fn is_there<'de, D: serde::Deserializer<'de>>(value: D) -> Result<bool, D::Error> {
        serde::de::IgnoredAny::deserialize(value).map(|_| true)
    }
    let header = token.split('.').next().and_then(|header| URL_SAFE_NO_PAD.decode(header).ok());
    let header = header.and_then(|header| serde_json::from_slice::<Header>(&header).ok());
    header.is_none_or(|header| header.crit)
}

fn check(
    token: &str,
    key: &DecodingKey,
    algorithm: jsonwebtoken::Algorithm,
    demands: &Options,
) -> Result<Claims, TokenError> {
    use jsonwebtoken::errors::ErrorKind;

    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_required_spec_claims(&["exp", "aud", "iss", "sub"]);
    validation.set_audience(&[&demands.audience]);
    validation.set_issuer(&[&demands.issuer]);
    decode(token, key, &validation).map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "aud" => TokenError::Audience,
            "iss" => TokenError::Issuer,
            "sub" => TokenError::Subject,
            _ => TokenError::Malformed,
        },
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        _ => TokenError::Malformed,
    })
}

/// `system:serviceaccount:NAMESPACE:NAME`.
fn account(subject: &str) -> Option<Account> {
    let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    let legal = |text: &str| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.')
    };
    (legal(namespace) && legal(name)).then(|| Account { namespace: namespace.to_owned(), name: name.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_a_service_account_or_nothing() {
        let found = account("system:serviceaccount:prod:web-1").expect("one");
        assert_eq!((&*found.namespace, &*found.name), ("prod", "web-1"));
        for subject in [
            "",
            "system:serviceaccount:prod",
            "system:serviceaccount::x",
            "system:serviceaccount:a:b:c",
            "system:node:x",
            "system:serviceaccount:a:*",
            "system:serviceaccount:A:b",
        ] {
            assert_eq!(account(subject), None, "{subject}");
        }
    }
}
