//! Chains, fail-over, rates and demands under a clock that only moves when everything waits.

use std::{collections::HashMap, sync::Mutex};

use super::*;
use crate::{
    Cadence, CallLimit, CallLimitId, Candidate, Carryover, Fetch, Graph, HandOver, Handover, Node, OnDemand,
    OnDemandFactory, Replacement, RoleRequests, SourceFuture, Timed, Visibility, Wanted,
    clock::{self, BootTime, Clock, fake::FakeClock},
    credentials::{RoleName, Secret},
    refresh_stats::{Entry, RefreshStats},
    store::{RoleState, Store},
};

const HOUR: Duration = Duration::from_hours(1);

/// All upstreams of a test: what they do, and what they were asked.
struct World {
    clock: Arc<FakeClock>,
    state: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    errors: HashMap<String, SourceError>,
    /// Parents' keys that AWS no longer takes.
    expired: Vec<String>,
    serial: u32,
    /// When, which call, signed by which key.
    calls: Vec<(BootTime, String, Option<String>)>,
}

impl World {
    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.state.lock().expect("not poisoned"));
    }

    fn calls(&self, name: &str) -> Vec<(BootTime, Option<String>)> {
        let state = self.state.lock().expect("not poisoned");
        state.calls.iter().filter(|(_, called, _)| called == name).map(|(at, _, key)| (*at, key.clone())).collect()
    }

    fn fail(&self, name: &str, error: SourceError) {
        self.set(|script| drop(script.errors.insert(name.to_owned(), error)));
    }

    fn mend(&self, name: &str) {
        self.set(|script| drop(script.errors.remove(name)));
    }
}

/// One call of the world.
struct Call(String, Arc<World>);

impl Fetch for Call {
    fn fetch<'a>(&'a self, parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            let Self(name, world) = self;
            let key = parent.map(|parent| parent.access_key_id.clone());
            world.set(|script| script.calls.push((world.clock.now().boot, name.clone(), key.clone())));
            clock::sleep(Duration::from_millis(20)).await;
            let mut script = world.state.lock().expect("not poisoned");
            if let Some(error) = script.errors.get(name) {
                return Err(error.clone());
            }
            if key.is_some_and(|key| script.expired.contains(&key)) {
                return Err(SourceError::new(ErrorKind::ParentExpired, "ExpiredToken"));
            }
            script.serial += 1;
            Ok(Credentials {
                access_key_id: format!("{name}{}", script.serial),
                secret_access_key: Secret::new("secret"),
                session_token: Secret::new("token"),
                expiration: world.clock.now().wall + HOUR,
                life: None,
                last_updated: None,
                account_id: None,
                role_arn: None,
            })
        })
    }
}

struct Rig {
    world: Arc<World>,
    store: Arc<Store>,
    requests: RoleRequests,
    refresh_stats: Arc<RefreshStats>,
    _task: tokio::task::JoinHandle<()>,
}

fn name(text: &str) -> RoleName {
    text.parse().expect("a role name")
}

/// A node with its candidates: `call` or `call<parent`. A hidden one begins with a dot.
fn node(world: &Arc<World>, text: &str, candidates: &[&str]) -> Node {
    let candidate = |text: &&str| {
        let (call, parent) = text.split_once('<').map_or((*text, None), |(call, parent)| (call, Some(parent)));
        Candidate {
            label: call.into(),
            fetch: Arc::new(Call(call.to_owned(), Arc::clone(world))),
            call_limit: CallLimitId(0),
            parent: parent.map(|parent| RoleId::named(&name(parent))),
            follows: call.starts_with("pass"),
            cadence: Cadence::Aws,
        }
    };
    let visibility = if text.starts_with('.') { Visibility::Hidden } else { Visibility::Listed };
    Node {
        id: RoleId::named(&name(text)),
        name: name(text),
        visibility,
        candidates: candidates.iter().map(candidate).collect(),
    }
}

fn rig(rate: Option<f64>, nodes: &[(&str, &[&str])]) -> Rig {
    let world = Arc::new(World { clock: FakeClock::new(), state: Mutex::default() });
    rig_in(world, rate, nodes, |refresher| refresher)
}

