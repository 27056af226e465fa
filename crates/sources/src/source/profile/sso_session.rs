//! `[sso-session NAME]` of the SDK's configuration file: where an IAM Identity Center is, for those who have said it there.

use std::path::Path;

use super::files::{File, Kind, Setting, read_now};

/// Such a section.
pub(in crate::source) struct SsoSession {
    pub(in crate::source) start_url: String,
    pub(in crate::source) region: String,
    /// As it is written, if it is.
    pub(in crate::source) scopes: Option<String>,
}

impl SsoSession {
    /// Reads the one of that name. What is wrong is an error for a person.
    pub(in crate::source) fn read(file: &Path, name: &str) -> Result<Self, String> {
        let read = read_now(&File { kind: Kind::Config, path: file.to_owned(), named: true })?;
        let place = file.display();
        let section = read.section("sso-session", name);
        let section = section.ok_or_else(|| format!("there is no [sso-session {name}] in {place}"))?;
        let text = |key: &str| section.get(key).map(|Setting { value, .. }| value.to_string());
        let needed = |key: &str| {
            let given = text(key).filter(|text| !text.is_empty());
            given.ok_or_else(|| format!("the [sso-session {name}] in {place} has no {key}"))
        };
        Ok(Self {
            start_url: needed("sso_start_url")?,
            region: needed("sso_region")?,
            scopes: text("sso_registration_scopes"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_session_is_found_by_its_name() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("config");
        let text = "[profile x]\nsso_session = w\n[sso-session my work]\nsso_start_url = https://w.awsapps.com/start\n\
                    sso_region = eu-west-1\nsso_registration_scopes = sso:account:access, a:b\n[sso-session bare]\n\
                    sso_start_url = https://b.awsapps.com/start\n";
        std::fs::write(&file, text).expect("writable");
        let found = SsoSession::read(&file, "my work").expect("there");
        assert_eq!((found.start_url.as_str(), found.region.as_str()), ("https://w.awsapps.com/start", "eu-west-1"));
        assert_eq!(found.scopes.as_deref(), Some("sso:account:access, a:b"));
        let said = |name| SsoSession::read(&file, name).err().expect(name);
        assert!(said("none").starts_with("there is no [sso-session none] in /"), "{}", said("none"));
        assert!(said("bare").ends_with("has no sso_region"), "{}", said("bare"));
        assert!(SsoSession::read(&directory.path().join("x"), "w").err().expect("none").contains("cannot be read"));
    }
}
