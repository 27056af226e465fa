//! Roles for emergencies, as the people on call meet them.

mod support;

use std::fs;

use support::{Scene, Server, Sts, client::Answer, eventually, records};

const ADMIN: &str = "/account/demo/admin/credentials";
const REASON: (&str, &str) = ("X-Alppaca-Reason", "the database is down, ticket 4711");

/// The usual configuration, in which those on call get `admin` in an emergency.
fn config(scene: &Scene, sts: &Sts) -> String {
    let rule = "  - {name: break glass, match: {method: people, groups: oncall}, account: demo, role: admin,\n     \
                emergency: {reason: required, for: 20m}}\n";
    format!("{}{rule}audit_required: yes\n", scene.usual(&sts.url()))
}

/// What alice on call gets for `path` with a further header.
fn ask(scene: &Scene, server: &Server, path: &str, more: Option<(&str, &str)>) -> Answer {
    let headers = [("X-Remote-User", "alice"), ("X-Groups", "oncall")].into_iter().chain(more).collect::<Vec<_>>();
    scene.client(server.address, None).get(path, &headers)
}

#[test]
fn without_a_reason_there_is_nothing_but_the_way_to_give_one() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &config(&scene, &sts));
    let long = "x".repeat(257);
    for reason in [None, Some(""), Some("urgent"), Some(&*long), Some("überlastet, dringend")] {
        let answer = ask(&scene, &server, ADMIN, reason.map(|reason| (REASON.0, reason)));
        assert_eq!((answer.status, answer.header("alppaca-ims")), (403, Some("1")), "{reason:?}: {answer:?}");
        assert!(answer.field("message").contains("in the header X-Alppaca-Reason"), "{answer:?}");
    }
    // It is in no list, not on the route of hosts, and has no URL of the console.
    assert_eq!(ask(&scene, &server, "/account", Some(REASON)).body, "{}");
    for path in
        ["/latest/meta-data/iam/security-credentials/admin", "/account/demo/admin/consoleurl", "/account/demo/db"]
    {
        let answer = ask(&scene, &server, path, Some(REASON));
        assert_eq!((answer.status, answer.field("message").as_str()), (403, "Permission Denied"), "{path}: {answer:?}");
    }
    // Callers who are not on call do not learn of it.
    let other = scene.client(server.address, None).get(ADMIN, &[("X-Remote-User", "bob"), REASON]);
    assert_eq!((other.status, other.field("message").as_str()), (403, "Permission Denied"), "{other:?}");
    assert_eq!(sts.assumed().len(), 0);
    assert!(!server.log().contains("EMERGENCY"));
}

#[test]
fn with_a_reason_the_role_comes_after_the_alert_and_for_this_request_only() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let mut server = Server::start(&scene, &config(&scene, &sts));
    let answers: Vec<Answer> = (0..2).map(|_| ask(&scene, &server, ADMIN, Some(REASON))).collect();
    for answer in &answers {
        assert_eq!(answer.status, 200, "{answer:?}\n{}", server.log());
    }
    assert_ne!(answers[0].field("AccessKeyId"), answers[1].field("AccessKeyId"), "no set is given twice");
    // What was made for the emergency is of no use without a reason.
    assert_eq!(ask(&scene, &server, ADMIN, None).status, 403);

    let calls = sts.assumed();
    assert_eq!(calls.len(), 2);
    let ids: Vec<&str> = calls.iter().map(|call| call.get("Tags.member.1.Value")).collect();
    assert!(ids[0] != ids[1] && ids.iter().all(|id| id.len() == 12), "{ids:?}");
    for (call, id) in calls.iter().zip(&ids) {
        assert_eq!((call.get("Tags.member.1.Key"), call.get("DurationSeconds")), ("emergency", "1200"));
        let line = server.wait_for_log(&format!("EMERGENCY {id}: alice (people, from 127.0.0.1) takes demo/admin"));
        assert!(line.contains("ERROR") && line.ends_with(REASON.1), "{line}");
    }
    assert_eq!(server.stop(), Some(0));
    let audit = fs::read_to_string(scene.path().join("audit.log")).expect("an audit");
    let records = records(&audit);
    let events: Vec<_> = records.iter().map(|record| record["event"].as_str().expect("a word")).collect();
    assert_eq!(events, ["emergency", "handed_out", "emergency", "handed_out", "denied"], "{audit}");
    for (pair, id) in records.chunks(2).zip(&ids) {
        assert!(pair.iter().all(|record| record["emergency"] == *id && record["identity"] == "alice"), "{audit}");
        assert_eq!(
            (&pair[0]["reason"], &pair[0]["role"], &pair[0]["rule"]),
            (&REASON.1.into(), &"admin".into(), &"break glass".into())
        );
    }
}

