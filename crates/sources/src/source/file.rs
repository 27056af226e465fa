//! Files that other programs replace from time to time: keys and tokens. They are read at each use, never cached.

use std::{io::Read, os::unix::fs::OpenOptionsExt, path::Path};

use zeroize::Zeroizing;

use super::SourceError;
use crate::credentials::Secret;

/// No key and no token is longer: STS takes 20,000 characters of a web identity token.
const MAX_BYTES: usize = 32 * 1024;

/// Reads a file that holds one secret. White space around it is not part of it: editors and `echo` end files with a
/// newline. `what` is for the message, which never shows what the file holds.
pub(super) async fn read_secret(what: &str, path: &Path) -> Result<Secret, SourceError> {
    let wrong =
        |problem: &str| SourceError::transient(format!("the file of the {what} ({}) {problem}", path.display()));
    // Read here: the threads for what may block are for the look-ups of names. What is no file must not hold up others.
    let flags = rustix::fs::OFlags::NONBLOCK.bits().cast_signed();
    let file = std::fs::OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = file.map_err(|error| wrong(&format!("cannot be opened: {error}")))?;
    if !file.metadata().is_ok_and(|metadata| metadata.is_file()) {
        return Err(wrong("is not a regular file"));
    }
    // As large as it may become, since a buffer that grows leaves copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES + 1));
    let limit = u64::try_from(MAX_BYTES + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| wrong(&format!("cannot be read: {error}")))?;
    if bytes.len() > MAX_BYTES {
        return Err(wrong("is longer than 32 KiB, so it holds something else"));
    }
    let text = std::str::from_utf8(&bytes).map_err(|_| wrong("is not text"))?.trim();
    if text.is_empty() {
        return Err(wrong("is empty"));
    }
    if text.contains(|c: char| c.is_control() || c.is_whitespace()) {
        return Err(wrong("holds more than one line or word"));
    }
    Ok(Secret::new(text))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    async fn read(content: &[u8]) -> Result<String, String> {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("f");
        fs::write(&path, content).expect("writable");
        let read = read_secret("token", &path).await;
        read.map(|secret| secret.expose().to_owned()).map_err(|error| error.message)
    }

    #[tokio::test]
    async fn one_word_is_read_without_the_newline() {
        assert_eq!(read(b" hvs.CAES \r\n").await.as_deref(), Ok("hvs.CAES"));
        let long = vec![b'a'; MAX_BYTES + 1];
        for (content, part) in [
            (&b"\n"[..], "is empty"),
            (b"a b", "more than one line or word"),
            (b"a\nb", "more than one line or word"),
            (b"\xff", "is not text"),
            (&long, "longer than 32 KiB"),
        ] {
            let said = read(content).await.expect_err(part);
            assert!(said.contains(part) && said.starts_with("the file of the token ("), "{said}");
        }
        let missing = read_secret("token", Path::new("/nonexistent/x")).await.expect_err("missing").message;
        assert!(missing.contains("cannot be opened: No such file"), "{missing}");
    }
}
