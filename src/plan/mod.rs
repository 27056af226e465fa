//! From the configuration to the graph of what is fetched. Each kind of source has an arm in `own_call`.

mod aws_calls;
mod explain;
mod ims;
mod kinds;
mod notes;
mod roles_anywhere;
mod trial;

pub use explain::explain;
pub use notes::{clear_text, proxies_in_force};
pub use trial::{Trial, trials};

use std::{
    collections::HashMap,
    fmt::Display,
    path::PathBuf,
    sync::{Arc, Mutex, PoisonError},
};

use jiff::Timestamp;

use crate::{
    clock::SharedClock,
    config::{self, Config, Origin, Role, Session, SourceKind, Upstreams},
    credentials::{RoleArn, RoleId, RoleName, SessionFacts},
    fetch::end_of_certificate,
    journal::Certificate,
    refresh::{Cadence, Fetch, Graph, Lane, LaneId, Lister, Maker, Node, OnDemand, Source, Visibility, Way},
    source::{
        PassOn, aws,
        listed::ListedRole,
        long_term::TemporaryOnly,
        roles_anywhere::Identity,
        sts::{self, Sts},
    },
};

/// The default STS has no name in the configuration.
const DEFAULT_STS: &str = "";
/// Nor has what asks nobody.
const LOCAL: &str = " ";

/// What the sources have to know of the host they run on.
#[derive(Clone)]
pub struct Surroundings {
    /// The host's name, for the names of sessions.
    pub host: String,
    /// What the environment says of calls to AWS.
    pub aws: aws::Environment,
    /// The environment's proxies, for the sources that are told to use them.
    pub proxies: config::ProxyVariables,
    /// `HOME` and `PATH`, for programs and profiles.
    pub home: Option<PathBuf>,
    /// Where programs are found.
    pub path: Option<String>,
    /// What runs a program in a session of its own: a program and arguments, which its command line follows.
    pub launcher: Vec<String>,
    /// The time, for signatures.
    pub clock: SharedClock,
}

/// What is fetched, and how more can be.
pub struct Fetching {
    /// Everything that the configuration names.
    pub graph: Graph,
    /// Makes roles on demand.
    pub maker: Maker,
    /// The certificates of the sources.
    pub certificates: Vec<Certificate>,
}

/// Why the sources cannot be set up.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("source {name}: {problem}")]
pub struct FetchingError {
    name: String,
    problem: String,
}

impl FetchingError {
    fn new(name: &str, problem: impl Display) -> Self {
        Self { name: name.to_owned(), problem: problem.to_string() }
    }
}

/// Makes the sources that `config` names. Files are read; nothing is sent yet.
pub fn fetching(config: &Config, surroundings: Surroundings) -> Result<Fetching, FetchingError> {
    let (blueprint, lanes) = Blueprint::new(config, surroundings)?;
    let mut graph = Graph { lanes, ..Graph::default() };
    let roles = blueprint.upstreams.roles();
    if roles.is_empty()
        && let Some(source) = blueprint.upstreams.first_ims()
    {
        let source = blueprint.lister(&source.name)?;
        graph.lister = Some(Lister { source, interval: config.refresh.interval });
    }
    for role in &roles {
        let (parents, node) = blueprint.role(role)?;
        for parent in parents {
            if !graph.nodes.iter().any(|node| node.id == parent.id) {
                graph.nodes.push(parent);
            }
        }
        graph.nodes.push(node);
    }
    let certificates = blueprint.certificates();
    let maker = move |id: &RoleId, wanted: &OnDemand| blueprint.on_demand(id, wanted);
    Ok(Fetching { graph, maker: Box::new(maker), certificates })
}

/// From what nodes are made.
struct Blueprint {
    upstreams: Upstreams,
    surroundings: Surroundings,
    ims: Cadence,
    lanes: HashMap<String, LaneId>,
    listers: HashMap<String, Arc<dyn Source>>,
    kinds: kinds::Kinds,
    /// Certificates and keys, each shared by the roles of one source.
    identities: HashMap<String, Arc<Identity>>,
    /// Made when they are needed: who only has an IMS needs none.
    sts: Mutex<HashMap<String, Arc<Sts>>>,
}

