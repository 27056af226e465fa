//! `sources` and `roles` as a person writes them: what is refused and how that is said, and that what is printed reads as
//! the same.

#[path = "support/schema.rs"]
mod schema;

use alppaca::config::Config;

const ARN: &str = "arn:aws:iam::123456789012:role/x";

fn parsed(text: &str) -> Result<Config, String> {
    schema::parse(text).map(|loaded| loaded.config)
}

const SITE: &str = "sources:\n  me: {kind: site, url: 'https://ims/account/', ready: [a@b], sign_in: {kind: oidc, issuer: \
                    'https://login', client_id: a, parameters: {prompt: consent}, keep_sign_in: yes}}\n";

#[test]
fn the_roles_of_a_person_are_for_the_daemons_own_account() {
    let config = parsed(SITE).expect("legal");
    let rules = config.policy.clone().expect("rules");
    assert_eq!((rules.rules.len(), rules.default), (1, alppaca::policy::Effect::Deny));
    let own = rustix::process::geteuid().as_raw().to_string();
    assert_eq!(rules.rules[0].when, [alppaca::policy::Condition::User(vec![own])]);
    let rendered = config.render();
    assert!(rendered.contains("url: \"https://ims\"") && rendered.contains("prompt"), "{rendered}");
    assert_eq!(parsed(&rendered), Ok(config));
    let said = parsed(&format!("{SITE}policy: {{default: everything}}\n")).expect("legal").policy;
    assert_eq!(said.map(|rules| rules.default), Some(alppaca::policy::Effect::Everything));
    assert_eq!(
        parsed(&format!("{SITE}user: me\n")).expect("legal").policy.expect("rules").rules[0].when,
        [alppaca::policy::Condition::User(vec!["me".to_owned()])]
    );
}

#[test]
fn each_mistake_of_a_sign_in_is_told_with_its_place() {
    let site =
        |sign_in: &str| format!("sources:\n  me:\n    kind: site\n    url: https://ims\n    sign_in: {sign_in}\n");
    for (sign_in, part) in [
        ("{}", "5:5: the sign-in needs a `kind`: one of oidc"),
        ("{kind: saml}", "there is no kind \"saml\" of sign-in"),
        ("{kind: oidc, client_id: a}", "a sign-in needs an `issuer`"),
        ("{kind: oidc, issuer: 'https://x'}", "a sign-in needs a `client_id`"),
        ("{kind: oidc, issuer: 'http://x', client_id: a}", "a URL with https is expected here"),
        ("{kind: oidc, issuer: 'https://x', client_id: a, scopes: groups}", "with `openid` in it"),
        ("{kind: oidc, issuer: 'https://x', client_id: a, parameters: {state: x}}", "alppaca sets itself"),
        ("{kind: oidc, issuer: 'https://x', client_id: a, redirect_url: 'https://ims/x'}", "of this host"),
        ("{kind: oidc, issuer: 'https://x', client_id: a, redirect_url: 'http://ims/x'}", "of this host"),
        ("{kind: oidc, isuer: 'https://x', client_id: a}", "did you mean `issuer`?"),
    ] {
        let said = parsed(&site(sign_in)).expect_err(sign_in);
        assert!(said.contains(part), "{sign_in}: {said}");
    }
}

