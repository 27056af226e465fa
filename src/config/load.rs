//! From a path to a configuration.

use std::{
    collections::BTreeSet,
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{Config, build};
use alppaca_settings::{
    merge::merge,
    problem::{ConfigErrors, Problem, Source},
    yaml::{self, Node, Value},
};

/// More text than any configuration has.
const MAX_BYTES: u64 = 1024 * 1024;

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
    let cannot = |path: &Path, error: &io::Error| Problem::nowhere(format!("cannot read {}: {error}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::nowhere(format!(
            "there is no {}: write a configuration there, or name another with -c (`alppaca demo` needs none)",
            path.display()
        )),
        _ => cannot(path, &error),
    })?;
    let names = if metadata.is_dir() {
        let names = yaml_files(path).map_err(|error| cannot(path, &error))?;
        if names.is_empty() {
            return Err(Problem::nowhere(format!("there is no *.yaml in {}", path.display())).into());
        }
        names
    } else {
        vec![path.to_owned()]
    };
    let mut files = Vec::new();
    for name in names {
        let length = fs::metadata(&name).map_err(|error| cannot(&name, &error))?.len();
        if length > MAX_BYTES {
            return Err(Problem::nowhere(format!("{} is larger than {MAX_BYTES} bytes", name.display())).into());
        }
        let text = fs::read_to_string(&name).map_err(|error| cannot(&name, &error))?;
        files.push((name, text));
    }
    parse(files)
}

/// As yamlreader had it: only `*.yaml`, not hidden ones, not in subdirectories.
fn yaml_files(directory: &Path) -> io::Result<Vec<PathBuf>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if !hidden && path.extension().is_some_and(|extension| extension == "yaml") && !path.is_dir() {
            names.push(path);
        }
    }
    names.sort();
    Ok(names)
}

/// The same for texts that have been read already.
pub fn parse(files: Vec<(PathBuf, String)>) -> Result<Loaded, ConfigErrors> {
    let mut problems = Vec::new();
    let names = files.iter().map(|(name, _)| name.clone()).collect();
    let mut whole: Option<Node> = None;
    for (name, text) in files {
        let source = Arc::new(Source { name, text });
        match yaml::read(&source) {
            Ok(Some(node)) if node.is_null() => {}
            Ok(Some(node)) if !matches!(node.value, Value::Map(_)) => {
                let message = format!("a configuration is a mapping (`key: value`), not {}", node.kind());
                problems.push(Problem::new(node.place, message));
            }
            Ok(Some(node)) => {
                whole = Some(match whole {
                    Some(earlier) => merge(earlier, node),
                    None => node,
                });
            }
            Ok(None) => {}
            Err(problem) => problems.push(problem),
        }
    }
    if !problems.is_empty() {
        return Err(ConfigErrors(problems));
    }
    build::config(whole).map(|loaded| Loaded { files: names, ..loaded })
}
