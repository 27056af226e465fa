//! Which connections have to make room for others: always those of the owner that has most. Pure.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    hash::Hash,
};

/// A connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Member<O> {
    pub(super) id: u64,
    pub(super) owner: O,
    /// When it was last of use.
    pub(super) useful: u64,
    /// Whether a request is being answered: it counts, but is never chosen.
    pub(super) busy: bool,
}

/// Chooses up to `count` of them, one after the other: of the owner that has most of what is left, the one that has been
/// of no use for the longest time. Between owners with equal numbers, the same decides.
pub(super) fn choose<O: Copy + Eq + Hash>(members: impl IntoIterator<Item = Member<O>>, count: usize) -> Vec<u64> {
    let mut owners: HashMap<O, (usize, Vec<(u64, u64)>)> = HashMap::new();
    for Member { id, owner, useful, busy } in members {
        let (all, idle) = owners.entry(owner).or_default();
        *all += 1;
        if !busy {
            idle.push((useful, id));
        }
    }
    let mut heap: BinaryHeap<_> = owners
        .into_values()
        .filter_map(|(all, mut idle)| {
            // The one to go first is last.
            idle.sort_unstable_by_key(|entry| Reverse(*entry));
            let next = idle.pop()?;
            Some((all, Reverse(next), idle))
        })
        .collect();
    let mut chosen = Vec::new();
    while chosen.len() < count
        && let Some((all, Reverse((_, id)), mut idle)) = heap.pop()
    {
        chosen.push(id);
        if let Some(next) = idle.pop() {
            heap.push((all - 1, Reverse(next), idle));
        }
    }
    chosen
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn member(id: u64, owner: u8, useful: u64) -> Member<u8> {
        Member { id, owner, useful, busy: false }
    }

    #[test]
    fn who_has_most_makes_room_and_nothing_that_is_being_answered() {
        let mut members = vec![member(1, 1, 1), member(2, 1, 2), member(3, 9, 5), member(4, 9, 4), member(5, 9, 3)];
        assert_eq!(choose(members.clone(), 1), [5], "owner 9 has three");
        assert_eq!(choose(members.clone(), 4), [5, 1, 4, 2], "then both have as many");
        members[4].busy = true;
        assert_eq!(choose(members.clone(), 9), [4, 1, 3, 2]);
        for member in &mut members {
            member.busy = true;
        }
        assert!(choose(members, 9).is_empty());
    }

    proptest! {
        #[test]
        fn it_is_as_looking_at_all_for_each(
            members in proptest::collection::vec((0..4_u8, 0..9_u64, any::<bool>()), 0..40),
            count in 0..50_usize,
        ) {
            let all: Vec<_> =
                (0_u64..).zip(members).map(|(id, (owner, useful, busy))| Member { id, owner, useful, busy }).collect();
            let mut left = all.clone();
            let mut expected = Vec::new();
            for _ in 0..count {
                let has = |owner: u8| left.iter().filter(|member| member.owner == owner).count();
                let idle = left.iter().filter(|member| !member.busy);
                let worst = idle.max_by_key(|member| (has(member.owner), Reverse((member.useful, member.id))));
                let Some(worst) = worst.map(|member| member.id) else { break };
                expected.push(worst);
                left.retain(|member| member.id != worst);
            }
            prop_assert_eq!(choose(all, count), expected);
        }
    }
}
