//! Files of which each line counts, and which a mistake makes unusable as a whole.

use std::{
    fs::File,
    io::Read as _,
    path::{Path, PathBuf},
};

/// The longest file.
const MAX_BYTES: u64 = 8 * 1024 * 1024;

/// Why such a file cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum LinesError {
    /// It cannot be read.
    #[error("{file}: {cause}", file = .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        cause: String,
    },
    /// A line is wrong.
    #[error("{file}:{line}: {cause}", file = .file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// From 1.
        line: usize,
        /// What is wrong with it.
        cause: String,
    },
}

/// What `parse` makes of the text of a file. It says which line is wrong, counted from 1, and why.
pub(crate) fn read<T>(file: &Path, parse: impl FnOnce(&str) -> Result<T, (usize, String)>) -> Result<T, LinesError> {
    let unreadable = |cause: String| LinesError::Unreadable { file: file.to_owned(), cause };
    let mut text = String::new();
    let opened = File::open(file).map_err(|error| unreadable(error.to_string()))?;
    opened.take(MAX_BYTES + 1).read_to_string(&mut text).map_err(|error| unreadable(error.to_string()))?;
    if text.len() as u64 > MAX_BYTES {
        return Err(unreadable(format!("it is longer than {MAX_BYTES} bytes")));
    }
    parse(&text).map_err(|(line, cause)| LinesError::Line { file: file.to_owned(), line, cause })
}
