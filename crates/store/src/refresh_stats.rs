//! The history of refreshing, for status and metrics: per role where its credentials came from and what last
//! failed, and how often calls ended how. Written by the refresher; no request for credentials looks at it.

mod history;
mod spans;

use std::{
    collections::{BTreeMap, HashMap},
    fmt,
    sync::{
        Arc, Mutex, MutexGuard, OnceLock, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use history::History;
pub use history::{Calls as CallsInARow, Happening, Outcome, REMEMBERED, SourceHistory};
use jiff::{SignedDuration, Timestamp};
pub use spans::SpanCounts;

use crate::{
    credentials::{AccountId, RoleId, RoleName},
    open_metrics::Histogram,
};

/// How a call to an upstream ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// With credentials, or a list.
    Success,
    /// In a way that says nothing: a time-out, a reset, 5xx, garbage.
    Transient,
    /// With a no.
    Refused,
    /// The credentials that signed it have expired.
    ParentExpired,
}

/// What was asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Question {
    /// Which roles there are.
    Roles,
    /// Credentials.
    Credentials,
}

/// Why the last attempt to fetch credentials of a role failed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// When.
    pub at: Timestamp,
    /// What went wrong.
    pub message: Box<str>,
    /// Since when the upstream refuses the role, without a set in between, if it does.
    pub refused_since: Option<Timestamp>,
}

/// How long a set lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Life {
    /// When AWS begins to refuse it.
    pub end: Timestamp,
    /// When the next one is fetched, at the latest.
    pub again: Timestamp,
}

/// What is remembered of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Entry {
    /// What the upstream that gave the held set is called.
    pub source: Option<Arc<str>>,
    /// The last attempt, if it failed. Boxed: most have not.
    pub failure: Option<Box<Failure>>,
    /// When the next attempt is, at the latest.
    pub next: Option<Timestamp>,
}

impl Entry {
    /// Since when the upstream refuses the role, if it does.
    pub fn refused_since(&self) -> Option<Timestamp> {
        self.failure.as_ref()?.refused_since
    }
}

/// That the upstream refuses its list of roles.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListRefusal {
    /// Since when.
    pub since: Timestamp,
    /// What it said last.
    pub message: Box<str>,
}

/// The certificate with which a source authenticates this host to its upstream.
pub struct Certificate {
    /// The name of the source.
    pub source: String,
    /// When it ends, as far as known by now.
    pub end: Box<dyn Fn() -> Option<Timestamp> + Send>,
}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate").field("source", &self.source).finish_non_exhaustive()
    }
}

/// The history of refreshes.
#[derive(Debug, Default)]
pub struct RefreshStats {
    entries: Mutex<HashMap<RoleId, Entry>>,
    /// When each source last gave something.
    successes: Mutex<BTreeMap<Arc<str>, Timestamp>>,
    list_refusal: Mutex<Option<ListRefusal>>,
    /// The accounts of listed roles, where the upstream says them.
    accounts: Mutex<HashMap<RoleName, AccountId>>,
    certificates: Mutex<Vec<Certificate>>,
    /// How far this host's clock is ahead of the upstream's, if that matters.
    clock_ahead: Mutex<Option<SignedDuration>>,
    calls: Mutex<BTreeMap<Arc<str>, Arc<Calls>>>,
    /// What happened in the last hours, if somebody wants to see it.
    history: OnceLock<History>,
    spans: OnceLock<Arc<SpanCounts>>,
}

/// The calls that were made to a source.
#[derive(Debug)]
pub struct Calls {
    endings: [[AtomicU64; Ending::ALL.len()]; Question::ALL.len()],
    took: Histogram,
}

/// From a local program to an upstream that is given up.
const BUCKETS: &[Duration] = &[
    Duration::from_millis(5),
    Duration::from_millis(25),
    Duration::from_millis(50),
    Duration::from_millis(100),
    Duration::from_millis(250),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_millis(2500),
    Duration::from_secs(5),
    Duration::from_secs(10),
    Duration::from_secs(30),
];

impl Default for Calls {
    fn default() -> Self {
        Self { endings: Default::default(), took: Histogram::new(BUCKETS) }
    }
}

impl Calls {
    /// Whether it was ever asked for that.
    pub fn asked(&self, question: Question) -> bool {
        Ending::ALL.iter().any(|ending| self.total(question, *ending) > 0)
    }

    /// How often a call for that ended so.
    pub fn total(&self, question: Question, ending: Ending) -> u64 {
        let counter = self.endings.get(question as usize).and_then(|row| row.get(ending as usize));
        counter.map_or(0, |counter| counter.load(Ordering::Relaxed))
    }

    /// How long they took.
    pub fn took(&self) -> &Histogram {
        &self.took
    }
}

impl Ending {
    /// All.
    pub const ALL: [Self; 4] = [Self::Success, Self::Transient, Self::Refused, Self::ParentExpired];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Success => "success",
            Self::Transient => "transient",
            Self::Refused => "refused",
            Self::ParentExpired => "parent_expired",
        }
    }
}

