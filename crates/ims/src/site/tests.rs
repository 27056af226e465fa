//! The configuration, right and wrong.

use super::*;
use crate::protocol::Families;

const HEAD: &str = "sts: {credentials: {kind: static, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: hush}}\n";

fn read(text: &str) -> Result<Loaded, String> {
    parse(vec![("ims.yaml".into(), format!("{HEAD}{text}"))]).map_err(|errors| errors.to_string())
}

fn good(text: &str) -> Site {
    read(text).unwrap_or_else(|errors| panic!("{text}: {errors}")).site
}

const LOCAL: &str = "listen: 127.0.0.1:8080\nidentities:\n  dns: {kind: dns, pattern: '.*'}\n";

const CORP: &str = "directories: {corp: {urls: ldaps://ldap.example.com, base_dn: 'dc=example'}}\n";

#[test]
fn the_smallest_configuration_has_one_mount_with_everything() {
    let site = good(LOCAL);
    let [MountSettings { mount, identities }] = site.mounts.as_slice() else { panic!("{:?}", site.mounts) };
    assert_eq!((mount.prefix.as_str(), mount.families), ("", Families { hosts: true, people: true }));
    assert_eq!(*identities, ["dns"]);
    assert!(site.tls.is_none() && site.rules.rules.is_empty());
}

#[test]
fn mounts_have_their_own_callers_and_routes() {
    let site = good(&format!(
        "{LOCAL}  proxy: {{kind: proxy, name_header: X-User, from_networks: 127.0.0.1}}\nmounts:\n  - {{path: /afp-api/latest/, identities: proxy, \
         routes: people}}\n  - {{routes: hosts, identities: [dns]}}\n  - {{path: /all}}\n"
    ));
    let prefixes: Vec<_> = site.mounts.iter().map(|settings| settings.mount.prefix.as_str()).collect();
    assert_eq!(prefixes, ["/afp-api/latest", "", "/all"]);
    assert_eq!(site.mounts[0].identities, ["proxy"]);
    assert_eq!(site.mounts[1].mount.families, Families { hosts: true, people: false });
    assert_eq!(site.mounts[2].mount.families, Families { hosts: true, people: true });
    assert_eq!(site.mounts[2].identities, ["dns", "proxy"]);
}

#[test]
fn each_mistake_is_reported_with_its_place_and_a_remedy() {
    for (text, expected) in [
        ("listen: 127.0.0.1:1\n", "there is no `identities`: no caller could prove who it is"),
        (
            "identities:\n  dns: {kind: dns, pattern: '.*'}\n",
            "from 0.0.0.0:8443 in clear text: set `tls_certificate` and `tls_key`",
        ),
        (&format!("{LOCAL}tls_key: /k\n"), "ims.yaml:5:1: `tls_key` has no effect without `tls_certificate`"),
        (
            &format!("{LOCAL}mounts: [{{identities: [dsn]}}]\n"),
            "ims.yaml:5:24: there is no identity method \"dsn\"; there are dns",
        ),
        (&format!("{LOCAL}mounts: [{{path: a}}]\n"), "ims.yaml:5:17: a path such as /afp-api/latest is expected"),
        (&format!("{LOCAL}mounts: [{{path: /a/../b}}]\n"), "a path such as /afp-api/latest is expected"),
        (&format!("{LOCAL}mounts: [{{}}, {{path: /}}]\n"), "another of `mounts` has the same `path`"),
        (&format!("{LOCAL}mounts: []\n"), "an empty list: there would be no route"),
        (
            &format!("{LOCAL}  p: {{kind: dns, pattern: x, groups_from: corp}}\n"),
            "ims.yaml:3:1: p needs \"corp\", which is not one of `directories`: there are none",
        ),
        (
            &format!("{LOCAL}  p: {{kind: ssh, for: people, directory: ldap, hosts: a}}\n{CORP}"),
            "ims.yaml:3:1: p needs \"ldap\", which is not one of `directories`: there are corp",
        ),
        (
            &format!("{LOCAL}rules: [{{name: r, match: {{method: [dns, dsn]}}, deny: {{}}}}]\n"),
            "ims.yaml:5:1: rule \"r\": there is no identity method \"dsn\", neither as a name nor as a kind; there are dns (dns); did \
             you mean `dns`?",
        ),
        (
            &format!("{LOCAL}rules: [{{name: r, match: {{method: ssh}}, deny: {{}}}}]\n"),
            "there is no identity method \"ssh\", neither as a name nor as a kind",
        ),
        (&format!("{LOCAL}audit_required: yes\n"), "`audit_required` has no effect without `audit_log`"),
        (
            &format!(
                "{LOCAL}rules: [{{name: r, match: {{name: x}}, account: '111111111111', role: r, emergency: {{for: 1h}}}}]\n\
                 audit_log: /a\n"
            ),
            "rule \"r\" is for emergencies, whose alerts must not be lost: set `audit_log` and `audit_required: yes`",
        ),
        (&format!("{LOCAL}lisen: 1\n"), "ims.yaml:5:1: there is no setting \"lisen\"; did you mean `listen`?"),
        (
            "listen: unix:relative\nidentities: {dns: {kind: dns, pattern: '.*'}}\n",
            "ims.yaml:2:9: address:port, such as 127.0.0.1:8443, or unix:/path",
        ),
        ("listen: []\nidentities: {dns: {kind: dns, pattern: '.*'}}\n", "an empty list: there would be no listener"),
    ] {
        let errors = read(text).map(|loaded| format!("{:?}", loaded.site)).expect_err(text);
        assert!(errors.contains(expected), "{text}: {errors}");
        assert!(!errors.contains("hush"), "{errors}");
    }
}

