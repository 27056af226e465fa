//! The watch of the accounts against a strict stand-in, over real sockets. A real API server is asked in
//! `tests/interop_kubernetes.rs`.

#[path = "../../../../tests/support/api_server.rs"]
mod stand_in;

use std::{fs, path::Path, sync::Arc, time::Duration};

use stand_in::{Mood, StandIn, TOKEN};
use tempfile::TempDir;

use super::accounts::{AccountWatch, Patience};
use crate::{
    clock::{Clock as _, SystemClock, fake::FakeClock},
    kubernetes::{Account, ApiOptions, Draft, Index, Listed, ROLE, WatchState, Wish},
};

/// A cluster whose accounts are followed.
struct Followed {
    cluster: StandIn,
    index: Arc<Index>,
    work: tokio::task::JoinHandle<()>,
    directory: TempDir,
}

const PATIENCE: Patience = Patience {
    watch: Duration::from_mins(1),
    quiet: Duration::from_secs(30),
    settled: Duration::from_millis(20),
    first_retry: Duration::from_millis(10),
    last_retry: Duration::from_millis(40),
    between_lists: Duration::ZERO,
};

fn options(server: String, directory: &Path) -> ApiOptions {
    let [ca_file, token_file] = ["ca.crt", "token"].map(|name| directory.join(name));
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    fs::write(&ca_file, authority.cert.pem()).expect("written");
    fs::write(&token_file, TOKEN).expect("written");
    ApiOptions { server, ca_file, token_file }
}

fn follow(cluster: StandIn, patience: Patience) -> Followed {
    let directory = TempDir::new().expect("a directory");
    let index = Arc::new(Index::default());
    let options = options(cluster.url(), directory.path());
    let watch = AccountWatch::new(&options, Arc::clone(&index), SystemClock::shared()).with_patience(patience);
    let work = tokio::spawn(watch.run());
    Followed { cluster, index, work, directory }
}

impl Followed {
    fn role(&self, namespace: &str, name: &str) -> Option<String> {
        let account = Account::new(namespace, name).expect("legal");
        self.index.asking(&account).map(|asking| asking.wish.to_string())
    }

    async fn until(&self, what: &str, fits: impl Fn(&WatchState) -> bool) {
        for _ in 0..2000 {
            if fits(&self.index.state()) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        panic!("never: {what}: {:?}, {:?}", self.index.state(), self.cluster.asked());
    }

    async fn has(&self, name: &str, role: Option<&str>) {
        let expected = role.map(|role| format!("the role {role}"));
        self.until(&format!("{name} has {role:?}"), |_| self.role("prod", name) == expected).await;
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        self.work.abort();
        if !std::thread::panicking() {
            assert!(self.cluster.wrong().is_empty(), "{:?}", self.cluster.wrong());
        }
    }
}

#[tokio::test]
async fn what_the_annotations_say_is_known_as_it_changes() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    cluster.put("prod", "default", &[]);
    let followed = follow(cluster, PATIENCE);
    followed.has("web", Some("web")).await;
    followed.until("it follows", |state| state.following).await;
    followed.cluster.put("prod", "db", &[(ROLE, "db")]);
    followed.has("db", Some("db")).await;
    followed.cluster.put("prod", "web", &[(ROLE, "other")]);
    followed.has("web", Some("other")).await;
    followed.cluster.put("prod", "web", &[]);
    followed.has("web", None).await;
    followed.cluster.remove("prod", "db");
    followed.has("db", None).await;
    assert_eq!(followed.index.state().accounts, 0);
    let watches = followed.cluster.asked().iter().filter(|target| target.contains("watch=")).count();
    assert_eq!(watches, 1, "one stream told all of it");
}

#[tokio::test]
async fn what_a_new_watch_may_still_bring_is_not_taken_for_known() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, Patience { settled: Duration::from_hours(1), ..PATIENCE });
    followed.until("it follows", |state| state.following).await;
    let listed = followed.index.state().synced;
    followed.cluster.put("prod", "db", &[(ROLE, "db")]);
    followed.has("db", Some("db")).await;
    assert_eq!(followed.index.state().synced, listed, "more may come");
    followed.cluster.bookmark();
    followed.until("all of it has come", |state| state.synced > listed).await;
    // Silence shows that, too.
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, PATIENCE);
    followed.until("it is listed", |state| state.synced.is_some()).await;
    let before = followed.index.state().synced;
    followed.cluster.put("prod", "db", &[(ROLE, "db")]);
    followed.until("all is known again", |state| state.synced > before).await;
}

