//! A budget for each owner, so that one of them cannot use up what all need: [`Shares`] of what there is only so much of
//! (connections, seats, tokens), and an [`Allowance`] for what may happen only so often (lines of a log). Both are bounded
//! in memory, and neither reads a clock.
//!
//! An owner is whatever identifies a party: an [`Owner`](super::Owner), a uid, an address, a container's id.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use crate::clock::BootTime;

/// How much there is, and how much of it one owner may hold.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// All shares.
    pub total: usize,
    /// How many of them are reserved for privileged owners.
    pub reserved: usize,
    /// What one owner may hold as soon as `scarce` shares or more are taken.
    pub each: usize,
    /// The number of taken shares from which on `each` applies; 0: always.
    pub scarce: usize,
}

/// Which of the shares an owner may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rank {
    /// All but those that are reserved.
    Ordinary,
    /// All.
    Privileged,
}

/// What there is only so much of.
#[derive(Debug)]
pub struct Shares<O> {
    bounds: Bounds,
    held: Mutex<HashMap<O, usize>>,
}

/// One share. It is free again when this is dropped.
#[derive(Debug)]
#[must_use]
pub struct Share<O: Eq + Hash> {
    shares: Arc<Shares<O>>,
    owner: O,
}

impl<O: Clone + Eq + Hash> Shares<O> {
    /// All shares are free.
    pub fn new(bounds: Bounds) -> Arc<Self> {
        Arc::new(Self { bounds, held: Mutex::default() })
    }

    /// A share for `owner`, if there is one for it.
    pub fn take(self: &Arc<Self>, owner: &O, rank: Rank) -> Option<Share<O>> {
        let mut held = self.held();
        let taken: usize = held.values().sum();
        let own = held.get(owner).copied().unwrap_or_default();
        let Bounds { total, reserved, each, scarce } = self.bounds;
        let total = if rank == Rank::Privileged { total } else { total.saturating_sub(reserved) };
        if taken >= total || (taken >= scarce && own >= each) {
            return None;
        }
        Some(self.grant(&mut held, owner))
    }

    /// A share for what `owner` has already, whatever the bounds say.
    pub fn note(self: &Arc<Self>, owner: &O) -> Share<O> {
        self.grant(&mut self.held(), owner)
    }

    fn grant(self: &Arc<Self>, held: &mut HashMap<O, usize>, owner: &O) -> Share<O> {
        *held.entry(owner.clone()).or_default() += 1;
        Share { shares: Arc::clone(self), owner: owner.clone() }
    }
}

impl<O: Eq + Hash> Shares<O> {
    /// How many `owner` holds.
    pub fn held_by(&self, owner: &O) -> usize {
        self.held().get(owner).copied().unwrap_or_default()
    }

    /// How many are taken.
    pub fn taken(&self) -> usize {
        self.held().values().sum()
    }

    fn held(&self) -> MutexGuard<'_, HashMap<O, usize>> {
        // Nothing under the lock can panic half-way.
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<O: Eq + Hash> Share<O> {
    /// Whose it is.
    pub fn owner(&self) -> &O {
        &self.owner
    }
}

impl<O: Eq + Hash> Drop for Share<O> {
    fn drop(&mut self) {
        let mut held = self.shares.held();
        match held.get_mut(&self.owner) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(held.remove(&self.owner)),
        }
    }
}

/// The number of owners that an [`Allowance`] tracks. Others get nothing until one of these has a full bucket again.
pub const MAX_OWNERS: usize = 1024;

/// How often something may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    /// How many may be spent in a burst.
    pub burst: u32,
    /// Once more after each of these.
    pub every: Duration,
}

/// What may happen only so often for each owner: a token bucket each, and a count of what was withheld.
#[derive(Debug)]
pub struct Allowance<O> {
    rate: Rate,
    known: HashMap<O, Bucket>,
    /// What was withheld from owners that are not remembered.
    others: u64,
}

#[derive(Debug, Clone, Copy)]
struct Bucket {
    /// When the bucket is full again.
    full: BootTime,
    withheld: u64,
}

impl<O: Eq + Hash> Allowance<O> {
    /// All buckets are full.
    pub fn new(rate: Rate) -> Self {
        Self { rate, known: HashMap::new(), others: 0 }
    }

    /// Whether it may happen for `owner` now. If so: how often it was withheld since the last time that it might, counting
    /// also what was withheld from owners that are not remembered.
    pub fn spend(&mut self, owner: O, now: BootTime) -> Option<u64> {
        if !self.known.contains_key(&owner) && !self.has_room(now) {
            self.others += 1;
            return None;
        }
        let Rate { burst, every } = self.rate;
        let ahead = every * burst.saturating_sub(1);
        let bucket = self.known.entry(owner).or_insert(Bucket { full: now, withheld: 0 });
        if bucket.full > now + ahead {
            bucket.withheld += 1;
            return None;
        }
        bucket.full = bucket.full.max(now) + every;
        Some(std::mem::take(&mut bucket.withheld) + std::mem::take(&mut self.others))
    }

    /// Whether it might happen for `owner` now. Nothing is spent, and nothing counts as withheld.
    pub fn has(&mut self, owner: &O, now: BootTime) -> bool {
        let ahead = self.rate.every * self.rate.burst.saturating_sub(1);
        match self.known.get(owner) {
            Some(bucket) => bucket.full <= now + ahead,
            None => self.has_room(now),
        }
    }

