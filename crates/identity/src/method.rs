//! What each identity method says of itself, and the list of all methods. A method is a folder here and a line in
//! [`METHODS`].

use std::{borrow::Cow, collections::BTreeMap, fmt, path::PathBuf, sync::Arc};

use alppaca_jwt::{KeyOptions, KeyRing};

use crate::{
    Directory, Prove, UsedOnce,
    clock::{SharedClock, SystemClock},
    dns,
    groups::{GroupsFrom, WithGroups},
    jwt, mtls,
    needs::Needs,
    people::WithDirectory,
    proxy,
    settings::{Comparable, Fields, NamedFiles, Node, Problem, Setting, fields::take, read, render::quoted, yaml::Key},
    ssh, token,
};

/// All methods, in the order of the documentation.
pub static METHODS: &[&Entry] =
    &[&mtls::METHOD, &jwt::METHOD, &ssh::METHOD, &token::METHOD, &proxy::METHOD, &dns::METHOD];

/// The setting of the methods, for the table of the server.
pub const SETTINGS: &[Setting] = &[Setting::nested(
    "identities",
    "",
    "A mapping of names to identity methods, each with a `kind` and the settings of that kind.",
)];

/// How a method is written.
pub struct Entry {
    /// The word for it (`kind`); the `method` of an identity.
    pub word: &'static str,
    /// Its settings, without `kind` itself.
    pub settings: &'static [Setting],
    /// Reads them; what is wrong is noted.
    pub read: fn(&mut Fields) -> Option<Arc<dyn Method>>,
}

/// An identity method as it is configured: its options, and what follows from them. Nothing is opened.
pub trait Method: Comparable + fmt::Debug + Send + Sync {
    /// How it is written.
    fn entry(&self) -> &'static Entry;

    /// Its settings as YAML, secrets as `***`.
    fn render(&self) -> Vec<(&'static str, String)>;

    /// Adds the files that it names.
    fn files(&self, _: &mut NamedFiles) {}

    /// Adds what it needs of the system beside these files.
    fn needs(&self, _: &mut Needs) {}

    /// The proofs of which it leaves none to a later method of its mount.
    fn takes_all(&self) -> Option<&'static str> {
        None
    }

    /// The files of the authorities all of whose client certificates it takes for those of callers.
    fn callers(&self) -> &[PathBuf] {
        &[]
    }

    /// The files of the authorities of reverse proxies.
    fn proxies(&self) -> &[PathBuf] {
        &[]
    }

    /// The name of the directory that it needs.
    fn directory(&self) -> Option<&str> {
        None
    }

    /// Reads its files and makes it ready, under the name that it has in the configuration.
    fn open(&self, name: &str, opening: &Opening) -> Result<Opened, String>;
}

impl dyn Method {
    /// The word for it (`kind`).
    pub fn word(&self) -> &'static str {
        self.entry().word
    }
}

impl PartialEq for dyn Method {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl Eq for dyn Method {}

/// What a method has to know of the server to be opened.
pub struct Opening {
    /// The name service.
    pub resolver: Arc<dyn dns::Resolve>,
    /// The clock.
    pub clock: SharedClock,
    /// The directories of people, by their names.
    pub directories: BTreeMap<String, Arc<dyn Directory>>,
    /// What was used of the proofs for one request. The server keeps it when it opens its methods anew.
    pub used: Arc<UsedOnce>,
    /// Public keys that are kept fresh already. Who needs the same ones takes them from there.
    pub feeds: Vec<KeyFeed>,
}

impl Opening {
    /// On this host, without a directory.
    pub fn system() -> Self {
        Self {
            resolver: Arc::new(dns::System),
            clock: SystemClock::shared(),
            directories: BTreeMap::new(),
            used: Arc::default(),
            feeds: Vec::new(),
        }
    }

    /// The directory of this name.
    pub fn directory(&self, name: &str) -> Result<Arc<dyn Directory>, String> {
        self.directories.get(name).cloned().ok_or_else(|| format!("there is no directory {name:?}"))
    }

