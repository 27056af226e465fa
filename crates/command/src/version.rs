//! What `--version` says: the version, and from what and how it was built.

/// `0.1.0 (revision 0123456789ab, features: pkcs11)`. The revision is what `ALPPACA_REVISION` was when it was compiled; without
/// it, as from an archive, there is none. `features`: those that are compiled in, for a program that has some.
pub fn version(features: Option<&str>) -> String {
    text(option_env!("ALPPACA_REVISION"), features)
}

fn text(revision: Option<&str>, features: Option<&str>) -> String {
    let revision = revision.filter(|revision| !revision.is_empty()).map(|revision| format!("revision {revision}"));
    let features = features.map(|features| format!("features: {features}"));
    let details: Vec<_> = revision.into_iter().chain(features).collect();
    let version = env!("CARGO_PKG_VERSION");
    if details.is_empty() { version.to_owned() } else { format!("{version} ({})", details.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_revision_is_shown_if_it_is_known() {
        let version = env!("CARGO_PKG_VERSION");
        for (revision, features, details) in [
            (None, Some("pkcs11"), " (features: pkcs11)"),
            (Some("abc"), Some("none"), " (revision abc, features: none)"),
            (Some("abc"), None, " (revision abc)"),
            (Some(""), None, ""),
        ] {
            assert_eq!(text(revision, features), format!("{version}{details}"));
        }
    }
}
