//! A table of settings: its rows, each one key with its default and meaning.

use std::borrow::Cow;

/// One key of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The key.
    pub key: &'static str,
    /// Its default as one would write it; empty if there is none.
    pub default: &'static str,
    /// What it means, and what may be written.
    pub meaning: &'static str,
    /// The topic under which it is documented.
    pub topic: Topic,
    /// When a new value is in force.
    pub takes_effect: TakesEffect,
}

/// When a new value of a setting is in force.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TakesEffect {
    /// As soon as the configuration has been read again.
    OnReload,
    /// When the daemon starts again.
    OnRestart,
}

impl Setting {
    /// A setting that is documented under `topic`.
    pub const fn new(topic: Topic, key: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self { key, default, meaning, topic, takes_effect: TakesEffect::OnReload }
    }

    /// A setting in a section of its own.
    pub const fn nested(key: &'static str, default: &'static str, meaning: &'static str) -> Self {
        Self::new(Topic::Nested, key, default, meaning)
    }

    /// The same setting, where only a restart changes it.
    #[must_use]
    pub const fn on_restart(self) -> Self {
        Self { takes_effect: TakesEffect::OnRestart, ..self }
    }

    /// Whether only a restart changes it.
    pub fn needs_restart(&self) -> bool {
        self.takes_effect == TakesEffect::OnRestart
    }
}

/// What a setting is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs, reason = "the titles say it")]
pub enum Topic {
    Upstream,
    Serving,
    Refreshing,
    Logging,
    Process,
    Sources,
    AssumeRole,
    /// In a section of its own.
    Nested,
}

impl Topic {
    /// All, in the order of the documentation.
    pub const ALL: [(Self, &'static str); 7] = [
        (Self::Upstream, "The IMS"),
        (Self::Serving, "Serving"),
        (Self::Refreshing, "Refreshing"),
        (Self::Logging, "Logging"),
        (Self::Process, "The process"),
        (Self::Sources, "Several sources"),
        (Self::AssumeRole, "Assuming another role"),
    ];
}

/// A mapping of settings that stands below a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Section {
    /// Where it stands, such as `metadata`, or `container.roles.NAME`.
    pub path: Cow<'static, str>,
    /// What may stand in it.
    pub settings: &'static [Setting],
}

/// The default of a key, from its table.
pub fn default(table: &[Setting], key: &str) -> &'static str {
    table.iter().find(|setting| setting.key == key).map_or("", |setting| setting.default)
}

/// One table made of two.
pub const fn concat<const A: usize, const B: usize, const N: usize>(
    first: [Setting; A],
    second: [Setting; B],
) -> [Setting; N] {
    assert!(A + B == N, "the length of the table is the sum");
    let mut all = [Setting::nested("", "", ""); N];
    let mut index = 0;
    while index < N {
        all[index] = if index < A { first[index] } else { second[index - A] };
        index += 1;
    }
    all
}

/// How many rows the parts of a table have together.
pub const fn count(parts: &[&[Setting]]) -> usize {
    let (mut all, mut part) = (0, 0);
    while part < parts.len() {
        all += parts[part].len();
        part += 1;
    }
    all
}

/// One table made of its parts, with [as many](count) rows as they have.
pub const fn join<const N: usize>(parts: &[&[Setting]]) -> [Setting; N] {
    let mut all = [Setting::nested("", "", ""); N];
    let (mut row, mut part) = (0, 0);
    while part < parts.len() {
        let mut index = 0;
        while index < parts[part].len() {
            all[row] = parts[part][index];
            row += 1;
            index += 1;
        }
        part += 1;
    }
    all
}

/// The known key that a wrong one was probably meant to be.
pub fn nearest<'a>(wrong: &str, known: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let wrong = wrong.to_lowercase().replace('-', "_");
    known
        .map(|key| (strsim::damerau_levenshtein(&wrong, key), key))
        .filter(|(distance, key)| *distance <= key.len().max(wrong.len()) / 3)
        .min()
        .map(|(_, key)| key)
}
