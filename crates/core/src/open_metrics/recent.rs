//! How often what happened in the last hours, in pieces of time. Pure.

use std::{collections::VecDeque, time::Duration};

use jiff::Timestamp;

/// How often each of `N` things happened in the last six hours. Bounded, however often that is.
#[derive(Debug, Clone)]
pub struct Recent<const N: usize> {
    /// The number of each piece of time, and what was counted in it.
    pieces: VecDeque<(i64, [u32; N])>,
}

impl<const N: usize> Default for Recent<N> {
    fn default() -> Self {
        Self { pieces: VecDeque::new() }
    }
}

impl<const N: usize> Recent<N> {
    /// So much time is counted as one.
    pub const EVERY: Duration = Duration::from_mins(10);
    /// How far back it goes, in these.
    const PIECES: usize = 37;

    /// The thing with that number has happened.
    pub fn count(&mut self, at: Timestamp, thing: usize) {
        let number = piece(at);
        // A clock that was set back counts where it was.
        if self.pieces.back().is_none_or(|(last, _)| *last < number) {
            if self.pieces.len() >= Self::PIECES {
                self.pieces.pop_front();
            }
            self.pieces.push_back((number, [0; N]));
        }
        if let Some(count) = self.pieces.back_mut().and_then(|(_, counts)| counts.get_mut(thing)) {
            *count = count.saturating_add(1);
        }
    }

    /// When each piece of the last hours began, and what was counted in it, the oldest first.
    pub fn pieces(&self, now: Timestamp) -> Vec<(Timestamp, [u64; N])> {
        let first = piece(now) - i64::try_from(Self::PIECES).unwrap_or(i64::MAX) + 1;
        let recent = self.pieces.iter().filter(|(number, _)| *number >= first);
        recent.map(|(number, counts)| (beginning(*number), counts.map(u64::from))).collect()
    }
}

const SECONDS: i64 = 600;

/// The number of the piece of time in which a moment is.
fn piece(at: Timestamp) -> i64 {
    at.as_second().div_euclid(SECONDS)
}

fn beginning(number: i64) -> Timestamp {
    Timestamp::from_second(number.saturating_mul(SECONDS)).unwrap_or(Timestamp::UNIX_EPOCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_795_428_000 + second).expect("in range")
    }

    #[test]
    fn things_are_counted_in_pieces_of_time_and_the_old_ones_are_forgotten() {
        let mut recent = Recent::<2>::default();
        for second in [0, 599, 600, 601] {
            recent.count(at(second), 1);
        }
        assert_eq!(recent.pieces(at(700)), [(at(0), [0, 2]), (at(600), [0, 2])]);
        assert_eq!(recent.pieces(at(700 + 6 * 3600)), [(at(600), [0, 2])]);
        for piece in 0..1000 {
            recent.count(at(piece * 600), 0);
        }
        assert_eq!(recent.pieces.len(), Recent::<2>::PIECES);
        recent.count(at(0), 0);
        assert_eq!(recent.pieces.len(), Recent::<2>::PIECES, "a clock that was set back adds nothing");
        recent.count(at(0), 2);
        assert_eq!(Recent::<2>::EVERY.as_secs(), SECONDS.unsigned_abs());
    }
}
