use std::process::Command;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    clock::{BootTime, Moment},
    credentials::{Credentials, Secret},
};

fn set(key: &str, secret: &str, token: &str) -> Published {
    let credentials = Credentials {
        access_key_id: key.into(),
        secret_access_key: Secret::new(secret),
        session_token: Secret::new(token),
        expiration: "2026-11-23T11:00:00Z".parse().expect("a timestamp"),
        life: None,
        last_updated: None,
        account_id: "123456789012".parse().ok(),
        role_arn: None,
    };
    let wall = "2026-11-23T10:00:00Z".parse().expect("a timestamp");
    Published::new(&credentials, Moment { wall, boot: BootTime::ZERO })
}

fn profile(name: &str) -> Profile {
    Profile { name: name.into(), role: "web".parse().expect("a role name") }
}

fn text(format: Format, sets: &[(&Profile, &Published)]) -> String {
    let text = render(format, sets);
    assert!(is_ours(text.expose()));
    String::from_utf8(text.expose().to_vec()).expect("ASCII")
}

#[test]
fn each_format_has_its_form() {
    let (default, other) = (profile("default"), profile("other"));
    let (temporary, long_term) = (set("ASIA", "s/+=", "t"), set("AKIA", "#s", ""));
    assert_eq!(
        text(Format::Credentials, &[(&default, &temporary), (&other, &long_term)]),
        "# Written by alppaca, which replaces this file: changes are lost.\n\
         \n# role web\n[default]\naws_access_key_id = ASIA\naws_secret_access_key = s/+=\naws_session_token = t\n\
         aws_account_id = 123456789012\nx_security_token_expires = 2026-11-23T11:00:00Z\n\
         \n# role web\n[other]\naws_access_key_id = AKIA\naws_secret_access_key=#s\n\
         aws_account_id = 123456789012\nx_security_token_expires = 2026-11-23T11:00:00Z\n"
    );
    assert_eq!(
        text(Format::Env, &[(&default, &temporary)]),
        "# Written by alppaca, which replaces this file: changes are lost.\n# role web\n\
         AWS_ACCESS_KEY_ID=ASIA\nAWS_SECRET_ACCESS_KEY=s/+=\nAWS_SESSION_TOKEN=t\nAWS_ACCOUNT_ID=123456789012\n\
         AWS_CREDENTIAL_EXPIRATION=2026-11-23T11:00:00Z\n"
    );
    assert_eq!(
        text(Format::Process, &[(&default, &temporary)]),
        "{\"WrittenBy\":\"alppaca\",\"Version\":1,\"AccessKeyId\":\"ASIA\",\"SecretAccessKey\":\"s/+=\",\
         \"SessionToken\":\"t\",\"Expiration\":\"2026-11-23T11:00:00Z\",\"AccountId\":\"123456789012\"}\n"
    );
}

#[test]
fn what_others_wrote_is_not_ours() {
    for text in ["", "[default]\n", "# Written by hand\n", "{\"Version\":1}", " # Written by alppaca"] {
        assert!(!is_ours(text.as_bytes()), "{text:?}");
    }
}

/// All that a key, a secret or a token can be.
fn value() -> impl Strategy<Value = String> {
    let legal: Vec<char> = (b'!'..=b'~').map(char::from).filter(|c| !"\"\\".contains(*c)).collect();
    vec(proptest::sample::select(legal), 1..40).prop_map(|characters| characters.into_iter().collect())
}

/// What a program prints that reads this file, which is its last argument.
fn read(program: &str, arguments: &[&str], text: &str) -> Vec<String> {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), text).expect("ours");
    let output = Command::new(program).args(arguments).arg(file.path()).env_clear().output().expect("it runs");
    assert!(output.status.success(), "{}\n{text}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("ASCII").lines().map(str::to_owned).collect()
}

const SHELL: &str = "set -eu; . \"$1\"; printf '%s\\n' \"$AWS_ACCESS_KEY_ID\" \"$AWS_SECRET_ACCESS_KEY\" \
                     \"$AWS_SESSION_TOKEN\"";

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100))]

    #[test]
    fn a_shell_reads_exactly_these_values(key in value(), secret in value(), token in value()) {
        let text = text(Format::Env, &[(&profile("default"), &set(&key, &secret, &token))]);
        prop_assert_eq!(read("/bin/sh", &["-c", SHELL, "sh"], &text), [key, secret, token]);
    }

    #[test]
    fn json_has_exactly_these_values(key in value(), secret in value(), token in value()) {
        let text = text(Format::Process, &[(&profile("default"), &set(&key, &secret, &token))]);
        let json: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let read = ["AccessKeyId", "SecretAccessKey", "SessionToken"].map(|name| json[name].as_str().expect("text"));
        prop_assert_eq!(read, [key.as_str(), &secret, &token]);
    }

    #[test]
    fn nothing_that_a_value_has_ends_its_line(key in value(), secret in value(), token in value()) {
        let text = text(Format::Credentials, &[(&profile("default"), &set(&key, &secret, &token))]);
        let value = |name: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(name)).expect("there");
            line.strip_prefix(" = ").or(line.strip_prefix('=')).expect("a value").to_owned()
        };
        prop_assert_eq!(value("aws_access_key_id"), key);
        prop_assert_eq!(value("aws_secret_access_key"), secret);
        prop_assert_eq!(value("aws_session_token"), token);
        prop_assert_eq!(text.lines().filter(|line| line.starts_with('[')).count(), 1);
        // What the SDKs for Rust, Go and Java take for the beginning of a comment.
        let comments = text.lines().filter(|line| line.contains(" #") || line.contains(" ;")).count();
        prop_assert_eq!(comments, 0);
    }

    #[test]
    fn what_aws_gives_is_not_quoted(secret in "[A-Za-z0-9/+=]{1,80}") {
        let text = text(Format::Env, &[(&profile("default"), &set("ASIA", &secret, &secret))]);
        let line = format!("AWS_SECRET_ACCESS_KEY={secret}");
        prop_assert!(text.lines().any(|found| found == line), "as Docker reads it: {}", text);
    }
}
