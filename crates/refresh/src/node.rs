//! The refresher's state of each set of credentials that it fetches.

use std::{fmt, sync::Arc, time::Duration};

use super::{Cadence, Candidate, Node, Timer, Visibility, report::RepeatedFailure};
use crate::{
    SourceError,
    clock::{BootTime, Moment},
    credentials::{Credentials, RoleId},
    failback::Failback,
    store::Published,
};

/// What is remembered of a role.
pub(super) struct Tracked {
    pub(super) asked: Asked,
    pub(super) held: Option<Arc<Published>>,
    /// Since when the upstream refuses its list, so that it is in doubt whether there still is such a role.
    pub(super) doubted: Option<Box<Moment>>,
    /// Since when the upstream refuses its document. Boxed, as the one before: there is seldom one.
    pub(super) refused: Option<Box<Moment>>,
    /// The first graph that gets it in this way.
    pub(super) since: u64,
    /// How it is got, unless it is one of the roles that the lister lists. Boxed: most have none.
    pub(super) plan: Option<Box<Plan>>,
}

/// How a node of the graph is got, and how that goes.
pub(super) struct Plan {
    pub(super) node: Node,
    /// The candidate that is tried in the present attempt.
    pub(super) candidate: usize,
    /// Whether the present attempt waits for the parent of that candidate.
    pub(super) waiting: bool,
    /// Whether the parent has been fetched again for the present attempt.
    pub(super) renewed: bool,
    /// What the candidates tried before it said.
    pub(super) failed: Vec<SourceError>,
    /// The candidate of the set that is held.
    pub(super) in_force: usize,
    /// When the candidates before that are tried again, if there are any. Boxed: most have none.
    pub(super) back: Option<Box<Failback>>,
    /// Whether the present attempt is about those alone: the set that is held is not due itself.
    pub(super) returning: bool,
    /// Whether it is a parent of another node, so that the credentials themselves are kept.
    pub(super) is_parent: bool,
    pub(super) kept: Option<Arc<Credentials>>,
    /// The refusal that stands while nothing is held.
    pub(super) refusal: Option<SourceError>,
    /// When the last set came.
    pub(super) fetched: Option<BootTime>,
}

/// One question to the upstream, asked again and again.
pub(super) struct Asked {
    pub(super) timer: Timer,
    /// Queued, or being asked.
    pub(super) in_flight: bool,
    pub(super) failure: RepeatedFailure,
}

impl Asked {
    pub(super) fn new(now: Moment) -> Self {
        Self { timer: Timer::due_now(now), in_flight: false, failure: RepeatedFailure::default() }
    }

    /// Marks it as being asked if it is time; answers how long there is still to wait.
    pub(super) fn start_if_due(&mut self, now: Moment) -> Option<Duration> {
        let remaining = self.timer.remaining(now);
        if self.in_flight || !remaining.is_zero() {
            return (!self.in_flight).then_some(remaining);
        }
        self.in_flight = true;
        Some(Duration::ZERO)
    }
}

impl Tracked {
    pub(super) fn new(now: Moment, plan: Option<Plan>) -> Box<Self> {
        let plan = plan.map(Box::new);
        Box::new(Self { asked: Asked::new(now), held: None, doubted: None, refused: None, since: 0, plan })
    }

    /// Whether a set is held that is valid at the moment `now`.
    pub(super) fn is_alive(&self, now: Moment) -> bool {
        self.held.as_ref().is_some_and(|set| set.is_valid(now))
    }

    /// Whether a set is held that is valid, or would be if the wall clock is ahead.
    fn may_live(&self, now: Moment) -> bool {
        self.held.as_ref().is_some_and(|set| set.may_live(now.boot))
    }

    /// Whether the upstream refuses it, for as long as it takes until that counts (`grace`; none: as long as the set may be
    /// valid).
    pub(super) fn is_given_up(&self, refused: Option<&Moment>, grace: Option<Duration>, now: Moment) -> bool {
        refused
            .is_some_and(|since| !self.may_live(now) || grace.is_some_and(|grace| now.boot.since(since.boot) >= grace))
    }

