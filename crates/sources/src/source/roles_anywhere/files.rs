//! Reading small files whole, into memory that is wiped.

use std::{
    fs::File,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::identity::{IdentityError, unusable};

/// Larger than any certificate, chain or key; `/dev/zero` is larger.
const MAX_FILE: u64 = 1024 * 1024;

/// The secret files whose permissions were reported as too open.
#[derive(Default)]
pub(super) struct Files {
    told: Vec<PathBuf>,
}

pub(super) fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    read_with(path, |_mode| {})
}

/// Reads a file in one go, into a buffer that is wiped and does not move while it grows.
fn read_with(path: &Path, see: impl FnOnce(u32)) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
    let failed = |error: std::io::Error| unusable(&path.display(), &format_args!("cannot be read: {error}"));
    let file = File::open(path).map_err(failed)?;
    let metadata = file.metadata().map_err(failed)?;
    if !metadata.is_file() || metadata.len() > MAX_FILE {
        return Err(unusable(&path.display(), &"is not a file of a reasonable size"));
    }
    see(metadata.permissions().mode());
    let length = usize::try_from(metadata.len()).unwrap_or(0);
    let mut bytes = Zeroizing::new(Vec::with_capacity(length + 1));
    // Not more than was there: what grows is being written.
    file.take(metadata.len()).read_to_end(&mut bytes).map_err(failed)?;
    Ok(bytes)
}

impl Files {
    /// Reads a file that should be for us alone. One that is not is reported once.
    pub(super) fn secret(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        read_with(path, |mode| {
            if mode & 0o027 != 0 && !self.told.iter().any(|told| told == path) {
                self.told.push(path.to_owned());
                tracing::warn!(
                    "{} is a secret and too open (mode {:03o}): other users can read or change it; chmod 0600, \
                 or 0640 with the daemon's group",
                    path.display(),
                    mode & 0o777
                );
            }
        })
    }

    /// The first line of a secret file.
    pub(super) fn secret_line(&mut self, path: &Path) -> Result<Zeroizing<Vec<u8>>, IdentityError> {
        let bytes = self.secret(path)?;
        let line = bytes.split(|byte| *byte == b'\n').next().unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if line.is_empty() { Err(unusable(&path.display(), &"is empty")) } else { Ok(Zeroizing::new(line.to_vec())) }
    }
}
