//! What tells an object of the cluster from another one that has its name later.

use serde_json::{Map, Value};

use crate::Account;

/// The claim with what Kubernetes says of a token beside its subject.
/// <https://kubernetes.io/docs/reference/access-authn-authz/service-accounts-admin/#private-claims>
pub(crate) const CLAIM: &str = "kubernetes.io";
const LONGEST: usize = 64;

/// The uid of an object, which no other object ever has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Uid(Box<str>);

impl Uid {
    /// This text, if it can be a uid.
    pub fn new(text: &str) -> Option<Self> {
        let letter = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        ((1..=LONGEST).contains(&text.len()) && text.bytes().all(letter)).then(|| Self(text.into()))
    }

    /// That of `account`, for which a token with these claims was made.
    pub fn of_claims(claims: &Map<String, Value>, account: &Account) -> Option<Self> {
        said(claims, account)?.pointer("/serviceaccount/uid")?.as_str().and_then(Self::new)
    }
}

/// What Kubernetes says of a token of `account` with these claims. Nothing if they mean another account.
pub(crate) fn said<'a>(claims: &'a Map<String, Value>, account: &Account) -> Option<&'a Value> {
    let said = claims.get(CLAIM)?;
    let is = |pointer: &str, name: &str| said.pointer(pointer).and_then(Value::as_str) == Some(name);
    (is("/namespace", &account.namespace) && is("/serviceaccount/name", &account.name)).then_some(said)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_token_has_the_uid_of_its_own_account_or_none() {
        let account = Account::new("prod", "web").expect("legal");
        let of = |namespace: &str, name: &str, uid: &Value| {
            let said = json!({"namespace": namespace, "serviceaccount": {"name": name, "uid": uid}});
            let claims = json!({ CLAIM: said });
            Uid::of_claims(claims.as_object().expect("a mapping"), &account)
        };
        assert_eq!(of("prod", "web", &json!("7f0c-1")), Uid::new("7f0c-1"));
        assert!(Uid::new("7f0c-1").is_some());
        for (namespace, name, uid) in [
            ("stage", "web", json!("1")),
            ("prod", "db", json!("1")),
            ("prod", "web", json!("")),
            ("prod", "web", json!("a b")),
            ("prod", "web", json!("x".repeat(65))),
            ("prod", "web", json!(1)),
            ("prod", "web", Value::Null),
        ] {
            assert_eq!(of(namespace, name, &uid), None, "{namespace} {name} {uid}");
        }
        assert_eq!(Uid::of_claims(&Map::new(), &account), None);
    }
}
