//! The section `approvals`.

use std::path::PathBuf;

use zeroize::Zeroizing;

use super::{FilesError, Key};
use crate::settings::{Fields, NamedFiles, Setting, read};

/// Where the records are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The directory, which all replicas have.
    pub directory: PathBuf,
    /// The key that signs the records, which all replicas have.
    pub key_file: PathBuf,
}

/// The setting.
pub const SECTION: Setting =
    Setting::nested("approvals", "", "Where approvals are kept, for rules that need them: `directory` and `key_file`.");

/// The settings in it.
pub const SETTINGS: &[Setting] = &[
    Setting::nested(
        "directory",
        "",
        "The directory of the records, which all replicas share. It has to be there, and only the server's account may write \
         in it. Required.",
    ),
    Setting::nested(
        "key_file",
        "",
        "The key that signs them, the same for all replicas: a file with the 64 digits of `openssl rand -hex 32`. Required.",
    ),
];

impl Options {
    /// Reads the section, which may be absent. The outer `None` says that something is wrong, which is noted in `fields`.
    #[allow(clippy::option_option, reason = "wrong and absent are not the same")]
    pub fn read(fields: &mut Fields) -> Option<Option<Self>> {
        fields.section(SECTION.key, SETTINGS, |fields| {
            let directory = fields.needed("directory", "`approvals` needs a `directory`", read::path);
            let key_file = fields.needed("key_file", "`approvals` needs a `key_file`", read::path);
            Some(Self { directory: directory?, key_file: key_file? })
        })
    }

    /// Adds what it names.
    pub fn files(&self, files: &mut NamedFiles) {
        files.obeyed("directory", [&self.directory]);
        files.secret("key_file", [&self.key_file]);
    }

    pub(super) fn read_key(&self) -> Result<Key, FilesError> {
        let wrong = |problem: String| FilesError::Key { path: self.key_file.display().to_string(), problem };
        let text = Zeroizing::new(std::fs::read_to_string(&self.key_file).map_err(|error| wrong(error.to_string()))?);
        Key::new(&text).map_err(|error| wrong(error.to_string()))
    }
}
