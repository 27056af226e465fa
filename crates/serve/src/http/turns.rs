//! Whose turn it is: while several owners send requests, the connections of each take turns among themselves, so that the
//! next request of the others waits for one of them and not for all.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::yield_now,
};

use crate::caller::Owner;

/// For how many turns after another owner's it is assumed that there will be more of that one: minutes of a flood, since
/// SDKs come back seldom.
const CONTENDED: u32 = 10_000_000;
/// The number of queues from which on unused ones are forgotten.
const MANY: usize = 64;

/// The turns of all owners.
#[derive(Debug, Default)]
pub(super) struct Turns(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Who had the last turn.
    last: Option<Owner>,
    /// How many further turns are taken with others in mind.
    contended: u32,
    queues: HashMap<Owner, Arc<Semaphore>>,
}

impl State {
    /// Who is not known may be anybody: that says nothing of there being several owners.
    fn taken_by(&mut self, owner: Owner) {
        self.contended = self.contended.saturating_sub(1);
        if owner != Owner::Nobody {
            let before = self.last.replace(owner);
            if before.is_some_and(|before| before != owner) {
                self.contended = CONTENDED;
            }
        }
    }
}

/// A turn, if it had to be waited for; the next connection of the owner has one when this is dropped.
pub(super) type Turn = Option<OwnedSemaphorePermit>;

impl Turns {
    /// Waits for a turn of `owner`. At once if there is no other, or if another one had the last turn and no connection of
    /// this one waits.
    pub(super) async fn of(&self, owner: Owner) -> Turn {
        let queue = self.queue(owner)?;
        let permit = match Arc::clone(&queue).try_acquire_owned() {
            Ok(permit) if self.is_another(owner) => {
                self.note(owner);
                return Some(permit);
            }
            Ok(permit) => permit,
            // Boxed: most connections never come here.
            Err(_) => Box::pin(queue.acquire_owned()).await.ok()?,
        };
        // Behind those that are ready now, also those of which the kernel has not told yet.
        yield_now().await;
        // Only now: others may have had turns since this one was asked for.
        self.note(owner);
        Some(permit)
    }

    /// Whether there are several owners, as far as is known.
    pub(super) fn are_contended(&self) -> bool {
        self.state().contended > 0
    }

    /// Notes that `owner` takes a turn.
    pub(super) fn note(&self, owner: Owner) {
        self.state().taken_by(owner);
    }

