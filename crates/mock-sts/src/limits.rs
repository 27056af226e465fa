//! What a call of `AssumeRole` may say. Pure.
//! <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>

use std::{collections::HashMap, time::Duration};

/// AWS packs policies, ARNs and tags in a form that it does not document, and refuses more than fits. Here: so many
/// characters of all of them together.
const PACKED: usize = 8_192;

/// A refusal: status, code, message.
pub(super) type Refused = (u16, &'static str, String);

/// What is asked for, as the form says it.
#[derive(Debug, Default)]
pub(super) struct Asked {
    pub(super) role_arn: String,
    pub(super) session_name: String,
    pub(super) source_identity: Option<String>,
    pub(super) external_id: Option<String>,
    pub(super) duration: Duration,
    pub(super) tags: Vec<(String, String)>,
    pub(super) transitive: Vec<String>,
}

fn invalid(message: impl Into<String>) -> Refused {
    (400, "ValidationError", message.into())
}

impl Asked {
    /// Reads the form, and refuses what is never legal.
    pub(super) fn read(form: &HashMap<String, String>) -> Result<Self, Refused> {
        let text = |key: &str| form.get(key).cloned();
        let required = |key: &str| text(key).ok_or_else(|| invalid(format!("{key} is missing")));
        let seconds = match form.get("DurationSeconds") {
            Some(text) => text.parse().map_err(|_| invalid("DurationSeconds is no number"))?,
            None => 3600,
        };
        let tags = pairs(form, "Tags.member");
        let asked = Self {
            role_arn: required("RoleArn")?,
            session_name: required("RoleSessionName")?,
            source_identity: text("SourceIdentity"),
            external_id: text("ExternalId"),
            duration: Duration::from_secs(seconds),
            tags,
            transitive: list(form, "TransitiveTagKeys.member", ""),
        };
        asked.check()?;
        check_policies(form, &asked.tags)?;
        Ok(asked)
    }

    fn check(&self) -> Result<(), Refused> {
        name("roleSessionName", &self.session_name)?;
        if let Some(identity) = &self.source_identity {
            name("sourceIdentity", identity)?;
            if identity.starts_with("aws:") {
                return Err(invalid("SourceIdentity must not begin with aws:"));
            }
        }
        let seconds = self.duration.as_secs();
        if !(900..=43_200).contains(&seconds) {
            return Err(invalid(format!("Value '{seconds}' at 'durationSeconds' must be from 900 to 43200")));
        }
        if self.tags.len() > 50 {
            return Err(invalid("Value at 'tags' failed to satisfy constraint: at most 50"));
        }
        for (index, (key, value)) in self.tags.iter().enumerate() {
            let legal = |c: char| c.is_alphanumeric() || c.is_whitespace() || "_.:/=+-@".contains(c);
            let length = key.chars().count();
            if !(1..=128).contains(&length)
                || value.chars().count() > 256
                || !key.chars().chain(value.chars()).all(legal)
            {
                return Err(invalid(format!("the tag {key:?} has illegal characters, or too many")));
            }
            if key.to_lowercase().starts_with("aws:") {
                return Err(invalid("a tag must not begin with aws:"));
            }
            if self.tags[..index].iter().any(|(other, _)| other.to_lowercase() == key.to_lowercase()) {
                return Err((400, "InvalidParameterValue", "Duplicate tag keys found.".to_owned()));
            }
        }
        match self.transitive.iter().find(|key| !self.tags.iter().any(|(tag, _)| tag == *key)) {
            Some(key) => Err((400, "InvalidParameterValue", format!("the transitive tag {key:?} is not in the tags"))),
            None => Ok(()),
        }
    }
}

/// 2 to 64 of `[\w+=,.@-]`.
fn name(what: &str, text: &str) -> Result<(), Refused> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    if (2..=64).contains(&text.len()) && text.chars().all(legal) {
        return Ok(());
    }
    Err(invalid(format!(
        "1 validation error detected: Value '{text}' at '{what}' failed to satisfy constraint: Member must satisfy \
         regular expression pattern: [\\w+=,.@-]*"
    )))
}

