//! Credentials: their document, and what is there when there are none.

use std::{collections::BTreeSet, time::Duration};

use alppaca::mock_ims::{Answer, Behaviour};

use crate::{
    LIST, ROLE, get, rig,
    support::{Daemon, Ims, Response},
    with_metadata,
};

fn documents() -> Vec<Response> {
    rig().both().map(|address| get(address, ROLE)).into()
}

fn is_whole_seconds(text: &serde_json::Value) -> bool {
    let text = text.as_str().expect("a text");
    let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    shape == "0000-00-00T00:00:00Z"
}

pub(crate) fn the_document_has_seven_keys() {
    for response in documents() {
        assert_eq!(response.status, 200);
        let order: Vec<_> = response.body.lines().filter_map(|line| line.split('"').nth(1)).collect();
        let keys = ["Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"];
        assert_eq!(order, keys);
        assert_eq!(response.json()["Type"], "AWS-HMAC");
        assert!(response.body.starts_with("{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \""));
        assert!(response.body.ends_with("Z\"\n}"));
    }
}

pub(crate) fn a_final_slash_changes_nothing() {
    let rig = rig();
    for address in rig.both() {
        let response = get(address, &format!("{ROLE}/"));
        assert_eq!((response.status, &response.json()["Code"]), (200, &"Success".into()));
    }
}

pub(crate) fn the_code_is_success() {
    assert!(documents().iter().all(|response| response.json()["Code"] == "Success"));
}

pub(crate) fn the_expiration_has_the_only_form_that_all_read() {
    assert!(documents().iter().all(|response| is_whole_seconds(&response.json()["Expiration"])));
}

pub(crate) fn last_updated_has_the_same_form() {
    assert!(documents().iter().all(|response| is_whole_seconds(&response.json()["LastUpdated"])));
}

pub(crate) fn no_role_arn_and_nothing_nested() {
    for response in documents() {
        let document = response.json();
        let object = document.as_object().expect("an object");
        assert!(!object.contains_key("RoleArn") && !object.contains_key("AccountId"));
        assert!(object.values().all(serde_json::Value::is_string));
    }
}

pub(crate) fn the_document_is_text_plain() {
    for response in documents() {
        assert_eq!(response.header("content-type"), Some("text/plain"));
        assert_eq!(response.header("accept-ranges"), Some("none"));
        assert!(response.header("last-modified").is_some_and(|date| date.ends_with(" GMT")));
    }
}

pub(crate) fn a_length_and_no_chunks() {
    for response in documents() {
        assert_eq!(response.header("content-length"), Some(&*response.body.len().to_string()));
        assert!(response.header("transfer-encoding").is_none());
    }
}

pub(crate) fn an_unknown_role_is_404() {
    for address in rig().both() {
        for path in [
            "/latest/meta-data/iam/security-credentials/other",
            "/latest/meta-data/iam/security-credentials/TEST_ROLE",
            "/latest/meta-data/iam/security-credentials/..",
            "/latest/meta-data/iam/security-credentials/%2e%2e",
            "/latest/meta-data/iam/security-credentials/test_role/x",
            "/nowhere",
        ] {
            let response = get(address, path);
            assert_eq!(response.status, 404, "{path}");
            assert!(response.body.contains("<title>404 - Not Found</title>"));
        }
    }
}

pub(crate) fn without_a_role_the_listing_is_404() {
    let ims = Ims::start(Behaviour { roles: Vec::new(), ..Behaviour::default() });
    let daemon = Daemon::start(&ims.config());
    daemon.wait_for_log("no role");
    for path in [LIST, ROLE, "/latest/meta-data/iam/", "/latest/meta-data/iam/info"] {
        assert_eq!(get(daemon.address(), path).status, 404, "{path}");
    }
    assert!(!get(daemon.address(), "/latest/meta-data/").body.contains("iam"));
}

const EXTENDED: &str = "/latest/meta-data/iam/security-credentials-extended/";

pub(crate) fn the_extended_paths_are_404_or_have_the_account() {
    let (_ims, off) = with_metadata("{account_id: '123456789012'}");
    assert_eq!(get(off.address(), EXTENDED).status, 404);
    let (_ims, on) = with_metadata("{security_credentials_extended: on, account_id: '123456789012'}");
    assert_eq!(get(on.address(), EXTENDED).body, "test_role");
    let document = get(on.address(), &format!("{EXTENDED}test_role"));
    assert_eq!((document.status, document.header("content-type")), (200, Some("text/plain")));
    assert_eq!(document.json()["AccountId"], "123456789012");
    let mut keys = document.json().as_object().expect("an object").clone();
    keys.remove("AccountId");
    assert_eq!(serde_json::Value::from(keys), get(on.address(), ROLE).json());
    assert!(get(on.address(), "/latest/meta-data/iam/").body.contains("security-credentials-extended/"));
    // Where the account is not known it is left out.
    let (_ims, unknown) = with_metadata("{security_credentials_extended: on}");
    assert!(get(unknown.address(), &format!("{EXTENDED}test_role")).json().get("AccountId").is_none());
}

pub(crate) fn extended_list_and_document_agree() {
    for (setting, status) in [("off", 404), ("on", 200)] {
        let (_ims, daemon) = with_metadata(&format!("{{security_credentials_extended: {setting}}}"));
        for path in [EXTENDED.to_owned(), EXTENDED.trim_end_matches('/').to_owned(), format!("{EXTENDED}test_role")] {
            assert_eq!(get(daemon.address(), &path).status, status, "{path}");
        }
        assert_eq!(get(daemon.address(), &format!("{EXTENDED}other")).status, 404);
    }
}

pub(crate) fn what_is_held_is_served_while_the_upstream_is_down() {
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(12), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&ims.config());
    let before = get(daemon.address(), ROLE).body;
    ims.handle.update(|behaviour| behaviour.list = Answer::Status(502));
    ims.handle.update(|behaviour| behaviour.document = Answer::Status(502));
    daemon.wait_for_log("cannot fetch credentials");
    let response = get(daemon.address(), ROLE);
    assert_eq!((response.status, response.json()["Code"].as_str()), (200, Some("Success")));
    assert_eq!(before.len(), response.body.len());
}

pub(crate) fn a_refused_role_is_a_200_that_says_so() {
    let ims = Ims::start(Behaviour { document: Answer::Status(403), ..Behaviour::default() });
    let daemon = Daemon::start(&ims.config());
    daemon.wait_for_log("cannot fetch credentials");
    let response = get(daemon.address(), ROLE);
    assert_eq!((response.status, response.json()["Code"].as_str()), (200, Some("AssumeRoleUnauthorizedAccess")));
    assert!(response.json()["Message"].is_string() && response.json().get("AccessKeyId").is_none());
}

pub(crate) fn no_answer_mixes_two_sets() {
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(3), ..Behaviour::default() });
    let config =
        format!("{}container: {{listen: '127.0.0.1:0', roles: {{test_role: {{open: true}}}}}}\n", ims.config());
    let daemon = Daemon::with_credentials(&config);
    let container = daemon.face("container");
    let mut seen = BTreeSet::new();
    while seen.len() < 4 {
        for document in [get(daemon.address(), ROLE), crate::get_v1(container, "/role/test_role")] {
            let document = document.json();
            let part = |key: &str| document[key].as_str().expect("a text").to_owned();
            let issued = ims.handle.issued_with(&part("AccessKeyId")).expect("a key that the mock issued");
            assert_eq!((part("SecretAccessKey"), part("Token")), (issued.secret_access_key, issued.session_token));
            seen.insert(part("AccessKeyId"));
        }
    }
}
