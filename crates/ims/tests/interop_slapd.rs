//! People, groups and SSH keys in a real slapd.

#[path = "../../../tests/support/openssh.rs"]
mod openssh;
#[path = "support/slapd.rs"]
mod slapd;
mod support;

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::Command,
    time::{Duration, Instant},
};

use openssh::{Signer, new_key, parameter, public};
use slapd::{CROWD, PASSWORD, Slapd};
use support::{ACCOUNT, Client, SECRET, Scene, Server, Sts, client::Answer, eventually, needs::needs};

/// Somebody who has no role.
const NOTHING: &str = "{}";
const READONLY: &str = r#"{"demo": ["readonly"]}"#;
const BOTH: &str = r#"{"demo": ["readonly", "web"]}"#;

fn has_slapd() -> bool {
    ["slapd", "ldapmodify", "ssh-keygen"].iter().all(|program| needs("slapd", program))
}

/// alice is in two groups, of which one does not count; bob is in none. Each of them has a key.
fn directory(scene: &Scene) -> Slapd {
    let slapd = Slapd::start(scene);
    for name in ["alice", "bob"] {
        new_key(scene.path(), name, &["ed25519"]);
    }
    let blob = public(scene.path(), "bob");
    slapd.person("alice", &[&format!("{} alice@laptop", public(scene.path(), "alice")), "not a key"]);
    slapd.person("bob", &[blob.split(' ').nth(1).expect("a key")]);
    slapd.group("aws-readonly", "groups", "demo/web", &["alice", "u1"]);
    slapd.group("aws-admin", "toys", "demo/db", &["alice", "bob"]);
    slapd
}

/// A file for this account alone.
fn secret(slapd: &Slapd, name: &str, text: &str) -> String {
    let path = slapd.folder().join(name);
    fs::write(&path, format!("{text}\n"))
        .and_then(|()| fs::set_permissions(&path, Permissions::from_mode(0o600)))
        .expect("a file");
    path.display().to_string()
}

/// Mounts for groups by search (`/search`) and by `memberOf` (`/memberof`), for keys (`/keys`), and for directories that
/// cannot be read.
fn serve(scene: &Scene, sts: &Sts, slapd: &Slapd, keep: &str) -> Server {
    let (password, wrong) = (secret(slapd, "password", PASSWORD), secret(slapd, "wrong", "wrong"));
    let ca = scene.path().join("ca.pem").display().to_string();
    let (ldap, ldaps) = (format!("ldap://localhost:{}", slapd.ldap), format!("ldaps://localhost:{}", slapd.ldaps));
    let common = format!(
        "base_dn: 'dc=example,dc=com', groups_base_dn: 'ou=groups,dc=example,dc=com', refresh: 1s, keep: {keep}, \
         bind_dn: 'cn=reader,dc=example,dc=com'"
    );
    let people = |directory: &str| {
        format!("{{kind: proxy, name_header: X-Remote-User, from_networks: 127.0.0.1, groups_from: {directory}}}")
    };
    let more = format!(
        "\
directories:
  search: {{urls: ['ldaps://localhost:1', '{ldaps}'], ca_file: {ca}, password_file: {password}, {common},
    group_claims: {{role: businessCategory}}, person_claims: {{default_role: employeeType}}}}
  memberof: {{urls: '{ldap}', ca_file: {ca}, password_file: {password}, member_of_attribute: memberOf, {common}}}
  stranger: {{urls: ['{ldaps}', '{ldap}'], password_file: {password}, {common}}}
  other-name: {{urls: 'ldaps://127.0.0.1:{}', ca_file: {ca}, password_file: {password}, {common}}}
  password: {{urls: '{ldaps}', ca_file: {ca}, password_file: {wrong}, {common}}}
  clear: {{urls: '{ldap}', plain_ldap: yes, password_file: {password}, {common}}}
identities:
  search: {}
  memberof: {}
  stranger: {}
  other-name: {}
  password: {}
  clear: {}
  keys: {{kind: ssh, for: people, directory: search, groups_from: search, hosts: localhost}}
mounts: [{{path: /search, identities: search}}, {{path: /memberof, identities: memberof}},
  {{path: /stranger, identities: stranger}}, {{path: /other-name, identities: other-name}},
  {{path: /password, identities: password}}, {{path: /clear, identities: clear}}, {{path: /keys, identities: keys}}]
rules:
  - {{name: groups, match: {{groups: 'aws-(?P<role>[a-z]+)'}}, account: demo, role: '{{role}}'}}
  - {{name: roles of groups, match: {{claims: {{role: 'demo/(?P<role>[a-z]+)'}}}}, account: demo, role: '{{role}}'}}
",
        slapd.ldaps,
        people("search"),
        people("memberof"),
        people("stranger"),
        people("other-name"),
        people("password"),
        people("clear"),
    );
    Server::start(scene, &scene.config(&sts.url(), &more))
}

