//! Graphs that change under a clock that only moves when everything waits.

use std::sync::{Arc, Mutex};

use super::*;
use crate::{
    Cadence, CallLimit, CallLimitId, Candidate, Fetch, OnDemand, RoleList, RoleRequests, Source, SourceError,
    SourceFuture, Timed, Wanted,
    clock::{self, Clock, fake::FakeClock},
    credentials::{Credentials, Secret},
    store::{RoleState, Store},
};

const HOUR: Duration = Duration::from_hours(1);

/// All calls so far: name and signing key.
type Calls = Arc<Mutex<Vec<(String, Option<String>)>>>;

/// One call: its name, all calls, the clock. It takes 20 s.
struct Call(String, Calls, Arc<FakeClock>);

impl Fetch for Call {
    fn fetch<'a>(&'a self, parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            let Self(name, calls, clock) = self;
            let key = parent.map(|parent| parent.access_key_id.clone());
            calls.lock().expect("not poisoned").push((name.clone(), key));
            clock::sleep(Duration::from_secs(20)).await;
            Ok(Credentials {
                access_key_id: name.clone(),
                secret_access_key: Secret::new("secret"),
                session_token: Secret::new("token"),
                expiration: clock.now().wall + HOUR,
                life: None,
                last_updated: None,
                account_id: None,
                role_arn: None,
            })
        })
    }
}

struct Rig {
    store: Arc<Store>,
    clock: Arc<FakeClock>,
    calls: Calls,
    requests: RoleRequests,
    replacer: Replacer,
    _task: tokio::task::JoinHandle<()>,
}

fn name(text: &str) -> RoleName {
    text.parse().expect("a role name")
}

fn id(text: &str) -> RoleId {
    RoleId::named(&name(text))
}

impl Rig {
    fn new(nodes: &[(&str, &str)]) -> Self {
        let (clock, calls, store) = (FakeClock::new(), Arc::default(), Store::shared());
        let graph = graph(nodes, &calls, &clock);
        let mut refresher = Refresher::new(graph, Arc::clone(&store), Arc::<FakeClock>::clone(&clock), None)
            .with_factory(factory(&calls, &clock));
        let (requests, replacer) = (refresher.requests(), refresher.replacer());
        Self { store, clock, calls, requests, replacer, _task: tokio::spawn(async move { refresher.run().await }) }
    }

    async fn replace(&self, nodes: &[(&str, &str)], carryover: impl Fn(&RoleId) -> Carryover + Send + 'static) {
        self.replace_all(nodes, carryover, Carryover::Refetch).await;
    }

    async fn replace_all(
        &self,
        nodes: &[(&str, &str)],
        carryover: impl Fn(&RoleId) -> Carryover + Send + 'static,
        on_demand: Carryover,
    ) {
        let graph = graph(nodes, &self.calls, &self.clock);
        self.replace_by(graph, carryover, on_demand, Carryover::Unchanged).await;
    }

    async fn replace_by(
        &self,
        graph: Graph,
        carryover: impl Fn(&RoleId) -> Carryover + Send + 'static,
        on_demand: Carryover,
        lister: Carryover,
    ) {
        let factory = Some(factory(&self.calls, &self.clock));
        let carryover = Box::new(carryover);
        self.replacer
            .replace(Replacement {
                graph,
                configuration: "".into(),
                factory,
                grace: None,
                carryover,
                on_demand,
                lister,
            })
            .await;
    }

    fn of(&self, role: &RoleId) -> (RoleState, String) {
        let snapshot = self.store.snapshot();
        let Some(role) = snapshot.by_id(role) else { return (RoleState::Withdrawn, String::new()) };
        let key = match &**role.slot() {
            Slot::Held { set, .. } => set.access_key_id.to_string(),
            _ => String::new(),
        };
        (role.slot().state(self.clock.now()), key)
    }

    fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("not poisoned").iter().map(|(name, _)| name.clone()).collect()
    }
}

