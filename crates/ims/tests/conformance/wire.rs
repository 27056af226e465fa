//! Methods, paths and headers.

use crate::{JSON, LIST, Rig, error, expect, is_decided};

pub(crate) fn status_needs_no_proof(rig: &Rig) {
    for path in ["/status", "/afp-api/latest/status", "/machines/status"] {
        let answer = rig.client(None).get(path, &[]);
        expect(&answer, 200, r#"{"status": "200", "message": "OK"}"#, JSON, Some("monitoring"));
    }
}

pub(crate) fn head_is_get_without_a_body(rig: &Rig) {
    let client = rig.client(Some("web1.example.com"));
    let mut connection = client.connect().expect("a connection");
    let list = connection.get(LIST, &[]).expect("an answer");
    let head = |path: &str| format!("HEAD {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let of_list = connection.raw(&head(LIST)).expect("an answer");
    assert_eq!((of_list.status, of_list.header("content-length")), (200, list.header("content-length")));
    let of_document = connection.raw(&head(&format!("{LIST}web"))).expect("an answer");
    assert_eq!((of_document.status, of_document.header("content-type")), (200, Some(JSON)));
    assert!(rig.sts.assumed().is_empty());
    // Nothing was left over for the next answer.
    assert_eq!(connection.get(LIST, &[]).expect("an answer").body, "web");
}

pub(crate) fn other_methods_are_405(rig: &Rig) {
    for method in ["POST", "PUT", "DELETE", "OPTIONS"] {
        let mut connection = rig.client(None).connect().expect("a connection");
        let request = format!("{method} /account HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
        let answer = connection.raw(&request).expect("an answer");
        assert_eq!((answer.status, answer.header("allow")), (405, Some("GET")), "{method}: {answer:?}");
        assert_eq!(answer.header("content-type"), Some("text/html; charset=UTF-8"));
        assert_eq!(answer.header("x-username"), None);
    }
}

pub(crate) fn an_encoded_slash_is_a_slash(rig: &Rig) {
    assert_eq!(rig.alice("/account/demo/read%2fonly").status, 404);
    assert_eq!(rig.alice("/account/demo%2Freadonly").status, 200);
    assert_eq!(rig.host("web1.example.com", &format!("{LIST}..%2fadmin")).status, 404);
}

pub(crate) fn no_slash_is_added_or_removed(rig: &Rig) {
    for path in ["/account/", "/status/", "/account/demo/readonly/", LIST.trim_end_matches('/')] {
        let answer = rig.alice(path);
        assert_eq!((answer.status, answer.header("location")), (404, None), "{path}: {answer:?}");
    }
}

pub(crate) fn an_unknown_path_is_404(rig: &Rig) {
    for path in ["/", "/x", "/account/demo", "/account/demo/readonly/x", "/latest/latest/meta-data/"] {
        let answer = rig.alice(path);
        expect(&answer, 404, &error("404 Not Found", &format!("Not found: '{path}'")), JSON, Some("Unknown User"));
        assert!(!is_decided(&answer), "it may be a mistake of the configuration");
    }
}

pub(crate) fn each_mount_has_its_own_routes(rig: &Rig) {
    assert_eq!(rig.alice("/afp-api/latest/account").status, 200);
    assert_eq!(rig.alice("/machines/account").status, 404);
    assert_eq!(rig.host("web1.example.com", &format!("/machines{LIST}")).status, 200);
    assert_eq!(rig.host("web1.example.com", &format!("/afp-api{LIST}")).status, 404);
    assert_eq!(rig.host("web1.example.com", &format!("/afp-api/latest{LIST}")).status, 404);
}

pub(crate) fn nothing_secret_is_cached(rig: &Rig) {
    for path in ["/account/demo/readonly", "/account/demo/readonly/credentials", "/account/demo/readonly/consoleurl"] {
        let answer = rig.alice(path);
        assert_eq!((answer.status, answer.header("cache-control")), (200, Some("no-store")), "{path}: {answer:?}");
        assert_eq!(answer.header("vary"), Some("Authorization"), "{path}");
    }
    let list = rig.host("web1.example.com", LIST);
    assert_eq!(list.header("cache-control"), Some("private, max-age=300"));
}
