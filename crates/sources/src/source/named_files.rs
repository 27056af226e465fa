//! The files that the options of a source name.

use std::path::{Path, PathBuf};

use super::aws::Aws;

/// A file that the options of a source name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NamedFile {
    /// Where it is.
    pub path: PathBuf,
    /// What it is.
    pub what: &'static str,
    /// Whether a secret is in it. Any other says what the daemon does.
    pub secret: bool,
}

/// The files that the options of a source name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedFiles(pub Vec<NamedFile>);

impl NamedFiles {
    /// A file that says what the daemon does: a program, a certificate authority.
    pub(super) fn obeyed<P: AsRef<Path>>(&mut self, what: &'static str, path: Option<P>) {
        self.add(what, path, false);
    }

    /// A file with a secret.
    pub(super) fn secret<P: AsRef<Path>>(&mut self, what: &'static str, path: Option<P>) {
        self.add(what, path, true);
    }

    fn add<P: AsRef<Path>>(&mut self, what: &'static str, path: Option<P>, secret: bool) {
        self.0.extend(path.map(|path| NamedFile { path: path.as_ref().to_owned(), what, secret }));
    }

    /// Certificate and key of a client.
    pub(super) fn client_certificate(&mut self, files: Option<&(PathBuf, PathBuf)>) {
        self.obeyed("client_certificate", files.map(|(certificate, _)| certificate));
        self.secret("client_key", files.map(|(_, key)| key));
    }

    /// What is named for calls to AWS.
    pub fn of_aws(&mut self, aws: &Aws) {
        self.obeyed("ca_file", aws.ca_file.as_ref());
    }
}
