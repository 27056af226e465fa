//! Replaces a file of a person as a whole: mode, owner and symbolic links stay as they are.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt, fchown},
    path::{Path, PathBuf},
};

/// The longest file.
const MAX_FILE: u64 = 16 * 1024 * 1024;

/// What is in the file; nothing if it is not there.
pub(super) fn read(file: &Path) -> io::Result<Vec<u8>> {
    match fs::metadata(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound && fs::symlink_metadata(file).is_err() => Ok(Vec::new()),
        Err(error) => Err(error),
        Ok(metadata) if !metadata.is_file() => Err(io::Error::other("it is not a regular file")),
        Ok(metadata) if metadata.len() > MAX_FILE => Err(io::Error::other("it is too large")),
        Ok(_) => fs::read(file),
    }
}

/// Puts `text` in its place, all or nothing.
pub(super) fn write(file: &Path, text: &[u8]) -> io::Result<()> {
    let (target, before) = match fs::canonicalize(file) {
        Ok(target) => (target.clone(), Some(fs::metadata(target)?)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => (file.to_owned(), None),
        Err(error) => return Err(error),
    };
    let directory = target.parent().filter(|directory| !directory.as_os_str().is_empty());
    if let (Some(directory), None) = (directory, &before) {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
    }
    let new = beside(&target);
    let mut draft = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&new)?;
    let written = fill(&mut draft, before.as_ref(), text).and_then(|()| fs::rename(&new, &target));
    if written.is_err() {
        // What failed is the error; a draft that stays is told by its name.
        let _stays = fs::remove_file(&new);
    }
    written
}

fn fill(draft: &mut File, before: Option<&fs::Metadata>, text: &[u8]) -> io::Result<()> {
    if let Some(before) = before {
        let own = draft.metadata()?;
        if (own.uid(), own.gid()) != (before.uid(), before.gid()) {
            fchown(&*draft, Some(before.uid()), Some(before.gid()))?;
        }
        // After the owner: a change of that may take bits away.
        draft.set_permissions(fs::Permissions::from_mode(before.mode() & 0o7777))?;
    }
    draft.write_all(text)?;
    draft.sync_all()
}

fn beside(target: &Path) -> PathBuf {
    let mut name = target.file_name().unwrap_or_default().to_owned();
    name.push(format!(".alppaca-{}", std::process::id()));
    target.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_keeps_its_mode_and_a_link_stays_a_link() {
        let directory = tempfile::tempdir().expect("a directory");
        let (real, link) = (directory.path().join("real"), directory.path().join("link"));
        fs::write(&real, "old").expect("ours");
        fs::set_permissions(&real, fs::Permissions::from_mode(0o640)).expect("ours");
        std::os::unix::fs::symlink("real", &link).expect("ours");
        write(&link, b"new").expect("ours");
        assert!(fs::symlink_metadata(&link).expect("there").is_symlink());
        assert_eq!(read(&real).expect("ours"), b"new");
        assert_eq!(fs::metadata(&real).expect("there").mode() & 0o7777, 0o640);
        assert_eq!(fs::read_dir(directory.path()).expect("ours").count(), 2, "nothing is left behind");
    }

    #[test]
    fn a_new_file_and_its_directory_are_the_persons_alone() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join(".aws/config");
        assert_eq!(read(&file).expect("none"), b"");
        write(&file, b"x").expect("ours");
        assert_eq!(fs::metadata(&file).expect("there").mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(file.parent().expect("one")).expect("there").mode() & 0o777, 0o700);
    }

    #[test]
    fn what_is_no_file_is_refused() {
        let directory = tempfile::tempdir().expect("a directory");
        assert!(read(directory.path()).is_err());
        let dangling = directory.path().join("link");
        std::os::unix::fs::symlink("nowhere", &dangling).expect("ours");
        assert!(read(&dangling).is_err());
    }
}
