//! AWS's sign-in service of a region, which gives the sets of `aws login`.
//! <https://docs.aws.amazon.com/sdkref/latest/guide/access-login.html>

use aws_lc_rs::signature::EcdsaKeyPair;
use http::{HeaderName, HeaderValue, Method, StatusCode};
use jiff::Timestamp;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::{proof, token::Renewal};
use crate::{
    credentials::Partition,
    fetch::{Call, Client, Options, parse_url},
    text::printable,
};

/// An answer has a session token and a refresh token of 12 KiB at most.
pub(crate) const MAX_BYTES: usize = 64 * 1024;

const PROOF_HEADER: HeaderName = HeaderName::from_static("dpop");

/// What it refuses for good, in its own words.
const FINAL: [&str; 4] = ["AUTHCODE_EXPIRED", "INSUFFICIENT_PERMISSIONS", "TOKEN_EXPIRED", "USER_CREDENTIALS_CHANGED"];

/// Why it gave nothing.
pub(crate) enum ServiceError {
    /// It says no, and will not say anything else.
    Refused {
        /// One of [`FINAL`].
        code: &'static str,
        /// The same for people.
        message: String,
    },
    /// It does not accept the request, for a reason that is not known to last.
    Wrong(String),
    /// Any other failure.
    Other(String),
}

/// An error of it.
#[derive(Deserialize, Default)]
struct Refusal {
    error: Option<String>,
    message: Option<String>,
}

/// Asks the service at `base` for a set, with a proof made with `key`.
pub(crate) async fn ask(
    base: &str,
    question: Zeroizing<Vec<u8>>,
    key: &EcdsaKeyPair,
    http: &Options,
    now: Timestamp,
) -> Result<Renewal, ServiceError> {
    let other = |problem: String| ServiceError::Other(problem);
    let url = format!("{base}/v1/token");
    let parsed = parse_url("sign-in service", &url).map_err(|error| other(error.to_string()))?;
    let proof = proof::make(key, &url, now).map_err(other)?;
    let proof = HeaderValue::from_str(&proof).map_err(|error| other(error.to_string()))?;
    let client = Client::new(&parsed, http).map_err(|error| other(error.to_string()))?;
    let call = Call::new(Method::POST, &url).with_whole_errors().header(PROOF_HEADER, proof).json(question);
    let answer = client.send(call, MAX_BYTES).await.map_err(|error| other(error.0))?;
    let wrong = |problem: &str| other(format!("POST {url}: {problem}"));
    if answer.status == StatusCode::OK {
        return serde_json::from_slice(&answer.body).map_err(|_| wrong("the answer has no credentials"));
    }
    let refusal: Refusal = serde_json::from_slice(&answer.body).unwrap_or_default();
    let Some(error) = refusal.error.filter(|_| answer.status.is_client_error() && !answer.is_the_proxys_own()) else {
        return Err(wrong(&format!("the answer is {}{}", answer.status, answer.detail())));
    };
    let message = printable(refusal.message.as_deref().unwrap_or_default(), 200);
    let said = format!("POST {url}: the answer is {} ({}: {message})", answer.status, printable(&error, 40));
    match FINAL.into_iter().find(|code| *code == error) {
        Some(code) => Err(ServiceError::Refused { code, message }),
        None if answer.status == StatusCode::TOO_MANY_REQUESTS => Err(other(said)),
        None => Err(ServiceError::Wrong(said)),
    }
}

/// Where the service of a region is, as botocore's `signin/2023-01-01/endpoint-rule-set-1.json` says. It has no endpoint for
/// IPv4 and IPv6 there.
pub(crate) fn base(region: &str, endpoint: Option<&str>, fips: bool) -> String {
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
    match endpoint {
        Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
        None if !fips => format!("https://{region}.signin.{domain}"),
        None if region == "us-gov-west-1" => format!("https://signin-fips.{domain}"),
        None if partition.name == "aws-us-gov" => format!("https://{region}.signin-fips.{domain}"),
        None => format!("https://signin-fips.{region}.{}", partition.domain),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sign_in_service_of_a_region_is_where_botocore_looks_for_it() {
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
            assert_eq!(base(region, endpoint, fips), host, "{region}");
        }
    }
}
