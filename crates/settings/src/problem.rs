//! What is wrong with a configuration, and where: file, line, column, the line itself.

use std::{fmt, path::PathBuf, sync::Arc};

/// A file's name and text.
#[derive(PartialEq, Eq)]
pub struct Source {
    /// Its name.
    pub name: PathBuf,
    /// Its text.
    pub text: String,
}

/// Without the text, which may hold secrets.
impl fmt::Debug for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.name.fmt(f)
    }
}

/// A place in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// The file.
    pub source: Arc<Source>,
    /// From 1.
    pub line: usize,
    /// From 1, in characters.
    pub column: usize,
}

/// One thing that is wrong, or that should be known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    place: Option<Place>,
    message: String,
    /// Whether the line may be shown: not if a secret stands in it.
    shown: bool,
}

impl Problem {
    /// A problem at a place.
    pub fn new(place: Place, message: impl Into<String>) -> Self {
        Self { place: Some(place), message: message.into(), shown: true }
    }

    /// One that stands nowhere: something is missing, or a file cannot be read.
    pub fn nowhere(message: impl Into<String>) -> Self {
        Self { place: None, message: message.into(), shown: true }
    }

    /// The same; it stands at `place` if it has none of its own.
    #[must_use]
    pub fn or_at(self, place: &Place) -> Self {
        Self { place: self.place.or_else(|| Some(place.clone())), ..self }
    }

    /// Does not show the line, because a secret stands there.
    #[must_use]
    pub fn without_line(self) -> Self {
        Self { shown: false, ..self }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(place) = &self.place else { return f.write_str(&self.message) };
        write!(f, "{}:{}:{}: {}", place.source.name.display(), place.line, place.column, self.message)?;
        let Some(line) = place.source.text.lines().nth(place.line.saturating_sub(1)).filter(|_| self.shown) else {
            return Ok(());
        };
        // Tabs and other control characters would put the caret in the wrong place.
        let line: String = line.chars().take(200).map(|c| if c.is_control() { ' ' } else { c }).collect();
        let number = place.line.to_string();
        let (margin, indent) = (" ".repeat(number.len()), " ".repeat(place.column.saturating_sub(1).min(200)));
        write!(f, "\n {number} | {line}\n {margin} | {indent}^")
    }
}

/// Everything that is wrong, so that it can be mended in one go. Never empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            write!(f, "{}{problem}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}

impl From<Problem> for ConfigErrors {
    fn from(problem: Problem) -> Self {
        Self(vec![problem])
    }
}