impl Question {
    /// All.
    pub const ALL: [Self; 2] = [Self::Roles, Self::Credentials];

    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Roles => "roles",
            Self::Credentials => "credentials",
        }
    }
}

impl RefreshStats {
    /// From now on what happens is remembered for a few hours.
    pub fn remember(&self) {
        self.history.get_or_init(History::default);
    }

    /// What happened to the role `id` in the last hours, the oldest first; nothing if it is not remembered.
    pub fn happenings(&self, id: &str) -> Vec<Happening> {
        self.history.get().map(|history| history.of(id)).unwrap_or_default()
    }

    /// How the sources have been that were called in the last hours, if it is remembered.
    pub fn source_histories(&self, now: Timestamp) -> Vec<SourceHistory> {
        self.history.get().map(|history| history.sources(now)).unwrap_or_default()
    }

    /// A call to the upstream that is called `source` has ended at that time, and why it failed if it did.
    pub fn ended(&self, source: &Arc<str>, at: Timestamp, ending: Ending, failure: Option<&str>) {
        let outcome = match ending {
            // Nothing is wrong with the upstream.
            Ending::Success | Ending::ParentExpired => Outcome::Answer,
            Ending::Transient => Outcome::Failure,
            Ending::Refused => Outcome::Refusal,
        };
        if let Some(history) = self.history.get() {
            history.called(source, at, outcome, failure);
        }
    }

