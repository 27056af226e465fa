//! Where `cargo xtask test` has put the clients.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The folders of the clients. None of them need be there.
pub struct Tools {
    /// A Python with boto3, the AWS CLI v1, minio and moto.
    pub python: PathBuf,
    /// `target/test-env`: `go/`, `java/`, `javascript/`, `rust/`.
    pub folder: PathBuf,
}

impl Tools {
    /// None if moto is not there, without which nothing can be done.
    pub fn find() -> Option<Self> {
        let python = PathBuf::from(env::var_os("ALPPACA_TEST_PYTHON")?);
        let folder = python.ancestors().nth(3)?.to_owned();
        Some(Self { python, folder })
    }

    /// The program, if it is there.
    pub fn program(&self, below: &str) -> Result<PathBuf, String> {
        existing(self.folder.join(below))
    }

    /// A program of the Python environment.
    pub fn python_program(&self, name: &str) -> Result<PathBuf, String> {
        existing(self.python.with_file_name(name))
    }
}

pub fn existing(path: PathBuf) -> Result<PathBuf, String> {
    if path.exists() { Ok(path) } else { Err(format!("there is no {}", path.display())) }
}

/// A program in `PATH`.
pub fn in_path(name: &str) -> Result<PathBuf, String> {
    let path = env::var_os("PATH").unwrap_or_default();
    let found = env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.is_file());
    found.ok_or_else(|| format!("there is no {name}"))
}

/// A file below `tests/interop`.
pub fn source(below: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop").join(below)
}

/// What stands in the file below `tests/interop` between `before` and the next quotation mark, angle
/// bracket or white space: the version that is pinned there.
pub fn pinned(below: &str, before: &str) -> String {
    let text = fs::read_to_string(source(below)).expect("a file with versions");
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before:?} in {below}"));
    rest.split(['"', '<', ' ', '\n']).next().expect("always one").trim_start_matches('v').to_owned()
}
