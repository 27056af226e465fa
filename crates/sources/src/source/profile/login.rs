//! `aws login`: the set that the AWS CLI keeps in its cache, and new sets for its refresh token.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/access-login.html>

mod proof;
mod token;

use std::{path::Path, time::Duration};

use aws_lc_rs::digest::{SHA256, digest};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use tokio::sync::Mutex;

use super::shared::{Shared, file_name};
use crate::{
    clock::{SharedClock, until},
    credentials::{Credentials, Partition},
    fetch::{Call, Client, Options},
    text::printable,
};
use token::{Renewal, Token};

/// A set with less left is renewed before it is given out. Sets live 15 minutes and are renewed after a third of that;
/// botocore takes less than 10 minutes for urgent.
const WANTED_LIFE: Duration = Duration::from_mins(11);

/// An answer has a session token and a refresh token of 12 KiB at most.
const MAX_BYTES: usize = 64 * 1024;

const PROOF_HEADER: HeaderName = HeaderName::from_static("dpop");

/// What the configuration files state about a login.
pub(super) struct Session<'a> {
    /// `login_session` of the profile.
    pub(super) name: &'a str,
    /// The profile that has it.
    pub(super) profile: &'a str,
    /// The region, unless the login names one.
    pub(super) region: &'a str,
    pub(super) endpoint: Option<&'a str>,
    pub(super) fips: bool,
}

/// The logins of one profile, and what is known of the last one.
pub(super) struct Login {
    clock: SharedClock,
    known: Mutex<Option<Known>>,
}

struct Known {
    /// The hash of the file's content that this is about.
    content: Vec<u8>,
    /// The newest, also if the file could not be written.
    token: Token,
    /// Why it cannot be renewed any more. No attempt is made until the file is another.
    over: Option<String>,
    /// The key of the set that was given out last.
    given: Option<String>,
}

/// Why a login was not renewed.
enum Failure {
    /// It is over.
    Over(String),
    /// Any other failure.
    Other(String),
}

impl Login {
    pub(super) fn new(clock: SharedClock) -> Self {
        Self { clock, known: Mutex::new(None) }
    }

    /// A set with the life that is wanted, or a reason for a person.
    pub(super) async fn get(&self, home: &Path, at: &Session<'_>, http: &Options) -> Result<Credentials, String> {
        let Session { name, profile, .. } = at;
        let (directory, file) = (home.join(".aws/login/cache"), file_name(&SHA256, name));
        let path = directory.join(&file);
        let path = path.display();
        let file = Shared::read(&directory, &file).map_err(|error| {
            format!("the login of {name} in {path} cannot be read: {error}; run `aws login --profile {profile}`")
        })?;
        let mut known = self.known.lock().await;
        let content = hash(&file.bytes);
        let known = match known.take() {
            Some(same) if same.content == content => known.insert(same),
            _ => {
                let token = Token::parse(&file.bytes).map_err(|problem| format!("{path}: {problem}"))?;
                known.insert(Known { content, token, over: None, given: None })
            }
        };
        if let Err(why) = self.renew_in_time(known, &file, &path.to_string(), at, http).await {
            // A set that was not handed out yet is better than none.
            let set = known.token.set()?;
            let is_new = known.given.as_ref() != Some(&set.access_key_id);
            if !is_new || until(set.expiration, self.clock.now().wall).is_zero() {
                return Err(why);
            }
        }
        let set = known.token.set()?;
        known.given = Some(set.access_key_id.clone());
        Ok(set)
    }

    /// Renews the login if its set does not live long enough, and writes it where the CLI looks for it.
    async fn renew_in_time(
        &self,
        known: &mut Known,
        file: &Shared,
        path: &str,
        at: &Session<'_>,
        http: &Options,
    ) -> Result<(), String> {
        let now = self.clock.now().wall;
        if until(known.token.end()?, now) >= WANTED_LIFE {
            return Ok(());
        }
        if let Some(why) = &known.over {
            return Err(why.clone());
        }
        match ask(&known.token, at, http, now).await {
            Ok(renewal) => known.token.renew(renewal, now)?,
            Err(Failure::Other(why)) => return Err(why),
            Err(Failure::Over(why)) => return Err(known.over.insert(why).clone()),
        }
        let bytes = known.token.bytes();
        match file.replace(&bytes) {
            Ok(()) => known.content = hash(&bytes),
            Err(error) => tracing::warn!(
                "the login in {path} was renewed but cannot be written there: {error}; it is kept in memory, and the AWS CLI \
                 may need a new `aws login`"
            ),
        }
        Ok(())
    }
}

