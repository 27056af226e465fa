//! `alppaca webhook` as the API server sees it: the real binary, over TLS.

mod running;
#[path = "../support/api_server.rs"]
mod stand_in;
#[path = "../support/mod.rs"]
mod support;

use std::io::Write;

use running::{PODS, Webhook, answer, head, refused, review, socket_from};
use rustix::process::Signal;
use rustls::version::{TLS12, TLS13};
use serde_json::Value;
use stand_in::{Mood, StandIn, TOKEN};
use support::eventually;

const WEB: &str = "[{namespace: prod, service_account: 'web-*', role: web}]";

#[test]
fn pods_of_accounts_with_roles_are_patched_and_others_are_not() {
    let webhook = Webhook::start(WEB, "  region: eu-central-1\n");
    let patched = webhook.review("prod", "web-1");
    assert_eq!(patched["response"]["allowed"], true, "{patched}");
    assert_eq!(patched["response"]["patchType"], "JSONPatch", "{patched}");
    for (namespace, account) in [("stage", "web-1"), ("prod", "other")] {
        let untouched = webhook.review(namespace, account);
        assert_eq!(untouched["response"]["allowed"], true, "{untouched}");
        assert_eq!(untouched["response"]["patch"], Value::Null, "{untouched}");
    }
    webhook.wait_for_log("[INFO] pod prod/app-* of prod/web-1: added to app");
    webhook.wait_for_log("[INFO] pod stage/app-* of stage/web-1: nothing is added: its service account has no role");
    assert_eq!(webhook.metric("alppaca_webhook_pods_mutated_total"), "1");
    assert_eq!(webhook.metric("alppaca_webhook_pods_skipped_total{reason=\"not_associated\"}"), "2");
    assert_eq!(webhook.metric("alppaca_webhook_request_duration_seconds_count"), "3");
    assert_eq!(webhook.metric("alppaca_webhook_certificate_expiration_timestamp_seconds"), "1935792000");
    assert_eq!((webhook.shown("/livez").0, webhook.shown("/readyz").0), (200, 200));
    // Landlock and seccomp, as far as this kernel has them.
    webhook.wait_for_log("sandbox: ");
}

#[test]
fn a_connection_has_several_reviews_and_both_versions_of_tls() {
    let webhook = Webhook::start(WEB, "");
    for version in [&TLS12, &TLS13] {
        let mut stream = webhook.connect_with(&[version]).expect("a connection");
        let body = review("prod", "web-1");
        for _ in 0..3 {
            let request = head("POST /mutate", "application/json; charset=utf-8", body.len()) + &body;
            stream.write_all(request.as_bytes()).expect("it takes it");
            assert_eq!(answer(&mut stream).0, 200);
        }
    }
    assert_eq!(webhook.metric("alppaca_webhook_pods_mutated_total"), "6");
}

#[test]
fn what_is_no_review_gets_no_decision() {
    let webhook = Webhook::start(WEB, "");
    assert_eq!(webhook.post("{}").0, 400);
    assert_eq!(webhook.post(&review("prod", "web-1").replace("/v1", "/v1beta1")).0, 400);
    let too_long = 3 * 1024 * 1024 + 1;
    for (line, kind, length, status) in [
        ("GET /mutate", "application/json", 0, 405),
        ("POST /", "application/json", 0, 404),
        ("POST /mutate", "text/plain", 0, 415),
        ("POST /mutate", "application/json", too_long, 413),
    ] {
        let mut stream = webhook.connect();
        stream.write_all(head(line, kind, length).as_bytes()).expect("it takes it");
        assert_eq!(answer(&mut stream).0, status, "{line} {kind} {length}");
    }
    // A body without a length is cut off, too.
    let mut stream = webhook.connect();
    let head =
        "POST /mutate HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let chunk = format!("{:x}\r\n{}\r\n", 1 << 20, " ".repeat(1 << 20));
    stream.write_all(head.as_bytes()).expect("it takes it");
    // The webhook may have closed the connection before all of it was taken.
    let _cut = (0..4).try_for_each(|_| stream.write_all(chunk.as_bytes()));
    for (reason, count) in [("malformed", 2), ("unknown", 3), ("too_large", 2)] {
        let series = format!("alppaca_webhook_failures_total{{reason=\"{reason}\"}}");
        eventually(reason, || (webhook.metric(&series) == count.to_string()).then_some(()), || webhook.log());
    }
    assert_eq!(webhook.review("prod", "web-1")["response"]["patchType"], "JSONPatch");
}

