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
    /// What has to be in it.
    pub content: Content,
}

/// What has to be in a file, as far as that is checked before it is needed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Content {
    /// Something that only its reader knows.
    Any,
    /// Certificates of authorities, PEM.
    Authorities,
    /// A certificate with its chain, PEM.
    Certificate,
    /// The private key of the certificate in another file, PEM.
    KeyOf(PathBuf),
}

/// The files that settings name.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct NamedFiles(pub Vec<NamedFile>);

impl NamedFiles {
    /// Files that say what the daemon does, such as programs.
    pub fn obeyed<P: AsRef<Path>>(&mut self, what: &str, paths: impl IntoIterator<Item = P>) {
        self.add(what, paths, false, &Content::Any);
    }

    /// Files with certificate authorities, of which one is enough.
    pub fn authorities<P: AsRef<Path>>(&mut self, what: &str, paths: impl IntoIterator<Item = P>) {
        self.add(what, paths, false, &Content::Authorities);
    }

    /// Files with a secret.
    pub fn secret<P: AsRef<Path>>(&mut self, what: &str, paths: impl IntoIterator<Item = P>) {
        self.add(what, paths, true, &Content::Any);
    }

    /// A certificate and its key, each with what it is.
    pub fn pair(&mut self, whats: (&str, &str), certificate: &Path, key: &Path) {
        self.add(whats.0, [certificate], false, &Content::Certificate);
        self.add(whats.1, [key], true, &Content::KeyOf(certificate.to_owned()));
    }

    /// Certificate and key of a client.
    pub fn client_certificate(&mut self, files: Option<&(PathBuf, PathBuf)>) {
        if let Some((certificate, key)) = files {
            self.pair(("client_certificate", "client_key"), certificate, key);
        }
    }

    /// All of them, as those of `owner`.
    pub fn of(self, owner: &str) -> impl Iterator<Item = NamedFile> {
        self.0.into_iter().map(move |file| NamedFile { what: format!("{owner}: {}", file.what), ..file })
    }

    fn add<P: AsRef<Path>>(&mut self, what: &str, paths: impl IntoIterator<Item = P>, secret: bool, content: &Content) {
        let named = |path: P| NamedFile {
            path: path.as_ref().to_owned(),
            what: what.to_owned(),
            secret,
            content: content.clone(),
        };
        self.0.extend(paths.into_iter().map(named));
    }
}
