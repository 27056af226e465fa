//! The key of the IMDS tokens outlives the process: EC2's tokens survive everything but their own end, and the AWS SDK
//! for Rust sends the one that it has for six hours, whatever it is told.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use aws_lc_rs::rand::{SecureRandom, SystemRandom};
use rustix::fs::OFlags;
use zeroize::Zeroizing;

use crate::faces::imds::TokenKey;

/// Its name in the run directory.
const FILE: &str = "imds-token.key";
/// The length of what is kept.
const LENGTH: usize = 32;
/// Who has the file after a reboot, when the boot clock has begun anew, cannot use tokens of before. A sandbox may hide
/// this, and then the run directory is one that no reboot leaves behind.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";

type Secret = Zeroizing<[u8; LENGTH]>;

/// What is kept for the next process.
pub(super) struct Kept {
    path: PathBuf,
    secret: Secret,
}

impl Kept {
    /// Writes it anew if it has disappeared.
    pub(super) fn keep_again(&self) -> io::Result<()> {
        if read(&self.path).is_ok_and(|found| *found == *self.secret) {
            return Ok(());
        }
        write(&self.path, &self.secret)
    }
}

/// The key that the previous process left in `run_dir`, or a new one that the next will find.
pub(super) fn kept_in(run_dir: &Path) -> io::Result<(TokenKey, Kept)> {
    let path = run_dir.join(FILE);
    let secret = match read(&path) {
        Ok(secret) => secret,
        // There is none, or it is not to be trusted; in either case it is replaced.
        Err(why) => {
            tracing::debug!("no key for IMDS tokens in {}: {why}", path.display());
            create(&path)?
        }
    };
    let boot = fs::read(BOOT_ID).unwrap_or_default();
    let key = TokenKey::from_secret(&*secret, &boot)
        .map_err(|_unspecified| io::Error::other("the system provides no random numbers"))?;
    Ok((key, Kept { path, secret }))
}

/// Only what nobody else can have written or read.
fn read(path: &Path) -> io::Result<Secret> {
    let mut file = options().read(true).open(path)?;
    let found = file.metadata()?;
    let ours = found.is_file() && found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o777 == 0o600;
    if !ours || found.len() != LENGTH as u64 {
        return Err(io::Error::other("it is not a regular file that only the daemon's account can write"));
    }
    let mut secret = Secret::default();
    file.read_exact(&mut *secret)?;
    Ok(secret)
}

fn create(path: &Path) -> io::Result<Secret> {
    let mut secret = Secret::default();
    SystemRandom::new().fill(&mut *secret).map_err(|_unspecified| io::Error::other("no random numbers"))?;
    write(path, &secret)?;
    Ok(secret)
}

/// Whole or not at all, so that a process that is killed meanwhile leaves nothing half done.
fn write(path: &Path, secret: &Secret) -> io::Result<()> {
    let new = path.with_extension("new");
    match fs::remove_file(&new) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file: File = options().write(true).create_new(true).open(&new)?;
    file.write_all(&**secret)?;
    fs::rename(&new, path)
}

fn options() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.mode(0o600).custom_flags(i32::try_from(OFlags::NOFOLLOW.bits()).unwrap_or_default());
    options
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn secret(path: &Path) -> Vec<u8> {
        fs::read(path).expect("a key")
    }

    #[test]
    fn the_next_process_finds_the_key() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join(FILE);
        kept_in(directory.path()).expect("a key");
        let first = secret(&path);
        assert_eq!((first.len(), fs::metadata(&path).expect("there").mode() & 0o777), (LENGTH, 0o600));
        kept_in(directory.path()).expect("the key");
        assert_eq!(secret(&path), first);
    }

    #[test]
    fn what_others_could_know_is_replaced() {
        let directory = tempfile::tempdir().expect("a directory");
        let (path, elsewhere) = (directory.path().join(FILE), directory.path().join("elsewhere"));
        let known = [7; LENGTH];
        for mode in [0o644, 0o620, 0o604] {
            fs::write(&path, known).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("ours");
            kept_in(directory.path()).expect("a key");
            assert_ne!(secret(&path), known, "{mode:o}");
        }
        for length in [0, LENGTH - 1, LENGTH + 1] {
            fs::write(&path, vec![7; length]).expect("a file");
            kept_in(directory.path()).expect("a key");
            assert!(secret(&path).len() == LENGTH && !secret(&path).starts_with(&[7; 16]));
        }
        fs::write(&elsewhere, known).expect("a file");
        fs::set_permissions(&elsewhere, fs::Permissions::from_mode(0o600)).expect("ours");
        fs::remove_file(&path).expect("there");
        symlink(&elsewhere, &path).expect("a link");
        kept_in(directory.path()).expect("a key");
        assert!(secret(&path) != known && secret(&elsewhere) == known);
    }

    #[test]
    fn without_a_directory_there_is_none() {
        assert!(kept_in(Path::new("/nowhere/at/all")).is_err());
    }
}