#[test]
fn clients_that_say_nothing_delay_no_other() {
    let webhook = Webhook::start(WEB, "");
    let silent: Vec<_> = (0..50).map(|_| std::net::TcpStream::connect(webhook.address).expect("it listens")).collect();
    let mut slow = webhook.connect();
    slow.write_all(head("POST /mutate", "application/json", 100).as_bytes()).expect("it takes it");
    assert_eq!(webhook.review("prod", "web-1")["response"]["patchType"], "JSONPatch");
    drop((silent, slow));
}

/// Another host than that of the other requests.
const GREEDY: [u8; 4] = [127, 0, 0, 2];

#[test]
fn one_host_cannot_take_the_connections_of_others() {
    let webhook = Webhook::start(WEB, "");
    let silent: Vec<_> = (0..600).map(|_| socket_from(GREEDY, webhook.address)).collect();
    let refused = || (webhook.metric("alppaca_webhook_connections_refused_total") != "0").then_some(());
    eventually("refused", refused, || webhook.log());
    let mut open: Vec<_> = (0..20).map(|_| webhook.connect()).collect();
    let body = review("prod", "web-1");
    let request = head("POST /mutate", "application/json", body.len()) + &body;
    for stream in &mut open {
        stream.write_all(request.as_bytes()).expect("it takes it");
        assert_eq!(answer(stream).0, 200);
    }
    drop(silent);
    // The same where health is shown.
    let silent: Vec<_> = (0..70).map(|_| socket_from(GREEDY, webhook.metrics)).collect();
    assert_eq!((webhook.shown("/livez").0, webhook.shown("/readyz").0), (200, 200));
    drop(silent);
}

#[test]
fn one_host_cannot_take_the_memory_for_the_bodies_of_others() {
    let webhook = Webhook::start(WEB, "");
    let (length, part) = (3 * 1024 * 1024, vec![b' '; 3 * 1024 * 1024 - 1]);
    let send = || {
        let mut stream = webhook.connect_from(GREEDY);
        stream.write_all(head("POST /mutate", "application/json", length).as_bytes()).expect("it takes it");
        // It may be refused before all of it was taken.
        let _refused = stream.write_all(&part);
        stream
    };
    // At the same time: the first of them is not waited for without end.
    let greedy: Vec<_> = std::thread::scope(|scope| {
        let sending: Vec<_> = (0..6).map(|_| scope.spawn(send)).collect();
        sending.into_iter().map(|sent| sent.join().expect("it sends")).collect()
    });
    let busy = || (webhook.metric("alppaca_webhook_failures_total{reason=\"busy\"}") != "0").then_some(());
    eventually("busy", busy, || webhook.log());
    assert_eq!(webhook.review("prod", "web-1")["response"]["patchType"], "JSONPatch");
    let (status, body) = webhook.post(&format!("{}{}", review("prod", "web-1"), " ".repeat(2 * 1024 * 1024)));
    assert_eq!(status, 200, "{body}");
    drop(greedy);
}

