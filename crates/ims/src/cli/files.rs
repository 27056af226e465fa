//! The files that a configuration names, and whether others may change or read them.

use std::path::Path;

use crate::{
    settings::{NamedFile, NamedFiles},
    site::Loaded,
    source::{HostEnv, process::program_files},
    trust::{File, FileFaults, Purpose, Trust},
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
    if let Some(tls) = &loaded.site.tls {
        files.push((tls.certificate.clone(), "tls_certificate".to_owned(), Purpose::Obeyed));
        files.push((tls.key.clone(), "tls_key".to_owned(), Purpose::Secret));
    }
    for named in &loaded.site.identities {
        let mut found = NamedFiles::default();
        named.method.files(&mut found);
        files.extend(owned(&format!("identity method {}", named.name), found));
    }
    for (name, options) in &loaded.site.directories {
        let mut found = NamedFiles::default();
        options.files(&mut found);
        files.extend(owned(&format!("directory {name}"), found));
    }
    let mut found = NamedFiles::default();
    if let Some(alarm) = &loaded.site.alarm {
        program_files(&alarm.command, host_env, &mut found);
        files.extend(owned("emergency_alert", std::mem::take(&mut found)));
    }
    if let Some(approvals) = &loaded.site.approvals {
        approvals.files(&mut found);
        files.extend(owned("approvals", std::mem::take(&mut found)));
    }
    loaded.site.console.files(&mut found);
    files.extend(owned("console", std::mem::take(&mut found)));
    loaded.site.sts.files(host_env, &mut found);
    files.extend(owned("sts", found));
    files
}

fn owned(owner: &str, files: NamedFiles) -> Vec<File> {
    let file = |NamedFile { path, what, secret }| {
        (path, format!("{owner}: {what}"), if secret { Purpose::Secret } else { Purpose::Obeyed })
    };
    files.0.into_iter().map(file).collect()
}
