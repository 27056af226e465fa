//! What entries of a directory say of a person. Pure.

use std::collections::BTreeMap;

use ldap3::SearchEntry;

use crate::{dn::Dn, identity::Person, options::Options};

/// The longest name of a person or group, and the longest value of a claim.
const MAX_TEXT: usize = 256;
/// The most values of a claim.
const MAX_VALUES: usize = 1_000;
/// The longest value with a key. RSA keys of 16,384 bits are shorter.
const MAX_KEY: usize = 8 * 1024;
/// The most keys of one person.
const MAX_KEYS: usize = 64;

/// The values of an attribute that are texts, whatever the case of its name.
fn values<'a>(entry: &'a SearchEntry, attribute: &'a str) -> impl Iterator<Item = &'a str> {
    let texts = entry.attrs.iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
    // One value that is no text makes all of them bytes.
    let mixed = entry.bin_attrs.iter().filter(|(name, _)| name.eq_ignore_ascii_case(attribute));
    let mixed = mixed.flat_map(|(_, values)| values).filter_map(|value| std::str::from_utf8(value).ok());
    texts.flat_map(|(_, values)| values).map(String::as_str).chain(mixed)
}

fn is_text(text: &str) -> bool {
    (1..=MAX_TEXT).contains(&text.len()) && !text.chars().any(char::is_control)
}

/// The name of a person, if there is one and only one.
pub(crate) fn name<'a>(entry: &'a SearchEntry, options: &'a Options) -> Option<&'a str> {
    let mut names = values(entry, &options.name_attribute);
    names.next().filter(|name| names.next().is_none() && is_text(name))
}

/// The values of the attribute with keys, as they are.
pub(crate) fn keys<'a>(entry: &'a SearchEntry, options: &'a Options) -> impl Iterator<Item = &'a str> {
    values(entry, &options.ssh_key_attribute).filter(|key| key.len() <= MAX_KEY).take(MAX_KEYS)
}

/// The attributes that are needed of a person.
pub(crate) fn of_person(options: &Options) -> Vec<String> {
    let claims = options.person_claims.iter().map(|(_, attribute)| attribute);
    std::iter::once(&options.name_attribute).chain(&options.member_of_attribute).chain(claims).cloned().collect()
}

/// The attributes that are needed of a group.
pub(crate) fn of_group(options: &Options) -> Vec<String> {
    let claims = options.group_claims.iter().map(|(_, attribute)| attribute);
    std::iter::once(&options.group_name_attribute).chain(claims).cloned().collect()
}

/// Nobody, of whom every claim is known to have no value.
pub(crate) fn nobody(options: &Options) -> Person {
    let claims = options.person_claims.iter().chain(&options.group_claims);
    Person { groups: Vec::new(), claims: claims.map(|(claim, _)| (claim.clone(), Vec::new())).collect() }
}

/// What the entry of a person says.
pub(crate) fn person(entry: &SearchEntry, options: &Options) -> Person {
    let mut person = nobody(options);
    claims(&mut person.claims, &options.person_claims, entry);
    for group in options.member_of_attribute.iter().flat_map(|attribute| values(entry, attribute)) {
        let group = Dn::parse(group).filter(|group| group.is_below(&options.groups_base.1));
        if let Some(name) = group.as_ref().and_then(Dn::name) {
            add_group(&mut person, name);
        }
    }
    person
}

/// Adds what the entry of a group says to one of its members.
pub(crate) fn add(person: &mut Person, entry: &SearchEntry, options: &Options) {
    for name in values(entry, &options.group_name_attribute) {
        add_group(person, name);
    }
    claims(&mut person.claims, &options.group_claims, entry);
}

fn add_group(person: &mut Person, name: &str) {
    if is_text(name) && !person.groups.iter().any(|known| known == name) {
        person.groups.push(name.to_owned());
    }
}

fn claims(into: &mut BTreeMap<String, Vec<String>>, wanted: &[(String, String)], entry: &SearchEntry) {
    for (claim, attribute) in wanted {
        let known = into.entry(claim.clone()).or_default();
        for value in values(entry, attribute).filter(|value| is_text(value)) {
            if known.len() < MAX_VALUES && !known.iter().any(|other| other == value) {
                known.push(value.to_owned());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use super::*;
    use crate::options::tests::options;

    fn entry(attributes: &[(&str, &[&str])]) -> SearchEntry {
        let attrs = attributes.iter().map(|(name, values)| {
            ((*name).to_owned(), values.iter().map(|value| (*value).to_owned()).collect::<Vec<_>>())
        });
        SearchEntry { dn: "uid=alice,dc=example".to_owned(), attrs: attrs.collect(), bin_attrs: HashMap::new() }
    }

    #[test]
    fn a_person_has_one_name_and_the_claims_that_are_wanted() {
        let options =
            options("person_claims: {mail: mail, default_role: employeeType}, group_claims: {role: businessCategory}");
        let alice = entry(&[("UID", &["alice"]), ("mail", &["a@example.com", "a@example.com", ""]), ("title", &["x"])]);
        assert_eq!(name(&alice, &options), Some("alice"));
        let mut person = person(&alice, &options);
        assert_eq!(person.claims["mail"], ["a@example.com"]);
        assert_eq!((person.claims["default_role"].len(), person.claims["role"].len()), (0, 0));
        add(&mut person, &entry(&[("cn", &["ops"]), ("businesscategory", &["admin", "dev"])]), &options);
        add(&mut person, &entry(&[("cn", &["ops", "op\ns"]), ("businessCategory", &["dev"])]), &options);
        assert_eq!(
            (person.groups, person.claims["role"].clone()),
            (vec!["ops".to_owned()], vec!["admin".to_owned(), "dev".to_owned()])
        );
        for wrong in [&["a", "b"][..], &[], &[""], &["a\nb"]] {
            assert_eq!(name(&entry(&[("uid", wrong)]), &options), None, "{wrong:?}");
        }
    }

    #[test]
    fn groups_by_their_names_are_those_below_the_base_of_groups() {
        let options = options("member_of_attribute: memberOf, groups_base_dn: 'ou=groups,dc=example'");
        let alice = entry(&[(
            "memberof",
            &[
                "cn=admins,ou=toys,dc=example",
                "cn=ops,ou=Groups,dc=example",
                r"cn=a\,b,ou=groups,dc=example",
                "nonsense",
            ],
        )]);
        assert_eq!(person(&alice, &options).groups, ["ops", "a,b"]);
    }

    #[test]
    fn values_that_are_no_texts_hide_no_other() {
        let mut alice = entry(&[]);
        alice.bin_attrs.insert("sshPublicKey".to_owned(), vec![vec![0xff], b"ssh-ed25519 AAAA".to_vec()]);
        let options = options("timeout: 1s");
        assert_eq!(keys(&alice, &options).collect::<Vec<_>>(), ["ssh-ed25519 AAAA"]);
    }
}
