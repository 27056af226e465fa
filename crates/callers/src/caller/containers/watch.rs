//! The task that follows the events of one runtime and keeps its part of the index up to date.

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    net::IpAddr,
    path::PathBuf,
    sync::Arc,
    time::Duration,
};

use tokio::task::JoinSet;

use super::{
    ContainerIndex,
    api::{Api, ApiError, Events},
    container_state::{Change, ContainerStates, Question},
    facts::ContainerId,
    hold::{Keeper, Unheld},
    host_names::{self, HostNames},
    index::{Part, Sought, Table},
    messages::{Inspected, Listed},
    observer::Observer,
};
use crate::{
    caller::cgroup,
    clock::{self, BootTime, SharedClock},
};

/// The number of inspections that run at the same time.
const MAX_INSPECTIONS: usize = 16;
/// How long a negative answer is kept: until then, what was not found is not sought again.
const ABSENCE: Duration = Duration::from_secs(2);
/// The minimum time between two searches of the runtime's list.
const SEARCH_PAUSE: Duration = Duration::from_millis(50);
/// How often the runtime's list is compared with what is known, since a runtime drops events for a slow listener.
const COMPARISON: Duration = Duration::from_mins(1);
/// Waits between two attempts to reach the runtime.
const FIRST_RETRY: Duration = Duration::from_millis(100);
const LAST_RETRY: Duration = Duration::from_secs(5);
const LAST_RETRY_OF_LATE: Duration = Duration::from_mins(1);
/// How late a runtime may report that the first process of a container has ended.
const LATE_END: Duration = Duration::from_secs(10);
/// Events from so long before are asked for: Docker begins to listen a moment after it has answered.
const OVERLAP: i64 = 2;

/// What to listen to, and for what.
#[derive(Debug, Clone)]
pub struct Settings {
    /// The runtime's socket.
    pub socket: PathBuf,
    /// The variables of containers that are kept.
    pub variables: Vec<String>,
    /// How a container is found by the host name of an address.
    pub host_names: Option<HostNames>,
    /// The label in which containers state addresses that the runtime does not know.
    pub address_label: Option<String>,
    /// Whether containers count as running whose first process cannot be held onto.
    pub accept_unverified: bool,
}

/// Listens to one runtime.
pub struct Watcher {
    api: Api,
    settings: Settings,
    part: Arc<Part>,
    observer: Arc<dyn Observer>,
    clock: SharedClock,
    states: ContainerStates,
    /// Whether its silence was logged.
    silence_told: bool,
    /// The containers whose first process is not held onto, and the reasons that were logged loudly.
    unheld: BTreeMap<ContainerId, Unverified>,
    unheld_told: Vec<Unheld>,
}

/// The first process of a container is not held onto.
struct Unverified {
    /// When that was first so.
    since: BootTime,
    /// Whether it was logged.
    told: bool,
}

enum Done {
    Listed(Result<Vec<Listed>, ApiError>),
    Inspected(Question, Result<Option<Inspected>, ApiError>),
    Named(IpAddr, Option<String>),
}

/// The list of all containers is being gone through.
struct Search {
    sought: BTreeSet<Sought>,
    /// Which of its answers are still to come.
    listing: bool,
    waiting: BTreeSet<ContainerId>,
    naming: Option<usize>,
}

/// While the runtime can be heard.
struct Session<'a> {
    watcher: &'a mut Watcher,
    calls: JoinSet<Done>,
    inspections: usize,
    queue: VecDeque<Question>,
    search: Option<Search>,
    /// Whether all that runs has been asked for once.
    complete: bool,
    next_search: BootTime,
    next_comparison: BootTime,
    forget_absent: Option<BootTime>,
    version: String,
}

impl Watcher {
    /// Keeps the part with that number of the index; `None` if it has none.
    pub fn new(
        settings: Settings,
        index: &ContainerIndex,
        number: usize,
        observer: Arc<dyn Observer>,
        clock: SharedClock,
    ) -> Option<Self> {
        let part = index.part(number)?;
        let api = Api::new(settings.socket.clone());
        let hierarchy = cgroup::mount_point().unwrap_or_else(|error| {
            tracing::warn!("containers: cannot find the control groups: {error}");
            None
        });
        let keeper = Keeper::new(hierarchy, settings.accept_unverified);
        let states = ContainerStates::new(settings.address_label.clone(), keeper);
        Some(Self {
            api,
            settings,
            part,
            observer,
            clock,
            states,
            silence_told: false,
            unheld: BTreeMap::new(),
            unheld_told: Vec::new(),
        })
    }

