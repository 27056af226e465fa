//! The settings of a directory.

use std::{path::PathBuf, time::Duration};

use crate::{
    dn::Dn,
    filter::{Template, is_attribute, is_filter},
    needs::{Need, Needs},
    settings::{
        Fields, NamedFiles, Node, Problem, Setting,
        read::{self, render_duration},
        render::{list, mapping, quoted},
    },
};

/// A directory, and what is looked up in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The servers, in the order in which they are tried (`urls`).
    pub(crate) servers: Vec<Server>,
    pub(crate) ca_file: Option<PathBuf>,
    pub(crate) bind_dn: Option<String>,
    pub(crate) password_file: Option<PathBuf>,
    /// Where people are (`people_base_dn`, `base_dn`).
    pub(crate) people_base: String,
    /// Where groups are (`groups_base_dn`, `base_dn`).
    pub(crate) groups_base: (String, Dn),
    pub(crate) people_filter: String,
    pub(crate) name_attribute: String,
    pub(crate) groups_filter: Template,
    pub(crate) group_name_attribute: String,
    /// Groups are what this attribute of a person names, instead of what the filter finds.
    pub(crate) member_of_attribute: Option<String>,
    pub(crate) ssh_key_attribute: String,
    /// Claims, and the attribute of a person of each.
    pub(crate) person_claims: Vec<(String, String)>,
    /// The same of the groups.
    pub(crate) group_claims: Vec<(String, String)>,
    pub(crate) refresh: Duration,
    pub(crate) keep: Duration,
    pub(crate) timeout: Duration,
    pub(crate) max_people: usize,
}

/// How a server is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Security {
    Tls,
    StartTls,
    None,
}

/// A server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Server {
    /// As it is written.
    pub(crate) url: String,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) security: Security,
}

/// The setting, for the table of the server.
pub const SETTINGS: &[Setting] = &[Setting::nested(
    "directories",
    "",
    "A mapping of names to LDAP directories, for `groups_from` and the SSH keys of people.",
)];

/// The settings of one of `directories`.
pub const TABLE: &[Setting] = &[
    Setting::nested(
        "urls",
        "",
        "`ldaps://host`, or `ldap://host`, which uses StartTLS; or a list of them, tried in this order. Required.",
    ),
    Setting::nested(
        "ca_file",
        "",
        "PEM file of additional certificate authorities of the servers. The system's stay in force.",
    ),
    Setting::nested(
        "plain_ldap",
        "no",
        "`yes`: `ldap://` without StartTLS. Anybody on the way can then read the password and make anybody a member of \
         any group.",
    ),
    Setting::nested("bind_dn", "", "The DN of the account that reads. Without it, the directory is read anonymously."),
    Setting::nested("password_file", "", "A file with its password, read at each connection."),
    Setting::nested("base_dn", "", "Where people and groups are, such as `dc=example,dc=com`. Required."),
    Setting::nested("people_base_dn", "", "Where people are, if not below all of `base_dn`."),
    Setting::nested("groups_base_dn", "", "Where groups are, if not below all of `base_dn`. Others do not count."),
    Setting::nested(
        "people_filter",
        "(objectClass=*)",
        "Which entries are people that count, such as `(&(objectClass=person)(!(nsAccountLock=TRUE)))`.",
    ),
    Setting::nested("name_attribute", "uid", "The attribute with the name of a person, such as `sAMAccountName`."),
    Setting::nested(
        "groups_filter",
        "(&(objectClass=groupOfNames)(member={dn}))",
        "How the groups of a person are found. `{dn}` and `{name}` stand for the person's.",
    ),
    Setting::nested("group_name_attribute", "cn", "The attribute with the name of a group."),
    Setting::nested(
        "member_of_attribute",
        "",
        "The attribute of a person that names the groups, such as `memberOf`. It replaces `groups_filter`.",
    ),
    Setting::nested(
        "ssh_key_attribute",
        "sshPublicKey",
        "The attribute of a person with SSH keys: lines as in `authorized_keys`, or their base64 alone.",
    ),
    Setting::nested(
        "person_claims",
        "",
        "A mapping of claims, for rules, to attributes of a person, such as `{default_role: employeeType}`.",
    ),
    Setting::nested(
        "group_claims",
        "",
        "The same for attributes of the person's groups, such as `{role: businessCategory}`. All values count.",
    ),
    Setting::nested(
        "refresh",
        "1m",
        "How long counts what the directory says. Who or what is removed from it is gone after that.",
    ),
    Setting::nested("keep", "15m", "The same while the directory does not answer. Then clients get 503."),
    Setting::nested("timeout", "5s", "The longest time for a connection, and for each answer."),
    Setting::nested("max_people", "100000", "The most people with SSH keys that are read."),
];

