//! Translates the settings of other tools into our configuration. Pure: texts in, text out.

mod env_file;
mod hologram;
mod metadataproxy;

pub use env_file::{EnvFileError, parse as parse_env_file};
pub use hologram::translate as from_hologram;
pub use metadataproxy::translate as from_metadataproxy;
