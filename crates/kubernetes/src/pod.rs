//! The pod that a token of a service account is bound to.

use serde_json::{Map, Value};

use crate::{
    account::{Account, is_name},
    uid::{Uid, said},
};

/// One pod of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Pod {
    /// Its name. Another pod may have it later.
    pub name: String,
    /// Its uid, which no other pod ever has.
    pub uid: String,
}

impl Pod {
    /// The pod to which a token of `account` with these claims is bound. There is none if the claims mean another account.
    pub fn of_claims(claims: &Map<String, Value>, account: &Account) -> Option<Self> {
        let said = said(claims, account)?;
        let text = |pointer: &str| said.pointer(pointer).and_then(Value::as_str);
        let (name, uid) = (text("/pod/name")?, text("/pod/uid")?);
        (is_name(name) && Uid::new(uid).is_some()).then(|| Self { name: name.to_owned(), uid: uid.to_owned() })
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::uid::CLAIM;

    #[test]
    fn a_token_is_bound_to_a_pod_of_its_own_account_or_to_none() {
        let account = Account::new("prod", "web").expect("legal");
        let of = |change: &dyn Fn(&mut Value)| {
            let mut said = json!({
                "namespace": "prod", "serviceaccount": {"name": "web", "uid": "1"},
                "pod": {"name": "web-0", "uid": "7f0c1a52-3f0d-4d0e-9d8a-6f2f7f2b6f11"}, "node": {"name": "n"},
            });
            change(&mut said);
            let claims = json!({"sub": "system:serviceaccount:prod:web", CLAIM: said});
            Pod::of_claims(claims.as_object().expect("a mapping"), &account)
        };
        let found = of(&|_| {}).expect("a pod");
        assert_eq!((&*found.name, &*found.uid), ("web-0", "7f0c1a52-3f0d-4d0e-9d8a-6f2f7f2b6f11"));
        let long = "x".repeat(254);
        for (pointer, value) in [
            ("/namespace", json!("stage")),
            ("/serviceaccount/name", json!("db")),
            ("/serviceaccount", Value::Null),
            ("/pod", Value::Null),
            ("/pod", json!("web-0")),
            ("/pod/name", json!("")),
            ("/pod/name", json!("Web")),
            ("/pod/name", json!("web+0")),
            ("/pod/name", json!(long)),
            ("/pod/uid", json!("")),
            ("/pod/uid", json!("a b")),
            ("/pod/uid", json!("x".repeat(65))),
            ("/pod/uid", json!(7)),
        ] {
            let changed = of(&|said| *said.pointer_mut(pointer).expect("there") = value.clone());
            assert_eq!(changed, None, "{pointer} {value}");
        }
        assert_eq!(Pod::of_claims(&Map::new(), &account), None);
    }
}