/// The list of roles, or the status where there is none.
fn list(answer: Answer) -> String {
    if answer.status == 200 { answer.body } else { answer.status.to_string() }
}

fn roles(client: &Client, mount: &str, name: &str) -> String {
    list(client.get(&format!("/{mount}/account"), &[("X-Remote-User", name)]))
}

/// The answer to a request that is signed with a key.
fn signed(client: &Client, scene: &Scene, key: &str, path: &str, more: &str) -> Answer {
    let asked = client.get(path, &[]);
    let challenge = asked.header("www-authenticate").unwrap_or_else(|| panic!("{asked:?}"));
    let signer = Signer { folder: scene.path(), key, agent: None, namespace: "alppaca-user" };
    let proof = signer.sign(path, "localhost", &parameter(challenge, "challenge"));
    client.get(path, &[("Authorization", &format!("{proof}{more}"))])
}

fn sign_in_with(client: &Client, scene: &Scene, key: &str, more: &str) -> Answer {
    signed(client, scene, key, "/keys/account", more)
}

fn sign_in(client: &Client, scene: &Scene, key: &str) -> String {
    list(sign_in_with(client, scene, key, ""))
}

/// What is not 503 any more.
fn settled(server: &Server, mut ask: impl FnMut() -> String) -> String {
    eventually("a decision", || Some(ask()).filter(|list| list != "503"), || server.log())
}

