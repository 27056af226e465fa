//! A person's roles and the names under which they are served: `ROLE` where that is unique, else `ROLE@ACCOUNT`.

use std::{
    collections::{HashMap, HashSet},
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use aws_lc_rs::digest::{SHA256, digest};

use super::{ErrorKind, RoleList, SourceError, ims::NO_SUCH_ROLE};
use crate::{
    clock::{BootTime, SharedClock},
    credentials::{AccountId, RoleName},
    refresh::OnRequest,
    settings::{Setting, options, read},
    sign_in::NoToken,
};

options! {
    /// Which of a person's roles are fetched, and for how long.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub(super) struct Lists {
        /// The roles that are fetched without anybody asking.
        pub ready: Vec<RoleName> = Setting::nested(
            "ready",
            "[]",
            "Roles, by the names that `alppaca status` shows, whose credentials are kept ready. The others are fetched \
             when a program asks for them.",
        ) => value(|node| read::list(node, read::role_name));
        /// How long a role is in use.
        pub idle_after: Duration = Setting::nested(
            "idle_after",
            "2h",
            "For how long the credentials of a role are renewed after a program last asked for them.",
        ) => value(read::interval);
    }
}

impl Lists {
    pub(super) fn on_request(&self) -> OnRequest {
        OnRequest { ready: self.ready.clone(), idle_after: self.idle_after }
    }
}

/// A role that was not in so young a list is not looked for in another one.
const YOUNG: Duration = Duration::from_mins(1);

/// The roles of the last list.
#[derive(Default)]
pub(super) struct Places {
    known: Mutex<Arc<HashMap<RoleName, Place>>>,
    /// Held by the one who lists for a single role.
    listing: tokio::sync::Mutex<Option<Listing>>,
}

/// What came of it.
struct Listing {
    ended: BootTime,
    /// The serial number of the sign-in.
    serial: u64,
    outcome: Result<(), SourceError>,
}

impl Places {
    /// Takes these roles over, each once; answers their names and accounts.
    pub(super) fn list(&self, mut places: Vec<Place>) -> RoleList {
        let mut seen = HashSet::new();
        places.retain(|place| seen.insert((place.account.clone(), place.role.clone())));
        let named = names(places);
        let names = named.iter().map(|(name, _)| name.clone()).collect();
        let accounts = named.iter().filter_map(|(name, place)| Some((name.clone(), place.id?))).collect();
        *self.known.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(named.into_iter().collect());
        RoleList { names, accounts, ..RoleList::default() }
    }

    /// The role of that name. One of the configuration may be asked for before there is a list: then it is made, once for all
    /// that wait for it. `serial` is that of the sign-in.
    pub(super) async fn find(
        &self,
        name: &RoleName,
        serial: u64,
        clock: &SharedClock,
        list: impl Future<Output = Result<RoleList, SourceError>>,
    ) -> Result<Place, SourceError> {
        if let Some(place) = self.get(name) {
            return Ok(place);
        }
        let asked = clock.now().boot;
        let mut last = self.listing.lock().await;
        if let Some(place) = self.get(name) {
            return Ok(place);
        }
        let counts = |last: &&Listing| {
            let is_young = last.outcome.is_ok() && clock.now().boot.since(last.ended) < YOUNG;
            last.serial == serial && (last.ended > asked || is_young)
        };
        let outcome = match last.as_ref().filter(counts) {
            Some(last) => last.outcome.clone(),
            None => {
                let outcome = list.await.map(drop);
                *last = Some(Listing { ended: clock.now().boot, serial, outcome: outcome.clone() });
                outcome
            }
        };
        outcome?;
        self.get(name).ok_or_else(|| not_listed(name))
    }

    /// The role of that name.
    fn get(&self, name: &RoleName) -> Option<Place> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }
}

/// One role, as the upstream knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The account's name.
    pub(super) account: String,
    /// Its number, if the upstream says it.
    pub(super) id: Option<AccountId>,
    /// The role's name.
    pub(super) role: String,
}

/// The upstream has no such role for this person.
fn not_listed(role: &RoleName) -> SourceError {
    beyond_doubt(format!("there is no role {role} for this person"))
}

/// What is valid is served on, unless the person has left.
impl From<NoToken> for SourceError {
    fn from(why: NoToken) -> Self {
        match why {
            NoToken::Needed(reason) => Self::transient(format!("sign-in needed ({reason}): run `alppaca login`")),
            NoToken::Later(problem) => {
                Self::transient(format!("the sign-in cannot be renewed at the moment: {problem}"))
            }
            NoToken::SignedOut => beyond_doubt("signed out: run `alppaca login`".to_owned()),
        }
    }
}

fn beyond_doubt(message: String) -> SourceError {
    let kind = ErrorKind::Refused { code: NO_SUCH_ROLE.to_owned(), message: message.clone(), withdraws: true };
    SourceError::new(kind, message)
}

/// The longest name.
const MAX_LENGTH: usize = 64;
/// The length of what distinguishes names that would be the same.
const MARK: usize = 8;