/// Nodes by their names, each with one candidate: `call` or `call<parent`. A hidden one begins with a dot.
fn graph(nodes: &[(&str, &str)], calls: &Calls, clock: &Arc<FakeClock>) -> Graph {
    let node = |(text, candidate): &(&str, &str)| {
        let (call, parent) =
            candidate.split_once('<').map_or((*candidate, None), |(call, parent)| (call, Some(parent)));
        let candidate = Candidate {
            label: call.into(),
            fetch: Arc::new(Call(call.to_owned(), Arc::clone(calls), Arc::clone(clock))),
            call_limit: CallLimitId(0),
            parent: parent.map(id),
            follows: false,
            cadence: Cadence::Aws,
        };
        let visibility = if text.starts_with('.') { Visibility::Hidden } else { Visibility::Listed };
        Node { id: id(text), name: name(text), visibility, candidates: [candidate].into() }
    };
    let call_limits = vec![CallLimit { concurrency: 2, rate: None }];
    Graph { call_limits, lister: None, nodes: nodes.iter().map(node).collect() }
}

/// A role on demand; `call` is for the maker of the test, which sees it as the external id.
fn demand(role: &str, call: &str) -> OnDemand {
    let arn = "arn:aws:iam::123456789012:role/any".parse().expect("an ARN");
    OnDemand { external_id: Some(call.to_owned()), ..OnDemand::new(name(role), arn) }
}

fn factory(calls: &Calls, clock: &Arc<FakeClock>) -> OnDemandFactory {
    let (calls, clock) = (Arc::clone(calls), Arc::clone(clock));
    Box::new(move |id: &RoleId, wanted: &Wanted| {
        let call = match wanted {
            Wanted::Assumed(wanted) => wanted.external_id.as_deref().unwrap_or_default(),
            Wanted::Timed(_) | Wanted::Tagged(_) => "timed",
        };
        let made = graph(&[(wanted.name().as_str(), call)], &calls, &clock).nodes.remove(0);
        Ok(vec![Node { id: id.clone(), visibility: Visibility::Unlisted, ..made }])
    })
}

async fn pass(seconds: u64) {
    clock::sleep(Duration::from_secs(seconds)).await;
}

#[tokio::test(start_paused = true)]
async fn what_stays_the_same_is_served_on_and_not_even_asked_for() {
    let rig = Rig::new(&[("a", "a"), ("b", "b")]);
    pass(60).await;
    for _again in 0..50 {
        rig.replace(&[("a", "a"), ("b", "b")], |_| Carryover::Unchanged).await;
        assert_eq!(rig.of(&id("a")), (RoleState::Fresh, "a".into()));
    }
    pass(60).await;
    assert_eq!(rig.calls(), ["a", "b"]);
    // It is still refreshed in time, by the calls of the newest graph.
    rig.replace(&[("a", "a2"), ("b", "b2")], |_| Carryover::Unchanged).await;
    pass(3600).await;
    // Chance decides when, so that a call may be under way just now.
    let (state, key) = rig.of(&id("a"));
    assert!(matches!(state, RoleState::Fresh | RoleState::Refreshing) && key == "a2", "{state:?} {key}");
}

