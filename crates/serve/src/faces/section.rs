//! What each face that has a section in the configuration says of itself. A face is a folder here and a line in
//! [`ALL`](super::ALL).

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr, SocketAddr},
    pin::Pin,
    sync::Arc,
    time::Duration,
};

use super::{common::Shared, ecs::EcsTokens, imds::Wanted, pod_identity::Sessions};
use crate::{
    clock::SharedClock,
    credentials::{Pattern, RoleArn, RoleName},
    http::{Face, Respond},
    jwt::{KeyOptions, KeyRing},
    kubernetes::{ApiOptions, Index, Watched},
    needs::Needs,
    settings::{
        Comparable, Fields, NamedFiles, Node, Problem, Rendered, Setting, read,
        render::{list, mapping, quoted},
    },
};

/// AWS's IPv6 addresses on a host: of the IMDS, and of the EKS Pod Identity agent.
const EC2_V6: [Ipv6Addr; 2] =
    [Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254), Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x23)];

/// How a face is written.
#[derive(Debug)]
pub struct Entry {
    /// The key of its section.
    pub section: Setting,
    /// The settings of the section, with `listen` among them.
    pub settings: &'static [Setting],
    /// The mappings below it: where they stand, and their settings.
    pub below: &'static [(&'static str, &'static [Setting])],
    /// What is served there.
    pub face: &'static dyn Face,
    /// Reads it.
    pub read: ReadOptions,
}

/// Reads a section, but for where it listens, which is given: nowhere if that is wrong. What is wrong is noted.
pub(super) type ReadOptions = fn(&mut Fields, &[SocketAddr]) -> Option<Arc<dyn Options>>;

/// The options of a face as they are configured. Nothing is opened.
pub trait Options: Comparable + Rendered + fmt::Debug + Send + Sync {
    /// Makes it ready to answer at `listen`.
    fn open(&self, listen: &[SocketAddr], opening: &Opening) -> Result<Opened, OpenError>;

    /// The roles of which its clients get sessions of their own. Not every role can have such.
    fn own_sessions(&self) -> Vec<OwnSessions> {
        Vec::new()
    }

    /// Adds the files that it names.
    fn files(&self, _: &mut NamedFiles) {}

    /// Adds what it needs of the system beside these files.
    fn needs(&self, needs: &mut Needs);
}

/// Roles of which each client gets a session of its own, with tags, because an item of a list in the section says so.
#[derive(Debug, Clone)]
pub struct OwnSessions {
    /// The keys that lead from the section to the list.
    pub list: &'static [&'static str],
    /// Which item it is.
    pub index: usize,
    /// The roles.
    pub roles: Vec<Pattern>,
    /// The keys of the tags.
    pub tags: Vec<&'static str>,
}

impl PartialEq for dyn Options {
    fn eq(&self, other: &Self) -> bool {
        self.equals(other)
    }
}

impl Eq for dyn Options {}

/// A face that has a section.
#[derive(Debug, Clone)]
pub struct Section {
    /// Which one.
    pub entry: &'static Entry,
    /// Where to listen. Never empty, but in a daemon that was started without the section.
    pub listen: Vec<SocketAddr>,
    /// The rest.
    pub options: Arc<dyn Options>,
}

impl PartialEq for Section {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key() && self.listen == other.listen && *self.options == *other.options
    }
}

impl Eq for Section {}

impl Section {
    /// Reads the section of a face. The outer `None` says that something in it is wrong, the inner one that it is not given.
    #[allow(clippy::option_option, reason = "wrong and absent are not the same")]
    pub fn read(entry: &'static Entry, fields: &mut Fields) -> Option<Option<Self>> {
        let key = entry.section.key;
        fields.section(key, entry.settings, |fields| {
            let listen = fields.value("listen", addresses);
            let options = (entry.read)(fields, listen.as_deref().unwrap_or_default());
            Some(Self { entry, listen: listen?, options: options? })
        })
    }

    /// The key of the section.
    pub fn key(&self) -> &'static str {
        self.entry.section.key
    }

    /// The section as YAML.
    pub fn render(&self) -> String {
        let listen = ("listen", list(self.listen.iter().map(|address| quoted(&address.to_string()))));
        let rest = self.options.render();
        mapping([listen].into_iter().chain(rest).map(|(key, value)| (key.to_owned(), value)).collect())
    }

    /// Makes the face ready to answer.
    pub fn open(&self, opening: &Opening) -> Result<Opened, OpenError> {
        self.options.open(&self.listen, opening)
    }
}

/// At least one address.
fn addresses(node: &Node) -> Result<Vec<SocketAddr>, Problem> {
    read::filled_list(node, "no client could connect", read::socket_address)
}

/// An address that can be reached over the network.
pub fn open_address(addresses: &[SocketAddr]) -> Option<&SocketAddr> {
    let local = |ip: IpAddr| match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unicast_link_local() || EC2_V6.contains(&ip),
    };
    addresses.iter().find(|address| !local(address.ip()))
}

/// What a face is made of, beside its options.
pub struct Opening<'a> {
    /// What all faces have.
    pub shared: Shared,
    /// The clock.
    pub clock: SharedClock,
    /// The tokens that open roles at the container face, with those of `exec`.
    pub tokens: EcsTokens,
    /// What is asked for what other servers have.
    pub remote: &'a dyn Remote,
    /// The service accounts of a cluster that are followed already.
    pub watched: Arc<Watched>,
    /// The roles of the configuration that have an ARN.
    pub role_arns: Arc<[(RoleArn, RoleName)]>,
    /// The sessions that pods have for themselves.
    pub pod_sessions: Arc<Sessions>,
}

/// A face that is ready.
pub struct Opened {
    /// It.
    pub respond: Arc<dyn Respond>,
    /// What it needs to be done in the background.
    pub work: Option<Work>,
}

/// Work that never ends, to be done apart from the requests.
pub type Work = Pin<Box<dyn Future<Output = ()> + Send>>;

/// Fetches for the faces, which make no calls themselves.
pub trait Remote {
    /// Answers what is `wanted` with what the IMDS at `base` says within `timeout`.
    fn documents(&self, base: &str, timeout: Duration, wanted: Wanted) -> Result<Work, OpenError>;

    /// Keeps the keys on `ring` fresh, as `options` say.
    fn keys(&self, options: &KeyOptions, ring: KeyRing) -> Result<Work, OpenError>;

    /// Keeps `index` as the service accounts of the cluster are whose API server is reached by `options`.
    fn accounts(&self, options: &ApiOptions, index: Arc<Index>, clock: SharedClock) -> Work;
}

/// Why a face cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct OpenError(pub Box<dyn std::error::Error + Send + Sync>);
