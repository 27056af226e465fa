//! The calls that wait for their turn: by urgency, and fair between the callers for whom they are. Pure.

use std::{
    collections::{HashMap, VecDeque},
    hash::Hash,
};

/// How urgent a call is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Urgency {
    /// A client has nothing that it could use.
    Bare,
    /// A client has something older.
    Stale,
    /// No client waits.
    Ahead,
}

const URGENCIES: [Urgency; 3] = [Urgency::Bare, Urgency::Stale, Urgency::Ahead];

/// The calls of one urgency: each caller's own, and the callers in turn.
#[derive(Debug)]
struct Line<O, T> {
    turns: VecDeque<O>,
    calls: HashMap<O, VecDeque<T>>,
    length: usize,
}

impl<O: Clone + Eq + Hash, T> Line<O, T> {
    fn new() -> Self {
        Self { turns: VecDeque::new(), calls: HashMap::new(), length: 0 }
    }

    fn push(&mut self, owner: &O, item: T) {
        let calls = self.calls.entry(owner.clone()).or_default();
        if calls.is_empty() {
            self.turns.push_back(owner.clone());
        }
        calls.push_back(item);
        self.length += 1;
    }

    fn pop(&mut self) -> Option<T> {
        let owner = self.turns.pop_front()?;
        let calls = self.calls.get_mut(&owner)?;
        let item = calls.pop_front();
        if calls.is_empty() {
            self.calls.remove(&owner);
        } else {
            self.turns.push_back(owner);
        }
        self.length -= usize::from(item.is_some());
        item
    }

    fn of(&self, owner: &O) -> usize {
        self.calls.get(owner).map_or(0, VecDeque::len)
    }

    /// How many come before one more of `owner`: in each round the others have one turn each.
    fn before(&self, owner: &O) -> usize {
        self.turns.len().saturating_mul(self.of(owner) + 1).min(self.length)
    }
}

/// All lines.
#[derive(Debug)]
pub(super) struct Queue<O, T> {
    lines: [Line<O, T>; 3],
}

impl<O: Clone + Eq + Hash, T> Queue<O, T> {
    pub(super) fn new() -> Self {
        Self { lines: [Line::new(), Line::new(), Line::new()] }
    }

    pub(super) fn push(&mut self, urgency: Urgency, owner: &O, item: T) {
        self.lines[urgency as usize].push(owner, item);
    }

    /// The next, and how urgent it is; none that is less urgent than `least`.
    pub(super) fn pop(&mut self, least: Urgency) -> Option<(Urgency, T)> {
        URGENCIES
            .into_iter()
            .filter(|urgency| *urgency <= least)
            .find_map(|urgency| Some((urgency, self.lines[urgency as usize].pop()?)))
    }

    /// How many calls wait.
    pub(super) fn len(&self) -> usize {
        self.lines.iter().map(|line| line.length).sum()
    }

    /// The most urgent that there is.
    pub(super) fn first(&self) -> Option<Urgency> {
        URGENCIES.into_iter().find(|urgency| self.lines[*urgency as usize].length > 0)
    }

    /// How many calls of `owner` wait.
    pub(super) fn of(&self, owner: &O) -> usize {
        self.lines.iter().map(|line| line.of(owner)).sum()
    }

    /// How many calls come before one more of `owner`.
    pub(super) fn before(&self, urgency: Urgency, owner: &O) -> usize {
        let more_urgent = URGENCIES.into_iter().filter(|other| *other < urgency);
        let line = &self.lines[urgency as usize];
        line.before(owner) + more_urgent.map(|other| self.lines[other as usize].length).sum::<usize>()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_caller_with_many_does_not_keep_others_waiting() {
        let mut queue = Queue::new();
        (0..1000).for_each(|item| queue.push(Urgency::Bare, &"many", item));
        assert_eq!(queue.before(Urgency::Bare, &"one"), 1);
        queue.push(Urgency::Bare, &"one", 5000);
        queue.push(Urgency::Ahead, &"zero", 6000);
        let order: Vec<_> = std::iter::from_fn(|| queue.pop(Urgency::Ahead)).map(|(_, item)| item).collect();
        assert_eq!((order[1], order.last()), (5000, Some(&6000)));
        assert_eq!((order.len(), queue.len(), queue.first()), (1002, 0, None));
    }

    proptest! {
        /// While a caller waits, none other gets two turns more than it.
        #[test]
        fn turns_are_even(items in proptest::collection::vec((0..3_usize, 0..5_u8), 1..200)) {
            let mut queue = Queue::new();
            for (urgency, owner) in &items {
                queue.push(URGENCIES[*urgency], owner, *owner);
            }
            let mut last = Urgency::Bare;
            let mut turns = [0_usize; 5];
            let waiting = |urgency, owner: u8| items.iter().filter(|(u, o)| URGENCIES[*u] == urgency && *o == owner).count();
            let mut popped = 0;
            while let Some((urgency, owner)) = queue.pop(Urgency::Ahead) {
                prop_assert!(urgency >= last);
                if urgency != last {
                    turns = [0; 5];
                }
                last = urgency;
                popped += 1;
                turns[usize::from(owner)] += 1;
                for other in 0..5 {
                    let had = turns[usize::from(other)];
                    prop_assert!(had + 1 >= turns[usize::from(owner)] || had == waiting(urgency, other));
                }
            }
            prop_assert_eq!(popped, items.len());
        }
    }
}
