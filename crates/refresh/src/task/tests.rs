//! The refresher under a clock that only moves when everything waits.

mod outages;
mod years;

use std::{
    collections::{HashMap, VecDeque},
    sync::Mutex,
};

use jiff::{SignedDuration, Timestamp};

use super::*;
use crate::{
    Cadence, CallLimitId, Candidate, ErrorKind, Fetch, Node, OnRequest, RoleList, RoleRequests, Source, SourceError,
    SourceFuture, Timed, Visibility, Wanted,
    clock::{BootTime, Clock, fake::FakeClock},
    credentials::{Credentials, Secret},
    store::RoleState,
};

/// An upstream that does what the test says and remembers when it was asked.
struct Upstream {
    clock: Arc<FakeClock>,
    state: Mutex<Script>,
}

#[derive(Default)]
struct Script {
    roles: Vec<&'static str>,
    problems: Vec<String>,
    list_error: Option<SourceError>,
    life: Duration,
    max_age: Option<Duration>,
    date: Option<Timestamp>,
    errors: HashMap<&'static str, SourceError>,
    /// How long sets live by the upstream's own clock.
    life_there: Option<Duration>,
    /// One-time expirations, used before `life`.
    expirations: VecDeque<Timestamp>,
    serial: u32,
    asked: Vec<(BootTime, String)>,
    in_flight: HashMap<String, u32>,
    most_in_flight: u32,
    latency: Duration,
}

impl Upstream {
    fn latency(&self) -> Duration {
        self.state.lock().expect("not poisoned").latency
    }

    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.state.lock().expect("not poisoned"));
    }

    fn asked_for(&self, name: &str) -> Vec<BootTime> {
        let state = self.state.lock().expect("not poisoned");
        state.asked.iter().filter(|(_, asked)| asked == name).map(|(at, _)| *at).collect()
    }
}

impl Source for Upstream {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(async {
            let mut state = self.state.lock().expect("not poisoned");
            state.asked.push((self.clock.now().boot, "list".into()));
            match &state.list_error {
                Some(error) => Err(error.clone()),
                None => Ok(RoleList {
                    names: state.roles.iter().map(|role| role.parse().expect("a name")).collect(),
                    problems: state.problems.clone(),
                    accounts: HashMap::new(),
                    max_age: state.max_age,
                    date: state.date,
                }),
            }
        })
    }

    fn concurrency(&self) -> usize {
        3
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(async move {
            {
                let mut state = self.state.lock().expect("not poisoned");
                state.asked.push((self.clock.now().boot, role.to_string()));
                let in_flight = state.in_flight.entry(role.to_string()).or_default();
                *in_flight += 1;
                assert_eq!(*in_flight, 1, "one call in flight per role");
                let all = state.in_flight.values().sum();
                state.most_in_flight = state.most_in_flight.max(all);
            }
            clock::sleep(self.latency()).await;
            let mut state = self.state.lock().expect("not poisoned");
            *state.in_flight.get_mut(role.as_str()).expect("counted") -= 1;
            if let Some(error) = state.errors.get(role.as_str()) {
                return Err(error.clone());
            }
            state.serial += 1;
            let life = self.clock.now().wall + state.life;
            Ok(Credentials {
                access_key_id: format!("ASIA{}", state.serial),
                secret_access_key: Secret::new("secret"),
                session_token: Secret::new("token"),
                expiration: state.expirations.pop_front().unwrap_or(life),
                life: state.life_there,
                last_updated: None,
                account_id: None,
                role_arn: None,
            })
        })
    }
}

struct Rig {
    clock: Arc<FakeClock>,
    upstream: Arc<Upstream>,
    store: Arc<Store>,
    refresh_stats: Arc<RefreshStats>,
    requests: RoleRequests,
    _task: tokio::task::JoinHandle<()>,
}

/// When the fake clock begins.
const START: &str = "2026-11-23T10:00:00Z";

/// How often the rigs ask for the list.
const INTERVAL: Duration = Duration::from_mins(5);

