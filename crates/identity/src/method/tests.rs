//! The settings of every method, right and wrong.

use std::{collections::HashSet, fs, net::IpAddr, path::Path, time::SystemTime};

use http::{HeaderMap, Method as Verb};

use super::*;
use crate::settings::Value;
use crate::{
    Evidence, Peer,
    settings::{NamedFile, problem::Source, yaml},
};

/// What is read of the methods in a file, or all that is wrong with it.
fn load(text: &str) -> Result<Vec<Named>, String> {
    let source = Arc::new(Source { name: "ims.yaml".into(), text: text.to_owned() });
    let node = yaml::read(&source).expect("YAML").expect("a node");
    let Value::Map(entries) = node.value else { panic!("{text}: not a mapping") };
    let mut fields = Fields::new(entries, SETTINGS);
    let named = read(&mut fields);
    let problems: Vec<String> = fields.problems.iter().map(ToString::to_string).collect();
    assert_eq!(named.is_none(), !problems.is_empty(), "{problems:?}");
    named.ok_or(problems.join("\n"))
}

fn only(settings: &str) -> Named {
    let text = format!("identities:\n  x: {settings}\n");
    load(&text).unwrap_or_else(|problems| panic!("{problems}")).pop().expect("one")
}

#[test]
fn every_folder_with_a_method_is_in_the_list() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let methods = fs::read_dir(folder).expect("a folder").filter(|entry| {
        let options = entry.as_ref().expect("an entry").path().join("options.rs");
        fs::read_to_string(options).is_ok_and(|code| code.contains("static METHOD: Entry"))
    });
    assert_eq!(methods.count(), METHODS.len());
    assert_eq!(METHODS.iter().map(|entry| entry.word).collect::<HashSet<_>>().len(), METHODS.len());
}