/// What a call is made for.
struct Purpose<'a> {
    /// The name under which the role is served.
    name: &'a RoleName,
    upstream_role: Option<&'a str>,
    role_arn: Option<&'a RoleArn>,
    session: &'a Session,
    via: Option<&'a str>,
}

/// What the credentials of a source are needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Serves {
    /// They are served.
    Clients,
    /// Other roles are assumed with them.
    ToSign,
}

impl Blueprint {
    fn new(config: &Config, surroundings: Surroundings) -> Result<(Self, Vec<Lane>), FetchingError> {
        let upstreams = config.upstreams.clone();
        let mut listers: HashMap<String, Arc<dyn Source>> = HashMap::new();
        let mut identities = HashMap::new();
        let ims = Cadence::Ims { interval: config.refresh.interval };
        for source in &upstreams.sources {
            match &source.kind {
                SourceKind::Ims(settings) => {
                    let made = self::ims::source(settings, &surroundings, ims.return_wait());
                    let made = made.map_err(|error| FetchingError::new(&source.name, error))?;
                    listers.insert(source.name.clone(), made);
                }
                SourceKind::RolesAnywhere(settings) => {
                    identities.insert(source.name.clone(), Identity::new(settings.identity.clone()));
                }
                _ => {}
            }
        }
        // The lister's lane is the first.
        let first = upstreams.first_ims().map(|source| source.name.clone());
        let mut named: Vec<(String, Lane)> =
            upstreams.sources.iter().map(|source| (source.name.clone(), lane(&source.kind))).collect();
        named.sort_by_key(|(name, _)| Some(name) != first.as_ref());
        named.push((DEFAULT_STS.to_owned(), of_aws(&upstreams.sts)));
        named.push((LOCAL.to_owned(), Lane { concurrency: usize::MAX, rate: None }));
        let lanes = named.iter().enumerate().map(|(index, (name, _))| (name.clone(), LaneId(index))).collect();
        let kinds = kinds::Kinds::new(config, &surroundings)?;
        let blueprint = Self { upstreams, surroundings, ims, lanes, listers, kinds, identities, sts: Mutex::default() };
        Ok((blueprint, named.into_iter().map(|(_, lane)| lane).collect()))
    }

    /// The certificates with which sources show who this host is. Those of TLS are read once, as the connections read them.
    fn certificates(&self) -> Vec<Certificate> {
        let certificate = |source: &config::Source| {
            let end: Box<dyn Fn() -> Option<Timestamp> + Send> = match &source.kind {
                SourceKind::RolesAnywhere(_) => {
                    let identity = Arc::clone(self.identities.get(&source.name)?);
                    Box::new(move || identity.end())
                }
                SourceKind::Ims(ims) => end_of(ims.client_certificate.as_ref())?,
                SourceKind::Vault(vault) => end_of(vault.client_certificate.as_ref())?,
                _ => return None,
            };
            Some(Certificate { source: source.name.clone(), end })
        };
        self.upstreams.sources.iter().filter_map(certificate).collect()
    }

    fn lane(&self, name: &str) -> LaneId {
        self.lanes.get(name).copied().unwrap_or_default()
    }

    fn lister(&self, name: &str) -> Result<Arc<dyn Source>, FetchingError> {
        self.listers.get(name).cloned().ok_or_else(|| FetchingError::new(name, "lists no roles"))
    }

    /// The node of a role of the configuration, and the hidden ones that it needs.
    fn role(&self, role: &Role) -> Result<(Vec<Node>, Node), FetchingError> {
        let purpose = Purpose {
            name: &role.name,
            upstream_role: role.upstream_role.as_deref(),
            role_arn: role.role_arn.as_ref(),
            session: &role.session,
            via: role.via.as_deref(),
        };
        let mut parents = Vec::new();
        let mut ways = Vec::new();
        for name in &role.sources {
            let (parent, way) = self.way(name, &purpose)?;
            parents.extend(parent);
            ways.push(way);
        }
        let node = Node {
            id: RoleId::named(&role.name),
            name: role.name.clone(),
            visibility: Visibility::Listed,
            ways: ways.into(),
        };
        Ok((parents, node))
    }

