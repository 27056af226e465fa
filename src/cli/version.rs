//! What `--version` says.

use std::sync::LazyLock;

/// With the features that can be left out.
pub(super) fn version() -> &'static str {
    static TEXT: LazyLock<String> =
        LazyLock::new(|| alppaca_command::version(Some(if cfg!(feature = "pkcs11") { "pkcs11" } else { "none" })));
    &TEXT
}
