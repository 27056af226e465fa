//! The gatekeeper: identifies the caller, and applies the rules in force.

use std::{
    collections::HashMap,
    future::Future,
    net::{IpAddr, SocketAddr, TcpStream},
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::{
    Choices, ConnectionFacts, Decision, Gatekeeper, Grant,
    containers::ContainerRoles,
    judge::{Facts, Outcome, Truth},
    rules::{Effect, Rules},
};
use crate::{
    caller::{
        IdentityCache, Kernel, Known, Membership, Name, NameKind, Open, Origin, Peer,
        cgroup::Cgroup,
        containers::{Container, ContainerIndex, Lookup, Observer},
    },
    credentials::RoleId,
};

/// The containers of this host, and what they ask for.
#[derive(Clone)]
pub struct ContainerPolicy {
    /// Which containers there are.
    pub index: Arc<ContainerIndex>,
    /// What each of them asks for.
    pub roles: Arc<ContainerRoles>,
}

type Names = HashMap<Box<str>, Arc<Name>>;

/// Rules that are not in force yet.
pub struct Prepared(Loaded);

impl Prepared {
    /// Whether all names in them were looked up.
    pub fn is_settled(&self) -> bool {
        self.0.names().all(|name| name.number() != Known::Pending)
    }
}

/// What the guard goes by. Replaced as a whole.
#[derive(Clone, Default)]
struct Loaded {
    rules: Option<Rules>,
    users: Names,
    groups: Names,
    /// The reasons of decisions: one text for each rule, and one for the default.
    reasons: Vec<Arc<str>>,
    container_policy: Option<ContainerPolicy>,
}

/// The gatekeeper of a daemon.
pub struct PolicyEngine {
    kernel: Option<Kernel>,
    identity_cache: Arc<IdentityCache>,
    loaded: ArcSwap<Loaded>,
    version: AtomicU64,
    choices: Arc<Choices>,
    /// Whether callers are identified even if no rule needs it: for the audit.
    curious: bool,
}

impl PolicyEngine {
    /// A guard that grants everything to every caller until it gets rules. Without `kernel` no caller is identified.
    pub fn new(kernel: Option<Kernel>, identity_cache: Arc<IdentityCache>, curious: bool) -> Self {
        let loaded = Loaded::new(None, &Loaded::default());
        let (loaded, choices) = (ArcSwap::from_pointee(loaded), Arc::default());
        Self { kernel, identity_cache, loaded, version: AtomicU64::new(0), choices, curious }
    }

    /// Puts rules in force, for connections that are open, too. The names in them are looked up meanwhile.
    pub fn load(&self, rules: Option<Rules>, container_policy: Option<ContainerPolicy>) {
        let Prepared(loaded) = self.prepare(rules);
        self.put_in_force(Loaded { container_policy, ..loaded });
    }

    /// Has the names in other rules looked up before these are put in force.
    pub fn prepare(&self, rules: Option<Rules>) -> Prepared {
        let loaded = Loaded::new(rules, &self.loaded.load());
        loaded.names().for_each(|name| self.identity_cache.follow(name));
        Prepared(loaded)
    }

    fn put_in_force(&self, loaded: Loaded) {
        self.loaded.store(Arc::new(loaded));
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    /// The user as whom the kernel shows all users that our user namespace does not know, if there are any.
    pub fn overflow_uid(&self) -> Option<u32> {
        self.kernel.as_ref().and_then(Kernel::overflow_uid)
    }

    /// Puts other rules in force; the containers stay.
    pub fn replace_rules(&self, Prepared(loaded): Prepared) {
        let container_policy = self.loaded.load().container_policy.clone();
        self.put_in_force(Loaded { container_policy, ..loaded });
    }

    /// Puts other containers in the place of those before; the rules stay.
    pub fn replace_container_policy(&self, container_policy: Option<ContainerPolicy>) {
        let loaded = Loaded { container_policy, ..Loaded::clone(&self.loaded.load()) };
        let old = self.loaded.swap(Arc::new(loaded));
        // More than containers ever count: no decision of before may seem to be one of now.
        self.version.fetch_add(1 << 40, Ordering::Relaxed);
        if let Some(ContainerPolicy { roles, .. }) = &old.container_policy {
            // Tasks that wait for the old roles must ask the new ones.
            roles.changed();
        }
    }

    /// The rules in force.
    pub fn rules(&self) -> Option<Rules> {
        self.loaded.load().rules.clone()
    }

    /// The roles that users have chosen.
    pub fn choices(&self) -> &Arc<Choices> {
        &self.choices
    }

    /// The look-ups of users and groups, for callers that do not connect by TCP.
    pub fn identity_cache(&self) -> &Arc<IdentityCache> {
        &self.identity_cache
    }
}

impl Loaded {
    /// Names that the rules of `before` have, too, are known already.
    fn new(rules: Option<Rules>, before: &Self) -> Self {
        let named = |names: Vec<&str>, kind, known: &Names| -> Names {
            let name = |text| known.get(text).cloned().unwrap_or_else(|| Arc::new(Name::new(text, kind)));
            names.into_iter().map(|text| (text.into(), name(text))).collect()
        };
        let (users, groups) = rules.as_ref().map(Rules::names).unwrap_or_default();
        let users = named(users, NameKind::User, &before.users);
        let groups = named(groups, NameKind::Group, &before.groups);
        let reasons = match &rules {
            Some(rules) => {
                (0..rules.rules.len()).map(Some).chain([None]).map(|rule| rules.title(rule).into()).collect()
            }
            None => vec!["there is no policy".into()],
        };
        Self { rules, users, groups, reasons, container_policy: None }
    }

    fn names(&self) -> impl Iterator<Item = &Arc<Name>> {
        self.users.values().chain(self.groups.values())
    }

    fn reason(&self, rule: Option<usize>) -> Arc<str> {
        let reason = rule.map_or(self.reasons.last(), |rule| self.reasons.get(rule));
        reason.cloned().unwrap_or_default()
    }

    fn decide(&self, facts: &Live<'_>) -> Decision {
        let Some(rules) = &self.rules else { return self.decide_without_rules(facts) };
        let verdict = rules.judge(facts);
        let reason = self.reason(verdict.rule);
        match verdict.outcome {
            Outcome::Effect(Effect::Everything) => Decision { grant: Grant::Everything, reason },
            Outcome::Effect(Effect::Deny) => Decision { grant: Grant::Denied, reason },
            Outcome::Effect(Effect::Roles(roles)) => {
                Decision { grant: Grant::Roles(roles.iter().map(RoleId::named).collect()), reason }
            }
            Outcome::Effect(Effect::Own) => facts
                .own(&reason)
                .unwrap_or_else(|| denied(&format!("{reason}: the caller is in no container that requests a role"))),
            Outcome::Pending(_) => Decision { grant: Grant::Pending, reason },
            Outcome::Unknown(condition) => Decision {
                grant: Grant::Unknown,
                reason: format!("{reason}: it cannot be determined whether this holds: {condition}").into(),
            },
        }
    }

    /// Containers get what they ask for, everybody on this host everything. Where it is not known which of both a client
    /// is, it gets nothing.
    fn decide_without_rules(&self, facts: &Live<'_>) -> Decision {
        let reason = self.reason(None);
        let everything = Decision { grant: Grant::Everything, reason: Arc::clone(&reason) };
        match (&self.container_policy, &facts.peer.origin) {
            (None, _) => everything,
            (Some(_), Origin::Unknown { ours: false }) => Decision {
                grant: Grant::Unknown,
                reason: format!("{reason}: it cannot be determined whether the client is a container").into(),
            },
            (Some(_), _) => facts.own(&reason).unwrap_or(everything),
        }
    }
}

fn denied(reason: &str) -> Decision {
    Decision { grant: Grant::Denied, reason: reason.into() }
}

impl Gatekeeper for PolicyEngine {
    fn asks_who(&self) -> bool {
        let loaded = self.loaded.load();
        self.curious || loaded.rules.is_some() || loaded.container_policy.is_some() || !self.choices.are_none()
    }

    fn identify(&self, socket: &TcpStream, peer: &Peer, open: &mut Open<'_>) -> Peer {
        match &self.kernel {
            Some(kernel) => kernel.identify(socket, peer, open),
            None => Peer { origin: Origin::unidentified(peer.address), ..peer.clone() },
        }
    }

    fn is_local(&self, address: SocketAddr) -> bool {
        self.kernel.as_ref().is_some_and(|kernel| kernel.is_local(address).unwrap_or(false))
    }

    fn admit(&self, facts: ConnectionFacts<'_>) -> Decision {
        let loaded = self.loaded.load();
        let Decision { grant, reason } =
            loaded.decide(&Live { loaded: &loaded, identity_cache: &self.identity_cache, peer: facts.peer });
        Decision { grant: self.choices.order(grant, facts.peer), reason }
    }

    fn user_name(&self, uid: u32) -> Option<Box<str>> {
        match self.identity_cache.account(uid) {
            Known::Yes(account) => Some(account.name.clone()),
            Known::Pending | Known::No | Known::Unknown => None,
        }
    }

    fn container(&self, peer: &Peer) -> Option<Arc<Container>> {
        let loaded = self.loaded.load();
        match (Live { loaded: &loaded, identity_cache: &self.identity_cache, peer }).container() {
            Known::Yes(container) => Some(container),
            _ => None,
        }
    }

    fn is_container(&self, peer: &Peer) -> bool {
        let behind_bridge =
            |kernel: &Kernel| peer.address.is_some_and(|address| kernel.is_behind_bridge(address).unwrap_or(false));
        self.container(peer).is_some() || self.kernel.as_ref().is_some_and(behind_bridge)
    }

    fn unverified_containers(&self) -> usize {
        self.loaded.load().container_policy.as_ref().map_or(0, |container_policy| container_policy.index.unverified())
    }

    fn policy(&self) -> Option<String> {
        self.loaded.load().rules.as_ref().map(Rules::digest)
    }

    fn version(&self) -> u64 {
        let container_policy =
            self.loaded.load().container_policy.as_ref().map_or(0, |container_policy| container_policy.roles.version());
        [self.version.load(Ordering::Relaxed), self.identity_cache.version(), self.choices.version()]
            .into_iter()
            .fold(container_policy, u64::wrapping_add)
    }

    fn changed(&self) -> Pin<Box<dyn Future<Output = ()> + Send>> {
        let found_out = self.identity_cache.changed();
        let loaded = self.loaded.load();
        let containers = loaded
            .container_policy
            .as_ref()
            .map(|container_policy| (container_policy.index.changed(), container_policy.roles.changes()));
        Box::pin(async move {
            match containers {
                None => found_out.await,
                Some((containers, roles)) => tokio::select! {
                    () = found_out => {}
                    () = containers => {}
                    () = roles => {}
                },
            }
        })
    }
}

/// What is known of a caller at this moment.
struct Live<'a> {
    loaded: &'a Loaded,
    identity_cache: &'a IdentityCache,
    peer: &'a Peer,
}

impl Live<'_> {
    /// What the caller's container asks for; `None` if it is not known to be in one.
    fn own(&self, reason: &Arc<str>) -> Option<Decision> {
        let ContainerPolicy { roles, .. } = self.loaded.container_policy.as_ref()?;
        match (self.peer.address, &self.peer.origin) {
            // It may be known by its address alone.
            (Some(address), Origin::Elsewhere) => Some(roles.by_address(address.ip())),
            _ => match self.container() {
                Known::Yes(container) => Some(roles.of(&container)),
                Known::Pending => Some(Decision { grant: Grant::Pending, reason: Arc::clone(reason) }),
                Known::No | Known::Unknown => None,
            },
        }
    }
}

