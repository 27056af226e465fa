//! `use`, `me` and `roles`: each user chooses for its own programs, within what the policy gives it.

use std::{path::Path, time::Duration};

use crate::{
    ALPPACA, Answer, Behaviour, Command, Daemon, Ims, LIST, Output, alppaca, as_user, public_place, stderr, stdout,
    support::{needs, needs_root},
    with_credentials, with_roles,
};

/// Numbers that belong to nobody on this host.
const ANN: u32 = 52_101;
const BOB: u32 = 52_102;

/// What a program of that user gets first.
fn first(uid: u32, daemon: &Daemon) -> String {
    let url = format!("http://{}{LIST}", daemon.address());
    stdout(&as_user(uid, "curl").args(["-sS", "-m", "20", &url]).output().expect("curl runs"))
}

fn code(output: &Output) -> i32 {
    output.status.code().unwrap_or_else(|| panic!("{output:?}"))
}

#[test]
fn a_choice_is_for_the_programs_of_one_user_and_survives_reload_and_restart() {
    if !needs_root("desktop: two users") || !needs("desktop: two users", "curl") {
        return;
    }
    let ims = with_roles(&["base", "prod-admin", "test-admin"]);
    let (place, binary) = public_place();
    let run = place.path().join("run");
    let config = format!("{}user: nobody\ngroup: nogroup\nrun_dir: {}\n", ims.config(), run.display());
    let mut daemon = with_credentials(&config, 3);
    let user = |uid, arguments: &[&str]| {
        as_user(uid, &binary).args(arguments).env("ALPPACA_SOCKET", run.join("alppaca.sock")).output().expect("it runs")
    };
    assert_eq!((first(ANN, &daemon), first(BOB, &daemon)), ("base".to_owned(), "base".to_owned()));
    let output = user(ANN, &["use", "prod"]);
    assert!(output.status.success() && stdout(&output).starts_with("prod-admin"), "{output:?}");
    assert_eq!((first(ANN, &daemon), first(BOB, &daemon)), ("prod-admin".to_owned(), "base".to_owned()));
    assert_eq!(first(0, &daemon), "base", "root chooses for itself only");
    assert!(user(BOB, &["use", "test-admin"]).status.success());
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
    assert_eq!((first(ANN, &daemon), first(BOB, &daemon)), ("prod-admin".to_owned(), "test-admin".to_owned()));
    // `credentials` without a role gives the same.
    let json = stdout(&user(BOB, &["credentials", "--format", "json"]));
    assert!(json.contains("\"Role\":\"test-admin\""), "{json}");
    daemon.stop();
    drop(daemon);
    // A policy that no longer gives Bob what he has chosen, and Ann both.
    let rules = format!(
        "policy:\n  rules:\n    - {{match: {{user: {ANN}}}, role: [base, prod-admin]}}\n    \
         - {{match: {{user: {BOB}}}, role: base}}\n  default: deny\n"
    );
    let daemon = with_credentials(&format!("{config}{rules}"), 3);
    assert_eq!((first(ANN, &daemon), first(BOB, &daemon)), ("prod-admin".to_owned(), "base".to_owned()));
    let output = user(BOB, &["use", "prod-admin"]);
    assert_eq!(code(&output), 4, "{output:?}");
    let said = stdout(&user(BOB, &["roles"]));
    assert!(said.contains("* base") && said.contains("You have chosen test-admin, which is not there"), "{said}");
    assert!(user(ANN, &["use", "-"]).status.success());
    assert_eq!(first(ANN, &daemon), "base");
    assert!(user(ANN, &["use", "-"]).status.success());
    assert_eq!(first(ANN, &daemon), "prod-admin");
    assert!(user(ANN, &["me"]).status.success());
    assert_eq!(first(ANN, &daemon), "base");
    assert_eq!(code(&user(4242, &["roles"])), 4, "a user without a role");
}

#[test]
fn a_connection_that_is_open_gets_the_choice_with_its_next_request() {
    let ims = with_roles(&["a", "b"]);
    let daemon = with_credentials(&ims.config(), 2);
    let mut stream = crate::support::connect(daemon.address());
    let mut list = || {
        let request = format!("GET {LIST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n");
        std::io::Write::write_all(&mut stream, request.as_bytes()).expect("it reads");
        crate::support::read_one(&mut stream).body
    };
    assert_eq!(list(), "a");
    assert!(alppaca(&daemon.socket(), &["use", "b"]).status.success());
    assert_eq!(list(), "b");
    assert!(alppaca(&daemon.socket(), &["use", "--reset"]).status.success());
    assert_eq!(list(), "a");
}