fn rig_in(
    world: Arc<World>,
    rate: Option<f64>,
    nodes: &[(&str, &[&str])],
    prepare: impl FnOnce(Refresher) -> Refresher,
) -> Rig {
    let (clock, store) = (Arc::clone(&world.clock), Store::shared());
    let nodes = nodes.iter().map(|(text, candidates)| node(&world, text, candidates)).collect();
    let graph = Graph { call_limits: vec![CallLimit { concurrency: 100, rate }], lister: None, nodes };
    let mut refresher = prepare(Refresher::new(graph, Arc::clone(&store), clock, None).with_factory(factory(&world)));
    let (requests, refresh_stats) = (refresher.requests(), refresher.refresh_stats());
    Rig { world, store, requests, refresh_stats, _task: tokio::spawn(async move { refresher.run().await }) }
}

fn factory(world: &Arc<World>) -> OnDemandFactory {
    let world = Arc::clone(world);
    Box::new(move |id: &RoleId, wanted: &Wanted| {
        let call = match wanted {
            Wanted::Assumed(wanted) => wanted.external_id.clone().unwrap_or_default(),
            Wanted::Timed(wanted) => format!("timed-{}", wanted.role),
            Wanted::Tagged(wanted) => format!("tagged-{}", wanted.session_name),
        };
        let made = node(&world, wanted.name().as_str(), &[&call]);
        let parent = node(&world, ".later", &["later"]);
        if call.starts_with("impossible") {
            return Err("no such source".to_owned());
        }
        Ok(vec![parent, Node { id: id.clone(), visibility: Visibility::Unlisted, ..made }])
    })
}

async fn pass(seconds: u64) {
    clock::sleep(Duration::from_secs(seconds)).await;
}

impl Rig {
    fn state(&self, id: &RoleId) -> RoleState {
        let now = self.world.clock.now();
        self.store.snapshot().by_id(id).map_or(RoleState::Withdrawn, |role| role.slot().state(now))
    }

    fn of(&self, role: &str) -> RoleState {
        self.state(&RoleId::named(&name(role)))
    }

    /// The key of each role that has one, by the role's id.
    fn served(&self) -> HashMap<String, String> {
        let snapshot = self.store.snapshot();
        let roles = snapshot.roles().iter().chain(snapshot.unlisted());
        let held = roles.filter_map(|role| match &**role.slot() {
            Slot::Held { set, .. } => Some((role.id().to_string(), set.access_key_id.to_string())),
            _ => None,
        });
        held.collect()
    }

    /// Which call the set comes from that is served.
    fn from(&self, role: &str) -> String {
        self.served()[role].trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()
    }
}

fn denied(withdraws: bool) -> SourceError {
    let kind = ErrorKind::Refused { code: "AccessDenied".into(), message: "no".into(), withdraws };
    SourceError::new(kind, "AccessDenied")
}

/// A role on demand; `call` is for the maker of the test, which sees it as the external id.
fn demand(role: &str, call: &str) -> OnDemand {
    let arn = "arn:aws:iam::123456789012:role/any".parse().expect("an ARN");
    OnDemand { external_id: Some(call.to_owned()), ..OnDemand::new(name(role), arn) }
}

#[tokio::test(start_paused = true)]
async fn a_chain_is_climbed_from_its_root_with_one_call_each() {
    // The children stand first: they wait.
    let rig = rig(None, &[("c", &["c<b"]), ("b", &["b<.root"]), (".root", &["root"])]);
    assert_eq!(rig.store.snapshot().names(), b"c\nb");
    pass(1).await;
    assert_eq!((rig.of("c"), rig.of("b")), (RoleState::Fresh, RoleState::Fresh));
    let signed = |call: &str| rig.world.calls(call).into_iter().map(|(_, key)| key).collect::<Vec<_>>();
    assert_eq!(signed("root"), [None]);
    assert_eq!(signed("b"), [Some("root1".to_owned())]);
    assert_eq!(signed("c"), [Some("b2".to_owned())]);
}

