//! Text for a terminal: lengths of time, and what others said, without anything that could move the cursor.

use std::fmt;

/// A length of time in its two largest units: `5s`, `12m`, `3h 5m`, `2d 1h`.
pub(super) fn time(seconds: u64) -> String {
    let (first, second) = match seconds {
        0..60 => return format!("{seconds}s"),
        60..3600 => return format!("{}m", seconds / 60),
        3600..86_400 => ((seconds / 3600, 'h'), (seconds % 3600 / 60, 'm')),
        _ => ((seconds / 86_400, 'd'), (seconds % 86_400 / 3600, 'h')),
    };
    match second.0 {
        0 => format!("{}{}", first.0, first.1),
        _ => format!("{}{} {}{}", first.0, first.1, second.0, second.1),
    }
}

/// What somebody else said, on one line.
pub(super) fn foreign(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

/// Colours, which reach only a terminal whose user has not set `NO_COLOR`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    Green,
    Yellow,
    Red,
    Dim,
}

/// The colour of the state of a role.
pub(super) fn state_colour(state: &str) -> Colour {
    match state {
        "fresh" | "refreshing" => Colour::Green,
        "idle" => Colour::Dim,
        "warming" | "stale" => Colour::Yellow,
        _ => Colour::Red,
    }
}

/// A text in a colour.
#[derive(Debug)]
pub(super) struct Coloured<T>(pub(super) Colour, pub(super) T);

impl<T: fmt::Display> fmt::Display for Coloured<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = match self.0 {
            Colour::Green => 32,
            Colour::Yellow => 33,
            Colour::Red => 31,
            Colour::Dim => 2,
        };
        write!(f, "\x1b[{code}m{}\x1b[0m", self.1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_has_at_most_two_units() {
        for (seconds, text) in [
            (0, "0s"),
            (59, "59s"),
            (60, "1m"),
            (3599, "59m"),
            (3600, "1h"),
            (7500, "2h 5m"),
            (86_400, "1d"),
            (180_000, "2d 2h"),
        ] {
            assert_eq!(time(seconds), text);
        }
    }

    #[test]
    fn what_others_said_cannot_move_the_cursor() {
        assert_eq!(foreign("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
    }
}