#[test]
fn each_kind_of_mistake_is_told_with_its_place() {
    for (text, part) in [
        ("sources:\n  a: {url: http://x}\n", "2:3: the source \"a\" needs a `kind`: one of ims, roles_anywhere, sts"),
        ("sources:\n  a: {kind: imz}\n", "2:13: there is no kind \"imz\" of source"),
        ("sources:\n  a: {kind: imz}\n", "did you mean `ims`?"),
        ("sources:\n  a: {kind: ims, ulr: http://x}\n", "2:18: there is no setting \"ulr\"; did you mean `url`?"),
        ("sources:\n  a: {kind: ims}\n", "an IMS needs a `url`"),
        ("sources:\n  a: {kind: ims, url: ftp://x}\n", "2:23: this makes \"ftp://x/latest/"),
        ("sources:\n  a: {kind: sts, rate: often}\n", "2:24: a rate such as 10/s"),
        ("sources:\n  a: {kind: sts, endpoint: x}\n", "2:28: an endpoint such as https://sts.example.com"),
        ("sources:\n  a: {kind: sts, endpoint: 'https://x', fips: true}\n", "`endpoint` replaces `fips`"),
        ("sources:\n  a: {kind: sts}\n", "1:1: there are `sources`, but no `roles` that come from them"),
        (
            "sources:\n  a: {kind: sts, no_proxy: ['[::1]:80', '*.x', 127.*]}\n",
            "2:48: * stands for all hosts or, as in *.example.com, for all names below one; a network is written as",
        ),
        (
            "sources:\n  a: {kind: sts, no_proxy: [10.0.0.0/33]}\n",
            "2:29: a network is an address and the number of its",
        ),
        ("sources: [a]\n", "1:10: a mapping of names is expected here, not a list"),
        (
            "ims_host: x\nsources:\n  ims: {kind: sts}\n",
            "3:3: `ims_host` or `ims_url` already make a source of this name",
        ),
        ("ims_host: x\nroles:\n  a: {}\n", "3:3: the role \"a\" needs a `source`"),
        (
            "ims_host: x\nroles:\n  a: {source: imz}\n",
            "3:15: there is no source and no role \"imz\"; did you mean `ims`?",
        ),
        ("ims_host: x\nroles:\n  a: {source: ims, sources: [ims]}\n", "`source` replaces `sources`"),
        ("ims_host: x\nroles:\n  a/b: {source: ims}\n", "3:3: role name \"a/b\" has the illegal character '/'"),
        (
            "ims_host: x\nroles:\n  a: {source: ims, role_arn: x}\n",
            "3:30: \"x\" is not the ARN of a role, such as arn:aws:iam::",
        ),
        (
            "ims_host: x\nroles:\n  a: {source: ims, external_id: abc}\n",
            "3:20: `external_id` has no effect here: no role is assumed (`role_arn`)",
        ),
        (
            "sources: {t: {kind: web_identity, token_file: /t}}\nroles:\n  \
             a: {source: t, role_arn: 'arn:aws:iam::123456789012:role/a', external_id: abc}\n",
            "`external_id` has no effect here: \"t\" returns the role itself, and the call of the kind web_identity \
             has none",
        ),
        (
            "ims_host: x\nroles:\n  a: {source: b, upstream_role: c}\n  b: {source: ims}\n",
            "`upstream_role` has no effect here",
        ),
        ("ims_host: x\nroles:\n  ims: {source: ims}\n", "3:3: a source is also called \"ims\""),
        (
            "ims_host: x\nsources:\n  s: {kind: sts}\nroles:\n  a: {source: s, role_arn: ARN}\n",
            "5:15: \"s\" has no credentials of its own, it configures how AssumeRole is called; name it in `via`",
        ),
        (
            "ims_host: x\nroles:\n  a: {source: ims, role_arn: ARN, via: ims}\n",
            "there is no source \"ims\" of kind sts",
        ),
        ("ims_host: x\nroles:\n  a: {source: ims, role_arn: ARN, duration: 5m}\n", "a session lasts from 15m to 12h"),
        (
            "ims_host: x\nroles:\n  a: {source: ims, role_arn: ARN, duration: 2h}\n",
            "AWS grants at most 1h to a role that is assumed with the credentials of another role (role chaining)",
        ),
        (
            "ims_host: x\nroles:\n  a: {source: ims, role_arn: ARN, session_name: '{user}'}\n",
            "{host} and {role} can be filled in",
        ),
        ("ims_host: x\nroles:\n  a: {source: ims, role_arn: ARN, policy: 'x'}\n", "a policy as JSON"),
        (
            "ims_host: x\nroles:\n  a: {source: ims, role_arn: ARN, policy_arns: [x]}\n",
            "the ARN of a policy, such as arn:aws:iam::aws:policy/ReadOnlyAccess, is expected",
        ),
        (
            "ims_host: x\nroles:\n  a: {source: ims, role_arn: ARN, transitive_tags: [t]}\n",
            "there is no tag \"t\" to pass on",
        ),
        ("ims_host: x\nassume_role: ARN\nroles:\n  a: {source: ims}\n", "2:1: `assume_role` replaces `roles`"),
    ] {
        let text = text.replace("ARN", &format!("'{ARN}'"));
        let said = parsed(&text).expect_err(&text);
        assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
    }
}

