//! Several hosts of one upstream: the first that works is used, with failback to the first when it is back. Each list
//! begins with it; where no list is asked for it is tried now and then.
//!
//! The list and the sets always come from the same host, so that what one host lists is never refused by another.

use std::{
    collections::HashSet,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use super::{RoleList, Source, SourceError, SourceFuture, failback::Failback};
use crate::{
    clock::SharedClock,
    credentials::{Credentials, RoleName},
};

/// A source on several hosts.
pub struct Failover {
    hosts: Vec<(String, Arc<dyn Source>)>,
    clock: SharedClock,
    /// How soon a host that was left is tried again.
    return_wait: Duration,
    state: Mutex<State>,
    /// Held while another host is looked for: a second caller waits and uses the result.
    looking: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct State {
    /// The host that is asked.
    current: usize,
    /// What it lists.
    listed: HashSet<RoleName>,
    /// The hosts that were left because they gave no set, though they may well list roles.
    suspects: HashSet<usize>,
    /// When the hosts before the one that is asked are tried again, if there are any.
    back: Option<Failback>,
}

impl Failover {
    /// The same upstream at each of `hosts`, in the order of preference, with what each is called in the log. One that
    /// was left is tried again after about `return_wait`, and ever more rarely.
    pub fn new(hosts: Vec<(String, Arc<dyn Source>)>, clock: SharedClock, return_wait: Duration) -> Self {
        Self { hosts, clock, return_wait, state: Mutex::default(), looking: tokio::sync::Mutex::default() }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing that could panic is done while it is held.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn list(&self) -> Result<RoleList, SourceError> {
        let _only_one = self.looking.lock().await;
        let mut failed: Vec<SourceError> = Vec::new();
        let mut unproven = None;
        for (index, (_, source)) in self.hosts.iter().enumerate() {
            match source.roles().await {
                Ok(list) => match self.proof(index, &list).await {
                    Ok(()) => {
                        self.settle(index, &list, failed.first());
                        return Ok(list);
                    }
                    Err(error) => {
                        failed.push(error);
                        unproven.get_or_insert((index, list));
                    }
                },
                // The upstream's word, which no other host outdoes.
                Err(error) if error.withdraws() => {
                    self.settle(index, &RoleList::default(), failed.first());
                    return Err(error);
                }
                Err(error) => failed.push(error),
            }
        }
        // A host that lists but gives no sets is better than none.
        if let Some((index, list)) = unproven {
            self.settle(index, &list, failed.first());
            return Ok(list);
        }
        Err(SourceError::together(failed))
    }

    /// Whether a host that was left can be gone back to: it has to give the set of a role.
    async fn proof(&self, index: usize, list: &RoleList) -> Result<(), SourceError> {
        let is_suspect = self.state().suspects.contains(&index);
        let (Some((_, source)), Some(role), true) = (self.hosts.get(index), list.names.first(), is_suspect) else {
            return Ok(());
        };
        match source.fetch(role).await {
            Err(error) if !error.withdraws() => Err(error),
            _ => {
                self.state().suspects.remove(&index);
                Ok(())
            }
        }
    }

    /// From now on that host is asked.
    fn settle(&self, index: usize, list: &RoleList, reason: Option<&SourceError>) {
        let (now, random) = (self.clock.now().boot, fastrand::f64());
        let mut state = self.state();
        state.listed = list.names.iter().cloned().collect();
        let before = std::mem::replace(&mut state.current, index);
        match &mut state.back {
            back if index == 0 => *back = None,
            Some(back) => back.failed(now, random),
            back => *back = Some(Failback::new(self.return_wait, now, random)),
        }
        drop(state);
        let name = self.hosts.get(index).map_or("", |(name, _)| name);
        match reason {
            _ if before == index => {}
            Some(reason) if index > before => tracing::warn!("the upstream is now {name}, because {reason}"),
            _ => notice!("the upstream is {name} again"),
        }
    }

    async fn set(&self, role: &RoleName) -> Result<Credentials, SourceError> {
        if let Some(set) = self.go_back(role).await {
            return Ok(set);
        }
        let (at, listed) = self.current(role);
        let Some((_, source)) = self.hosts.get(at).filter(|_| listed) else { return Err(unlisted(role)) };
        let error = match source.fetch(role).await {
            Err(error) if !error.withdraws() => error,
            answer => return answer,
        };
        let _only_one = self.looking.lock().await;
        let (now_at, listed) = self.current(role);
        if now_at != at {
            // Another caller has found another host meanwhile.
            let Some((_, source)) = self.hosts.get(now_at).filter(|_| listed) else { return Err(unlisted(role)) };
            return source.fetch(role).await;
        }
        // Gone to only if it has what was asked for: a role that no host can give leaves everything as it is.
        let Some((index, list, set)) = self.look((0..self.hosts.len()).filter(|index| *index != at), role).await else {
            return Err(error);
        };
        self.state().suspects.insert(at);
        self.settle(index, &list, Some(&error));
        Ok(set)
    }

    /// If it is time to try the hosts before the one that is asked: the set of the first that gives it.
    async fn go_back(&self, role: &RoleName) -> Option<Credentials> {
        let _only_one = self.looking.try_lock().ok()?;
        let (now, random) = (self.clock.now().boot, fastrand::f64());
        let current = {
            let mut state = self.state();
            let back = state.back.as_mut().filter(|back| back.remaining(now).is_zero())?;
            back.failed(now, random);
            state.current
        };
        let (index, list, set) = self.look(0..current, role).await?;
        self.state().suspects.remove(&index);
        self.settle(index, &list, None);
        Some(set)
    }

    /// The first of these hosts that lists `role` and gives its set.
    async fn look(
        &self,
        hosts: impl Iterator<Item = usize>,
        role: &RoleName,
    ) -> Option<(usize, RoleList, Credentials)> {
        for (index, (_, source)) in hosts.filter_map(|index| Some((index, self.hosts.get(index)?))) {
            let Ok(list) = source.roles().await else { continue };
            if !list.names.contains(role) {
                continue;
            }
            if let Ok(set) = source.fetch(role).await {
                return Some((index, list, set));
            }
        }
        None
    }

    /// The host that is asked, and whether it lists `role`. Before the first list that is unknown.
    fn current(&self, role: &RoleName) -> (usize, bool) {
        let state = self.state();
        (state.current, state.listed.is_empty() || state.listed.contains(role))
    }
}

fn unlisted(role: &RoleName) -> SourceError {
    SourceError::transient(format!("the failover host does not list {role}; its next list decides"))
}

impl Source for Failover {
    fn roles(&self) -> SourceFuture<'_, RoleList> {
        Box::pin(self.list())
    }

    fn concurrency(&self) -> usize {
        self.hosts.first().map_or(1, |(_, source)| source.concurrency())
    }

    fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
        Box::pin(self.set(role))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock::{self, fake::FakeClock},
        credentials::Secret,
        refresh::ErrorKind,
    };

    /// One host: what it lists, what it gives, and whether it is up.
    #[derive(Default)]
    struct Host(Mutex<(Vec<&'static str>, Vec<&'static str>, bool, usize)>);

    impl Host {
        fn new(lists: &[&'static str], gives: &[&'static str]) -> Arc<Self> {
            Arc::new(Self(Mutex::new((lists.to_vec(), gives.to_vec(), true, 0))))
        }

        fn up(&self, up: bool) {
            self.0.lock().expect("not poisoned").2 = up;
        }

        fn gives(&self, roles: &[&'static str]) {
            self.0.lock().expect("not poisoned").1 = roles.to_vec();
        }

        fn calls(&self) -> usize {
            std::mem::take(&mut self.0.lock().expect("not poisoned").3)
        }
    }

    struct Named(&'static str, Arc<Host>);

    impl Source for Named {
        fn roles(&self) -> SourceFuture<'_, RoleList> {
            Box::pin(async {
                let mut host = self.1.0.lock().expect("not poisoned");
                host.3 += 1;
                let names = host.0.iter().map(|name| name.parse().expect("a name")).collect();
                host.2.then_some(RoleList { names, ..RoleList::default() }).ok_or(SourceError::transient("down"))
            })
        }

        fn concurrency(&self) -> usize {
            4
        }

        fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
            Box::pin(async move {
                let mut host = self.1.0.lock().expect("not poisoned");
                host.3 += 1;
                if !host.2 || !host.1.contains(&role.as_str()) {
                    return Err(SourceError::transient("no set"));
                }
                Ok(Credentials {
                    access_key_id: self.0.to_owned(),
                    secret_access_key: Secret::new("secret"),
                    session_token: Secret::new("token"),
                    expiration: "2026-11-23T11:00:00Z".parse().expect("a timestamp"),
                    life: None,
                    last_updated: None,
                    account_id: None,
                    role_arn: None,
                })
            })
        }
    }

    fn rig(a: &Arc<Host>, b: &Arc<Host>) -> Failover {
        let host =
            |name, host: &Arc<Host>| (String::from(name), Arc::new(Named(name, Arc::clone(host))) as Arc<dyn Source>);
        Failover::new(vec![host("A", a), host("B", b)], FakeClock::new(), Duration::from_mins(5))
    }

    async fn from(source: &Failover, role: &str) -> Result<String, String> {
        let set = source.fetch(&role.parse().expect("a name")).await;
        set.map(|set| set.access_key_id).map_err(|error| error.message)
    }

    #[tokio::test]
    async fn a_dead_host_is_stood_in_for_and_gone_back_to() {
        let (a, b) = (Host::new(&["r"], &["r"]), Host::new(&["r"], &["r"]));
        let source = rig(&a, &b);
        source.roles().await.expect("A lists");
        assert_eq!(from(&source, "r").await, Ok("A".into()));
        assert_eq!(b.calls(), 0);
        a.up(false);
        assert_eq!(from(&source, "r").await, Ok("B".into()), "immediately");
        source.roles().await.expect("B lists");
        a.calls();
        assert_eq!((from(&source, "r").await, a.calls()), (Ok("B".into()), 0), "no call waits for the dead host");
        a.up(true);
        source.roles().await.expect("A lists");
        assert_eq!(from(&source, "r").await, Ok("A".into()));
    }

    #[tokio::test(start_paused = true)]
    async fn without_lists_the_first_host_is_tried_now_and_then() {
        let (a, b) = (Host::new(&["r"], &["r"]), Host::new(&["r"], &["r"]));
        let source = rig(&a, &b);
        assert_eq!(from(&source, "r").await, Ok("A".into()));
        a.up(false);
        assert_eq!(from(&source, "r").await, Ok("B".into()), "immediately");
        a.calls();
        // A minute apart, as an IMS is polled.
        let mut tried = Vec::new();
        for minute in 1..=60 {
            clock::sleep(Duration::from_mins(1)).await;
            assert_eq!(from(&source, "r").await, Ok("B".into()));
            if a.calls() > 0 {
                tried.push(minute);
            }
        }
        assert!((4..=7).contains(&tried[0]) && (3..=5).contains(&tried.len()), "ever more rarely: {tried:?}");
        a.up(true);
        let mut minutes = 0;
        while from(&source, "r").await == Ok("B".into()) {
            clock::sleep(Duration::from_mins(1)).await;
            minutes += 1;
        }
        assert!(minutes <= 26, "{minutes}");
        b.calls();
        clock::sleep(Duration::from_hours(1)).await;
        assert_eq!((from(&source, "r").await, b.calls()), (Ok("A".into()), 0));
    }

    #[tokio::test]
    async fn a_host_that_lists_but_gives_nothing_has_to_prove_itself() {
        let (a, b) = (Host::new(&["r"], &[]), Host::new(&["r"], &["r"]));
        let source = rig(&a, &b);
        source.roles().await.expect("A lists");
        assert_eq!(from(&source, "r").await, Ok("B".into()));
        source.roles().await.expect("B lists");
        assert_eq!(from(&source, "r").await, Ok("B".into()), "no flapping");
        a.gives(&["r"]);
        source.roles().await.expect("A lists");
        assert_eq!(from(&source, "r").await, Ok("A".into()));
    }

    #[tokio::test]
    async fn a_role_that_no_host_gives_moves_nobody() {
        let (a, b) = (Host::new(&["r", "bad"], &["r"]), Host::new(&["r", "bad"], &["r"]));
        let source = rig(&a, &b);
        source.roles().await.expect("A lists");
        assert_eq!(from(&source, "bad").await, Err("no set".into()));
        assert_eq!(from(&source, "r").await, Ok("A".into()));
    }

    #[tokio::test]
    async fn what_the_stand_in_does_not_list_is_not_asked_there() {
        let (a, b) = (Host::new(&["r", "only-a"], &["r", "only-a"]), Host::new(&["r"], &["r"]));
        let source = rig(&a, &b);
        source.roles().await.expect("A lists");
        a.up(false);
        assert_eq!(from(&source, "r").await, Ok("B".into()));
        b.calls();
        assert!(from(&source, "only-a").await.expect_err("not listed").contains("does not list only-a"));
        assert_eq!(b.calls(), 0);
    }

    #[tokio::test]
    async fn all_hosts_down_is_one_transient_error() {
        let (a, b) = (Host::new(&["r"], &["r"]), Host::new(&["r"], &["r"]));
        let source = rig(&a, &b);
        a.up(false);
        b.up(false);
        let error = source.roles().await.expect_err("all down");
        assert_eq!((error.kind, &*error.message), (ErrorKind::Transient, "down; then down"));
    }
}
