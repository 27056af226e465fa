//! From the configuration to the graph of what is fetched.

mod explain;
mod notes;
mod tagged;
mod trial;

pub use explain::explain;
pub use notes::{clear_text, proxies_in_force};
pub use trial::{Trial, trials};

use std::{
    collections::HashMap,
    fmt::Display,
    sync::{Arc, Mutex, PoisonError},
};

use crate::{
    config::{self, Config, Origin, Role, Upstreams},
    credentials::RoleId,
    refresh::{
        Cadence, CallLimit, CallLimitId, Candidate, Graph, Lister, Node, OnDemand, OnDemandFactory, Source, Timed,
        Visibility, Wanted,
    },
    refresh_stats::Certificate,
    sign_in::Known,
    source::{HostEnv, Opened, Opening, PassOn, Purpose, Serves, Session, long_term::TemporaryOnly, sts::Sts},
};

/// The default STS has no name in the configuration.
const DEFAULT_STS: &str = "";
/// Nor has what asks nobody.
const LOCAL: &str = " ";

/// What is fetched, and how more can be.
pub struct Fetching {
    /// Everything that the configuration names.
    pub graph: Graph,
    /// Makes roles on demand.
    pub factory: OnDemandFactory,
    /// The certificates of the sources.
    pub certificates: Vec<Certificate>,
    /// The sign-ins of the sources, by their names.
    pub sessions: Vec<(String, Known)>,
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
pub fn fetching(config: &Config, host_env: HostEnv) -> Result<Fetching, FetchingError> {
    let (blueprint, call_limits) = Blueprint::new(config, host_env)?;
    let mut graph = Graph { call_limits, ..Graph::default() };
    let roles = blueprint.upstreams.roles();
    if roles.is_empty()
        && let Some(source) = blueprint.upstreams.first_ims()
    {
        let on_request = source.kind.on_request();
        let (name, source) = (source.name.as_str().into(), blueprint.lister(&source.name)?);
        graph.lister = Some(Lister { name, source, interval: config.refresh.interval, on_request });
    }
    for role in &roles {
        let (parents, node) = blueprint.role(role)?;
        for parent in parents {
            if !graph.nodes.iter().any(|node| node.id == parent.id) {
                graph.nodes.push(parent);
            }
        }
        // The parents of the others are held ready as well.
        if role.shared {
            graph.nodes.push(node);
        }
    }
    let certificates = blueprint.certificates();
    let sessions = blueprint.sessions();
    let factory = move |id: &RoleId, wanted: &Wanted| match wanted {
        Wanted::Assumed(wanted) => blueprint.on_demand(id, wanted),
        Wanted::Timed(wanted) => blueprint.timed(id, wanted),
        Wanted::Tagged(wanted) => blueprint.tagged(id, wanted),
    };
    Ok(Fetching { graph, factory: Box::new(factory), certificates, sessions })
}

/// From what nodes are made.
struct Blueprint {
    upstreams: Upstreams,
    host_env: HostEnv,
    ims: Cadence,
    call_limits: HashMap<String, CallLimitId>,
    /// The sources, by their names.
    opened: HashMap<String, Arc<dyn Opened>>,
    /// Made when they are needed: who only has an IMS needs none.
    sts: Mutex<HashMap<String, Arc<Sts>>>,
}

impl Blueprint {
    fn new(config: &Config, host_env: HostEnv) -> Result<(Self, Vec<CallLimit>), FetchingError> {
        let upstreams = config.upstreams.clone();
        let ims = Cadence::Ims { interval: config.refresh.interval };
        let listeners = [&config.listen[..], config.capture_listen.as_slice()].concat();
        let open = |source: &config::Source| {
            let opening = Opening {
                name: &source.name,
                host_env: &host_env,
                listeners: &listeners,
                return_wait: ims.return_wait(),
            };
            let opened = source.kind.open(&opening).map_err(|error| FetchingError::new(&source.name, error))?;
            Ok((source.name.clone(), opened))
        };
        let opened = upstreams.sources.iter().map(open).collect::<Result<_, _>>()?;
        // The lister's limit is the first.
        let first = upstreams.first_ims().map(|source| source.name.clone());
        let mut named: Vec<(String, CallLimit)> =
            upstreams.sources.iter().map(|source| (source.name.clone(), source.kind.call_limit())).collect();
        named.sort_by_key(|(name, _)| Some(name) != first.as_ref());
        named.push((DEFAULT_STS.to_owned(), upstreams.sts.call_limit()));
        named.push((LOCAL.to_owned(), CallLimit { concurrency: usize::MAX, rate: None }));
        let call_limits =
            named.iter().enumerate().map(|(index, (name, _))| (name.clone(), CallLimitId(index))).collect();
        let blueprint = Self { upstreams, host_env, ims, call_limits, opened, sts: Mutex::default() };
        Ok((blueprint, named.into_iter().map(|(_, call_limit)| call_limit).collect()))
    }

