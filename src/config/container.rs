//! The section `container`: credentials for whoever has a URL and a token, and as ECS's agent gives them.

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use super::build::open_address;
use crate::credentials::RoleName;
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read,
    render::{list, mapping, quoted},
    yaml::{Key, Node},
};

/// The settings of the section.
pub const CONTAINER: &[Setting] = &[
    Setting::nested(
        "listen",
        "127.0.0.1:25773",
        "Where to listen: `address:port`, or a list of them, such as `169.254.170.2:80`.",
    )
    .on_restart(),
    Setting::nested(
        "token_overlap",
        "10m",
        "How long a token or an id that was replaced in its file is still accepted.",
    ),
    Setting::nested(
        "roles",
        "",
        "A mapping of role names to their tokens or ids. `alppaca exec` needs none: it gets tokens of its own.",
    ),
];

/// The settings of one role.
pub const CONTAINER_ROLE: &[Setting] = &[
    Setting::nested(
        "authorization_token_file",
        "",
        "A file with tokens, one per line: `Authorization` with one of them gets the role, at any path. It is read \
         again when it changes.",
    ),
    Setting::nested(
        "credentials_id_file",
        "",
        "A file with ids, one per line: `/v2/credentials/ID` gets the role, as from ECS's agent. An id is as secret \
         as a token.",
    ),
    Setting::nested(
        "open",
        "false",
        "Whether `/role/NAME` gets the role without a token, for every client that reaches the listener.",
    ),
];

/// The container face.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Container {
    /// Where to listen. Never empty, but in a daemon that was started without the section.
    pub listen: Vec<SocketAddr>,
    /// For how long what was replaced is still accepted (`token_overlap`).
    pub token_overlap: Duration,
    /// What opens the roles.
    pub roles: Vec<ContainerRole>,
}

/// What opens a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerRole {
    /// Its name.
    pub name: RoleName,
    /// A file with tokens.
    pub token_file: Option<PathBuf>,
    /// A file with ids.
    pub id_file: Option<PathBuf>,
    /// Whether nothing is needed.
    pub open: bool,
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
pub(super) fn container(fields: &mut Fields) -> Option<Option<Container>> {
    fields.section("container", CONTAINER, |fields| {
        let listen = fields.value("listen", addresses);
        let token_overlap = fields.value("token_overlap", read::duration);
        let roles = fields.named("roles", CONTAINER_ROLE, role);
        let open = roles.iter().flatten().any(|role| role.open);
        if let (Some(address), true) = (listen.as_deref().and_then(open_address), open) {
            let message = format!(
                "every client that reaches {address} over the network can take the credentials of the open roles"
            );
            let place = fields.place("listen");
            fields.warnings.extend(place.map(|place| Problem::new(place, message)));
        }
        Some(Container { listen: listen?, token_overlap: token_overlap?, roles: roles? })
    })
}

/// At least one address.
pub(super) fn addresses(node: &Node) -> Result<Vec<SocketAddr>, Problem> {
    let addresses = read::list(node, read::socket_address)?;
    if addresses.is_empty() {
        return Err(Problem::new(node.place.clone(), "an empty list: no client could connect"));
    }
    Ok(addresses)
}

fn role(key: &Key, fields: &mut Fields) -> Option<ContainerRole> {
    let name = key.text.parse().map_err(|error| Problem::new(key.place.clone(), format!("{error}")));
    let name = fields.note(name);
    let token_file = fields.optional("authorization_token_file", read::path);
    let id_file = fields.optional("credentials_id_file", read::path);
    let open = fields.value("open", read::boolean);
    let role = ContainerRole { name: name?, token_file: token_file?, id_file: id_file?, open: open? };
    if role.open {
        let message =
            format!("every client that reaches the container face gets the role {} without a token", role.name);
        fields.warnings.push(Problem::new(key.place.clone(), message));
    } else if role.token_file.is_none() && role.id_file.is_none() {
        let message =
            "nothing opens this role: set `authorization_token_file` or `credentials_id_file`, or `open: true`";
        fields.problems.push(Problem::new(key.place.clone(), message));
    }
    Some(role)
}

/// The section as YAML.
pub(super) fn render(container: &Container) -> String {
    let roles = container.roles.iter().map(|role| {
        let file = |key: &str, path: &Option<PathBuf>| {
            path.as_ref().map(|path| (key.to_owned(), quoted(&path.to_string_lossy())))
        };
        let mut entries = Vec::new();
        entries.extend(file("authorization_token_file", &role.token_file));
        entries.extend(file("credentials_id_file", &role.id_file));
        entries.push(("open".to_owned(), role.open.to_string()));
        (quoted(role.name.as_str()), mapping(entries))
    });
    mapping(vec![
        ("listen".to_owned(), list(container.listen.iter().map(|address| quoted(&address.to_string())))),
        ("token_overlap".to_owned(), read::render_duration(container.token_overlap)),
        ("roles".to_owned(), mapping(roles.collect())),
    ])
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn parsed(text: &str) -> Result<crate::config::Loaded, String> {
        parse(vec![("a.yaml".into(), format!("ims_host: x\n{text}"))]).map_err(|errors| errors.to_string())
    }

    #[test]
    fn what_opens_a_role_is_read_and_printed() {
        let text = "container:\n  listen: ['127.0.0.1:1', '169.254.170.2:80']\n  roles:\n    web: {authorization_token_file: /t}\n    \
                    batch: {credentials_id_file: /i, open: yes}\n";
        let loaded = parsed(text).expect("legal");
        let container = loaded.config.container.as_ref().expect("given");
        assert_eq!((container.listen.len(), container.roles.len()), (2, 2));
        assert!(container.roles[1].open && loaded.warnings.iter().any(|w| w.to_string().contains("without a token")));
        let again = parse(vec![("b.yaml".into(), loaded.config.render())]).expect("what we wrote").config;
        assert_eq!(again, loaded.config);
        let reachable = parsed("container: {listen: '0.0.0.0:1', roles: {web: {open: true}}}").expect("legal").warnings;
        assert!(reachable.iter().any(|warning| warning.to_string().contains("0.0.0.0:1 over the network")));
        assert_eq!(parsed("").expect("legal").config.container, None);
        let plain = parsed("container: {listen: '127.0.0.1:0'}").expect("legal").config.container.expect("given");
        assert!(plain.roles.is_empty());
    }

    #[test]
    fn mistakes_are_told() {
        for (text, part) in [
            ("container: {roles: {web: {}}}", "2:21: nothing opens this role"),
            ("container: {roles: {a/b: {open: true}}}", "illegal character '/'"),
            ("container: {listen: []}", "an empty list: no client could connect"),
            ("container: {roles: [a]}", "a mapping of names is expected here"),
            ("container: {rolls: {}}", "did you mean `roles`?"),
        ] {
            let said = parsed(text).expect_err(text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }
}
