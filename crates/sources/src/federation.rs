//! The sign-in of the AWS console: a token for credentials, made by AWS's federation endpoint, and the URL with it.
//! <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles_providers_enable-console-custom-url.html>
//!
//! A URL signs in whoever opens it within 15 minutes, so it is a secret.

use std::time::Duration;

use http::{HeaderValue, Method, StatusCode, header::CONTENT_TYPE};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use zeroize::Zeroizing;

use crate::{
    credentials::Secret,
    fetch::{Answer, Call, Client},
};

/// What a form leaves as it is. (RFC 3986, section 2.3)
const ESCAPED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// A sign-in token has some 2 KB.
const MAX_BYTES: usize = 64 * 1024;

/// What the endpoint takes as `SessionDuration`.
pub const DURATIONS: std::ops::RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);

/// The sign-in and the console of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hosts {
    partition: &'static str,
    signin: &'static str,
    /// The region whose sign-in has no prefix, if there is one.
    main_region: Option<&'static str>,
    /// The region that is asked if none is named, where there is no sign-in without one.
    usual_region: Option<&'static str>,
    /// Of the console.
    pub console: &'static str,
}

const HOSTS: [Hosts; 4] = [
    Hosts {
        partition: "aws",
        signin: "signin.aws.amazon.com",
        main_region: Some("us-east-1"),
        usual_region: None,
        console: "console.aws.amazon.com",
    },
    Hosts {
        partition: "aws-cn",
        signin: "signin.amazonaws.cn",
        main_region: Some("cn-north-1"),
        usual_region: None,
        console: "console.amazonaws.cn",
    },
    Hosts {
        partition: "aws-us-gov",
        signin: "signin.amazonaws-us-gov.com",
        main_region: Some("us-gov-west-1"),
        usual_region: None,
        console: "console.amazonaws-us-gov.com",
    },
    Hosts {
        partition: "aws-eusc",
        signin: "signin.amazonaws-eusc.eu",
        main_region: None,
        usual_region: Some("eusc-de-east-1"),
        console: "console.amazonaws-eusc.eu",
    },
];

impl Hosts {
    /// Those of a partition, if they are known.
    pub fn of(partition: &str) -> Option<Self> {
        HOSTS.into_iter().find(|hosts| hosts.partition == partition)
    }

    /// The federation endpoint of a region, or of the partition.
    pub fn federation(&self, region: Option<&str>) -> String {
        let region = region.or(self.usual_region).filter(|region| Some(*region) != self.main_region);
        let prefix = region.map(|region| format!("{region}.")).unwrap_or_default();
        format!("https://{prefix}{}/federation", self.signin)
    }
}

/// The credentials that sign in.
#[derive(Debug, Clone, Copy)]
pub struct Session<'a> {
    /// The public half of the key.
    pub access_key_id: &'a str,
    /// The secret half.
    pub secret_access_key: &'a Secret,
    /// The session token.
    pub session_token: &'a Secret,
}

/// Why there is no token. Never has a secret in it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("sign-in of AWS: {0}")]
pub struct FederationError(String);

/// What the endpoint gave.
#[derive(Debug, Clone)]
pub struct SignIn {
    token: Zeroizing<String>,
    /// Whether it took the duration that was asked for; without one the console session ends with the credentials.
    pub has_duration: bool,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Token {
    signin_token: String,
}

impl SignIn {
    /// Gets a token for `session` at the federation endpoint `url`, which `client` is for. AWS refuses a `duration` for what
    /// was made with a role's credentials (role chaining): then there is a token without one.
    pub async fn get(
        client: &Client,
        url: &str,
        session: Session<'_>,
        duration: Option<Duration>,
    ) -> Result<Self, FederationError> {
        let mut has_duration = duration.is_some();
        let mut answer = ask(client, url, session, duration).await?;
        if answer.status == StatusCode::BAD_REQUEST && has_duration {
            tracing::debug!("sign-in of AWS: 400 with SessionDuration, which is left out now");
            has_duration = false;
            answer = ask(client, url, session, None).await?;
        }
        if answer.status != StatusCode::OK {
            return Err(FederationError(format!("the answer is {}{}", answer.status.as_u16(), answer.detail())));
        }
        match serde_json::from_slice::<Token>(&answer.body) {
            Ok(Token { signin_token }) if !signin_token.is_empty() => {
                Ok(Self { token: Zeroizing::new(signin_token), has_duration })
            }
            // The error may quote the body.
            _ => Err(FederationError("the answer has no SigninToken".to_owned())),
        }
    }

    /// The URL that opens `destination`. `issuer`: where the console sends the browser when the session is over.
    pub fn url(&self, endpoint: &str, issuer: &str, destination: &str) -> Secret {
        let escape = |text: &str| utf8_percent_encode(text, ESCAPED).to_string();
        let parts = [
            endpoint,
            "?Action=login&Issuer=",
            &escape(issuer),
            "&Destination=",
            &escape(destination),
            "&SigninToken=",
            &Zeroizing::new(escape(&self.token)),
        ];
        Secret::new(joined(&parts).as_str())
    }
}

/// `getSigninToken`, by POST: a query would be in the logs of proxies.
async fn ask(
    client: &Client,
    url: &str,
    session: Session<'_>,
    duration: Option<Duration>,
) -> Result<Answer, FederationError> {
    // Keys and tokens have no characters that JSON would escape.
    let session = joined(&[
        "{\"sessionId\":\"",
        session.access_key_id,
        "\",\"sessionKey\":\"",
        session.secret_access_key.expose(),
        "\",\"sessionToken\":\"",
        session.session_token.expose(),
        "\"}",
    ]);
    let session = Zeroizing::new(utf8_percent_encode(&session, ESCAPED).to_string());
    let duration = duration.map(|time| format!("&SessionDuration={}", time.as_secs())).unwrap_or_default();
    let body = joined(&["Action=getSigninToken", &duration, "&Session=", &session]);
    let form = HeaderValue::from_static("application/x-www-form-urlencoded");
    let call = Call::new(Method::POST, url).header(CONTENT_TYPE, form).bytes(body.as_bytes());
    client.send(call, MAX_BYTES).await.map_err(|error| FederationError(error.to_string()))
}

/// In one allocation, so that no part is left behind in memory that is not wiped.
fn joined(parts: &[&str]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(parts.iter().map(|part| part.len()).sum()));
    for part in parts {
        text.push_str(part);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_partition_has_its_sign_in_and_each_region_its_own() {
        for (partition, region, expected) in [
            ("aws", None, "signin.aws.amazon.com"),
            ("aws", Some("us-east-1"), "signin.aws.amazon.com"),
            ("aws", Some("eu-central-1"), "eu-central-1.signin.aws.amazon.com"),
            ("aws-cn", Some("cn-north-1"), "signin.amazonaws.cn"),
            ("aws-cn", Some("cn-northwest-1"), "cn-northwest-1.signin.amazonaws.cn"),
            ("aws-us-gov", Some("us-gov-west-1"), "signin.amazonaws-us-gov.com"),
            ("aws-us-gov", Some("us-gov-east-1"), "us-gov-east-1.signin.amazonaws-us-gov.com"),
            ("aws-eusc", None, "eusc-de-east-1.signin.amazonaws-eusc.eu"),
        ] {
            let url = Hosts::of(partition).expect(partition).federation(region);
            assert_eq!(url, format!("https://{expected}/federation"));
        }
        assert_eq!(Hosts::of("aws-iso"), None);
    }
}
