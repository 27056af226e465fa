//! Roles that another person has to approve, as people and administrators meet them: replicas that share a directory.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use support::{Files, Scene, Server, Sts, client::Answer, eventually, records};

const ADMIN: &str = "/account/demo/admin/credentials";
const ASK: &str = "/account/demo/admin/request";
const REASON: (&str, &str) = ("X-Alppaca-Reason", "deploy of the shop, ticket 4711");

/// Two replicas, with what they share.
struct Site {
    scene: Scene,
    sts: Sts,
}

impl Site {
    fn new() -> Self {
        let site = Self { scene: Scene::new(), sts: Sts::start() };
        fs::create_dir(site.records()).expect("ours");
        fs::write(site.scene.path().join("approvals.key"), "0f".repeat(32)).expect("ours");
        site
    }

    fn records(&self) -> PathBuf {
        self.scene.path().join("records")
    }

    /// The configuration of a replica whose audit has this name. `by`: who approves.
    fn config(&self, audit: &str, by: &str) -> String {
        let (usual, path) = (self.scene.usual(&self.sts.url()), self.scene.path().display());
        let rule = format!(
            "  - {{name: production, match: {{method: people, groups: devs}}, account: demo, role: admin,\n     \
             approval: {{by: {by}, for: 30m}}}}\n"
        );
        let approvals = format!("approvals: {{directory: {path}/records, key_file: {path}/approvals.key}}\n");
        let whole = format!("{usual}{rule}{approvals}audit_required: yes\nmetrics_listen: 127.0.0.1:0\n");
        whole.replace("audit.log", audit)
    }

    fn replica(&self, audit: &str) -> Server {
        Server::start(&self.scene, &self.config(audit, "{groups: leads}"))
    }

    fn get(&self, server: &Server, (name, groups): (&str, &str), path: &str) -> Answer {
        self.scene.client(server.address, None).get(path, &[("X-Remote-User", name), ("X-Groups", groups)])
    }

    fn post(&self, server: &Server, (name, groups): (&str, &str), path: &str, more: &[(&str, &str)]) -> Answer {
        let headers = [&[("X-Remote-User", name), ("X-Groups", groups)], more].concat();
        self.scene.client(server.address, None).post(path, &headers)
    }

    /// Waits until the replica gives alice this status for the role: what another one wrote is seen after a second.
    fn eventually(&self, server: &Server, status: u16) -> Answer {
        let ask = || Some(self.get(server, ALICE, ADMIN)).filter(|answer| answer.status == status);
        eventually(&format!("alice gets {status}"), ask, || server.log())
    }

    fn list(&self) -> Output {
        let program = Command::new(env!("CARGO_BIN_EXE_alppaca-ims"))
            .args(["approvals", "list", "-c"])
            .arg(self.scene.path().join("ims.yaml"))
            .output();
        program.expect("it runs")
    }
}

const ALICE: (&str, &str) = ("alice", "devs");
const BOB: (&str, &str) = ("bob", "leads");

fn events(audit: &Path) -> Vec<serde_json::Value> {
    records(&fs::read_to_string(audit).expect("an audit"))
}

