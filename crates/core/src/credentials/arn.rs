//! Accounts and ARNs: checked once and with one strictness, so that no other module takes them apart.

use std::{fmt, str::FromStr, sync::Arc};

use super::{RoleName, RoleNameError};

/// The longest ARN that STS takes.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const MAX_LENGTH: usize = 2048;

/// How much of an invalid ARN is quoted in the message.
const SHOWN: usize = 120;

/// Stands for any account where only the form of an ARN matters. Never shown to a client.
pub const NO_ACCOUNT: AccountId = AccountId(*b"000000000000");

/// The twelve digits of an account.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct AccountId([u8; 12]);

/// A text that is no account.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("an account has twelve digits")]
pub struct AccountIdError;

impl AccountId {
    /// The digits as text.
    pub fn as_str(&self) -> &str {
        // Digits are UTF-8.
        str::from_utf8(&self.0).unwrap_or_default()
    }
}

impl AccountId {
    /// The account to which an access key belongs, which its id contains unless it is of the old generation. AWS does not
    /// document this, so that whatever else is known of the account counts before it.
    /// <https://medium.com/@TalBeerySec/a-short-note-on-aws-key-id-f88cc4317489>
    pub fn of_access_key(id: &str) -> Option<Self> {
        let digits = id.strip_prefix("ASIA").or_else(|| id.strip_prefix("AKIA")).filter(|rest| rest.len() == 16)?;
        // Base 32. Of these 80 bits the first says that it is of the new generation, and the next 40 are the account.
        let value = digits.bytes().try_fold(0_u128, |value, byte| {
            let digit = match byte {
                b'A'..=b'Z' => byte - b'A',
                b'2'..=b'7' => byte - b'2' + 26,
                _ => return None,
            };
            Some(value << 5 | u128::from(digit))
        })?;
        let account = value >> 39 & ((1 << 40) - 1);
        let new = value >> 79 == 1 && account > 0;
        // 40 bits have room for numbers of thirteen digits, which are no accounts.
        new.then(|| format!("{account:012}").parse().ok()).flatten()
    }
}

impl FromStr for AccountId {
    type Err = AccountIdError;

    fn from_str(text: &str) -> Result<Self, AccountIdError> {
        let digits: [u8; 12] = text.as_bytes().try_into().map_err(|_| AccountIdError)?;
        if digits.iter().all(u8::is_ascii_digit) { Ok(Self(digits)) } else { Err(AccountIdError) }
    }
}

impl fmt::Display for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl fmt::Debug for AccountId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self.as_str(), f)
    }
}

/// The parts of any ARN: `arn:partition:service:region:account:resource`.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/reference-arns.html>
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Arn<'a> {
    /// Such as `aws` or `aws-cn`.
    pub partition: &'a str,
    /// Such as `iam`.
    pub service: &'a str,
    /// Empty where the service is the same in all regions.
    pub region: &'a str,
    /// Twelve digits, `aws`, or empty.
    pub account: &'a str,
    /// The rest, which may have colons and slashes.
    pub resource: &'a str,
}

/// What is wrong with a text that should be an ARN.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ArnError {
    /// Not `arn:` and five more parts.
    #[error("an ARN is arn:partition:service:region:account:resource")]
    Form,
    /// Longer than AWS takes.
    #[error("an ARN has at most {MAX_LENGTH} characters")]
    TooLong,
    /// White space, a quotation mark, a backslash, or no ASCII at all.
    #[error("the character {0:?} cannot be in an ARN")]
    Character(char),
    /// A part with capital letters, for example.
    #[error("its partition is aws, or begins with aws- and has lower-case letters, digits and -")]
    Partition,
    /// The service or the region.
    #[error("its service and region have lower-case letters, digits and - only")]
    Lower,
    /// The account.
    #[error("its account has twelve digits")]
    Account,
}

impl<'a> Arn<'a> {
    /// Takes an ARN apart.
    pub fn parse(text: &'a str) -> Result<Self, ArnError> {
        if text.len() > MAX_LENGTH {
            return Err(ArnError::TooLong);
        }
        let parts: Vec<&str> = text.splitn(6, ':').collect();
        let ["arn", partition, service, region, account, resource] = *parts else { return Err(ArnError::Form) };
        let legal = |c: char| c.is_ascii_graphic() && c != '"' && c != '\\';
        if let Some(illegal) = text.chars().find(|c| !legal(*c)) {
            return Err(ArnError::Character(illegal));
        }
        if !is_partition(partition) {
            return Err(ArnError::Partition);
        }
        if service.is_empty() || !is_lower(service) || !is_lower(region) {
            return Err(ArnError::Lower);
        }
        if !matches!(account, "" | "aws") && account.parse::<AccountId>().is_err() {
            return Err(ArnError::Account);
        }
        if resource.is_empty() {
            return Err(ArnError::Form);
        }
        Ok(Self { partition, service, region, account, resource })
    }
}

