//! How this host proves to `alppaca-ims` who it is, if not by its client certificate (`identity`).

use std::path::PathBuf;

use http::{Method, header};

use crate::{
    credentials::Secret,
    fetch::Call,
    settings::{
        Fields, NamedFiles, Problem, Setting, read,
        render::{mapping, quoted},
    },
    source::{SourceError, file::read_secret},
};

/// What is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityKind {
    /// A token of an issuer, sent as `Bearer`.
    Jwt,
    /// A secret of this host.
    Token,
}

const KINDS: [(&str, IdentityKind); 2] = [("jwt", IdentityKind::Jwt), ("token", IdentityKind::Token)];

/// The proof. The file is read for each call, since others write it anew.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// What is in the file.
    pub kind: IdentityKind,
    /// The file.
    pub file: PathBuf,
}

/// What `identity` means, for the tables.
pub(super) const MEANING: &str = "A mapping: how this host proves to `alppaca-ims` who it is. `kind`: `jwt`, a token that is \
                                  sent as `Bearer`, or `token`, a secret of this host; `file`: where that is, read for \
                                  each call.";

const SETTINGS: &[Setting] = &[
    Setting::nested("kind", "", "`jwt` or `token`. Required."),
    Setting::nested("file", "", "The file, read for each call. Required."),
];

impl Identity {
    /// Reads the mapping below `key`, if it is there. The outer `None` says that something is wrong, which is noted.
    #[allow(clippy::option_option, reason = "wrong and absent are not the same")]
    pub(super) fn read(fields: &mut Fields, key: &str) -> Option<Option<Self>> {
        let Some(place) = fields.place(key) else { return Some(None) };
        fields.section(key, SETTINGS, |fields| {
            let kind = fields.optional("kind", |node| read::choice(node, &KINDS))?;
            let file = fields.optional("file", read::path)?;
            if kind.is_none() || file.is_none() {
                let message = "an identity needs a `kind` (jwt or token) and a `file`";
                fields.problems.push(Problem::new(place, message));
            }
            Some(Self { kind: kind?, file: file? })
        })
    }

    /// As YAML.
    pub(super) fn render(&self) -> String {
        let word = KINDS.iter().find(|(_, kind)| *kind == self.kind).map_or("", |(word, _)| word);
        mapping(vec![("kind".to_owned(), word.to_owned()), ("file".to_owned(), quoted(&self.file.to_string_lossy()))])
    }

    /// Adds its file.
    pub(super) fn files(&self, files: &mut NamedFiles) {
        files.secret("identity", Some(&self.file));
    }

    /// A call with the proof.
    pub(super) async fn get<'a>(&self, url: &'a str) -> Result<Call<'a>, SourceError> {
        let secret = read_secret("identity", &self.file).await?;
        let scheme = match self.kind {
            IdentityKind::Jwt => "Bearer",
            IdentityKind::Token => "Alppaca-Token",
        };
        let value = Secret::new(format!("{scheme} {}", secret.expose()));
        Ok(Call::new(Method::GET, url).secret_header(header::AUTHORIZATION, &value)?)
    }
}