#[tokio::test]
async fn a_long_list_comes_in_pages_and_large_accounts_in_smaller_ones() {
    let cluster = StandIn::start();
    for number in 0..1201 {
        cluster.put("prod", &format!("a{number}"), &[(ROLE, "web")]);
    }
    let followed = follow(cluster, PATIENCE);
    followed.until("all are known", |state| state.accounts == 1201).await;
    let pages =
        |followed: &Followed| followed.cluster.asked().iter().filter(|target| !target.contains("watch=")).count();
    assert_eq!(pages(&followed), 3);
    let large = "x".repeat(256 * 1024);
    let cluster = StandIn::start();
    for number in 0..100 {
        cluster.put("evil", &format!("a{number}"), &[("large", &large)]);
    }
    for number in 0..1000 {
        cluster.put("prod", &format!("a{number}"), &[]);
    }
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, PATIENCE);
    followed.has("web", Some("web")).await;
    let asked = followed.cluster.asked();
    let limits: Vec<_> = asked.iter().filter_map(|target| target.split(['=', '&']).nth(1)).collect();
    assert!(limits.starts_with(&["500", "62"]), "{limits:?}");
    assert!(limits[1..].contains(&"500"), "small ones come in large pages again: {limits:?}");
}

// The stand-in is locked while it writes, which needs somebody who reads.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_largest_account_that_can_be_made_keeps_nobody_from_a_role() {
    // 1.45 MiB of `<`, each of which is `\u003c` as JSON.
    let largest = "x".repeat(1_520_000 * 6);
    let cluster = StandIn::start();
    cluster.put("evil", "a", &[("large", &largest)]);
    cluster.put("evil", "b", &[("large", &largest)]);
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, PATIENCE);
    followed.has("web", Some("web")).await;
    followed.until("it follows", |state| state.following).await;
    followed.cluster.put("evil", "c", &[("large", &largest), (ROLE, "web")]);
    followed.cluster.put("prod", "web", &[]);
    followed.has("web", None).await;
    assert_eq!((followed.index.state().failures, followed.index.state().accounts), (0, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_message_that_is_too_long_is_left_out_and_nothing_is_listed_again() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, PATIENCE);
    followed.until("it follows", |state| state.following).await;
    followed.cluster.put("evil", "a", &[("large", &"x".repeat(21 * 1024 * 1024)), (ROLE, "web")]);
    followed.cluster.put("prod", "web", &[(ROLE, "other")]);
    followed.has("web", Some("other")).await;
    let state = followed.index.state();
    assert_eq!((state.too_long, state.failures, state.accounts), (1, 0, 1));
    assert_eq!(followed.cluster.asked().iter().filter(|target| target.contains("limit=")).count(), 1);
}

#[tokio::test]
async fn accounts_that_were_left_out_are_taken_in_when_there_is_room() {
    let cluster = StandIn::start();
    for number in 0..=4096 {
        cluster.put("prod", &format!("a{number:04}"), &[(ROLE, "web")]);
    }
    let followed = follow(cluster, PATIENCE);
    followed.until("one is left out", |state| (state.accounts, state.left_out) == (4096, 1) && state.following).await;
    assert_eq!(followed.role("prod", "a4096"), None);
    followed.cluster.remove("prod", "a0000");
    followed.has("a4096", Some("web")).await;
    followed.until("none is left out", |state| (state.accounts, state.left_out) == (4096, 0)).await;
    let lists =
        |followed: &Followed| followed.cluster.asked().iter().filter(|target| target.ends_with("limit=500")).count();
    assert_eq!(lists(&followed), 2);
    drop(followed);

    // But not at any price.
    let cluster = StandIn::start();
    for number in 0..=4096 {
        cluster.put("prod", &format!("a{number:04}"), &[(ROLE, "web")]);
    }
    let followed = follow(cluster, Patience { between_lists: Duration::from_hours(1), ..PATIENCE });
    followed.until("one is left out", |state| state.left_out == 1 && state.following).await;
    followed.cluster.remove("prod", "a0000");
    followed.until("there is room", |state| state.has_room).await;
    followed.cluster.put("stage", "web", &[(ROLE, "web")]);
    followed.until("it goes on", |_| followed.role("stage", "web").is_some()).await;
    assert_eq!(lists(&followed), 1);
}