#[tokio::test(start_paused = true)]
async fn calls_that_are_under_way_or_wait_are_neither_lost_nor_made_twice() {
    // Two run at once, the third waits for its turn.
    let nodes = [("a", "a"), ("b", "b"), ("c", "c")];
    let rig = Rig::new(&nodes);
    pass(10).await;
    assert_eq!(rig.calls(), ["a", "b"]);
    rig.replace(&nodes, |_| Carryover::Unchanged).await;
    pass(11).await;
    assert_eq!(rig.of(&id("a")), (RoleState::Fresh, "a".into()));
    pass(20).await;
    assert_eq!(rig.of(&id("c")), (RoleState::Fresh, "c".into()));
    assert_eq!(rig.calls(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn what_is_got_in_another_way_is_served_until_the_new_set_is_there() {
    let rig = Rig::new(&[("a", "a")]);
    pass(60).await;
    rig.replace(&[("a", "a2")], |_| Carryover::Refetch).await;
    pass(10).await;
    assert_eq!(rig.of(&id("a")), (RoleState::Refreshing, "a".into()));
    pass(20).await;
    assert_eq!(rig.of(&id("a")), (RoleState::Fresh, "a2".into()));
}

#[tokio::test(start_paused = true)]
async fn what_only_has_the_same_name_is_not_served() {
    let rig = Rig::new(&[("a", "a")]);
    pass(10).await;
    // The call of the old graph is still running: its set must not turn up in the new one.
    rig.replace(&[("a", "other")], |_| Carryover::Discard).await;
    assert_eq!(rig.of(&id("a")).0, RoleState::Warming);
    pass(15).await;
    assert_eq!(rig.of(&id("a")).0, RoleState::Warming);
    pass(10).await;
    assert_eq!(rig.of(&id("a")), (RoleState::Fresh, "other".into()));
    rig.replace(&[("a", "a")], |_| Carryover::Discard).await;
    assert_eq!(rig.of(&id("a")).0, RoleState::Warming);
}

/// It lists one role, or does not answer.
struct Lists(Option<&'static str>);

impl Source for Lists {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(async {
            clock::sleep(Duration::from_secs(20)).await;
            let listed = self.0.ok_or_else(|| SourceError::transient("down"))?;
            Ok(RoleList { names: vec![name(listed)], ..RoleList::default() })
        })
    }

    fn concurrency(&self) -> usize {
        1
    }

    fn fetch<'a>(&'a self, _role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(async { Err(SourceError::transient("down")) })
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_lists_begins_without_the_roles_of_before() {
    let listing = |listed| Graph::listing(Arc::new(Lists(listed)), Duration::from_mins(5));
    let rig = Rig::new(&[("a", "a"), ("b", "b")]);
    let nothing = || (RoleState::Withdrawn, String::new());
    for listed in [None, Some("a")] {
        rig.replace(&[("a", "a"), ("b", "b")], |_| Carryover::Discard).await;
        pass(60).await;
        assert_eq!(rig.of(&id("a")), (RoleState::Fresh, "a".into()));
        rig.replace_by(listing(listed), |_| Carryover::Discard, Carryover::Discard, Carryover::Refetch).await;
        assert!(!rig.store.snapshot().answered());
        assert_eq!((rig.of(&id("a")), rig.of(&id("b"))), (nothing(), nothing()));
        pass(60).await;
        // What it lists is its own, even by the same name.
        let own = if listed.is_some() { (RoleState::Warming, String::new()) } else { nothing() };
        assert_eq!((rig.of(&id("a")), rig.of(&id("b"))), (own, nothing()));
    }
    // Another address of the same kind keeps what is known until it answers, another kind does not.
    for (lister, known) in [(Carryover::Refetch, true), (Carryover::Discard, false)] {
        rig.replace_by(listing(Some("a")), |_| Carryover::Discard, Carryover::Discard, Carryover::Discard).await;
        pass(60).await;
        rig.replace_by(listing(None), |_| Carryover::Discard, Carryover::Discard, lister).await;
        assert_eq!(rig.store.snapshot().answered(), known);
    }
}

#[tokio::test(start_paused = true)]
async fn roles_come_and_go_in_the_order_of_the_new_graph() {
    let rig = Rig::new(&[("a", "a"), ("b", "b")]);
    pass(60).await;
    rig.replace(&[("c", "c"), ("b", "b")], |_| Carryover::Unchanged).await;
    assert_eq!(rig.store.snapshot().names(), b"c\nb");
    assert_eq!(rig.of(&id("a")).0, RoleState::Withdrawn);
    assert_eq!(rig.of(&id("b")).0, RoleState::Fresh);
    assert_eq!(rig.of(&id("c")).0, RoleState::Warming);
    pass(60).await;
    assert_eq!(rig.calls(), ["a", "b", "c"]);
}

#[tokio::test(start_paused = true)]
async fn a_parent_is_kept_for_its_children_and_forgotten_without_them() {
    let chain = [(".p", "p"), ("a", "a<.p")];
    let rig = Rig::new(&chain);
    pass(60).await;
    rig.replace(&chain, |_| Carryover::Unchanged).await;
    pass(60).await;
    assert_eq!(rig.calls(), ["p", "a"]);
    // A second child needs no second parent.
    rig.replace(&[(".p", "p"), ("a", "a<.p"), ("b", "b<.p")], |_| Carryover::Unchanged).await;
    pass(60).await;
    assert_eq!(rig.calls(), ["p", "a", "b"]);
    // A role that becomes a parent had its credentials rendered and dropped: they are got again.
    rig.replace(&[("b", "b"), ("c", "c<b")], |id| {
        if id.as_str() == "b" { Carryover::Unchanged } else { Carryover::Discard }
    })
    .await;
    pass(60).await;
    assert_eq!(rig.calls(), ["p", "a", "b", "b", "c"]);
    let calls = rig.calls.lock().expect("not poisoned").clone();
    assert_eq!(calls.last(), Some(&("c".to_owned(), Some("b".to_owned()))));
}

#[tokio::test(start_paused = true)]
async fn roles_on_demand_are_made_anew_and_served_meanwhile() {
    let rig = Rig::new(&[("a", "a")]);
    let wanted = rig.requests.ensure(demand("d", "demand"));
    pass(60).await;
    assert_eq!(rig.of(&wanted), (RoleState::Fresh, "demand".into()));
    rig.replace(&[("a", "a")], |_| Carryover::Unchanged).await;
    assert_eq!(rig.of(&wanted).1, "demand");
    pass(60).await;
    assert_eq!(rig.of(&wanted), (RoleState::Fresh, "demand".into()));
    assert_eq!(rig.calls(), ["a", "demand", "demand"]);
    // If nothing is different they are not even asked for.
    rig.replace_all(&[("a", "a")], |_| Carryover::Unchanged, Carryover::Unchanged).await;
    pass(60).await;
    assert_eq!((rig.of(&wanted).1, rig.calls().len()), ("demand".to_owned(), 3));
    rig.requests.release(&wanted);
    rig.replace(&[("a", "a")], |_| Carryover::Unchanged).await;
    assert_eq!(rig.of(&wanted).0, RoleState::Withdrawn);
}

#[tokio::test(start_paused = true)]
async fn the_sets_that_a_user_has_for_itself_share_the_fate_of_their_role() {
    let rig = Rig::new(&[("a", "a"), ("b", "b")]);
    let timed = |role: &str| Timed { role: name(role), uid: 1000, duration: HOUR };
    let (of_a, of_b) = (rig.requests.ensure(timed("a")), rig.requests.ensure(timed("b")));
    pass(60).await;
    assert_eq!(rig.calls(), ["a", "b", "timed", "timed"]);
    let b_is_another = |role: &RoleId| match role.as_str() {
        "a" => Carryover::Unchanged,
        _ => Carryover::Discard,
    };
    rig.replace(&[("a", "a"), ("b", "b2")], b_is_another).await;
    assert_eq!(rig.of(&of_a), (RoleState::Fresh, "timed".into()));
    assert_eq!(rig.of(&of_b), (RoleState::Warming, String::new()));
    pass(60).await;
    assert_eq!(rig.of(&of_b), (RoleState::Fresh, "timed".into()));
    assert_eq!(rig.calls()[4..].iter().filter(|call| *call == "timed").count(), 1);
    rig.replace(&[("a", "a"), ("b", "b2")], |_| Carryover::Refetch).await;
    assert_eq!(rig.of(&of_b).1, "timed");
}