/// Reads `directories`. `None` says that something is wrong, which is noted in `fields`.
pub fn read(fields: &mut Fields) -> Option<Vec<(String, Options)>> {
    fields.named("directories", TABLE, |key, fields| {
        let options = Options::read(fields);
        if !is_word(&key.text) || ["proof", "nss"].contains(&key.text.as_str()) {
            let message =
                "the name of a directory has 1 to 64 letters, digits, _, - and dots, and is not `proof` or `nss`";
            fields.problems.push(Problem::new(key.place.clone(), message));
        }
        Some((key.text.clone(), options?))
    })
}

fn is_word(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.-".contains(c))
}

impl Options {
    fn read(fields: &mut Fields) -> Option<Self> {
        fields.pair("bind_dn", "password_file");
        fields.exclude("member_of_attribute", &["groups_filter", "group_name_attribute", "group_claims"]);
        let plain = fields.value("plain_ldap", read::boolean);
        let missing = "a directory needs `urls`, such as ldaps://ldap.example.com";
        let servers = fields.needed("urls", missing, |node| {
            read::filled_list(node, "there would be no server", |node| server(node, plain == Some(true)))
        });
        let ca_file = fields.optional("ca_file", read::path);
        let bind_dn = fields.optional("bind_dn", |node| dn(node).map(|(text, _)| text));
        let password_file = fields.optional("password_file", read::path);
        let base = fields.needed("base_dn", "a directory needs a `base_dn`, such as dc=example,dc=com", dn);
        let people_base = fields.optional("people_base_dn", dn);
        let groups_base = fields.optional("groups_base_dn", dn);
        let people_filter = fields.value("people_filter", filter);
        let name_attribute = fields.value("name_attribute", attribute);
        let groups_filter = fields.value("groups_filter", template);
        let group_name_attribute = fields.value("group_name_attribute", attribute);
        let member_of_attribute = fields.optional("member_of_attribute", attribute);
        let ssh_key_attribute = fields.value("ssh_key_attribute", attribute);
        let person_claims = fields.or_empty("person_claims", claims);
        let group_claims = fields.or_empty("group_claims", claims);
        let refresh = fields.value("refresh", read::interval);
        let keep = fields.value("keep", read::duration);
        let timeout = fields.value("timeout", read::limit);
        let max_people = fields.value("max_people", read::count);
        if let (Some(servers), Some(place)) = (&servers, fields.place("urls")) {
            warn_of_clear_text(fields, servers, &place);
        }
        let base = base?;
        Some(Self {
            servers: servers?,
            ca_file: ca_file?,
            bind_dn: bind_dn?,
            password_file: password_file?,
            people_base: people_base?.map_or_else(|| base.0.clone(), |(text, _)| text),
            groups_base: groups_base?.unwrap_or(base),
            people_filter: people_filter?,
            name_attribute: name_attribute?,
            groups_filter: groups_filter?,
            group_name_attribute: group_name_attribute?,
            member_of_attribute: member_of_attribute?,
            ssh_key_attribute: ssh_key_attribute?,
            person_claims: person_claims?,
            group_claims: group_claims?,
            refresh: refresh?,
            keep: keep?,
            timeout: timeout?,
            max_people: max_people?,
        })
    }

    /// Whether it asks the same of the same servers as `other`, as the same account, so that what one was told counts for
    /// the other.
    pub fn asks_the_same(&self, other: &Self) -> bool {
        let Self { refresh, keep, timeout, max_people, .. } = *other;
        Self { refresh, keep, timeout, max_people, ..self.clone() } == *other
    }

    /// Adds the files that it names.
    pub fn files(&self, files: &mut NamedFiles) {
        files.authorities("ca_file", &self.ca_file);
        files.secret("password_file", &self.password_file);
    }

    /// Adds what it needs of the system beside these files.
    pub fn needs(&self, needs: &mut Needs) {
        for server in &self.servers {
            needs.add(Need::Connect(server.port), "LDAP");
        }
    }

