//! Which key of an agent is meant.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use tokio::{fs::File, io::AsyncReadExt};

use crate::{Key, SshError};

/// The longest `.pub` file.
const MAX_FILE: u64 = 64 * 1024;

/// How a key is chosen among those of an agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// By the fingerprint that `ssh-add -l` shows, `SHA256:…`.
    Fingerprint(String),
    /// By its `.pub` file, which is read for each signature; one of a certificate means the certificate.
    File(PathBuf),
    /// By its comment.
    Comment(String),
}

impl Choice {
    /// Reads what a person writes: a fingerprint `SHA256:…`, the path of a file that ends with `.pub`, else a comment.
    pub fn parse(text: &str) -> Self {
        if text.starts_with("SHA256:") {
            // Some tools show the padding of the base64.
            Self::Fingerprint(text.trim_end_matches('=').to_owned())
        } else if text.contains('/') && Path::new(text).extension().is_some_and(|extension| extension == "pub") {
            Self::File(text.into())
        } else {
            Self::Comment(text.to_owned())
        }
    }

    /// The keys that could be meant.
    async fn among(&self, keys: Vec<Key>) -> Result<Vec<Key>, SshError> {
        let blob = match self {
            Self::File(file) => Some(read(file).await?.blob),
            Self::Fingerprint(_) | Self::Comment(_) => None,
        };
        let fits = |key: &Key| match self {
            Self::File(_) => blob.as_ref() == Some(&key.blob),
            Self::Fingerprint(wanted) => key.fingerprint() == *wanted,
            Self::Comment(wanted) => key.comment == *wanted,
        };
        Ok(keys.into_iter().filter(fits).collect())
    }
}

impl fmt::Display for Choice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Fingerprint(text) => f.write_str(text),
            Self::File(file) => write!(f, "{}", file.display()),
            Self::Comment(text) => write!(f, "{text:?}"),
        }
    }
}

async fn read(file: &Path) -> Result<Key, SshError> {
    let wrong = |cause: String| SshError::File { file: file.to_owned(), cause };
    let opened = File::open(file).await.map_err(|error| wrong(error.to_string()))?;
    let mut text = String::new();
    opened.take(MAX_FILE).read_to_string(&mut text).await.map_err(|error| wrong(error.to_string()))?;
    Key::from_line(&text).map_err(|cause| wrong(cause.to_owned()))
}

/// The one key that is meant, among those of an agent; without a choice the only one. If a key and its certificate fit, the certificate is meant, as
/// for ssh.
pub async fn choose(choice: Option<&Choice>, keys: Vec<Key>) -> Result<Key, SshError> {
    if keys.is_empty() {
        return Err(SshError::Empty);
    }
    let shown = |keys: &[Key]| keys.iter().map(ToString::to_string).collect::<Vec<_>>();
    let candidates = shown(&keys);
    let mut fitting = match choice {
        Some(choice) => choice.among(keys).await?,
        None => keys,
    };
    fitting.sort_by_key(Key::is_certificate);
    if let [key, certificate] = fitting.as_slice()
        && !key.is_certificate()
        && certificate.is_certificate()
        && key.fingerprint() == certificate.fingerprint()
    {
        return Ok(certificate.clone());
    }
    match (fitting.pop(), choice) {
        (Some(key), _) if fitting.is_empty() => Ok(key),
        (Some(key), _) => {
            fitting.push(key);
            Err(SshError::Ambiguous { candidates: shown(&fitting) })
        }
        (None, Some(choice)) => Err(SshError::NoSuchKey { wanted: choice.to_string(), candidates }),
        (None, None) => Err(SshError::Empty),
    }
}
