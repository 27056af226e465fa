//! The names under which a person's roles are served: `ROLE` where that is unique, else `ROLE@ACCOUNT` (pure).

use std::collections::HashMap;

use aws_lc_rs::digest::{SHA256, digest};

use crate::credentials::{AccountId, RoleName};

/// One role, as the site knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    /// The account's name.
    pub(super) account: String,
    /// Its number, if the site says it.
    pub(super) id: Option<AccountId>,
    /// The role's name.
    pub(super) role: String,
}

/// The longest name.
const MAX_LENGTH: usize = 64;
/// The length of what distinguishes names that would be the same.
const MARK: usize = 8;

/// A name for each place, in their order. It depends on nothing but which places there are.
pub(super) fn names(places: Vec<Place>) -> Vec<(RoleName, Place)> {
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
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;

    fn named(places: &[(&str, &str)]) -> Vec<String> {
        let place =
            |(account, role): &(&str, &str)| Place { account: (*account).into(), id: None, role: (*role).into() };
        names(places.iter().map(place).collect()).into_iter().map(|(name, _)| name.to_string()).collect()
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
