//! The translation of another server's settings, as a person does it.

use std::{fs, process::Command};

const ALPPACA_IMS: &str = env!("CARGO_BIN_EXE_alppaca-ims");

/// Translates `server.json`, and has the result checked; the translation.
fn migrated(settings: &str) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let (old, new) = (directory.path().join("server.json"), directory.path().join("ims.yaml"));
    fs::write(&old, settings).expect("a file");
    let output = Command::new(ALPPACA_IMS).args(["migrate", "hologram"]).arg(&old).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    fs::write(&new, &output.stdout).expect("a file");
    let check = Command::new(ALPPACA_IMS).args(["check", "-c"]).arg(&new).output().expect("it runs");
    let [text, said] = [output.stdout, check.stderr].map(|text| String::from_utf8(text).expect("text"));
    // It warns of the certificate, which is still to be made.
    assert!(check.status.success(), "{said}\n{text}");
    text
}

#[test]
fn the_settings_of_hologram_server_become_a_configuration_that_is_valid() {
    // As in its documentation.
    let text = migrated(
        r#"{
            "ldap": {
                "bind": {"dn": "cn=hologram,dc=example,dc=com", "password": "hush"}, "host": "ldap.example.com:636",
                "userattr": "cn", "basedn": "dc=example,dc=com", "insecureldap": false, "enableldaproles": true,
                "roleattr": "businessCategory", "defaultroleattr": "employeeType"
            },
            "aws": {"account": "111122223333", "defaultrole": "developer"},
            "accountAliases": {"prod": "arn:aws:iam::444455556666"},
            "stats": "", "listen": "0.0.0.0:3100", "cachetimeout": 3600
        }"#,
    );
    assert!(text.contains("default roles, by alias/name") && !text.contains("hush"), "{text}");
    let text = migrated(r#"{"LDAP": {"Host": "l:389", "baseDN": "dc=x", "insecureLDAP": true}, "aws": {}}"#);
    assert!(text.contains("Write a rule for each group"), "{text}");
}
