//! One thing that was found, and what to do about it.

use serde::Serialize;

/// How bad it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) enum Level {
    /// As it should be.
    Good,
    /// Worth knowing.
    Note,
    /// Keeps programs from their credentials, or will.
    Problem,
}

/// One finding.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub(super) struct Finding {
    pub(super) level: Level,
    /// Which rule found it; these words stay the same.
    pub(super) rule: &'static str,
    pub(super) message: String,
    /// Empty if there is nothing to do.
    pub(super) remedy: String,
}

impl Finding {
    pub(super) fn good(rule: &'static str, message: impl Into<String>) -> Self {
        Self { level: Level::Good, rule, message: message.into(), remedy: String::new() }
    }

    pub(super) fn note(rule: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Note, rule, message: message.into(), remedy: remedy.into() }
    }

    pub(super) fn problem(rule: &'static str, message: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { level: Level::Problem, rule, message: message.into(), remedy: remedy.into() }
    }

    pub(super) fn is_problem(&self) -> bool {
        self.level == Level::Problem
    }
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, fs, path::Path};

    use super::*;
    use crate::cli::schemas;

    /// The rules of which a file of this folder has findings.
    fn rules(code: &str) -> BTreeSet<String> {
        let word =
            |text: &str| text.strip_prefix('"').and_then(|rest| rest.split_once('"')).map(|(word, _)| word.to_owned());
        let own = code.split_once("const RULE: &str = ").and_then(|(_, rest)| word(rest));
        let made = ["good", "note", "problem"].map(|kind| format!("Finding::{kind}("));
        let arguments = made.iter().flat_map(|made| code.split(made.as_str()).skip(1)).map(str::trim_start);
        let rule = |text: &str| if text.starts_with("RULE,") { own.clone() } else { word(text) };
        arguments.map(|text| rule(text).unwrap_or_else(|| panic!("which rule? {text:.60}"))).collect()
    }

    #[test]
    fn the_documentation_has_each_rule() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/cli/doctor");
        let files = fs::read_dir(folder).expect("a directory").map(|entry| entry.expect("a file").path());
        let code = files.map(|file| fs::read_to_string(file).expect("text"));
        let found: BTreeSet<String> =
            code.flat_map(|code| rules(code.split("#[cfg(test)]").next().unwrap_or_default())).collect();
        let table = include_str!("../../../docs/doctor.md").lines().filter_map(|line| line.strip_prefix("| `"));
        let documented: BTreeSet<String> =
            table.filter_map(|row| row.split_once('`')).map(|(rule, _)| rule.to_owned()).collect();
        assert_eq!(documented, found);
    }

    #[test]
    fn the_schema_of_the_findings_is_published() {
        schemas::compare::<Vec<Finding>>("doctor");
    }
}