    /// Listens until it is dropped.
    pub async fn run(mut self) {
        let mut pause = FIRST_RETRY;
        loop {
            let (error, heard) = self.session().await;
            // Without the event stream no container is identified.
            self.states.doubt();
            self.part.publish(Table::default());
            self.observer.changed();
            if heard || !self.silence_told {
                self.silence_told = true;
                tracing::warn!("containers: {error}; no container gets credentials until the runtime answers again");
            }
            // A runtime that is too slow is still working on the calls given up before.
            let last = if matches!(error, ApiError::Late) { LAST_RETRY_OF_LATE } else { LAST_RETRY };
            pause = if heard { FIRST_RETRY } else { (pause * 2).min(last) };
            clock::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0)).await;
        }
    }

    /// Says if the first process of a container cannot be held onto: loudly for the first container of each reason.
    fn note_hold(&mut self, id: &ContainerId) {
        let Some(why) = self.states.unheld(id) else {
            self.unheld.remove(id);
            return;
        };
        let now = self.clock.now().boot;
        let unverified = self.unheld.entry(id.clone()).or_insert(Unverified { since: now, told: false });
        let accepted = self.settings.accept_unverified;
        // The process may just have ended, which a busy runtime reports late.
        let may_have_ended = why == Unheld::Gone && !accepted && now.since(unverified.since) < LATE_END;
        if unverified.told || may_have_ended {
            return;
        }
        unverified.told = true;
        let first = !self.unheld_told.contains(&why);
        if first {
            self.unheld_told.push(why);
        }
        match (accepted, first) {
            (false, true) => tracing::error!(
                "containers: {id} gets no credentials, because its first process cannot be verified: {why}. \
                 `containers.accept_unverified: true` does without that"
            ),
            (true, true) => tracing::warn!("containers: only the runtime reports the end of {id}: {why}"),
            (false, false) => tracing::info!("containers: {id} gets no credentials either: {why}"),
            (true, false) => tracing::debug!("containers: only the runtime reports the end of {id}: {why}"),
        }
    }

    /// Why it ended, and whether all was well before.
    async fn session(&mut self) -> (ApiError, bool) {
        let since = self.clock.now().wall.as_second() - OVERLAP;
        let mut events = match self.api.events(since).await {
            Ok(events) => events,
            Err(error) => return (error, false),
        };
        let version = events.runtime();
        let now = self.clock.now().boot;
        let mut session = Session {
            watcher: self,
            calls: JoinSet::new(),
            inspections: 0,
            queue: VecDeque::new(),
            search: None,
            complete: false,
            next_search: now,
            next_comparison: now,
            forget_absent: None,
            version,
        };
        let error = session.listen(&mut events).await;
        (error, session.complete)
    }
}

