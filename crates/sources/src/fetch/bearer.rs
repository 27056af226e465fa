//! Tokens in files that others write anew.

use std::{fs::File, io::Read, path::Path};

use zeroize::Zeroizing;

use super::FetchError;
use crate::credentials::Secret;

/// Tokens are some kilobytes long.
const LONGEST: u64 = 64 * 1024;

/// The value of `Authorization` with the token that is in the file now.
pub(crate) fn bearer(path: &Path) -> Result<Secret, FetchError> {
    let failed = |error: std::io::Error| FetchError(format!("{}: {error}", path.display()));
    // It never grows, which would leave a copy behind.
    let mut token = Zeroizing::new(String::with_capacity(usize::try_from(LONGEST).unwrap_or_default()));
    File::open(path).map_err(failed)?.take(LONGEST).read_to_string(&mut token).map_err(failed)?;
    let text = Zeroizing::new(format!("Bearer {}", token.trim()));
    Ok(Secret::new(text.as_str()))
}