#[test]
fn each_method_of_a_mount_gets_its_proofs() {
    let check = |mtls: &str, ca: &str, order: &str| {
        read(&format!(
            "\
listen: 127.0.0.1:8080
identities:
  hosts: {{kind: mtls, ca_files: [/ca/old, /ca/new], {mtls}}}
  people: {{kind: proxy, name_header: X-User, from_certificates: sso.example.com, ca_files: {ca}}}
  few: {{kind: token, file: /t}}
  more: {{kind: token, file: /u}}
  fleet: {{kind: ssh, for: hosts, file: /h, hosts: ims.example.com}}
  admins: {{kind: ssh, for: people, file: /p, hosts: ims.example.com}}
mounts: [{{path: /a, identities: [{order}]}}, {{path: /b, identities: more}}]
"
        ))
        .map(drop)
    };
    for (mtls, ca, order) in [
        ("", "/ca/new", "people, hosts, few, fleet, admins"),
        ("", "/ca/proxies", "hosts, people"),
        ("names: uri", "/ca/new", "hosts, people"),
    ] {
        check(mtls, ca, order).unwrap_or_else(|errors| panic!("{order}: {errors}"));
    }
    for (mtls, order, expected) in [
        (
            "",
            "few, hosts, people",
            "ims.yaml:10:10: hosts would take the certificate of a reverse proxy for the caller's own",
        ),
        ("trust_domain: example.org", "hosts, people", "since people trusts the same authority (/ca/new)"),
        ("", "few, hosts, more", "few takes or refuses every secret (Alppaca-Token), so that more would get none"),
    ] {
        let errors = check(mtls, "/ca/new", order).expect_err(order);
        assert!(errors.contains(expected), "{order}: {errors}");
    }
    let text = format!("{LOCAL}  a: {{kind: token, file: /t}}\n  b: {{kind: token, file: /u}}\n");
    let errors = read(&text).map(drop).expect_err("two kinds of secrets");
    assert!(errors.contains("ims.yaml:3:1: a takes or refuses every secret"), "{errors}");
}

#[test]
fn clear_text_between_hosts_has_to_be_allowed_and_is_warned_of() {
    let text = "plain_http: yes\nidentities: {dns: {kind: dns, pattern: '.*'}}\n";
    let loaded = read(text).expect("allowed");
    assert!(loaded.warnings.iter().any(|warning| warning.to_string().contains("in clear text (`plain_http`)")));
    for local in ["127.0.0.1:80", "'[::1]:80'", "unix:/run/x"] {
        assert_eq!(
            read(&format!("listen: {local}\nidentities: {{dns: {{kind: dns, pattern: '.*'}}}}\n"))
                .expect(local)
                .warnings,
            []
        );
    }
}

#[test]
fn a_directory_that_nobody_needs_is_warned_of() {
    let warnings =
        |text: String| read(&text).expect("legal").warnings.iter().map(ToString::to_string).collect::<Vec<_>>();
    let needed =
        format!("{LOCAL}  p: {{kind: ssh, for: people, directory: corp, groups_from: corp, hosts: a}}\n{CORP}");
    assert_eq!(warnings(needed), [""; 0]);
    assert!(warnings(format!("{LOCAL}{CORP}"))[0].contains("the directory corp is not used"));
}

#[test]
fn a_secret_in_the_configuration_is_noticed() {
    assert!(good(LOCAL).has_secrets());
}

#[test]
fn what_only_a_restart_changes_is_named() {
    let tls = |name: &str| format!("{LOCAL}tls_certificate: /{name}.pem\ntls_key: /{name}.key\n");
    let mut named: Vec<&str> = good(&tls("a")).restart_keys(&good(&tls("b")));
    assert_eq!(named, ["tls_certificate", "tls_key"]);
    let base = good(LOCAL);
    for (key, value) in [
        ("max_connections", "1"),
        ("max_connections_per_address", "1"),
        ("proxy_protocol_from", "192.0.2.7"),
        ("log_format", "'%(message)s'"),
        ("logging_handler", "{class: StreamHandler}"),
        ("audit_log", "syslog"),
        ("user", "x"),
        ("group", "x"),
        ("sandbox", "off"),
        ("sandbox_allow", "{connect: 1}"),
        ("socket_group", "x"),
        ("metrics_listen", "127.0.0.1:1"),
        ("status_page", "{listen: '127.0.0.1:1'}"),
    ] {
        assert_eq!(base.restart_keys(&good(&format!("{LOCAL}{key}: {value}\n"))), [key]);
        named.push(key);
    }
    let audit = good(&format!("{LOCAL}audit_log: syslog\n"));
    assert_eq!(
        audit.restart_keys(&good(&format!("{LOCAL}audit_log: syslog\naudit_required: yes\n"))),
        ["audit_required"]
    );
    assert_eq!(base.restart_keys(&good(&LOCAL.replace(":8080", ":8081"))), ["listen"]);
    let other =
        parse(vec![("ims.yaml".into(), format!("{}{LOCAL}", HEAD.replace("hush", "hash")))]).expect("legal").site;
    assert_eq!(base.restart_keys(&other), ["sts"]);
    named.extend(["audit_required", "listen", "sts"]);
    named.sort_unstable();
    let mut marked: Vec<&str> =
        SETTINGS.iter().filter(|setting| setting.needs_restart()).map(|setting| setting.key).collect();
    marked.sort_unstable();
    assert_eq!(named, marked);
    // What a reload changes is not in it.
    assert!(base.restart_keys(&good(&format!("{LOCAL}log_level: debug\naccess_log: no\n"))).is_empty());
}