fn check_policies(form: &HashMap<String, String>, tags: &[(String, String)]) -> Result<(), Refused> {
    let policy = form.get("Policy").map_or("", String::as_str);
    let arns = list(form, "PolicyArns.member", ".arn");
    if policy.chars().count() > 2048 {
        return Err(invalid("Value at 'policy' failed to satisfy constraint: at most 2048 characters"));
    }
    if arns.len() > 10 {
        return Err(invalid("Value at 'policyArns' failed to satisfy constraint: at most 10"));
    }
    let tags: usize = tags.iter().map(|(key, value)| key.len() + value.len()).sum();
    let packed = policy.len() + arns.iter().map(String::len).sum::<usize>() + tags;
    if packed > PACKED {
        let percent = packed * 100 / PACKED;
        let message = format!("Packed size of session tags and policy consumes {percent}% of allotted space.");
        return Err((400, "PackedPolicyTooLarge", message));
    }
    Ok(())
}

/// `Tags.member.1.Key`, `Tags.member.1.Value`, …
fn pairs(form: &HashMap<String, String>, prefix: &str) -> Vec<(String, String)> {
    let values = list(form, prefix, ".Value");
    list(form, prefix, ".Key").into_iter().zip(values).collect()
}

fn list(form: &HashMap<String, String>, prefix: &str, suffix: &str) -> Vec<String> {
    (1..).map_while(|index| form.get(&format!("{prefix}.{index}{suffix}")).cloned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(more: &[(&str, &str)]) -> Option<&'static str> {
        let usual = [("RoleArn", "arn:aws:iam::222222222222:role/web"), ("RoleSessionName", "web1")];
        let form = usual.iter().chain(more).map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        Asked::read(&form).err().map(|(_, code, _)| code)
    }

    #[test]
    fn each_limit_of_aws_is_enforced() {
        let long = "x".repeat(2049);
        let (key, value) = ("Tags.member.1.Key", "Tags.member.1.Value");
        for (more, code) in [
            (vec![], None),
            (vec![("RoleSessionName", "x y")], Some("ValidationError")),
            (vec![("RoleSessionName", "x")], Some("ValidationError")),
            (vec![("RoleSessionName", &long[..65])], Some("ValidationError")),
            (vec![("SourceIdentity", "a:b")], Some("ValidationError")),
            (vec![("DurationSeconds", "899")], Some("ValidationError")),
            (vec![("DurationSeconds", "90000")], Some("ValidationError")),
            (vec![("DurationSeconds", "43200")], None),
            (vec![("Policy", &long)], Some("ValidationError")),
            (vec![(key, &long[..129]), (value, "")], Some("ValidationError")),
            (vec![(key, "k"), (value, &long[..257])], Some("ValidationError")),
            (vec![(key, "AWS:k"), (value, "v")], Some("ValidationError")),
            (vec![(key, "k"), (value, "v"), ("TransitiveTagKeys.member.1", "k")], None),
            (vec![("TransitiveTagKeys.member.1", "k")], Some("InvalidParameterValue")),
            (
                vec![(key, "k"), (value, "v"), ("Tags.member.2.Key", "K"), ("Tags.member.2.Value", "v")],
                Some("InvalidParameterValue"),
            ),
        ] {
            assert_eq!(refused(&more), code, "{more:?}");
        }
        let many = |count: usize, length: usize| -> HashMap<String, String> {
            let tag = |index: usize| {
                let value = "v".repeat(length);
                [
                    (format!("Tags.member.{index}.Key"), format!("k{index}")),
                    (format!("Tags.member.{index}.Value"), value),
                ]
            };
            let usual = [("RoleArn", "r"), ("RoleSessionName", "web1")];
            let usual = usual.map(|(key, value)| (key.to_owned(), value.to_owned()));
            (1..=count).flat_map(tag).chain(usual).collect()
        };
        assert!(Asked::read(&many(50, 10)).is_ok());
        assert_eq!(Asked::read(&many(51, 10)).err().map(|error| error.1), Some("ValidationError"));
        assert_eq!(Asked::read(&many(50, 200)).err().map(|error| error.1), Some("PackedPolicyTooLarge"));
    }
}
