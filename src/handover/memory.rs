//! A sealed memory file: without a name, on no disk, and not to be changed by anyone.

use std::{
    fs::File,
    io::{self, Write},
    os::unix::fs::FileExt,
};

use rustix::fs::{MemfdFlags, SealFlags, fcntl_add_seals, fcntl_get_seals, memfd_create};
use zeroize::Zeroizing;

/// The largest file that is written or read: some 30,000 sets.
const LARGEST: usize = 64 * 1024 * 1024;

/// Why a file cannot be handed over.
#[derive(Debug, thiserror::Error)]
pub enum MemoryError {
    /// It is larger than would be read.
    #[error("{0} bytes are too many to be kept over a restart")]
    TooLarge(u64),
    /// It could have been changed since.
    #[error("the file is not sealed")]
    NotSealed,
    /// The kernel, or the service manager, refuses.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file with these `bytes`.
pub fn sealed(bytes: &[u8]) -> Result<File, MemoryError> {
    if bytes.len() > LARGEST {
        return Err(MemoryError::TooLarge(bytes.len() as u64));
    }
    let file = memfd_create("alppaca-sets", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING);
    let mut file = File::from(file.map_err(io::Error::from)?);
    file.write_all(bytes)?;
    fcntl_add_seals(&file, seals_of_ours()).map_err(io::Error::from)?;
    Ok(file)
}

/// What is in a file that was handed over.
pub fn read_sealed(file: &File) -> Result<Zeroizing<Vec<u8>>, MemoryError> {
    let seals = fcntl_get_seals(file).map_err(io::Error::from)?;
    if !seals.contains(seals_of_ours()) {
        return Err(MemoryError::NotSealed);
    }
    let length = file.metadata()?.len();
    let size = usize::try_from(length).ok().filter(|size| *size <= LARGEST).ok_or(MemoryError::TooLarge(length))?;
    let mut bytes = Zeroizing::new(vec![0; size]);
    file.read_exact_at(&mut bytes, 0)?;
    Ok(bytes)
}

fn seals_of_ours() -> SealFlags {
    SealFlags::SEAL | SealFlags::SHRINK | SealFlags::GROW | SealFlags::WRITE
}