#[tokio::test(start_paused = true)]
async fn all_roles_of_one_source_share_its_credentials() {
    let names: Vec<String> = (0..50).map(|n| format!("r{n}")).collect();
    let candidates: Vec<String> = names.iter().map(|name| format!("{name}<.root")).collect();
    let candidates: Vec<[&str; 1]> = candidates.iter().map(|candidate| [&**candidate]).collect();
    let mut nodes: Vec<(&str, &[&str])> = vec![(".root", &["root"])];
    nodes.extend(names.iter().zip(&candidates).map(|(name, candidate)| (&**name, candidate.as_slice())));
    let rig = rig(None, &nodes);
    pass(600).await;
    assert_eq!(rig.world.calls("root").len(), 1);
    assert!(names.iter().all(|name| rig.world.calls(name).len() == 1 && rig.of(name) == RoleState::Fresh));
    pass(3600).await;
    // A set of an hour is fetched again after 18 to 22 minutes.
    let (root, child) = (rig.world.calls("root").len(), rig.world.calls("r7").len());
    assert!((3..=5).contains(&root) && (3..=5).contains(&child), "{root} {child}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_roles_start_no_faster_than_the_rate_and_ask_once_each() {
    let names: Vec<String> = (0..1000).map(|n| format!("r{n}")).collect();
    let candidates: Vec<String> = names.iter().map(|name| format!("{name}<.root")).collect();
    let candidates: Vec<[&str; 1]> = candidates.iter().map(|candidate| [&**candidate]).collect();
    let mut nodes: Vec<(&str, &[&str])> = vec![(".root", &["root"])];
    nodes.extend(names.iter().zip(&candidates).map(|(name, candidate)| (&**name, candidate.as_slice())));
    let rig = rig(Some(10.0), &nodes);
    pass(105).await;
    assert!(names.iter().all(|name| rig.of(name) == RoleState::Fresh));
    let mut at: Vec<BootTime> =
        rig.world.state.lock().expect("not poisoned").calls.iter().map(|(at, ..)| *at).collect();
    assert_eq!(at.len(), 1001);
    at.sort_unstable();
    // Never more than a second's worth in a burst, and ten a second.
    assert!(at.windows(21).all(|part| part[20].since(part[0]) >= Duration::from_secs(1)), "{at:?}");
    let first = rig.world.calls("r0")[0].0;
    assert!(rig.world.calls("r999")[0].0 > first + Duration::from_secs(95), "in the order of the file");
}

#[tokio::test(start_paused = true)]
async fn an_expired_parent_is_fetched_at_once_and_the_children_try_again() {
    let rig = rig(None, &[(".root", &["root"]), ("a", &["a<.root"])]);
    pass(120).await;
    rig.world.set(|script| script.expired = vec!["root1".into()]);
    let ids = ["b", "c"].map(|role| rig.requests.ensure(demand(role, &format!("{role}<.root"))));
    pass(1).await;
    assert_eq!(ids.map(|id| rig.state(&id)), [RoleState::Fresh, RoleState::Fresh]);
    assert_eq!(rig.world.calls("root").len(), 2, "one more for both");
    assert_eq!((rig.world.calls("b").len(), rig.world.calls("c").len()), (2, 2));
    assert_eq!(rig.world.calls("a").len(), 1, "who has what it needs is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_always_counts_as_expired_makes_no_loop() {
    let rig = rig(None, &[(".root", &["root"]), ("a", &["a<.root"]), ("b", &["b<.root"])]);
    rig.world.fail("a", SourceError::new(ErrorKind::ParentExpired, "ExpiredToken"));
    pass(600).await;
    assert_eq!((rig.of("a"), rig.of("b")), (RoleState::Warming, RoleState::Fresh));
    let (root, child) = (rig.world.calls("root").len(), rig.world.calls("a").len());
    assert!(root <= 11, "at most once a minute: {root}");
    assert!(child <= 90, "{child}");
    assert_eq!(rig.world.calls("b").len(), 1, "the other child has what it needs");
}

#[tokio::test(start_paused = true)]
async fn a_child_waits_for_its_parent_and_goes_on_when_it_comes() {
    let rig = rig(None, &[(".root", &["root"]), ("b", &["b<.root"]), ("c", &["c<b"])]);
    rig.world.fail("root", SourceError::transient("down"));
    pass(300).await;
    assert_eq!((rig.of("b"), rig.of("c")), (RoleState::Warming, RoleState::Warming));
    assert_eq!(rig.world.calls("b").len() + rig.world.calls("c").len(), 0);
    rig.world.mend("root");
    pass(61).await;
    assert_eq!((rig.of("b"), rig.of("c")), (RoleState::Fresh, RoleState::Fresh));
}

#[tokio::test(start_paused = true)]
async fn a_parent_that_is_down_takes_nothing_away() {
    let rig = rig(None, &[(".root", &["root"]), ("b", &["b<.root"])]);
    pass(1).await;
    rig.world.fail("root", SourceError::transient("down"));
    pass(3500).await;
    assert_eq!(rig.of("b"), RoleState::Fresh, "the parent's set was good enough to renew the child's");
    pass(3500).await;
    assert!(matches!(rig.of("b"), RoleState::Stale | RoleState::Expired), "{:?}", rig.of("b"));
    rig.world.mend("root");
    pass(61).await;
    assert_eq!(rig.of("b"), RoleState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_refused_parent_denies_its_children_and_gives_them_back() {
    let rig = rig(None, &[(".root", &["root"]), ("b", &["b<.root"]), ("c", &["c<b"])]);
    rig.world.fail("root", denied(false));
    pass(5).await;
    assert_eq!((rig.of("b"), rig.of("c")), (RoleState::Denied, RoleState::Denied));
    let asked = rig.world.calls("root").len();
    pass(600).await;
    assert!(rig.world.calls("root").len() <= asked + 3, "reported once, retried slowly");
    rig.world.mend("root");
    pass(301).await;
    assert_eq!((rig.of("b"), rig.of("c")), (RoleState::Fresh, RoleState::Fresh));
}

#[tokio::test(start_paused = true)]
async fn a_withdrawn_parent_withdraws_its_children_but_a_refusal_leaves_them_what_they_have() {
    for (withdraws, condition) in [(true, RoleState::Denied), (false, RoleState::Fresh)] {
        let rig = rig(None, &[(".root", &["root"]), ("b", &["b<.root"])]);
        pass(1).await;
        rig.world.fail("root", denied(withdraws));
        pass(1500).await;
        assert_eq!(rig.of("b"), condition);
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_refused_for_good_is_asked_slowly_and_spares_the_set() {
    let rig = rig(None, &[("a", &["a"])]);
    pass(1).await;
    rig.world.fail("a", denied(false));
    pass(1500).await;
    let before = rig.world.calls("a").len();
    assert_eq!(rig.of("a"), RoleState::Stale);
    pass(1200).await;
    let calls = rig.world.calls("a").len() - before;
    assert!((3..=6).contains(&calls), "{calls}");
    pass(1200).await;
    assert_eq!(rig.of("a"), RoleState::Denied, "once it has expired");
}

#[tokio::test(start_paused = true)]
async fn the_second_way_stands_in_and_the_first_comes_back() {
    let rig = rig(None, &[(".root", &["root"]), ("a", &["first<.root", "second"])]);
    pass(1).await;
    assert_eq!(rig.from("a"), "first");
    rig.world.fail("first", SourceError::transient("down"));
    pass(1500).await;
    assert_eq!((rig.of("a"), rig.from("a")), (RoleState::Fresh, "second".to_owned()));
    rig.world.mend("first");
    pass(1500).await;
    assert_eq!(rig.from("a"), "first");
    // A parent that is not there is a reason, too.
    rig.world.fail("root", SourceError::transient("down"));
    pass(4500).await;
    assert_eq!((rig.of("a"), rig.from("a")), (RoleState::Fresh, "second".to_owned()));
}

/// When the first candidate is asked for `a`, which lives on the second one since about the first minute.
fn returns(rig: &Rig) -> Vec<u64> {
    let since = rig.world.calls("second")[0].0;
    let calls = rig.world.calls("first").into_iter().map(|(at, _)| at);
    calls.filter(|at| *at > since).map(|at| at.since(since).as_secs()).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_way_is_tried_between_two_sets_and_the_second_is_left_alone() {
    let rig = rig(None, &[("a", &["first", "second"])]);
    rig.world.fail("first", SourceError::transient("down"));
    // The set of the second is due after 18 minutes at the earliest.
    pass(1078).await;
    // After about 5 minutes, and after 10 more.
    let at = returns(&rig);
    assert!((224..377).contains(&at[0]) && at.len() <= 2, "{at:?}");
    assert!((450..755).contains(&(at.get(1).unwrap_or(&1078) - at[0])), "{at:?}");
    assert_eq!(rig.world.calls("second").len(), 1);
    assert_eq!((rig.of("a"), rig.from("a")), (RoleState::Fresh, "second".to_owned()));
    let entry = rig.refresh_stats.entry("a");
    assert_eq!(entry, Entry { source: Some("second".into()), failure: None, next: entry.next });
    assert!(entry.next.is_some());
    rig.world.mend("first");
    pass(1500).await;
    assert_eq!(rig.from("a"), "first");
    assert_eq!(rig.refresh_stats.entry("a").source.as_deref(), Some("first"));
    // Nothing is left to go back to.
    let (first, second) = (rig.world.calls("first").len(), rig.world.calls("second").len());
    pass(900).await;
    assert_eq!((rig.world.calls("first").len() - first <= 1, rig.world.calls("second").len()), (true, second));
}

#[tokio::test(start_paused = true)]
async fn a_first_way_that_is_back_is_returned_to_within_minutes() {
    let rig = rig(None, &[("a", &["first", "second"])]);
    rig.world.fail("first", SourceError::transient("down"));
    pass(30).await;
    rig.world.mend("first");
    pass(376).await;
    assert_eq!((rig.from("a"), returns(&rig).len()), ("first".to_owned(), 1));
}

#[tokio::test(start_paused = true)]
async fn many_roles_do_not_come_back_together() {
    let names: Vec<String> = (0..200).map(|n| format!("r{n}")).collect();
    let mut nodes: Vec<(&str, &[&str])> = vec![("a", &["first", "second"])];
    nodes.extend(names.iter().map(|name| (&**name, ["first", "second"].as_slice())));
    let rig = rig(Some(100.0), &nodes);
    rig.world.fail("first", SourceError::transient("down"));
    pass(60).await;
    rig.world.mend("first");
    pass(400).await;
    assert!(names.iter().all(|name| rig.from(name) == "first"));
    let at = returns(&rig);
    let at = &at[at.iter().position(|at| *at > 60).expect("some return")..];
    let most = at.iter().map(|second| at.iter().filter(|other| *other == second).count()).max();
    assert!(at.len() == 201 && most < Some(12), "{at:?}");
}

#[tokio::test(start_paused = true)]
async fn a_return_stands_in_nobodys_way() {
    // One call begins in 100 s, and three roles need theirs.
    let rig = rig(Some(0.01), &[("b", &["b"]), ("c", &["c"]), ("a", &["first", "second"])]);
    rig.world.fail("first", SourceError::transient("down"));
    pass(3000).await;
    let calls = rig.world.state.lock().expect("not poisoned").calls.clone();
    assert!(calls.len() <= 31, "never more often than the rate: {}", calls.len());
    for role in ["a", "b", "c"] {
        assert!(matches!(rig.of(role), RoleState::Fresh | RoleState::Refreshing), "{role}: {:?}", rig.of(role));
    }
}

#[tokio::test(start_paused = true)]
async fn what_would_rather_be_passed_on_is_so_at_once() {
    let rig = rig(None, &[("p", &["p"]), ("a", &["pass<p", "second"])]);
    rig.world.fail("p", SourceError::transient("down"));
    pass(2).await;
    assert_eq!(rig.from("a"), "second");
    rig.world.mend("p");
    pass(65).await;
    assert_eq!((rig.from("p"), rig.from("a")), ("p".to_owned(), "pass".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn at_the_start_a_way_whose_parent_fails_does_not_hold_up_the_next_one() {
    let rig = rig(None, &[(".root", &["root"]), ("a", &["first<.root", "second"])]);
    rig.world.fail("root", SourceError::transient("down"));
    pass(2).await;
    assert_eq!((rig.of("a"), rig.from("a")), (RoleState::Fresh, "second".to_owned()));
}

#[tokio::test(start_paused = true)]
async fn what_is_passed_on_is_as_new_as_what_it_comes_from() {
    let rig = rig(None, &[("a", &["a"]), ("b", &["pass<a"])]);
    pass(3600 * 5).await;
    let (a, b) = (rig.world.calls("a"), rig.world.calls("pass"));
    for (at, _) in &a {
        assert!(b.iter().any(|(passed, _)| passed.since(*at) < Duration::from_secs(1) && passed > at));
    }
}

#[tokio::test(start_paused = true)]
async fn roles_on_demand_come_and_go() {
    let rig = rig(None, &[("a", &["a"])]);
    pass(1).await;
    let id = rig.requests.ensure(demand("box", "boxed<.later"));
    assert_eq!(rig.state(&id), RoleState::Warming, "at once");
    pass(1).await;
    assert_eq!(rig.state(&id), RoleState::Fresh);
    assert_eq!(rig.world.calls("boxed").len(), 1);
    assert_eq!(rig.store.snapshot().names(), b"a");
    let of_a = rig.requests.ensure(demand("c", "other<a"));
    pass(2).await;
    assert_eq!(rig.state(&of_a), RoleState::Fresh, "of a role that had no children before");
    rig.requests.release(&id);
    pass(3600 * 2).await;
    assert_eq!((rig.state(&id), rig.world.calls("boxed").len()), (RoleState::Withdrawn, 1));
    let impossible = rig.requests.ensure(demand("x", "impossible"));
    pass(1).await;
    assert_eq!(rig.state(&impossible), RoleState::Denied);
}

/// The refreshers of two processes, one after the other, in one world whose upstreams are down from the change on.
async fn two_processes(carryover: Carryover) -> (Rig, OnDemand, HashMap<String, String>) {
    two_processes_with(move |_| carryover, carryover).await
}

/// A user's own sets of a role.
fn timed(role: &str) -> Timed {
    Timed { role: name(role), uid: 1000, duration: HOUR }
}

async fn two_processes_with(
    carryover: impl Fn(&str) -> Carryover + Send + 'static,
    on_demand: Carryover,
) -> (Rig, OnDemand, HashMap<String, String>) {
    const NODES: [(&str, &[&str]); 3] =
        [("app", &["first", "second"]), (".signer", &["signer"]), ("child", &["assume<.signer"])];
    let world = Arc::new(World { clock: FakeClock::new(), state: Mutex::default() });
    world.fail("first", SourceError::transient("down"));
    let kept = Arc::new(Mutex::new(None));
    let keep = Arc::clone(&kept);
    let hand_over: HandOver = Box::new(move |handover| *keep.lock().expect("not poisoned") = Some(handover));
    let before =
        rig_in(Arc::clone(&world), None, &NODES, |refresher| refresher.made_from("x".into()).with_hand_over(hand_over));
    let wanted = demand("made", "call");
    before.requests.ensure(wanted.clone());
    for role in ["app", "child"] {
        before.requests.ensure(timed(role));
    }
    pass(60).await;
    drop(before);
    for call in ["second", "signer", "assume", "call", "timed-app", "timed-child"] {
        world.fail(call, SourceError::transient("down"));
    }
    let handover: Handover = kept.lock().expect("not poisoned").take().expect("something was fetched");
    assert_eq!(&*handover.configuration, "x");
    let keys = handover.sets.iter().map(|handed| (handed.id.to_string(), handed.set.access_key_id.to_string()));
    let keys = keys.collect();
    world.set(|script| script.calls.clear());
    let after = rig_in(world, None, &NODES, |mut refresher| {
        refresher.take_over_from(handover, carryover, Carryover::Discard, on_demand);
        refresher
    });
    (after, wanted, keys)
}

#[tokio::test(start_paused = true)]
async fn a_restart_loses_nothing_and_fetches_again_when_the_process_before_would_have() {
    let (rig, wanted, keys) = two_processes(Carryover::Unchanged).await;
    let made = rig.requests.ensure(wanted);
    pass(1).await;
    for id in ["app".into(), "child".into(), made.to_string()] {
        assert_eq!(rig.served().get(&id), keys.get(&id), "{id}");
    }
    assert_eq!(rig.refresh_stats.entry("app").source.as_deref(), Some("second"));
    for call in ["second", "signer", "assume", "call"] {
        assert_eq!(rig.world.calls(call).len(), 0, "{call} is not due");
    }
    rig.world.mend("assume");
    pass(25 * 60).await;
    let (_, signed_by) = rig.world.calls("assume").first().cloned().expect("an hour is fetched again after 22 minutes");
    assert_eq!(signed_by.as_ref(), keys.get(".signer"));
    assert_eq!(rig.from("child"), "assume");
    assert_ne!(rig.served()["child"], keys["child"]);
    assert!(!rig.world.calls("first").is_empty(), "the preferred candidate is tried again");
}

#[tokio::test(start_paused = true)]
async fn after_a_change_of_the_configuration_sets_are_fetched_at_once_or_dropped() {
    let (rig, wanted, keys) = two_processes(Carryover::Refetch).await;
    rig.requests.ensure(wanted.clone());
    pass(1).await;
    let own = ["app", "child"].map(|role| timed(role).id().to_string());
    let served: HashMap<_, _> = keys.into_iter().filter(|(id, _)| !id.starts_with('.') && !own.contains(id)).collect();
    assert_eq!(rig.served(), served);
    assert!(["second", "signer", "call"].iter().all(|call| !rig.world.calls(call).is_empty()));
    let (rig, ..) = two_processes(Carryover::Discard).await;
    rig.requests.ensure(wanted);
    pass(1).await;
    assert_eq!(rig.served(), HashMap::new());
}

#[tokio::test(start_paused = true)]
async fn over_a_restart_a_users_own_sets_share_the_fate_of_their_role() {
    let of_app = |id: &str| if id == "app" { Carryover::Discard } else { Carryover::Unchanged };
    let (rig, _, keys) = two_processes_with(of_app, Carryover::Unchanged).await;
    let [app, child] = ["app", "child"].map(|role| rig.requests.ensure(timed(role)).to_string());
    pass(1).await;
    assert!(keys.contains_key(&app));
    assert_eq!((rig.served().get(&app), rig.served().get(&child)), (None, keys.get(&child)));
    assert!(!rig.world.calls("timed-app").is_empty() && rig.world.calls("timed-child").is_empty());
}

#[tokio::test(start_paused = true)]
async fn what_nobody_has_asked_for_since_a_restart_survives_a_reload_as_its_role_does() {
    for (of_child, of_app) in [(Carryover::Unchanged, Carryover::Refetch), (Carryover::Refetch, Carryover::Discard)] {
        let (rig, wanted, keys) = two_processes(Carryover::Unchanged).await;
        let nodes = [("app", &["second"][..]), (".signer", &["signer"]), ("child", &["assume<.signer"])];
        let nodes = nodes.iter().map(|(text, candidates)| node(&rig.world, text, candidates)).collect();
        let replacement = Replacement {
            graph: Graph { call_limits: vec![CallLimit { concurrency: 100, rate: None }], lister: None, nodes },
            configuration: "y".into(),
            factory: Some(factory(&rig.world)),
            grace: None,
            carryover: Box::new(move |id| if id.as_str() == "app" { of_app } else { of_child }),
            on_demand: Carryover::Refetch,
            lister: Carryover::Unchanged,
        };
        rig.requests.replacer().replace(replacement).await;
        // What was handed over to this process is handed over to the next one, unless the role is another one now.
        let again = rig.requests.handover().await.expect("there is a refresher");
        let now = rig.world.clock.now().boot;
        let due = |role: &str| {
            let id = timed(role).id();
            let handed = again.sets.iter().find(|handed| *handed.id == *id.as_str())?;
            Some(handed.due <= now)
        };
        let expected = |becomes| match becomes {
            Carryover::Unchanged => Some(false),
            Carryover::Refetch => Some(true),
            Carryover::Discard => None,
        };
        assert_eq!((due("child"), due("app")), (expected(of_child), expected(of_app)));
        rig.world.set(|script| script.calls.clear());
        let [app, child, made] = [timed("app").into(), timed("child").into(), Wanted::from(wanted)]
            .map(|wanted: Wanted| rig.requests.ensure(wanted).to_string());
        pass(1).await;
        let served = rig.served();
        assert_eq!(served.get(&child), keys.get(&child));
        assert_eq!(served.get(&app), keys.get(&app).filter(|_| of_app != Carryover::Discard));
        assert_eq!(served.get(&made), None, "what it was made with may be another source");
        assert_eq!(rig.world.calls("timed-child").is_empty(), of_child == Carryover::Unchanged);
        assert!(!rig.world.calls("timed-app").is_empty());
    }
}

#[tokio::test(start_paused = true)]
async fn when_the_network_comes_back_what_failed_is_tried_at_once_and_nothing_else() {
    let rig = rig(None, &[("app", &["app"]), ("well", &["well"])]);
    rig.world.fail("app", SourceError::transient("down"));
    pass(600).await;
    rig.world.mend("app");
    let (failed, well) = (rig.world.calls("app").len(), rig.world.calls("well").len());
    rig.requests.try_again();
    clock::sleep(Duration::from_millis(1500)).await;
    assert_eq!((rig.world.calls("app").len(), rig.of("app")), (failed + 1, RoleState::Fresh));
    assert_eq!(rig.world.calls("well").len(), well);
}
