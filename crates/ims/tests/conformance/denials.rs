//! What is decided against a caller.

use crate::{JSON, LIST, Rig, error, expect, is_decided};

pub(crate) fn without_permission_403(rig: &Rig) {
    let denied = error("403 Forbidden", "Permission Denied");
    for path in ["/account/demo/admin", "/account/demo/admin/credentials", "/account/demo/admin/consoleurl"] {
        let answer = rig.alice(path);
        expect(&answer, 403, &denied, JSON, Some("alice"));
        assert!(is_decided(&answer));
    }
    let answer = rig.host("web1.example.com", &format!("{LIST}admin"));
    expect(&answer, 403, &denied, JSON, Some("web1.example.com"));
    assert!(rig.sts.assumed().is_empty());
}

pub(crate) fn unknown_accounts_are_not_told_apart(rig: &Rig) {
    let known = rig.alice("/account/demo/admin/credentials");
    let unknown = rig.alice("/account/elsewhere/admin/credentials");
    assert_eq!((known.status, known.body), (unknown.status, unknown.body));
}

pub(crate) fn without_a_proof_401(rig: &Rig) {
    for path in ["/account", "/account/demo/readonly", LIST] {
        let answer = rig.client(None).get(path, &[]);
        expect(&answer, 401, &error("401 Unauthorized", "Authorization Required"), JSON, Some("Unknown User"));
        assert!(!is_decided(&answer));
    }
}

pub(crate) fn a_callback_elsewhere_is_403(rig: &Rig) {
    for path in ["/account/demo/readonly", "/account/demo/readonly/consoleurl"] {
        let answer = rig.alice(&format!("{path}?callbackurl=https%3A%2F%2Felsewhere.example%2F"));
        assert_eq!((answer.status, is_decided(&answer)), (403, true), "{answer:?}");
        assert!(!answer.body.contains("SigninToken"));
    }
}

pub(crate) fn another_site_gets_403(rig: &Rig) {
    let person = [("X-Remote-User", "alice"), ("X-Groups", "aws-readonly")];
    for site in [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://elsewhere.example")] {
        let headers = [person[0], person[1], site];
        let answer = rig.client(None).get("/account/demo/readonly", &headers);
        assert_eq!((answer.status, is_decided(&answer)), (403, false), "{answer:?}");
    }
    assert!(rig.sts.assumed().is_empty());
}
