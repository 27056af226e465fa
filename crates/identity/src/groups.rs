//! Groups that a proof does not hold: those of the account of that name on this host, from the name service (NSS), which
//! also covers sssd, nslcd and winbind.

use std::{ffi::CString, sync::Arc, time::Duration};

use nix::unistd::{Group, User, getgrouplist};

use crate::{Evidence, Identity, Prove, Refusal, lookups::Lookups, names::shown};

/// How long the groups of one account may take. What comes later is in the cache of most name services at the next request.
const TIMEOUT: Duration = Duration::from_secs(5);

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
pub(crate) struct WithGroups {
    method: Arc<dyn Prove>,
    groups: Arc<Groups>,
    timeout: Duration,
    /// By the name of the account.
    lookups: Lookups<String>,
}

/// The groups of an account. It may hang.
type Groups = dyn Fn(&str) -> nix::Result<Vec<String>> + Send + Sync;

impl WithGroups {
    pub(crate) fn new(method: Arc<dyn Prove>) -> Self {
        Self { method, groups: Arc::new(groups), timeout: TIMEOUT, lookups: Lookups::new("groups") }
    }

    fn groups(&self, name: &str) -> Result<Vec<String>, Refusal> {
        let (groups, account) = (Arc::clone(&self.groups), name.to_owned());
        let found = self.lookups.run(name.to_owned(), self.timeout, move || groups(&account));
        found.and_then(|found| found.map_err(|error| error.to_string())).map_err(|cause| {
            Refusal::Unavailable(format!("the name service does not say which groups {} has: {cause}", shown(name)))
        })
    }
}

impl Prove for WithGroups {
    fn name(&self) -> &str {
        self.method.name()
    }

    fn challenge(&self) -> Option<String> {
        self.method.challenge()
    }

    fn blocks(&self) -> bool {
        true
    }

    fn prove(&self, evidence: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
        let Some(mut identity) = self.method.prove(evidence)? else { return Ok(None) };
        identity.join(self.groups(&identity.name)?);
        Ok(Some(identity))
    }
}

/// The groups of an account, primary and supplementary; none if there is no such account.
fn groups(name: &str) -> nix::Result<Vec<String>> {
    let Ok(account) = CString::new(name) else { return Ok(Vec::new()) };
    let Some(user) = User::from_name(name)? else { return Ok(Vec::new()) };
    let ids = getgrouplist(&account, user.gid)?;
    let found = ids.into_iter().map(Group::from_gid).collect::<Result<Vec<_>, _>>()?;
    // A group without a name matches no rule.
    Ok(found.into_iter().flatten().map(|group| group.name).collect())
}

#[cfg(test)]
mod tests {
    use std::{net::Ipv4Addr, sync::Mutex, time::SystemTime};

    use http::{HeaderMap, Method};

    use super::*;
    use crate::{Peer, lookups::SCARCE};

    struct Always(&'static str);

    impl Prove for Always {
        fn name(&self) -> &'static str {
            "always"
        }

        fn challenge(&self) -> Option<String> {
            None
        }

        fn prove(&self, _: &Evidence<'_>) -> Result<Option<Identity>, Refusal> {
            let groups = vec!["root".to_owned(), "of-the-proof".to_owned()];
            Ok(Some(Identity { groups, ..Identity::new(self.0, "always", "always") }))
        }
    }

    fn prove(method: &WithGroups) -> Result<Vec<String>, Refusal> {
        let headers = HeaderMap::new();
        let evidence = Evidence {
            peer: &Peer::Tcp(Ipv4Addr::LOCALHOST.into()),
            certificates: &[],
            method: &Method::GET,
            path: "/",
            headers: &headers,
            now: SystemTime::UNIX_EPOCH,
        };
        method.prove(&evidence).map(|identity| identity.expect("an identity").groups)
    }

    fn groups_of(name: &'static str) -> Vec<String> {
        prove(&WithGroups::new(Arc::new(Always(name)))).expect("the name service works")
    }

    #[test]
    fn the_name_service_adds_the_groups_of_an_account() {
        assert_eq!(groups_of("root"), ["root", "of-the-proof"], "each once");
        assert_eq!(groups_of("daemon"), ["root", "of-the-proof", "daemon"]);
        for unknown in ["no-such-account", "", "a\0b"] {
            assert_eq!(groups_of(unknown), ["root", "of-the-proof"]);
        }
    }

    fn unavailable(method: &WithGroups) -> String {
        match prove(method) {
            Err(Refusal::Unavailable(text)) => text,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_name_service_that_hangs_holds_up_no_request_for_long() {
        let gate = Arc::new(Mutex::new(()));
        let closed = gate.lock().expect("the gate");
        let hangs = Arc::clone(&gate);
        let groups = move |_: &str| -> nix::Result<Vec<String>> {
            drop(hangs.lock());
            Ok(Vec::new())
        };
        let method = Arc::new(Always("alice"));
        let mut of_alice =
            WithGroups { groups: Arc::new(groups), timeout: Duration::from_millis(1), ..WithGroups::new(method) };
        let cause = "the name service does not say which groups \"alice\" has: ";
        for _ in 0..SCARCE {
            assert_eq!(unavailable(&of_alice), format!("{cause}no answer within 1ms"));
        }
        let too_many = format!("{cause}too many look-ups for the same caller are under way");
        assert_eq!(unavailable(&of_alice), too_many);
        of_alice.method = Arc::new(Always("bob"));
        assert!(unavailable(&of_alice).ends_with("no answer within 1ms"), "another name has places");
        drop(closed);
    }

    #[test]
    fn a_name_service_that_fails_is_no_refusal() {
        let groups = |_: &str| -> nix::Result<Vec<String>> { Err(nix::Error::EIO) };
        let broken = WithGroups { groups: Arc::new(groups), ..WithGroups::new(Arc::new(Always("alice"))) };
        assert!(unavailable(&broken).contains("which groups \"alice\" has: EIO"));
    }
}
