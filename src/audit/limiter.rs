//! How often the log tells of the same: a caller who is denied and asks again and again fills no disk.

use std::{collections::HashMap, hash::Hash, time::Duration};

/// How long the same is not told again.
const PAUSE: Duration = Duration::from_mins(1);
/// So many callers are remembered. Beyond that nobody is told who is not remembered, until there is room again.
const MAX_REMEMBERED: usize = 1024;

/// Counts what is not told.
#[derive(Debug)]
pub(super) struct Limiter<K> {
    told: HashMap<K, (Duration, u64)>,
    /// What was not told of those who are not remembered.
    others: u64,
}

impl<K> Default for Limiter<K> {
    fn default() -> Self {
        Self { told: HashMap::new(), others: 0 }
    }
}

impl<K: Hash + Eq> Limiter<K> {
    /// Whether something about `key` is to be told `now` (boot clock), and how much was not told since the last time.
    pub(super) fn tell(&mut self, key: K, now: Duration) -> Option<u64> {
        if self.told.len() >= MAX_REMEMBERED && !self.told.contains_key(&key) {
            self.told.retain(|_, (told, _)| now.saturating_sub(*told) < PAUSE);
            if self.told.len() >= MAX_REMEMBERED {
                self.others += 1;
                return None;
            }
        }
        match self.told.get_mut(&key) {
            Some((told, untold)) if now.saturating_sub(*told) < PAUSE => {
                *untold += 1;
                None
            }
            known => {
                let untold = known.map_or(0, |(_, untold)| *untold);
                self.told.insert(key, (now, 0));
                Some(untold + std::mem::take(&mut self.others))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_is_told_once_a_minute_with_how_often_it_happened() {
        let mut limiter = Limiter::default();
        let at = Duration::from_secs;
        assert_eq!(limiter.tell(1, at(10)), Some(0));
        assert_eq!(limiter.tell(2, at(10)), Some(0));
        for second in 10..70 {
            assert_eq!(limiter.tell(1, at(second)), None);
        }
        assert_eq!(limiter.tell(1, at(70)), Some(60));
    }

    #[test]
    fn a_flood_of_different_callers_is_bounded_and_counted() {
        let mut limiter = Limiter::default();
        let told = (0..5000).filter(|key| limiter.tell(*key, Duration::ZERO).is_some()).count();
        assert_eq!((told, limiter.told.len()), (MAX_REMEMBERED, MAX_REMEMBERED));
        assert_eq!(limiter.tell(9999, PAUSE), Some(5000 - MAX_REMEMBERED as u64));
    }
}