fn rig(roles: &[&'static str], life: u64) -> Rig {
    rig_with_grace(roles, life, None)
}

fn rig_with_grace(roles: &[&'static str], life: u64, grace: Option<u64>) -> Rig {
    rig_on_request(roles, life, grace, None)
}

fn rig_on_request(roles: &[&'static str], life: u64, grace: Option<u64>, on_request: Option<OnRequest>) -> Rig {
    let clock = FakeClock::new();
    let script = Script {
        roles: roles.to_vec(),
        life: Duration::from_secs(life),
        latency: Duration::from_millis(20),
        ..Script::default()
    };
    let upstream = Arc::new(Upstream { clock: Arc::clone(&clock), state: Mutex::new(script) });
    let store = Store::shared();
    let mut graph = Graph::listing(upstream.clone(), INTERVAL);
    if let Some(lister) = &mut graph.lister {
        lister.on_request = on_request;
    }
    let source = upstream.clone();
    let mut refresher = Refresher::new(graph, store.clone(), clock.clone(), grace.map(Duration::from_secs))
        .with_factory(Box::new(move |id, wanted| Ok(vec![own_sets(id, wanted, &source)])));
    let (refresh_stats, requests) = (refresher.refresh_stats(), refresher.requests());
    Rig { clock, upstream, store, refresh_stats, requests, _task: tokio::spawn(async move { refresher.run().await }) }
}

/// The sets that a user has for itself come from the same upstream, which knows them as `own-ROLE`.
struct Own(Arc<Upstream>, RoleName);

impl Fetch for Own {
    fn fetch<'a>(&'a self, _parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        self.0.fetch(&self.1)
    }
}

fn own_sets(id: &RoleId, wanted: &Wanted, source: &Arc<Upstream>) -> Node {
    let candidate = Candidate {
        label: "own".into(),
        fetch: Arc::new(Own(Arc::clone(source), format!("own-{}", wanted.name()).parse().expect("a name"))),
        call_limit: CallLimitId(0),
        parent: None,
        follows: false,
        cadence: Cadence::Ims { interval: INTERVAL },
    };
    let (name, visibility) = (wanted.name().clone(), Visibility::Unlisted);
    Node { id: id.clone(), name, visibility, candidates: [candidate].into() }
}

impl Rig {
    async fn pass(&self, seconds: u64) {
        clock::sleep(Duration::from_secs(seconds)).await;
    }

    /// A refresh that happens to be under way makes no difference.
    fn state(&self, role: &str) -> RoleState {
        let snapshot = self.store.snapshot();
        match snapshot.role(role).map(|role| role.slot().state(self.clock.now())) {
            Some(RoleState::Refreshing) => RoleState::Fresh,
            Some(state) => state,
            None => RoleState::Withdrawn,
        }
    }

    /// A caller asks for a role and waits.
    fn ask(&self, role: &str) {
        self.store.snapshot().role(role).expect("listed").ask(self.clock.now().boot);
        drop(self.store.awaited_change());
    }

    fn key(&self, role: &str) -> String {
        let snapshot = self.store.snapshot();
        match &**snapshot.role(role).expect("listed").slot() {
            Slot::Held { set, .. } => set.access_key_id.to_string(),
            other => panic!("{other:?}"),
        }
    }
}

fn refused(withdraws: bool) -> SourceError {
    let kind = ErrorKind::Refused { code: "AssumeRoleUnauthorizedAccess".into(), message: "no".into(), withdraws };
    SourceError::new(kind, "403")
}

#[tokio::test(start_paused = true)]
async fn the_list_is_asked_for_at_the_interval_and_sets_by_their_age() {
    let rig = rig(&["a", "b"], 3600);
    rig.pass(1).await;
    assert_eq!((rig.state("a"), rig.state("b")), (RoleState::Fresh, RoleState::Fresh));
    rig.pass(3600).await;
    let gaps = |name: &str| {
        let asked = rig.upstream.asked_for(name);
        asked.windows(2).map(|pair| pair[1].since(pair[0])).collect::<Vec<_>>()
    };
    let lists = gaps("list");
    assert!((9..=16).contains(&lists.len()), "{lists:?}");
    assert!(lists.iter().all(|gap| *gap > INTERVAL.mul_f64(0.74) && *gap < INTERVAL.mul_f64(1.26)), "{lists:?}");
    for role in ["a", "b"] {
        let sets = gaps(role);
        assert!((2..=3).contains(&sets.len()), "{role}: {sets:?}");
        assert!(sets.iter().all(|gap| (18 * 60..=22 * 60 + 1).contains(&gap.as_secs())), "{role}: {sets:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn an_upstream_says_how_long_its_list_is_fresh() {
    let rig = rig(&["a"], 3600);
    rig.upstream.set(|script| script.max_age = Some(Duration::from_hours(24)));
    rig.pass(8 * 3600).await;
    let asked = rig.upstream.asked_for("list").len();
    assert!((7..=12).contains(&asked), "an hour at most: {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_role_that_the_list_names_anew_is_fetched_at_once() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    rig.upstream.set(|script| script.roles = vec!["b", "a"]);
    rig.pass(376).await;
    assert_eq!(rig.state("b"), RoleState::Fresh);
    assert_eq!((rig.upstream.asked_for("a").len(), rig.upstream.asked_for("b").len()), (1, 1));
    assert_eq!(rig.upstream.asked_for("b")[0].since(rig.upstream.asked_for("list")[1]), Duration::ZERO);
}

#[tokio::test(start_paused = true)]
async fn no_more_is_fetched_at_once_than_the_source_allows() {
    let roles = ["a", "b", "c", "d", "e", "f", "g", "h", "i", "j"];
    let rig = rig(&roles, 3600);
    rig.pass(1).await;
    assert!(roles.iter().all(|role| rig.state(role) == RoleState::Fresh && rig.upstream.asked_for(role).len() == 1));
    rig.upstream.set(|script| assert_eq!(script.most_in_flight, 3));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_is_withdrawn_while_it_waits_is_not_fetched() {
    let rig = rig(&["a", "b", "c", "d"], 3600);
    rig.upstream.set(|script| script.latency = Duration::from_secs(400));
    rig.pass(30).await;
    rig.upstream.set(|script| script.roles = vec!["a", "b", "c"]);
    rig.pass(375).await;
    assert_eq!((rig.state("c"), rig.state("d")), (RoleState::Fresh, RoleState::Withdrawn));
    assert!(rig.upstream.asked_for("d").is_empty());
}

#[tokio::test(start_paused = true)]
async fn ten_second_credentials_are_never_expired() {
    let rig = rig(&["a"], 10);
    rig.pass(1).await;
    for _ in 0..1000 {
        clock::sleep(Duration::from_millis(97)).await;
        assert!(matches!(rig.state("a"), RoleState::Fresh | RoleState::Refreshing));
    }
    assert!(rig.upstream.asked_for("a").len() < 45);
}

#[tokio::test(start_paused = true)]
async fn an_unreachable_upstream_takes_nothing_away_until_the_true_expiration() {
    let rig = rig(&["a"], 600);
    rig.pass(1).await;
    let key = rig.key("a");
    rig.upstream.set(|script| {
        script.list_error = Some(SourceError::transient("down"));
        script.errors.insert("a", SourceError::transient("down"));
    });
    rig.pass(500).await;
    assert_eq!((rig.state("a"), rig.key("a")), (RoleState::Stale, key));
    rig.pass(150).await;
    assert_eq!(rig.state("a"), RoleState::Expired);
    rig.upstream.set(|script| {
        script.errors.clear();
        script.list_error = None;
    });
    rig.pass(61).await;
    assert_eq!(rig.state("a"), RoleState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn one_failing_role_leaves_the_others_untouched() {
    let rig = rig(&["good", "bad"], 3600);
    rig.upstream.set(|script| {
        script.errors.insert("bad", SourceError::transient("garbage"));
    });
    rig.pass(300).await;
    assert_eq!((rig.state("good"), rig.state("bad")), (RoleState::Fresh, RoleState::Warming));
}

#[tokio::test(start_paused = true)]
async fn a_role_that_leaves_a_list_of_others_is_withdrawn_at_once() {
    for grace in [None, Some(3600)] {
        let rig = rig_with_grace(&["a", "b"], 3600, grace);
        rig.pass(1).await;
        rig.upstream.set(|script| script.roles = vec!["a"]);
        rig.pass(376).await;
        assert_eq!((rig.state("a"), rig.state("b")), (RoleState::Fresh, RoleState::Withdrawn));
    }
}

#[tokio::test(start_paused = true)]
async fn the_sets_that_a_user_has_for_itself_go_with_their_role_and_come_back_with_it() {
    let rig = rig(&["a", "b"], 43_200);
    let timed =
        |role: &str| Timed { role: role.parse().expect("a name"), uid: 1000, duration: Duration::from_hours(12) };
    let (of_a, of_b) = (rig.requests.ensure(timed("a")), rig.requests.ensure(timed("b")));
    let state = |id: &RoleId| rig.store.snapshot().by_id(id).expect("wanted").slot().state(rig.clock.now());
    rig.pass(1).await;
    assert_eq!((state(&of_a), state(&of_b)), (RoleState::Fresh, RoleState::Fresh));
    rig.upstream.set(|script| {
        script.roles = vec!["b"];
        script.errors.insert("own-a", refused(false));
    });
    rig.pass(376).await;
    assert_eq!((rig.state("a"), state(&of_a)), (RoleState::Withdrawn, RoleState::Denied), "half a day is left");
    assert_eq!((rig.state("b"), state(&of_b)), (RoleState::Fresh, RoleState::Fresh));
    rig.upstream.set(|script| {
        script.roles = vec!["a", "b"];
        script.errors.clear();
    });
    rig.pass(776).await;
    assert_eq!((rig.state("a"), state(&of_a)), (RoleState::Fresh, RoleState::Fresh));
}

/// What an AFP answers that has no working key of its own.
fn break_all(script: &mut Script) {
    script.list_error = Some(refused(false));
    script.errors = script.roles.iter().map(|role| (*role, refused(false))).collect();
}

#[tokio::test(start_paused = true)]
async fn what_only_a_clock_that_is_ahead_shows_as_expired_is_not_lost_to_a_refusal() {
    let rig = rig(&["a"], 7200);
    rig.pass(1).await;
    let key = rig.key("a");
    rig.upstream.set(break_all);
    rig.clock.step_wall(86_400);
    rig.pass(900).await;
    assert_eq!(rig.state("a"), RoleState::Expired);
    rig.clock.step_wall(-86_400);
    assert_eq!((rig.state("a"), rig.key("a")), (RoleState::Stale, key));
    rig.pass(7200).await;
    assert_eq!(rig.state("a"), RoleState::Withdrawn, "its life is over");
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_only_refuses_takes_nothing_away_before_its_end() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    let key = rig.key("a");
    rig.upstream.set(break_all);
    rig.pass(3590).await;
    assert_eq!((rig.state("a"), rig.key("a")), (RoleState::Stale, key));
    let since = rig.refresh_stats.list_refusal().expect("it is refused").since;
    assert!((1..=376).contains(&since.duration_since(START.parse().expect("a timestamp")).as_secs()), "{since}");
    assert!(rig.refresh_stats.entry("a").refused_since().is_some_and(|of_set| of_set > since), "the set was due later");
    rig.pass(11).await;
    assert_eq!(rig.state("a"), RoleState::Withdrawn, "there is nothing more to lose");
    let asked = rig.upstream.asked_for("list").len();
    rig.upstream.set(|script| {
        script.list_error = None;
        script.errors.clear();
    });
    rig.pass(61).await;
    assert_eq!(rig.state("a"), RoleState::Fresh);
    assert_eq!(rig.refresh_stats.list_refusal(), None);
    assert!(asked < 60, "it is not asked ever more often: {asked}");
}

#[tokio::test(start_paused = true)]
async fn a_grace_ends_what_an_upstream_only_refuses_and_not_what_it_does_not_answer() {
    let rig = rig_with_grace(&["a"], 3600, Some(600));
    rig.pass(1).await;
    rig.upstream.set(break_all);
    rig.pass(600).await;
    assert_eq!(rig.state("a"), RoleState::Fresh);
    rig.pass(376 + 15).await;
    assert_eq!(rig.state("a"), RoleState::Withdrawn);

    let rig = rig_with_grace(&["a"], 3600, Some(600));
    rig.pass(1).await;
    rig.upstream.set(|script| {
        script.list_error = Some(SourceError::transient("down"));
        script.errors.insert("a", SourceError::transient("down"));
    });
    rig.pass(3590).await;
    assert_eq!(rig.state("a"), RoleState::Stale);
}

#[tokio::test(start_paused = true)]
async fn a_refused_list_says_nothing_of_sets_that_still_come() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    rig.upstream.set(|script| script.list_error = Some(refused(false)));
    rig.pass(5 * 3600).await;
    assert_eq!(rig.state("a"), RoleState::Fresh);
    assert!(rig.upstream.asked_for("a").len() > 10);
}

#[tokio::test(start_paused = true)]
async fn with_nothing_to_lose_a_refusal_is_believed_and_soon_asked_about_again() {
    let rig = rig(&["a"], 3600);
    rig.upstream.set(break_all);
    rig.pass(60).await;
    assert!(rig.store.snapshot().answered() && rig.store.snapshot().roles().is_empty());
    let asked = rig.upstream.asked_for("list").len();
    assert!((5..=60).contains(&asked), "{asked}");
    rig.upstream.set(|script| script.list_error = None);
    rig.pass(64).await;
    assert_eq!(rig.state("a"), RoleState::Denied);
    rig.upstream.set(|script| script.errors.clear());
    rig.pass(64).await;
    assert_eq!(rig.state("a"), RoleState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn a_role_that_was_in_doubt_was_never_away() {
    let rig = rig_with_grace(&["a"], 3600, Some(1000));
    rig.pass(1).await;
    rig.upstream.set(|script| script.list_error = Some(refused(false)));
    rig.pass(600).await;
    rig.upstream.set(|script| script.list_error = None);
    rig.pass(1000).await;
    assert_eq!(rig.state("a"), RoleState::Fresh);
    let key = rig.key("a");
    rig.upstream.set(|script| script.list_error = Some(refused(false)));
    rig.pass(900).await;
    assert_eq!(rig.state("a"), RoleState::Fresh, "the grace begins anew: {key}");
}

#[tokio::test(start_paused = true)]
async fn a_list_with_unreadable_lines_adds_but_withdraws_nothing() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    rig.upstream.set(|script| {
        script.roles = vec!["b"];
        script.problems = vec!["x/y is no role name".into()];
    });
    rig.pass(376).await;
    assert_eq!((rig.state("a"), rig.state("b")), (RoleState::Fresh, RoleState::Fresh));
    assert_eq!(rig.store.snapshot().names(), b"b\na");
}

#[tokio::test(start_paused = true)]
async fn a_list_that_is_refused_beyond_doubt_withdraws_all_roles() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    rig.upstream.set(|script| script.list_error = Some(refused(true)));
    rig.pass(376).await;
    assert_eq!(rig.state("a"), RoleState::Withdrawn);
    assert!(rig.store.snapshot().answered());
}

#[tokio::test(start_paused = true)]
async fn a_document_that_is_refused_beyond_doubt_denies_the_role_and_another_spares_a_good_set() {
    for (withdraws, state) in [(true, RoleState::Denied), (false, RoleState::Stale)] {
        let rig = rig(&["a"], 3600);
        rig.pass(1).await;
        rig.upstream.set(|script| {
            script.errors.insert("a", refused(withdraws));
        });
        rig.pass(1321).await;
        assert_eq!(rig.state("a"), state);
        rig.upstream.set(|script| script.errors.clear());
        rig.pass(301).await;
        assert_eq!(rig.state("a"), RoleState::Fresh);
    }
    let rig = rig(&["a"], 3600);
    rig.upstream.set(|script| {
        script.errors.insert("a", refused(false));
    });
    rig.pass(1).await;
    assert_eq!(rig.state("a"), RoleState::Denied, "with nothing held, the error document is the answer");
}

#[tokio::test(start_paused = true)]
async fn a_role_whose_document_is_refused_is_served_for_as_long_as_the_grace() {
    let rig = rig_with_grace(&["a"], 3600, Some(300));
    rig.pass(1).await;
    let key = rig.key("a");
    rig.upstream.set(|script| {
        script.errors.insert("a", refused(false));
    });
    let asked = || rig.upstream.asked_for("a");
    while asked().len() < 2 {
        rig.pass(1).await;
    }
    let refused = asked()[1];
    rig.pass(290).await;
    assert_eq!((rig.state("a"), rig.key("a")), (RoleState::Stale, key));
    rig.pass(12).await;
    assert_eq!(rig.state("a"), RoleState::Denied, "refused since {refused:?}, asked {:?}", asked());
}

#[tokio::test(start_paused = true)]
async fn a_set_that_had_expired_on_arrival_replaces_nothing() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    let key = rig.key("a");
    let past = rig.clock.now().wall - SignedDuration::from_secs(1);
    rig.upstream.set(|script| script.expirations = vec![past; 100].into());
    rig.pass(1321).await;
    assert_eq!((rig.state("a"), rig.key("a")), (RoleState::Stale, key));
}

#[tokio::test(start_paused = true)]
async fn after_suspend_and_a_step_ahead_a_set_is_fetched_within_half_a_minute() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    let disturbances: [fn(&FakeClock); 2] =
        [|clock| clock.suspend(Duration::from_hours(5)), |clock| clock.step_wall(7200)];
    for disturb in disturbances {
        let before = rig.upstream.asked_for("a").len();
        disturb(&rig.clock);
        rig.pass(30).await;
        assert_eq!(rig.upstream.asked_for("a").len(), before + 1);
        assert_eq!(rig.state("a"), RoleState::Fresh);
    }
    let before = rig.upstream.asked_for("a").len();
    rig.clock.step_wall(-7200);
    rig.pass(1321).await;
    assert_eq!(rig.upstream.asked_for("a").len(), before + 1, "no step back stretches the wait");
}

#[tokio::test(start_paused = true)]
async fn failures_are_retried_ever_more_slowly_but_at_least_once_a_minute() {
    let rig = rig(&["a"], 3600);
    rig.upstream.set(|script| script.list_error = Some(SourceError::transient("down")));
    rig.pass(600).await;
    let asked = rig.upstream.asked_for("list");
    assert!((15..120).contains(&asked.len()), "{asked:?}");
    let waits: Vec<_> = asked.windows(2).map(|pair| pair[1].since(pair[0])).collect();
    assert!(waits.iter().all(|wait| (999..=61_000).contains(&wait.as_millis())), "{waits:?}");
}

#[tokio::test(start_paused = true)]
async fn a_wall_clock_that_is_set_back_makes_no_set_live_longer() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    rig.upstream.set(|script| {
        script.errors.insert("a", SourceError::transient("down"));
    });
    rig.clock.step_wall(-7200);
    rig.pass(3590).await;
    assert_eq!(rig.state("a"), RoleState::Stale);
    rig.pass(10).await;
    assert_eq!(rig.state("a"), RoleState::Expired);
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_differs_from_the_upstreams_is_told_until_it_is_right() {
    let rig = rig(&["a"], 3600);
    rig.upstream.set(|script| script.date = START.parse().ok());
    rig.pass(1).await;
    assert_eq!(rig.refresh_stats.clock_ahead(), None);
    rig.clock.step_wall(7200);
    rig.pass(376).await;
    let ahead = rig.refresh_stats.clock_ahead().expect("it is noticed").as_secs();
    assert!((7200..=7600).contains(&ahead), "{ahead}");
    rig.upstream.set(|script| script.date = Some(rig.clock.now().wall + Duration::from_mins(6)));
    rig.pass(376).await;
    assert_eq!(rig.refresh_stats.clock_ahead().filter(|ahead| ahead.as_secs() > 60), None);
}

impl Rig {
    /// So long a caller waits for what is not here, asking ten times a second, unless it comes; after how long it did.
    async fn wait_for_set(&self, role: &str, seconds: u64) -> Option<Duration> {
        for tenth in 0..seconds * 10 {
            if self.state(role) == RoleState::Fresh {
                return Some(Duration::from_millis(100 * tenth));
            }
            let _changed = self.store.awaited_change();
            clock::sleep(Duration::from_millis(100)).await;
        }
        None
    }
}

#[tokio::test(start_paused = true)]
async fn while_a_caller_waits_an_upstream_that_is_down_is_asked_once_a_second() {
    for broken in ["list", "a"] {
        let rig = rig(&["a"], 3600);
        let down = SourceError::transient("down");
        rig.upstream.set(|script| match broken {
            "list" => script.list_error = Some(down),
            _ => drop(script.errors.insert("a", down)),
        });
        assert_eq!(rig.wait_for_set("a", 45).await, None);
        let asked = rig.upstream.asked_for(broken);
        assert!((35..=46).contains(&asked.len()), "{asked:?}");
        rig.upstream.set(|script| {
            script.list_error = None;
            script.errors.clear();
        });
        let waited = rig.wait_for_set("a", 10).await.expect("a set");
        assert!(waited <= Duration::from_millis(1500), "{broken}: {waited:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_set_that_has_expired_is_asked_for_as_callers_wait_but_a_long_outage_is_spared() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    rig.upstream.set(|script| {
        script.errors.insert("a", SourceError::transient("down"));
    });
    rig.pass(3600).await;
    assert_eq!(rig.state("a"), RoleState::Expired);
    let asked = || rig.upstream.asked_for("a").len();
    let before = asked();
    assert_eq!(rig.wait_for_set("a", 600).await, None);
    assert!((12..=60).contains(&(asked() - before)), "{}", asked() - before);
    rig.upstream.set(|script| script.errors.clear());
    assert!(rig.wait_for_set("a", 61).await.is_some());
}

#[tokio::test(start_paused = true)]
async fn a_caller_that_waits_hastens_nothing_that_is_held_or_refused() {
    let rig = rig(&["a", "b"], 3600);
    rig.upstream.set(|script| {
        script.errors.insert("b", refused(false));
    });
    rig.pass(300).await;
    let asked = || ["list", "a", "b"].map(|what| rig.upstream.asked_for(what).len());
    let before = asked();
    for _ in 0..100 {
        let _changed = rig.store.awaited_change();
        rig.pass(1).await;
    }
    let after = asked();
    assert!(after[0] - before[0] <= 1 && after[1] == before[1] && after[2] - before[2] <= 12, "{before:?} {after:?}");
}

#[tokio::test(start_paused = true)]
async fn a_thousand_roles_are_each_asked_once() {
    let names: Vec<&'static str> = (0..1000).map(|n| &*Box::leak(format!("role{n}").into_boxed_str())).collect();
    let rig = rig(&names, 3600);
    rig.pass(10).await;
    assert!(names.iter().all(|name| rig.state(name) == RoleState::Fresh));
    assert_eq!(rig.upstream.state.lock().expect("not poisoned").asked.len(), 1001);
}

#[tokio::test(start_paused = true)]
async fn an_upstream_that_says_when_to_come_back_is_not_asked_before() {
    for broken in ["list", "a"] {
        let rig = rig(&["a"], 3600);
        rig.upstream.set(|script| {
            let error = SourceError { again: Some(Duration::from_secs(40)), ..SourceError::transient("busy") };
            if broken == "list" {
                script.list_error = Some(error);
            } else {
                script.errors.insert("a", error);
            }
        });
        assert_eq!(rig.wait_for_set("a", 300).await, None);
        let asked = rig.upstream.asked_for(broken);
        assert!((6..=8).contains(&asked.len()), "{broken}: {asked:?}");
        let pauses = asked.windows(2).map(|pair| pair[1].since(pair[0]));
        assert!(pauses.clone().all(|pause| pause >= Duration::from_secs(40)), "{broken}: {asked:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn of_many_roles_only_those_in_use_are_fetched() {
    let on_request = OnRequest { ready: vec!["b".parse().expect("a name")], idle_after: Duration::from_hours(2) };
    let rig = rig_on_request(&["a", "b", "c"], 3600, None, Some(on_request));
    rig.pass(60).await;
    let states = || ["a", "b", "c"].map(|role| rig.state(role));
    assert_eq!(states(), [RoleState::Idle, RoleState::Fresh, RoleState::Idle]);
    rig.ask("c");
    rig.pass(1).await;
    assert_eq!(states(), [RoleState::Idle, RoleState::Fresh, RoleState::Fresh]);
    // It is renewed while it is in use, served to its end, and then forgotten.
    rig.pass(2 * 3600).await;
    assert_eq!(states(), [RoleState::Idle, RoleState::Fresh, RoleState::Fresh]);
    rig.pass(3600).await;
    assert_eq!(states(), [RoleState::Idle, RoleState::Fresh, RoleState::Idle]);
    let fetched = rig.upstream.asked_for("c").len();
    assert!((4..=7).contains(&fetched), "{fetched}");
    assert!(rig.upstream.asked_for("a").is_empty());
    rig.ask("c");
    rig.pass(1).await;
    assert_eq!(rig.state("c"), RoleState::Fresh);
}

#[tokio::test(start_paused = true)]
async fn what_could_not_be_renewed_is_asked_for_at_once_when_something_has_changed() {
    let rig = rig(&["a"], 3600);
    rig.pass(1).await;
    rig.upstream.set(|script| {
        script.list_error = Some(SourceError::transient("sign-in needed"));
        script.errors.insert("a", SourceError::transient("sign-in needed"));
    });
    rig.pass(3000).await;
    assert_eq!(rig.state("a"), RoleState::Stale);
    rig.upstream.set(|script| {
        script.list_error = None;
        script.errors.clear();
        script.roles = vec!["a", "b"];
    });
    rig.requests.look_again();
    rig.pass(1).await;
    assert_eq!((rig.state("a"), rig.state("b")), (RoleState::Fresh, RoleState::Fresh));
}
