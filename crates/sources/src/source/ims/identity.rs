//! How this host proves to `alppaca-ims` who it is, if not by its client certificate (`identity`).

use std::{fs::File, path::PathBuf};

use http::{Method, header};

use super::signature::{Key, Proof, Subjects};
use crate::{
    credentials::Secret,
    fetch::{Answer, Call, Client, SetupError},
    settings::{
        Fields, NamedFiles, Problem, Setting, read,
        render::{mapping, quoted},
    },
    source::{SourceError, Unfit, file::read_secret},
    ssh_agent::PrivateKey,
};

/// What is in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityKind {
    /// A token of an issuer, sent as `Bearer`.
    Jwt,
    /// A secret of this host.
    Token,
}

/// The proof.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Identity {
    /// What a file holds, which is read for each call, since others write it anew.
    Secret {
        /// What that is.
        kind: IdentityKind,
        /// The file.
        file: PathBuf,
    },
    /// Signatures with an SSH key.
    Ssh {
        /// The key.
        key: Key,
        /// Whose key it is.
        subjects: Subjects,
        /// The name of the person, if several have the key.
        user: Option<String>,
    },
}

/// The words for the kinds; `None` stands for signatures.
const KINDS: [(&str, Option<IdentityKind>); 3] =
    [("jwt", Some(IdentityKind::Jwt)), ("token", Some(IdentityKind::Token)), ("ssh", None)];

/// What `identity` means, for the tables.
pub(super) const MEANING: &str = "A mapping: how this host proves to `alppaca-ims` who it is. `kind: jwt`, a token that is sent \
                                  as `Bearer`, or `kind: token`, a secret of this host, with `file`: where that is, read \
                                  for each call. `kind: ssh` with `key`: a host key such as \
                                  `/etc/ssh/ssh_host_ed25519_key`, read at the start, and perhaps `certificate`, read for each \
                                  call. Or `kind: ssh` with `agent`, the socket of an ssh-agent, and perhaps `key`, the \
                                  fingerprint, comment or `.pub` file of the one that is meant; `for: people` and `user` \
                                  if it is that of a person.";

const SETTINGS: &[Setting] = &[
    Setting::nested("kind", "", "`jwt`, `token` or `ssh`. Required."),
    Setting::nested("file", "", "The file of a token or secret."),
    Setting::nested("key", "", "The file of a private SSH key; with `agent`, which of its keys."),
    Setting::nested("certificate", "", "The file of its certificate."),
    Setting::nested("agent", "", "The socket of an ssh-agent."),
    Setting::nested("for", "hosts", "`hosts` or `people`: whose SSH key it is."),
    Setting::nested("user", "", "The person, if several have this key."),
];

impl Identity {
    /// Reads the mapping below `key`, if it is there. The outer `None` says that something is wrong, which is noted.
    #[allow(clippy::option_option, reason = "wrong and absent are not the same")]
    pub(super) fn read(fields: &mut Fields, key: &str) -> Option<Option<Self>> {
        fields.section(key, SETTINGS, |fields| {
            let missing = "an identity needs a `kind`: jwt, token or ssh";
            let kind = fields.needed("kind", missing, |node| read::choice(node, &KINDS))?;
            let (others, word) = match kind {
                Some(_) => (&["key", "certificate", "agent", "for", "user"][..], "jwt and token have a `file` only"),
                None => (&["file"][..], "ssh has no `file`; it needs a `key`, or an `agent`"),
            };
            if let Some(place) = others.iter().find_map(|other| fields.place(other)) {
                fields.problems.push(Problem::new(place, format!("this has no meaning here: {word}")));
            }
            match kind {
                Some(kind) => {
                    let file = fields.needed("file", "this kind of identity needs a `file`", read::path)?;
                    Some(Self::Secret { kind, file })
                }
                None => Self::read_ssh(fields),
            }
        })
    }

    fn read_ssh(fields: &mut Fields) -> Option<Self> {
        fields.exclude("agent", &["certificate"]);
        let agent = fields.optional("agent", read::path);
        let key = fields.optional("key", read::text);
        let certificate = fields.optional("certificate", read::path);
        let subjects = fields.value("for", |node| read::choice(node, &Subjects::WORDS));
        let user = fields.optional("user", read::text)?;
        let key = match (agent?, key?) {
            (Some(socket), key) => Key::Agent { socket, key },
            (None, Some(file)) => Key::File { file: file.into(), certificate: certificate? },
            (None, None) => {
                fields.complain_here("an identity by SSH needs a `key`, or the socket of an `agent`");
                return None;
            }
        };
        let subjects = subjects?;
        if let Some(user) = &user
            && (subjects == Subjects::Hosts || user.contains(['"', ',']) || user.chars().any(char::is_control))
        {
            fields.complain_here("`user` is the name of a person, with `for: people`");
        }
        Some(Self::Ssh { key, subjects, user })
    }