    /// A call to the upstream that is called `source` has ended, and took so long.
    pub fn count(&self, source: &Arc<str>, question: Question, ending: Ending, took: Duration) {
        let calls = Arc::clone(lock(&self.calls).entry(Arc::clone(source)).or_default());
        calls.took.observe(took);
        if let Some(counter) = calls.endings.get(question as usize).and_then(|row| row.get(ending as usize)) {
            counter.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The calls that were made to each source.
    pub fn calls(&self) -> BTreeMap<Arc<str>, Arc<Calls>> {
        lock(&self.calls).clone()
    }

    /// Credentials of the role `id` have come from `source` at that time.
    pub fn fetched(&self, id: &RoleId, source: &Arc<str>, at: Timestamp, life: Life) {
        self.taken_over(id, source, at, life);
        lock(&self.successes).insert(Arc::clone(source), at);
    }

    /// Credentials of the role `id` that came from `source` to another process have been taken over from that.
    pub fn taken_over(&self, id: &RoleId, source: &Arc<str>, at: Timestamp, Life { end, again }: Life) {
        let entry = Entry { source: Some(Arc::clone(source)), failure: None, next: Some(again) };
        lock(&self.entries).insert(id.clone(), entry);
        if let Some(history) = self.history.get() {
            history.set(id, at, end, again);
        }
    }

    /// The next attempt to fetch credentials of the role `id` is then, at the latest.
    pub fn planned(&self, id: &RoleId, again: Timestamp) {
        lock(&self.entries).entry(id.clone()).or_default().next = Some(again);
    }

    /// An attempt to fetch credentials of the role `id` has failed, which the upstream refuses since then.
    pub fn failed(&self, id: &RoleId, at: Timestamp, message: &str, refused_since: Option<Timestamp>) {
        let failure = Some(Box::new(Failure { at, message: message.into(), refused_since }));
        let mut entries = lock(&self.entries);
        entries.entry(id.clone()).or_default().failure = failure;
        drop(entries);
        if let Some(history) = self.history.get() {
            history.failed(id, at, refused_since.is_some());
        }
    }

    /// The upstream that is called `source` has said which roles there are.
    pub fn list_answered(&self, at: Timestamp, source: &Arc<str>) {
        *lock(&self.list_refusal) = None;
        lock(&self.successes).insert(Arc::clone(source), at);
    }

    /// The accounts of the roles that the upstream lists, as far as it says them.
    pub fn list_accounts(&self, accounts: HashMap<RoleName, AccountId>) {
        *lock(&self.accounts) = accounts;
    }

    /// The account of a role that the upstream lists, if it says it.
    pub fn account(&self, role: &RoleName) -> Option<AccountId> {
        lock(&self.accounts).get(role).copied()
    }

    /// The upstream refuses to say which roles there are.
    pub fn list_refused(&self, at: Timestamp, message: &str) {
        let mut refusal = lock(&self.list_refusal);
        let since = refusal.as_ref().map_or(at, |refusal| refusal.since);
        *refusal = Some(ListRefusal { since, message: message.into() });
    }

    /// Whether the upstream refuses its list.
    pub fn list_refusal(&self) -> Option<ListRefusal> {
        lock(&self.list_refusal).clone()
    }

    /// Records how far this host's clock is ahead of the upstream's, if that matters.
    pub fn clock(&self, ahead: Option<SignedDuration>) {
        *lock(&self.clock_ahead) = ahead;
    }

    /// How far this host's clock is ahead of the upstream's, if that matters.
    pub fn clock_ahead(&self) -> Option<SignedDuration> {
        *lock(&self.clock_ahead)
    }

    /// From now on these certificates are used.
    pub fn use_certificates(&self, certificates: Vec<Certificate>) {
        *lock(&self.certificates) = certificates;
    }

    /// The sources that have a certificate, and when it ends.
    pub fn certificate_ends(&self) -> Vec<(String, Timestamp)> {
        let ends = |certificate: &Certificate| Some((certificate.source.clone(), (certificate.end)()?));
        lock(&self.certificates).iter().filter_map(ends).collect()
    }

    /// Calls are traced, which `counts` counts. Only the first are kept.
    pub fn use_spans(&self, counts: Arc<SpanCounts>) {
        self.spans.get_or_init(|| counts);
    }

    /// The spans of calls, if they are traced.
    pub fn spans(&self) -> Option<&SpanCounts> {
        self.spans.get().map(|counts| &**counts)
    }

    /// When each source last gave something.
    pub fn successes(&self) -> BTreeMap<Arc<str>, Timestamp> {
        lock(&self.successes).clone()
    }

    /// There is no role `id` any more.
    pub fn forget(&self, id: &str) {
        lock(&self.entries).remove(id);
        if let Some(history) = self.history.get() {
            history.forget(id);
        }
    }

    /// Forgets the roles that are not to be kept.
    pub fn retain(&self, keep: impl Fn(&str) -> bool) {
        if let Some(history) = self.history.get() {
            history.retain(&keep);
        }
        let mut entries = lock(&self.entries);
        entries.retain(|id, _| keep(id.as_str()));
        // Sources that are still in use will record their successes again.
        lock(&self.successes).retain(|source, _| entries.values().any(|entry| entry.source.as_ref() == Some(source)));
    }

    /// What is remembered of the role `id`.
    pub fn entry(&self, id: &str) -> Entry {
        lock(&self.entries).get(id).cloned().unwrap_or_default()
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // Nothing under the locks can panic half-way.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_remembered_until_the_next_success_and_keeps_the_source() {
        let refresh_stats = RefreshStats::default();
        let web = RoleId::named(&"web".parse().expect("a name"));
        assert_eq!(refresh_stats.entry("web"), Entry::default());
        let life = Life { end: Timestamp::MAX, again: Timestamp::UNIX_EPOCH };
        refresh_stats.fetched(&web, &"ims".into(), Timestamp::UNIX_EPOCH, life);
        refresh_stats.failed(&web, Timestamp::UNIX_EPOCH, "down", Some(Timestamp::UNIX_EPOCH));
        let entry = refresh_stats.entry("web");
        assert_eq!(entry.refused_since(), Some(Timestamp::UNIX_EPOCH));
        assert_eq!((entry.source.as_deref(), &*entry.failure.expect("it failed").message), (Some("ims"), "down"));
        refresh_stats.fetched(&web, &"other".into(), Timestamp::UNIX_EPOCH, life);
        let entry = Entry { source: Some("other".into()), failure: None, next: Some(life.again) };
        assert_eq!(refresh_stats.entry("web"), entry);
        refresh_stats.forget("web");
        assert_eq!(refresh_stats.entry("web"), Entry::default());
    }

    #[test]
    fn a_list_is_refused_since_the_first_refusal_and_until_it_comes() {
        let refresh_stats = RefreshStats::default();
        let at = |second| Timestamp::from_second(second).expect("in range");
        refresh_stats.list_refused(at(1), "empty");
        refresh_stats.list_refused(at(2), "403");
        assert_eq!(refresh_stats.list_refusal(), Some(ListRefusal { since: at(1), message: "403".into() }));
        refresh_stats.list_answered(at(3), &"ims".into());
        assert_eq!(refresh_stats.list_refusal(), None);
        assert_eq!(refresh_stats.successes(), BTreeMap::from([("ims".into(), at(3))]));
    }

    #[test]
    fn sources_and_endings_are_counted_apart() {
        let refresh_stats = RefreshStats::default();
        let (ims, sts): (Arc<str>, Arc<str>) = ("ims".into(), "sts".into());
        let took = Duration::from_millis(20);
        refresh_stats.count(&ims, Question::Roles, Ending::Success, took);
        refresh_stats.count(&sts, Question::Credentials, Ending::Refused, took);
        refresh_stats.count(&sts, Question::Credentials, Ending::Refused, took);
        let calls = refresh_stats.calls();
        let totals =
            |calls: &Calls| Question::ALL.map(|question| Ending::ALL.map(|ending| calls.total(question, ending)));
        let expected = [("ims", [[1, 0, 0, 0], [0; 4]]), ("sts", [[0; 4], [0, 0, 2, 0]])];
        assert_eq!(calls.iter().map(|(source, calls)| (&**source, totals(calls))).collect::<Vec<_>>(), expected);
        assert!(calls["ims"].asked(Question::Roles) && !calls["ims"].asked(Question::Credentials));
        assert_eq!(calls["sts"].took().sum(), took * 2);
    }
}