    /// The certificates with which sources show who this host is.
    fn certificates(&self) -> Vec<Certificate> {
        let certificate = |source: &config::Source| {
            let end = self.opened.get(&source.name)?.certificate_end()?;
            Some(Certificate { source: source.name.clone(), end })
        };
        self.upstreams.sources.iter().filter_map(certificate).collect()
    }

    /// The sign-ins that the sources need.
    fn sessions(&self) -> Vec<(String, Known)> {
        let session = |source: &config::Source| Some((source.name.clone(), self.opened.get(&source.name)?.sign_in()?));
        self.upstreams.sources.iter().filter_map(session).collect()
    }

    fn call_limit(&self, name: &str) -> CallLimitId {
        self.call_limits.get(name).copied().unwrap_or_default()
    }

    fn lister(&self, name: &str) -> Result<Arc<dyn Source>, FetchingError> {
        self.opened
            .get(name)
            .and_then(|opened| opened.lister())
            .ok_or_else(|| FetchingError::new(name, "lists no roles"))
    }

    /// The node of a role of the configuration, and the hidden ones that it needs.
    fn role(&self, role: &Role) -> Result<(Vec<Node>, Node), FetchingError> {
        let purpose = Purpose {
            host: &self.host_env.host,
            name: &role.name,
            upstream_role: role.upstream_role.as_deref(),
            role_arn: role.role_arn.as_ref(),
            session: &role.session,
            via: role.via.as_deref(),
        };
        let mut parents = Vec::new();
        let mut candidates = Vec::new();
        for name in &role.sources {
            let (parent, candidate) = self.candidate(name, &purpose)?;
            parents.extend(parent);
            candidates.push(candidate);
        }
        let node = Node {
            id: RoleId::named(&role.name),
            name: role.name.clone(),
            visibility: Visibility::Listed,
            candidates: candidates.into(),
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
            host: &self.host_env.host,
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
            && !asked.kind.accepts().contains(&"external_id")
        {
            return Err(format!(
                "an external id is asked for, but source {source} ({}) is asked for the role itself, and its call has \
                 none; let a role that comes from it be the source of these",
                asked.kind.word()
            ));
        }
        let (parent, candidate) = self.candidate(&source, &purpose).map_err(|error| error.to_string())?;
        let node = Node {
            id: id.clone(),
            name: wanted.name.clone(),
            visibility: Visibility::Unlisted,
            candidates: [candidate].into(),
        };
        Ok(parent.into_iter().chain([node]).collect())
    }

    /// A role, of the configuration or of the upstream that lists all, whose sessions shall last another time.
    fn timed(&self, id: &RoleId, wanted: &Timed) -> Result<Vec<Node>, String> {
        let roles = self.upstreams.roles();
        let lister = self.upstreams.first_ims().filter(|_| roles.is_empty());
        let listed = || Some(Role::of(wanted.role.clone(), &lister?.name));
        let known = roles.iter().find(|role| role.name == wanted.role).cloned();
        let role = &known.or_else(listed).ok_or("there is no such role any more")?;
        if !role.shared {
            return Err(format!("only pods have sessions of the role {} (`shared: false`)", role.name));
        }
        config::can_last(role, wanted.duration, &roles, &self.upstreams.sources)?;
        let session = Session { duration: Some(wanted.duration), ..role.session.clone() };
        let (parents, node) = self.role(&Role { session, ..role.clone() }).map_err(|error| error.to_string())?;
        let node = Node { id: id.clone(), visibility: Visibility::Unlisted, ..node };
        Ok(parents.into_iter().chain([node]).collect())
    }

    /// The way from the source or role `name` to the role of `purpose`, and the hidden node that signs its call.
    fn candidate(&self, name: &str, purpose: &Purpose) -> Result<(Option<Node>, Candidate), FetchingError> {
        let roles = self.upstreams.roles();
        let origin = config::origin(name, &self.upstreams.sources, &roles)
            .ok_or_else(|| FetchingError::new(name, "there is no source and no role of that name"))?;
        let assumed = config::is_assumed(origin, purpose.role_arn.is_some());
        match origin {
            Origin::Role(role) if assumed => Ok((None, self.assume(name, RoleId::named(&role.name), purpose)?)),
            Origin::Role(role) => {
                let candidate = Candidate {
                    label: format!("role {name}").into(),
                    fetch: Arc::new(PassOn),
                    call_limit: self.call_limit(LOCAL),
                    parent: Some(RoleId::named(&role.name)),
                    follows: true,
                    cadence: Cadence::Aws,
                };
                Ok((None, candidate))
            }
            Origin::Source(source) if assumed => {
                // Those that are assumed with the same credentials share the node.
                let id = signer_id(name, purpose.upstream_role);
                let candidate = self.own_call(source, purpose, Serves::ToSign)?;
                let parent = Node {
                    id: id.clone(),
                    name: purpose.name.clone(),
                    visibility: Visibility::Hidden,
                    candidates: [candidate].into(),
                };
                Ok((Some(parent), self.assume(name, id, purpose)?))
            }
            Origin::Source(source) => Ok((None, self.own_call(source, purpose, Serves::Clients)?)),
        }
    }

    /// The source's own call.
    fn own_call(&self, source: &config::Source, purpose: &Purpose, serves: Serves) -> Result<Candidate, FetchingError> {
        let name = &source.name;
        let wrong = |problem: &dyn Display| FetchingError::new(name, problem);
        let opened = self.opened.get(name).ok_or_else(|| wrong(&"is not open"))?;
        let fetch = opened.call(purpose, serves).map_err(|error| wrong(&error))?;
        let guarded = serves == Serves::Clients && !source.kind.serves_long_term();
        let fetch = if guarded { Arc::new(TemporaryOnly::new(fetch)) } else { fetch };
        let cadence = if source.kind.is_lister() { self.ims } else { Cadence::Aws };
        let label = format!("source {name}").into();
        Ok(Candidate { label, fetch, call_limit: self.call_limit(name), parent: None, follows: false, cadence })
    }

    /// `AssumeRole` with the credentials of `parent`.
    fn assume(&self, name: &str, parent: RoleId, purpose: &Purpose) -> Result<Candidate, FetchingError> {
        let request = purpose.request().ok_or_else(|| FetchingError::new(name, "a role's ARN is needed"))?;
        let via = purpose.via.unwrap_or(DEFAULT_STS);
        Ok(Candidate {
            label: format!("AssumeRole with {name}").into(),
            fetch: Arc::new(self.sts(via)?.role(request)),
            call_limit: self.call_limit(via),
            parent: Some(parent),
            follows: false,
            cadence: Cadence::Aws,
        })
    }

    /// The STS of that name; all roles that are assumed there share it.
    fn sts(&self, via: &str) -> Result<Arc<Sts>, FetchingError> {
        let settings = self.upstreams.sts(Some(via)).sts(&self.host_env);
        let name = if via == DEFAULT_STS { "sts" } else { via };
        let settings = settings.map_err(|error| FetchingError::new(name, error))?;
        // Nothing that could panic is done while it is locked.
        let mut made = self.sts.lock().unwrap_or_else(PoisonError::into_inner);
        let sts = made
            .entry(via.to_owned())
            .or_insert_with(|| Arc::new(Sts::new(settings, Arc::clone(&self.host_env.clock))));
        Ok(Arc::clone(sts))
    }
}

/// The id of the hidden node with the credentials of a source that others are assumed with.
pub(crate) fn signer_id(source: &str, upstream_role: Option<&str>) -> RoleId {
    RoleId::from_inputs(&format!("source {source}"), &[("role", upstream_role.unwrap_or_default())])
}
