//! The files that a configuration names, and whether others may change or read them.

use std::path::Path;

use crate::{
    fetch,
    settings::{NamedFile, NamedFiles},
    site::{Loaded, Site},
    source::{HostEnv, process::program_files},
    trust::{self, File, FileFaults, Purpose, Trust},
};

/// Judges the files of a configuration that was read from `path`.
pub(super) fn faults(path: &Path, loaded: &Loaded, host_env: &HostEnv, trust: &Trust) -> FileFaults {
    FileFaults::find(files(path, loaded, host_env), trust)
}

/// These files.
pub(super) fn files(path: &Path, loaded: &Loaded, host_env: &HostEnv) -> Vec<File> {
    let mut files: Vec<File> = Vec::new();
    if path.is_dir() {
        files.push((path.to_owned(), "the directory of the configuration".to_owned(), Purpose::Obeyed));
    }
    for file in &loaded.files {
        files.push((file.clone(), "the configuration".to_owned(), Purpose::Obeyed));
        if loaded.site.has_secrets() {
            files.push((file.clone(), "the configuration".to_owned(), Purpose::Secret));
        }
    }
    files.extend(named(&loaded.site, host_env).into_iter().map(trust::named));
    files
}

/// What is wrong with the contents of the files that are named in it, as far as they are here.
pub(super) fn wrong_contents(site: &Site, host_env: &HostEnv) -> Vec<String> {
    fetch::content_faults(named(site, host_env))
}

/// The files that are named in it.
fn named(site: &Site, host_env: &HostEnv) -> Vec<NamedFile> {
    let mut own = NamedFiles::default();
    if let Some(tls) = &site.tls {
        own.pair(("tls_certificate", "tls_key"), &tls.certificate, &tls.key);
    }
    let mut named = own.0;
    let mut add = |owner: &str, fill: &dyn Fn(&mut NamedFiles)| {
        let mut files = NamedFiles::default();
        fill(&mut files);
        named.extend(files.of(owner));
    };
    for method in &site.identities {
        add(&format!("identity method {}", method.name), &|files| method.method.files(files));
    }
    for (name, options) in &site.directories {
        add(&format!("directory {name}"), &|files| options.files(files));
    }
    if let Some(alarm) = &site.alarm {
        add("emergency_alert", &|files| program_files(&alarm.command, host_env, files));
    }
    if let Some(approvals) = &site.approvals {
        add("approvals", &|files| approvals.files(files));
    }
    add("console", &|files| site.console.files(files));
    add("sts", &|files| site.sts.files(host_env, files));
    named
}
