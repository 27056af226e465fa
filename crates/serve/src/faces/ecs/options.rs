//! The section `container`: credentials for clients with a URL and a token, and as ECS's agent gives them.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use super::{Ecs, FACE, Key, KeyFile};
use crate::{
    credentials::{RoleId, RoleName},
    faces::section::{self, Entry, OpenError, Opened, Opening, open_address},
    needs::Needs,
    settings::{
        Fields, Keys, NamedFiles, Problem, Setting, Topic, options, read,
        render::{entries, mapping, quoted},
        table::join,
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
    settings: &join::<{ 1 + Options::SETTINGS.len() }>(&[&[LISTEN], Options::SETTINGS]),
    below: &[("container.roles.NAME", Opener::SETTINGS)],
    face: FACE,
    read: |fields, listen| {
        let options = Options::read(fields)?;
        options.warn(fields, listen);
        Some(Arc::new(options))
    },
};

const LISTEN: Setting = Setting::nested(
    "listen",
    "127.0.0.1:25773",
    "Where to listen: `address:port`, or a list of them, such as `169.254.170.2:80`.",
)
.on_restart();

options! {
    /// How the face behaves.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Options {
        /// For how long what was replaced in a file is still accepted.
        pub token_overlap: Duration = Setting::nested(
            "token_overlap",
            "10m",
            "How long a token or an id that was replaced in its file is still accepted.",
        ) => value(read::duration);
        /// The roles, and what opens them.
        pub roles: Vec<Role> = Setting::nested(
            "roles",
            "",
            "A mapping of role names to their tokens or ids. `alppaca exec` needs none: it gets tokens of its own.",
        ) => named(Opener::SETTINGS, role) as render_roles;
    }
}

/// A role and what opens it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Role {
    /// Its name.
    pub name: RoleName,
    /// What opens it.
    pub opener: Opener,
}

options! {
    /// What opens a role.
    #[derive(Debug, Clone, Default, PartialEq, Eq)]
    pub struct Opener {
        /// A file with tokens.
        pub token_file: Option<PathBuf> = Setting::nested(
            "authorization_token_file",
            "",
            "A file with tokens, one per line: `Authorization` with one of them gets the role, at any path. It is read \
             again when it changes.",
        ) => optional(read::path);
        /// A file with ids.
        pub id_file: Option<PathBuf> = Setting::nested(
            "credentials_id_file",
            "",
            "A file with ids, one per line: `/v2/credentials/ID` gets the role, as from ECS's agent. An id is as secret \
             as a token.",
        ) => optional(read::path);
        /// Whether nothing is needed: `/role/NAME` gives it to every caller that may see it.
        pub open: bool = Setting::nested(
            "open",
            "false",
            "Whether `/role/NAME` gets the role without a token, for every client that reaches the listener.",
        ) => value(read::boolean);
    }
}

#[expect(clippy::unnecessary_wraps, reason = "a key may be left out, this one never is")]
fn render_roles(roles: &[Role]) -> Option<String> {
    Some(mapping(roles.iter().map(|role| (quoted(role.name.as_str()), entries(&role.opener))).collect()))
}

impl Options {
    fn warn(&self, fields: &mut Fields, listen: &[SocketAddr]) {
        let open = self.roles.iter().any(|role| role.opener.open);
        if let (Some(address), true) = (open_address(listen), open) {
            let message = format!(
                "every client that reaches {address} over the network can take the credentials of the open roles"
            );
            let place = fields.place("listen");
            fields.warnings.extend(place.map(|place| Problem::new(place, message)));
        }
    }

    /// Whether the role of that name needs no token.
    pub(super) fn is_open(&self, name: &str) -> bool {
        self.roles.iter().any(|role| role.opener.open && role.name.as_str() == name)
    }

    /// The files with tokens and ids.
    pub(super) fn key_files(&self) -> Vec<KeyFile> {
        let of_role = |role: &Role| {
            let file = |kind, path: &Option<PathBuf>| {
                path.as_ref().map(|path| KeyFile { role: RoleId::named(&role.name), kind, path: path.clone() })
            };
            [file(Key::Token, &role.opener.token_file), file(Key::Id, &role.opener.id_file)].into_iter().flatten()
        };
        self.roles.iter().flat_map(of_role).collect()
    }
}

fn role(key: &Name, fields: &mut Fields) -> Option<Role> {
    let name = key.text.parse().map_err(|error| Problem::new(key.place.clone(), format!("{error}")));
    let name = fields.note(name);
    fields.note_one_of(&["authorization_token_file", "credentials_id_file", "open"]);
    let opener = Opener::read(fields);
    let role = Role { name: name?, opener: opener? };
    if role.opener.open {
        let message =
            format!("every client that reaches the container face gets the role {} without a token", role.name);
        fields.warnings.push(Problem::new(key.place.clone(), message));
    } else if role.opener.token_file.is_none() && role.opener.id_file.is_none() {
        let message =
            "nothing opens this role: set `authorization_token_file` or `credentials_id_file`, or `open: true`";
        fields.problems.push(Problem::new(key.place.clone(), message));
    }
    Some(role)
}

impl section::Options for Options {
    fn open(&self, _: &[SocketAddr], opening: &Opening) -> Result<Opened, OpenError> {
        let Opening { shared, clock, tokens, .. } = opening;
        let (face, files) = Ecs::new(self.clone(), shared.clone(), tokens.clone(), Arc::clone(clock));
        Ok(Opened { respond: Arc::new(face), work: Some(Box::pin(files.run())) })
    }

    fn files(&self, files: &mut NamedFiles) {
        for role in &self.roles {
            files.secret(&format!("authorization_token_file of {}", role.name), role.opener.token_file.as_ref());
            files.secret(&format!("credentials_id_file of {}", role.name), role.opener.id_file.as_ref());
        }
    }

    fn needs(&self, _: &mut Needs) {}
}
