//! Filters of searches (RFC 4515), in which only the site's own words have a meaning. Pure.

use ldap3::{ldap_escape, parse_filter};

/// A filter in which `{name}` and `{dn}` stand for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Template(String);

/// What may stand between braces.
const PLACES: [&str; 2] = ["{name}", "{dn}"];

impl Template {
    /// A filter that is one with any person in it, and that depends on the person.
    pub(crate) fn new(text: &str) -> Option<Self> {
        let template = Self(text.to_owned());
        let without = PLACES.iter().fold(text.to_owned(), |text, place| text.replace(place, ""));
        let depends = PLACES.iter().any(|place| text.contains(place));
        // What is not ASCII can be a value, and nothing else.
        (depends && !without.contains(['{', '}']) && is_filter(&template.fill("é", "é"))).then_some(template)
    }

    /// As it is written.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The filter for a person. What stands for it is a value, and never a part of the filter.
    pub(crate) fn fill(&self, name: &str, dn: &str) -> String {
        let (mut filled, mut rest) = (String::new(), self.0.as_str());
        while let Some(at) = rest.find('{') {
            filled.push_str(&rest[..at]);
            rest = &rest[at..];
            let value = [name, dn];
            match PLACES.iter().zip(value).find_map(|(place, value)| Some((rest.strip_prefix(place)?, value))) {
                Some((after, value)) => {
                    filled.push_str(&ldap_escape(value));
                    rest = after;
                }
                None => {
                    filled.push('{');
                    rest = &rest[1..];
                }
            }
        }
        filled + rest
    }
}

/// Whether it is a filter.
pub(crate) fn is_filter(text: &str) -> bool {
    text.starts_with('(') && parse_filter(text).is_ok()
}

/// Whether it is the name of an attribute.
pub(crate) fn is_attribute(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_alphabetic())
        && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && text.len() <= 128
}

/// The filter for the entry of a person: one of `people` of which an attribute has the name.
pub(crate) fn person(people: &str, attribute: &str, name: &str) -> String {
    format!("(&{people}({attribute}={}))", ldap_escape(name))
}

/// The filter for all people with an attribute.
pub(crate) fn having(people: &str, attribute: &str) -> String {
    format!("(&{people}({attribute}=*))")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_never_a_part_of_the_filter() {
        let template = Template::new("(&(objectClass=groupOfNames)(member={dn}))").expect("a filter");
        for (dn, filled) in [
            ("uid=alice,dc=x", "(&(objectClass=groupOfNames)(member=uid=alice,dc=x))"),
            ("*", r"(&(objectClass=groupOfNames)(member=\2a))"),
            ("x)(cn=admins", r"(&(objectClass=groupOfNames)(member=x\29\28cn=admins))"),
            (r"\", r"(&(objectClass=groupOfNames)(member=\5c))"),
            ("{name}", "(&(objectClass=groupOfNames)(member={name}))"),
        ] {
            assert_eq!(template.fill("n", dn), filled);
        }
        assert_eq!(person("(objectClass=*)", "uid", "*)(uid=root"), r"(&(objectClass=*)(uid=\2a\29\28uid=root))");
    }

    #[test]
    fn what_is_no_filter_is_refused() {
        assert!(Template::new("(|(memberUid={name})(member={dn}))").is_some());
        assert!(Template::new("(member:1.2.840.113556.1.4.1941:={dn})").is_some());
        for wrong in [
            "",
            "(member=*)",
            "member={dn}",
            "(member={dn}",
            "(member={DN})",
            "(member={dn})(a=b)",
            "({dn})",
            "({name}=a)",
        ] {
            assert_eq!(Template::new(wrong), None, "{wrong}");
        }
        assert!(is_filter("(!(nsAccountLock=TRUE))") && !is_filter("(a=b)(c=d)") && !is_filter("objectClass=*"));
        assert!(is_attribute("sshPublicKey") && !is_attribute("a=b") && !is_attribute("") && !is_attribute("uid)(a"));
    }

    proptest::proptest! {
        #[test]
        fn every_name_makes_a_filter_for_one_value(name in r"\PC{1,40}") {
            let filter = person("(objectClass=*)", "uid", &name);
            proptest::prop_assert!(is_filter(&filter), "{}", filter);
            let inside = filter.strip_prefix("(&(objectClass=*)(uid=").and_then(|rest| rest.strip_suffix("))"));
            proptest::prop_assert!(inside.is_some_and(|value| !value.contains(['(', ')', '*', '\0'])));
        }
    }
}
