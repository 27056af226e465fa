//! The files that settings name.

use std::path::{Path, PathBuf};

/// A file that a setting names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: String,
    /// Whether a secret is in it. Any other says what the daemon does.
    pub secret: bool,
}

/// The files that settings name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedFiles(pub Vec<NamedFile>);

impl NamedFiles {
    /// Files that say what the daemon does: programs, certificate authorities.
    pub fn obeyed<P: AsRef<Path>>(&mut self, what: &str, paths: impl IntoIterator<Item = P>) {
        self.add(what, paths, false);
    }

    /// Files with a secret.
    pub fn secret<P: AsRef<Path>>(&mut self, what: &str, paths: impl IntoIterator<Item = P>) {
        self.add(what, paths, true);
    }

    fn add<P: AsRef<Path>>(&mut self, what: &str, paths: impl IntoIterator<Item = P>, secret: bool) {
        let named = |path: P| NamedFile { path: path.as_ref().to_owned(), what: what.to_owned(), secret };
        self.0.extend(paths.into_iter().map(named));
    }

    /// Certificate and key of a client.
    pub fn client_certificate(&mut self, files: Option<&(PathBuf, PathBuf)>) {
        self.obeyed("client_certificate", files.map(|(certificate, _)| certificate));
        self.secret("client_key", files.map(|(_, key)| key));
    }
}
