//! What `--version` says: the version, and from what and how it was built.

use std::sync::LazyLock;

/// `0.1.0 (revision 0123456789ab, features: pkcs11)`. The revision is what `ALPPACA_REVISION` was when it was compiled;
/// without it, as from an archive, there is none.
pub(super) fn version() -> &'static str {
    static TEXT: LazyLock<String> = LazyLock::new(|| text(option_env!("ALPPACA_REVISION"), cfg!(feature = "pkcs11")));
    &TEXT
}

fn text(revision: Option<&str>, pkcs11: bool) -> String {
    let revision = revision.filter(|revision| !revision.is_empty());
    let revision = revision.map(|revision| format!("revision {revision}, ")).unwrap_or_default();
    let features = if pkcs11 { "pkcs11" } else { "none" };
    format!("{} ({revision}features: {features})", env!("CARGO_PKG_VERSION"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_shown_if_it_is_known() {
        let version = env!("CARGO_PKG_VERSION");
        assert_eq!(text(None, true), format!("{version} (features: pkcs11)"));
        assert_eq!(text(Some("abc"), false), format!("{version} (revision abc, features: none)"));
    }
}