    fn on_demand(&self, id: &RoleId, wanted: &OnDemand) -> Result<Vec<Node>, String> {
        let session = Session {
            external_id: wanted.external_id.clone(),
            name: match &wanted.session_name {
                Some(name) => name.parse().map_err(|error| format!("session name {name:?}: {error}"))?,
                None => Session::default().name,
            },
            duration: wanted.duration,
            policy: wanted.policy.clone(),
            policy_arns: wanted.policy_arns.clone(),
            tags: wanted.tags.clone(),
            transitive_tags: Vec::new(),
            source_identity: wanted.source_identity.clone(),
        };
        let purpose = Purpose {
            name: &wanted.name,
            upstream_role: None,
            role_arn: Some(&wanted.role_arn),
            session: &session,
            via: wanted.via.as_deref(),
        };
        if let Some(via) = wanted.via.as_ref().filter(|via| !self.upstreams.is_sts(via)) {
            return Err(format!("there is no source {via:?} of kind sts any more"));
        }
        let first = || self.upstreams.usable().map(|source| source.name.clone());
        let source = wanted.source.clone().or_else(first).ok_or("there is no source to assume it with")?;
        if let Some(asked) = self.upstreams.source(&source)
            && wanted.external_id.is_some()
            && !config::is_assumed(Origin::Source(asked), true)
            && !asked.kind.takes().contains(&"external_id")
        {
            return Err(format!(
                "an external id is asked for, but source {source} ({}) is asked for the role itself, and its call has \
                 none; let a role that comes from it be the source of these",
                asked.kind.word()
            ));
        }
        let (parent, way) = self.way(&source, &purpose).map_err(|error| error.to_string())?;
        let node =
            Node { id: id.clone(), name: wanted.name.clone(), visibility: Visibility::Unlisted, ways: [way].into() };
        Ok(parent.into_iter().chain([node]).collect())
    }

    /// The way from the source or role `name` to the role of `purpose`, and the hidden node that signs its call.
    fn way(&self, name: &str, purpose: &Purpose) -> Result<(Option<Node>, Way), FetchingError> {
        let roles = self.upstreams.roles();
        let origin = config::origin(name, &self.upstreams.sources, &roles)
            .ok_or_else(|| FetchingError::new(name, "there is no source and no role of that name"))?;
        let assumed = config::is_assumed(origin, purpose.role_arn.is_some());
        match origin {
            Origin::Role(role) if assumed => Ok((None, self.assume(name, RoleId::named(&role.name), purpose)?)),
            Origin::Role(role) => {
                let way = Way {
                    label: format!("role {name}").into(),
                    fetch: Arc::new(PassOn),
                    lane: self.lane(LOCAL),
                    parent: Some(RoleId::named(&role.name)),
                    follows: true,
                    cadence: Cadence::Aws,
                };
                Ok((None, way))
            }
            Origin::Source(source) if assumed => {
                // Those that are assumed with the same credentials share the node.
                let id = signer_id(name, purpose.upstream_role);
                let way = self.own_call(source, purpose, Serves::ToSign)?;
                let parent = Node {
                    id: id.clone(),
                    name: purpose.name.clone(),
                    visibility: Visibility::Hidden,
                    ways: [way].into(),
                };
                Ok((Some(parent), self.assume(name, id, purpose)?))
            }
            Origin::Source(source) => Ok((None, self.own_call(source, purpose, Serves::Clients)?)),
        }
    }

    /// The source's own call.
    fn own_call(&self, source: &config::Source, purpose: &Purpose, serves: Serves) -> Result<Way, FetchingError> {
        let name = &source.name;
        let wrong = |problem: &dyn Display| FetchingError::new(name, problem);
        let (fetch, cadence): (Arc<dyn Fetch>, Cadence) = match &source.kind {
            SourceKind::Ims(_) => {
                let role =
                    purpose.upstream_role.map(str::parse::<RoleName>).transpose().map_err(|error| wrong(&error))?;
                // To be served it is known by its name; to assume others the first will do.
                let role = role.or_else(|| (serves == Serves::Clients).then(|| purpose.name.clone()));
                (Arc::new(ListedRole::new(self.lister(name)?, role)), self.ims)
            }
            SourceKind::RolesAnywhere(settings) => {
                let identity = self.identities.get(name).ok_or_else(|| wrong(&"has no certificate"))?;
                let role = purpose.role_arn.ok_or_else(|| wrong(&"a role's ARN is needed"))?;
                let facts = SessionFacts { host: &self.surroundings.host, role: purpose.name.as_str() };
                let made = roles_anywhere::role(settings, identity, (role, purpose.session), facts, &self.surroundings);
                (Arc::new(made.map_err(|error| wrong(&error))?), Cadence::Aws)
            }
            SourceKind::Sts(_) => return Err(wrong(&"has no credentials of its own")),
            kind => {
                let facts = SessionFacts { host: &self.surroundings.host, role: purpose.name.as_str() };
                let fetch = self.kinds.call(name, purpose, facts).map_err(|error| wrong(&error))?;
                let guarded = serves == Serves::Clients && !kinds::serves_long_term(kind);
                (if guarded { Arc::new(TemporaryOnly::new(fetch)) } else { fetch }, Cadence::Aws)
            }
        };
        let label = format!("source {name}").into();
        Ok(Way { label, fetch, lane: self.lane(name), parent: None, follows: false, cadence })
    }

