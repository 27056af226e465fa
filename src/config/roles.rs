//! `roles`: the roles that are served, in the order of the file, and how each comes about.

use std::{collections::HashMap, time::Duration};

use super::sources::Source;
use crate::{
    credentials::{Arn, RoleArn, RoleArnError, RoleName, SessionName},
    source::{Gives, Session},
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::{Place, Problem},
    read::{self, render_duration},
    render::{list, quoted},
    table::nearest,
    yaml::{Key, Node, Value},
};

/// Where a role's credentials may live at least and at most.
/// <https://docs.aws.amazon.com/STS/latest/APIReference/API_AssumeRole.html>
const SHORTEST: Duration = Duration::from_mins(15);
const LONGEST: Duration = Duration::from_hours(12);
/// The most that AWS gives for a role that is assumed with the credentials of a role.
/// <https://docs.aws.amazon.com/IAM/latest/UserGuide/id_roles.html#iam-term-role-chaining>
pub const CHAINED: Duration = Duration::from_hours(1);

/// One role that is served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// The name under which it is served.
    pub name: RoleName,
    /// The sources, or roles, that are tried in this order. Never empty.
    pub sources: Vec<String>,
    /// The name of the role at a source that lists roles; by default its own, or the first if another is assumed with it.
    pub upstream_role: Option<String>,
    /// The role to assume with the credentials of the source, or for which the source is asked.
    pub role_arn: Option<RoleArn>,
    /// How it is assumed.
    pub session: Session,
    /// The source of kind `sts` that says how `AssumeRole` is called.
    pub via: Option<String>,
}

