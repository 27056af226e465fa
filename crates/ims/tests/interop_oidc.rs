//! People who sign in at a real OpenID provider, by the device flow (RFC 8628).

mod support;

use std::fs;

use support::{
    Browser, Provider, Scene, Server, Sts, eventually,
    needs::{needs, skip},
    records,
};

const READONLY: &str = "/account/demo/readonly/credentials";

/// The ID token that a client gets while `alice` signs in.
fn sign_in(provider: &Provider, scene: &Scene, client: &str) -> String {
    let device = Browser(scene.path().join("device.cookies"));
    let ask = |path: &str, form: &[(&str, &str)]| -> serde_json::Value {
        let form = form.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let form = form.chain([("client_id".to_owned(), client.to_owned())]).collect::<Vec<_>>();
        serde_json::from_str(&device.open(&format!("{}{path}", provider.issuer), &form)).expect("JSON")
    };
    let codes = ask("/device/auth", &[("scope", "openid groups")]);
    let code = |name: &str| codes[name].as_str().unwrap_or_else(|| panic!("{codes}")).to_owned();
    let device_code = code("device_code");
    let token = || {
        ask("/token", &[("grant_type", "urn:ietf:params:oauth:grant-type:device_code"), ("device_code", &device_code)])
    };
    assert_eq!(token()["error"], "authorization_pending");

    let person = Browser(scene.path().join(format!("{client}.cookies")));
    let page = person.open(&code("verification_uri"), &[]);
    let page = person.submit(&page, &[("user_code", &code("user_code"))]);
    // This is the code that the device shows.
    let page = person.submit(&page, &[]);
    let page = person.submit(&page, &[("login", "alice"), ("password", "any")]);
    // The client may have the groups.
    let page = person.submit(&page, &[]);
    assert!(page.contains("Sign-in Success"), "{page}");
    token()["id_token"].as_str().expect("a token").to_owned()
}

#[test]
fn a_person_who_signs_in_has_the_roles_of_the_groups() {
    const WHAT: &str = "oidc-provider";
    if !needs(WHAT, "node") || !needs(WHAT, "curl") {
        return;
    }
    let Some(program) = Provider::program() else {
        skip(WHAT, "there is no ALPPACA_TEST_PYTHON with provider.mjs beside its folder (npm)");
        return;
    };
    let (scene, sts) = (Scene::new(), Sts::start());
    let provider = Provider::start(&program, &scene, &[]);
    let more = format!(
        "\
identities:
  people: {{kind: jwt, issuer: '{issuer}', audience: alppaca, groups_claim: groups}}
rules:
  - {{name: groups, match: {{method: people, groups: 'aws-(?P<role>[a-z]+)'}}, account: demo, role: '{{role}}'}}
",
        issuer = provider.issuer
    );
    let mut server = Server::start(&scene, &scene.config(&sts.url(), &more));
    let client = scene.client(server.address, None);
    let show = |path: &str, token: &str| client.get(path, &[("Authorization", &format!("Bearer {token}"))]);

    let token = sign_in(&provider, &scene, "alppaca");
    // Keys that have not come yet are no decision.
    let list = eventually(
        "the keys have come",
        || Some(show("/account", &token)).filter(|answer| answer.status != 503),
        || server.log(),
    );
    assert_eq!((list.status, list.body.as_str()), (200, r#"{"demo": ["readonly"]}"#), "{list:?}\n{}", server.log());
    let credentials = show(READONLY, &token);
    assert_eq!(credentials.status, 200, "{credentials:?}");
    assert_eq!(show("/account/demo/admin/credentials", &token).status, 403);
    let [call] = &*sts.assumed() else { panic!("{:?}", sts.assumed()) };
    assert_eq!(call.get("RoleSessionName"), "alice");

    // The same person, at another service.
    let stolen = sign_in(&provider, &scene, "wiki");
    // The claims of one with the signature of the other.
    let (head, _) = token.rsplit_once('.').expect("a token");
    let (_, signature) = stolen.rsplit_once('.').expect("a token");
    let mixed = format!("{head}.{signature}");
    for (token, reason) in [(&stolen, "audience"), (&mixed, "signature")] {
        let answer = show(READONLY, token);
        assert!(answer.status == 401 && answer.body.contains(reason), "{reason}: {answer:?}");
    }

    assert_eq!(server.stop(), Some(0));
    let audit = fs::read_to_string(scene.path().join("audit.log")).expect("an audit");
    let records = records(&audit);
    let [.., audience, signature] = records.as_slice() else { panic!("{audit}") };
    for (record, reason) in [(audience, "audience"), (signature, "signature")] {
        let found = record["reason"].as_str().unwrap_or_default();
        assert!(record["event"] == "unproven" && found.contains(reason), "{record}");
    }
    let written = server.log() + &audit;
    assert!(![&token, &stolen].iter().any(|token| written.contains(token.as_str())), "{written}");
}