    /// The public keys from there: those of the first feed that has them, or else none yet.
    pub(crate) fn ring(&self, options: &KeyOptions) -> KeyRing {
        let known = self.feeds.iter().find(|feed| feed.options == *options);
        known.map_or_else(|| KeyRing::new(Arc::default()), |feed| feed.ring.clone())
    }
}

/// Reads files again that may have changed. If one is wrong, everything stays as it was.
pub type Reload = Box<dyn Fn() -> Result<(), String> + Send + Sync>;

/// A method that is ready.
pub struct Opened {
    /// Judges requests.
    pub prove: Arc<dyn Prove>,
    /// The authorities that a listener has to accept client certificates of, for the method to see them.
    pub authority: Option<Arc<mtls::Authority>>,
    /// Reads its files again, if it has any.
    pub reload: Option<Reload>,
    /// The public keys that the server has to fetch, if any.
    pub keys: Option<KeyFeed>,
}

impl Opened {
    /// A method without anything else.
    pub fn new(prove: Arc<dyn Prove>) -> Self {
        Self { prove, authority: None, reload: None, keys: None }
    }
}

/// Public keys of an issuer that have to be kept fresh.
#[derive(Clone)]
pub struct KeyFeed {
    /// Where they are.
    pub options: KeyOptions,
    /// Where they go.
    pub ring: KeyRing,
}

/// What each method may have beside its own settings.
pub const COMMON: &[Setting] = &[
    Setting::nested("kind", "", "The kind of the method. Required."),
    Setting::nested(
        "groups_from",
        "proof",
        "`proof`: groups are those that the proof holds. `nss`: also those that the account of that name has on the \
         server's host (NSS, sssd, nslcd). The name of one of `directories`: also those of the person of that name there, \
         with the claims.",
    ),
];

/// One identity method, with the name that it has in the configuration.
#[derive(Debug, Clone, Eq)]
pub struct Named {
    /// Its name.
    pub name: String,
    /// What it is.
    pub method: Arc<dyn Method>,
    /// Where groups come from.
    pub groups: GroupsFrom,
}

impl PartialEq for Named {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name && self.groups == other.groups && *self.method == *other.method
    }
}

impl Named {
    /// Reads its files and makes it ready.
    pub fn open(&self, opening: &Opening) -> Result<Opened, String> {
        let opened = self.method.open(&self.name, opening)?;
        Ok(match &self.groups {
            GroupsFrom::Proof => opened,
            GroupsFrom::NameService => Opened { prove: Arc::new(WithGroups::new(opened.prove)), ..opened },
            GroupsFrom::Directory(name) => {
                Opened { prove: Arc::new(WithDirectory(opened.prove, opening.directory(name)?)), ..opened }
            }
        })
    }

    /// The names of the directories that it needs.
    pub fn directories(&self) -> impl Iterator<Item = &str> {
        let groups = match &self.groups {
            GroupsFrom::Directory(name) => Some(name.as_str()),
            GroupsFrom::Proof | GroupsFrom::NameService => None,
        };
        groups.into_iter().chain(self.method.directory())
    }

    /// It as one line of YAML, without its name.
    pub fn render(&self) -> String {
        let settings: Vec<String> =
            self.method.render().iter().map(|(key, value)| format!(", {key}: {value}")).collect();
        let groups = match &self.groups {
            GroupsFrom::Proof => String::new(),
            GroupsFrom::NameService => ", groups_from: nss".to_owned(),
            GroupsFrom::Directory(name) => format!(", groups_from: {}", quoted(name)),
        };
        format!("{{kind: {}{}{groups}}}", self.method.word(), settings.concat())
    }
}

/// Reads `identities`, in the order of the file. `None` says that something is wrong, which is noted in `fields`.
pub fn read(fields: &mut Fields) -> Option<Vec<Named>> {
    let Some(node) = fields.given("identities").cloned() else { return Some(Vec::new()) };
    let entries = fields.note(read::entries(&node, "a mapping of names to identity methods").map(Cow::into_owned))?;
    // All are read, so that all problems are reported.
    let read: Vec<_> = entries.into_iter().map(|(key, node)| read_one(fields, key, node)).collect();
    read.into_iter().collect()
}

fn read_one(fields: &mut Fields, key: Key, mut node: Node) -> Option<Named> {
    let legal = |c: char| c.is_ascii_alphanumeric() || "_.-".contains(c);
    if key.text.is_empty() || key.text.len() > 64 || !key.text.chars().all(legal) {
        let message = "the name of an identity method has 1 to 64 letters, digits, _, - and dots";
        fields.problems.push(Problem::new(key.place, message));
        return None;
    }
    let groups = take(&mut node, "groups_from").filter(|node| !node.is_null());
    let groups = groups.map_or(Ok(GroupsFrom::Proof), |node| {
        Ok(match read::text(&node)?.as_str() {
            "proof" => GroupsFrom::Proof,
            "nss" => GroupsFrom::NameService,
            name => GroupsFrom::Directory(name.to_owned()),
        })
    });
    let groups = fields.note(groups);
    let what = format!("the identity method {:?}", key.text);
    let kinds = METHODS.iter().map(|entry| (entry.word, entry.settings, entry.read));
    let before = fields.problems.len();
    let method = fields.of_kind(node, (&what, &key.place), "identity method", kinds);
    for problem in fields.problems.split_off(before) {
        fields.problems.push(problem.or_at(&key.place));
    }
    Some(Named { name: key.text, method: method?, groups: groups? })
}

#[cfg(test)]
mod tests;
