//! `sources`: the named upstreams. Each kind has a file of its own here, and an arm in [`SourceKind`].

pub mod aws;
pub mod imds;
pub mod ims;
pub mod process;
pub mod profile;
pub mod roles_anywhere;
pub mod static_keys;
pub mod sts;
pub mod vault;
pub mod web_identity;

pub use aws::{Aws, Rate};
pub use imds::Imds as ImdsSource;
pub use process::Process;
pub use profile::Profile;
pub use roles_anywhere::RolesAnywhere;
pub use static_keys::{SecretText, StaticKeys};
pub use vault::{Auth as VaultAuth, Vault};
pub use web_identity::WebIdentity;

use super::Ims;
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::Problem,
    read,
    table::nearest,
    yaml::{Key, Node, Value},
};

/// One named upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: String,
    /// What it is.
    pub kind: SourceKind,
}

/// What an upstream is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceKind {
    /// An IMS, on one or more hosts.
    Ims(Box<Ims>),
    /// IAM Roles Anywhere, with an X.509 certificate.
    RolesAnywhere(Box<RolesAnywhere>),
    /// How `AssumeRole` is called.
    Sts(Box<Aws>),
    /// A token of an `OpenID` Connect issuer.
    WebIdentity(Box<WebIdentity>),
    /// A program that prints credentials.
    Process(Box<Process>),
    /// A profile of the SDK's own files.
    Profile(Box<Profile>),
    /// HashiCorp Vault's AWS secrets engine.
    Vault(Box<Vault>),
    /// Keys that are written down.
    Static(Box<StaticKeys>),
    /// The metadata service of an EC2 instance.
    Imds(Box<ImdsSource>),
}

/// What the credentials of a source are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gives {
    /// It lists roles and gives a set for each (`upstream_role`).
    Listed,
    /// It has one set.
    One,
    /// It gives a set for each `role_arn`.
    PerArn,
    /// It gives a set for each `upstream_role`, and may be told the `role_arn` that is meant.
    PerName,
    /// It has no credentials of its own: it says how a call is made.
    Nothing,
}

/// One kind: its word, its settings, and how they are read. `kind` itself is taken out before.
pub(in crate::config) struct Kind {
    pub(in crate::config) word: &'static str,
    pub(in crate::config) settings: &'static [Setting],
    pub(in crate::config) read: fn(&mut Fields) -> Option<SourceKind>,
}

/// All kinds, in the order of the documentation.
pub(in crate::config) const KINDS: &[Kind] = &[
    ims::KIND,
    sts::KIND,
    web_identity::KIND,
    roles_anywhere::KIND,
    process::KIND,
    profile::KIND,
    vault::KIND,
    static_keys::KIND,
    imds::KIND,
];

impl SourceKind {
    /// The word for it (`kind`).
    pub fn word(&self) -> &'static str {
        match self {
            Self::Ims(_) => ims::KIND.word,
            Self::RolesAnywhere(_) => roles_anywhere::KIND.word,
            Self::Sts(_) => sts::KIND.word,
            Self::WebIdentity(_) => web_identity::KIND.word,
            Self::Process(_) => process::KIND.word,
            Self::Profile(_) => profile::KIND.word,
            Self::Vault(_) => vault::KIND.word,
            Self::Static(_) => static_keys::KIND.word,
            Self::Imds(_) => imds::KIND.word,
        }
    }

    /// What its credentials are for.
    pub fn gives(&self) -> Gives {
        match self {
            Self::Ims(_) => Gives::Listed,
            Self::RolesAnywhere(_) => Gives::PerArn,
            Self::Sts(_) => Gives::Nothing,
            Self::WebIdentity(_) => Gives::PerArn,
            Self::Process(_) => Gives::One,
            Self::Profile(_) => Gives::One,
            Self::Vault(_) => Gives::PerName,
            Self::Static(_) => Gives::One,
            Self::Imds(_) => Gives::Listed,
        }
    }

    /// Whether its credentials are known to be those of a role, so that assuming another role with them is role
    /// chaining, for which AWS gives an hour at most.
    pub fn is_role_session(&self) -> bool {
        match self {
            Self::Ims(_) | Self::WebIdentity(_) | Self::RolesAnywhere(_) | Self::Imds(_) => true,
            // What these have may also be an IAM user's.
            Self::Sts(_) | Self::Process(_) | Self::Profile(_) | Self::Vault(_) | Self::Static(_) => false,
        }
    }

    /// The settings of a role that its own call takes, beside `role_arn`.
    pub fn takes(&self) -> &'static [&'static str] {
        match self {
            Self::Ims(_) => &["upstream_role"],
            Self::RolesAnywhere(_) => &["duration", "session_name"],
            Self::Sts(_) => &[],
            Self::WebIdentity(_) => &["session_name", "duration", "policy", "policy_arns"],
            Self::Process(_) => &[],
            Self::Profile(_) => &[],
            Self::Vault(_) => &["upstream_role", "role_arn", "session_name", "duration"],
            Self::Static(_) => &[],
            Self::Imds(_) => &["upstream_role"],
        }
    }

    /// What `check` says of it, in a few words.
    pub fn summary(&self) -> String {
        match self {
            Self::Ims(ims) => ims.summary(),
            Self::RolesAnywhere(source) => source.summary(),
            Self::Sts(aws) => aws.summary(),
            Self::WebIdentity(identity) => identity.summary(),
            Self::Process(process) => process.summary(),
            Self::Profile(profile) => profile.summary(),
            Self::Vault(vault) => vault.summary(),
            Self::Static(keys) => keys.summary(),
            Self::Imds(imds) => imds.endpoint.clone(),
        }
    }

    /// Its settings as YAML, in the order of the table, secrets as `***`.
    fn render(&self) -> Vec<(&'static str, String)> {
        match self {
            Self::Ims(ims) => ims::render(ims),
            Self::RolesAnywhere(source) => roles_anywhere::render(source),
            Self::Sts(aws) => aws.render(),
            Self::WebIdentity(identity) => web_identity::render(identity),
            Self::Process(process) => process::render(process),
            Self::Profile(profile) => profile::render(profile),
            Self::Vault(vault) => vault::render(vault),
            Self::Static(keys) => static_keys::render(keys),
            Self::Imds(imds) => imds::render(imds),
        }
    }
}

