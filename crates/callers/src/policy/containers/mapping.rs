//! A file that maps addresses to roles: metadataproxy's `ROLE_MAPPING_FILE`.

use std::{collections::BTreeMap, net::IpAddr};

use serde::Deserialize;

use super::ask::{Ask, Rules, clean_session_name};

/// What is wrong with the file.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum MappingError {
    /// It is no JSON object of addresses.
    #[error("not a mapping of addresses to roles in JSON: {0}")]
    Json(String),
    /// A key is no address.
    #[error("{0:?} is no IP address")]
    Address(String),
    /// A value is no role.
    #[error("the role of {address}: {reason}")]
    Role {
        /// Whose role.
        address: IpAddr,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    account_id: Option<String>,
    external_id: Option<String>,
    session_name: Option<String>,
}

/// Reads the file: `{"10.0.0.1": "role", "10.0.0.2": {"name": …, "account_id": …, "external_id": …, "session_name": …}}`.
pub fn parse(text: &[u8], rules: &Rules) -> Result<BTreeMap<IpAddr, Ask>, MappingError> {
    let json = |error: serde_json::Error| MappingError::Json(error.to_string());
    let read: BTreeMap<String, serde_json::Value> = serde_json::from_slice(text).map_err(json)?;
    let mut mapping = BTreeMap::new();
    for (key, value) in read {
        let address: IpAddr = key.parse().map_err(|_| MappingError::Address(key))?;
        let address = address.to_canonical();
        let wrong = |reason: String| MappingError::Role { address, reason };
        let entry = match value {
            serde_json::Value::String(name) => Entry { name, account_id: None, external_id: None, session_name: None },
            value => serde_json::from_value(value).map_err(|error| wrong(error.to_string()))?,
        };
        let session_name = match entry.session_name.as_deref().map(clean_session_name) {
            Some(None) => return Err(wrong("the session name is too short".to_owned())),
            Some(name) => name,
            None => None,
        };
        let ask = rules.written(&entry.name, entry.account_id.as_deref(), entry.external_id, session_name);
        mapping.insert(address, ask.map_err(|error| wrong(error.to_string()))?);
    }
    Ok(mapping)
}

#[cfg(test)]
mod tests {
    use super::{super::ask::tests::rules, *};

    #[test]
    fn both_forms_of_an_entry_are_read() {
        let text = br#"{"10.0.0.1": "web@prod", "::ffff:10.0.0.2": {"name": "p/app", "account_id": "prod",
            "external_id": "xy", "session_name": "a b"}, "fd00::1": {"name": "x"}}"#;
        let mapping = parse(text, &rules()).expect("legal");
        let get = |address: &str| &mapping[&address.parse::<IpAddr>().expect("an address")];
        assert_eq!(get("10.0.0.1").role_arn.as_str(), "arn:aws:iam::222222222222:role/web");
        let app = get("10.0.0.2");
        assert_eq!(app.role_arn.as_str(), "arn:aws:iam::222222222222:role/p/app");
        assert_eq!((app.external_id.as_deref(), app.session_name.as_deref()), (Some("xy"), Some("a_b")));
        assert_eq!(get("fd00::1").role_arn.as_str(), "arn:aws:iam::111111111111:role/x");
    }

    #[test]
    fn a_mistake_refuses_the_whole_file() {
        for (text, part) in [
            ("[]", "in JSON"),
            (r#"{"host": "web"}"#, "\"host\" is no IP address"),
            (r#"{"10.0.0.1": {"rolename": "web"}}"#, "the role of 10.0.0.1: unknown field `rolename`"),
            (r#"{"10.0.0.1": "web@nobody"}"#, "the account \"nobody\""),
            (r#"{"10.0.0.1": 7}"#, "the role of 10.0.0.1"),
            (r#"{"10.0.0.1": {"name": "w", "session_name": "x"}}"#, "too short"),
        ] {
            let said = parse(text.as_bytes(), &rules()).expect_err(text).to_string();
            assert!(said.contains(part), "{said}");
        }
    }
}
