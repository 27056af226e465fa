//! The token of a service account: from its text to an account and its pod, if it can be believed.

use crate::{
    clock::Moment,
    jwt::{Demands, PublicKey, TokenError, verify as verify_token},
    kubernetes::{Account, Pod, Uid},
};

/// Whose a token is.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Bearer {
    /// The account.
    pub(super) account: Account,
    /// Its uid, if the token says it.
    pub(super) uid: Option<Uid>,
    /// The pod that the token is bound to, if it is.
    pub(super) pod: Option<Pod>,
    /// When the token was made, and when it ends, in seconds since the epoch.
    pub(super) issued: Option<f64>,
    pub(super) ends: f64,
}

/// Verifies a token and says whose it is.
pub(super) fn verify(token: &str, keys: &[PublicKey], demands: &Demands, now: Moment) -> Result<Bearer, TokenError> {
    let claims = verify_token(token, keys, demands, now)?.claims;
    let subject = claims.get("sub").and_then(|subject| subject.as_str());
    let account = subject.and_then(Account::of_subject).ok_or(TokenError::Subject)?;
    let pod = Pod::of_claims(&claims, &account);
    let uid = Uid::of_claims(&claims, &account);
    let time = |name: &str| claims.get(name).and_then(serde_json::Value::as_f64);
    let (issued, ends) = (time("iat"), time("exp").ok_or(TokenError::Malformed)?);
    Ok(Bearer { account, uid, pod, issued, ends })
}

/// Why a token is not believed, in the words of the agent (`internal/validation` in aws/eks-pod-identity-agent).
pub(super) fn words(error: TokenError) -> &'static str {
    match error {
        TokenError::Malformed => "Service account token cannot be parsed: token is malformed",
        TokenError::Expired => {
            "Service account token failed basic claim validations: token has invalid claims: token is expired"
        }
        TokenError::TooEarly => {
            "Service account token failed basic claim validations: token has invalid claims: token is not valid yet"
        }
        TokenError::Audience => "Service account token failed claim validations: invalid audience",
        TokenError::Issuer => "Service account token failed claim validations: invalid issuer",
        TokenError::Subject => "Service account token failed claim validations: invalid subject",
        TokenError::UnknownKey => "JWT signature validation failed: no matching key found",
        TokenError::Algorithm => "JWT signature validation failed: the algorithm is not that of the key",
        TokenError::Signature => "JWT signature validation failed: signature is invalid",
    }
}
