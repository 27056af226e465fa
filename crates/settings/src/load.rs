//! From a path to the merged tree of its files.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    merge::merge,
    problem::{ConfigErrors, Problem, Source},
    yaml::{self, Node, Value},
};

/// More text than any configuration has.
const MAX_BYTES: u64 = 1024 * 1024;

/// Files with their texts.
pub type Texts = Vec<(PathBuf, String)>;

/// Reads a YAML file, or all `*.yaml` of a directory in alphabetical order. `hint` says what else a person can do if there
/// is none.
pub fn texts(path: &Path, hint: &str) -> Result<Texts, ConfigErrors> {
    let cannot = |path: &Path, error: &io::Error| Problem::nowhere(format!("cannot read {}: {error}", path.display()));
    let metadata = fs::metadata(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound => Problem::nowhere(format!(
            "there is no {}: write a configuration there, or name another with -c ({hint})",
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
    Ok(files)
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

/// The mapping that files make when each is laid over those before it; `None` if they have no content.
pub fn tree(files: Texts) -> Result<Option<Node>, ConfigErrors> {
    let mut problems = Vec::new();
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
    if problems.is_empty() { Ok(whole) } else { Err(ConfigErrors(problems)) }
}
