//! The credentials in an answer of STS, the same for each of its calls.

use std::time::Duration;

use aws_sdk_sts::types::Credentials as Session;
use jiff::Timestamp;

use crate::{
    credentials::{Credentials, RoleArn, Secret, is_key_text},
    refresh::SourceError,
};

/// Takes the set out of the answer to `call`, if it is one. It lives as long as was asked for, if that was said.
pub(crate) fn session(
    call: &str,
    role_arn: &RoleArn,
    asked: Option<Duration>,
    set: Option<Session>,
) -> Result<Credentials, SourceError> {
    let wrong = |what: &str| SourceError::transient(format!("{call}: {what}"));
    let set = set.ok_or_else(|| wrong("the answer has no credentials"))?;
    let texts = [&set.access_key_id, &set.secret_access_key, &set.session_token];
    if !texts.into_iter().all(|text| is_key_text(text)) {
        return Err(wrong("the credentials are empty or have illegal characters"));
    }
    let expiration =
        Timestamp::from_second(set.expiration.secs()).map_err(|_| wrong("the expiration is not a valid time"))?;
    Ok(Credentials {
        access_key_id: set.access_key_id,
        secret_access_key: Secret::new(set.secret_access_key),
        session_token: Secret::new(set.session_token),
        expiration,
        life: asked,
        last_updated: None,
        account_id: Some(role_arn.account()),
        role_arn: Some(role_arn.clone()),
    })
}
