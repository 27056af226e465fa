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
    use super::*;
    use crate::cli::schemas;

    #[test]
    fn the_schema_of_the_findings_is_published() {
        schemas::compare::<Vec<Finding>>("doctor");
    }
}
