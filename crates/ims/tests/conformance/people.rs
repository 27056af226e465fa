//! The routes of people.

use std::time::Duration;

use crate::{CALLBACK, JSON, Rig, error, expect, is_decided, support::client::Answer};

pub(crate) fn accounts_and_their_roles(rig: &Rig) {
    for path in ["/account", "/afp-api/latest/account", "/account?x=withid"] {
        expect(&rig.alice(path), 200, r#"{"demo": ["readonly", "db"]}"#, JSON, Some("alice"));
    }
}

pub(crate) fn withid_shows_the_numbers_as_texts(rig: &Rig) {
    let body = r#"{"demo": {"id": "111122223333", "roles": ["readonly", "db"]}}"#;
    for query in ["withid", "withid=", "withid=no"] {
        expect(&rig.alice(&format!("/account?{query}")), 200, body, JSON, Some("alice"));
    }
}

pub(crate) fn a_role_is_a_document_with_a_console_url(rig: &Rig) {
    let both = rig.alice("/account/demo/readonly");
    let document = rig.alice("/account/demo/readonly/credentials");
    let url = rig.alice("/account/demo/readonly/consoleurl").body;
    let start = document.body.strip_suffix('}').expect("a document");
    expect(&both, 200, &format!("{start}, \"ConsoleUrl\": \"{url}\"}}"), JSON, Some("alice"));
}

pub(crate) fn credentials_are_seven_keys_in_their_order(rig: &Rig) {
    let answer = rig.alice("/account/demo/readonly/credentials");
    let field = |name| answer.field(name);
    let whole = format!(
        r#"{{"Code": "Success", "Type": "AWS-HMAC", "AccessKeyId": "{}", "SecretAccessKey": "{}", "Token": "{}", "Expiration": "{}", "LastUpdated": "{}"}}"#,
        field("AccessKeyId"),
        field("SecretAccessKey"),
        field("Token"),
        field("Expiration"),
        field("LastUpdated")
    );
    expect(&answer, 200, &whole, JSON, Some("alice"));
    assert!(field("AccessKeyId").starts_with("ASIA"));
}

pub(crate) fn times_have_whole_seconds(rig: &Rig) {
    let answer = rig.alice("/account/demo/readonly/credentials");
    for name in ["Expiration", "LastUpdated"] {
        let time = answer.field(name);
        let form: String = time.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        assert_eq!(form, "0000-00-00T00:00:00Z", "{time}");
    }
}

pub(crate) fn the_console_url_is_bare(rig: &Rig) {
    let url = format!(
        "{}?Action=login&Issuer=&Destination=https%3A%2F%2Fconsole.aws.amazon.com%2F&SigninToken=to%2Fken",
        rig.federation.url
    );
    expect(&rig.alice("/account/demo/readonly/consoleurl"), 200, &url, "text/plain; charset=utf-8", None);
}

pub(crate) fn a_callback_is_the_issuer(rig: &Rig) {
    let query = format!("callbackurl={CALLBACK}a%3Fb%3Dc%26d");
    for path in ["/account/demo/readonly/consoleurl", "/account/demo/readonly"] {
        let answer = rig.alice(&format!("{path}?{query}"));
        assert!(answer.body.contains("&Issuer=https%3A%2F%2Fportal.example%2Fa%3Fb%3Dc%26d&"), "{answer:?}");
    }
}

pub(crate) fn an_account_has_a_name_and_a_number(rig: &Rig) {
    let by_name = rig.alice("/account/demo/readonly/credentials");
    let by_number = rig.alice("/account/111122223333/r%65adonly/credentials");
    assert_eq!((by_name.status, by_name.body), (200, by_number.body));
}

pub(crate) fn the_session_has_a_legal_name(rig: &Rig) {
    let headers = [("X-Remote-User", "CORP\\al ice"), ("X-Groups", "aws-db")];
    assert_eq!(rig.client(None).get("/account/demo/db/credentials", &headers).status, 200);
    let name = rig.sts.assumed().remove(0).get("RoleSessionName").to_owned();
    let legal = |c: char| c.is_ascii_alphanumeric() || "_+=,.@-".contains(c);
    assert!(name.contains("ice") && name.chars().all(legal), "{name}");
}

pub(crate) fn a_person_asks_for_a_time(rig: &Rig) {
    rig.sts.change(|script| script.roles.iter_mut().for_each(|role| role.max_session = Duration::from_hours(4)));
    let lasts = |answer: &Answer| answer.header("alppaca-ims-duration").map(str::to_owned);
    let usual = rig.alice("/account/demo/readonly/credentials");
    assert_eq!((usual.status, lasts(&usual)), (200, None));
    for path in ["/account/demo/readonly/credentials", "/account/demo/readonly"] {
        let long = rig.alice(&format!("{path}?duration=4h"));
        assert_eq!((long.status, lasts(&long).as_deref()), (200, Some("14400")), "{long:?}");
        assert_ne!(long.field("AccessKeyId"), usual.field("AccessKeyId"), "each time has a set of its own");
        assert_eq!(rig.alice(&format!("{path}?duration=14400")).field("AccessKeyId"), long.field("AccessKeyId"));
    }
    let asked: Vec<_> = rig.sts.assumed().iter().map(|call| call.form.get("DurationSeconds").cloned()).collect();
    assert_eq!(asked, [None, Some("14400".to_owned())]);
    for (time, why) in [
        ("241m", "sessions of this role last 240m at most"),
        ("14m", "`duration` is a time in whole minutes from 15m on, such as 4h"),
        ("901", "`duration` is a time in whole minutes from 15m on, such as 4h"),
        ("long", "`duration` is a time such as 4h or 90m"),
    ] {
        let answer = rig.alice(&format!("/account/demo/readonly/credentials?duration={time}"));
        expect(&answer, 400, &error("400 Bad Request", why), JSON, Some("alice"));
        assert!(is_decided(&answer));
    }
}
