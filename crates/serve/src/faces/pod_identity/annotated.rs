//! Roles that service accounts ask for by their annotations, as far as the configuration lets their namespaces. Whoever may
//! edit a service account writes those, so without a word of the configuration nothing is granted.

use std::{sync::Arc, time::Duration};

use jiff::Timestamp;

use super::{account::Bearer, options::Allowed};
use crate::{
    credentials::{RoleArn, RoleName},
    kubernetes::{Account, Asking, Index, Known, Wish},
};

/// The associations that annotations make.
#[derive(Debug)]
pub struct Annotated {
    index: Arc<Index>,
    allow: Vec<Allowed>,
    /// The roles of the configuration that have an ARN.
    arns: Arc<[(RoleArn, RoleName)]>,
}

/// What an account gets.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found {
    /// This role, with a session for each pod or not.
    Role(RoleName, bool),
    /// It asks for none.
    Nothing,
    /// It is not known yet what it asks for.
    Unknown,
    /// It asks for this, which is no role of the configuration.
    NoRole(Wish),
    /// It asks for this role, which its namespace may not have.
    NotAllowed(RoleName),
    /// The token is of another account, which had this name before.
    Another,
}

impl Annotated {
    /// Those of `index`, within what `allow` says; `arns` are the roles of the configuration that have one.
    pub fn new(index: Arc<Index>, allow: Vec<Allowed>, arns: Arc<[(RoleArn, RoleName)]>) -> Self {
        Self { index, allow, arns }
    }

    /// What the annotations of this account give it.
    pub fn find(&self, account: &Account) -> Found {
        let Known { synced, asking } = self.index.look_up(account);
        asking.map_or_else(|| nothing(synced), |asking| self.judge(account, asking.wish))
    }

    /// What they give to a token; the clock of its issuer differs by no more than `leeway`.
    pub(super) fn find_for(&self, bearer: &Bearer, leeway: Duration) -> Found {
        let Bearer { account, uid, issued, .. } = bearer;
        let Known { synced, asking } = self.index.look_up(account);
        match asking {
            None => nothing(synced),
            Some(Asking { uid: Some(known), wish }) if Some(&known) == uid.as_ref() => self.judge(account, wish),
            // The account of a token that is newer than what is known may be the newer one.
            Some(_) if uid.is_some() && issued.is_some_and(|issued| is_later(issued, synced, leeway)) => Found::Unknown,
            Some(_) => Found::Another,
        }
    }

    fn judge(&self, account: &Account, wish: Wish) -> Found {
        let name = match &wish {
            Wish::Role(name) => Some(name),
            Wish::Arn(arn) => self.arns.iter().find(|(known, _)| known == arn).map(|(_, name)| name),
            Wish::Unreadable(_) => None,
        };
        let Some(name) = name.cloned() else { return Found::NoRole(wish) };
        let allows = |allowed: &Allowed| {
            allowed.namespace.matches(&account.namespace)
                && allowed.roles.iter().any(|pattern| pattern.matches(name.as_str()))
        };
        match self.allow.iter().find(|allowed| allows(allowed)) {
            Some(allowed) => Found::Role(name, allowed.session_tags),
            None => Found::NotAllowed(name),
        }
    }
}

/// Whether something happened, at that time in seconds since the epoch, after it was last certain that everything is known.
fn is_later(time: f64, synced: Option<Timestamp>, leeway: Duration) -> bool {
    let synced = synced.map(|synced| synced.as_duration().as_secs_f64());
    synced.is_none_or(|synced| time + leeway.as_secs_f64() > synced)
}

/// What an account gets that is not known to ask for a role.
fn nothing(synced: Option<Timestamp>) -> Found {
    if synced.is_some() { Found::Nothing } else { Found::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        credentials::Pattern,
        kubernetes::{Draft, Listed, Uid},
    };

    #[test]
    fn an_annotation_gets_what_the_namespace_may_have_and_nothing_else() {
        let arn: RoleArn = "arn:aws:iam::123456789012:role/team/web".parse().expect("an ARN");
        let name = |text: &str| -> RoleName { text.parse().expect("a name") };
        let other = Wish::Arn("arn:aws:iam::999999999999:role/team/web".parse().expect("an ARN"));
        let wishes = [
            ("prod", "web", Wish::Role(name("web-1"))),
            ("prod", "arn", Wish::Arn(arn.clone())),
            ("prod", "other-arn", other.clone()),
            ("prod", "admin", Wish::Role(name("admin"))),
            ("prod", "odd", Wish::Unreadable("x")),
            ("stage", "web", Wish::Role(name("web-1"))),
            ("stage-2", "web", Wish::Role(name("web-1"))),
        ];
        let index = Arc::new(Index::default());
        let allow = |namespace: &str, roles: &[&str]| Allowed {
            namespace: Pattern::new(namespace),
            roles: roles.iter().map(|role| Pattern::new(role)).collect(),
            session_tags: namespace == "prod",
        };
        let allowed = vec![allow("prod", &["web-*"]), allow("stage-*", &["db", "web-1"])];
        let annotated = Annotated::new(Arc::clone(&index), allowed, [(arn, name("web-2"))].into());
        let find = |namespace: &str, account: &str| annotated.find(&Account::new(namespace, account).expect("legal"));
        assert_eq!(find("prod", "web"), Found::Unknown);
        let mut draft = Draft::default();
        for (namespace, account, wish) in wishes {
            let account = Account::new(namespace, account).expect("legal");
            draft.add(Listed { account, uid: Uid::new("7"), wish: Some(wish) });
        }
        index.replace(draft, "2026-11-27T10:00:00Z".parse().expect("a time"));
        assert_eq!(find("prod", "web"), Found::Role(name("web-1"), true));
        assert_eq!(find("prod", "arn"), Found::Role(name("web-2"), true));
        assert_eq!(find("prod", "other-arn"), Found::NoRole(other));
        assert_eq!(find("prod", "admin"), Found::NotAllowed(name("admin")));
        assert_eq!(find("prod", "odd"), Found::NoRole(Wish::Unreadable("x")));
        assert_eq!(find("prod", "default"), Found::Nothing);
        assert_eq!(find("stage", "web"), Found::NotAllowed(name("web-1")));
        assert_eq!(find("stage-2", "web"), Found::Role(name("web-1"), false));
        let synced = 1_795_773_600.0;
        let find_at = |account: &str, uid: Option<&str>, issued: f64| {
            let account = Account::new("prod", account).expect("legal");
            let uid = uid.and_then(Uid::new);
            let bearer = Bearer { account, uid, pod: None, issued: Some(issued), ends: issued + 3600.0 };
            annotated.find_for(&bearer, Duration::from_mins(1))
        };
        let find = |account: &str, uid: Option<&str>| find_at(account, uid, synced - 60.0);
        assert_eq!(find("web", Some("7")), Found::Role(name("web-1"), true));
        assert_eq!((find("web", Some("8")), find("web", None)), (Found::Another, Found::Another));
        // What was made since may be of an account that is not known yet; a clock may differ.
        assert_eq!(find_at("web", Some("8"), synced - 59.0), Found::Unknown);
        assert_eq!(find_at("web", Some("7"), synced + 59.0), Found::Role(name("web-1"), true));
        assert_eq!(find_at("web", None, synced + 59.0), Found::Another);
        index.knows_all("2026-11-27T10:02:00Z".parse().expect("a time"));
        assert_eq!(find_at("web", Some("8"), synced + 59.0), Found::Another);
        assert_eq!(find("default", Some("7")), Found::Nothing);
    }
}
