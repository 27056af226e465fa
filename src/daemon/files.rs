//! The files that a configuration names, and whether others may change or read them: `check` shows it, the start and a reload
//! act on it. What is wrong in them is for `check` alone.

use std::path::Path;

use alppaca_settings::{NamedFile, NamedFiles};

use super::written_files;
use crate::{
    config::{Config, Loaded},
    fetch,
    source::{HostEnv, Kind as _},
    trust::{self, File, FileFaults, Purpose, Trust},
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
    files.extend(named(config, host_env).into_iter().map(trust::named));
    if let Some(path) = config.containers.as_ref().and_then(|section| section.mapping_file.clone()) {
        files.push((path, "containers: mapping_file".to_owned(), Purpose::Obeyed));
    }
    written_files::judged(config, host_env, &mut files);
    files
}

/// What is wrong with the contents of the files that sources and faces name, as far as they are here.
pub fn wrong_contents(config: &Config, host_env: &HostEnv) -> Vec<String> {
    fetch::content_faults(named(config, host_env))
}

/// The files that sources and faces name.
fn named(config: &Config, host_env: &HostEnv) -> Vec<NamedFile> {
    let mut named = Vec::new();
    let mut add = |owner: &str, fill: &dyn Fn(&mut NamedFiles)| {
        let mut files = NamedFiles::default();
        fill(&mut files);
        named.extend(files.of(owner));
    };
    for source in &config.upstreams.sources {
        add(&format!("source {}", source.name), &|files| source.kind.files(host_env, files));
    }
    add("sts", &|files| config.upstreams.sts.files(host_env, files));
    for section in &config.faces {
        add(section.key(), &|files| section.options.files(files));
    }
    named
}