    /// Schedules an immediate fetch, unless one is under way.
    pub(super) fn hurry(&mut self, now: Moment) {
        if !self.is_being_fetched() {
            self.asked.timer = Timer::due_now(now);
        }
    }

    /// Whether an attempt is under way that tries all there is.
    pub(super) fn is_being_fetched(&self) -> bool {
        self.asked.in_flight && !self.plan.as_ref().is_some_and(|plan| plan.returning)
    }

    /// As [`Asked::start_if_due`]; between two sets it may also be time to try the candidates before the one in force.
    pub(super) fn start_if_due(&mut self, now: Moment) -> Option<Duration> {
        let remaining = self.asked.start_if_due(now)?;
        let Some(plan) = &mut self.plan else { return Some(remaining) };
        plan.returning = false;
        // While it fails, all candidates are tried again and again.
        let Some(back) = plan.back.as_ref().filter(|_| !remaining.is_zero() && !self.asked.failure.is_any()) else {
            return Some(remaining);
        };
        let pause = back.remaining(now.boot);
        plan.returning = pause.is_zero();
        self.asked.in_flight = plan.returning;
        Some(remaining.min(pause))
    }
}

impl Plan {
    pub(super) fn new(node: Node) -> Self {
        Self {
            node,
            candidate: 0,
            waiting: false,
            renewed: false,
            failed: Vec::new(),
            in_force: 0,
            back: None,
            returning: false,
            is_parent: false,
            kept: None,
            refusal: None,
            fetched: None,
        }
    }

    /// The candidate that is tried now; `None` when all have been.
    pub(super) fn candidate(&self) -> Option<&Candidate> {
        self.node.candidates.get(self.candidate)
    }

    pub(super) fn begin(&mut self) {
        self.candidate = 0;
        self.waiting = false;
        self.renewed = false;
        self.failed.clear();
    }

    /// The candidate that is tried now has failed.
    pub(super) fn next_way(&mut self, error: SourceError) {
        self.failed.push(error);
        self.candidate += 1;
        self.waiting = false;
        self.renewed = false;
    }

    pub(super) fn waits_for(&self, parent: &RoleId) -> bool {
        self.waiting && self.candidate().is_some_and(|candidate| candidate.parent.as_ref() == Some(parent))
    }

    pub(super) fn is_child_of(&self, parent: &RoleId) -> bool {
        self.node.candidates.iter().any(|candidate| candidate.parent.as_ref() == Some(parent))
    }

    /// Whether what is held, or would rather be, is but passed on from `parent`.
    pub(super) fn follows(&self, parent: &RoleId) -> bool {
        let wanted = self.node.candidates.iter().take(self.in_force + 1);
        wanted.into_iter().any(|candidate| candidate.follows && candidate.parent.as_ref() == Some(parent))
    }

    /// Whether the present attempt has tried all that it is about.
    pub(super) fn is_back_where_it_was(&self) -> bool {
        self.returning && self.candidate >= self.in_force
    }

    /// The candidate in force has been settled: those before it, if any, have failed and are tried again later.
    pub(super) fn plan_return(&mut self, now: Moment, random: f64) {
        let wait = self.cadence().return_wait();
        match &mut self.back {
            back if self.in_force == 0 => *back = None,
            Some(back) => back.failed(now.boot, random),
            back => *back = Some(Box::new(Failback::new(wait, now.boot, random))),
        }
    }

    /// How long ago the last set came.
    pub(super) fn age(&self, now: Moment) -> Option<Duration> {
        self.fetched.map(|fetched| now.boot.since(fetched))
    }

    /// How the first candidate is asked: that is whom the next attempt asks.
    pub(super) fn cadence(&self) -> Cadence {
        self.node.candidates.first().map_or(Cadence::Aws, |candidate| candidate.cadence)
    }

    /// What all the candidates said together, taken out.
    pub(super) fn verdict(&mut self) -> SourceError {
        SourceError::together(std::mem::take(&mut self.failed))
    }
}