/// Asks the sign-in service for a new set.
async fn ask(token: &Token, at: &Session<'_>, http: &Options, now: Timestamp) -> Result<Renewal, Failure> {
    let other = |problem: String| Failure::Other(problem);
    let url = url(at, token.region().unwrap_or(at.region));
    let parsed = url.parse().map_err(|error| other(format!("{url}: {error}")))?;
    let proof = proof::make(token.key().map_err(other)?, &url, now).map_err(other)?;
    let proof = HeaderValue::from_str(&proof).map_err(|error| other(error.to_string()))?;
    let client = Client::new(&parsed, http).map_err(|error| other(error.to_string()))?;
    let call = Call::new(Method::POST, &url).with_whole_errors().header(PROOF_HEADER, proof);
    let call = call.json(token.question().map_err(other)?);
    let answer = client.send(call, MAX_BYTES).await.map_err(|error| other(error.0))?;
    let wrong = |problem: &str| other(format!("POST {url}: {problem}"));
    if answer.status == StatusCode::OK {
        return serde_json::from_slice(&answer.body).map_err(|_| wrong("the answer has no credentials"));
    }
    let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
    let profile = at.profile;
    match refusal.error.as_deref().filter(|_| answer.status.is_client_error() && !answer.is_the_proxys_own()) {
        Some("TOKEN_EXPIRED" | "AUTHCODE_EXPIRED") => {
            Err(Failure::Over(format!("the login has ended; run `aws login --profile {profile}` again")))
        }
        Some("USER_CREDENTIALS_CHANGED") => Err(Failure::Over(format!(
            "the password was changed after the login; run `aws login --profile {profile}` again"
        ))),
        Some("INSUFFICIENT_PERMISSIONS") => Err(Failure::Over(
            "the user may not renew the login: the policy SignInLocalDevelopmentAccess (signin:CreateOAuth2Token) is missing"
                .to_owned(),
        )),
        Some(error) => {
            let message = printable(refusal.message.as_deref().unwrap_or_default(), 200);
            Err(wrong(&format!("the answer is {} ({}: {message})", answer.status, printable(error, 40))))
        }
        None => Err(wrong(&format!("the answer is {}{}", answer.status, answer.detail()))),
    }
}

/// An error of the sign-in service.
#[derive(Deserialize, Default)]
struct Refusal {
    error: Option<String>,
    message: Option<String>,
}

/// Where the sign-in service of a region is, as botocore's `signin/2023-01-01/endpoint-rule-set-1.json` says. It has no
/// endpoint for IPv4 and IPv6 there.
fn url(at: &Session<'_>, region: &str) -> String {
    let partition = Partition::of_region(region);
    let domain = match partition.name {
        "aws" => "aws.amazon.com",
        "aws-cn" => "amazonaws.cn",
        "aws-us-gov" => "amazonaws-us-gov.com",
        "aws-eusc" => "amazonaws-eusc.eu",
        "aws-iso" => "c2shome.ic.gov",
        "aws-iso-b" => "sc2shome.sgov.gov",
        "aws-iso-e" => "csphome.adc-e.uk",
        "aws-iso-f" => "csphome.hci.ic.gov",
        _ => partition.domain,
    };
    let base = match at.endpoint {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        None if !at.fips => format!("https://{region}.signin.{domain}"),
        None if region == "us-gov-west-1" => format!("https://signin-fips.{domain}"),
        None if partition.name == "aws-us-gov" => format!("https://{region}.signin-fips.{domain}"),
        None => format!("https://signin-fips.{region}.{}", partition.domain),
    };
    format!("{base}/v1/token")
}

fn hash(bytes: &[u8]) -> Vec<u8> {
    digest(&SHA256, bytes).as_ref().to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_named_as_the_cli_names_it() {
        let name = "36db1d138ff460920374e4c3d8e01f53f9f73537e89c88d639f68393df0e2726.json";
        assert_eq!(file_name(&SHA256, "arn:aws:iam::0123456789012:user/Admin"), name);
    }

    #[test]
    fn the_sign_in_service_of_a_region_is_where_botocore_looks_for_it() {
        let at = |endpoint, fips| Session { name: "s", profile: "p", region: "", endpoint, fips };
        for (region, endpoint, fips, host) in [
            ("eu-central-1", None, false, "https://eu-central-1.signin.aws.amazon.com"),
            ("cn-north-1", None, false, "https://cn-north-1.signin.amazonaws.cn"),
            ("us-gov-east-1", None, false, "https://us-gov-east-1.signin.amazonaws-us-gov.com"),
            ("us-gov-east-1", None, true, "https://us-gov-east-1.signin-fips.amazonaws-us-gov.com"),
            ("us-gov-west-1", None, true, "https://signin-fips.amazonaws-us-gov.com"),
            ("us-east-1", None, true, "https://signin-fips.us-east-1.amazonaws.com"),
            ("eusc-de-east-1", None, false, "https://eusc-de-east-1.signin.amazonaws-eusc.eu"),
            ("us-east-1", Some("http://127.0.0.1:1/"), true, "http://127.0.0.1:1"),
        ] {
            assert_eq!(url(&at(endpoint, fips), region), format!("{host}/v1/token"), "{region}");
        }
    }
}
