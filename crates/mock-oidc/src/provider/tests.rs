use super::*;

const ISSUER: &str = "http://127.0.0.1:1";
const VERIFIER: &str = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
const CALLBACK: &str = "http://127.0.0.1:9/callback";

fn provider() -> Provider {
    let person = |name: &str| Person { name: name.to_owned(), groups: vec![format!("of-{name}")] };
    Provider::new(ISSUER.to_owned(), vec![person("alice"), person("bob")]).expect("random numbers")
}

fn now() -> Timestamp {
    Timestamp::from_second(1_800_000_000).expect("a time")
}

/// The query of a good request with one change.
fn query(key: &str, value: &str) -> String {
    let good = [
        ("response_type", "code"),
        ("client_id", CLIENT),
        ("redirect_uri", CALLBACK),
        ("scope", "openid offline_access"),
        ("state", "s t"),
        ("nonce", "n"),
        // RFC 7636, appendix B.
        ("code_challenge", "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"),
        ("code_challenge_method", "S256"),
    ];
    encoded(&good.map(|(known, usual)| (known, if known == key { value } else { usual })))
}

/// The id of the request that a page is for.
fn request_of(reply: &Reply) -> String {
    let Reply::Page(200, html) = reply else { panic!("{reply:?}") };
    let rest = html.split_once("name=\"request\" value=\"").expect("a form").1;
    rest.split_once('"').expect("an end").0.to_owned()
}

fn chosen(provider: &mut Provider, person: &str) -> Reply {
    let page = provider.authorize(&query("", ""), now()).expect("random numbers");
    let form = encoded(&[("request", &request_of(&page)), ("person", person)]);
    provider.choose(&form, now()).expect("random numbers")
}

fn code(provider: &mut Provider) -> String {
    let Reply::Redirect(url) = chosen(provider, "alice") else { panic!("refused") };
    let form = Form::parse(url.strip_prefix(&format!("{CALLBACK}?")).expect("the callback"));
    assert_eq!((form.get("state"), form.get("iss")), ("s t", ISSUER));
    form.get("code").to_owned()
}

fn redeem(provider: &mut Provider, code: &str, key: &str, value: &str) -> Reply {
    let good = [
        ("grant_type", "authorization_code"),
        ("client_id", CLIENT),
        ("code", code),
        ("redirect_uri", CALLBACK),
        ("code_verifier", VERIFIER),
    ];
    let form = encoded(&good.map(|(known, usual)| (known, if known == key { value } else { usual })));
    provider.token(&form, now()).expect("random numbers")
}

fn claims(id_token: &Value) -> Value {
    let part = id_token.as_str().expect("a token").split('.').nth(1).expect("claims");
    let json = base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, part).expect("Base64");
    serde_json::from_slice(&json).expect("JSON")
}

#[test]
fn a_code_gives_tokens_once_and_a_refresh_token_until_it_is_revoked() {
    let mut provider = provider();
    let code = code(&mut provider);
    let Reply::Json(200, tokens) = redeem(&mut provider, &code, "", "") else { panic!("refused") };
    let claims_of = claims(&tokens["id_token"]);
    assert_eq!(
        claims_of,
        json!({
            "iss": ISSUER, "sub": "alice", "aud": CLIENT, "iat": 1_800_000_000, "exp": 1_800_003_600,
            "groups": ["of-alice"], "nonce": "n"
        })
    );
    assert_eq!(redeem(&mut provider, &code, "", ""), error(400, "invalid_grant"), "a code is of use once");

    let refresh_token = tokens["refresh_token"].as_str().expect("a token");
    let form = encoded(&[("grant_type", "refresh_token"), ("client_id", CLIENT), ("refresh_token", refresh_token)]);
    let Ok(Reply::Json(200, renewed)) = provider.token(&form, now()) else { panic!("refused") };
    assert_eq!(claims(&renewed["id_token"])["sub"], "alice");
    let revocation = encoded(&[("client_id", CLIENT), ("token", refresh_token)]);
    assert_eq!(provider.revoke(&revocation, now()), Reply::Json(200, json!({})));
    assert_eq!(provider.token(&form, now()), Ok(error(400, "invalid_grant")));
}

#[test]
fn a_code_is_of_no_use_to_anybody_else() {
    for (key, value, expected) in [
        ("code_verifier", "another", "invalid_grant"),
        ("redirect_uri", "http://127.0.0.1:10/callback", "invalid_grant"),
        ("client_id", "another", "invalid_client"),
        ("grant_type", "password", "unsupported_grant_type"),
    ] {
        let mut provider = provider();
        let code = code(&mut provider);
        let Reply::Json(status, answer) = redeem(&mut provider, &code, key, value) else { panic!("no document") };
        assert!(status >= 400 && answer == json!({"error": expected}), "{key}: {answer}");
    }
}

#[test]
fn it_is_of_use_to_nothing_but_a_demonstration_on_this_host() {
    for (key, value) in [
        ("client_id", "wiki"),
        ("redirect_uri", "https://evil.example/callback"),
        ("redirect_uri", "http://127.0.0.1.evil.example:80/"),
        ("redirect_uri", "http://127.0.0.1:80@evil.example/"),
        ("redirect_uri", "http://127.0.0.1:9/x?y"),
        ("redirect_uri", "http://127.0.0.1:9/x\r\ny"),
        ("redirect_uri", "http://127.0.0.1/callback"),
        ("response_type", "token"),
        ("code_challenge_method", "plain"),
        ("code_challenge", ""),
        ("state", ""),
        ("scope", "profile"),
    ] {
        let reply = provider().authorize(&query(key, value), now());
        assert!(matches!(reply, Ok(Reply::Page(400, _))), "{key}={value}: {reply:?}");
    }
    assert!(matches!(provider().authorize(&query("", ""), now()), Ok(Reply::Page(200, _))));
}

#[test]
fn a_page_is_used_once_in_time_and_for_its_people() {
    let mut provider = provider();
    assert!(matches!(chosen(&mut provider, "mallory"), Reply::Page(400, _)));
    assert!(matches!(chosen(&mut provider, "bob"), Reply::Redirect(_)));
    let page = provider.authorize(&query("", ""), now()).expect("random numbers");
    let form = encoded(&[("request", &request_of(&page)), ("person", "bob")]);
    let late = now() + PATIENCE;
    assert!(matches!(provider.choose(&form, late), Ok(Reply::Page(400, _))));
    // The oldest of too many is forgotten.
    let page = provider.authorize(&query("", ""), now()).expect("random numbers");
    for _ in 0..MOST {
        provider.authorize(&query("", ""), now()).expect("random numbers");
    }
    let form = encoded(&[("request", &request_of(&page)), ("person", "bob")]);
    assert!(matches!(provider.choose(&form, now()), Ok(Reply::Page(400, _))));
}