#[test]
fn an_arn_is_read_with_the_same_strictness_under_each_key() {
    let keys = [
        ("roles.role_arn", "ims_host: x\nroles:\n  a: {source: ims, role_arn: 'ARN'}\n"),
        (
            "roles.role_arn with roles_anywhere",
            "sources:\n  x: {kind: roles_anywhere, certificate: /c, key: /k, \
             trust_anchor_arn: 'arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/t', \
             profile_arn: 'arn:aws:rolesanywhere:eu-central-1:123456789012:profile/p'}\n\
             roles:\n  a: {source: x, role_arn: 'ARN'}\n",
        ),
        ("assume_role", "ims_host: x\nassume_role: 'ARN'\n"),
        ("containers.default_role", "ims_host: x\ncontainers:\n  default_role: 'ARN'\n"),
    ];
    for (arn, reason) in [
        (ARN, None),
        ("arn:aws-us-gov:iam::123456789012:role/a/b/x@y", None),
        ("arn:aws-CN:iam::123456789012:role/x", Some("its partition is aws, or begins with aws-")),
        ("arn:aws-\"x:iam::123456789012:role/x", Some("the character '\"' cannot be in an ARN")),
        ("arn:aws:iam::123456789012:role/a b/x", Some("the character ' ' cannot be in an ARN")),
        ("arn:aws:iam::123456789012:role/../x", Some("its path has an empty part, or one that is . or ..")),
        ("arn:aws:iam::123456789012:role//x", Some("its path has an empty part")),
        ("arn:aws:iam::123456789012:role/x*", Some("the character '*' cannot be in its path")),
        ("arn:aws:iam::1234:role/x", Some("its account has twelve digits")),
        ("arn:aws:iam:eu-central-1:123456789012:role/x", Some("after the partition it goes on with :iam::")),
        ("arn:aws:iam::123456789012:user/x", Some("after the partition it goes on with :iam::")),
    ] {
        for (key, text) in keys {
            match (parsed(&text.replace("ARN", arn)), reason) {
                (Ok(_), None) => {}
                (Err(said), Some(reason)) => {
                    let is_not = "is not the ARN of a role, such as arn:aws:iam::123456789012:role/name: ";
                    assert!(said.contains(&format!("{is_not}{reason}")), "{key}: {said}");
                }
                (read, _) => panic!("{key}: {arn}: {:?}", read.map(|_| "accepted")),
            }
        }
    }
}

#[test]
fn a_circle_is_told_once_and_where_it_closes() {
    let text = format!(
        "ims_host: x\nroles:\n  top: {{source: a, role_arn: '{ARN}'}}\n  a: {{source: b, role_arn: '{ARN}'}}\n  \
         b: {{sources: [ims, c], role_arn: '{ARN}'}}\n  c: {{source: a, role_arn: '{ARN}'}}\n"
    );
    let said = parsed(&text).expect_err("a circle");
    assert!(said.starts_with("a.yaml:6:15: a circle: a ← b ← c ← a; a role cannot come from itself"), "{said}");
    assert_eq!(said.matches("a circle").count(), 1, "{said}");
    assert!(parsed("ims_host: x\nroles:\n  a: {source: a}\n").expect_err("itself").contains("a circle: a ← a"));
}

#[test]
fn a_role_that_two_others_come_from_is_no_circle() {
    let text = format!(
        "ims_host: x\nroles:\n  a: {{sources: [b, c], role_arn: '{ARN}'}}\n  b: {{source: d, role_arn: '{ARN}'}}\n  \
         c: {{source: d, role_arn: '{ARN}'}}\n  d: {{source: ims}}\n"
    );
    assert!(parsed(&text).is_ok(), "{:?}", parsed(&text).err());
}

#[test]
fn what_is_rendered_reads_as_the_same() {
    let text = format!(
        "sources:\n  afp: {{kind: ims, urls: ['http://127.0.0.1:1', 'http://127.0.0.1:2'], timeout: 3s, concurrency: 2, \
         proxy: environment, no_proxy: [.corp]}}\n  \
         s: {{kind: sts, region: us-gov-west-1, fips: true, dual_stack: false, ca_file: /x, rate: 300/m}}\n  \
         t: {{kind: sts, endpoint: 'http://127.0.0.1:3/x', rate: 7/h}}\n  \
         p: {{kind: profile, profile: x, home: /h, environment: {{A: 'b c', D: ''}}}}\n\
         roles:\n  web: {{source: afp, upstream_role: w}}\n  \
         all: {{sources: [afp, web], upstream_role: r, role_arn: '{ARN}', external_id: 'a:b', session_name: '{{role}}', \
         duration: 1h, policy: '{{}}', policy_arns: ['arn:aws:iam::aws:policy/X'], tags: {{a: '1', 'b c': ''}}, \
         transitive_tags: [a], source_identity: me, via: s}}\n  as: {{source: web}}\n  own: {{source: p}}\naws_proxy_host: p\naws_proxy_port: 1\n"
    );
    let config = parsed(&text).unwrap_or_else(|error| panic!("{error}"));
    let rendered = config.render();
    assert_eq!(parsed(&rendered).as_ref(), Ok(&config), "{rendered}");
    let config = parsed(&format!("ims_host: x\nassume_role: {ARN}\n")).expect("legal");
    assert_eq!(parsed(&config.render()), Ok(config));
}