    /// Where a connection of `owner` has to wait, if it may have to. If not, it takes its turn.
    fn queue(&self, owner: Owner) -> Option<Arc<Semaphore>> {
        let mut state = self.state();
        if state.contended == 0 {
            state.taken_by(owner);
        }
        if state.contended == 0 {
            return None;
        }
        if state.queues.len() >= MANY && !state.queues.contains_key(&owner) {
            state.queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        let queue = state.queues.entry(owner).or_insert_with(|| Arc::new(Semaphore::new(1)));
        Some(Arc::clone(queue))
    }

    /// Whether the last turn was certainly not one of `owner`.
    fn is_another(&self, owner: Owner) -> bool {
        owner != Owner::Nobody && self.state().last != Some(owner)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing under the lock can panic half-way.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::{cell::RefCell, rc::Rc};

    use tokio::task::LocalSet;

    use super::*;

    const MANY_REQUESTS: Owner = Owner::User(1);
    const FEW_REQUESTS: Owner = Owner::User(2);

    /// Who had the turns, in order: a connection for each of these, which sends ten requests.
    async fn order(turns: Turns, owners: impl IntoIterator<Item = Owner>) -> Vec<Owner> {
        let (turns, order) = (Rc::new(turns), Rc::<RefCell<Vec<_>>>::default());
        let tasks = LocalSet::new();
        for owner in owners {
            let (turns, order) = (Rc::clone(&turns), Rc::clone(&order));
            tasks.spawn_local(async move {
                for _ in 0..10 {
                    let _turn = turns.of(owner).await;
                    order.borrow_mut().push(owner);
                    // For its next request.
                    yield_now().await;
                }
            });
        }
        tasks.await;
        order.take()
    }

    /// How many turns of the other owner are before the last one of the owner with few requests.
    fn before_the_last(order: &[Owner]) -> usize {
        let last = order.iter().rposition(|owner| *owner == FEW_REQUESTS).expect("it had its turns");
        order.iter().take(last).filter(|owner| **owner == MANY_REQUESTS).count()
    }

    #[tokio::test]
    async fn an_owner_with_many_connections_leaves_every_other_turn_to_one_with_few() {
        let order = order(Turns::default(), [MANY_REQUESTS; 64].into_iter().chain([FEW_REQUESTS])).await;
        assert_eq!(order.len(), 650);
        // The first round is over before anything is known of the other one.
        assert!(before_the_last(&order) <= 64 + 2 * 10, "{}", before_the_last(&order));
    }

    #[tokio::test]
    async fn two_owners_with_many_connections_leave_every_third_turn_to_one_with_few() {
        let owners = (0..64).flat_map(|_| [MANY_REQUESTS, Owner::User(3)]);
        let order = order(Turns::default(), owners.chain([FEW_REQUESTS])).await;
        assert!(before_the_last(&order) <= 64 + 3 * 10, "{}", before_the_last(&order));
    }

    /// Its turn if it has one at once.
    async fn at_once(turns: &Turns, owner: Owner) -> Option<Turn> {
        tokio::select! {
            biased;
            turn = turns.of(owner) => Some(turn),
            () = std::future::ready(()) => None,
        }
    }

    #[tokio::test]
    async fn a_turn_that_was_asked_for_long_ago_counts_when_it_is_taken() {
        let turns = Arc::new(Turns::default());
        drop(turns.of(MANY_REQUESTS).await);
        drop(turns.of(FEW_REQUESTS).await);
        let held = turns.of(MANY_REQUESTS).await;
        let queued = Arc::clone(&turns);
        let queued = tokio::spawn(async move { drop(queued.of(MANY_REQUESTS).await) });
        yield_now().await;
        assert!(at_once(&turns, FEW_REQUESTS).await.is_some());
        assert!(at_once(&turns, FEW_REQUESTS).await.is_none(), "it had the last turn");
        drop(held);
        queued.await.expect("it had its turn");
        assert!(at_once(&turns, FEW_REQUESTS).await.is_some(), "the other one had the last turn");
    }

    #[tokio::test]
    async fn callers_who_are_not_known_are_no_other_owner_and_take_nobodys_place() {
        let turns = Turns::default();
        for _ in 0..10 {
            for owner in [Owner::Nobody, MANY_REQUESTS] {
                assert!(turns.of(owner).await.is_none());
            }
        }
        assert!(!turns.are_contended());
        drop(turns.of(FEW_REQUESTS).await);
        assert!(at_once(&turns, Owner::Nobody).await.is_none(), "it may be the one that had the last turn");
        drop(turns.of(Owner::Nobody).await);
        assert!(at_once(&turns, FEW_REQUESTS).await.is_none(), "nobody else is known to have had one");
    }

    #[tokio::test]
    async fn without_others_nothing_waits() {
        let turns = Turns::default();
        for _ in 0..1000 {
            assert!(turns.of(MANY_REQUESTS).await.is_none());
        }
        assert!(turns.of(FEW_REQUESTS).await.is_some());
    }

    #[tokio::test]
    async fn a_connection_that_ends_while_it_waits_leaves_its_turn_to_the_next() {
        let turns = Arc::new(Turns::default());
        for owner in [FEW_REQUESTS, MANY_REQUESTS] {
            let _turn = turns.of(owner).await;
        }
        let held = turns.of(MANY_REQUESTS).await;
        let wait = |turns: Arc<Turns>| tokio::spawn(async move { drop(turns.of(MANY_REQUESTS).await) });
        let (ended, next) = (wait(Arc::clone(&turns)), wait(Arc::clone(&turns)));
        yield_now().await;
        ended.abort();
        drop(held);
        next.await.expect("it had its turn");
    }

    #[tokio::test]
    async fn the_queues_are_bounded() {
        let turns = Turns::default();
        for owner in (0..10_000).map(Owner::User) {
            for _ in 0..2 {
                let _turn = turns.of(owner).await;
            }
        }
        assert!(turns.0.lock().expect("whole").queues.len() <= MANY);
    }
}