#[test]
fn a_new_certificate_is_shown_and_a_wrong_one_is_not() {
    let mut webhook = Webhook::start(WEB, "");
    let mut open = webhook.connect();
    let before = webhook.authority.clone();
    webhook.authority = webhook.certificates.switch();
    webhook.signal(Signal::HUP);
    webhook.wait_for_log("the configuration was read again");
    assert_eq!(webhook.review("prod", "web-1")["response"]["patchType"], "JSONPatch");
    // The connection that was open stays so.
    let body = review("prod", "web-1");
    let request = head("POST /mutate", "application/json", body.len()) + &body;
    open.write_all(request.as_bytes()).expect("it takes it");
    assert_eq!(answer(&mut open).0, 200);
    let after = std::mem::replace(&mut webhook.authority, before);
    assert!(
        webhook
            .connect_with(rustls::ALL_VERSIONS)
            .and_then(|mut it| it.write_all(b"x").map_err(|e| e.to_string()))
            .is_err()
    );
    webhook.authority = after;

    webhook.certificates.write("nothing", "nothing");
    webhook.signal(Signal::HUP);
    webhook.wait_for_log("nothing has been changed");
    webhook.wait_for_log("tls/tls.crt");
    assert_eq!(webhook.review("prod", "web-1")["response"]["patchType"], "JSONPatch");
}

#[test]
fn a_reload_changes_who_has_a_role_but_not_the_listener() {
    let webhook = Webhook::start(WEB, "");
    webhook.configure("[{namespace: '*', service_account: other, role: web}]", "  token_expiration: 1h\n");
    webhook.signal(Signal::HUP);
    webhook.wait_for_log("the configuration was read again");
    assert_eq!(webhook.review("prod", "web-1")["response"]["patch"], Value::Null);
    assert_eq!(webhook.review("stage", "other")["response"]["patchType"], "JSONPatch");
    let text = std::fs::read_to_string(webhook.config()).expect("text").replacen("127.0.0.1:0", "127.0.0.2:0", 1);
    std::fs::write(webhook.config(), text).expect("a file");
    webhook.signal(Signal::HUP);
    webhook.wait_for_log("restart required for: webhook.listen; everything else is in force now");
    std::fs::write(webhook.config(), "nonsense: [").expect("a file");
    webhook.signal(Signal::HUP);
    webhook.wait_for_log("nothing has been changed");
    assert_eq!(webhook.review("stage", "other")["response"]["patchType"], "JSONPatch");
}

#[test]
fn a_stop_waits_for_what_is_under_way() {
    let mut webhook = Webhook::start(WEB, "  stop_delay: 0s\n");
    let body = review("prod", "web-1");
    let mut stream = webhook.connect();
    stream.write_all(head("POST /mutate", "application/json", body.len()).as_bytes()).expect("it takes it");
    stream.write_all(&body.as_bytes()[..10]).expect("it takes it");
    // It has the head: the connection is counted.
    eventually("open", || (webhook.metric("alppaca_webhook_connections") == "1").then_some(()), || webhook.log());
    let idle = webhook.connect();
    webhook.signal(Signal::TERM);
    let closed = || std::net::TcpStream::connect(webhook.address).is_err().then_some(());
    eventually("closed", closed, || webhook.log());
    stream.write_all(&body.as_bytes()[10..]).expect("it takes it");
    assert_eq!(answer(&mut stream).0, 200);
    assert_eq!(webhook.wait(), Some(0));
    drop(idle);
    webhook.wait_for_log("stopped");
}

#[test]
fn it_is_not_ready_while_it_stops_but_still_answers() {
    let webhook = Webhook::start(WEB, "  stop_delay: 1h\n");
    webhook.signal(Signal::TERM);
    let unready = || (webhook.shown("/readyz") == (503, "the webhook stops\n".to_owned())).then_some(());
    eventually("unready", unready, || webhook.log());
    assert_eq!(webhook.shown("/livez").0, 200);
    assert_eq!(webhook.review("prod", "web-1")["response"]["patchType"], "JSONPatch");
}

#[test]
fn a_wrong_configuration_is_told_with_what_to_do() {
    let pods = format!("{PODS}  associations: [{{role: r}}]\n");
    for (config, said) in [
        (pods.clone(), "there is no `webhook` in "),
        (
            "ims_host: x\nwebhook: {tls_certificate: /a, tls_key: /b}\n".to_owned(),
            "2:1: `webhook` needs `pod_identity` as well",
        ),
        (format!("{pods}webhook: {{tls_key: /b}}\n"), "`tls_certificate` is missing in this section"),
        (
            format!("{pods}webhook: {{tls_certificate: /nowhere, tls_key: /b}}\n"),
            "webhook: tls_certificate: /nowhere: ",
        ),
        (
            format!("{pods}webhook: {{tls_certificate: /a, tls_key: /b, token_expiration: 5m}}\n"),
            "a duration between 10m and 24h is expected",
        ),
    ] {
        let output = refused(&config);
        let text = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{text}");
        assert!(text.contains(said), "{said}: {text}");
    }
}

