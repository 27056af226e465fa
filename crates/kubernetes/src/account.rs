//! A service account, and where its name comes from.

use std::fmt;

/// The service account of a namespace.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Account {
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
}

impl Account {
    /// With these names, if accounts may have them.
    pub fn new(namespace: &str, name: &str) -> Option<Self> {
        let legal = is_name(namespace) && is_name(name);
        legal.then(|| Self { namespace: namespace.to_owned(), name: name.to_owned() })
    }

    /// The account that is the subject of a token: `system:serviceaccount:NAMESPACE:NAME`.
    pub fn of_subject(subject: &str) -> Option<Self> {
        let (namespace, name) = subject.strip_prefix("system:serviceaccount:")?.split_once(':')?;
        Self::new(namespace, name)
    }
}

/// The longest name of anything in a cluster.
const LONGEST: usize = 253;

/// Whether a namespace, an account or a pod may have that name.
pub(crate) fn is_name(text: &str) -> bool {
    let letter = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-' || byte == b'.';
    !text.is_empty() && text.len() <= LONGEST && text.bytes().all(letter)
}

impl fmt::Display for Account {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_subject_names_a_service_account_or_nothing() {
        let found = Account::of_subject("system:serviceaccount:prod:web-1").expect("one");
        assert_eq!((&*found.namespace, &*found.name), ("prod", "web-1"));
        for subject in [
            "",
            "system:serviceaccount:prod",
            "system:serviceaccount::x",
            "system:serviceaccount:a:b:c",
            "system:node:x",
            "system:serviceaccount:a:*",
            "system:serviceaccount:A:b",
            &format!("system:serviceaccount:a:{}", "b".repeat(254)),
        ] {
            assert_eq!(Account::of_subject(subject), None, "{subject}");
        }
    }
}
