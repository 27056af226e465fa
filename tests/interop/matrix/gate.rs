//! The gate answers as S3 and STS do: the error codes that real clients read.

use std::time::Duration;

use alppaca::mock_ims::{Behaviour, Issued};
use tempfile::TempDir;

use crate::rig::{
    client::Client,
    gate::Door,
    kinds::{KINDS, Kind},
    tools::Tools,
    world::{Place, Site},
};
use crate::support::{self, Ims, get};

const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";

#[test]
fn whoever_is_refused_is_told_why_in_the_words_of_aws() {
    let Some(tools) = Tools::find() else {
        support::skip("the gate", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let site = Site::start(&tools.python, Place::Anywhere);
    let ims = Ims::start(Behaviour::default());
    let door = site.door(&ims);
    let issue = |lifetime| {
        ims.handle.update(|behaviour| behaviour.lifetime = lifetime);
        assert_eq!(get(ims.address, ROLE).status, 200);
        ims.handle.issued().pop().expect("just issued")
    };
    let good = issue(Duration::from_hours(1));
    let refused = [
        Issued { access_key_id: "ASIAIOSFODNN7EXAMPLE".to_owned(), ..good.clone() },
        Issued { secret_access_key: "wrong".to_owned(), ..good.clone() },
        Issued { session_token: "wrong".to_owned(), ..good.clone() },
        issue(Duration::ZERO),
    ];
    // boto3's first call is to S3, aws-config's only one to STS.
    for (name, words) in [
        ("boto3", ["InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidToken", "ExpiredToken"]),
        (
            "aws-config (Rust)",
            ["InvalidClientTokenId", "SignatureDoesNotMatch", "InvalidClientTokenId", "ExpiredToken"],
        ),
    ] {
        let kind = KINDS.iter().find(|kind| kind.name == name).expect("one of the clients");
        if !call(kind, &tools, &door, &good, None) {
            continue;
        }
        for (keys, word) in refused.iter().zip(words) {
            call(kind, &tools, &door, keys, Some(word));
        }
    }
}

/// One round with these keys; false if the client is not on this machine.
fn call(kind: &Kind, tools: &Tools, door: &Door, keys: &Issued, refusal: Option<&'static str>) -> bool {
    let home = TempDir::new().expect("a directory");
    let mut command = match kind.command(tools, home.path()) {
        Ok(command) => command,
        Err(why) => return support::skip(kind.name, &why),
    };
    command.env("AWS_ENDPOINT_URL", format!("http://{}", door.address)).env("AWS_DEFAULT_REGION", "us-east-1");
    command.env("AWS_REGION", "us-east-1").env("AWS_ACCESS_KEY_ID", &keys.access_key_id);
    command.env("AWS_SECRET_ACCESS_KEY", &keys.secret_access_key).env("AWS_SESSION_TOKEN", &keys.session_token);
    let result = Client::start(command).round().result;
    match refusal {
        None => assert_eq!(result, Ok(()), "{}", kind.name),
        Some(word) => {
            let why = result.expect_err(word);
            assert!(why.contains(word), "{}: {word} expected, got {why}", kind.name);
            assert_eq!(door.refusals().last(), Some(&word), "{}", kind.name);
        }
    }
    true
}