impl Facts for Live<'_> {
    fn address(&self) -> Known<IpAddr> {
        self.peer.address.map_or(Known::No, |address| Known::Yes(address.ip()))
    }

    fn is_user(&self, user: &str) -> Truth {
        let number = |name: &Arc<Name>| name.number();
        match &self.peer.origin {
            Origin::Process(process) => {
                Truth::of(self.loaded.users.get(user).map_or(Known::Unknown, number), |uid| uid == process.uid)
            }
            Origin::Elsewhere => Truth::No,
            Origin::Unasked | Origin::Unknown { .. } => Truth::Unknown,
        }
    }

    fn is_in_group(&self, group: &str) -> Truth {
        let process = match &self.peer.origin {
            Origin::Process(process) => process,
            Origin::Elsewhere => return Truth::No,
            Origin::Unasked | Origin::Unknown { .. } => return Truth::Unknown,
        };
        let number = self.loaded.groups.get(group).map_or(Known::Unknown, |name| name.number());
        Truth::of(
            number.and_then(|gid| {
                if process.gid == Some(gid) {
                    return Known::Yes(true);
                }
                self.identity_cache.account(process.uid).and_then(|account| Known::Yes(account.groups.contains(&gid)))
            }),
            |is_member| is_member,
        )
    }

    fn cgroup(&self) -> Known<Arc<Cgroup>> {
        match &self.peer.origin {
            Origin::Process(process) => match &process.cgroup {
                Membership::Known(group) => Known::Yes(Arc::clone(group)),
                Membership::Id(id) => self.identity_cache.cgroup(*id, process.uid),
                Membership::Unknown => Known::Unknown,
            },
            Origin::Elsewhere => Known::No,
            Origin::Unasked | Origin::Unknown { .. } => Known::Unknown,
        }
    }

    fn container(&self) -> Known<Arc<Container>> {
        let Some(ContainerPolicy { index, .. }) = &self.loaded.container_policy else { return Known::Unknown };
        match &self.peer.origin {
            Origin::Elsewhere => match self.peer.address.map(|address| index.by_address(address.ip())) {
                Some(Lookup::Known(container)) => Known::Yes(container),
                Some(Lookup::Searching) => Known::Pending,
                Some(Lookup::Unknown) | None => Known::No,
            },
            _ => self.cgroup().and_then(|group| container_of(index, &group)),
        }
    }
}

