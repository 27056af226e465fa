//! What each kind of source says of itself, and the list of all kinds. A kind is a folder here and a line in [`KINDS`].

use std::{fmt, net::SocketAddr, sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{
    aws::Aws,
    aws_login, hologram,
    host_env::HostEnv,
    imds, ims,
    listed::ListedRole,
    process::{self, Program},
    profile,
    purpose::{Purpose, Serves},
    roles_anywhere, site, sso, static_keys, vault, web_identity,
};
use crate::{
    fetch::Proxying,
    needs::Needs,
    refresh::{CallLimit, Fetch, OnRequest, Source},
    settings::{Comparable, Fields, Keys, NamedFiles, Node, Rendered, Setting, problem::Place},
    sign_in::Known,
};

/// All kinds, in the order of the documentation.
pub static KINDS: &[Entry] = &[
    Entry::of::<ims::Options>(),
    Entry::of::<roles_anywhere::options::Options>(),
    Entry::of::<Aws>(),
    Entry::of::<web_identity::options::Options>(),
    Entry::of::<process::options::Options>(),
    Entry::of::<profile::options::Options>(),
    Entry::of::<vault::options::Options>(),
    Entry::of::<static_keys::options::Options>(),
    Entry::of::<imds::options::Options>(),
    Entry::of::<hologram::options::Options>(),
    Entry::of::<site::options::Options>(),
    Entry::of::<sso::options::Options>(),
    Entry::of::<aws_login::options::Options>(),
];

/// How a kind is written.
pub struct Entry {
    /// The word for it (`kind`).
    pub word: &'static str,
    /// Its settings, without `kind` itself.
    pub settings: &'static [Setting],
    /// Those of the mappings below, each with its name.
    pub below: &'static [(&'static str, &'static [Setting])],
    /// Reads them; what is wrong is noted.
    pub read: fn(&mut Fields) -> Option<Arc<dyn Kind>>,
}

impl Entry {
    const fn of<T: Written + Kind>() -> Self {
        Self { word: T::WORD, settings: T::SETTINGS, below: T::BELOW, read: read_as::<T> }
    }
}

fn read_as<T: Written + Kind>(fields: &mut Fields) -> Option<Arc<dyn Kind>> {
    Some(Arc::new(T::read(fields)?))
}

/// How the options of a kind are written.
pub trait Written: Keys {
    /// The word for the kind (`kind`), which is not among its keys.
    const WORD: &'static str;
    /// The tables of the mappings below its keys, each with its name.
    const BELOW: &'static [(&'static str, &'static [Setting])] = &[];
}

/// What has a word for it.
pub trait Named {
    /// The word (`kind`).
    fn word(&self) -> &'static str;
}

impl<T: Written> Named for T {
    fn word(&self) -> &'static str {
        T::WORD
    }
}

/// Reads one source with the settings of its `kind`; what is wrong is noted. `what` is what it is called in messages.
pub fn read_kind(fields: &mut Fields, what: &str, place: &Place, node: Node) -> Option<Arc<dyn Kind>> {
    let kinds = KINDS.iter().map(|kind| (kind.word, kind.settings, kind.read));
    fields.of_kind(node, (what, place), "source", kinds)
}

/// What the credentials of a source are for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Provides {
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

/// A source of one kind as it is configured: its options, and what follows from them. Nothing is opened.
pub trait Kind: Comparable + Named + Rendered + fmt::Debug + Send + Sync {
    /// What its credentials are for.
    fn provides(&self) -> Provides;

    /// What `check` says of it, in a few words.
    fn summary(&self) -> String;

    /// How many calls it may get.
    fn call_limit(&self) -> CallLimit;

    /// Makes it ready to be called. Certificates are read; nothing is sent yet.
    fn open(&self, opening: &Opening) -> Result<Arc<dyn Opened>, String>;

    /// Whether its credentials are known to be those of a role, so that assuming another role with them is role
    /// chaining, for which AWS gives an hour at most.
    fn is_role_session(&self) -> bool {
        self.provides() == Provides::Listed
    }

