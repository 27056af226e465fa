//! A directory for what lives as long as a demo.

use std::{
    fs::DirBuilder,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
};

use crate::failure::Failure;

/// A directory for this user alone, which goes when this is dropped.
#[derive(Debug)]
pub struct Temporary(PathBuf);

impl Temporary {
    /// Makes it. Its name begins with `name`.
    pub fn new(name: &str) -> Result<Self, Failure> {
        let path = std::env::temp_dir().join(format!("{name}-{}", std::process::id()));
        // It fails if there is anything of that name: nobody else can have put something in the way.
        let made = DirBuilder::new().mode(0o700).create(&path);
        made.map(|()| Self(path.clone()))
            .map_err(|error| Failure::runtime(format!("cannot make {}: {error}", path.display())))
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        // Only this user can have put anything there. If it stays, there is nobody left to tell.
        let _stays = std::fs::remove_dir_all(&self.0);
    }
}