/// A name for each place, in their order. It depends on nothing but which places there are.
fn names(places: Vec<Place>) -> Vec<(RoleName, Place)> {
    let mut same_role: HashMap<&str, usize> = HashMap::new();
    for place in &places {
        *same_role.entry(&place.role).or_default() += 1;
    }
    let wanted: Vec<String> = places
        .iter()
        .map(|place| match same_role.get(place.role.as_str()) {
            Some(1) => clean(&place.role),
            _ => format!("{}@{}", clean(&place.role), clean(&place.account)),
        })
        .collect();
    let mut same_name: HashMap<&str, usize> = HashMap::new();
    for name in &wanted {
        *same_name.entry(name).or_default() += 1;
    }
    let fits = |name: &str| name.len() <= MAX_LENGTH && same_name.get(name) == Some(&1);
    let named: Vec<Option<RoleName>> = places
        .iter()
        .zip(&wanted)
        .map(|(place, name)| if fits(name) { name.clone() } else { marked(name, place) }.parse().ok())
        .collect();
    named.into_iter().zip(places).filter_map(|(name, place)| Some((name?, place))).collect()
}

/// Characters that no role name has become dashes.
fn clean(text: &str) -> String {
    text.chars().map(|c| if c.is_ascii_alphanumeric() || "_+=,.@-".contains(c) { c } else { '-' }).collect()
}

/// A name that no other place has.
fn marked(name: &str, place: &Place) -> String {
    let digest = digest(&SHA256, format!("{:?}", (&place.account, &place.role)).as_bytes());
    let mark = digest.as_ref().iter().take(MARK / 2).map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let kept: String = name.chars().take(MAX_LENGTH - MARK - 1).collect();
    format!("{kept}-{mark}")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn named(places: &[(&str, &str)]) -> Vec<String> {
        let place =
            |(account, role): &(&str, &str)| Place { account: (*account).into(), id: None, role: (*role).into() };
        names(places.iter().map(place).collect()).into_iter().map(|(name, _)| name.to_string()).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn roles_of_the_configuration_share_one_list() {
        let clock = crate::clock::fake::FakeClock::new();
        let shared: SharedClock = Arc::<crate::clock::fake::FakeClock>::clone(&clock);
        let (places, made) = (Places::default(), std::cell::Cell::new(0));
        let find = async |name: &str, serial: u64, works: bool| {
            let list = async {
                made.set(made.get() + 1);
                crate::clock::sleep(Duration::from_secs(1)).await;
                let place = |role: &str| Place { account: "a".into(), id: None, role: role.into() };
                let failure = SourceError::transient("down");
                if works { Ok(places.list(["x", "y"].map(place).to_vec())) } else { Err(failure) }
            };
            places.find(&name.parse().expect("a name"), serial, &shared, list).await.map(|place| place.role)
        };
        let (one, other) = tokio::join!(find("x", 1, false), find("y", 1, false));
        assert!(one.is_err() && other.is_err() && made.get() == 1, "both waited for the same answer");
        let (one, other, none) = tokio::join!(find("x", 1, true), find("y", 1, true), find("z", 1, true));
        assert_eq!((one.as_deref(), other.as_deref(), made.get()), (Ok("x"), Ok("y"), 2));
        assert!(none.expect_err("not listed").withdraws());
        find("z", 1, true).await.expect_err("not listed");
        assert_eq!(made.get(), 2, "the list is young");
        find("z", 2, true).await.expect_err("not listed");
        assert_eq!(made.get(), 3, "of another person");
        clock.suspend(YOUNG);
        find("z", 2, true).await.expect_err("not listed");
        assert_eq!(made.get(), 4);
    }

    #[test]
    fn a_role_has_its_account_in_its_name_only_where_another_account_has_it_too() {
        assert_eq!(
            named(&[("demo", "admin"), ("prod", "admin"), ("demo", "ops")]),
            ["admin@demo", "admin@prod", "ops"]
        );
        assert_eq!(named(&[("my account", "a"), ("b", "a")]), ["a@my-account", "a@b"]);
    }

    #[test]
    fn names_that_would_be_the_same_are_marked() {
        let same = named(&[("a b", "x"), ("a-b", "x")]);
        assert!(same[0] != same[1] && same.iter().all(|name| name.starts_with("x@a-b-")), "{same:?}");
        // A role whose own name looks like that of another in an account.
        let odd = named(&[("a", "x"), ("b", "x"), ("c", "x@a")]);
        assert_eq!(odd.iter().collect::<HashSet<_>>().len(), 3, "{odd:?}");
        let long = named(&[(&"a".repeat(80), "x"), ("b", "x")]);
        assert_eq!(long[0].len(), MAX_LENGTH);
    }

    proptest! {
        #[test]
        fn all_places_have_names_of_their_own(pairs in proptest::collection::hash_set(("[a-c @]{1,3}", "[a-c@]{1,3}"), 0..20)) {
            let pairs: Vec<(&str, &str)> = pairs.iter().map(|(account, role)| (account.as_str(), role.as_str())).collect();
            let names = named(&pairs);
            prop_assert_eq!(names.len(), pairs.len());
            prop_assert_eq!(names.iter().collect::<HashSet<_>>().len(), pairs.len());
            let mut reversed = pairs.clone();
            reversed.reverse();
            let mut others = named(&reversed);
            others.reverse();
            prop_assert_eq!(names, others);
        }
    }
}