#[test]
fn what_is_meant_must_be_one_role_and_a_failed_choice_changes_nothing() {
    let behaviour = Behaviour {
        roles: ["web-prod", "web-test", "sick"].map(str::to_owned).to_vec(),
        documents: vec![("sick".into(), Answer::Status(500))],
        ..Behaviour::default()
    };
    let ims = Ims::start(behaviour);
    let daemon = with_credentials(&ims.config(), 2);
    let run = |arguments: &[&str]| alppaca(&daemon.socket(), arguments);
    let output = run(&["use", "-"]);
    assert_eq!((code(&output), &*stderr(&output)), (1, "alppaca: you have not chosen a role before\n"));
    assert!(run(&["use", "web-test"]).status.success());
    let output = run(&["use", "web"]);
    assert_eq!(code(&output), 6);
    assert!(stderr(&output).contains("2 roles match web:\n  web-"), "{output:?}");
    let output = run(&["use", "wbe-prod"]);
    assert_eq!(code(&output), 4);
    assert!(stderr(&output).contains("Near it: web-prod"), "{output:?}");
    daemon.wait_for_log("role sick: cannot fetch credentials (attempt 1)");
    let output = run(&["use", "sick", "--wait", "1"]);
    assert_eq!(code(&output), 5, "{output:?}");
    assert!(stderr(&output).contains("nothing has been fetched yet") && stderr(&output).contains("500"), "{output:?}");
    assert_eq!(daemon.get(LIST).body, "web-test");
    for arguments in [&["use"][..], &["use", "--reset", "x"]] {
        assert_eq!(code(&run(arguments)), 2, "{arguments:?}");
    }
    assert_eq!(code(&alppaca(Path::new("/nonexistent"), &["use", "x"])), 3);
}

#[test]
fn a_role_that_comes_late_is_waited_for() {
    let behaviour = Behaviour {
        roles: ["a", "late"].map(str::to_owned).to_vec(),
        documents: vec![("late".into(), Answer::Status(500))],
        ..Behaviour::default()
    };
    let ims = Ims::start(behaviour);
    let daemon = with_credentials(&ims.config(), 1);
    daemon.wait_for_log("role late: cannot fetch credentials (attempt 1)");
    let waiting = Command::new(ALPPACA)
        .args(["use", "late"])
        .env("ALPPACA_SOCKET", daemon.socket())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("it starts");
    daemon.wait_for_log("role late: cannot fetch credentials (attempt 2)");
    ims.handle.update(|behaviour| behaviour.documents.clear());
    let output = waiting.wait_with_output().expect("it ends");
    assert!(output.status.success() && stdout(&output).starts_with("late"), "{output:?}");
    assert_eq!(daemon.get(LIST).body, "late");
}

#[test]
fn roles_are_listed_by_account_and_can_be_searched() {
    let ims = Ims::start(Behaviour {
        roles: ["web", "db"].map(str::to_owned).to_vec(),
        lifetime: Duration::from_hours(1),
        ..Behaviour::default()
    });
    let daemon = with_credentials(&ims.config(), 2);
    assert!(alppaca(&daemon.socket(), &["use", "db"]).status.success());
    let text = stdout(&alppaca(&daemon.socket(), &["roles"]));
    let lines: Vec<&str> = text.lines().collect();
    assert!(lines[0].starts_with("account "), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("* db   fresh ") && line.ends_with('m')), "{text}");
    assert!(lines.iter().any(|line| line.starts_with("  web  fresh ")), "{text}");
    let json: serde_json::Value =
        serde_json::from_slice(&alppaca(&daemon.socket(), &["roles", "we", "--json"]).stdout).expect("JSON");
    assert_eq!((&json["chosen"], &json["roles"][0]["name"]), (&"db".into(), &"web".into()), "{json}");
    assert_eq!(json["roles"].as_array().map(Vec::len), Some(1));
    assert_eq!(code(&alppaca(&daemon.socket(), &["roles", "nothing"])), 4);
}
