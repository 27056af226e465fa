//! Secrets in JSON that was received, for `deserialize_with`: texts that are wiped when they are dropped.

use serde::{Deserialize, Deserializer};
use zeroize::Zeroizing;

/// One that may be absent.
pub(crate) fn secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Zeroizing<String>>, D::Error> {
    Ok(Option::<String>::deserialize(deserializer)?.map(Zeroizing::new))
}

/// One that has to be there.
pub(crate) fn required_secret<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Zeroizing<String>, D::Error> {
    String::deserialize(deserializer).map(Zeroizing::new)
}
