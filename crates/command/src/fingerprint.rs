//! A short digest by which configurations of many hosts can be compared.

use aws_lc_rs::digest::{SHA256, digest};

/// The digest of a configuration, as `check` prints it: without secrets. Only digests of the same version of a program are
/// comparable.
pub fn fingerprint(configuration: &str) -> String {
    let digest = digest(&SHA256, configuration.as_bytes());
    digest.as_ref().iter().take(8).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}
