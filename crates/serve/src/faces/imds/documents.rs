//! The documents other than credentials that contain the account, in EC2's JSON: two spaces of indent, ` : `
//! between key and value.

use std::fmt::Write;

use aws_lc_rs::digest::{SHA256, digest};
use jiff::Timestamp;

use super::tree::HostFacts;
use crate::credentials::{AccountId, RoleName, format_timestamp};

/// What EC2 itself gives as `null`.
const NULL: [&str; 5] = ["billingProducts", "devpayProductCodes", "marketplaceProductCodes", "kernelId", "ramdiskId"];

/// The instance identity document, but for the account.
#[derive(Debug)]
pub(super) struct Identity {
    /// What follows the account.
    rest: String,
}

impl Identity {
    /// Made of what the tree says; `file` looks into it.
    /// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-identity-documents.html>
    pub(super) fn new<'a>(file: &dyn Fn(&[&str]) -> Option<&'a str>, host: &HostFacts) -> Self {
        let meta = |name: &str| file(&["meta-data", name]);
        let fields = [
            ("architecture", Some(host.architecture)),
            ("availabilityZone", file(&["meta-data", "placement", "availability-zone"])),
            ("billingProducts", None),
            ("devpayProductCodes", None),
            ("marketplaceProductCodes", None),
            ("imageId", meta("ami-id")),
            ("instanceId", meta("instance-id")),
            ("instanceType", meta("instance-type")),
            ("kernelId", None),
            ("pendingTime", host.started.as_deref()),
            ("privateIp", meta("local-ipv4")),
            ("ramdiskId", None),
            ("region", file(&["meta-data", "placement", "region"])),
            ("version", Some("2017-09-30")),
        ];
        // Where EC2 has a text there is one, or nothing: typed parsers fail on `null`.
        let there = fields.iter().filter(|(key, value)| value.is_some() || NULL.contains(key));
        let lines: Vec<String> = there.map(|(key, value)| line(key, *value)).collect();
        Self { rest: lines.join(",\n") }
    }

    /// With that account; without one, if it cannot be known.
    pub(super) fn render(&self, account: Option<AccountId>) -> Vec<u8> {
        let account = account.map(|account| line("accountId", Some(account.as_str())) + ",\n").unwrap_or_default();
        format!("{{\n{account}{}\n}}", self.rest).into_bytes()
    }
}

fn line(key: &str, value: Option<&str>) -> String {
    let value = value.map_or(serde_json::Value::Null, Into::into);
    format!("  \"{key}\" : {value}")
}

/// The document of `iam/info`. The profile has the name of the role, as the console makes it.
/// <https://docs.aws.amazon.com/AWSEC2/latest/UserGuide/instance-metadata-iam.html>
pub(super) fn info(role: &RoleName, partition: &str, account: AccountId, last_updated: Timestamp) -> Vec<u8> {
    let arn = format!("arn:{partition}:iam::{account}:instance-profile/{role}");
    let fields = [
        ("Code", "Success"),
        ("LastUpdated", &format_timestamp(last_updated)),
        ("InstanceProfileArn", &arn),
        ("InstanceProfileId", &profile_id(&arn)),
    ];
    let lines: Vec<String> = fields.iter().map(|(key, value)| line(key, Some(value))).collect();
    format!("{{\n{}\n}}", lines.join(",\n")).into_bytes()
}

/// `AIPA` and 17 characters, as IAM's, always the same for the same profile.
fn profile_id(arn: &str) -> String {
    const LETTERS: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    let hash = digest(&SHA256, arn.as_bytes());
    let mut id = "AIPA".to_owned();
    for byte in hash.as_ref().iter().take(17) {
        // Writing to a String cannot fail.
        let _infallible = id.write_char(char::from(LETTERS[usize::from(byte % 32)]));
    }
    id
}