/// The container whose control group this is, or is below. A name counts if the kernel says the same of the container
/// that has it; the innermost is asked first, as a container may be put below another's group.
fn container_of(index: &ContainerIndex, group: &Cgroup) -> Known<Arc<Container>> {
    if group.is_root() {
        return Known::Unknown;
    }
    let (mut unproven, mut contradicted) = (Vec::new(), false);
    for mention in group.containers.iter().rev() {
        match index.by_id(&mention.id) {
            Lookup::Searching => return Known::Pending,
            Lookup::Known(container) => match container.group() {
                Some(own) if own == &*mention.group && unproven.is_empty() => return Known::Yes(container),
                Some(_) => contradicted = true,
                None => unproven.push(container),
            },
            // No configured runtime knows it: a pod, a name without a meaning, or a container of another runtime.
            Lookup::Unknown => {}
        }
    }
    match unproven.pop() {
        Some(only) if unproven.is_empty() && !contradicted => Known::Yes(only),
        None if group.containers.is_empty() => Known::No,
        _ => Known::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use std::{io, net::TcpListener};

    use super::*;
    use crate::{
        caller::{Account, Accounts, Process, containers::tests::facts},
        clock::SystemClock,
        credentials::{Pattern, RoleName},
        policy::{
            choices::Choice,
            containers::tests::{Counter, rules as container_rules},
            rules::{Condition, Rule},
        },
    };

    struct Book;

    impl Accounts for Book {
        fn account(&self, uid: u32) -> io::Result<Option<Account>> {
            Ok((uid == 33).then(|| Account { name: "web".into(), groups: [33, 44].into() }))
        }
        fn uid(&self, name: &str) -> io::Result<Option<u32>> {
            if name == "broken" { Err(io::Error::other("no server")) } else { Ok((name == "web").then_some(33)) }
        }
        fn gid(&self, name: &str) -> io::Result<Option<u32>> {
            Ok((name == "staff").then_some(44))
        }
    }

    fn engine() -> PolicyEngine {
        PolicyEngine::new(
            None,
            Arc::new(IdentityCache::start(Book, None, SystemClock::shared()).expect("a thread")),
            false,
        )
    }

    fn rule(when: Condition, role: &str) -> Rule {
        let effect = match role {
            "" => Effect::Deny,
            "own" => Effect::Own,
            role => Effect::Roles(vec![role.parse().expect("a role name")]),
        };
        Rule { name: None, when: vec![when], unless: vec![], effect }
    }

    fn peer(origin: Origin) -> Peer {
        Peer { origin, ..Peer::unasked("172.17.0.2:1234".parse().expect("an address")) }
    }

    fn process(uid: u32) -> Peer {
        peer(Origin::Process(Process { uid, gid: None, pid: None, inode: 1, cgroup: Membership::Unknown }))
    }

    fn admit(engine: &PolicyEngine, peer: &Peer) -> Decision {
        engine.admit(ConnectionFacts { listener: 0, peer })
    }

    /// What is decided as soon as all is known.
    async fn settled(engine: &PolicyEngine, peer: &Peer) -> Decision {
        loop {
            let changed = engine.changed();
            let decision = admit(engine, peer);
            if decision.grant != Grant::Pending {
                return decision;
            }
            changed.await;
        }
    }

    fn granted(role: &str) -> Grant {
        Grant::Roles([RoleId::named(&role.parse().expect("a role name"))].into())
    }

    #[tokio::test]
    async fn users_and_groups_get_their_roles_as_soon_as_their_groups_are_known() {
        let engine = engine();
        let rules = vec![
            rule(Condition::User(vec!["nobody-here".into(), "34".into()]), "a"),
            rule(Condition::Group(vec!["staff".into()]), "b"),
        ];
        engine.load(Some(Rules { rules, default: Effect::Deny }), None);
        assert!(engine.asks_who());
        // A user that is named by number waits for no look-up of a name.
        assert_eq!(admit(&engine, &process(34)).grant, granted("a"));
        let decision = settled(&engine, &process(33)).await;
        assert_eq!((decision.grant, &*decision.reason), (granted("b"), "rule 2"));
        let unknown = admit(&engine, &peer(Origin::Unknown { ours: true }));
        assert_eq!(unknown.grant, Grant::Unknown);
        assert_eq!(&*unknown.reason, "rule 1: it cannot be determined whether this holds: user nobody-here or 34");
        assert_eq!(&*admit(&engine, &peer(Origin::Elsewhere)).reason, "the policy's default");
    }

    #[tokio::test]
    async fn a_name_that_cannot_be_looked_up_is_not_taken_for_none() {
        let engine = engine();
        let rules = vec![rule(Condition::User(vec!["broken".into()]), "")];
        engine.load(Some(Rules { rules, default: Effect::Everything }), None);
        assert_eq!(settled(&engine, &process(1)).await.grant, Grant::Unknown);
    }

    #[tokio::test]
    async fn other_rules_begin_with_what_is_known_of_their_names() {
        let engine = engine();
        let rules = |names: &[&str]| {
            let user = |name: &&str| rule(Condition::User(vec![(*name).into()]), "a");
            Some(Rules { rules: names.iter().map(user).collect(), default: Effect::Deny })
        };
        engine.load(rules(&["web"]), None);
        assert_eq!(settled(&engine, &process(33)).await.grant, granted("a"));
        let same = engine.prepare(rules(&["web"]));
        assert!(same.is_settled());
        let other = engine.prepare(rules(&["new", "web"]));
        assert_eq!(admit(&engine, &process(33)).grant, granted("a"), "the rules before are in force until then");
        loop {
            let changed = engine.changed();
            if other.is_settled() {
                break;
            }
            changed.await;
        }
        engine.replace_rules(other);
        assert_eq!(admit(&engine, &process(33)).grant, granted("a"));
    }

    #[test]
    fn a_choice_is_in_force_at_once_within_the_rules_and_for_its_user_only() {
        let engine = engine();
        let chosen: RoleName = "b".parse().expect("a role name");
        let version = engine.version();
        engine.choices().set(33, Some(&Choice { role: chosen.clone(), own: None }));
        assert!(engine.version() > version && engine.asks_who());
        let led = Grant::EverythingLedBy { role: RoleId::named(&chosen), own: None };
        assert_eq!(admit(&engine, &process(33)).grant, led);
        assert_eq!(admit(&engine, &process(34)).grant, Grant::Everything);
        let rules = vec![rule(Condition::User(vec!["33".into()]), "a")];
        engine.load(Some(Rules { rules, default: Effect::Deny }), None);
        assert_eq!(admit(&engine, &process(33)).grant, granted("a"));
        assert_eq!(admit(&engine, &process(34)).grant, Grant::Denied);
    }

    #[test]
    fn new_rules_are_in_force_at_once_and_are_told() {
        let engine = engine();
        assert_eq!(admit(&engine, &process(1)).grant, Grant::Everything);
        assert!(!engine.asks_who());
        let version = engine.version();
        engine.load(Some(Rules { rules: vec![], default: Effect::Deny }), None);
        assert!(engine.version() > version);
        assert_eq!(admit(&engine, &process(1)).grant, Grant::Denied);
    }

    /// One container, with an address and a role of its own.
    fn container_policy() -> ContainerPolicy {
        let container = facts('a', "172.17.0.2");
        let index = ContainerIndex::of([container.clone()]);
        let roles = ContainerRoles::new(container_rules(), Box::new(Counter::default()), Arc::clone(&index), false);
        roles.appeared(&container);
        ContainerPolicy { index, roles }
    }

    #[test]
    fn without_rules_a_client_that_may_be_a_container_gets_nothing_while_it_cannot_be_identified() {
        let engine = engine();
        let listener = TcpListener::bind("127.0.0.1:0").expect("a free port");
        let socket = TcpStream::connect(listener.local_addr().expect("bound")).expect("it listens");
        // There is no kernel to be asked.
        let identify = |address: &str| {
            engine.identify(&socket, &Peer::unasked(address.parse().expect("an address")), &mut || Ok(0))
        };
        let (own, other) = (identify("127.0.0.1:1234"), identify("172.17.0.2:1234"));
        assert_eq!(own.origin, Origin::Unknown { ours: true });
        assert_eq!(other.origin, Origin::Unknown { ours: false });
        assert_eq!(admit(&engine, &other).grant, Grant::Everything, "no containers are configured");
        engine.load(None, Some(container_policy()));
        let Decision { grant, reason } = admit(&engine, &other);
        let why = "there is no policy: it cannot be determined whether the client is a container";
        assert_eq!((grant, &*reason), (Grant::Unknown, why));
        assert_eq!(admit(&engine, &own).grant, Grant::Everything);
        assert_eq!(admit(&engine, &Peer { address: None, ..own }).grant, Grant::Everything);
    }

    #[test]
    fn a_container_gets_what_it_asks_for_where_a_rule_or_none_says_so() {
        let engine = engine();
        engine.load(None, Some(container_policy()));
        let container = peer(Origin::Elsewhere);
        assert_eq!(admit(&engine, &container).grant, granted("role-a"));
        assert_eq!(admit(&engine, &process(1)).grant, Grant::Everything);
        for (pattern, effect, grant) in
            [("name-a", "own", granted("role-a")), ("name-a", "x", granted("x")), ("other", "own", Grant::Denied)]
        {
            let rules = vec![rule(Condition::Container(vec![Pattern::new(pattern)]), effect)];
            engine.load(Some(Rules { rules, default: Effect::Deny }), Some(container_policy()));
            assert_eq!(admit(&engine, &container).grant, grant, "{pattern} {effect}");
        }
        // Of a process whose control group is not known it is not known either whether it is in a container.
        assert_eq!(admit(&engine, &process(1)).grant, Grant::Unknown);
    }

    #[tokio::test]
    async fn other_containers_take_the_place_of_those_before_at_once() {
        let engine = engine();
        let container_policy = |role: &str| {
            let mut container = facts('a', "172.17.0.2");
            container.environment.insert("IAM_ROLE".into(), role.into());
            let index = ContainerIndex::of([container.clone()]);
            let roles = ContainerRoles::new(container_rules(), Box::new(Counter::default()), Arc::clone(&index), false);
            (container, ContainerPolicy { index, roles })
        };
        let (_, before) = container_policy("old");
        for _ in 0..9 {
            before.roles.changed();
        }
        engine.load(None, Some(before));
        let container = peer(Origin::Elsewhere);
        assert_eq!(admit(&engine, &container).grant, Grant::Pending);
        let (changed, version) = (engine.changed(), engine.version());
        let (facts, after) = container_policy("new");
        after.roles.appeared(&facts);
        engine.replace_container_policy(Some(after));
        // It does not wait for those who decide nothing any more.
        changed.await;
        assert!(engine.version() > version);
        assert_eq!(admit(&engine, &container).grant, granted("new"));
        engine.replace_container_policy(None);
        assert_eq!(admit(&engine, &container).grant, Grant::Everything);
    }

    #[test]
    fn a_name_in_the_path_of_a_group_is_no_proof_of_who_is_there() {
        let (own, victim) = (facts('a', ""), facts('b', ""));
        let group = |template: &str| template.replace("OWN", own.id.as_str()).replace("VICTIM", victim.id.as_str());
        let told = |own_group: Option<&str>, victim_group: &str, path: &str| {
            let running = match own_group {
                Some(place) => Container::in_group(own.clone(), &group(place)),
                None => Container::described(own.clone()),
            };
            let index =
                ContainerIndex::of_running([running, Container::in_group(victim.clone(), &group(victim_group))]);
            match container_of(&index, &Cgroup::parse(&group(path))) {
                Known::Yes(found) if found.facts().id == own.id => "own",
                Known::Yes(_) => "victim",
                Known::No => "nobody",
                Known::Pending => "pending",
                Known::Unknown => "unknown",
            }
        };
        for (own_group, victim_group, path, expected) in [
            (Some("/docker/OWN"), "/docker/VICTIM", "/docker/OWN/x", "own"),
            // Started with `--cgroup-parent` of another.
            (Some("/docker/VICTIM/OWN"), "/docker/VICTIM", "/docker/VICTIM/OWN", "own"),
            (
                Some("/machine.slice/libpod-VICTIM.scope/OWN"),
                "/machine.slice/libpod-VICTIM.scope",
                "/machine.slice/libpod-VICTIM.scope/OWN",
                "own",
            ),
            // One that is not known yet is waited for.
            (Some("/x"), "/docker/VICTIM", &format!("/docker/VICTIM/{}", "c".repeat(64)), "pending"),
            // A group that it has named itself, below its own.
            (Some("/docker/OWN"), "/docker/VICTIM", "/docker/OWN/docker/VICTIM", "own"),
            (Some("/docker/OWN"), "/docker/VICTIM", "/libpod_parent/VICTIM", "unknown"),
            // Where the kernel does not say which group a container has, a name counts if it is the only one.
            (None, "/docker/VICTIM", "/docker/OWN/init", "own"),
            (None, "/docker/VICTIM", "/docker/VICTIM/OWN", "unknown"),
            (None, "/docker/x/VICTIM", "/docker/VICTIM/OWN", "unknown"),
            (None, "/docker/VICTIM", "/system.slice/x.service/docker-VICTIM.scope", "nobody"),
        ] {
            assert_eq!(told(own_group, victim_group, path), expected, "{path}");
        }
    }
}
