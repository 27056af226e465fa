//! The list of accounts and roles: `{"NAME": ["ROLE", …]}`, or with numbers `{"NAME": {"id": …, "roles": […]}}` (pure).

use std::fmt;

use serde::{
    Deserialize, Deserializer,
    de::{MapAccess, Visitor},
};

use crate::{credentials::AccountId, source::places::Place};

/// More roles than any person has.
const MAX_ROLES: usize = 10_000;

/// The roles that a person may have, in the site's order.
pub(super) struct Accounts(pub(super) Vec<Place>);

#[derive(Deserialize)]
#[serde(untagged)]
enum Account {
    Roles(Vec<String>),
    /// AFP writes the number as its configuration does, so it may be a number or null.
    WithId {
        id: Option<serde_json::Value>,
        roles: Vec<String>,
    },
}

impl<'de> Deserialize<'de> for Accounts {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(InOrder)
    }
}

/// A map of JSON in its own order, of which the first role counts.
struct InOrder;

impl<'de> Visitor<'de> for InOrder {
    type Value = Accounts;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a mapping of accounts to roles")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Accounts, A::Error> {
        let mut places = Vec::new();
        while let Some((name, account)) = map.next_entry::<String, Account>()? {
            let (id, roles) = match account {
                Account::Roles(roles) => (None, roles),
                Account::WithId { id, roles } => (id.as_ref().and_then(number), roles),
            };
            places.extend(roles.into_iter().map(|role| Place { account: name.clone(), id, role }));
            if places.len() > MAX_ROLES {
                return Err(serde::de::Error::custom(format_args!("more than {MAX_ROLES} roles")));
            }
        }
        Ok(Accounts(places))
    }
}

fn number(id: &serde_json::Value) -> Option<AccountId> {
    match id {
        serde_json::Value::String(text) => text.parse().ok(),
        // YAML takes the zeros at the beginning.
        serde_json::Value::Number(number) => format!("{:012}", number.as_u64()?).parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_are_read_in_their_order() {
        let read = |text: &str| {
            let accounts = serde_json::from_str::<Accounts>(text).ok()?;
            let shown = |place: &Place| {
                let id = place.id.map(|id| id.to_string()).unwrap_or_default();
                format!("{}/{}{id}", place.account, place.role)
            };
            Some(accounts.0.iter().map(shown).collect::<Vec<_>>().join(" "))
        };
        assert_eq!(read(r#"{"z": ["b", "a"], "a": ["c"]}"#).as_deref(), Some("z/b z/a a/c"));
        let with_ids = r#"{"z": {"id": "123456789012", "roles": ["b"]}, "y": {"id": 12345, "roles": ["c"]}, "x": {"id": null, "roles": []}}"#;
        assert_eq!(read(with_ids).as_deref(), Some("z/b123456789012 y/c000000012345"));
        assert_eq!(read("{}").as_deref(), Some(""));
        for wrong in ["[]", "", "<html>", r#"{"a": 1}"#, r#"{"a": [1]}"#] {
            assert_eq!(read(wrong), None, "{wrong}");
        }
    }
}
