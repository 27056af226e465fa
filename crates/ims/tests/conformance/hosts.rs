//! The routes of hosts.

use crate::{JSON, LIST, Rig, expect, is_decided};

pub(crate) fn a_list_is_bare_lines(rig: &Rig) {
    for (host, roles) in [("web1.example.com", "web"), ("two.example.com", "web\ndb")] {
        expect(&rig.host(host, LIST), 200, roles, "text/plain", None);
    }
}

pub(crate) fn the_list_has_two_paths(rig: &Rig) {
    for mount in ["", "/machines"] {
        for path in [LIST.to_owned(), format!("/latest{LIST}")] {
            expect(&rig.host("web1.example.com", &format!("{mount}{path}")), 200, "web", "text/plain", None);
        }
    }
}

pub(crate) fn the_document_of_a_host(rig: &Rig) {
    let answer = rig.host("web1.example.com", &format!("{LIST}web"));
    assert_eq!(rig.host("web1.example.com", &format!("/machines/latest{LIST}web")).body, answer.body);
    expect(&answer, 200, &answer.body.clone(), JSON, Some("web1.example.com"));
    let keys: Vec<&str> = answer.body.split('"').filter(|text| text.chars().all(char::is_alphabetic)).collect();
    assert_eq!(keys.first(), Some(&"Code"), "{answer:?}");
    assert_eq!((answer.field("Code").as_str(), answer.field("Type").as_str()), ("Success", "AWS-HMAC"));
}

pub(crate) fn a_host_without_a_role_has_an_empty_list(rig: &Rig) {
    let answer = rig.host("other.example.com", LIST);
    expect(&answer, 200, "", "text/plain", None);
    assert!(is_decided(&answer));
}
