//! What a bad upstream does to programs: nothing, as long as there are good credentials.

mod support;

use std::{
    process::Command,
    time::{Duration, Instant},
};

use alppaca::mock_ims::{Answer, Behaviour};
use support::{Daemon, Ims, PATIENCE, get};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";

/// Sets are fetched again when a third of this is over; the rest is for what goes wrong then.
const LIFE: Duration = Duration::from_secs(12);

#[test]
fn bad_documents_never_replace_good_credentials_and_leave_other_roles_alone() {
    let ims = Ims::start(Behaviour { lifetime: LIFE, ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&ims.config());
    for answer in [Answer::Empty, Answer::Expired, Answer::Refusal, Answer::Status(503)] {
        let told = |daemon: &Daemon| daemon.log().matches("[WARNING] role test_role: cannot fetch").count();
        let before = told(&daemon);
        ims.handle.update(|behaviour| behaviour.document = answer.clone());
        while told(&daemon) == before {
            let document = get(daemon.address(), ROLE);
            assert_eq!((document.status, document.json()["Code"].as_str()), (200, Some("Success")), "{answer:?}");
        }
        let recovered = daemon.log().matches("could be fetched again").count();
        ims.handle.update(|behaviour| behaviour.document = Answer::Good);
        while daemon.log().matches("could be fetched again").count() == recovered {
            assert_eq!(get(daemon.address(), ROLE).status, 200);
        }
    }
}

/// The answers of `afp-core` (the last of 2017) in its own troubles, to the list and to a document.
const TROUBLES: [(&str, Answer, Answer, bool); 5] = [
    ("its key is rotated, or its clock is wrong", Answer::Empty, Answer::Afp(403, "Permission Denied"), true),
    (
        "its configuration is broken",
        Answer::Afp(404, "ConfigurationError"),
        Answer::Afp(404, "ConfigurationError"),
        true,
    ),
    (
        "it takes the host for another",
        Answer::Afp(403, "Permission Denied"),
        Answer::Afp(403, "Permission Denied"),
        true,
    ),
    (
        "its name service is down",
        Answer::Afp(500, "Internal Server Error"),
        Answer::Afp(500, "Internal Server Error"),
        false,
    ),
    ("AWS is down", Answer::Afp(502, "Call to AWS failed"), Answer::Afp(502, "Call to AWS failed"), false),
];

#[test]
fn an_afp_in_trouble_takes_nothing_away_before_its_end() {
    let begin = |(trouble, list, document, refused): &(&'static str, Answer, Answer, bool)| {
        let ims = Ims::start(Behaviour { lifetime: LIFE, ..Behaviour::default() });
        let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
        let key = get(daemon.address(), ROLE).json()["AccessKeyId"].clone();
        ims.handle.update(|behaviour| (behaviour.list, behaviour.document) = (list.clone(), document.clone()));
        (*trouble, *refused, ims, daemon, key)
    };
    let rigs: Vec<_> = TROUBLES.iter().map(begin).collect();
    for (trouble, refused, _, daemon, key) in &rigs {
        daemon.wait_for_log("cannot read the role list");
        let told = daemon.wait_for_log("cannot fetch credentials");
        let document = get(daemon.address(), ROLE);
        assert_eq!((document.status, &document.json()["AccessKeyId"]), (200, key), "{trouble}");
        assert_eq!(told.contains("the current credentials are served until"), *refused, "{trouble}: {told}");
        let status = status(daemon);
        assert_eq!(status["roles"][0]["refused_since"].is_string(), *refused, "{trouble}: {status}");
        assert_eq!(status["list_refused"]["since"].is_string(), *refused, "{trouble}: {status}");
        let metrics = metrics(daemon);
        for series in [
            "\nalppaca_role_refused_since_timestamp_seconds{role=\"test_role\"} ",
            "\nalppaca_list_refused_since_timestamp_seconds ",
        ] {
            assert_eq!(metrics.contains(series), *refused, "{trouble}: {metrics}");
        }
    }
    // The first is left broken until there is nothing more to lose; the others are mended.
    for (_, _, ims, _, _) in &rigs[1..] {
        ims.handle.update(|behaviour| (behaviour.list, behaviour.document) = (Answer::Good, Answer::Good));
    }
    for (trouble, _, _, daemon, _) in &rigs[1..] {
        daemon.wait_for_log("the role list could be read again");
        daemon.wait_for_log("could be fetched again");
        let status = status(daemon);
        assert!(
            status["roles"][0]["refused_since"].is_null() && status["list_refused"].is_null(),
            "{trouble}: {status}"
        );
        assert_eq!(get(daemon.address(), ROLE).status, 200, "{trouble}");
    }
    let (_, _, _, daemon, _) = &rigs[0];
    daemon.wait_for_log("role test_role: withdrawn");
    assert_eq!((get(daemon.address(), LIST).status, get(daemon.address(), ROLE).status), (404, 404));
}

/// What an answer that begins well becomes in its middle.
fn other_sides() -> [(&'static str, Answer); 6] {
    let of_another = br#"{"Code": "Success", "AccessKeyId": "ASIAANOTHER", "SecretAccessKey": "s", "Token": "t", "Expiration": "2099-01-01T00:00:00Z"}"#;
    let refusal = br#"{"Code": "AssumeRoleUnauthorizedAccess", "Message": "no"}"#;
    [
        ("the document of another role", Answer::HalfThen(of_another.to_vec())),
        ("a refusal", Answer::HalfThen(refusal.to_vec())),
        ("an answer that refuses", Answer::HalfThen(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n".to_vec())),
        ("a page", Answer::HalfThen(b"<!DOCTYPE html>\n<html><body>\nLogin\n</body></html>\n".to_vec())),
        ("its end", Answer::Cut),
        ("a reset", Answer::Reset),
    ]
}

#[test]
fn an_upstream_that_changes_sides_in_mid_answer_gives_and_takes_nothing() {
    let begin = |(side, answer): (&'static str, Answer)| {
        let roles = vec!["test_role".to_owned(), "another_role".to_owned()];
        let ims = Ims::start(Behaviour { lifetime: LIFE, roles, ..Behaviour::default() });
        let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
        daemon.wait_for_log("role another_role: fetched");
        let served = [LIST, ROLE].map(|path| get(daemon.address(), path).body);
        ims.handle.update(|behaviour| (behaviour.list, behaviour.document) = (answer.clone(), answer));
        (side, ims, daemon, served)
    };
    let rigs = other_sides().map(begin);
    for (side, ims, daemon, served) in &rigs {
        daemon.wait_for_log("cannot fetch credentials");
        assert_eq!(&[LIST, ROLE].map(|path| get(daemon.address(), path).body), served, "{side}");
        assert_eq!(get(daemon.address(), &format!("{LIST}another_role")).status, 200, "{side}");
        let status = status(daemon);
        assert!(status["roles"][0]["refused_since"].is_null(), "{side}: {status}");
        ims.handle.update(|behaviour| (behaviour.list, behaviour.document) = (Answer::Good, Answer::Good));
    }
    for (side, ims, daemon, _) in &rigs {
        daemon.wait_for_log("could be fetched again");
        let document = get(daemon.address(), ROLE).json();
        let issued = ims.handle.issued_with(document["AccessKeyId"].as_str().expect("a key")).expect("it was issued");
        assert_eq!((&*issued.role, document["Token"].as_str()), ("test_role", Some(&*issued.session_token)), "{side}");
        let log = daemon.log();
        // A word of the page was a name.
        assert!(!log.contains("_role: withdrawn"), "{side}: {log}");
        assert!(!log.contains("ASIAANOTHER"), "{side}: {log}");
    }
}

#[test]
#[allow(clippy::disallowed_methods, reason = "the daemon goes by the real clock")]
fn a_set_of_another_account_is_served_whole_and_said() {
    let document = |account: &str| {
        let expiration = format!("{:.0}", jiff::Timestamp::now() + LIFE);
        let text = format!(
            r#"{{"Code": "Success", "AccessKeyId": "ASIA{account}", "SecretAccessKey": "secret{account}", "Token": "token{account}", "AccountId": "{account}", "Expiration": "{expiration}"}}"#
        );
        Answer::Raw(text.into_bytes())
    };
    let [before, after] = ["111111111111", "222222222222"];
    let ims = Ims::start(Behaviour { document: document(before), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&ims.config());
    ims.handle.update(|behaviour| behaviour.document = document(after));
    let mut accounts = Vec::new();
    while accounts.last().is_none_or(|account| account != after) {
        let document = get(daemon.address(), ROLE).json();
        let account =
            document["AccessKeyId"].as_str().and_then(|key| key.strip_prefix("ASIA")).expect("a key").to_owned();
        let [secret, token] =
            ["SecretAccessKey", "Token"].map(|field| document[field].as_str().expect("text").to_owned());
        assert_eq!((secret, token), (format!("secret{account}"), format!("token{account}")), "of two sets");
        accounts.push(account);
    }
    let told = daemon.wait_for_log("belongs to account");
    assert!(
        told.contains("[WARNING]") && told.contains(&format!("account {after} now, and before to {before}")),
        "{told}"
    );
}

#[test]
fn the_word_of_a_server_that_decides_and_a_list_of_others_withdraw_at_once() {
    let decided = vec![("Alppaca-IMS".to_owned(), "1".to_owned())];
    for (headers, roles) in [(decided, vec![]), (Vec::new(), vec!["another".to_owned()])] {
        let ims = Ims::start(Behaviour::default());
        let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
        ims.handle.update(|behaviour| (behaviour.headers, behaviour.roles) = (headers, roles));
        daemon.wait_for_log("role test_role: withdrawn by the upstream");
        assert_eq!(get(daemon.address(), ROLE).status, 404);
    }
}

#[test]
fn a_withdrawal_grace_ends_a_refused_role_before_its_set_does() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\nwithdrawal_grace: 2s\n", ims.config()));
    ims.handle.update(|behaviour| behaviour.list = Answer::Empty);
    daemon.wait_for_log("cannot read the role list");
    assert_eq!(get(daemon.address(), ROLE).status, 200);
    daemon.wait_for_log("role test_role: withdrawn");
}

#[test]
fn the_list_is_asked_for_as_often_as_its_upstream_says_and_documents_by_their_age() {
    let headers = vec![("Cache-Control".to_owned(), "max-age=3600".to_owned())];
    let ims = Ims::start(Behaviour { headers, lifetime: Duration::from_secs(6), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
    daemon.wait_for_count("role test_role: fetched", 3);
    assert_eq!((ims.handle.calls(LIST), ims.handle.calls(ROLE)), (1, 3));

    let ims = Ims::start(Behaviour::default());
    let _daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
    let mut requests = ims.handle.watch();
    for _ in 0..4 {
        assert_eq!(requests.blocking_recv().expect("a request").target, LIST);
    }
    assert_eq!(ims.handle.calls(ROLE), 1, "its set is good for an hour");
}

#[test]
#[allow(clippy::disallowed_methods, reason = "how long programs wait is what is tested")]
fn programs_that_wait_have_credentials_again_soon_after_the_upstream_is_back() {
    let ims = Ims::start(Behaviour { document: Answer::Status(503), ..Behaviour::default() });
    let daemon = Daemon::start(&ims.config());
    let began = Instant::now();
    // By itself it would have asked seven times in a minute, and then twice a minute.
    while ims.handle.calls(ROLE) < 12 {
        assert_eq!(get(daemon.address(), ROLE).status, 503);
        assert!(began.elapsed() < 2 * PATIENCE, "{} calls in {:?}", ims.handle.calls(ROLE), began.elapsed());
    }
    assert!(began.elapsed() > Duration::from_secs(9), "no more than one a second");
    ims.handle.update(|behaviour| behaviour.document = Answer::Good);
    let back = Instant::now();
    while get(daemon.address(), ROLE).status == 503 {}
    assert!(back.elapsed() < Duration::from_secs(10), "{:?}", back.elapsed());
    assert_eq!(get(daemon.address(), ROLE).status, 200);
}

#[test]
fn the_end_of_the_clients_certificate_is_in_the_metrics() {
    let directory = tempfile::tempdir().expect("a directory");
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["host".to_owned()]).expect("a name");
    params.not_after = rcgen::date_time_ymd(2031, 5, 6);
    let certificate = params.self_signed(&key).expect("a certificate");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        std::fs::write(&path, text).expect("a file");
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o600)).expect("ours");
        path.display().to_string()
    };
    let (certificate, key) = (write("host.pem", &certificate.pem()), write("host.key", &key.serialize_pem()));
    let config = format!(
        "ims_url: https://127.0.0.1:1\nims_client_certificate: {certificate}\nims_client_key: {key}\nims_ca_file: {certificate}\n"
    );
    let daemon = Daemon::start(&config);
    let series = "\nalppaca_client_certificate_expiration_timestamp_seconds{source=\"ims\"} ";
    let metrics = metrics(&daemon);
    let value = metrics.split(series).nth(1).and_then(|rest| rest.lines().next()).expect("the series");
    assert_eq!(value, "1935792000");
    assert!(!metrics.contains("alppaca_source_success_timestamp_seconds{"), "{metrics}");
}

#[test]
fn a_clock_that_differs_from_the_upstreams_is_named() {
    let ims = Ims::start(Behaviour {
        headers: vec![("Date".to_owned(), "Mon, 23 Nov 2015 10:00:00 GMT".to_owned())],
        ..Behaviour::default()
    });
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
    let told = daemon.wait_for_log("this host's clock is ");
    assert!(told.contains("WARNING") && told.contains(" s ahead of that of the upstream"), "{told}");
    let decade = 10 * 365 * 86_400;
    assert!(status(&daemon)["clock_ahead_seconds"].as_i64().is_some_and(|ahead| ahead > decade), "{}", status(&daemon));
    assert!(metrics(&daemon).contains("\nalppaca_clock_ahead_seconds "));
    let doctor = Command::new(env!("CARGO_BIN_EXE_alppaca"))
        .args(["doctor", "--socket"])
        .arg(daemon.socket())
        .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", daemon.address()))
        .output()
        .expect("it runs");
    let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
    assert!(found.contains("s ahead of that of the upstream") && doctor.status.code() == Some(1), "{found}");
    assert_eq!(get(daemon.address(), ROLE).status, 200, "the set is good by this clock");
    ims.handle.update(|behaviour| behaviour.headers.clear());
    daemon.wait_for_log("agrees with the upstream's again");
}

fn status(daemon: &Daemon) -> serde_json::Value {
    let command = ["status", "--json", "--socket"];
    let output =
        Command::new(env!("CARGO_BIN_EXE_alppaca")).args(command).arg(daemon.socket()).output().expect("it runs");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn metrics(daemon: &Daemon) -> String {
    use std::io::{Read, Write};
    let mut stream = std::os::unix::net::UnixStream::connect(daemon.socket()).expect("it listens");
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("text");
    answer
}
