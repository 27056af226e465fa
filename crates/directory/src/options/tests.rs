//! The settings of a directory, right and wrong.

use std::sync::Arc;

use super::*;
use crate::settings::{Value, problem::Source, yaml};

/// Directories with their names, and the warnings.
type Loaded = (Vec<(String, Options)>, Vec<String>);

fn load(text: &str) -> Result<Loaded, String> {
    let source = Arc::new(Source { name: "ims.yaml".into(), text: text.to_owned() });
    let node = yaml::read(&source).expect("YAML").expect("a node");
    let Value::Map(entries) = node.value else { panic!("{text}: not a mapping") };
    let mut fields = Fields::new(entries, SETTINGS);
    let found = read(&mut fields);
    let texts = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect::<Vec<_>>();
    match found {
        Some(found) if fields.problems.is_empty() => Ok((found, texts(&fields.warnings))),
        _ => Err(texts(&fields.problems).join("\n")),
    }
}

/// The smallest directory with these settings in addition.
pub(crate) fn options(more: &str) -> Options {
    let text = format!("directories: {{corp: {{urls: 'ldaps://ldap.example.com', base_dn: 'dc=example', {more}}}}}");
    load(&text).unwrap_or_else(|problems| panic!("{more}: {problems}")).0.remove(0).1
}

#[test]
fn settings_are_rendered_so_that_they_read_back_as_the_same() {
    for more in [
        "timeout: 1s",
        "urls: [ldap://a, 'ldaps://[::1]:1636'], bind_dn: 'cn=x,dc=example', password_file: /p, ca_file: /c",
        "urls: ldap://localhost, plain_ldap: yes, member_of_attribute: memberOf, groups_base_dn: 'ou=g,dc=example'",
        "people_base_dn: 'ou=p,dc=example', groups_filter: '(memberUid={name})', group_claims: {role: description}",
        "person_claims: {a: b, c: d}, refresh: 10s, keep: 0, max_people: 5, people_filter: '(!(a=b))'",
    ] {
        let more = more.replace("urls: ", "refresh: 2m, max_people: 7, urls: ");
        let text = if more.contains("urls") {
            format!("directories: {{corp: {{base_dn: 'dc=example', {more}}}}}")
        } else {
            format!("directories: {{corp: {{urls: ldaps://a, base_dn: 'dc=example', {more}}}}}")
        };
        let read = load(&text).unwrap_or_else(|problems| panic!("{text}: {problems}")).0;
        let again = load(&format!("directories: {{corp: {}}}", read[0].1.render()));
        assert_eq!(again.unwrap_or_else(|problems| panic!("{text}: {problems}")).0, read);
    }
    let read = options("groups_base_dn: 'ou=g,dc=example'");
    assert_eq!((read.people_base.as_str(), read.groups_base.0.as_str()), ("dc=example", "ou=g,dc=example"));
}

#[test]
fn limits_change_nothing_of_what_is_asked() {
    let usual = options("timeout: 1s");
    assert!(usual.asks_the_same(&options("timeout: 2s, keep: 1h, refresh: 2m, max_people: 7")));
    for other in [
        "bind_dn: 'cn=x,dc=example', password_file: /p",
        "ca_file: /c",
        "people_filter: '(a=b)'",
        "name_attribute: cn",
        "people_base_dn: 'ou=p,dc=example'",
        "person_claims: {a: b}",
    ] {
        assert!(!usual.asks_the_same(&options(other)), "{other}");
    }
}

#[test]
fn ldap_is_start_tls_unless_clear_text_is_allowed_which_is_warned_of() {
    let text = |url: &str, more: &str| format!("directories: {{x: {{urls: {url}, base_dn: 'dc=x'{more}}}}}");
    for (url, more, security, port, warnings) in [
        ("ldap://a.example.com", "", Security::StartTls, 389, 0),
        ("ldaps://a.example.com", ", plain_ldap: yes", Security::Tls, 636, 0),
        ("ldap://a.example.com:1389/", ", plain_ldap: yes", Security::None, 1389, 1),
        ("ldap://127.0.0.1", ", plain_ldap: yes", Security::None, 389, 0),
    ] {
        let (read, warned) = load(&text(url, more)).expect(url);
        let server = &read[0].1.servers[0];
        assert_eq!((server.security, server.port, warned.len()), (security, port, warnings), "{url}: {warned:?}");
    }
}

#[test]
fn each_mistake_is_reported_with_its_place_and_a_remedy() {
    let base = "urls: ldaps://a, base_dn: 'dc=x'";
    for (settings, expected) in [
        ("base_dn: 'dc=x'".to_owned(), "a directory needs `urls`, such as ldaps://ldap.example.com"),
        ("urls: ldaps://a".to_owned(), "a directory needs a `base_dn`"),
        ("urls: http://a, base_dn: 'dc=x'".to_owned(), "a URL such as ldaps://ldap.example.com is expected here"),
        ("urls: ldaps://a/dc=x, base_dn: 'dc=x'".to_owned(), "a URL such as"),
        ("urls: 'ldaps://a:x', base_dn: 'dc=x'".to_owned(), "a URL such as"),
        ("urls: ldaps://u@a, base_dn: 'dc=x'".to_owned(), "a URL such as"),
        ("urls: ldaps://a, base_dn: example.com".to_owned(), "a DN such as"),
        (format!("{base}, bind_dn: 'cn=a'"), "`bind_dn` has no effect without `password_file`"),
        (format!("{base}, groups_filter: '(member=*)'"), "an LDAP filter with {dn} or {name} in it"),
        (format!("{base}, people_filter: 'uid=a'"), "an LDAP filter such as (objectClass=person)"),
        (format!("{base}, name_attribute: 'uid)(cn'"), "the name of an attribute is expected here"),
        (format!("{base}, member_of_attribute: m, group_claims: {{a: b}}"), "group_claims"),
        (format!("{base}, person_claims: [a]"), "a mapping of claims to attributes"),
        (format!("{base}, refresh: 10ms"), "at least one second"),
        (format!("{base}, bindpw: x"), "there is no setting \"bindpw\""),
    ] {
        let problems = load(&format!("directories:\n  corp: {{{settings}}}\n")).map(drop).expect_err(&settings);
        assert!(problems.contains(expected) && problems.starts_with("ims.yaml:2:"), "{settings}: {problems}");
    }
    for name in ["nss", "a b", "''"] {
        let problems = load(&format!("directories:\n  {name}: {{{base}}}\n")).map(drop).expect_err(name);
        assert!(problems.contains("the name of a directory has"), "{name}: {problems}");
    }
}