const ARN: &str = "arn:aws:iam::123456789012:role/api";

/// Associations of the configuration, and annotations at this API server.
fn watching(cluster: &StandIn) -> Webhook {
    let directory = tempfile::TempDir::new().expect("a directory");
    let authority = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        path.display().to_string()
    };
    let (token, ca) = (write("token", TOKEN), write("ca.crt", &authority.cert.pem()));
    let associations = format!(
        "{WEB}\n  service_accounts:\n    api_server: {}\n    api_ca_file: {ca}\n    api_token_file: {token}\n    \
         allow: [{{namespace: '*', roles: api}}]\nroles: {{api: {{source: ims, role_arn: '{ARN}'}}}}",
        cluster.url()
    );
    Webhook::start_in(directory, &associations, "")
}

#[test]
fn annotations_of_service_accounts_count_as_soon_as_they_are_known() {
    let cluster = StandIn::start();
    cluster.behave(Mood::Refusing(403));
    cluster.put("stage", "api", &[("alppaca.dev/role", "api")]);
    cluster.put("stage", "default", &[]);
    let webhook = watching(&cluster);
    // Nothing is guessed while that is not known, but who is in the configuration needs no annotation.
    webhook.wait_for_log("403");
    let (status, why) = webhook.shown("/readyz");
    assert!(status == 503 && why.contains("it is not known which service accounts ask for roles: GET "), "{why}");
    assert_eq!(webhook.metric("alppaca_service_accounts_following"), "0");
    assert_ne!(webhook.metric("alppaca_service_accounts_failures_total"), "0");
    assert_eq!(webhook.post(&review("stage", "api")).0, 503);
    assert_eq!(webhook.review("prod", "web-1")["response"]["patchType"], "JSONPatch");
    assert_eq!(webhook.metric("alppaca_webhook_ready"), "0");

    cluster.behave(Mood::Right);
    eventually("ready", || (webhook.shown("/readyz").0 == 200).then_some(()), || webhook.log());
    assert_eq!(webhook.review("stage", "api")["response"]["patchType"], "JSONPatch");
    assert_eq!(webhook.review("stage", "default")["response"]["patch"], Value::Null);
    cluster.put("stage", "default", &[("eks.amazonaws.com/role-arn", ARN)]);
    let patched = || (webhook.review("stage", "default")["response"]["patchType"] == "JSONPatch").then_some(());
    eventually("patched", patched, || webhook.log());
    cluster.remove("stage", "api");
    let forgotten = || webhook.review("stage", "api")["response"]["patch"].is_null().then_some(());
    eventually("forgotten", forgotten, || webhook.log());

    assert_eq!(webhook.metric("alppaca_service_accounts"), "1");
    // What it cannot have is no reason to add anything.
    for (name, role) in [("admin", "admin"), ("odd", "a/b")] {
        cluster.put("stage", name, &[("alppaca.dev/role", role)]);
        let refused = || (webhook.review("stage", name)["response"]["warnings"].is_array()).then_some(());
        eventually("refused", refused, || webhook.log());
        assert_eq!(webhook.review("stage", name)["response"]["patch"], Value::Null);
    }
    assert_ne!(webhook.metric("alppaca_webhook_pods_skipped_total{reason=\"not_allowed\"}"), "0");

    // What is known stays, also over a reload.
    cluster.behave(Mood::Away);
    webhook.signal(Signal::HUP);
    webhook.wait_for_log("the configuration was read again");
    assert_eq!(webhook.review("stage", "default")["response"]["patchType"], "JSONPatch");
    assert_eq!(cluster.wrong(), Vec::<String>::new());
}