/// The settings of a role.
pub(super) const SETTINGS: &[Setting] = &[
    Setting::nested(
        "source",
        "",
        "The source, or another role, that provides the credentials, or the credentials that \
         assume the role.",
    ),
    Setting::nested("sources", "", "Instead: several, tried in this order at each fetch."),
    Setting::nested(
        "upstream_role",
        "",
        "Its name at an IMS. By default the same; for a role that is assumed: the first that the IMS lists.",
    ),
    Setting::nested(
        "role_arn",
        "",
        "The ARN of the role, to be assumed with the credentials of the source or fetched from it.",
    ),
    Setting::nested("external_id", "", "The external ID that the role's trust policy requires."),
    Setting::nested(
        "session_name",
        "alppaca-on-{host}",
        "The name of the session in CloudTrail. `{host}` and `{role}` are filled in.",
    ),
    Setting::nested(
        "duration",
        "",
        "How long a session lasts, 15m to 12h. By default that of AWS: 1h. Role chaining is limited to 1h.",
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
    Setting::nested(
        "via",
        "",
        "The source of kind `sts` that configures `AssumeRole`. By default: in the region `aws_region`, through \
         `aws_proxy_host`.",
    ),
];

/// The settings that say how a session shall be. Without a role to assume they are of no use.
const OF_SESSIONS: &[&str] = &[
    "external_id",
    "session_name",
    "duration",
    "policy",
    "policy_arns",
    "tags",
    "transitive_tags",
    "source_identity",
    "via",
];

/// A role that was read, and where its parts stand.
pub(super) struct Read {
    role: Role,
    place: Place,
    sources: Vec<Place>,
    /// Of the settings that are given.
    given: Vec<(&'static str, Place)>,
}

impl Read {
    fn place_of(&self, key: &str) -> Place {
        self.given
            .iter()
            .find(|(given, _)| *given == key)
            .map_or_else(|| self.place.clone(), |(_, place)| place.clone())
    }
}

/// What a role of the configuration comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Origin<'a> {
    /// An upstream.
    Source(&'a Source),
    /// Another role.
    Role(&'a Role),
}

/// What has that name.
pub fn origin<'a>(name: &str, sources: &'a [Source], roles: &'a [Role]) -> Option<Origin<'a>> {
    let source = sources.iter().find(|source| source.name == name).map(Origin::Source);
    source.or_else(|| roles.iter().find(|role| role.name.as_str() == name).map(Origin::Role))
}

/// Whether `AssumeRole` is called for a role with that origin, if it has an ARN or not.
pub fn is_assumed(origin: Origin, has_arn: bool) -> bool {
    has_arn
        && match origin {
            Origin::Role(_) => true,
            Origin::Source(source) => matches!(source.kind.gives(), Gives::Listed | Gives::One),
        }
}

/// Reads `roles`; `None` if something is wrong.
pub(super) fn read_roles(fields: &mut Fields) -> Option<Vec<Read>> {
    fields.named("roles", SETTINGS, read_role)
}

fn read_role(key: &Key, fields: &mut Fields) -> Option<Read> {
    let name =
        fields.note(key.text.parse::<RoleName>().map_err(|error| Problem::new(key.place.clone(), error.to_string())));
    fields.exclude("source", &["sources"]);
    let given = SETTINGS.iter().filter_map(|setting| Some((setting.key, fields.place(setting.key)?))).collect();
    let sources = sources(key, fields);
    let upstream_role = fields.optional("upstream_role", upstream_role);
    let role_arn = fields.optional("role_arn", role_arn);
    let via = fields.optional("via", read::text);
    let session = session(fields);
    let (sources, places) = sources?.into_iter().unzip();
    let role =
        Role { name: name?, sources, upstream_role: upstream_role?, role_arn: role_arn?, session: session?, via: via? };
    Some(Read { role, place: key.place.clone(), sources: places, given })
}

fn sources(key: &Key, fields: &mut Fields) -> Option<Vec<(String, Place)>> {
    let plural = fields.given("sources").is_some();
    let Some(node) = fields.given(if plural { "sources" } else { "source" }).cloned() else {
        let message = format!("the role {:?} needs a `source`: where its credentials come from", key.text);
        fields.problems.push(Problem::new(key.place.clone(), message));
        return None;
    };
    let one = |node: &Node| read::text(node).map(|text| (text, node.place.clone()));
    let read = if plural { read::list(&node, one) } else { one(&node).map(|one| vec![one]) };
    let sources = fields.note(read)?;
    if sources.is_empty() {
        fields.problems.push(Problem::new(node.place, "an empty list: the role would come from nowhere"));
        return None;
    }
    Some(sources)
}

fn session(fields: &mut Fields) -> Option<Session> {
    let external_id = fields.optional("external_id", |node| {
        let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@:/-".contains(c);
        checked(node, "2 to 1224 characters of A-Z a-z 0-9 _ + = , . @ : / -", |text| {
            (2..=1224).contains(&text.len()) && text.chars().all(legal)
        })
    });
    let name = fields.value("session_name", |node| {
        read::text(node)?.parse::<SessionName>().map_err(|error| Problem::new(node.place.clone(), error.to_string()))
    });
    let duration = fields.optional("duration", |node| {
        let duration = read::duration(node)?;
        if (SHORTEST..=LONGEST).contains(&duration) {
            return Ok(duration);
        }
        Err(Problem::new(node.place.clone(), "a session lasts from 15m to 12h"))
    });
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
        let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
        checked(node, "2 to 64 characters of A-Z a-z 0-9 _ + = , . @ -", |text| {
            (2..=64).contains(&text.len()) && text.chars().all(legal)
        })
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
    Some(Session {
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

fn checked(node: &Node, expected: &str, legal: impl Fn(&str) -> bool) -> Result<String, Problem> {
    let text = read::text(node)?;
    if legal(&text) { Ok(text) } else { Err(Problem::new(node.place.clone(), format!("{expected} is expected here"))) }
}

fn tags(node: &Node) -> Result<Vec<(String, String)>, Problem> {
    let Value::Map(entries) = &node.value else {
        let message = format!("a mapping of tags to their values is expected here, not {}", node.kind());
        return Err(Problem::new(node.place.clone(), message));
    };
    if entries.len() > 50 {
        return Err(Problem::new(node.place.clone(), "AWS accepts at most 50 session tags"));
    }
    let tag = |(key, node): &(Key, Node)| {
        let value = if node.is_null() { String::new() } else { read::text(node)? };
        let fits = (1..=128).contains(&key.text.chars().count()) && value.chars().count() <= 256;
        let message = "a tag has a name of 1 to 128 and a value of at most 256 characters";
        if fits { Ok((key.text.clone(), value)) } else { Err(Problem::new(key.place.clone(), message)) }
    };
    entries.iter().map(tag).collect()
}

fn upstream_role(node: &Node) -> Result<String, Problem> {
    checked(node, "the name of a role at the source", |text| text.parse::<RoleName>().is_ok())
}

/// The ARN of a role, with the same strictness wherever one is written.
pub(super) fn role_arn(node: &Node) -> Result<RoleArn, Problem> {
    read::text(node)?.parse().map_err(|error: RoleArnError| Problem::new(node.place.clone(), error.to_string()))
}

fn is_policy_arn(text: &str) -> bool {
    Arn::parse(text).is_ok_and(|arn| {
        (arn.service, arn.region) == ("iam", "")
            && arn.resource.strip_prefix("policy/").is_some_and(|name| !name.is_empty())
    })
}

/// Checks the roles against the sources and each other.
pub(super) fn resolve(fields: &mut Fields, read: &[Read], sources: &[Source]) -> Vec<Role> {
    let roles: Vec<Role> = read.iter().map(|read| read.role.clone()).collect();
    for one in read {
        check(fields, one, sources, &roles);
    }
    refuse_cycles(fields, read);
    roles
}

fn check(fields: &mut Fields, read: &Read, sources: &[Source], roles: &[Role]) {
    let role = &read.role;
    let mut wrong = |place: Place, message: String| fields.problems.push(Problem::new(place, message));
    if sources.iter().any(|source| source.name == role.name.as_str()) {
        wrong(read.place.clone(), format!("a source is also called {:?}; a `source:` could mean either", role.name));
    }
    if let Some(via) = &role.via {
        let sts = sources.iter().any(|source| source.name == *via && source.kind.assumes().is_some());
        if !sts {
            wrong(read.place_of("via"), format!("there is no source {via:?} of kind sts"));
        }
    }
    let mut origins = Vec::new();
    for (name, place) in role.sources.iter().zip(&read.sources) {
        let Some(origin) = origin(name, sources, roles) else {
            let known = sources.iter().map(|source| &*source.name).chain(roles.iter().map(|role| role.name.as_str()));
            let hint = nearest(name, known).map(|name| format!("; did you mean `{name}`?"));
            wrong(place.clone(), format!("there is no source and no role {name:?}{}", hint.unwrap_or_default()));
            continue;
        };
        if let Origin::Source(source) = origin {
            match source.kind.gives() {
                Gives::Nothing => wrong(
                    place.clone(),
                    format!(
                        "{name:?} has no credentials of its own, it configures how AssumeRole is called; name it in `via`"
                    ),
                ),
                Gives::PerArn if role.role_arn.is_none() => {
                    wrong(place.clone(), format!("{name:?} takes the ARN of a role, so a `role_arn` is needed"));
                }
                _ => {}
            }
        }
        origins.push(origin);
    }
    if origins.len() < role.sources.len() {
        return;
    }
    let assumed = origins.iter().any(|origin| is_assumed(*origin, role.role_arn.is_some()));
    let taken = |key: &str| {
        origins.iter().any(|origin| matches!(origin, Origin::Source(source) if source.kind.takes().contains(&key)))
    };
    for (key, place) in &read.given {
        if OF_SESSIONS.contains(key) && !assumed && !taken(key) {
            let why = match origins.first() {
                Some(Origin::Source(source)) if role.role_arn.is_some() => {
                    format!(
                        "{:?} returns the role itself, and the call of the kind {} has none",
                        source.name,
                        source.kind.word()
                    )
                }
                _ => "no role is assumed (`role_arn`)".to_owned(),
            };
            wrong(place.clone(), format!("`{key}` has no effect here: {why}"));
        }
        if *key == "upstream_role" && !taken(key) {
            wrong(place.clone(), "`upstream_role` has no effect here: no source of this role lists roles".to_owned());
        }
        if *key == "role_arn" && !assumed && !origins.iter().any(|origin| is_per_arn(*origin)) {
            wrong(place.clone(), "`role_arn` has no effect with such a source".to_owned());
        }
    }
    let chained = |origin: &Origin| match origin {
        _ if !is_assumed(*origin, role.role_arn.is_some()) => false,
        Origin::Role(_) => true,
        Origin::Source(source) => source.kind.is_role_session(),
    };
    if role.session.duration.is_some_and(|duration| duration > CHAINED) && origins.iter().any(chained) {
        wrong(
            read.place_of("duration"),
            "AWS grants at most 1h to a role that is assumed with the credentials of another role (role chaining); \
             write 1h, or let the role be assumed from a source that is no role"
                .to_owned(),
        );
    }
}

fn is_per_arn(origin: Origin) -> bool {
    matches!(origin, Origin::Source(source) if matches!(source.kind.gives(), Gives::PerArn | Gives::PerName))
}

/// Complains once of each circle, where it closes.
fn refuse_cycles(fields: &mut Fields, read: &[Read]) {
    let by_name: HashMap<&str, usize> =
        read.iter().enumerate().map(|(index, read)| (read.role.name.as_str(), index)).collect();
    // 0: not seen, 1: on the path, 2: done.
    let mut seen = vec![0_u8; read.len()];
    for start in 0..read.len() {
        // Each step of the path: the role, and which of its sources comes next.
        let mut path = vec![(start, 0)];
        while let Some((index, next)) = path.last().copied() {
            if next == 0 && seen.get(index) == Some(&2) {
                path.pop();
                continue;
            }
            let Some(one) = read.get(index) else { break };
            if let Some(mark) = seen.get_mut(index) {
                *mark = 1;
            }
            let Some(source) = one.role.sources.get(next) else {
                if let Some(mark) = seen.get_mut(index) {
                    *mark = 2;
                }
                path.pop();
                continue;
            };
            if let Some((_, next)) = path.last_mut() {
                *next += 1;
            }
            let Some(target) = by_name.get(&**source).copied() else { continue };
            match seen.get(target) {
                Some(1) => {
                    let from = path.iter().position(|(index, _)| *index == target).unwrap_or_default();
                    let names: Vec<String> = path
                        .iter()
                        .skip(from)
                        .filter_map(|(index, _)| read.get(*index))
                        .map(|read| read.role.name.to_string())
                        .chain([source.clone()])
                        .collect();
                    let place = one.sources.get(next).unwrap_or(&one.place).clone();
                    let message = format!("a circle: {}; a role cannot come from itself", names.join(" ← "));
                    fields.problems.push(Problem::new(place, message));
                }
                Some(0) => path.push((target, 0)),
                _ => {}
            }
        }
    }
}

impl Role {
    /// It as one line of YAML.
    pub(super) fn render(&self) -> String {
        let session = &self.session;
        let text = |text: &String| quoted(text);
        let name = Some(&session.name).filter(|name| **name != SessionName::default());
        let tags = session.tags.iter().map(|(key, value)| format!("{}: {}", quoted(key), quoted(value)));
        let lists = |items: &[String]| (!items.is_empty()).then(|| list(items.iter().map(text)));
        let parts = [
            ("upstream_role", self.upstream_role.as_ref().map(text)),
            ("role_arn", self.role_arn.as_ref().map(|arn| quoted(arn.as_str()))),
            ("external_id", session.external_id.as_ref().map(text)),
            ("session_name", name.map(|name| quoted(&name.to_string()))),
            ("duration", session.duration.map(render_duration)),
            ("policy", session.policy.as_ref().map(text)),
            ("policy_arns", lists(&session.policy_arns)),
            ("tags", (!session.tags.is_empty()).then(|| format!("{{{}}}", tags.collect::<Vec<_>>().join(", ")))),
            ("transitive_tags", lists(&session.transitive_tags)),
            ("source_identity", session.source_identity.as_ref().map(text)),
            ("via", self.via.as_ref().map(text)),
        ];
        let parts: Vec<String> =
            parts.into_iter().filter_map(|(key, value)| Some(format!(", {key}: {}", value?))).collect();
        format!("{{sources: {}{}}}", list(self.sources.iter().map(text)), parts.concat())
    }
}