/// Whether a text can be the name of a partition, also of one that is not there yet.
pub fn is_partition(text: &str) -> bool {
    (text == "aws" || text.starts_with("aws-")) && is_lower(text)
}

fn is_lower(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

/// The ARN of a role: `arn:aws:iam::123456789012:role/path/name`.
#[derive(Clone)]
pub struct RoleArn {
    text: Arc<str>,
    account: AccountId,
    name: RoleName,
}

/// A text that is not the ARN of a role, and why.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not the ARN of a role, such as arn:aws:iam::123456789012:role/name: {reason}")]
pub struct RoleArnError {
    /// What was written, or its beginning.
    text: String,
    reason: RoleArnReason,
}

#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
enum RoleArnReason {
    #[error(transparent)]
    Arn(#[from] ArnError),
    #[error("after the partition it goes on with :iam::, twelve digits and :role/")]
    NoRole,
    #[error("its path has an empty part, or one that is . or ..")]
    Path,
    #[error("the character {0:?} cannot be in its path")]
    Character(char),
    #[error(transparent)]
    Name(#[from] RoleNameError),
}

impl RoleArn {
    /// The ARN of a role by its parts; `path` ends with its name, and does not begin with a slash.
    pub fn new(partition: &str, account: AccountId, path: &str) -> Result<Self, RoleArnError> {
        format!("arn:{partition}:iam::{account}:role/{path}").parse()
    }

    /// The ARN as text.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// Its partition, such as `aws`.
    pub fn partition(&self) -> &str {
        self.text.split(':').nth(1).unwrap_or_default()
    }

    /// The account of the role.
    pub fn account(&self) -> AccountId {
        self.account
    }

    /// The name of the role, without its path.
    pub fn name(&self) -> &RoleName {
        &self.name
    }
}

impl FromStr for RoleArn {
    type Err = RoleArnError;

    fn from_str(text: &str) -> Result<Self, RoleArnError> {
        let (account, name) =
            parts_of_role(text).map_err(|reason| RoleArnError { text: text.chars().take(SHOWN).collect(), reason })?;
        Ok(Self { text: text.into(), account, name })
    }
}

fn parts_of_role(text: &str) -> Result<(AccountId, RoleName), RoleArnReason> {
    let Arn { service: "iam", region: "", account, resource, .. } = Arn::parse(text)? else {
        return Err(RoleArnReason::NoRole);
    };
    let (Ok(account), Some(path)) = (account.parse(), resource.strip_prefix("role/")) else {
        return Err(RoleArnReason::NoRole);
    };
    // What is more than text in patterns and URLs.
    if let Some(illegal) = path.chars().find(|c| "*?:%".contains(*c)) {
        return Err(RoleArnReason::Character(illegal));
    }
    let mut segments = path.split('/').rev();
    let name = segments.next().unwrap_or_default().parse()?;
    if segments.any(|segment| matches!(segment, "" | "." | "..")) {
        return Err(RoleArnReason::Path);
    }
    Ok((account, name))
}

// The rest follows from the text.
impl PartialEq for RoleArn {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for RoleArn {}

impl fmt::Display for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for RoleArn {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.text, f)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_account_has_twelve_digits() {
        assert_eq!("012345678901".parse::<AccountId>().map(|id| id.to_string()), Ok("012345678901".to_owned()));
        for wrong in ["", "12345678901", "1234567890123", "12345678901x", "１２３４", " 12345678901", "aws"] {
            assert_eq!(wrong.parse::<AccountId>(), Err(AccountIdError), "{wrong}");
        }
    }

    #[test]
    fn the_id_of_a_new_key_contains_the_account() {
        for (id, account) in [
            // Published with their accounts, by WithSecure Labs and by Tal Be'ery.
            ("ASIAQNZGKIQY56JQ7WML", Some("029608264753")),
            ("ASIAY34FZKBOKMUTVV7A", Some("609629065308")),
            ("AKIAY34FZKBOKMUTVV7A", Some("609629065308")),
            // Of the old generation, as the examples of AWS are.
            ("ASIAIOSFODNN7EXAMPLE", None),
            // The id of a role; not base 32; too short; too long; in small letters; a number of 13 digits; none.
            ("AROAQNZGKIQY56JQ7WML", None),
            ("ASIAQNZGKIQY56JQ7WM1", None),
            ("ASIAQNZGKIQY56JQ7WM", None),
            ("ASIAQNZGKIQY56JQ7WMLA", None),
            ("ASIAQnZGKIQY56JQ7WML", None),
            ("ASIA7777777777777777", None),
            ("ASIAQAAAAAAAAAAAAAAA", None),
            ("", None),
        ] {
            let found = AccountId::of_access_key(id);
            assert_eq!(found.as_ref().map(AccountId::as_str), account, "{id}");
        }
    }

    #[test]
    fn the_arn_of_a_role_has_its_parts() {
        for (text, partition, name) in [
            ("arn:aws:iam::123456789012:role/web", "aws", "web"),
            ("arn:aws-us-gov:iam::123456789012:role/p/q/web@x", "aws-us-gov", "web@x"),
            ("arn:aws-eusc:iam::123456789012:role/aws-reserved/sso.amazonaws.com/eu/W_1", "aws-eusc", "W_1"),
        ] {
            let arn: RoleArn = text.parse().expect(text);
            assert_eq!((arn.as_str(), arn.partition(), arn.name().as_str()), (text, partition, name));
            assert_eq!(arn.account().as_str(), "123456789012");
        }
        let built = RoleArn::new("aws-cn", "123456789012".parse().expect("digits"), "p/web").expect("legal");
        assert_eq!(built.as_str(), "arn:aws-cn:iam::123456789012:role/p/web");
        assert!(RoleArn::new("aws", NO_ACCOUNT, "/web").is_err() && RoleArn::new("", NO_ACCOUNT, "web").is_err());
    }

    #[test]
    fn what_is_not_the_arn_of_a_role_is_refused_with_a_reason() {
        for (text, reason) in [
            ("", "an ARN is arn:partition:"),
            ("web", "an ARN is arn:partition:"),
            ("ARN:aws:iam::123456789012:role/web", "an ARN is arn:partition:"),
            ("arn:aws-CN:iam::123456789012:role/web", "its partition is aws"),
            ("arn:awsome:iam::123456789012:role/web", "its partition is aws"),
            ("arn:aws-\"x:iam::123456789012:role/web", "the character '\"'"),
            ("arn:aws:iam::123456789012:role/a b/x", "the character ' '"),
            ("arn:aws:iam::123456789012:role/ä", "the character 'ä'"),
            ("arn:aws:iam::123456789012:role/a\\b", "the character '\\\\'"),
            ("arn:aws:iam::123456789012:role/../x", "an empty part"),
            ("arn:aws:iam::123456789012:role/./x", "an empty part"),
            ("arn:aws:iam::123456789012:role//x", "an empty part"),
            ("arn:aws:iam::123456789012:role/x/", "a role name is empty"),
            ("arn:aws:iam::123456789012:role/", "a role name is empty"),
            ("arn:aws:iam::123456789012:role/..", "is a relative path"),
            ("arn:aws:iam::123456789012:role/a*", "the character '*'"),
            ("arn:aws:iam::123456789012:role/a%2fb/x", "the character '%'"),
            ("arn:aws:iam::123456789012:role/a:b", "the character ':'"),
            ("arn:aws:iam::123456789012:role/a#b", "illegal character '#'"),
            ("arn:aws:iam::123456789012:user/x", "goes on with :iam::"),
            ("arn:aws:iam:eu-west-1:123456789012:role/x", "goes on with :iam::"),
            ("arn:aws:sts::123456789012:assumed-role/x/y", "goes on with :iam::"),
            ("arn:aws:iam::aws:role/x", "goes on with :iam::"),
            ("arn:aws:iam::1234:role/x", "twelve digits"),
        ] {
            let error = text.parse::<RoleArn>().expect_err(text).to_string();
            assert!(error.contains(reason), "{text}: {error}");
        }
        let long = format!("arn:aws:iam::123456789012:role/{}", "x/".repeat(1100));
        let error = long.parse::<RoleArn>().expect_err("too long").to_string();
        assert!(error.contains("at most 2048") && error.len() < 400, "{error}");
    }

    #[test]
    fn other_arns_are_taken_apart() {
        let policy = Arn::parse("arn:aws:iam::aws:policy/service-role/X").expect("legal");
        assert_eq!((policy.account, policy.resource), ("aws", "policy/service-role/X"));
        let anchor = Arn::parse("arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/x").expect("legal");
        assert_eq!((anchor.service, anchor.region), ("rolesanywhere", "eu-central-1"));
        for wrong in
            ["arn:aws:iam:EU:123456789012:x", "arn:aws:::123456789012:x", "arn:aws:iam::x:y", "arn:aws:iam::aws:"]
        {
            assert!(Arn::parse(wrong).is_err(), "{wrong}");
        }
    }

    proptest! {
        #[test]
        fn a_role_arn_is_safe_in_every_place(text in "arn:aws[-a-zA-Z\"]{0,4}:iam::[0-9]{12}:role/[ -~ä\\n]{1,20}") {
            if let Ok(arn) = text.parse::<RoleArn>() {
                let legal = |c: char| c.is_ascii_graphic() && !"\"\\*?%".contains(c);
                prop_assert!(arn.as_str().chars().all(legal));
                prop_assert_eq!(RoleArn::new(arn.partition(), arn.account(), arn.as_str().split_once("role/").expect("it").1), Ok(arn));
            }
        }
    }
}
