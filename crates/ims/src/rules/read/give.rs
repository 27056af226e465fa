//! What a rule gives: the role, and the session that is made of it.

use std::{sync::Arc, time::Duration};

use super::{partition, required};
use crate::{
    credentials::{Arn, MAX_TAGS, NO_ACCOUNT, RoleArn, RoleName, check_tag_key},
    rules::{Give, Match, Strength, Template, Terms, USUAL_SESSION, approval, emergency},
    settings::{
        Fields, Node, Problem,
        problem::Place,
        read::{boolean, duration, duration_within, entries, list, text, wrong},
    },
};

/// What only a rule that gives a role may have.
pub(super) const OF_GIVE: [&str; 17] = [
    "account",
    "partition",
    "role",
    "as",
    "path",
    "duration",
    "max_duration",
    "source_identity",
    "tags",
    "transitive_tags",
    "policy",
    "policy_arns",
    "console",
    "emergency",
    "approval",
    "max_auth_age",
    "max_proof_age",
];

/// STS takes these lives of a session; the role itself may allow less.
const DURATIONS: std::ops::RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);
const MAX_POLICY: usize = 2048;
const MAX_POLICY_ARNS: usize = 10;

pub(super) fn give(place: &Place, fields: &mut Fields, matching: &Match) -> Option<Give> {
    let known = matching.capture_names();
    let template = |node: &Node| template(node, &known);
    let account = required(fields, place, "account", template);
    let role_name = |node: &Node| {
        let template = template(node)?;
        match template.literal().map(str::parse::<RoleName>) {
            Some(Err(error)) => Err(Problem::new(node.place.clone(), error.to_string())),
            _ => Ok(template),
        }
    };
    let role = required(fields, place, "role", role_name);
    let listed = fields.optional("as", role_name);
    let partition = fields.optional("partition", partition);
    let path = fields.value("path", path);
    let duration = fields.optional("duration", session_duration);
    let max_duration = fields.optional("max_duration", session_duration);
    if let (Some(usual), Some(Some(most)), Some(at)) = (duration, max_duration, fields.place("max_duration"))
        && most < usual.unwrap_or(USUAL_SESSION)
    {
        let message = "`max_duration` is less than the life that sessions have anyway: `duration`, or an hour";
        fields.problems.push(Problem::new(at, message));
    }
    let source_identity = fields.value("source_identity", boolean);
    let tags = fields.optional("tags", |node| tags(node, &known));
    let transitive_tags = fields.value("transitive_tags", |node| list(node, text));
    let policy = fields.optional("policy", policy);
    let policy_arns = fields.value("policy_arns", policy_arns);
    let console = fields.value("console", boolean);
    let max_auth_age = fields.optional("max_auth_age", self::duration);
    let max_proof_age = fields.optional("max_proof_age", self::duration);
    let (tags, transitive_tags) = (tags?.unwrap_or_default(), transitive_tags?);
    if let Some(key) = transitive_tags.iter().find(|key| !tags.iter().any(|(tag, _)| tag == *key)) {
        let place = fields.place("transitive_tags").unwrap_or_else(|| place.clone());
        fields.problems.push(Problem::new(place, format!("{key:?} is not in `tags`")));
    }
    let keys: Vec<&str> = tags.iter().map(|(key, _)| key.as_str()).collect();
    let emergency = emergency::read(place, fields, &keys)?;
    let approval = approval::read(place, fields)?;
    Some(Give {
        account: account?,
        partition: partition?,
        role: role?,
        listed: listed?,
        path: path?,
        duration: emergency.map(|emergency| emergency.life).or(duration?),
        max_duration: max_duration?,
        source_identity: source_identity?,
        tags,
        transitive_tags,
        policy: policy?,
        policy_arns: policy_arns?,
        console: console?,
        terms: match (emergency, approval) {
            (Some(emergency), _) => Terms::Emergency(emergency),
            (None, Some(approval)) => Terms::Approval(approval),
            (None, None) => Terms::Always,
        },
        strength: Strength { max_auth_age: max_auth_age?, max_proof_age: max_proof_age? },
    })
}

fn template(node: &Node, known: &[String]) -> Result<Template, Problem> {
    Template::new(&text(node)?, known).map_err(|error| Problem::new(node.place.clone(), error))
}

/// `/` or `/a/b/`, to be put before the name of a role: without the slash at the beginning.
fn path(node: &Node) -> Result<String, Problem> {
    let text = text(node)?;
    let Some(path) = text.strip_prefix('/').filter(|path| path.is_empty() || path.ends_with('/')) else {
        return wrong(node, "a path such as / or /team/");
    };
    match RoleArn::new("aws", NO_ACCOUNT, &format!("{path}role")) {
        Ok(_) => Ok(path.to_owned()),
        Err(error) => Err(Problem::new(node.place.clone(), error.to_string())),
    }
}

fn session_duration(node: &Node) -> Result<Duration, Problem> {
    duration_within(node, &DURATIONS, "a time from 15m to 12h")
}

fn tags(node: &Node, known: &[String]) -> Result<Vec<(String, Template)>, Problem> {
    let entries = entries(node, "a mapping of tags to values")?;
    if entries.len() > MAX_TAGS {
        return wrong(node, "a mapping of at most 50 tags");
    }
    let tag = |(key, node): &(crate::settings::yaml::Key, Node)| {
        check_tag_key(&key.text).map_err(|why| Problem::new(key.place.clone(), why.to_string()))?;
        Ok((key.text.clone(), template(node, known)?))
    };
    entries.iter().map(tag).collect()
}

fn policy(node: &Node) -> Result<Arc<str>, Problem> {
    let text = text(node)?;
    let is_policy = serde_json::from_str::<serde_json::Value>(&text).is_ok_and(|value| value.is_object());
    if !is_policy {
        return Err(Problem::new(node.place.clone(), "a policy is a JSON object, written as a text (`policy: |`)"));
    }
    if text.chars().count() > MAX_POLICY {
        return Err(Problem::new(node.place.clone(), format!("a session policy has at most {MAX_POLICY} characters")));
    }
    Ok(text.into())
}

fn policy_arns(node: &Node) -> Result<Vec<String>, Problem> {
    let arns = list(node, |node| {
        let text = text(node)?;
        match Arn::parse(&text) {
            Ok(arn) if arn.service == "iam" && arn.resource.starts_with("policy/") => Ok(text),
            Ok(_) => wrong(node, "the ARN of a managed policy"),
            Err(error) => Err(Problem::new(node.place.clone(), error.to_string())),
        }
    })?;
    if arns.len() > MAX_POLICY_ARNS { wrong(node, "a list of at most 10 ARNs") } else { Ok(arns) }
}
