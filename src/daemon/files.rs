//! The files that a configuration names, and whether others may change or read them. `check` shows it, the start and a reload
//! act on it.

use std::path::Path;

use alppaca_settings::{NamedFile, NamedFiles};

use super::written_files;
use crate::{
    config::{Config, Loaded},
    source::{HostEnv, Kind},
    trust::{File, FileFaults, Purpose, Trust},
};

/// Judges the files of a configuration that was read from `path`.
pub fn faults(path: &Path, loaded: &Loaded, host_env: &HostEnv, trust: &Trust) -> FileFaults {
    let mut faults = FileFaults::find(files(path, loaded, host_env), trust);
    faults.warnings.extend(written_files::warnings(&loaded.config));
    faults
}

pub(super) fn files(path: &Path, loaded: &Loaded, host_env: &HostEnv) -> Vec<File> {
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
        files.extend(of_source(&format!("source {}", source.name), &*source.kind, host_env));
    }
    files.extend(of_source("sts", &config.upstreams.sts, host_env));
    of_faces(config, &mut files);
    written_files::judged(config, host_env, &mut files);
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

fn of_source(name: &str, kind: &dyn Kind, host_env: &HostEnv) -> Vec<File> {
    let mut files = NamedFiles::default();
    kind.files(host_env, &mut files);
    of(name, files).collect()
}

/// The files that `name` has named.
pub(super) fn of(name: &str, files: NamedFiles) -> impl Iterator<Item = File> {
    files.0.into_iter().map(move |NamedFile { path, what, secret }| {
        (path, format!("{name}: {what}"), if secret { Purpose::Secret } else { Purpose::Obeyed })
    })
}