    /// `AssumeRole` with the credentials of `parent`.
    fn assume(&self, name: &str, parent: RoleId, purpose: &Purpose) -> Result<Way, FetchingError> {
        let facts = SessionFacts { host: &self.surroundings.host, role: purpose.name.as_str() };
        let session = purpose.session;
        let request = sts::Request {
            role_arn: purpose.role_arn.ok_or_else(|| FetchingError::new(name, "a role's ARN is needed"))?.clone(),
            session_name: session.name.fill(facts),
            external_id: session.external_id.clone(),
            duration: session.duration,
            policy: session.policy.clone(),
            policy_arns: session.policy_arns.clone(),
            tags: session.tags.clone(),
            transitive_tags: session.transitive_tags.clone(),
            source_identity: session.source_identity.clone(),
        };
        let via = purpose.via.unwrap_or(DEFAULT_STS);
        Ok(Way {
            label: format!("AssumeRole with {name}").into(),
            fetch: Arc::new(self.sts(via)?.role(request)),
            lane: self.lane(via),
            parent: Some(parent),
            follows: false,
            cadence: Cadence::Aws,
        })
    }

    /// The STS of that name; all roles that are assumed there share it.
    fn sts(&self, via: &str) -> Result<Arc<Sts>, FetchingError> {
        let settings = aws_calls::sts(self.upstreams.sts(Some(via)), &self.surroundings);
        let name = if via == DEFAULT_STS { "sts" } else { via };
        let settings = settings.map_err(|error| FetchingError::new(name, error))?;
        // Nothing that could panic is done while it is locked.
        let mut made = self.sts.lock().unwrap_or_else(PoisonError::into_inner);
        let sts = made
            .entry(via.to_owned())
            .or_insert_with(|| Arc::new(Sts::new(settings, Arc::clone(&self.surroundings.clock))));
        Ok(Arc::clone(sts))
    }
}

fn end_of(pair: Option<&(PathBuf, PathBuf)>) -> Option<Box<dyn Fn() -> Option<Timestamp> + Send>> {
    let end = end_of_certificate(&pair?.0);
    Some(Box::new(move || end))
}

/// The id of the hidden node with the credentials of a source that others are assumed with.
pub(crate) fn signer_id(source: &str, upstream_role: Option<&str>) -> RoleId {
    RoleId::from_inputs(&format!("source {source}"), &[("role", upstream_role.unwrap_or_default())])
}

fn lane(kind: &SourceKind) -> Lane {
    match kind {
        SourceKind::Ims(ims) => Lane { concurrency: ims.concurrency, rate: None },
        SourceKind::RolesAnywhere(source) => of_aws(&source.aws),
        SourceKind::Sts(aws) => of_aws(aws),
        SourceKind::WebIdentity(identity) => of_aws(&identity.aws),
        SourceKind::Profile(profile) => of_aws(&profile.aws),
        SourceKind::Process(process) => Lane { concurrency: process.concurrency, rate: None },
        SourceKind::Vault(vault) => Lane { concurrency: vault.concurrency, rate: Some(vault.rate.per_second()) },
        SourceKind::Imds(imds) => Lane { concurrency: imds.concurrency, rate: None },
        SourceKind::Static(_) => Lane { concurrency: usize::MAX, rate: None },
    }
}

fn of_aws(aws: &config::Aws) -> Lane {
    Lane { concurrency: aws.concurrency, rate: Some(aws.rate.per_second()) }
}
