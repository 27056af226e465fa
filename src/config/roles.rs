//! `roles`: the roles that are served, in the order of the file, and how each comes about.

mod checks;

use std::time::Duration;

pub(super) use checks::resolve;
pub use checks::{can_be_tagged, can_last};

use super::sources::Source;
use crate::{
    credentials::{RoleArn, RoleArnError, RoleName},
    source::{Provides, Session},
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::{Place, Problem},
    read,
    render::{list, quoted},
    table::concat,
    yaml::{Key, Node},
};

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
    /// Whether there is a session of it that all who may have the role share, beside those that pods have for themselves.
    pub shared: bool,
}

impl Role {
    /// The role of that name which a source lists.
    pub fn of(name: RoleName, source: &str) -> Self {
        let session = Session::default();
        Self {
            name,
            sources: vec![source.to_owned()],
            upstream_role: None,
            role_arn: None,
            session,
            via: None,
            shared: true,
        }
    }
}

/// The settings of a role.
pub(super) const SETTINGS: &[Setting] = &concat::<{ 4 + Session::KEYS }, 2, { 6 + Session::KEYS }>(
    concat(ORIGIN, Session::SETTINGS),
    [
        Setting::nested(
            "via",
            "",
            "The source of kind `sts` that configures `AssumeRole`. By default: in the region `aws_region`, through \
             `aws_proxy_host`.",
        ),
        Setting::nested(
            "shared",
            "true",
            "Whether callers share a session of the role. With `false` there are only [those of \
             pods](container.md#a-session-for-each-pod), with their tags, and the role is served to nobody else.",
        ),
    ],
);

/// Those that say where its credentials come from.
const ORIGIN: [Setting; 4] = [
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
            Origin::Source(source) => matches!(source.kind.provides(), Provides::Listed | Provides::One),
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
    let shared = fields.value("shared", read::boolean);
    let session = Session::read(fields);
    let (sources, places) = sources?.into_iter().unzip();
    let (upstream_role, role_arn, session) = (upstream_role?, role_arn?, session?);
    let role = Role { name: name?, sources, upstream_role, role_arn, session, via: via?, shared: shared? };
    Some(Read { role, place: key.place.clone(), sources: places, given })
}

fn sources(key: &Key, fields: &mut Fields) -> Option<Vec<(String, Place)>> {
    fields.note_one_of(&["source", "sources"]);
    let plural = fields.given("sources").is_some();
    let Some(node) = fields.given(if plural { "sources" } else { "source" }).cloned() else {
        let message = format!("the role {:?} needs a `source`: where its credentials come from", key.text);
        fields.problems.push(Problem::new(key.place.clone(), message));
        return None;
    };
    let one = |node: &Node| read::text(node).map(|text| (text, node.place.clone()));
    let several = || read::filled_list(&node, "the role would come from nowhere", one);
    fields.note(if plural { several() } else { one(&node).map(|one| vec![one]) })
}

fn upstream_role(node: &Node) -> Result<String, Problem> {
    let text = read::text(node)?;
    let message = "the name of a role at the source is expected here";
    if text.parse::<RoleName>().is_ok() { Ok(text) } else { Err(Problem::new(node.place.clone(), message)) }
}

/// The ARN of a role, with the same strictness wherever one is written.
pub(super) fn role_arn(node: &Node) -> Result<RoleArn, Problem> {
    read::text_like(node, "^arn:aws(-[a-z0-9-]+)?:iam::[0-9]{12}:role/[^*\"\\s]+$")?
        .parse()
        .map_err(|error: RoleArnError| Problem::new(node.place.clone(), error.to_string()))
}

impl Role {
    /// It as one line of YAML.
    pub(super) fn render(&self) -> String {
        let parts = [
            ("upstream_role", self.upstream_role.as_ref().map(|name| quoted(name))),
            ("role_arn", self.role_arn.as_ref().map(|arn| quoted(arn.as_str()))),
        ];
        let via = ("via", self.via.as_ref().map(|via| quoted(via)));
        let shared = ("shared", (!self.shared).then(|| "false".to_owned()));
        let parts: Vec<String> = (parts.into_iter().chain(self.session.render()).chain([via, shared]))
            .filter_map(|(key, value)| Some(format!(", {key}: {}", value?)))
            .collect();
        format!("{{sources: {}{}}}", list(self.sources.iter().map(|source| quoted(source))), parts.concat())
    }
}
