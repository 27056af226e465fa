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

/// A turn, if it had to be waited for; the next connection of the owner has one when this is dropped.
pub(super) type Turn = Option<OwnedSemaphorePermit>;

impl Turns {
    /// Waits for a turn of `owner`. At once if there is no other, or if another one had the last turn and no connection of
    /// this one waits.
    pub(super) async fn of(&self, owner: Option<Owner>) -> Turn {
        let (queue, again) = self.queue(owner?)?;
        let permit = match Arc::clone(&queue).try_acquire_owned() {
            Ok(permit) if !again => return Some(permit),
            Ok(permit) => permit,
            // Boxed: most connections never come here.
            Err(_) => Box::pin(queue.acquire_owned()).await.ok()?,
        };
        // Behind those that are ready now, also those of which the kernel has not told yet.
        yield_now().await;
        Some(permit)
    }

    /// Whether there are several owners, as far as is known.
    pub(super) fn are_contended(&self) -> bool {
        self.state().contended > 0
    }

    /// Notes a turn of `owner` that was taken without waiting.
    pub(super) fn note(&self, owner: Option<Owner>) {
        let _queue = owner.map(|owner| self.queue(owner));
    }

    /// Where a connection of `owner` has to wait, if it may have to, and whether the last turn was its owner's, too.
    fn queue(&self, owner: Owner) -> Option<(Arc<Semaphore>, bool)> {
        let mut state = self.state();
        let before = state.last.replace(owner);
        let again = before == Some(owner);
        if !again && before.is_some() {
            state.contended = CONTENDED;
        }
        state.contended = state.contended.checked_sub(1)?;
        if state.queues.len() >= MANY && !state.queues.contains_key(&owner) {
            state.queues.retain(|_, queue| Arc::strong_count(queue) > 1);
        }
        let queue = state.queues.entry(owner).or_insert_with(|| Arc::new(Semaphore::new(1)));
        Some((Arc::clone(queue), again))
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
                    let _turn = turns.of(Some(owner)).await;
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

    #[tokio::test]
    async fn without_others_nothing_waits() {
        let turns = Turns::default();
        for _ in 0..1000 {
            assert!(turns.of(Some(MANY_REQUESTS)).await.is_none());
        }
        assert!(turns.of(Some(FEW_REQUESTS)).await.is_some());
    }

    #[tokio::test]
    async fn a_connection_that_ends_while_it_waits_leaves_its_turn_to_the_next() {
        let turns = Arc::new(Turns::default());
        for owner in [FEW_REQUESTS, MANY_REQUESTS] {
            let _turn = turns.of(Some(owner)).await;
        }
        let held = turns.of(Some(MANY_REQUESTS)).await;
        let wait = |turns: Arc<Turns>| tokio::spawn(async move { drop(turns.of(Some(MANY_REQUESTS)).await) });
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
                let _turn = turns.of(Some(owner)).await;
            }
        }
        assert!(turns.0.lock().expect("whole").queues.len() <= MANY);
    }
}