/// What a node is called in the log.
pub(super) struct Who<'a> {
    name: &'a str,
    hidden: bool,
}

impl<'a> Who<'a> {
    pub(super) fn new(id: &'a str, plan: Option<&'a Plan>) -> Self {
        match plan.map(|plan| &plan.node) {
            Some(node) if node.visibility == Visibility::Hidden => {
                Self { name: node.candidates.first().map_or(id, |candidate| &candidate.label), hidden: true }
            }
            Some(node) => Self { name: node.name.as_str(), hidden: false },
            None => Self { name: id, hidden: false },
        }
    }
}

impl Who<'_> {
    /// The role, if it is one.
    pub(super) fn role(&self) -> Option<&str> {
        (!self.hidden).then_some(self.name)
    }
}

impl fmt::Display for Who<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.hidden { "" } else { "role " })?;
        f.write_str(self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ErrorKind;

    fn refusal(withdraws: bool) -> SourceError {
        let kind = ErrorKind::Refused { code: "Code".into(), message: "no".into(), withdraws };
        SourceError::new(kind, "refused")
    }

    fn plan() -> Plan {
        let name = "x".parse().expect("a name");
        let id = RoleId::from_inputs("test", &[]);
        Plan::new(Node { id, name, visibility: Visibility::Hidden, candidates: Arc::new([]) })
    }

    #[test]
    fn between_two_sets_it_is_tried_to_go_back_and_a_set_that_is_due_goes_before() {
        let at = |seconds: u64| Moment {
            wall: "2026-11-23T10:00:00Z".parse::<jiff::Timestamp>().expect("a timestamp")
                + Duration::from_secs(seconds),
            boot: BootTime::from_millis(seconds * 1000),
        };
        let mut node = Tracked::new(at(0), Some(plan()));
        node.asked.timer = Timer::after(at(0), Duration::from_secs(1000));
        if let Some(plan) = &mut node.plan {
            plan.in_force = 1;
            plan.plan_return(at(0), 0.5);
        }
        assert_eq!(node.start_if_due(at(100)), Some(Duration::from_secs(200)));
        assert_eq!(node.start_if_due(at(300)), Some(Duration::ZERO));
        assert!(node.asked.in_flight && !node.is_being_fetched());
        assert_eq!(node.start_if_due(at(999)), None, "the call is under way");
        node.asked.in_flight = false;
        assert_eq!(node.start_if_due(at(1000)), Some(Duration::ZERO));
        assert!(node.is_being_fetched());
    }

    fn verdict(errors: &[SourceError]) -> SourceError {
        let mut plan = plan();
        for error in errors {
            plan.next_way(error.clone());
        }
        plan.verdict()
    }

    #[test]
    fn several_ways_refuse_only_if_all_of_them_do() {
        let withdraws = |error: &SourceError| match error.kind {
            ErrorKind::Refused { withdraws, .. } => Some(withdraws),
            _ => None,
        };
        assert_eq!(withdraws(&verdict(&[refusal(true)])), Some(true));
        assert_eq!(withdraws(&verdict(&[refusal(true), refusal(true)])), Some(true));
        assert_eq!(withdraws(&verdict(&[refusal(true), refusal(false)])), Some(false));
        let down = || SourceError::transient("down");
        for errors in [[refusal(true), down()], [down(), refusal(true)]] {
            assert_eq!(withdraws(&verdict(&errors)), None);
        }
        assert_eq!(verdict(&[refusal(true), down()]).message, "refused; then down");
    }

    #[test]
    fn several_ways_are_left_alone_only_as_long_as_all_of_them_want() {
        let busy =
            |seconds| SourceError { again: Some(Duration::from_secs(seconds)), ..SourceError::transient("busy") };
        assert_eq!(verdict(&[busy(30), busy(20)]).again, Some(Duration::from_secs(20)));
        assert_eq!(verdict(&[busy(30), SourceError::transient("down")]).again, None);
    }
}