    /// The settings of a role that its own call takes, beside `role_arn`.
    fn accepts(&self) -> &'static [&'static str] {
        match self.provides() {
            Provides::Listed | Provides::PerName => &["upstream_role"],
            Provides::One | Provides::PerArn | Provides::Nothing => &[],
        }
    }

    /// Whether clients get its sets as they are, also those without a session token. A kind whose sets always have one, as
    /// those of a lister have, need not be checked.
    fn serves_long_term(&self) -> bool {
        self.is_lister()
    }

    /// Whether all roles that it lists can be served, as an IMS's: then it has a [lister](Opened::lister).
    fn is_lister(&self) -> bool {
        self.provides() == Provides::Listed
    }

    /// Whether its roles are one person's, so that nobody else on this host gets them without a policy that says so.
    fn is_personal(&self) -> bool {
        false
    }

    /// Which of the roles that it lists are fetched, if not all.
    fn on_request(&self) -> Option<OnRequest> {
        None
    }

    /// How `AssumeRole` is called, if that is what it says.
    fn assumes(&self) -> Option<&Aws> {
        None
    }

    /// The region in which AWS is asked for a role of the source, if AWS is.
    fn region(&self) -> Option<&str> {
        None
    }

    /// The proxy in front of it, where there can be one.
    fn proxying(&self) -> Option<&Proxying> {
        None
    }

    /// Adds the files that it names.
    fn files(&self, _: &HostEnv, _: &mut NamedFiles) {}

    /// The programs that it runs, as far as the configuration says it.
    fn programs(&self, _: &HostEnv) -> Vec<Program> {
        Vec::new()
    }

    /// Adds what it needs of the system beside these files: servers, programs, what is written.
    fn needs(&self, host_env: &HostEnv, needs: &mut Needs);

    /// What `check` finds in the files that show who this host is: a sentence, or what is wrong with them.
    fn examine(&self, _now: Timestamp) -> Option<Result<String, Unfit>> {
        None
    }
}

impl PartialEq for dyn Kind {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl Eq for dyn Kind {}

/// Why a host cannot show with its files who it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Unfit {
    /// What is wrong.
    pub problem: String,
    /// Whether that is a mistake in files that are here. What is missing may be there elsewhere, and what has expired may be
    /// renewed.
    pub certain: bool,
}

/// What a source has to know to be opened.
pub struct Opening<'a> {
    /// The name of the source.
    pub name: &'a str,
    /// The host.
    pub host_env: &'a HostEnv,
    /// Where alppaca itself listens.
    pub listeners: &'a [SocketAddr],
    /// After which time a preferred host that did not work is tried again.
    pub return_wait: Duration,
}

/// The end of a certificate that shows who this host is, as far as it is known.
pub type CertificateEnd = Box<dyn Fn() -> Option<Timestamp> + Send>;

/// A source that is ready to be called. What its roles share (a login, connections, a token) it has once.
pub trait Opened: Send + Sync {
    /// The call for one role, which is that of the [lister](Self::lister), if there is one.
    fn call(&self, purpose: &Purpose, serves: Serves) -> Result<Arc<dyn Fetch>, String> {
        let lister = self.lister().ok_or("has no credentials of its own")?;
        Ok(Arc::new(ListedRole::of(lister, purpose, serves)?))
    }

    /// What lists the roles, if all of them can be served.
    fn lister(&self) -> Option<Arc<dyn Source>> {
        None
    }

    /// The sign-in of the person for whom it gives roles, if there has to be one.
    fn sign_in(&self) -> Option<Known> {
        None
    }

    /// When the certificate ends with which it shows who this host is.
    fn certificate_end(&self) -> Option<CertificateEnd> {
        None
    }
}

/// A source whose call is the same for every role.
pub(super) struct One(pub(super) Arc<dyn Fetch>);

impl Opened for One {
    fn call(&self, _: &Purpose, _: Serves) -> Result<Arc<dyn Fetch>, String> {
        Ok(Arc::clone(&self.0))
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_folder_with_a_kind_is_in_the_list() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/source");
        let kinds = fs::read_dir(folder).expect("a folder").filter(|entry| {
            let options = entry.as_ref().expect("an entry").path().join("options.rs");
            fs::read_to_string(options).is_ok_and(|code| code.contains("impl Written for"))
        });
        assert_eq!(kinds.count(), KINDS.len());
        assert_eq!(KINDS.iter().map(|entry| entry.word).collect::<HashSet<_>>().len(), KINDS.len());
    }
}
