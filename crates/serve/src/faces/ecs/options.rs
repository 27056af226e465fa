//! The section `container`: credentials for clients with a URL and a token, and as ECS's agent gives them.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{Ecs, FACE, Key, KeyFile};
use crate::{
    credentials::{RoleId, RoleName},
    faces::section::{self, Entry, OpenError, Opened, Opening, Reading, open_address},
    settings::{
        Fields, NamedFiles, Problem, Setting, Topic, read,
        render::{mapping, quoted},
        yaml::Key as Name,
    },
};

/// How the face is written.
pub static ENTRY: Entry = Entry {
    section: Setting::new(
        Topic::Serving,
        "container",
        "",
        "A mapping: the container face, which serves credentials by URL and token, as the agent of ECS does. See \
         [below](#container) and \
         [Containers](container.md).",
    ),
    settings: SETTINGS,
    below: &[("container.roles.NAME", ROLE)],
    face: FACE,
    read: |fields, reading| Some(Arc::new(Options::read(fields, reading)?)),
};

/// The settings of the section.
const SETTINGS: &[Setting] = &[
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
const ROLE: &[Setting] = &[
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

/// How the face behaves.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Options {
    /// For how long what was replaced in a file is still accepted (`token_overlap`).
    pub token_overlap: Duration,
    /// What opens the roles (`roles`).
    pub roles: Vec<Role>,
}

/// What opens a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// A file with tokens.
    pub token_file: Option<PathBuf>,
    /// A file with ids.
    pub id_file: Option<PathBuf>,
    /// Whether nothing is needed: `/role/NAME` gives it to every caller that may see it.
    pub open: bool,
}

impl Options {
    fn read(fields: &mut Fields, reading: &Reading) -> Option<Self> {
        let token_overlap = fields.value("token_overlap", read::duration);
        let roles = fields.named("roles", ROLE, role);
        let open = roles.iter().flatten().any(|role| role.open);
        if let (Some(address), true) = (open_address(&reading.listen), open) {
            let message = format!(
                "every client that reaches {address} over the network can take the credentials of the open roles"
            );
            let place = fields.place("listen");
            fields.warnings.extend(place.map(|place| Problem::new(place, message)));
        }
        Some(Self { token_overlap: token_overlap?, roles: roles? })
    }

    /// Whether the role of that name needs no token.
    pub(super) fn is_open(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role.open && role.name.as_str() == name)
    }

    /// The files with tokens and ids.
    pub(super) fn key_files(&self) -> Vec<KeyFile> {
        let of_role = |role: &Role| {
            let file = |kind, path: &Option<PathBuf>| {
                path.as_ref().map(|path| KeyFile { role: RoleId::named(&role.name), kind, path: path.clone() })
            };
            [file(Key::Token, &role.token_file), file(Key::Id, &role.id_file)].into_iter().flatten()
        };
        self.roles.iter().flat_map(of_role).collect()
    }
}

fn role(key: &Name, fields: &mut Fields) -> Option<Role> {
    let name = key.text.parse().map_err(|error| Problem::new(key.place.clone(), format!("{error}")));
    let name = fields.note(name);
    let token_file = fields.optional("authorization_token_file", read::path);
    let id_file = fields.optional("credentials_id_file", read::path);
    let open = fields.value("open", read::boolean);
    let role = Role { name: name?, token_file: token_file?, id_file: id_file?, open: open? };
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

impl section::Options for Options {
    fn render(&self) -> Vec<(&'static str, String)> {
        let roles = self.roles.iter().map(|role| {
            let file = |key: &str, path: &Option<PathBuf>| {
                path.as_ref().map(|path| (key.to_owned(), quoted(&path.to_string_lossy())))
            };
            let mut entries = Vec::new();
            entries.extend(file("authorization_token_file", &role.token_file));
            entries.extend(file("credentials_id_file", &role.id_file));
            entries.push(("open".to_owned(), role.open.to_string()));
            (quoted(role.name.as_str()), mapping(entries))
        });
        vec![("token_overlap", read::render_duration(self.token_overlap)), ("roles", mapping(roles.collect()))]
    }

    fn open(&self, _: &[SocketAddr], opening: &Opening) -> Result<Opened, OpenError> {
        let Opening { shared, clock, tokens, .. } = opening;
        let (face, files) = Ecs::new(self.clone(), shared.clone(), tokens.clone(), Arc::clone(clock));
        Ok(Opened { respond: Arc::new(face), work: Some(Box::pin(files.run())) })
    }

    fn files(&self, files: &mut NamedFiles) {
        for role in &self.roles {
            files.secret(&format!("authorization_token_file of {}", role.name), role.token_file.as_ref());
            files.secret(&format!("credentials_id_file of {}", role.name), role.id_file.as_ref());
        }
    }
}
