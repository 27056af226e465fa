//! Translates the settings of other tools into our configuration. Pure: texts in, text out.

mod associations;
mod cluster;
mod eks_associations;
mod env_file;
mod flags;
mod hologram;
mod metadata_mock;
mod metadataproxy;
mod pod_annotations;
mod signing_helper;
mod text;

pub use eks_associations::translate as from_eks_associations;
pub use env_file::{EnvFileError, parse as parse_env_file};
pub use hologram::translate as from_hologram;
pub use metadata_mock::translate as from_metadata_mock;
pub use metadataproxy::translate as from_metadataproxy;
pub use pod_annotations::PodAnnotations;
pub use signing_helper::translate as from_signing_helper;
