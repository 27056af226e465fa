//! What a session of an assumed role is asked to be like, and how that is written.

use std::{ops::RangeInclusive, time::Duration};

use crate::{
    credentials::{Arn, MAX_TAGS, SessionName, check_tag_key, check_tag_value, is_external_id, is_session_name},
    settings::{
        Fields, Node, Problem, Setting,
        read::{self, render_duration},
        render::{list, mapping, quoted},
        yaml::Key,
    },
};

/// How long a session may last.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const DURATION: RangeInclusive<Duration> = Duration::from_mins(15)..=Duration::from_hours(12);

/// What a session is asked to be like.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Session {
    /// What the owner of the role wants to hear (`external_id`).
    pub external_id: Option<String>,
    /// Its name (`session_name`).
    pub name: SessionName,
    /// How long it shall last (`duration`).
    pub duration: Option<Duration>,
    /// A session policy, JSON (`policy`).
    pub policy: Option<String>,
    /// ARNs of session policies (`policy_arns`).
    pub policy_arns: Vec<String>,
    /// Session tags (`tags`).
    pub tags: Vec<(String, String)>,
    /// The keys of those that are handed on along a chain (`transitive_tags`).
    pub transitive_tags: Vec<String>,
    /// Who is behind it (`source_identity`).
    pub source_identity: Option<String>,
}

impl Session {
    /// How many settings there are.
    pub const KEYS: usize = 8;

    /// The settings.
    pub const SETTINGS: [Setting; Self::KEYS] = [
        Setting::nested("external_id", "", "The external ID that the role's trust policy requires."),
        Setting::nested(
            "session_name",
            "alppaca-on-{host}",
            "The name of the session in CloudTrail. `{host}` and `{role}` are filled in.",
        ),
        Setting::nested(
            "duration",
            "",
            "How long a session lasts, 15m to 12h, and at most with `alppaca use --duration`. By default that of AWS: 1h. \
             Role chaining is limited to 1h.",
        ),
        Setting::nested("policy", "", "A session policy as JSON, which limits the session's permissions."),
        Setting::nested(
            "policy_arns",
            "[]",
            "ARNs of managed policies that limit the session in the same way, at most 10.",
        ),
        Setting::nested("tags", "", "Session tags, a mapping of names to values."),
        Setting::nested("transitive_tags", "[]", "The names of the tags that are passed on along a chain."),
        Setting::nested("source_identity", "", "The source identity, which no later role of the chain can change."),
    ];

    /// Reads them.
    pub fn read(fields: &mut Fields) -> Option<Self> {
        let external_id = fields.optional("external_id", |node| {
            checked(node, "2 to 1224 characters of A-Z a-z 0-9 _ + = , . @ : / -", is_external_id)
        });
        let name = fields.value("session_name", |node| {
            read::text(node)?
                .parse::<SessionName>()
                .map_err(|error| Problem::new(node.place.clone(), error.to_string()))
        });
        let duration = fields.optional("duration", session_duration);
        let policy = fields.optional("policy", |node| {
            checked(node, "a policy as JSON, at most 2048 characters,", |text| {
                text.len() <= 2048 && serde_json::from_str::<serde_json::Value>(text).is_ok_and(|json| json.is_object())
            })
        });
        let arn = |node: &Node| {
            checked(node, "the ARN of a policy, such as arn:aws:iam::aws:policy/ReadOnlyAccess,", is_policy_arn)
        };
        let policy_arns = fields.value("policy_arns", |node| {
            let arns = read::list(node, arn)?;
            if arns.len() <= 10 {
                Ok(arns)
            } else {
                Err(Problem::new(node.place.clone(), "AWS accepts at most 10 policies"))
            }
        });
        let tags = fields.optional("tags", tags);
        let transitive_tags = fields.value("transitive_tags", |node| {
            read::list(node, |node| read::text(node).map(|text| (text, node.place.clone())))
        });
        let source_identity = fields.optional("source_identity", |node| {
            checked(node, "2 to 64 characters of A-Z a-z 0-9 _ + = , . @ -", is_session_name)
        });
        let tags = tags?.unwrap_or_default();
        let mut handed_on = Vec::new();
        for (tag, place) in transitive_tags? {
            if !tags.iter().any(|(key, _)| *key == tag) {
                fields
                    .problems
                    .push(Problem::new(place, format!("there is no tag {tag:?} to pass on; it must be in `tags`")));
            }
            handed_on.push(tag);
        }
        Some(Self {
            external_id: external_id?,
            name: name?,
            duration: duration?,
            policy: policy?,
            policy_arns: policy_arns?,
            tags,
            transitive_tags: handed_on,
            source_identity: source_identity?,
        })
    }

    /// The settings that are there, as YAML.
    pub fn render(&self) -> [(&'static str, Option<String>); Self::KEYS] {
        let text = |text: &String| quoted(text);
        let lists = |items: &[String]| (!items.is_empty()).then(|| list(items.iter().map(text)));
        let name = Some(&self.name).filter(|name| **name != SessionName::default());
        let tags = self.tags.iter().map(|(key, value)| (quoted(key), quoted(value))).collect();
        [
            ("external_id", self.external_id.as_ref().map(text)),
            ("session_name", name.map(|name| quoted(&name.to_string()))),
            ("duration", self.duration.map(render_duration)),
            ("policy", self.policy.as_ref().map(text)),
            ("policy_arns", lists(&self.policy_arns)),
            ("tags", (!self.tags.is_empty()).then(|| mapping(tags))),
            ("transitive_tags", lists(&self.transitive_tags)),
            ("source_identity", self.source_identity.as_ref().map(text)),
        ]
    }
}

/// Reads how long a session shall last.
pub fn session_duration(node: &Node) -> Result<Duration, Problem> {
    match read::duration(node)? {
        duration if DURATION.contains(&duration) => Ok(duration),
        _ => Err(Problem::new(node.place.clone(), "a session lasts from 15m to 12h")),
    }
}

fn checked(node: &Node, expected: &str, legal: impl Fn(&str) -> bool) -> Result<String, Problem> {
    let text = read::text(node)?;
    if legal(&text) { Ok(text) } else { Err(Problem::new(node.place.clone(), format!("{expected} is expected here"))) }
}

fn tags(node: &Node) -> Result<Vec<(String, String)>, Problem> {
    let entries = read::entries(node, "a mapping of tags to their values")?;
    if entries.len() > MAX_TAGS {
        return Err(Problem::new(node.place.clone(), "AWS accepts at most 50 session tags"));
    }
    let tag = |(key, node): &(Key, Node)| {
        let value = read::text_or_nothing(node)?;
        check_tag_key(&key.text).map_err(|error| Problem::new(key.place.clone(), error.to_string()))?;
        check_tag_value(&value).map_err(|error| Problem::new(node.place.clone(), error.to_string()))?;
        Ok((key.text.clone(), value))
    };
    entries.iter().map(tag).collect()
}

fn is_policy_arn(text: &str) -> bool {
    Arn::parse(text).is_ok_and(|arn| {
        (arn.service, arn.region) == ("iam", "")
            && arn.resource.strip_prefix("policy/").is_some_and(|name| !name.is_empty())
    })
}
