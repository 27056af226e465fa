//! Sessions of pods over refreshes, and what STS has against their size.

use std::{fs, time::Duration};

use jiff::Timestamp;
use serde_json::json;

use crate::{
    HOUR,
    issuer::{Cluster, ISSUER},
    stand_in::{Call, Reply, StandIn},
    support::{Daemon, eventually, request},
};

/// A daemon whose role `web` is assumed at that STS, and a pod of it.
fn node(sts: &StandIn) -> (Daemon, impl Fn() -> (u16, String)) {
    let cluster = Cluster::new();
    let directory = tempfile::tempdir().expect("a directory");
    let keys = directory.path().join("jwks.json");
    fs::write(&keys, cluster.keys()).expect("written");
    let config = format!(
        "sources:\n  base: {{kind: static, access_key_id: AKIAX, secret_access_key: s}}\n  \
         far: {{kind: sts, endpoint: '{}'}}\nroles:\n  web: {{source: base, via: far, role_arn: 'arn:aws:iam::123456789012:role/web'}}\n\
         sandbox: enforce\npod_identity:\n  listen: ['127.0.0.1:0']\n  issuer: {ISSUER}\n  jwks_file: {}\n  session_tags: {{}}\n  \
         associations: [{{role: web}}]\n",
        sts.url(),
        keys.display(),
    );
    let daemon = Daemon::with_credentials(&config);
    let now = Timestamp::now().as_second();
    let token = cluster.sign(&json!({
        "iss": ISSUER, "aud": ["pods.eks.amazonaws.com"], "sub": "system:serviceaccount:prod:web",
        "exp": now + 3600, "nbf": now, "iat": now, "kubernetes.io": {
            "namespace": "prod", "serviceaccount": {"name": "web", "uid": "s"}, "pod": {"name": "web-0", "uid": "u"},
        },
    }));
    let face = daemon.face("pod-identity");
    let ask = move || {
        // It is read again and again, as long as the daemon runs.
        let _keys = &directory;
        let head = format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\n");
        let answer = request(face, &head);
        (answer.status, answer.body)
    };
    (daemon, ask)
}

fn is_of_pod(call: &Call) -> bool {
    call.get("Tags.member.1.Key") == "kubernetes-namespace"
}

#[test]
fn a_session_of_a_pod_is_refreshed_ahead_under_the_same_name() {
    let sts = StandIn::start(|_| Reply::Set(Duration::from_secs(15)));
    let (daemon, ask) = node(&sts);
    let of_pod = || sts.calls().into_iter().filter(is_of_pod).collect::<Vec<_>>();
    eventually("the pod gets credentials", || (ask().0 == 200).then_some(()), || daemon.log());
    // Nobody asks meanwhile.
    eventually("it is fetched again", || (of_pod().len() >= 3).then_some(()), || daemon.log());
    assert_eq!(ask().0, 200);
    let calls = of_pod();
    assert!(calls.iter().all(|call| call.get("RoleSessionName") == "prod+web+web-0"), "{calls:?}");
    assert!(calls.iter().all(|call| call.form == calls[0].form), "{calls:?}");
}

#[test]
fn tags_that_are_too_large_for_sts_are_told_with_what_to_do() {
    let sts = StandIn::start(|call: &Call| {
        let large = "Packed size of session tags and policy consumes 107% of allotted space.";
        if is_of_pod(call) { Reply::Error(400, "PackedPolicyTooLarge", large) } else { Reply::Set(HOUR) }
    });
    let (daemon, ask) = node(&sts);
    let refused = || Some(ask()).filter(|(status, _)| *status != 503);
    let (status, body) = eventually("it is refused", refused, || daemon.log());
    assert!(status == 403 && body.contains("consumes 107%"), "{status} {body}");
    let told = daemon.wait_for_log("PackedPolicyTooLarge");
    for part in ["ERROR", "session prod+web+web-0: AssumeRole of ", "shorten `policy`, or use fewer"] {
        assert!(told.contains(part), "{part}: {told}");
    }
}
