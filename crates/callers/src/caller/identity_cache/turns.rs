//! The queue of look-ups: owners take turns, and few look-ups are open at a time.

use std::{
    collections::{BTreeMap, HashMap, VecDeque},
    hash::Hash,
    sync::Arc,
};

use crate::caller::budget::{Bounds, Rank, Share, Shares};

/// The number of look-ups that are open at a time, in total and of one owner. Others are retried when one is done.
const OPEN: Bounds = Bounds { total: 4096, reserved: 0, each: 64, scarce: 0 };

/// Look-ups by their keys.
#[derive(Debug)]
pub(super) struct Turns<K> {
    waiting: BTreeMap<u32, VecDeque<K>>,
    /// Whose turn was the last.
    last: u32,
    /// Those that wait or are under way.
    open: HashMap<K, Share<u32>>,
    shares: Arc<Shares<u32>>,
}

impl<K> Default for Turns<K> {
    fn default() -> Self {
        Self { waiting: BTreeMap::new(), last: 0, open: HashMap::new(), shares: Shares::new(OPEN) }
    }
}

impl<K: Copy + Eq + Hash> Turns<K> {
    /// Adds a look-up of `owner`. Whether that is news: it is open already, or there is no room for it now.
    pub(super) fn push(&mut self, owner: u32, key: K) -> bool {
        if self.open.contains_key(&key) {
            return false;
        }
        let Some(share) = self.shares.take(&owner, Rank::Ordinary) else { return false };
        self.open.insert(key, share);
        self.waiting.entry(owner).or_default().push_back(key);
        true
    }

    /// Begins the next look-up. It stays open until it is [`done`](Self::done).
    pub(super) fn pop(&mut self) -> Option<K> {
        let after = self.waiting.range(self.last.saturating_add(1)..).next();
        let owner = *after.or_else(|| self.waiting.iter().next())?.0;
        let own = self.waiting.get_mut(&owner)?;
        let key = own.pop_front();
        if own.is_empty() {
            self.waiting.remove(&owner);
        }
        self.last = owner;
        key
    }

    /// A look-up is not open any more.
    pub(super) fn done(&mut self, key: &K) {
        self.open.remove(key);
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.waiting.values().map(VecDeque::len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_owner_has_a_turn_however_much_another_wants() {
        let mut turns = Turns::default();
        let accepted = (0..1000).filter(|key| turns.push(7, *key)).count();
        assert_eq!(accepted, OPEN.each);
        assert!(turns.push(5, 2000) && turns.push(9, 3000) && turns.push(0, 4000));
        assert!(!turns.push(5, 2000), "it is open already");
        assert_eq!(turns.waiting(), OPEN.each + 3);
        let order: Vec<i32> = std::iter::from_fn(|| turns.pop()).take(6).collect();
        assert_eq!(order, [2000, 0, 3000, 4000, 1, 2]);
        // What is under way is open, too.
        assert!(!turns.push(7, 999));
        turns.done(&0);
        assert!(turns.push(7, 999) && !turns.push(7, 998));
        turns.done(&123_456);
        while turns.pop().is_some() {}
        assert_eq!(turns.waiting(), 0);
    }

    #[test]
    fn all_owners_together_have_a_bound() {
        let mut turns = Turns::default();
        let accepted = (0..100_000_u32).filter(|key| turns.push(*key, *key)).count();
        assert_eq!(accepted, OPEN.total);
    }
}