impl Session<'_> {
    async fn listen(&mut self, events: &mut Events) -> ApiError {
        loop {
            let pause = self.start_what_is_due();
            let searching = self.search.is_some();
            let part = Arc::clone(&self.watcher.part);
            let outcome = tokio::select! {
                biased;
                event = events.next() => event.map(|event| {
                    match self.watcher.states.happened(&event) {
                        Some(question) => self.queue.push_back(question),
                        None => self.next_comparison = BootTime::ZERO,
                    }
                }),
                Some(done) = self.calls.join_next() => match done {
                    Ok(done) => self.take(done),
                    Err(panic) => std::panic::resume_unwind(panic.into_panic()),
                },
                () = part.asked.notified(), if !searching => {
                    let sought = part.take_sought();
                    if !sought.is_empty() {
                        self.begin_search(sought);
                    }
                    Ok(())
                }
                () = clock::sleep(pause) => Ok(()),
            };
            if let Err(error) = outcome {
                return error;
            }
            self.publish();
        }
    }

    /// Starts what is due; answers how long there is nothing else to start.
    fn start_what_is_due(&mut self) -> Duration {
        let now = self.watcher.clock.now().boot;
        if self.forget_absent.is_some_and(|due| due <= now) {
            self.forget_absent = None;
            self.watcher.states.forget_absent();
            self.publish();
        }
        if self.search.is_none() && self.next_comparison <= now {
            self.next_comparison = now + COMPARISON;
            self.watcher.states.forget_names();
            let sought = self.watcher.part.take_sought();
            self.begin_search(sought);
        }
        while self.inspections < MAX_INSPECTIONS
            && let Some(question) = self.queue.pop_front()
        {
            if self.watcher.states.is_current(&question) {
                self.inspections += 1;
                let (api, variables) = (self.watcher.api.clone(), self.watcher.settings.variables.clone());
                self.calls.spawn(async move {
                    let answer = api.inspect(&question.0, &variables).await;
                    Done::Inspected(question, answer)
                });
            }
        }
        let due = [Some(self.next_comparison), self.forget_absent];
        let pause = due.into_iter().flatten().map(|due| due.since(now)).min().unwrap_or(COMPARISON);
        // The search that is running says when it has ended.
        if self.search.is_some() { pause.max(SEARCH_PAUSE) } else { pause }
    }

    fn begin_search(&mut self, sought: BTreeSet<Sought>) {
        let questions = self.watcher.states.seek(&sought);
        let waiting = questions.iter().map(|(id, _)| id.clone()).collect();
        self.queue.extend(questions);
        self.search = Some(Search { sought, listing: true, waiting, naming: None });
        let api = self.watcher.api.clone();
        let pause = self.next_search.since(self.watcher.clock.now().boot);
        self.calls.spawn(async move {
            clock::sleep(pause).await;
            Done::Listed(api.list().await)
        });
    }

    fn take(&mut self, done: Done) -> Result<(), ApiError> {
        match done {
            Done::Listed(listed) => {
                let questions = self.watcher.states.listed(&listed?);
                if let Some(search) = &mut self.search {
                    search.listing = false;
                    search.waiting.extend(questions.iter().map(|(id, _)| id.clone()));
                }
                self.queue.extend(questions);
            }
            Done::Inspected(question, answer) => {
                self.inspections -= 1;
                let answer = match answer {
                    Ok(answer) => answer,
                    Err(error @ (ApiError::Json { .. } | ApiError::TooLong(_) | ApiError::Status { .. })) => {
                        tracing::warn!("containers: {} gets no credentials: {error}", question.0);
                        None
                    }
                    Err(error) => return Err(error),
                };
                self.answered(&question, answer);
            }
            Done::Named(address, name) => {
                if let (Some(name), Some(host_names)) = (name, &self.watcher.settings.host_names) {
                    self.watcher.states.name(address, |host| host_names.same(&name, host));
                }
                if let Some(Search { naming: Some(running), .. }) = &mut self.search {
                    *running -= 1;
                }
            }
        }
        self.end_search();
        Ok(())
    }

    fn answered(&mut self, question: &Question, answer: Option<Inspected>) {
        let current = self.watcher.states.is_current(question);
        match self.watcher.states.answered(question, answer) {
            Some(Change::Appeared(facts)) => self.watcher.observer.appeared(&facts),
            Some(Change::Gone(id)) => {
                self.publish();
                self.watcher.observer.gone(&id);
            }
            None => {}
        }
        self.watcher.note_hold(&question.0);
        // If it was overtaken, another answer is to come.
        if let (true, Some(search)) = (current, &mut self.search) {
            search.waiting.remove(&question.0);
        }
    }

    /// Ends the search if all its answers have come.
    fn end_search(&mut self) {
        let Some(search) = &mut self.search else { return };
        if search.listing || !search.waiting.is_empty() {
            return;
        }
        if search.naming.is_none() {
            let known = self.watcher.states.table().addresses;
            let unknown = search.sought.iter().filter_map(|sought| match sought {
                Sought::Address(address) if !known.contains_key(address) => Some(*address),
                _ => None,
            });
            let unknown: Vec<IpAddr> =
                if self.watcher.settings.host_names.is_some() { unknown.collect() } else { Vec::new() };
            search.naming = Some(unknown.len());
            for address in unknown {
                self.calls.spawn(async move { Done::Named(address, host_names::of(address).await) });
            }
        }
        if search.naming != Some(0) {
            return;
        }
        let now = self.watcher.clock.now().boot;
        if let Some(search) = self.search.take() {
            self.watcher.states.settle(search.sought);
            self.forget_absent.get_or_insert(now + ABSENCE);
        }
        self.next_search = now + SEARCH_PAUSE;
        if !self.complete {
            self.complete = true;
            self.watcher.silence_told = false;
            let (version, socket) = (&self.version, self.watcher.api.socket().display());
            notice!("containers: {version} at {socket}, {} running", self.watcher.states.running());
        }
    }

    /// Shows readers what is known; nothing before all has been asked for once.
    fn publish(&self) {
        if self.complete {
            self.watcher.part.publish(self.watcher.states.table());
            self.watcher.observer.changed();
        }
    }
}
