//! Groups that a proof does not hold: those of the account of that name on this host, from the name service (NSS), which
//! also covers sssd, nslcd and winbind.

use std::{ffi::CString, sync::Arc};

use nix::unistd::{Group, User, getgrouplist};

use crate::{Evidence, Identity, Prove, Refusal, names::shown};

/// Where the groups of an identity come from (`groups_from`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum GroupsFrom {
    /// From the proof: a header, claims, principals.
    Proof,
    /// From the name service of the server's host, in addition.
    NameService,
    /// From the directory of this name, in addition.
    Directory(String),
}

/// Adds the groups of the name service to what another method proves.
pub(crate) struct WithGroups(pub(crate) Arc<dyn Prove>);

impl Prove for WithGroups {
    fn name(&self) -> &str {
        self.0.name()
    }

    fn challenge(&self) -> Option<String> {
        self.0.challenge()
    }

    fn blocks(&self) -> bool {
        true
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let Some(mut identity) = self.0.prove(evidence)? else { return Ok(None) };
        identity.join(groups(&identity.name)?);
        Ok(Some(identity))
    }
}

/// The groups of an account, primary and supplementary; none if there is no such account.
fn groups(name: &str) -> Result<Vec<String>, Refusal> {
    let failed = |error: nix::Error| {
        Refusal::Unavailable(format!("the name service does not say which groups {} has: {error}", shown(name)))
    };
    let Ok(account) = CString::new(name) else { return Ok(Vec::new()) };
    let Some(user) = User::from_name(name).map_err(failed)? else { return Ok(Vec::new()) };
    let ids = getgrouplist(&account, user.gid).map_err(failed)?;
    let found = ids.into_iter().map(Group::from_gid).collect::<Result<Vec<_>, _>>().map_err(failed)?;
    // A group without a name matches no rule.
    Ok(found.into_iter().flatten().map(|group| group.name).collect())
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeMap, net::Ipv4Addr, time::SystemTime};

    use http::{HeaderMap, Method};

    use super::*;
    use crate::Peer;

    struct Always(&'static str);

    impl Prove for Always {
        fn name(&self) -> &'static str {
            "always"
        }

        fn challenge(&self) -> Option<String> {
            None
        }

        fn prove(&self, _: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
            Ok(Some(Identity {
                name: self.0.to_owned(),
                names: vec![self.0.to_owned()],
                method: "always",
                proven_by: "always".to_owned(),
                groups: vec!["root".to_owned(), "of-the-proof".to_owned()],
                claims: BTreeMap::new(),
                proof: String::new(),
                authenticated_at: None,
                age: None,
            }))
        }
    }

    fn groups_of(name: &'static str) -> Vec<String> {
        let headers = HeaderMap::new();
        let evidence = Evidence {
            peer: &Peer::Tcp(Ipv4Addr::LOCALHOST.into()),
            certificates: &[],
            method: &Method::GET,
            path: "/",
            headers: &headers,
            now: SystemTime::UNIX_EPOCH,
        };
        let proven = WithGroups(Arc::new(Always(name))).prove(&evidence);
        proven.expect("the name service works").expect("an identity").groups
    }

    #[test]
    fn the_name_service_adds_the_groups_of_an_account() {
        assert_eq!(groups_of("root"), ["root", "of-the-proof"], "each once");
        assert_eq!(groups_of("daemon"), ["root", "of-the-proof", "daemon"]);
        for unknown in ["no-such-account", "", "a\0b"] {
            assert_eq!(groups_of(unknown), ["root", "of-the-proof"]);
        }
    }
}
