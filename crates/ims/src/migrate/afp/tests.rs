//! What becomes of AFP's settings.

use super::*;
use crate::settings::load::tree;

fn translated(api: &str, accounts: &str) -> String {
    let read = |text: &str| tree(vec![("a.yaml".into(), text.to_owned())]).expect(text);
    translate(read(api).as_ref(), read(accounts).as_ref())
}

const ACCOUNTS: &str = "prod: {id: '123456789012'}\ntest: {id: 12345}\nnone: {}\n";

#[test]
fn people_by_their_groups() {
    let text = translated(
        "api: {user_identification: {environment_field: REMOTE_USER}}\naws: {access_key: AKIAIOSFODNN7EXAMPLE, secret_key: hush}\n\
         provider: {module: aws_federation_proxy.provider.grp_provider, regex: 'aws_(?P<account>.*)_(?P<role>.*)'}\n\
         log_level: debug\nlogging_handler: {module: logging, class: StreamHandler, args: [], kwargs: {stream: 1}}\n",
        ACCOUNTS,
    );
    for line in [
        "  people: {kind: proxy, name_header: \"X-Remote-User\", from_networks: [127.0.0.1], groups_from: nss}",
        "mounts: [{path: /afp-api/latest, routes: people}]",
        "  \"prod\": \"123456789012\"",
        "  \"test\": \"000000012345\"",
        "# ! The account \"none\" has no `id`.",
        "    match: {groups: \"aws_(?P<account>.*)_(?P<role>.*)\"}",
        "    console: yes",
        "  credentials: {kind: static, access_key_id: \"AKIAIOSFODNN7EXAMPLE\", secret_access_key: \"hush\"}",
        "log_level: \"debug\"",
        "logging_handler: {\"module\": logging, \"class\": StreamHandler, \"args\": [], \"kwargs\": {\"stream\": 1}}",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn hosts_by_their_names() {
    let text = translated(
        "api: {user_identification: {environment_field: REMOTE_ADDR}}\nprovider: {module: x.provider_by_ip, class: Provider, \
         allowed_domains: [example.com, test.example.org], account_name: prod, role_prefix: p_}\n",
        ACCOUNTS,
    );
    for line in [
        r#"  dns: {kind: dns, pattern: "[^.]{8}\\.(?:example\\.com|test\\.example\\.org)"}"#,
        "mounts: [{path: /, routes: hosts}]",
        r#"      name: "(?P<type>[^.]{6})[^.]{2}\\.(?:example\\.com|test\\.example\\.org)""#,
        "      rewrite: [{capture: type, from: '^(?:ber|ham)', to: pro}]",
        "    account: \"prod\"",
        "    role: \"p_{type}\"",
        "  credentials: {kind: profile}",
    ] {
        assert!(text.lines().any(|found| found == line), "{line}\n{text}");
    }
}

#[test]
fn what_cannot_be_kept_is_said() {
    let user = "api: {user_identification: {environment_field: REMOTE_USER}}\n";
    for (api, expected) in [
        ("{}", "`api.user_identification.environment_field` is missing, which AFP requires"),
        ("api: {user_identification: {environment_field: X}}", "The WSGI variable \"X\" has no counterpart"),
        ("api: {user_identification: {environment_field: HTTP_X_USER}}", "AFP believed this header from every client"),
        ("api: {user_identification: {environment_field: SSL_CLIENT_S_DN_CN}}", "never from the common name"),
        (&format!("{user}provider: {{module: my.own}}"), "The provider \"own\" is Python code"),
        (
            &format!("{user}provider: {{module: x.grp_provider, regex: '(?=a)(?P<account>a)(?P<role>b)'}}"),
            "The pattern cannot be used here",
        ),
        (&format!("{user}provider: {{module: x.grp_provider, regex: 'aws'}}"), "needs the named groups"),
        (
            &format!("{user}provider: {{module: x.ldap_provider, ldap_uri: 'ldap://d'}}"),
            "AFP asked ldap://d for groups",
        ),
    ] {
        let text = translated(api, "{}");
        assert!(text.contains(&format!("# ! {expected}")) || text.contains(expected), "{expected}\n{text}");
    }
}

#[test]
fn where_the_field_is_missing_the_provider_says_what_the_callers_are() {
    for (provider, lines) in [
        (
            "provider_by_ip, allowed_domains: [a.b]",
            ["  dns: {kind: dns, pattern: \"[^.]{8}\\\\.(?:a\\\\.b)\"}", "mounts: [{path: /, routes: hosts}]"],
        ),
        (
            "grp_provider, regex: '(?P<account>.*)-(?P<role>.*)'",
            [
                "  people: {kind: proxy, name_header: \"X-Remote-User\", from_networks: [127.0.0.1], groups_from: nss}",
                "mounts: [{path: /afp-api/latest, routes: people}]",
            ],
        ),
    ] {
        let text = translated(&format!("provider: {{module: a.{provider}}}"), ACCOUNTS);
        let note = "# ! `api.user_identification.environment_field` is missing";
        assert!(lines.iter().all(|line| text.lines().any(|found| found == *line)) && text.contains(note), "{text}");
        assert!(!text.contains("no counterpart"), "{text}");
    }
}

/// Each translation is a legal configuration.
#[test]
fn what_is_translated_is_legal() {
    for api in [
        "api: {user_identification: {environment_field: REMOTE_USER}}\nprovider: {module: a.sssd_provider, regex: '(?P<account>.*)-(?P<role>.*)'}",
        "api: {user_identification: {environment_field: REMOTE_ADDR}}\nprovider: {module: a.provider_by_ip, allowed_domains: [a.b], account_name: prod}",
        "provider: {module: a.provider_by_ip, allowed_domains: [a.b], account_name: prod}",
    ] {
        let text = translated(api, "prod: {id: '123456789012'}");
        let loaded = crate::site::parse(vec![("afp.yaml".into(), text.clone())]);
        assert!(loaded.is_ok(), "{text}\n{}", loaded.err().map(|errors| errors.to_string()).unwrap_or_default());
    }
}
