//! Look-ups that may hang, such as those of the name service, and that nothing can stop: each has a thread of its own, and
//! whoever needs it waits for a time only. There are only so many at once, in all and for each party.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc},
    thread,
    time::Duration,
};

/// The most look-ups that run at once, including those whose time-out has passed.
const TOTAL: usize = 64;

/// The number of look-ups that run from which on `EACH` applies. Until then one party may have all.
pub(crate) const SCARCE: usize = 16;

/// The most look-ups of one party where they are scarce, so that a few parties cannot have all places.
pub(crate) const EACH: usize = 4;

/// How many look-ups of each party run.
type Running<P> = Mutex<HashMap<P, usize>>;

/// Look-ups of one kind, for parties such as addresses.
pub(crate) struct Lookups<P> {
    /// The name of their threads.
    thread: &'static str,
    running: Arc<Running<P>>,
}

impl<P: Clone + Eq + Hash + Send + 'static> Lookups<P> {
    pub(crate) fn new(thread: &'static str) -> Self {
        Self { thread, running: Arc::new(Mutex::new(HashMap::new())) }
    }

    /// What `work` returns, if it does so in time. An error says why that is not known.
    pub(crate) fn run<T: Send + 'static>(
        &self,
        party: P,
        timeout: Duration,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, String> {
        let place = Place::take(&self.running, party).map_err(str::to_owned)?;
        let (sender, answer) = mpsc::sync_channel(1);
        let run = move || {
            let found = work();
            // Whoever has the answer may ask again at once.
            drop(place);
            // The receiver is gone after the time-out.
            let _ = sender.send(found);
        };
        thread::Builder::new().name(self.thread.to_owned()).spawn(run).map_err(|error| error.to_string())?;
        answer.recv_timeout(timeout).map_err(|_| format!("no answer within {timeout:?}"))
    }
}

/// The place of a look-up that runs.
struct Place<P: Eq + Hash> {
    running: Arc<Running<P>>,
    party: P,
}

impl<P: Clone + Eq + Hash> Place<P> {
    fn take(running: &Arc<Running<P>>, party: P) -> Result<Self, &'static str> {
        let mut counts = lock(running);
        let taken: usize = counts.values().sum();
        let own = counts.get(&party).copied().unwrap_or_default();
        if taken >= TOTAL {
            return Err("too many look-ups are under way");
        }
        if taken >= SCARCE && own >= EACH {
            return Err("too many look-ups for the same caller are under way");
        }
        counts.insert(party.clone(), own + 1);
        Ok(Self { running: Arc::clone(running), party })
    }
}

impl<P: Eq + Hash> Drop for Place<P> {
    fn drop(&mut self) {
        let mut counts = lock(&self.running);
        match counts.get_mut(&self.party) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(counts.remove(&self.party)),
        }
    }
}

fn lock<P>(running: &Running<P>) -> MutexGuard<'_, HashMap<P, usize>> {
    // Nothing under the lock can panic half-way.
    running.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_party_leaves_places_to_others_and_gets_its_own_back() {
        let running = Arc::default();
        let take = |party: u8| Place::take(&running, party);
        let mut first: Vec<_> = (0..SCARCE).map(|_| take(0).expect("a place")).collect();
        assert!(take(0).is_err_and(|cause| cause.contains("the same caller")));
        let others = u8::try_from((TOTAL - SCARCE) / EACH).expect("few");
        let mut rest = Vec::new();
        for party in 1..=others {
            rest.extend((0..EACH).map(|_| take(party).expect("a place")));
            assert!(take(party).is_err(), "{party}");
        }
        assert!(take(others + 1).is_err_and(|cause| cause == "too many look-ups are under way"));
        first.pop();
        assert!(take(0).is_err_and(|cause| cause.contains("the same caller")));
        drop(take(others + 1).expect("the place that is free"));
        drop((first, rest));
        assert!(lock(&running).is_empty(), "only those that run are remembered");
        assert!(take(0).is_ok());
    }

    #[test]
    fn what_hangs_is_waited_for_a_time_only_and_keeps_no_answer_from_others() {
        let lookups = Lookups::new("test");
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().expect("the gate");
        let hung = || {
            let gate = Arc::clone(&gate);
            lookups.run("one", Duration::from_millis(1), move || drop(gate.lock()))
        };
        for _ in 0..SCARCE {
            assert_eq!(hung(), Err("no answer within 1ms".to_owned()));
        }
        assert_eq!(hung(), Err("too many look-ups for the same caller are under way".to_owned()));
        // More than are scarce, since each is over when its answer is there.
        for number in 0..=TOTAL {
            assert_eq!(lookups.run("another", Duration::from_secs(20), move || number), Ok(number));
        }
        drop(closed);
    }
}
