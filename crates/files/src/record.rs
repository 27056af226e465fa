//! Which files there are, written down in the run directory: one that was dropped from the configuration while the daemon was
//! not running is removed by the next one.

use std::{
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

/// The name of the record.
const NAME: &str = "alppaca.files";
/// More than it ever has.
const LARGEST: u64 = 1024 * 1024;

/// The files that a daemon with this run directory has written, as far as is known.
pub fn recorded(run_dir: &Path) -> Vec<PathBuf> {
    let read = || -> io::Result<Vec<PathBuf>> {
        let mut text = String::new();
        let flags = (rustix::fs::OFlags::NOFOLLOW | rustix::fs::OFlags::NONBLOCK).bits();
        let file = OpenOptions::new().read(true).custom_flags(flags.cast_signed()).open(run_dir.join(NAME))?;
        let found = file.metadata()?;
        let own = found.uid() == rustix::process::geteuid().as_raw() && found.mode() & 0o022 == 0;
        if !found.is_file() || !own {
            return Err(io::ErrorKind::PermissionDenied.into());
        }
        file.take(LARGEST).read_to_string(&mut text)?;
        let paths: Vec<PathBuf> = serde_json::from_str(&text)?;
        Ok(paths.into_iter().filter(|path| path.is_absolute()).collect())
    };
    read().unwrap_or_default()
}

/// Writes down these files.
pub(crate) fn record(run_dir: &Path, files: &[&Path]) -> io::Result<()> {
    let (path, new) = (run_dir.join(NAME), run_dir.join(format!("{NAME}.new")));
    if files.is_empty() {
        return match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        };
    }
    if let Err(error) = fs::remove_file(&new)
        && error.kind() != io::ErrorKind::NotFound
    {
        return Err(error);
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    file.write_all(&serde_json::to_vec(files)?)?;
    fs::rename(new, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_recorded_is_known_again_and_nothing_that_others_wrote() {
        let directory = tempfile::tempdir().expect("a directory");
        let run_dir = directory.path();
        assert!(recorded(run_dir).is_empty());
        record(run_dir, &[Path::new("/a/b"), Path::new("/c")]).expect("ours");
        record(run_dir, &[Path::new("/a/b")]).expect("ours");
        assert_eq!(recorded(run_dir), [Path::new("/a/b")]);
        fs::set_permissions(run_dir.join(NAME), std::os::unix::fs::PermissionsExt::from_mode(0o622)).expect("ours");
        assert!(recorded(run_dir).is_empty());
        record(run_dir, &[]).expect("ours");
        assert!(!run_dir.join(NAME).exists());
        std::os::unix::fs::symlink("/etc/passwd", run_dir.join(NAME)).expect("a link");
        assert!(recorded(run_dir).is_empty());
    }
}
