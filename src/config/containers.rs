//! The section `containers`: which roles containers get.

use std::{path::PathBuf, time::Duration};

use super::{Config, Origin, Role, is_assumed, origin};
use crate::source::{Provides, session_duration};
use crate::{
    caller::containers::HostNames,
    credentials::{AccountId, Pattern, is_partition, is_session_name},
    policy::containers::{Allow, Place, Rules, WrittenRole},
};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read,
    render::{list, mapping, quoted},
    yaml::{Key, Node},
};

/// A role that nobody names: what permits it permits all.
const ANY_ROLE: &str = "arn:aws:iam::000000000000:role/";

/// The settings of the section.
pub const CONTAINERS: &[Setting] = &[
    Setting::nested("sockets", "/run/docker.sock", "The API sockets of Docker or Podman, one or a list."),
    Setting::nested(
        "source",
        "",
        "The source or role whose credentials assume the roles of containers; by default the first one.",
    ),
    Setting::nested(
        "via",
        "",
        "The source of kind `sts` that configures `AssumeRole` for them; by default as for roles without `via`.",
    ),
    Setting::nested(
        "role_from",
        "Env:IAM_ROLE",
        "Where a container's request for a role is read: `Env:NAME` (a variable), `Labels:NAME` (a label), or a list \
         of them, of which the first with a value counts. The role is a name, `path/name`, `name@account` or an ARN.",
    ),
    Setting::nested("external_id_from", "Env:IAM_EXTERNAL_ID", "The same for the external id."),
    Setting::nested(
        "session_name_from",
        "",
        "One such place for the session name. Characters that STS rejects become `_`; long names are cut.",
    ),
    Setting::nested("session_name", "", "The session name of all others; by default that of roles (`session_name`)."),
    Setting::nested(
        "allow",
        "[]",
        "Patterns of the ARNs that containers may request; `*` is any text, `?` any character. Other requests are \
         refused: anyone who can start a container can write them.",
    ),
    Setting::nested(
        "default_role",
        "",
        "The role of containers that request none, in the same format. Always allowed.",
    ),
    Setting::nested("default_account", "", "The account of roles without one: twelve digits, or a name."),
    Setting::nested("accounts", "", "A mapping of names of accounts to their twelve digits."),
    Setting::nested("partition", "aws", "The partition of roles without an ARN: `aws`, `aws-cn`, `aws-us-gov`, …"),
    Setting::nested("duration", "", "How long sessions last, 15m to 12h; by default an hour."),
    Setting::nested(
        "mapping_file",
        "",
        "A JSON file of addresses and their roles, used instead of the runtimes. It is read again when it \
         changes.",
    ),
    Setting::nested(
        "address_label",
        "",
        "A label with an address of the container that the runtime does not know, such as Rancher's \
         `io.rancher.container.ip`. This trusts anyone who can start containers not to claim an address before its owner does.",
    ),
    Setting::nested(
        "accept_unverified",
        "false",
        "Whether a container gets credentials if the daemon cannot verify that its first process runs. Then only the \
         runtime's events report its end: while one is late, the next container at that address gets the same role.",
    ),
    Setting::nested(
        "host_name_pattern",
        "",
        "Identifies containers whose address the runtime does not know: a regular expression whose first group is \
         compared between the address's host name (PTR) and the containers' own. This trusts the name server.",
    ),
];

