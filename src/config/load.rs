//! From a path to a configuration.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use super::{Config, build};
use alppaca_settings::{
    load::{self, Texts},
    problem::{ConfigErrors, Problem},
};

/// A valid configuration, and what the user should know about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Loaded {
    /// The configuration.
    pub config: Config,
    /// What is legal but perhaps not meant.
    pub warnings: Vec<Problem>,
    /// The files it was read from.
    pub files: Vec<PathBuf>,
    /// The keys that stand in them; not those of sections.
    pub written: BTreeSet<String>,
}

/// Loads a YAML file, or all `*.yaml` of a directory, merged in alphabetical order.
pub fn load(path: &Path) -> Result<Loaded, ConfigErrors> {
    parse(load::texts(path, "`alppaca demo` needs none")?)
}

/// The same for texts that have been read already.
pub fn parse(files: Texts) -> Result<Loaded, ConfigErrors> {
    let names = files.iter().map(|(name, _)| name.clone()).collect();
    build::config(load::tree(files)?).map(|loaded| Loaded { files: names, ..loaded })
}
