//! What is on the page, without how it looks. Every text may be foreign.

use std::time::Duration;

use jiff::Timestamp;

use crate::{clock::until, columns::Columns, timeline::Timeline};

/// The page.
#[derive(Debug, Clone)]
pub struct View {
    /// Which program it is about.
    pub program: &'static str,
    /// On which host.
    pub host: String,
    /// When it was made.
    pub at: Timestamp,
    /// How it is, in one sentence.
    pub verdict: (Tone, String),
    /// What a person should know first.
    pub notices: Vec<(Tone, String)>,
    /// A few numbers.
    pub figures: Vec<Figure>,
    /// The rest.
    pub sections: Vec<Section>,
}

/// Whether something is as it should be. It is shown by a sign as well as by a colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Tone {
    /// It is.
    Good,
    /// It neither is nor is not.
    Quiet,
    /// Not quite.
    Warning,
    /// It is not.
    Bad,
}

/// A number, or a few words, with a label.
#[derive(Debug, Clone)]
pub struct Figure {
    /// What it is.
    pub label: &'static str,
    /// How much.
    pub value: String,
    /// What more there is to say.
    pub note: String,
}

/// A part of the page with a heading.
#[derive(Debug, Clone)]
pub struct Section {
    /// Its name in addresses.
    pub id: &'static str,
    /// The heading.
    pub title: &'static str,
    /// What follows it.
    pub parts: Vec<Part>,
}

/// A part of a section.
#[derive(Debug, Clone)]
pub enum Part {
    /// A sentence.
    Text(String),
    /// When what was.
    Timeline(Timeline),
    /// How often what happened.
    Columns(Columns),
    /// A table.
    Table(Table),
    /// Labels with what they say.
    Facts(Vec<(&'static str, String)>),
}

/// A table. The first cell of each row names it.
#[derive(Debug, Clone)]
pub struct Table {
    /// What is in it.
    pub caption: &'static str,
    /// Its columns.
    pub columns: Vec<Column>,
    /// Its rows.
    pub rows: Vec<Vec<Cell>>,
}

/// The heading of a column.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    /// Of words.
    Words(&'static str),
    /// Of numbers.
    Numbers(&'static str),
}

/// A cell of a table.
#[derive(Debug, Clone, Default)]
pub struct Cell {
    /// What it says.
    pub text: String,
    /// Whether that is as it should be, if it is about that.
    pub tone: Option<Tone>,
    /// Which part it is of the greatest in its column.
    pub share: Option<f64>,
    /// What more there is to say.
    pub note: String,
}

impl Cell {
    /// A cell with this text.
    pub fn new(text: impl Into<String>) -> Self {
        Self { text: text.into(), ..Self::default() }
    }

    /// A state.
    pub fn state(tone: Tone, text: impl Into<String>) -> Self {
        Self { tone: Some(tone), ..Self::new(text) }
    }

    /// A number, and the greatest in its column.
    pub fn count(count: u64, most: u64) -> Self {
        #[allow(clippy::cast_precision_loss, reason = "it becomes the length of a bar")]
        let share = count as f64 / most.max(1) as f64;
        Self { share: Some(share), ..Self::number(count) }
    }

    /// A number.
    pub fn number(number: u64) -> Self {
        Self::new(grouped(number))
    }

    /// A time, and how far it is from `now`.
    pub fn time(time: Timestamp, now: Timestamp) -> Self {
        Self::new(clock_time(time, now)).with_note(distance(time, now))
    }

    /// The same, with more to say.
    #[must_use]
    pub fn with_note(self, note: impl Into<String>) -> Self {
        Self { note: note.into(), ..self }
    }

    /// The same, with more to say than it does.
    #[must_use]
    pub fn and_note(self, note: &str) -> Self {
        let separator = if self.note.is_empty() || note.is_empty() { "" } else { ", " };
        Self { note: [&self.note, separator, note].concat(), ..self }
    }
}

/// A number with a space between its thousands.
pub fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push('\u{202f}');
        }
        text.push(digit);
    }
    text
}

/// A time of the day, with the date if it is not within a day of `now`; in UTC, as everywhere.
pub fn clock_time(time: Timestamp, now: Timestamp) -> String {
    let near = until(time, now).max(until(now, time)) < Duration::from_hours(20);
    time.strftime(if near { "%H:%M" } else { "%Y-%m-%d %H:%M" }).to_string()
}

/// A time, and how far it is from `now`.
pub fn moment(time: Timestamp, now: Timestamp) -> String {
    format!("{} ({})", clock_time(time, now), distance(time, now))
}

fn distance(time: Timestamp, now: Timestamp) -> String {
    let (ahead, ago) = (until(time, now), until(now, time));
    if ahead.is_zero() { format!("{} ago", duration(ago)) } else { format!("in {}", duration(ahead)) }
}

/// A time that passes, in its two greatest units.
pub fn duration(span: Duration) -> String {
    let seconds = span.as_secs();
    let (days, hours, minutes) = (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60);
    match (days, hours, minutes) {
        (0, 0, 0) if span < Duration::from_secs(1) => format!("{} ms", span.as_millis()),
        (0, 0, 0) => format!("{seconds} s"),
        (0, 0, minutes) => format!("{minutes} min"),
        (0, hours, 0) => format!("{hours} h"),
        (0, hours, minutes) => format!("{hours} h {minutes} min"),
        (days, 0, _) => format!("{days} d"),
        (days, hours, _) => format!("{days} d {hours} h"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_and_numbers_are_short() {
        let now: Timestamp = "2026-11-27T16:00:00Z".parse().expect("a time");
        for (time, text) in [
            ("2026-11-27T16:40:10Z", "16:40 (in 40 min)"),
            ("2026-11-27T14:55:00Z", "14:55 (1 h 5 min ago)"),
            ("2026-11-25T14:55:00Z", "2026-11-25 14:55 (2 d 1 h ago)"),
            ("2026-11-27T16:00:00Z", "16:00 (0 ms ago)"),
        ] {
            assert_eq!(moment(time.parse().expect("a time"), now), text);
        }
        assert_eq!([7, 1234, 1_234_567].map(grouped), ["7", "1\u{202f}234", "1\u{202f}234\u{202f}567"]);
        assert_eq!(duration(Duration::from_secs(59)), "59 s");
    }
}