/// Which roles containers get.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Containers {
    /// The runtimes' sockets (`sockets`). Never empty.
    pub sockets: Vec<PathBuf>,
    /// Whose credentials assume the roles (`source`).
    pub source: Option<String>,
    /// How `AssumeRole` is called (`via`).
    pub via: Option<String>,
    /// What containers ask for, and what of it they get.
    pub rules: Rules,
    /// How long sessions shall last (`duration`).
    pub duration: Option<Duration>,
    /// A file that decides by address (`mapping_file`).
    pub mapping_file: Option<PathBuf>,
    /// The label that tells an address (`address_label`).
    pub address_label: Option<String>,
    /// Whether the runtime is believed alone that one runs (`accept_unverified`).
    pub accept_unverified: bool,
    /// Valid for [`HostNames`] (`host_name_pattern`).
    pub host_name_pattern: Option<String>,
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
pub(super) fn containers(fields: &mut Fields) -> Option<Option<Containers>> {
    let place = fields.place("containers");
    let section = fields.section("containers", CONTAINERS, read_section)?;
    if let (Some(place), Some(Containers { rules, mapping_file: None, .. })) = (place, &section) {
        if rules.allow.0.is_empty() && rules.default_role.is_none() {
            let message = "no container will get a role: `allow` is empty, and there is no `default_role`";
            fields.warnings.push(Problem::new(place, message));
        } else if rules.allow.permits(ANY_ROLE) {
            let message = "anyone who can start a container can have every role that the source can assume (`allow`)";
            fields.warnings.push(Problem::new(place, message));
        }
    }
    Some(section)
}

/// Whether there is what assumes the roles.
pub(super) fn check_source(config: &Config) -> Option<Problem> {
    let Containers { source, via, .. } = config.containers.as_ref()?;
    let upstreams = &config.upstreams;
    let roles = upstreams.roles();
    let source = source.as_ref().or_else(|| upstreams.usable().map(|source| &source.name))?;
    let found = origin(source, &upstreams.sources, &roles)
        .filter(|found| !matches!(found, Origin::Source(source) if source.kind.provides() == Provides::Nothing));
    let message = match (found, via) {
        (None, _) => {
            format!("`containers.source` is {source:?}: there is no role of that name, and no source with credentials")
        }
        (Some(Origin::Role(Role { name, shared: false, .. })), _) => {
            format!(
                "`containers.source` is \"{name}\", a role without a session that others can be made of (`shared: false`)"
            )
        }
        (Some(_), Some(via)) if !upstreams.is_sts(via) => {
            format!("`containers.via` is {via:?}: there is no source of that name and of kind sts")
        }
        (Some(Origin::Source(one)), Some(_)) if !is_assumed(Origin::Source(one), true) => {
            format!(
                "`containers.via` has no effect: {source:?} is of kind {} and returns the roles itself",
                one.kind.word()
            )
        }
        _ => return None,
    };
    Some(Problem::nowhere(message))
}

fn read_section(fields: &mut Fields) -> Option<Containers> {
    let sockets = fields.value("sockets", |node| read::filled_list(node, "there would be no runtime", read::path));
    let source = fields.optional("source", read::text);
    let via = fields.optional("via", read::text);
    let duration = fields.optional("duration", session_duration);
    let mapping_file = fields.optional("mapping_file", read::path);
    let address_label = fields.optional("address_label", read::text);
    let accept_unverified = fields.value("accept_unverified", read::boolean);
    let host_name_pattern = fields.optional("host_name_pattern", |node| {
        let text = read::text(node)?;
        match HostNames::new(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Problem::new(node.place.clone(), error.to_string())),
        }
    });
    let rules = rules(fields);
    Some(Containers {
        sockets: sockets?,
        source: source?,
        via: via?,
        rules: rules?,
        duration: duration?,
        mapping_file: mapping_file?,
        address_label: address_label?,
        accept_unverified: accept_unverified?,
        host_name_pattern: host_name_pattern?,
    })
}

fn rules(fields: &mut Fields) -> Option<Rules> {
    let role = fields.value("role_from", |node| read::list(node, place));
    let external_id = fields.value("external_id_from", |node| read::list(node, place));
    let session_key = fields.optional("session_name_from", place);
    let session_name = fields.optional("session_name", |node| {
        let text = read::text(node)?;
        let message = "a session name has 2 to 64 letters, digits and _+=,.@-";
        if is_session_name(&text) { Ok(text) } else { Err(Problem::new(node.place.clone(), message)) }
    });
    let allow = fields.value("allow", |node| read::list(node, pattern));
    let accounts = accounts(fields);
    let default_account = fields.optional("default_account", read::text);
    let partition = fields.value("partition", |node| {
        let text = read::text(node)?;
        if is_partition(&text) {
            Ok(text)
        } else {
            Err(Problem::new(node.place.clone(), "a partition such as aws, aws-cn or aws-us-gov is expected here"))
        }
    });
    let default_role = fields.optional("default_role", |node| {
        let text = read::text(node)?;
        match WrittenRole::parse(&text) {
            Ok(_) => Ok(text),
            Err(error) => Err(Problem::new(node.place.clone(), error.to_string())),
        }
    });
    let rules = Rules {
        role: role?,
        external_id: external_id?,
        session_key: session_key?,
        default_role: default_role?,
        default_account: default_account?,
        accounts: accounts?,
        partition: partition?,
        session_name: session_name?,
        allow: Allow(allow?),
    };
    check_accounts(fields, &rules);
    Some(rules)
}