impl Source {
    /// It as one line of YAML.
    pub(super) fn render(&self) -> String {
        let settings: Vec<String> = self.kind.render().iter().map(|(key, value)| format!(", {key}: {value}")).collect();
        format!("{{kind: {}{}}}", self.kind.word(), settings.concat())
    }
}

/// A setting of a nested section.
pub(super) const fn setting(key: &'static str, default: &'static str, meaning: &'static str) -> Setting {
    Setting::nested(key, default, meaning)
}

/// The value of a key that has to be there, or what is missing without it.
fn required<T>(fields: &mut Fields, key: &str, missing: &str, read: impl Fn(&Node) -> Result<T, Problem>) -> Option<T> {
    let value = fields.optional(key, read)?;
    if value.is_none() {
        fields.problems.push(Problem::nowhere(missing));
    }
    value
}

/// One table made of two.
pub(super) const fn concat<const A: usize, const B: usize, const N: usize>(
    first: [Setting; A],
    second: [Setting; B],
) -> [Setting; N] {
    assert!(A + B == N, "the length of the table is the sum");
    let mut all = [setting("", "", ""); N];
    let mut index = 0;
    while index < N {
        all[index] = if index < A { first[index] } else { second[index - A] };
        index += 1;
    }
    all
}

/// Reads `sources`, in the order of the file. `None` if something is wrong.
pub(super) fn read_sources(fields: &mut Fields) -> Option<Vec<(Key, Source)>> {
    let Some(node) = fields.given("sources").cloned() else { return Some(Vec::new()) };
    let Value::Map(entries) = node.value else {
        let message = format!("a mapping of names is expected here, not {}", node.kind());
        fields.problems.push(Problem::new(node.place, message));
        return None;
    };
    let read: Vec<_> = entries.into_iter().map(|(key, node)| read_source(fields, key, node)).collect();
    read.into_iter().collect()
}

fn read_source(fields: &mut Fields, key: Key, mut node: Node) -> Option<(Key, Source)> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if key.text.is_empty() || key.text.len() > 64 || !key.text.chars().all(legal) {
        let message = "the name of a source has 1 to 64 letters, digits, _, - and dots";
        fields.problems.push(Problem::new(key.place, message));
        return None;
    }
    // Taken out, because it says which table the rest is read against.
    let word = match &mut node.value {
        Value::Map(entries) => {
            entries.iter().position(|(key, _)| key.text == "kind").map(|index| entries.remove(index).1)
        }
        _ => None,
    };
    let words = || KINDS.iter().map(|kind| kind.word);
    let all = words().collect::<Vec<_>>().join(", ");
    let Some(word) = word else {
        let message = format!("the source {:?} needs a `kind`: one of {all}", key.text);
        fields.problems.push(Problem::new(key.place, message));
        return None;
    };
    let text = fields.note(read::text(&word))?;
    let Some(kind) = KINDS.iter().find(|kind| kind.word == text) else {
        let hint = nearest(&text, words()).map(|word| format!("; did you mean `{word}`?")).unwrap_or_default();
        let message = format!("there is no kind {text:?} of source; there are {all}{hint}");
        fields.problems.push(Problem::new(word.place, message));
        return None;
    };
    let kind = fields.nested(node, kind.settings, kind.read)?;
    let name = key.text.clone();
    Some((key, Source { name, kind }))
}