#[test]
fn one_replica_is_asked_and_another_approves() {
    let site = Site::new();
    let (mut one, mut two) = (site.replica("audit1.log"), site.replica("audit2.log"));
    // How to ask, for people and for programs.
    let denied = site.get(&one, ALICE, ADMIN);
    assert_eq!((denied.status, denied.header("alppaca-ims"), &*denied.field("request_url")), (403, Some("1"), ASK));
    assert!(denied.field("message").contains("another person") && denied.field("message").contains(REASON.0));
    assert_eq!(site.get(&one, ALICE, "/account").body, "{}");

    let asked = site.post(&one, ALICE, ASK, &[REASON]);
    assert_eq!((asked.status, &*asked.field("state")), (201, "open"), "{asked:?}\n{}", one.log());
    let id = asked.field("id");
    let again = site.post(&two, ALICE, ASK, &[REASON]);
    assert_eq!((again.status, again.field("id")), (200, id.clone()), "one request is enough");
    assert!(site.get(&one, ALICE, ADMIN).field("message").contains(&format!("your request {id} waits")));

    let listed = site.get(&two, BOB, "/requests");
    let requests: serde_json::Value = serde_json::from_str(&listed.body).expect("JSON");
    let [request] = requests["requests"].as_array().expect("a list").as_slice() else { panic!("{listed:?}") };
    for (key, value) in [("id", &*id), ("requested_by", "alice"), ("role", "admin"), ("reason", REASON.1)] {
        assert_eq!(request[key], value, "{request}");
    }
    let approved = site.post(&two, BOB, &format!("/requests/{id}/approve"), &[("X-Alppaca-Reason", "looks right")]);
    assert_eq!((approved.status, &*approved.field("state")), (200, "approved"), "{approved:?}\n{}", two.log());

    let given = site.eventually(&one, 200);
    let [call] = &*site.sts.assumed() else { panic!("{:?}", site.sts.assumed()) };
    let seconds: u32 = call.get("DurationSeconds").parse().expect("a number");
    assert!((900..1800).contains(&seconds), "{seconds}: shorter than the approval");
    let end: jiff::Timestamp = given.field("Expiration").parse().expect("a time");
    assert!(end <= approved.field("until").parse().expect("a time"), "{given:?} {approved:?}");
    assert_eq!(site.get(&one, ALICE, ADMIN).field("AccessKeyId"), given.field("AccessKeyId"), "from the cache");
    assert_eq!(site.get(&one, ALICE, "/account").body, r#"{"demo": ["admin"]}"#);
    // To nobody else, and for nothing else.
    assert_eq!(site.get(&one, ("carol", "devs"), ADMIN).status, 403);
    assert_eq!(site.get(&one, ("alice", "guests"), ADMIN).status, 403, "her rule has to match all the same");

    // It outlives the servers.
    assert_eq!((one.stop(), two.stop()), (Some(0), Some(0)));
    let (one, mut two) = (site.replica("audit1.log"), site.replica("audit2.log"));
    assert_eq!(site.eventually(&one, 200).status, 200);
    let revoked = site.post(&one, ALICE, &format!("/requests/{id}/revoke"), &[]);
    assert_eq!((revoked.status, &*revoked.field("state")), (200, "revoked"), "{revoked:?}");
    let message = site.eventually(&two, 403).field("message");
    assert!(message.contains(&format!("{id} was revoked by alice")), "{message}");
    assert_eq!(two.stop(), Some(0));

    let path = site.scene.path();
    let (first, second) = (events(&path.join("audit1.log")), events(&path.join("audit2.log")));
    let find = |events: &[serde_json::Value], event: &str| {
        events.iter().find(|record| record["event"] == event).unwrap_or_else(|| panic!("{event}")).clone()
    };
    let (requested, handed) = (find(&first, "approval_requested"), find(&first, "handed_out"));
    let given = find(&second, "approval_given");
    for record in [&requested, &given, &handed, &find(&first, "approval_revoked")] {
        assert_eq!((&record["approval"], &record["rule"]), (&(&*id).into(), &"production".into()), "{record}");
    }
    assert_eq!((&requested["identity"], &requested["reason"]), (&"alice".into(), &REASON.1.into()));
    assert_eq!((&given["identity"], &given["requested_by"]), (&"bob".into(), &"alice".into()));
    assert_eq!((&given["reason"], &given["account"]), (&"looks right".into(), &support::ACCOUNT.into()));
    assert!(first.iter().any(|record| record["reason"].as_str().is_some_and(|why| why.contains("needs the approval"))));
}

#[test]
fn records_that_others_made_or_put_back_give_nothing() {
    let site = Site::new();
    let server = site.replica("audit.log");
    let id = site.post(&server, ALICE, ASK, &[REASON]).field("id");
    assert_eq!(site.post(&server, BOB, &format!("/requests/{id}/approve"), &[]).status, 200);
    site.eventually(&server, 200);
    assert!(site.list().status.success());

    let answer = site.records().join(format!("{id}.answer"));
    let good = fs::read_to_string(&answer).expect("a record");
    fs::write(&answer, good.replace("bob", "eve")).expect("ours");
    site.eventually(&server, 403);
    server.wait_for_log(&format!("{id}.answer does not count: it is not signed with the key"));
    let metrics = server.monitor("/metrics");
    assert!(metrics.contains("alppaca_ims_approval_files_ignored_total 1\n"), "{metrics}");
    let list = site.list();
    assert_eq!(list.status.code(), Some(1));
    let said = String::from_utf8_lossy(&list.stderr);
    assert!(said.contains(&format!("{id}.answer: it is not signed")) && said.contains("1 file(s)"), "{said}");
    // The same of a key that is not the server's.
    fs::write(&answer, &good).expect("ours");
    site.eventually(&server, 200);

    assert_eq!(site.post(&server, BOB, &format!("/requests/{id}/revoke"), &[]).status, 200);
    assert_eq!(site.get(&server, ALICE, ADMIN).status, 403, "at once where it was revoked");
    fs::write(&answer, &good).expect("ours");
    let put_back = || {
        assert_eq!(site.get(&server, ALICE, ADMIN).status, 403);
        server.log().contains("does not count: it was put back after the approval had been revoked").then_some(())
    };
    eventually("it is reported", put_back, || server.log());
    // Without any answer it waits for one again, which gives nothing.
    fs::remove_file(&answer).expect("there");
    assert_eq!(site.eventually(&server, 403).status, 403);
    let metrics = server.monitor("/metrics");
    for line in ["{event=\"requested\"} 1\n", "{event=\"given\"} 1\n", "{event=\"revoked\"} 1\n"] {
        assert!(metrics.contains(&format!("alppaca_ims_approvals_total{line}")), "{line}: {metrics}");
    }
}

#[test]
fn only_another_person_whom_the_rule_names_approves() {
    let site = Site::new();
    // Hosts have certificates, and one of them has the name of a person.
    let config = site.config("audit.log", "{method: [people, hosts], name: 'alice|Alice|bob'}");
    let server = Server::start(&site.scene, &config);
    let id = site.post(&server, ALICE, ASK, &[REASON]).field("id");
    let approve = format!("/requests/{id}/approve");
    for person in [ALICE, ("Alice", "devs")] {
        let answer = site.post(&server, person, &approve, &[]);
        assert_eq!(answer.status, 403, "{answer:?}");
        assert!(answer.field("message").contains("another person has to answer"), "{answer:?}");
    }
    let certificate: Files = site.scene.authority.host("alice", 7);
    let by_certificate = site.scene.client(server.address, Some(&certificate)).post(&approve, &[]);
    assert_eq!(by_certificate.status, 403, "{by_certificate:?}");
    assert!(by_certificate.field("message").contains("you may be the requester"), "{by_certificate:?}");
    let eve = site.post(&server, ("eve", "leads"), &approve, &[]);
    assert_eq!((eve.status, eve.header("alppaca-ims")), (404, Some("1")), "{eve:?}");
    assert_eq!(site.get(&server, ("eve", "leads"), "/requests").body, r#"{"requests":[]}"#);
    // Another site's page makes bob's browser do it, or a link does.
    for header in [("Origin", "https://evil.example"), ("Sec-Fetch-Site", "cross-site"), ("Sec-Fetch-Site", "none")] {
        assert_eq!(site.post(&server, BOB, &approve, &[header]).status, 403, "{header:?}");
    }
    let link = site.get(&server, BOB, &approve);
    assert_eq!((link.status, link.header("allow")), (405, Some("POST")));
    assert_eq!(site.get(&server, ALICE, ADMIN).status, 403);
    assert_eq!(site.sts.assumed().len(), 0);
    // Without a reason, and more than there may be.
    for reason in [None, Some(("X-Alppaca-Reason", "urgent"))] {
        let answer = site.post(&server, ("carol", "devs"), ASK, reason.as_slice());
        assert_eq!(answer.status, 400, "{answer:?}");
    }
    assert_eq!(site.post(&server, BOB, ASK, &[REASON]).status, 403, "no rule would give it");
    let bob = site.scene.client(server.address, Some(&site.scene.authority.host("bob", 8)));
    assert_eq!(bob.post(&approve, &[]).status, 200, "{}", server.log());
    assert_eq!(site.post(&server, BOB, &format!("/requests/{id}/refuse"), &[]).status, 409, "once");
    site.eventually(&server, 200);
}

#[test]
fn without_the_records_or_the_audit_nothing_is_known() {
    let site = Site::new();
    let server = site.replica("audit.log");
    let id = site.post(&server, ALICE, ASK, &[REASON]).field("id");
    assert_eq!(site.post(&server, BOB, &format!("/requests/{id}/approve"), &[]).status, 200);
    site.eventually(&server, 200);
    let aside = site.scene.path().join("aside");
    fs::rename(site.records(), &aside).expect("ours");
    let answer = site.eventually(&server, 503);
    assert_eq!(answer.header("alppaca-ims"), None, "it is no decision: {answer:?}");
    for path in ["/account", "/requests"] {
        assert_eq!(site.get(&server, ALICE, path).status, 503, "{path}");
    }
    assert_eq!(site.get(&server, ("dave", "aws-readonly"), "/account").status, 200, "others do not need them");
    fs::rename(&aside, site.records()).expect("ours");
    site.eventually(&server, 200);

    let full = site.config("audit.log", "{groups: leads}");
    let full = full.replace(&site.scene.path().join("audit.log").display().to_string(), "/dev/full");
    let server = Server::start(&site.scene, &full);
    assert_eq!(site.post(&server, ("carol", "devs"), ASK, &[REASON]).status, 503);
    assert_eq!(fs::read_dir(site.records()).expect("ours").count(), 2, "nothing that is not recorded is written");
    let revoked = site.post(&server, BOB, &format!("/requests/{id}/revoke"), &[]);
    assert_eq!(revoked.status, 200, "but access is taken away: {revoked:?}");
}

#[test]
fn a_directory_that_others_may_write_in_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let site = Site::new();
    let config = site.scene.path().join("ims.yaml");
    fs::write(&config, site.config("audit.log", "{groups: leads}")).expect("ours");
    let check = || {
        let check = Command::new(env!("CARGO_BIN_EXE_alppaca-ims")).args(["check", "-c"]).arg(&config).output();
        let check = check.expect("it runs");
        (check.status.code(), String::from_utf8_lossy(&[check.stdout, check.stderr].concat()).into_owned())
    };
    let (code, said) = check();
    assert_eq!(code, Some(0), "{said}");
    let terms = "rule production: gives demo/admin for 30m with the approval of another person (group `leads`)";
    assert!(said.contains(terms), "{said}");
    fs::set_permissions(site.records(), fs::Permissions::from_mode(0o777)).expect("ours");
    let (code, said) = check();
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("approvals: directory") && said.contains("chmod o-w"), "{said}");
}
