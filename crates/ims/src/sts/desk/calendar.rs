//! Spreads renewals ahead of their time evenly: each is put where few others are. Pure.

use std::{collections::BTreeMap, time::Duration};

use crate::clock::BootTime;

/// The precision.
const SLOT: Duration = Duration::from_secs(15);
/// So much more than in the emptiest slot may be in one that is later, and therefore better.
const UNEVEN: f64 = 1.25;
const UNEVEN_COUNT: f64 = 2.0;

/// How many renewals there are in which part of the time to come.
#[derive(Debug, Default)]
pub(super) struct Calendar(BTreeMap<u64, u32>);

impl Calendar {
    /// Takes a place between two moments, as late as is even. `random` is in 0..1.
    pub(super) fn place(&mut self, earliest: BootTime, latest: BootTime, random: f64) -> BootTime {
        // Only the beginning of the last slot is in the window, and would be crowded.
        let first = slot(earliest);
        let last = slot(latest).saturating_sub(1).max(first);
        let taken = self.0.range(first..=last);
        let all_used = usize::try_from(last - first + 1).is_ok_and(|slots| slots == taken.clone().count());
        let least = if all_used { taken.map(|(_, count)| *count).min().unwrap_or_default() } else { 0 };
        let most = f64::from(least) * UNEVEN + UNEVEN_COUNT;
        let count = |slot: &u64| f64::from(self.0.get(slot).copied().unwrap_or_default());
        let even = (first..=last).rev().find(|slot| count(slot) <= most).unwrap_or(last);
        *self.0.entry(even).or_default() += 1;
        let start = BootTime::from_uptime(SLOT * u32::try_from(even).unwrap_or(u32::MAX));
        let begin = start.max(earliest);
        let end = (start + SLOT.saturating_sub(Duration::from_millis(1))).min(latest).max(begin);
        begin + end.since(begin).mul_f64(random)
    }

    /// Gives a place back.
    pub(super) fn leave(&mut self, at: BootTime) {
        let slot = slot(at);
        match self.0.get_mut(&slot) {
            Some(count) if *count > 1 => *count -= 1,
            _ => drop(self.0.remove(&slot)),
        }
    }
}

fn slot(at: BootTime) -> u64 {
    at.uptime().as_secs() / SLOT.as_secs()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_crowd_is_spread_over_its_window_and_few_come_late() {
        let mut calendar = Calendar::default();
        let at = |seconds: u64| BootTime::from_millis(seconds * 1000);
        let lone = calendar.place(at(1000), at(1600), 0.5);
        assert!(lone >= at(1575), "{lone:?}");
        for _ in 0..40_000 {
            calendar.place(at(1005), at(1604), 0.5);
        }
        let most = calendar.0.values().max().expect("some");
        assert!(calendar.0.len() >= 39 && *most <= 1400, "{} slots, {most} in one", calendar.0.len());
    }

    proptest! {
        #[test]
        fn a_place_is_in_its_window_and_is_given_back(
            windows in proptest::collection::vec((0_u64..5000, 0_u64..2000, 0.0_f64..1.0), 1..50),
        ) {
            let mut calendar = Calendar::default();
            let mut places = Vec::new();
            for (earliest, length, random) in windows {
                let earliest = BootTime::from_millis(earliest * 1000);
                let latest = earliest + Duration::from_secs(length);
                let at = calendar.place(earliest, latest, random);
                prop_assert!((earliest..=latest).contains(&at));
                places.push(at);
            }
            for at in places {
                calendar.leave(at);
            }
            prop_assert!(calendar.0.is_empty());
        }
    }
}
