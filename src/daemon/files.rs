//! The files that a configuration names, and whether others may change or read them. `check` shows it, the start and a reload
//! act on it.

use std::path::{Path, PathBuf};

use alppaca_settings::{NamedFile, NamedFiles};

use crate::{
    config::{Config, Loaded},
    source::{Kind, Surroundings},
    trust::{Purpose, Trust},
};

/// What is wrong with files.
#[derive(Debug, Default)]
pub struct FileFaults {
    /// Files that others may change: the configuration is not used.
    pub refused: Vec<String>,
    /// Secrets that others may read.
    pub warnings: Vec<String>,
}

impl FileFaults {
    /// Judges the files of a configuration that was read from `path`.
    pub fn find(path: &Path, loaded: &Loaded, surroundings: &Surroundings, trust: &Trust) -> Self {
        let mut faults = Self::default();
        for (path, what, purpose) in files(path, loaded, surroundings) {
            for fault in trust.judge(&path, &what, purpose) {
                let list = if fault.refused { &mut faults.refused } else { &mut faults.warnings };
                let text = fault.to_string();
                if !list.contains(&text) {
                    list.push(text);
                }
            }
        }
        faults
    }

    /// The reason not to use the configuration, if there is one.
    pub fn refusal(&self) -> Option<String> {
        (!self.refused.is_empty()).then(|| self.refused.join("\n"))
    }
}

type File = (PathBuf, String, Purpose);

fn files(path: &Path, loaded: &Loaded, surroundings: &Surroundings) -> Vec<File> {
    let config = &loaded.config;
    let mut files: Vec<File> = Vec::new();
    if path.is_dir() {
        files.push((path.to_owned(), "the directory of the configuration".to_owned(), Purpose::Obeyed));
    }
    // Where it shows stars, a secret is written down.
    let secret = config.render().contains("***");
    for file in &loaded.files {
        files.push((file.clone(), "the configuration".to_owned(), Purpose::Obeyed));
        if secret {
            files.push((file.clone(), "the configuration".to_owned(), Purpose::Secret));
        }
    }
    for source in &config.upstreams.sources {
        files.extend(of_source(&format!("source {}", source.name), &*source.kind, surroundings));
    }
    files.extend(of_source("sts", &config.upstreams.sts, surroundings));
    of_faces(config, &mut files);
    files
}

fn of_faces(config: &Config, files: &mut Vec<File>) {
    for section in &config.faces {
        let mut named = NamedFiles::default();
        section.options.files(&mut named);
        files.extend(of(section.key(), named));
    }
    if let Some(path) = config.containers.as_ref().and_then(|section| section.mapping_file.clone()) {
        files.push((path, "containers: mapping_file".to_owned(), Purpose::Obeyed));
    }
}

fn of_source(name: &str, kind: &dyn Kind, surroundings: &Surroundings) -> Vec<File> {
    let mut files = NamedFiles::default();
    kind.files(surroundings, &mut files);
    of(name, files).collect()
}

/// The files that `name` has named.
fn of(name: &str, files: NamedFiles) -> impl Iterator<Item = File> {
    files.0.into_iter().map(move |NamedFile { path, what, secret }| {
        (path, format!("{name}: {what}"), if secret { Purpose::Secret } else { Purpose::Obeyed })
    })
}
