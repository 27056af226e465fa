//! One token: from its text to what it claims, if that can be believed.

use std::time::Duration;

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
pub use jsonwebtoken::Algorithm;
use jsonwebtoken::{DecodingKey, Validation, decode, decode_header};
use serde::Deserialize as _;
use serde_json::{Map, Value};

use crate::{clock::Moment, keys::PublicKey};

/// The longest token.
const MAX_BYTES: usize = 16 * 1024;

/// The algorithms that are known, all of them with key pairs.
pub const ALGORITHMS: [(&str, Algorithm); 9] = [
    ("RS256", Algorithm::RS256),
    ("RS384", Algorithm::RS384),
    ("RS512", Algorithm::RS512),
    ("PS256", Algorithm::PS256),
    ("PS384", Algorithm::PS384),
    ("PS512", Algorithm::PS512),
    ("ES256", Algorithm::ES256),
    ("ES384", Algorithm::ES384),
    ("EdDSA", Algorithm::EdDSA),
];

/// What a token claims.
pub type Claims = Map<String, Value>;

/// What a token must say.
#[derive(Debug, Clone)]
pub struct Demands {
    /// Its issuer (`iss`), if there has to be a certain one.
    pub issuer: Option<String>,
    /// Whom it is for (`aud`): one of these.
    pub audiences: Vec<String>,
    /// Its algorithm, if not all that its key allows will do.
    pub algorithms: Option<Vec<Algorithm>>,
    /// How far the clocks may differ.
    pub leeway: Duration,
}

/// A token that can be believed.
#[derive(Debug, Clone)]
pub struct Verified {
    /// What it claims.
    pub claims: Claims,
    /// The type in its header (`typ`).
    pub kind: Option<String>,
    /// The id of the key that signed it.
    pub key_id: Option<String>,
}

/// Why a token is not believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs, reason = "the texts say it")]
pub enum TokenError {
    #[error("the token is malformed")]
    Malformed,
    #[error("the token has expired")]
    Expired,
    #[error("the token is not valid yet")]
    TooEarly,
    #[error("the token is for another audience")]
    Audience,
    #[error("the token is of another issuer")]
    Issuer,
    #[error("the token has no subject")]
    Subject,
    #[error("no key of the issuer has the token's key id")]
    UnknownKey,
    #[error("the token's algorithm is not one of its key, or is not accepted")]
    Algorithm,
    #[error("the token's signature is wrong")]
    Signature,
}

/// What a token claims, of which nothing is to be believed: it may say who has to judge the token.
pub fn unverified_claims(token: &str) -> Option<Claims> {
    let mut parts = token.split('.');
    let (_, claims, _, None) = (parts.next()?, parts.next()?, parts.next()?, parts.next()) else { return None };
    if token.len() > MAX_BYTES {
        return None;
    }
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(claims).ok()?).ok()
}

/// Verifies a token (RFC 7519, with the advice of RFC 8725). It has to have an end, an audience and a subject.
pub fn verify(token: &str, keys: &[PublicKey], demands: &Demands, now: Moment) -> Result<Verified, TokenError> {
    if token.len() > MAX_BYTES {
        return Err(TokenError::Malformed);
    }
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
    let accepted = demands.algorithms.as_ref().is_none_or(|accepted| accepted.contains(&header.alg));
    if !accepted || !key.algorithms.contains(&header.alg) {
        return Err(TokenError::Algorithm);
    }
    let claims = check(token, &key.key, header.alg, demands)?;
    // The library also takes a list that has the issuer in it.
    if demands.issuer.is_some() && !claims.get("iss").is_some_and(Value::is_string) {
        return Err(TokenError::Issuer);
    }
    if claims.get("sub").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Err(TokenError::Subject);
    }
    check_times(&claims, demands.leeway, now)?;
    Ok(Verified { claims, kind: header.typ, key_id: header.kid })
}

/// By our clock, not by the library's.
fn check_times(claims: &Claims, leeway: Duration, now: Moment) -> Result<(), TokenError> {
    let (seconds, leeway) = (now.wall.as_duration().as_secs_f64(), leeway.as_secs_f64());
    let time = |name: &str| match claims.get(name) {
        None | Some(Value::Null) => Ok(None),
        Some(value) => value.as_f64().filter(|time| time.is_finite()).map(Some).ok_or(TokenError::Malformed),
    };
    if seconds >= time("exp")?.ok_or(TokenError::Malformed)? + leeway {
        return Err(TokenError::Expired);
    }
    if time("nbf")?.is_some_and(|start| seconds + leeway < start) {
        return Err(TokenError::TooEarly);
    }
    Ok(())
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

fn check(token: &str, key: &DecodingKey, algorithm: Algorithm, demands: &Demands) -> Result<Claims, TokenError> {
    use jsonwebtoken::errors::ErrorKind;

    let mut validation = Validation::new(algorithm);
    validation.validate_exp = false;
    validation.validate_nbf = false;
    validation.set_required_spec_claims(&["exp", "aud"]);
    validation.set_audience(&demands.audiences);
    if let Some(issuer) = &demands.issuer {
        validation.set_required_spec_claims(&["exp", "aud", "iss"]);
        validation.set_issuer(&[issuer]);
    }
    decode(token, key, &validation).map(|data| data.claims).map_err(|error| match error.kind() {
        ErrorKind::InvalidAudience => TokenError::Audience,
        ErrorKind::InvalidIssuer => TokenError::Issuer,
        ErrorKind::MissingRequiredClaim(claim) => match claim.as_str() {
            "aud" => TokenError::Audience,
            "iss" => TokenError::Issuer,
            _ => TokenError::Malformed,
        },
        ErrorKind::InvalidSignature => TokenError::Signature,
        ErrorKind::InvalidAlgorithm => TokenError::Algorithm,
        _ => TokenError::Malformed,
    })
}

#[cfg(test)]
mod tests;
