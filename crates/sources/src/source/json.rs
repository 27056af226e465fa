//! Secrets in JSON that was received.

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// Reads a text that is wiped when it is dropped; for `deserialize_with`.
pub(super) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Zeroizing::new))
}