    /// It as one line of YAML.
    pub fn render(&self) -> String {
        let text = |text: &Option<String>| text.as_deref().map(quoted);
        let path = |path: &Option<PathBuf>| path.as_ref().map(|path| quoted(&path.to_string_lossy()));
        let plain = self.servers.iter().any(|server| server.security == Security::None);
        let by_filter = self.member_of_attribute.is_none();
        let entries = [
            ("urls", Some(list(self.servers.iter().map(|server| quoted(&server.url))))),
            ("plain_ldap", plain.then(|| "yes".to_owned())),
            ("ca_file", path(&self.ca_file)),
            ("bind_dn", text(&self.bind_dn)),
            ("password_file", path(&self.password_file)),
            ("base_dn", Some(quoted(&self.people_base))),
            ("groups_base_dn", Some(quoted(&self.groups_base.0))),
            ("people_filter", Some(quoted(&self.people_filter))),
            ("name_attribute", Some(quoted(&self.name_attribute))),
            ("groups_filter", by_filter.then(|| quoted(self.groups_filter.as_str()))),
            ("group_name_attribute", by_filter.then(|| quoted(&self.group_name_attribute))),
            ("member_of_attribute", text(&self.member_of_attribute)),
            ("ssh_key_attribute", Some(quoted(&self.ssh_key_attribute))),
            ("person_claims", render_claims(&self.person_claims)),
            ("group_claims", render_claims(&self.group_claims)),
            ("refresh", Some(render_duration(self.refresh))),
            ("keep", Some(render_duration(self.keep))),
            ("timeout", Some(render_duration(self.timeout))),
            ("max_people", Some(self.max_people.to_string())),
        ];
        mapping(entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }
}

fn warn_of_clear_text(fields: &mut Fields, servers: &[Server], place: &crate::settings::problem::Place) {
    let local = |server: &&Server| ["localhost", "127.0.0.1", "::1"].contains(&server.host.as_str());
    if let Some(server) = servers.iter().filter(|server| server.security == Security::None).find(|one| !local(one)) {
        let message = format!(
            "{} is read in clear text (`plain_ldap`): anybody on the way can read the password, and make anybody a member \
             of any group",
            server.url
        );
        fields.warnings.push(Problem::new(place.clone(), message));
    }
}

fn render_claims(claims: &[(String, String)]) -> Option<String> {
    let entries = claims.iter().map(|(claim, attribute)| (quoted(claim), quoted(attribute))).collect();
    (!claims.is_empty()).then(|| mapping(entries))
}

/// `ldaps://host[:port]`, or `ldap://host[:port]`.
fn server(node: &Node, plain: bool) -> read::Read<Server> {
    let text = read::text(node)?;
    let wrong = || read::wrong(node, "a URL such as ldaps://ldap.example.com");
    let Some((scheme, rest)) = text.split_once("://") else { return wrong() };
    let (security, usual) = match scheme {
        "ldaps" => (Security::Tls, 636),
        "ldap" if plain => (Security::None, 389),
        "ldap" => (Security::StartTls, 389),
        _ => return wrong(),
    };
    let rest = rest.trim_end_matches('/');
    // An IPv6 address stands in brackets.
    let (host, port) = match rest.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((host, "")) => (host, None),
        Some((host, port)) => (host, Some(port.strip_prefix(':').unwrap_or("none"))),
        None => rest.split_once(':').map_or((rest, None), |(host, port)| (host, Some(port))),
    };
    let Ok(port) = port.map_or(Ok(usual), str::parse) else { return wrong() };
    let legal = |c: char| c.is_ascii_alphanumeric() || "-._:".contains(c);
    if host.is_empty() || !host.chars().all(legal) {
        return wrong();
    }
    Ok(Server { url: text.clone(), host: host.to_owned(), port, security })
}

fn dn(node: &Node) -> read::Read<(String, Dn)> {
    let text = read::text(node)?;
    match Dn::parse(&text) {
        Some(dn) => Ok((text, dn)),
        None => read::wrong(node, "a DN such as ou=people,dc=example,dc=com"),
    }
}

fn filter(node: &Node) -> read::Read<String> {
    let text = read::text(node)?;
    if is_filter(&text) { Ok(text) } else { read::wrong(node, "an LDAP filter such as (objectClass=person)") }
}

fn template(node: &Node) -> read::Read<Template> {
    match Template::new(&read::text(node)?) {
        Some(template) => Ok(template),
        None => read::wrong(node, "an LDAP filter with {dn} or {name} in it, such as (member={dn}),"),
    }
}

fn attribute(node: &Node) -> read::Read<String> {
    let text = read::text(node)?;
    if is_attribute(&text) { Ok(text) } else { read::wrong(node, "the name of an attribute") }
}

fn claims(node: &Node) -> read::Read<Vec<(String, String)>> {
    let entries = read::entries(node, "a mapping of claims to attributes")?;
    entries.iter().map(|(key, node)| Ok((key.text.clone(), attribute(node)?))).collect()
}

#[cfg(test)]
pub(crate) mod tests;