/// Whether the accounts that are named here are known.
fn check_accounts(fields: &mut Fields, rules: &Rules) {
    for key in ["default_role", "default_account"] {
        let Some(node) = fields.given(key) else { continue };
        let role = if key == "default_role" { rules.default_role.as_deref() } else { Some("any") };
        if let Some(Err(error)) = role.map(|role| rules.written(role, None, None, None)) {
            fields.problems.push(Problem::new(node.place.clone(), error.to_string()));
        }
    }
}

fn place(node: &Node) -> Result<Place, Problem> {
    let text = read::text_like(node, "^(Env|Labels):")?;
    text.parse().map_err(|()| {
        Problem::new(node.place.clone(), format!("Env:NAME or Labels:NAME is expected here, not {text:?}"))
    })
}

fn pattern(node: &Node) -> Result<Pattern, Problem> {
    let text = read::text_like(node, "^(arn:|\\*)")?;
    // Anything else can never be an ARN, and would forbid what somebody thinks is allowed.
    if text.starts_with("arn:") || text.starts_with('*') {
        Ok(Pattern::of_arns(&text))
    } else {
        let message = "a pattern of ARNs is expected here, such as arn:aws:iam::123456789012:role/app-*";
        Err(Problem::new(node.place.clone(), message))
    }
}

fn accounts(fields: &mut Fields) -> Option<Vec<(String, AccountId)>> {
    let Some(node) = fields.given("accounts").cloned() else { return Some(Vec::new()) };
    let entries = fields.note(read::entries(&node, "a mapping of names to accounts"))?;
    let account = |(name, node): &(Key, Node)| Ok((name.text.clone(), read::account_id(node)?));
    fields.note(entries.iter().map(account).collect())
}