#[test]
fn groups_and_keys_of_a_directory_give_roles() {
    if !has_slapd() {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let slapd = directory(&scene);
    let mut server = serve(&scene, &sts, &slapd, "1m");
    let client = scene.client(server.address, None);
    assert_eq!(roles(&client, "search", "alice"), BOTH, "{}", server.log());
    assert_eq!(roles(&client, "memberof", "alice"), READONLY, "{}", server.log());
    assert_eq!(settled(&server, || sign_in(&client, &scene, "alice")), BOTH, "{}", server.log());
    for mount in ["search", "memberof"] {
        assert_eq!(roles(&client, mount, "bob"), NOTHING, "a group of another base");
        // Nobody else is found by a name that means something in a filter, or that is nearly right.
        for name in
            ["*", "ali*", "alice)(uid=*", "*)(objectClass=*", r"\61lice", "Alice", "alice)", "a  lice", "nobody"]
        {
            assert_eq!(roles(&client, mount, name), NOTHING, "{mount}: {name}");
        }
    }
    assert_eq!(sign_in(&client, &scene, "bob"), NOTHING, "bob has no group");

    // Without a certificate that can be verified nothing is asked, least of all the password.
    for (mount, problem) in [
        ("stranger", "invalid peer certificate"),
        ("other-name", "invalid peer certificate"),
        ("password", "49 invalidCredentials"),
        ("clear", "confidentialityRequired"),
    ] {
        assert_eq!(roles(&client, mount, "alice"), "503", "{mount}\n{}", server.log());
        let line = server.wait_for_log(&format!("directory {mount}:"));
        assert!(line.contains(problem), "{line}");
    }
    assert!(server.log().contains("SSH keys cannot be used, such as one of \"alice\""), "{}", server.log());

    assert_eq!(server.stop(), Some(0));
    let written = server.log() + &fs::read_to_string(scene.path().join("audit.log")).expect("an audit");
    assert!(!written.contains(PASSWORD), "{written}");
}

/// `server.json`, translated, with what a person fills in.
fn migrated(scene: &Scene, sts: &Sts, slapd: &Slapd) -> String {
    let file = |name: &str| scene.path().join(name).display().to_string();
    let old = serde_json::json!({
        "ldap": {
            "bind": {"dn": "cn=reader,dc=example,dc=com", "password": PASSWORD},
            "host": format!("localhost:{}", slapd.ldaps), "basedn": "dc=example,dc=com", "userattr": "cn",
            "enableldaproles": true, "roleattr": "businessCategory", "defaultroleattr": "employeeType"
        },
        "aws": {"account": ACCOUNT, "defaultrole": "web"},
        "accountAliases": {"prod": "arn:aws:iam::444455556666", "main": format!("arn:aws:iam::{ACCOUNT}")},
        "listen": "0.0.0.0:3100", "cachetimeout": 3600
    });
    fs::write(scene.path().join("server.json"), old.to_string()).expect("a file");
    let mut migrate = Command::new(env!("CARGO_BIN_EXE_alppaca-ims"));
    let output = migrate.args(["migrate", "hologram"]).arg(scene.path().join("server.json")).output().expect("it runs");
    let mut text = String::from_utf8(output.stdout).expect("text");
    let keys = format!("{{kind: static, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: {SECRET}}}");
    for (from, to) in [
        (
            "listen: 0.0.0.0:8443",
            "listen: 127.0.0.1:0\nuser: root\nlogging_handler: {module: logging, class: StreamHandler}",
        ),
        ("/etc/alppaca-ims/server.pem", &file("server.pem")),
        ("/etc/alppaca-ims/server.key", &file("server.key")),
        ("# ca_file: /etc/alppaca-ims/ldap-ca.pem", &format!("ca_file: {}", file("ca.pem"))),
        ("/etc/alppaca-ims/ldap-password", &secret(slapd, "password", PASSWORD)),
        ("hosts: ims.example.com", "hosts: localhost"),
        ("{kind: imds}", &keys),
        ("regions: [us-east-1]", &format!("regions: [us-east-1]\n  endpoint: {}", sts.url())),
    ] {
        assert_eq!(text.matches(from).count(), 1, "{from}: {text}");
        text = text.replace(from, to);
    }
    text
}

#[test]
fn what_is_migrated_from_hologram_proves_people_by_the_keys_in_the_directory() {
    if !has_slapd() {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let slapd = directory(&scene);
    slapd.group("operators", "groups", "main/db", &["alice"]);
    slapd.group("visitors", "groups", "prod/web", &["alice"]);
    slapd.group("auditors", "groups", &format!("arn:aws:iam::{ACCOUNT}:role/readonly"), &["alice"]);
    let server = Server::start(&scene, &migrated(&scene, &sts, &slapd));
    let client = scene.client(server.address, None);
    let roles = |key: &str| {
        let said = settled(&server, || list(signed(&client, &scene, key, "/account", "")));
        serde_json::from_str::<serde_json::Value>(&said).unwrap_or_else(|_| panic!("{said}\n{}", server.log()))
    };
    let alice = roles("alice");
    assert_eq!(alice["prod"], serde_json::json!(["web"]), "{alice}");
    assert_eq!(alice["main"], serde_json::json!(["readonly", "db", "default-of-alice", "web"]), "{alice}");
    assert_eq!(roles("bob"), serde_json::json!({"main": ["default-of-bob", "web"]}));
    new_key(scene.path(), "mallory", &["ed25519"]);
    assert_eq!(signed(&client, &scene, "mallory", "/account", "").status, 401);

    let answer = signed(&client, &scene, "alice", "/account/main/db/credentials", "");
    assert!(answer.status == 200 && answer.body.contains("SecretAccessKey"), "{answer:?}\n{}", server.log());
    let calls = sts.assumed();
    assert_eq!(calls.len(), 1);
    assert_eq!(calls[0].get("RoleArn"), format!("arn:aws:iam::{ACCOUNT}:role/db"));
    assert_eq!(calls[0].get("RoleSessionName"), "alice");
}

#[test]
fn who_is_removed_from_the_directory_is_gone() {
    if !has_slapd() {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let slapd = directory(&scene);
    let server = serve(&scene, &sts, &slapd, "1m");
    let client = scene.client(server.address, None);
    let becomes = |list: &str, mut ask: Box<dyn FnMut() -> String + '_>| {
        let look = || {
            let found = ask();
            assert_ne!(found, "503", "{}", server.log());
            (found == list).then_some(())
        };
        eventually(list, look, || server.log());
    };
    assert_eq!(settled(&server, || sign_in(&client, &scene, "alice")), BOTH);

    // Who has the key of another person in an entry neither becomes that person nor shuts the person out.
    let key = public(scene.path(), "alice");
    slapd.change(&format!(
        "dn: uid=bob,ou=people,dc=example,dc=com\nchangetype: modify\nadd: sshPublicKey\nsshPublicKey: {key}\n"
    ));
    becomes("401", Box::new(|| sign_in(&client, &scene, "alice")));
    let refused = sign_in_with(&client, &scene, "alice", "");
    assert!(refused.body.contains("several people have the SSH key"), "{refused:?}");
    assert_eq!(sign_in_with(&client, &scene, "alice", r#", user="alice""#).body, BOTH);
    assert_eq!(sign_in_with(&client, &scene, "alice", r#", user="root""#).status, 401);
    slapd.change(&format!(
        "dn: uid=bob,ou=people,dc=example,dc=com\nchangetype: modify\ndelete: sshPublicKey\nsshPublicKey: {key}\n"
    ));
    becomes(BOTH, Box::new(|| sign_in(&client, &scene, "alice")));

    let group = "dn: cn=aws-readonly,ou=groups,dc=example,dc=com\nchangetype: modify\ndelete: member\n\
                 member: uid=alice,ou=people,dc=example,dc=com\n";
    slapd.change(group);
    for mount in ["search", "memberof"] {
        becomes(NOTHING, Box::new(|| roles(&client, mount, "alice")));
    }
    becomes(NOTHING, Box::new(|| sign_in(&client, &scene, "alice")));
    slapd.change(&group.replace("delete: member", "add: member"));
    becomes(READONLY, Box::new(|| roles(&client, "memberof", "alice")));
    slapd.change("dn: uid=alice,ou=people,dc=example,dc=com\nchangetype: delete\n");
    becomes("401", Box::new(|| sign_in(&client, &scene, "alice")));
    for mount in ["search", "memberof"] {
        becomes(NOTHING, Box::new(|| roles(&client, mount, "alice")));
    }
}

#[test]
fn an_outage_of_the_directory_is_no_decision() {
    if !has_slapd() {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let mut slapd = directory(&scene);
    let server = serve(&scene, &sts, &slapd, "8s");
    let client = scene.client(server.address, None);
    let ask = || [roles(&client, "search", "alice"), sign_in(&client, &scene, "alice")];
    eventually("both are known", || (ask() == [BOTH, BOTH]).then_some(()), || server.log());

    slapd.stop();
    let mut kept = [0, 0];
    let look = || {
        let lists = ask();
        for (kept, list) in kept.iter_mut().zip(&lists) {
            assert!([BOTH, "503"].contains(&list.as_str()), "{list}\n{}", server.log());
            *kept += u32::from(list == BOTH);
        }
        (lists == ["503", "503"]).then_some(())
    };
    eventually("it ends", look, || server.log());
    assert!(kept.iter().all(|kept| *kept > 0), "{kept:?}: nothing was kept");
    // Who was not known before is no decision either.
    assert_eq!(roles(&client, "search", "nobody"), "503");
    server.wait_for_log("directory search: ldaps://localhost:1: ");

    assert!(slapd.run(), "it comes back");
    eventually("it is back", || (ask() == [BOTH, BOTH]).then_some(()), || server.log());
    server.wait_for_log("directory search: it answers again");
    assert_eq!(roles(&client, "search", "nobody"), NOTHING);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "tests measure in real time")]
fn a_crowd_in_the_directory_is_not_slow() {
    if !has_slapd() {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let slapd = directory(&scene);
    let began = Instant::now();
    let server = serve(&scene, &sts, &slapd, "1m");
    let client = scene.client(server.address, None);
    assert_eq!(settled(&server, || sign_in(&client, &scene, "alice")), BOTH);
    let all = began.elapsed();

    let mut connection = client.connect().expect("a connection");
    let began = Instant::now();
    for number in 0..500 {
        let name = format!("u{}", number * CROWD / 500 + 1);
        let answer = connection.get("/search/account", &[("X-Remote-User", &name)]).expect("an answer");
        assert_eq!(list(answer), if name == "u1" { BOTH } else { NOTHING });
    }
    let each = began.elapsed() / 500;
    assert!(all < Duration::from_mins(1) && each < Duration::from_millis(200), "{all:?}, {each:?}");
}
