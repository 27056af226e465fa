//! One role of an upstream that lists roles, by its name or as the first of the list.

use std::sync::Arc;

use super::{
    ErrorKind, Fetch, RoleList, Source, SourceError, SourceFuture,
    purpose::{Purpose, Serves},
};
use crate::credentials::{Credentials, RoleName};

/// The code with which EC2 says that there is no such role for this host.
const NO_SUCH_ROLE: &str = "AssumeRoleUnauthorizedAccess";

/// One role of an upstream that lists roles.
pub struct ListedRole {
    source: Arc<dyn Source>,
    role: Option<RoleName>,
}

impl ListedRole {
    /// The role that `purpose` names as the upstream's own. Without one it is known by its own name to be served; to assume
    /// others the first that the upstream lists at the time will do.
    pub fn of(source: Arc<dyn Source>, purpose: &Purpose, serves: Serves) -> Result<Self, String> {
        let role = purpose.upstream_role.map(str::parse::<RoleName>).transpose().map_err(|error| error.to_string())?;
        let role = role.or_else(|| (serves == Serves::Clients).then(|| purpose.name.clone()));
        Ok(Self { source, role })
    }

    async fn first(&self) -> Result<RoleName, SourceError> {
        let RoleList { names, .. } = self.source.roles().await?;
        names.into_iter().next().ok_or_else(|| {
            let message = "the upstream lists no role for this host".to_owned();
            let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: message.clone(), withdraws: true };
            SourceError::new(kind, message)
        })
    }
}

impl Fetch for ListedRole {
    fn fetch<'a>(&'a self, _parent: Option<&'a Credentials>) -> SourceFuture<'a, Credentials> {
        Box::pin(async {
            match &self.role {
                Some(role) => self.source.fetch(role).await,
                None => self.source.fetch(&self.first().await?).await,
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::credentials::Secret;

    struct Upstream(Vec<&'static str>);

    impl Source for Upstream {
        fn roles(&self) -> SourceFuture<'_, RoleList> {
            let names = self.0.iter().map(|name| name.parse().expect("a name")).collect();
            Box::pin(async { Ok(RoleList { names, ..RoleList::default() }) })
        }

        fn concurrency(&self) -> usize {
            1
        }

        fn fetch<'a>(&'a self, role: &'a RoleName) -> SourceFuture<'a, Credentials> {
            Box::pin(async move {
                Ok(Credentials {
                    access_key_id: role.to_string(),
                    secret_access_key: Secret::new("secret"),
                    session_token: Secret::new("token"),
                    expiration: "2026-11-23T11:00:00Z".parse().expect("a timestamp"),
                    life: None,
                    last_updated: None,
                    account_id: None,
                    role_arn: None,
                })
            })
        }
    }

    #[tokio::test]
    async fn the_role_is_the_named_one_or_the_first_of_the_list() {
        let fetch = |roles: &[&'static str], role: Option<&str>| {
            let role = role.map(|role| role.parse().expect("a name"));
            let listed = ListedRole { source: Arc::new(Upstream(roles.to_vec())), role };
            async move { listed.fetch(None).await.map(|set| set.access_key_id) }
        };
        assert_eq!(fetch(&["a", "b"], Some("b")).await, Ok("b".to_owned()));
        assert_eq!(fetch(&["a", "b"], None).await, Ok("a".to_owned()));
        let error = fetch(&[], None).await.expect_err("none");
        assert!(matches!(error.kind, ErrorKind::Refused { withdraws: true, .. }));
    }
}