    /// Forgets owners with a full bucket, if there is need for room.
    fn has_room(&mut self, now: BootTime) -> bool {
        if self.known.len() >= MAX_OWNERS {
            let others = &mut self.others;
            self.known.retain(|_, bucket| {
                let used = bucket.full > now;
                if !used {
                    *others += bucket.withheld;
                }
                used
            });
        }
        self.known.len() < MAX_OWNERS
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const BOUNDS: Bounds = Bounds { total: 12, reserved: 3, each: 4, scarce: 6 };

    fn at(second: u64) -> BootTime {
        BootTime::from_millis(second * 1000)
    }

    #[test]
    fn one_owner_may_have_much_while_there_is_much_and_its_share_when_it_is_scarce() {
        let shares = Shares::new(BOUNDS);
        let first: Vec<_> = std::iter::from_fn(|| shares.take(&1, Rank::Ordinary)).collect();
        assert_eq!(first.len(), BOUNDS.scarce);
        let others: Vec<_> = (2..99).map_while(|owner| shares.take(&owner, Rank::Ordinary)).collect();
        assert_eq!(shares.taken(), BOUNDS.total - BOUNDS.reserved);
        let reserve: Vec<_> = std::iter::from_fn(|| shares.take(&0, Rank::Privileged)).collect();
        assert_eq!((reserve.len(), shares.taken()), (BOUNDS.reserved, BOUNDS.total));
        assert_eq!(shares.held_by(reserve[0].owner()), BOUNDS.reserved);
        drop((first, others, reserve));
        assert!(shares.held().is_empty());
    }

    #[test]
    fn what_is_withheld_is_counted_and_told_with_the_next() {
        let mut allowance = Allowance::new(Rate { burst: 1, every: Duration::from_mins(1) });
        assert_eq!(allowance.spend(1, at(10)), Some(0));
        assert_eq!(allowance.spend(2, at(10)), Some(0));
        for second in 10..70 {
            assert_eq!(allowance.spend(1, at(second)), None);
        }
        assert_eq!(allowance.spend(1, at(70)), Some(60));
    }

    #[test]
    fn a_flood_of_different_owners_is_bounded_and_counted() {
        let mut allowance = Allowance::new(Rate { burst: 3, every: Duration::from_secs(1) });
        let granted = (0..5000).filter(|owner| allowance.spend(*owner, BootTime::ZERO).is_some()).count();
        assert!(allowance.has(&0, BootTime::ZERO) && !allowance.has(&9999, BootTime::ZERO));
        assert_eq!((granted, allowance.known.len()), (MAX_OWNERS, MAX_OWNERS));
        // A known owner keeps its own bucket.
        assert_eq!(allowance.spend(0, BootTime::ZERO), Some(5000 - MAX_OWNERS as u64));
        assert_eq!(allowance.spend(0, BootTime::ZERO), Some(0));
        assert_eq!(allowance.spend(0, BootTime::ZERO), None);
        assert_eq!(allowance.spend(9999, at(1)), Some(0));
        // What was withheld from an owner that is forgotten is not forgotten.
        assert_eq!(allowance.spend(9999, at(9)), Some(0));
        let granted = (10_000..20_000).filter(|owner| allowance.spend(*owner, at(9)).is_some()).count();
        assert_eq!(granted, MAX_OWNERS - 1);
        assert!(allowance.known.len() <= MAX_OWNERS);
    }

    /// A bucket, filled up by the second.
    #[derive(Clone)]
    struct Slow {
        left: u32,
        since: u64,
        withheld: u64,
    }

    proptest! {
        #[test]
        fn shares_are_as_a_list_of_all_that_is_held(steps in proptest::collection::vec((0..6_u8, 0..5_u32), 0..200)) {
            let shares = Shares::new(BOUNDS);
            let mut list: Vec<Share<u32>> = Vec::new();
            for (step, owner) in steps {
                let own = list.iter().filter(|share| share.owner == owner).count();
                let fair = list.len() < BOUNDS.scarce || own < BOUNDS.each;
                match step {
                    0..=2 => {
                        let expected = list.len() < BOUNDS.total - BOUNDS.reserved && fair;
                        let share = shares.take(&owner, Rank::Ordinary);
                        prop_assert_eq!(share.is_some(), expected);
                        list.extend(share);
                    }
                    3 => {
                        let share = shares.take(&owner, Rank::Privileged);
                        prop_assert_eq!(share.is_some(), list.len() < BOUNDS.total && fair);
                        list.extend(share);
                    }
                    4 => list.push(shares.note(&owner)),
                    _ => {
                        if let Some(position) = list.iter().position(|share| share.owner == owner) {
                            drop(list.swap_remove(position));
                        }
                    }
                }
                let own = list.iter().filter(|share| share.owner == owner).count();
                prop_assert_eq!((shares.taken(), shares.held_by(&owner)), (list.len(), own));
            }
        }

        #[test]
        fn an_allowance_is_as_buckets_that_are_filled_up_second_by_second(
            burst in 1..5_u32,
            steps in proptest::collection::vec((0..3_u64, 0..4_usize), 0..300),
        ) {
            let mut allowance = Allowance::new(Rate { burst, every: Duration::from_secs(2) });
            let mut slow = vec![Slow { left: burst, since: 0, withheld: 0 }; 4];
            let mut now = 0;
            for (later, owner) in steps {
                for _ in 0..later {
                    now += 1;
                    for bucket in &mut slow {
                        if bucket.left < burst && now == bucket.since + 2 {
                            *bucket = Slow { left: bucket.left + 1, since: now, ..*bucket };
                        }
                    }
                }
                let bucket = &mut slow[owner];
                let expected = if bucket.left > 0 {
                    if bucket.left == burst {
                        bucket.since = now;
                    }
                    bucket.left -= 1;
                    Some(std::mem::take(&mut bucket.withheld))
                } else {
                    bucket.withheld += 1;
                    None
                };
                prop_assert_eq!(allowance.has(&owner, at(now)), expected.is_some());
                prop_assert_eq!(allowance.spend(owner, at(now)), expected);
            }
        }
    }
}