/// The section as YAML.
pub(super) fn render(containers: &Containers) -> String {
    let Containers {
        sockets,
        source,
        via,
        rules,
        duration,
        mapping_file,
        address_label,
        accept_unverified,
        host_name_pattern,
    } = containers;
    let path = |path: &PathBuf| quoted(&path.to_string_lossy());
    let places = |places: &[Place]| list(places.iter().map(|place| quoted(&place.to_string())));
    let accounts = rules.accounts.iter().map(|(name, number)| (quoted(name), quoted(number.as_str()))).collect();
    let entries = [
        ("sockets", Some(list(sockets.iter().map(path)))),
        ("source", source.as_ref().map(|source| quoted(source))),
        ("via", via.as_ref().map(|via| quoted(via))),
        ("role_from", Some(places(&rules.role))),
        ("external_id_from", Some(places(&rules.external_id))),
        ("session_name_from", rules.session_key.as_ref().map(|place| quoted(&place.to_string()))),
        ("session_name", rules.session_name.as_ref().map(|name| quoted(name))),
        ("allow", Some(list(rules.allow.0.iter().map(|pattern| quoted(pattern.as_str()))))),
        ("default_role", rules.default_role.as_ref().map(|role| quoted(role))),
        ("default_account", rules.default_account.as_ref().map(|account| quoted(account))),
        ("accounts", (!rules.accounts.is_empty()).then(|| mapping(accounts))),
        ("partition", Some(rules.partition.clone())),
        ("duration", duration.map(read::render_duration)),
        ("mapping_file", mapping_file.as_ref().map(path)),
        ("address_label", address_label.as_ref().map(|label| quoted(label))),
        ("accept_unverified", Some(accept_unverified.to_string())),
        ("host_name_pattern", host_name_pattern.as_ref().map(|pattern| quoted(pattern))),
    ];
    mapping(entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::{Config, Loaded, parse};

    fn loaded(text: &str) -> Result<Loaded, String> {
        let sources = "{far: {kind: sts}, token: {kind: web_identity, token_file: /t}}";
        let files = vec![("a.yaml".into(), format!("ims_host: x\ncontainers:\n{text}\nsources: {sources}\n"))];
        parse(files).map_err(|errors| errors.to_string())
    }

    fn parsed(text: &str) -> Result<Config, String> {
        loaded(text).map(|loaded| loaded.config)
    }

    #[test]
    fn the_section_reads_back_as_it_is_written() {
        for text in [
            "  allow: ['arn:aws:iam::123456789012:role/*']\n",
            "  sockets: [/a, /b]\n  source: ims\n  role_from: [Labels:role, 'Env:IAM_ROLE']\n  external_id_from: Labels:x\n  \
             session_name_from: Env:N\n  session_name: devproxyauth\n  allow: ['*']\n  default_role: p/r@prod\n  \
             default_account: dev\n  accounts: {prod: 012345678901, dev: '111111111111'}\n  partition: aws-cn\n  \
             duration: 30m\n  via: far\n  mapping_file: /m\n  address_label: io.x\n  accept_unverified: true\n  host_name_pattern: '^([a-z]+)\\.'\n",
        ] {
            let config = parsed(text).expect(text);
            let again = parse(vec![("b.yaml".into(), config.render())]).expect("what we wrote").config;
            assert_eq!(again, config);
        }
        let containers = parsed("  default_role: r@012345678901\n").expect("legal").containers.expect("given");
        assert_eq!(containers.sockets, [std::path::PathBuf::from("/run/docker.sock")]);
        assert_eq!(containers.rules.variables(), ["IAM_ROLE", "IAM_EXTERNAL_ID"]);
        assert!(parse(vec![("a".into(), "ims_host: x\n".into())]).expect("legal").config.containers.is_none());
    }

    #[test]
    fn a_mistake_is_told_with_its_place() {
        for (text, part) in [
            ("  sockets: []", "3:12: an empty list"),
            ("  role_from: IAM_ROLE", "3:14: Env:NAME or Labels:NAME is expected here, not \"IAM_ROLE\""),
            ("  default_role: a//b", "3:17: a role is expected here"),
            ("  default_role: a", "3:17: it requests \"a\" without an account"),
            ("  default_account: prod", "3:20: it requests a role in the account \"prod\""),
            ("  accounts: {prod: 1}", "3:20: an account has twelve digits"),
            ("  accounts: prod", "3:13: a mapping of names to accounts"),
            ("  partition: eu", "3:14: a partition such as aws"),
            ("  allow: [app]", "3:11: a pattern of ARNs is expected here"),
            ("  session_name: x", "3:17: a session name has 2 to 64"),
            ("  duration: 5m", "3:13: a session lasts from 15m to 12h"),
            ("  host_name_pattern: '^.*$'", "3:22: a group in parentheses"),
            ("  source: y", "`containers.source` is \"y\""),
            ("  source: far", "`containers.source` is \"far\""),
            ("  via: y", "`containers.via` is \"y\""),
            ("  via: far\n  source: token", "`containers.via` has no effect: \"token\" is of kind web_identity"),
            ("  default_rôle: x", "did you mean `default_role`?"),
        ] {
            let said = parsed(text).expect_err(text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }

    #[test]
    fn what_gives_nothing_or_everything_is_warned_of() {
        for (text, part) in [
            ("  source: ims\n", "no container will get a role"),
            ("  allow: ['**']\n", "every role that the source can assume"),
            ("  allow: ['arn:*:iam::*:role/*']\n", "every role that the source can assume"),
        ] {
            let warnings = loaded(text).expect("legal").warnings;
            assert!(warnings.iter().any(|warning| warning.to_string().contains(part)), "{warnings:?}");
        }
        assert!(loaded("  mapping_file: /m\n").expect("legal").warnings.is_empty());
    }
}