#[test]
fn the_daemons_of_a_fleet_do_not_list_all_at_the_same_time() {
    let listed = |number: usize| Listed {
        account: Account::new("prod", &format!("a{number}")).expect("legal"),
        uid: None,
        wish: Some(Wish::Role("web".parse().expect("a name"))),
    };
    let index = Arc::new(Index::default());
    let mut draft = Draft::default();
    (0..=4096).for_each(|number| draft.add(listed(number)));
    let clock = FakeClock::new();
    index.replace(draft, clock.now().wall);
    index.remove(&Account::new("prod", "a0").expect("legal"));
    assert!(index.state().has_room);
    let directory = TempDir::new().expect("a directory");
    let options = options("http://127.0.0.1:9".to_owned(), directory.path());
    let between_lists = Duration::from_mins(5);
    let watch = || AccountWatch::new(&options, Arc::clone(&index), Arc::clone(&clock) as _);
    let patience = Patience { between_lists, ..PATIENCE };
    let mut fleet: Vec<_> = (0..100).map(|_| watch().with_patience(patience)).collect();
    let mut begun = 0;
    for second in 0..300 {
        let before = fleet.len();
        fleet.retain_mut(|watch| !watch.take_in());
        begun = begun.max(before - fleet.len());
        assert!(second > 3 || fleet.len() > 80, "{} after {second} s", fleet.len());
        clock.suspend(Duration::from_secs(1));
    }
    fleet.retain_mut(|watch| !watch.take_in());
    assert!(fleet.is_empty() && begun < 20, "{begun} at once, {} never", fleet.len());
}

#[tokio::test]
async fn nothing_is_lost_while_the_server_is_away() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    cluster.put("prod", "db", &[(ROLE, "db")]);
    let followed = follow(cluster, PATIENCE);
    followed.until("it follows", |state| state.following).await;
    for mood in [Mood::Away, Mood::Refusing(503), Mood::Refusing(403), Mood::Refusing(401)] {
        let failures = followed.index.state().failures;
        followed.cluster.behave(mood);
        followed.until("it has failed", |state| !state.following && state.failures > failures + 1).await;
        assert_eq!(followed.role("prod", "web").as_deref(), Some("the role web"), "{mood:?}");
        let problem = followed.index.state().problem.expect("told");
        let advice = if mood == Mood::Refusing(403) { "ClusterRole" } else { "" };
        assert!(problem.contains(advice) && !problem.contains(TOKEN), "{problem}");
        followed.cluster.behave(Mood::Right);
        followed.until("it follows again", |state| state.following && state.problem.is_none()).await;
    }
    followed.cluster.behave(Mood::Away);
    followed.until("it is away", |state| !state.following).await;
    followed.cluster.remove("prod", "db");
    followed.cluster.put("prod", "web", &[(ROLE, "other")]);
    followed.cluster.behave(Mood::Right);
    followed.has("db", None).await;
    followed.has("web", Some("other")).await;
}

#[tokio::test]
async fn what_was_forgotten_is_listed_again_whichever_way_that_is_said() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    cluster.put("prod", "db", &[(ROLE, "db")]);
    let followed = follow(cluster, PATIENCE);
    followed.until("it follows", |state| state.following).await;
    for (mood, role) in [(Mood::Right, "b"), (Mood::GoneByStatus, "c")] {
        followed.cluster.behave(Mood::Away);
        followed.until("it is away", |state| !state.following).await;
        followed.cluster.put("prod", "web", &[(ROLE, role)]);
        followed.cluster.forget();
        followed.cluster.behave(mood);
        followed.has("web", Some(role)).await;
        assert_eq!(followed.role("prod", "db").as_deref(), Some("the role db"));
        followed.until("it follows again", |state| state.following).await;
    }
}