#[test]
fn an_alert_that_cannot_be_recorded_stops_the_hand_out() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let config = config(&scene, &sts).replace(&scene.path().join("audit.log").display().to_string(), "/dev/full");
    let server = Server::start(&scene, &config);
    // Also the first, before it is known that nothing can be written.
    let answer = ask(&scene, &server, ADMIN, Some(REASON));
    assert_eq!((answer.status, answer.header("alppaca-ims")), (503, None), "{answer:?}");
    assert!(answer.field("message").contains("alert"), "{answer:?}");
    assert_eq!(sts.assumed().len(), 0);
    eventually("it is logged", || server.log().contains("EMERGENCY").then_some(()), || server.log());
}

/// A program for `emergency_alert`: `script` after the beginning of a shell script.
fn alarm(scene: &Scene, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let path = scene.path().join("page");
    fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("ours");
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("ours");
    path.display().to_string()
}

#[test]
fn people_are_told_before_the_role_is_given() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let told = scene.path().join("told");
    // What the program is told, word by word, with what else it finds in its environment.
    let script = format!("{{ printf '%s\\n' \"$@\"; env; }} | sort > {0}.new; mv {0}.new {0}", told.display());
    let config = format!(
        "{}emergency_alert: [{}, 'on call; $(id)']\nmetrics_listen: 127.0.0.1:0\n",
        config(&scene, &sts),
        alarm(&scene, &script)
    );
    let server = Server::start(&scene, &config);
    let reason = ("X-Alppaca-Reason", "ticket 4711; $(id) `id`");
    assert_eq!(ask(&scene, &server, ADMIN, Some(reason)).status, 200, "{}", server.log());
    let lines = fs::read_to_string(&told).expect("it ran before the answer");
    let id = sts.assumed()[0].get("Tags.member.1.Value").to_owned();
    for line in [
        "on call; $(id)",
        &format!("EMERGENCY_ID={id}"),
        "EMERGENCY_IDENTITY=alice",
        "EMERGENCY_PROVEN_BY=people",
        "EMERGENCY_PEER=127.0.0.1",
        "EMERGENCY_RULE=break glass",
        "EMERGENCY_ACCOUNT=111122223333",
        "EMERGENCY_ROLE=admin",
        "EMERGENCY_REASON=ticket 4711; $(id) `id`",
    ] {
        assert!(lines.lines().any(|other| other == line), "{line}: {lines}");
    }
    assert!(!lines.contains("CARGO") && !lines.contains(support::SECRET), "{lines}");
    let metrics = server.monitor("/metrics");
    assert!(metrics.contains("alppaca_ims_emergencies_total 1\n"), "{metrics}");
}

#[test]
fn an_alert_that_reaches_no_one_stops_the_hand_out_unless_it_may_fail() {
    let (scene, sts) = (Scene::new(), Sts::start());
    let program = alarm(&scene, "echo no signal >&2; exit 3");
    let config = format!("{}emergency_alert: {program}\nmetrics_listen: 127.0.0.1:0\n", config(&scene, &sts));
    let server = Server::start(&scene, &config);
    let answer = ask(&scene, &server, ADMIN, Some(REASON));
    assert_eq!((answer.status, answer.header("alppaca-ims")), (503, None), "{answer:?}");
    server.wait_for_log("emergency_alert: it ended with exit status: 3: no signal");
    assert_eq!(sts.assumed().len(), 0);

    server.reload(&format!("{config}alert_failure: continue\n"), "was read again");
    assert_eq!(ask(&scene, &server, ADMIN, Some(REASON)).status, 200, "{}", server.log());
    server.wait_for_log("the role is given all the same (alert_failure)");
    let metrics = server.monitor("/metrics");
    assert!(metrics.contains("alppaca_ims_emergency_alerts_failed_total 2\n"), "{metrics}");
}