#[test]
fn settings_are_rendered_so_that_they_read_back_as_the_same() {
    for (settings, rendered) in [
        ("{kind: mtls, ca_files: /ca.pem}", r#"{kind: mtls, ca_files: ["/ca.pem"], crl_files: [], names: [dns]}"#),
        (
            "{kind: mtls, ca_files: [/a, /b], crl_files: /c, names: [uri, ip], max_age: 1h}",
            r#"{kind: mtls, ca_files: ["/a", "/b"], crl_files: ["/c"], names: [uri, ip], max_age: 3600s}"#,
        ),
        (
            "{groups_from: nss, kind: mtls, ca_files: /ca.pem}",
            r#"{kind: mtls, ca_files: ["/ca.pem"], crl_files: [], names: [dns], groups_from: nss}"#,
        ),
        (
            "{kind: mtls, ca_files: /a, trust_domain: example.org}",
            r#"{kind: mtls, ca_files: ["/a"], crl_files: [], trust_domain: "example.org"}"#,
        ),
        (
            "{kind: jwt, issuer: 'https://i', audience: ims, jwks_file: /k}",
            concat!(
                r#"{kind: jwt, issuer: "https://i", audience: ["ims"], leeway: 60s, name_claim: "sub", "#,
                r#"jwks_file: "/k", jwks_refresh: 300s}"#
            ),
        ),
        (
            "{kind: jwt, trust_domain: x.org, audience: [a, b], algorithms: es256, leeway: 0, name_claim: n, groups_claim: g, \
             jwks_url: 'https://k/', jwks_ca_file: /c, jwks_token_file: /t, jwks_refresh: 1h}",
            concat!(
                r#"{kind: jwt, trust_domain: "x.org", audience: ["a", "b"], algorithms: [ES256], leeway: 0s, "#,
                r#"name_claim: "n", groups_claim: "g", jwks_url: "https://k/", jwks_ca_file: "/c", "#,
                r#"jwks_token_file: "/t", jwks_refresh: 3600s}"#
            ),
        ),
        (
            "{kind: ssh, for: people, file: /k, hosts: Ims.example.com}",
            r#"{kind: ssh, for: people, file: "/k", hosts: ["ims.example.com"]}"#,
        ),
        (
            "{kind: ssh, for: people, directory: corp, groups_from: corp, hosts: i}",
            r#"{kind: ssh, for: people, directory: "corp", hosts: ["i"], groups_from: "corp"}"#,
        ),
        ("{kind: token, file: /t}", r#"{kind: token, file: "/t"}"#),
        (
            "{kind: proxy, name_header: X-Remote-User, from_networks: [192.0.2.7/28, '::ffff:192.0.2.1']}",
            concat!(
                r#"{kind: proxy, name_header: "x-remote-user", groups_separator: ",", from_users: [], "#,
                r#"from_networks: ["192.0.2.0/28", "192.0.2.1/32"]}"#
            ),
        ),
        (
            "{kind: proxy, name_header: u, groups_header: G, groups_separator: ;, from_users: [root, 33], \
             from_certificates: P.example.com, ca_files: /a, crl_files: /c}",
            concat!(
                r#"{kind: proxy, name_header: "u", groups_header: "g", groups_separator: ";", "#,
                r#"from_users: ["root", "33"], from_networks: [], from_certificates: ["p.example.com"], "#,
                r#"ca_files: ["/a"], crl_files: ["/c"]}"#
            ),
        ),
        (
            r"{kind: dns, pattern: '.*\.example\.com', rewrite: [{from: '\.example\.com$'}, {from: a, to: b}], timeout: 1s}",
            concat!(
                r#"{kind: dns, pattern: ".*\\.example\\.com", rewrite: [{from: "\\.example\\.com$", to: ""}, "#,
                r#"{from: "a", to: "b"}], timeout: 1s}"#
            ),
        ),
    ] {
        let read = only(settings);
        assert_eq!(read.render(), rendered);
        assert_eq!(only(rendered), read);
    }
    assert_ne!(only("{kind: mtls, ca_files: /a}"), only("{kind: mtls, ca_files: /b}"));
    assert_eq!(load("other: 1"), Ok(Vec::new()));
}

#[test]
fn the_examples_of_the_documentation_are_legal() {
    let page = include_str!("../../../../docs/ims-identities.md");
    let examples = page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().expect("an end"));
    let mut words: HashSet<&str> = METHODS.iter().map(|entry| entry.word).collect();
    for example in examples {
        for named in load(example).unwrap_or_else(|problems| panic!("{problems}")) {
            words.remove(named.method.word());
        }
    }
    assert_eq!(words, HashSet::new(), "kinds without an example");
}

#[test]
fn what_is_wrong_has_a_place_and_a_remedy() {
    for (settings, problem) in [
        ("5", "ims.yaml:2:3: the identity method \"x\" needs a `kind`: one of mtls, jwt, ssh, token, proxy, dns"),
        ("{ca_files: /a}", "ims.yaml:2:3: the identity method \"x\" needs a `kind`"),
        ("{kind: mtl, ca_files: /a}", "ims.yaml:2:13: there is no kind \"mtl\" of identity method; there are mtls, "),
        ("{kind: mtl, ca_files: /a}", "did you mean `mtls`?"),
        ("{kind: mtls}", "ims.yaml:2:3: an mtls method needs `ca_files`"),
        ("{kind: mtls, ca_files: []}", "ims.yaml:2:29: an empty list: there would be no authority"),
        ("{kind: mtls, ca_file: /a}", "ims.yaml:2:19: there is no setting \"ca_file\"; did you mean `ca_files`?"),
        ("{kind: mtls, ca_files: /a, names: cn}", "ims.yaml:2:40: one of dns, uri, ip is expected here, not \"cn\""),
        ("{kind: mtls, ca_files: /a, names: []}", "ims.yaml:2:40: an empty list: there would be no type of name"),
        ("{kind: mtls, ca_files: /a, max_age: 0}", "ims.yaml:2:42: a time of at least one second"),
        ("{kind: mtls, ca_files: /a, trust_domain: 'spiffe://x'}", "ims.yaml:2:47: the name of a trust domain"),
        ("{kind: mtls, ca_files: /a, names: ip, trust_domain: x}", "ims.yaml:2:44: `trust_domain` replaces `names`"),
        ("{kind: jwt, audience: a, jwks_file: /k}", "ims.yaml:2:3: a jwt method needs an `issuer`"),
        ("{kind: jwt, issuer: i, jwks_file: /k}", "ims.yaml:2:3: a jwt method needs an `audience`"),
        (
            "{kind: jwt, issuer: i, audience: [], jwks_file: /k}",
            "ims.yaml:2:39: an empty list: there would be no audience",
        ),
        (
            "{kind: jwt, issuer: i, audience: a}",
            "ims.yaml:2:3: a jwt method needs the keys of its issuer: `jwks_file`, `jwks_url`, or",
        ),
        ("{kind: jwt, issuer: i, audience: a, jwks_url: k}", "ims.yaml:2:52: a URL with http or https"),
        ("{kind: jwt, issuer: i, audience: a, jwks_file: k, jwks_url: 'https://k'}", "`jwks_file` replaces `jwks_url`"),
        (
            "{kind: jwt, issuer: i, audience: a, jwks_file: k, algorithms: [HS256]}",
            "ims.yaml:2:69: one of RS256, RS384, ",
        ),
        ("{kind: jwt, issuer: i, audience: a, jwks_file: k, algorithms: none}", "ims.yaml:2:68: one of RS256"),
        (
            "{kind: jwt, issuer: i, audience: a, jwks_file: k, trust_domain: 'a/b'}",
            "ims.yaml:2:70: the name of a trust",
        ),
        ("{kind: ssh, file: /k, hosts: i}", "ims.yaml:2:3: an ssh method needs `for`: hosts or people"),
        ("{kind: ssh, for: robots, file: /k, hosts: i}", "ims.yaml:2:23: one of hosts, people is expected"),
        ("{kind: ssh, for: hosts, hosts: i}", "ims.yaml:2:3: an ssh method needs a `file`"),
        ("{kind: ssh, for: hosts, directory: d, hosts: i}", "ims.yaml:2:3: a `directory` has the keys of people"),
        ("{kind: ssh, for: hosts, file: /k}", "ims.yaml:2:3: an ssh method needs `hosts`: the names under which"),
        ("{kind: ssh, for: hosts, file: /k, hosts: 'i:1'}", "ims.yaml:2:47: a host name without a port"),
        ("{kind: token}", "ims.yaml:2:3: a token method needs a `file`"),
        ("{kind: proxy, from_users: root}", "ims.yaml:2:3: a proxy method needs a `name_header`"),
        ("{kind: proxy, name_header: u}", "ims.yaml:2:3: a proxy method needs to know where the proxy is"),
        ("{kind: proxy, name_header: 'a b', from_users: root}", "ims.yaml:2:33: the name of a header"),
        ("{kind: proxy, name_header: Authorization, from_users: root}", "ims.yaml:2:33: the name of a header"),
        ("{kind: proxy, name_header: u, from_networks: 0.0.0.0/0}", "ims.yaml:2:51: this is every address"),
        ("{kind: proxy, name_header: u, from_networks: host}", "ims.yaml:2:51: an address or a network"),
        ("{kind: proxy, name_header: u, from_certificates: '*.x', ca_files: /a}", "ims.yaml:2:55: a host name"),
        ("{kind: proxy, name_header: u, from_certificates: x}", "`from_certificates` has no effect without `ca_files`"),
        ("{kind: proxy, name_header: u, from_users: a, ca_files: /a}", "`ca_files` has no effect without `from_cert"),
        ("{kind: proxy, name_header: u, from_users: a, crl_files: /a}", "ims.yaml:2:51: `crl_files` has no effect"),
        ("{kind: proxy, name_header: u, from_users: a, groups_separator: ab}", "ims.yaml:2:69: one character"),
        ("{kind: dns}", "ims.yaml:2:3: a dns method needs a `pattern`"),
        ("{kind: dns, pattern: 'a)|(b'}", "ims.yaml:2:27: this is not a regular expression"),
        ("{kind: dns, pattern: a, rewrite: [{to: b}]}", "ims.yaml:2:40: a replacement needs `from`"),
        ("{kind: dns, pattern: a, rewrite: [{from: '('}]}", "ims.yaml:2:47: this is not a regular expression"),
        ("{kind: dns, pattern: a, timeout: 0}", "ims.yaml:2:39: a time such as"),
    ] {
        let problems = load(&format!("identities:\n  x: {settings}\n")).expect_err(settings);
        assert!(problems.contains(problem), "{settings}: {problems}");
    }
    for (text, problem) in [
        ("identities: [a]", "ims.yaml:1:13: a mapping of names to identity methods is expected here"),
        ("identities: {'a b': {kind: dns}}", "ims.yaml:1:14: the name of an identity method has"),
    ] {
        let problems = load(text).expect_err(text);
        assert!(problems.contains(problem), "{text}: {problems}");
    }
}

#[test]
fn files_are_named_with_their_settings() {
    let mut files = NamedFiles::default();
    for settings in [
        "{kind: mtls, ca_files: [/a, /b], crl_files: /c}",
        "{kind: proxy, name_header: u, from_certificates: p, ca_files: /d, crl_files: /e}",
        "{kind: dns, pattern: a}",
        "{kind: jwt, issuer: i, audience: a, jwks_file: /k}",
        "{kind: jwt, issuer: i, audience: a, jwks_url: 'https://k', jwks_ca_file: /l, jwks_token_file: /m}",
        "{kind: token, file: /t}",
        "{kind: ssh, for: people, file: /s, hosts: i}",
    ] {
        only(settings).method.files(&mut files);
    }
    let secret = |file: &NamedFile| if file.secret { " (secret)" } else { "" };
    let show = |file: &NamedFile| format!("{} {}{}", file.what, file.path.display(), secret(file));
    let files: Vec<_> = files.0.iter().map(show).collect();
    let expected = [
        "ca_files /a",
        "ca_files /b",
        "crl_files /c",
        "ca_files /d",
        "crl_files /e",
        "jwks_file /k",
        "jwks_ca_file /l",
        "jwks_token_file /m (secret)",
        "file /t",
        "file /s",
    ];
    assert_eq!(files, expected);
}

/// One host, which is not looked up anywhere.
struct OneHost;

impl dns::Resolve for OneHost {
    fn name(&self, _: IpAddr) -> Result<String, dns::LookupError> {
        Ok("web1.example.com".to_owned())
    }

    fn addresses(&self, _: &str) -> Result<Vec<IpAddr>, dns::LookupError> {
        Ok(vec![[192, 0, 2, 1].into()])
    }
}

fn opened(settings: &str) -> Result<Opened, String> {
    only(settings).method.open("x", &Opening { resolver: Arc::new(OneHost), ..Opening::system() })
}

fn name(opened: &Opened, peer: &Peer, headers: &HeaderMap) -> String {
    let now = SystemTime::UNIX_EPOCH;
    let evidence = Evidence { peer, certificates: &[], method: &Verb::GET, path: "/", headers, now };
    opened.prove.prove(&evidence).expect("a proof").expect("one").name
}

#[test]
fn what_is_opened_proves_as_it_is_configured() {
    let opened_dns = opened(r"{kind: dns, pattern: '.*\.com', rewrite: [{from: '\.example\.com$'}]}").expect("opened");
    assert_eq!(name(&opened_dns, &Peer::Tcp([192, 0, 2, 1].into()), &HeaderMap::new()), "web1");
    assert_eq!(opened_dns.prove.name(), "x");
    let headers: HeaderMap =
        [("x-user".parse().expect("a name"), "alice".parse().expect("a value"))].into_iter().collect();
    let opened_proxy = opened("{kind: proxy, name_header: X-User, from_users: root}").expect("opened");
    assert_eq!(name(&opened_proxy, &Peer::Unix { uid: 0 }, &headers), "alice");
    assert!(opened_proxy.reload.is_none() && opened_proxy.authority.is_none());
}

#[test]
fn what_cannot_be_opened_says_why() {
    for (settings, cause) in [
        ("{kind: ssh, for: hosts, file: /nowhere/keys, hosts: i}", "/nowhere/keys: No such file"),
        ("{kind: token, file: /nowhere/tokens}", "/nowhere/tokens: No such file"),
        ("{kind: mtls, ca_files: /nowhere/ca.pem}", "/nowhere/ca.pem: No such file"),
        ("{kind: proxy, name_header: u, from_users: no-such-user}", "there is no user \"no-such-user\""),
        ("{kind: proxy, name_header: u, from_certificates: p, ca_files: /nowhere/ca.pem}", "/nowhere/ca.pem"),
    ] {
        let Err(error) = opened(settings) else { panic!("{settings}: opened") };
        assert!(error.contains(cause), "{settings}: {error}");
    }
}

#[test]
fn authorities_are_given_to_the_listener_and_read_again() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("ca.pem");
    let key = rcgen::KeyPair::generate().expect("a key");
    let ca = rcgen::CertificateParams::default().self_signed(&key).expect("a certificate");
    fs::write(&file, ca.pem()).expect("a file");
    for rest in ["kind: mtls", "kind: proxy, name_header: u, from_certificates: p"] {
        fs::write(&file, ca.pem()).expect("a file");
        let opened = opened(&format!("{{{rest}, ca_files: '{}'}}", file.display())).expect("opened");
        assert!(opened.authority.is_some());
        let reload = opened.reload.expect("one");
        assert_eq!(reload(), Ok(()));
        fs::write(&file, "nothing").expect("a file");
        assert!(reload().expect_err("nothing in it").contains("ca.pem: there is no certificate in it"));
    }
}
