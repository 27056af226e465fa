//! Text for a terminal: lengths of time, and what others said, without anything that could move the cursor.

use std::fmt;

pub(super) use crate::text::time;

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
    fn what_others_said_cannot_move_the_cursor() {
        assert_eq!(foreign("a\x1b[2Jb\nc\u{9b}d"), "a [2Jb c d");
    }
}
