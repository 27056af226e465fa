//! moto's STS, which reads the wire format as botocore's model has it, and which knows what it has handed out.
#![allow(clippy::disallowed_methods, reason = "the environment names the Python, and an issuer has a clock of its own")]

#[path = "interop/rig/cluster.rs"]
#[allow(dead_code, unreachable_pub, reason = "others share it, too")]
mod issuer;
#[path = "interop/rig/moto.rs"]
#[allow(dead_code, unreachable_pub, reason = "the matrix of clients uses more of it")]
mod moto;
#[path = "support/mod.rs"]
mod support;

use std::{path::PathBuf, process::Command};

use alppaca::mock_ims::Behaviour;
use issuer::{Cluster, ISSUER};
use moto::Moto;
use support::{Daemon, Ims, eventually, request};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";

fn moto(what: &str) -> Option<Moto> {
    let Some(python) = std::env::var_os("ALPPACA_TEST_PYTHON") else {
        support::skip(what, "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return None;
    };
    Some(Moto::start(&PathBuf::from(python)))
}

#[test]
fn moto_hands_out_what_a_chain_of_three_asks_for() {
    let Some(moto) = moto("moto's STS") else { return };
    let ims = Ims::start(Behaviour::default());
    let config = format!(
        "{}roles:\n  \
         c: {{source: b, role_arn: 'arn:aws:iam::333333333333:role/c', duration: 15m}}\n  \
         b: {{source: a, role_arn: 'arn:aws:iam::222222222222:role/b', tags: {{team: blue}}, transitive_tags: [team]}}\n  \
         a: {{source: ims, role_arn: 'arn:aws:iam::111111111111:role/path/a', external_id: ext, session_name: '{{role}}'}}\n",
        ims.config()
    );
    let daemon = Daemon::start_with(&config, |command| {
        command.env("AWS_ENDPOINT_URL_STS", format!("http://{}", moto.address));
    });
    daemon.wait_for_log("role c: fetched ");
    let set = daemon.get(&format!("{LIST}c")).json();
    let key = set["AccessKeyId"].as_str().expect("a key");
    assert!(key.starts_with("ASIA") && set["Token"].as_str().is_some_and(|token| token.len() > 50), "{set}");
    // moto knows the session by the key that it has handed out.
    for (role, arn) in [
        ("a", "arn:aws:sts::111111111111:assumed-role/a/a-</Arn>"),
        ("b", "arn:aws:sts::222222222222:assumed-role/b/alppaca-on-"),
        ("c", "arn:aws:sts::333333333333:assumed-role/c/alppaca-on-"),
    ] {
        let set = daemon.get(&format!("{LIST}{role}")).json();
        let key = set["AccessKeyId"].as_str().expect("a key");
        let answer = identity(&moto, key);
        assert!(answer.contains(arn), "{role}: {answer}");
    }
}

/// Whose that key is, as moto has it.
fn identity(moto: &Moto, key: &str) -> String {
    let body = "Action=GetCallerIdentity&Version=2011-06-15";
    let scope = format!("Credential={key}/20260101/eu-central-1/sts/aws4_request");
    let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
    let head = format!(
        "POST /?{body} HTTP/1.1\r\nHost: sts.amazonaws.com\r\nAuthorization: {authorization}\r\nContent-Length: 0\r\n"
    );
    request(moto.address, &head).body
}

#[test]
fn moto_knows_each_pod_by_the_name_of_its_session() {
    let Some(moto) = moto("moto's STS and pods") else { return };
    let cluster = Cluster::new();
    let directory = tempfile::tempdir().expect("a directory");
    let keys = directory.path().join("jwks.json");
    std::fs::write(&keys, cluster.keys()).expect("written");
    let ims = Ims::start(Behaviour::default());
    let config = format!(
        "{}roles:\n  web: {{source: ims, role_arn: 'arn:aws:iam::123456789012:role/web'}}\npod_identity:\n  \
         listen: ['127.0.0.1:0']\n  issuer: {ISSUER}\n  jwks_file: {}\n  session_tags: {{cluster_name: blue}}\n  \
         associations: [{{role: web}}]\n",
        ims.config(),
        keys.display(),
    );
    let daemon = Daemon::start_with(&config, |command| {
        command.env("AWS_ENDPOINT_URL_STS", format!("http://{}", moto.address));
    });
    daemon.wait_for_log("role web: fetched ");
    let now = jiff::Timestamp::now().as_second();
    for pod in ["web-0", "web-1"] {
        let token = cluster.sign(&serde_json::json!({
            "iss": ISSUER, "aud": ["pods.eks.amazonaws.com"], "sub": "system:serviceaccount:prod:web",
            "exp": now + 3600, "nbf": now, "iat": now, "kubernetes.io": {
                "namespace": "prod", "serviceaccount": {"name": "web", "uid": "s"}, "pod": {"name": pod, "uid": pod},
            },
        }));
        let head = format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\n");
        let get = || Some(request(daemon.face("pod-identity"), &head)).filter(|answer| answer.status == 200);
        let set = eventually("the pod gets credentials", get, || daemon.log()).json();
        let arn = format!("arn:aws:sts::123456789012:assumed-role/web/blue+prod+web+{pod}</Arn>");
        let answer = identity(&moto, set["AccessKeyId"].as_str().expect("a key"));
        assert!(answer.contains(&arn), "{answer}");
    }
}

#[test]
fn source_test_asks_once_and_shows_no_secret() {
    let Some(moto) = moto("source test with moto") else { return };
    let ims = Ims::start(Behaviour::default());
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    let text = format!("{}assume_role: arn:aws:iam::123456789012:role/deploy\n", ims.config());
    std::fs::write(&file, text).expect("a file");
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.args(["source", "test", "deploy", "-c"]).arg(&file);
    let output = command.env("AWS_ENDPOINT_URL_STS", format!("http://{}", moto.address)).output().expect("it runs");
    let said = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(output.status.success(), "{said}{}", String::from_utf8_lossy(&output.stderr));
    for part in [
        "from:          AssumeRole with ims\n",
        "access key id: ASIA",
        "secret key:    *** (40 characters)",
        "account:       123456789012",
        "fetched again: in 2",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}