    /// As YAML.
    pub(super) fn render(&self) -> String {
        let path = |path: &PathBuf| quoted(&path.to_string_lossy());
        let entries = match self {
            Self::Secret { kind, file } => {
                let word = KINDS.iter().find(|(_, known)| *known == Some(*kind)).map_or("", |(word, _)| word);
                vec![("kind", Some(word.to_owned())), ("file", Some(path(file)))]
            }
            Self::Ssh { key, subjects, user } => {
                let (agent, key, certificate) = match key {
                    Key::File { file, certificate } => (None, Some(path(file)), certificate.as_ref().map(path)),
                    Key::Agent { socket, key } => (Some(path(socket)), key.as_deref().map(quoted), None),
                };
                let user = user.as_deref().map(quoted);
                let subjects = Some(subjects.word().to_owned());
                vec![
                    ("kind", Some("ssh".to_owned())),
                    ("agent", agent),
                    ("key", key),
                    ("certificate", certificate),
                    ("for", subjects),
                    ("user", user),
                ]
            }
        };
        mapping(entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect())
    }

    /// Adds its files.
    pub(super) fn files(&self, files: &mut NamedFiles) {
        match self {
            Self::Secret { file, .. } => files.secret("identity", Some(file)),
            Self::Ssh { key: Key::File { file, certificate }, .. } => {
                files.secret("identity", Some(file));
                files.obeyed("identity", certificate);
            }
            Self::Ssh { key: Key::Agent { socket, .. }, .. } => files.obeyed("identity", Some(socket)),
        }
    }

    /// What is wrong in a file that is read once, if it is here.
    pub(super) fn examine(&self) -> Option<Unfit> {
        let Self::Ssh { key: Key::File { file, .. }, .. } = self else { return None };
        File::open(file).ok()?;
        let error = PrivateKey::read(file, None).err()?;
        Some(Unfit { problem: format!("identity: {}: {error}", file.display()), certain: true })
    }

    /// Reads what is read once.
    pub(super) fn open(self) -> Result<Shown, SetupError> {
        Ok(match self {
            Self::Secret { kind, file } => Shown::Secret { kind, file },
            Self::Ssh { key, subjects, user } => Shown::Signature(Proof::open(key, subjects, user)?),
        })
    }
}

/// A proof that is ready.
pub(super) enum Shown {
    Secret { kind: IdentityKind, file: PathBuf },
    Signature(Proof),
}

impl Shown {
    /// The answer to a request with the proof.
    pub(super) async fn get(&self, client: &Client, url: &str, limit: usize) -> Result<Answer, SourceError> {
        let (kind, file) = match self {
            Self::Signature(proof) => return proof.get(client, url, limit).await,
            Self::Secret { kind, file } => (kind, file),
        };
        let secret = read_secret("identity", file).await?;
        let scheme = match kind {
            IdentityKind::Jwt => "Bearer",
            IdentityKind::Token => "Alppaca-Token",
        };
        let value = Secret::new(format!("{scheme} {}", secret.expose()));
        let call = Call::new(Method::GET, url).secret_header(header::AUTHORIZATION, &value)?;
        Ok(client.send(call, limit).await?)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::settings::{Value, problem::Source, yaml};

    const TABLE: &[Setting] = &[Setting::nested("identity", "", "")];

    fn read(text: &str) -> Option<Identity> {
        let source = Arc::new(Source { name: "x.yaml".into(), text: format!("identity: {text}") });
        let Value::Map(entries) = yaml::read(&source).expect("YAML").expect("a node").value else { panic!("{text}") };
        let mut fields = Fields::new(entries, TABLE);
        let identity = Identity::read(&mut fields, "identity");
        assert_eq!(identity.is_none(), !fields.problems.is_empty(), "{text}");
        identity.flatten()
    }

    #[test]
    fn each_form_reads_back_as_it_is_written() {
        for (text, written) in [
            ("{kind: jwt, file: /t}", r#"{kind: jwt, file: "/t"}"#),
            ("{kind: ssh, key: /k}", r#"{kind: ssh, key: "/k", for: hosts}"#),
            ("{kind: ssh, key: /k, certificate: /c}", r#"{kind: ssh, key: "/k", certificate: "/c", for: hosts}"#),
            ("{kind: ssh, agent: /a}", r#"{kind: ssh, agent: "/a", for: hosts}"#),
            (
                "{kind: ssh, agent: /a, key: 'SHA256:x', for: people, user: alice}",
                r#"{kind: ssh, agent: "/a", key: "SHA256:x", for: people, user: "alice"}"#,
            ),
        ] {
            let identity = read(text).expect("legal");
            assert_eq!(identity.render(), written);
            assert_eq!(read(written), Some(identity));
        }
        for wrong in ["{kind: ssh, key: /k, user: alice}", r#"{kind: ssh, key: /k, for: people, user: 'a",b'}"#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