#[tokio::test]
async fn a_bookmark_saves_a_list_and_a_line_that_was_cut_off_comes_again() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, PATIENCE);
    followed.until("it follows", |state| state.following).await;
    followed.cluster.behave(Mood::CuttingOff);
    followed.cluster.put("prod", "web", &[(ROLE, "other")]);
    followed.has("web", Some("other")).await;
    followed.cluster.bookmark();
    followed.cluster.put("prod", "db", &[(ROLE, "db")]);
    followed.has("db", Some("db")).await;
    followed.cluster.behave(Mood::Away);
    followed.until("it is away", |state| !state.following).await;
    followed.cluster.behave(Mood::Right);
    followed.until("it follows again", |state| state.following).await;
    let lists = followed.cluster.asked().iter().filter(|target| !target.contains("watch=")).count();
    let last = followed.cluster.asked().last().cloned().expect("asked");
    assert!(lists == 1 && last.contains("resourceVersion=104"), "{:?}", followed.cluster.asked());
}

#[tokio::test]
async fn after_a_watch_without_a_word_there_is_another_and_nothing_is_wrong() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, Patience { quiet: Duration::from_millis(50), ..PATIENCE });
    followed.until("it follows", |state| state.following).await;
    let asked = |what: &str| followed.cluster.asked().iter().filter(|target| target.contains(what)).count();
    followed.until("there are others", |_| asked("watch=") > 9).await;
    let state = followed.index.state();
    assert_eq!((asked("limit="), state.following, state.failures), (1, true, 0), "{state:?}");
    followed.cluster.put("prod", "web", &[(ROLE, "other")]);
    followed.has("web", Some("other")).await;
    let before = asked("watch=");
    followed.until("after an hour of silence all is listed again", |_| asked("limit=") > 1).await;
    assert!(asked("watch=") - before >= 39, "{:?}", followed.cluster.asked());
}

#[tokio::test]
async fn a_server_that_was_away_is_not_asked_for_all_again() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, PATIENCE);
    followed.until("it follows", |state| state.following).await;
    for mood in [Mood::Away, Mood::Refusing(503)] {
        let before = followed.index.state().failures;
        followed.cluster.behave(mood);
        followed.until("it has failed often", |state| state.failures > before + 9).await;
    }
    followed.cluster.behave(Mood::Right);
    followed.until("it follows again", |state| state.following).await;
    let lists =
        |followed: &Followed| followed.cluster.asked().iter().filter(|target| target.contains("limit=")).count();
    assert_eq!(lists(&followed), 1);
    followed.cluster.behave(Mood::Refusing(400));
    followed.until("it is refused", |state| !state.following).await;
    followed.until("it asks for all", |_| lists(&followed) > 1).await;
}

#[tokio::test]
async fn a_server_that_forgets_again_and_again_is_not_followed() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    cluster.behave(Mood::AlwaysGone);
    let followed = follow(cluster, PATIENCE);
    let told =
        |state: &WatchState| !state.following && state.problem.as_ref().is_some_and(|text| text.contains("since"));
    followed.until("it is told", told).await;
    assert_eq!(followed.role("prod", "web").as_deref(), Some("the role web"));
    followed.cluster.behave(Mood::Right);
    followed.until("it follows", |state| state.following && state.problem.is_none()).await;
}

#[tokio::test]
async fn another_token_is_used_as_soon_as_it_is_there() {
    let cluster = StandIn::start();
    cluster.put("prod", "web", &[(ROLE, "web")]);
    let followed = follow(cluster, PATIENCE);
    followed.until("it follows", |state| state.following).await;
    let token = followed.directory.path().join("token");
    fs::remove_file(&token).expect("removed");
    followed.cluster.behave(Mood::Right);
    let told = |state: &WatchState| state.problem.as_ref().is_some_and(|text| text.contains("token: No such file"));
    followed.until("it is told", told).await;
    fs::write(&token, format!("{TOKEN}\n")).expect("written");
    followed.until("it follows again", |state| state.following).await;
}
