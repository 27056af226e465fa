//! The metrics of a role server in trouble, as Prometheus reads them; the alerts and the dashboard find there what they look for.

mod support;

#[path = "../../../tests/support/prometheus.rs"]
mod prometheus;

use std::{
    fs,
    io::Write,
    net::TcpStream,
    path::{Path, PathBuf},
};

use prometheus::{Prometheus, check_rules, lint, measure, number, queries};
use support::{Scene, Server, Sts, eventually, needs::needs};

const DB: &str = "/account/demo/db/credentials";
const ADMIN: &str = "/account/demo/admin/credentials";
const PEOPLE: [(&str, &str); 3] = [
    ("X-Remote-User", "alice"),
    ("X-Groups", "aws-db,oncall"),
    ("X-Alppaca-Reason", "the database is down, ticket 4711"),
];

/// Those that the troubles of this test raise, at once if they had no `for`.
const RAISED: [&str; 7] = [
    "AlppacaImsStsDown",
    "AlppacaImsUnavailable",
    "AlppacaImsHandshakesFail",
    "AlppacaImsEmergency",
    "AlppacaImsEmergencyAlertFailed",
    "AlppacaImsApprovalFilesIgnored",
    "AlppacaImsReloadFailed",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..")
}

fn installed(what: &str) -> bool {
    needs(what, "prometheus") && needs(what, "promtool")
}

#[test]
fn each_alert_has_a_runbook_and_fires_in_its_unit_test() {
    if installed("the alerts of alppaca-ims") {
        check_rules(&root(), "alppaca-ims");
    }
}

/// One with approvals, among whose records lies a file that does not count, and with emergencies of which the alert fails.
fn config(scene: &Scene, sts: &Sts) -> String {
    let path = scene.path().display();
    fs::create_dir(scene.path().join("records")).expect("ours");
    fs::write(scene.path().join("approvals.key"), "0f".repeat(32)).expect("ours");
    let rules = "  - {name: break glass, match: {method: people, groups: oncall}, account: demo, role: admin,\n     \
                 emergency: {reason: required, for: 20m}}\n  - {name: production, match: {method: people, groups: devs}, \
                 account: demo, role: admin,\n     approval: {by: {groups: leads}, for: 30m}}\n";
    format!(
        "{}{rules}approvals: {{directory: {path}/records, key_file: {path}/approvals.key}}\n\
         audit_required: yes\nemergency_alert: [/bin/false]\nmetrics_listen: 127.0.0.1:0\n",
        scene.usual(&sts.url())
    )
}

#[test]
fn prometheus_finds_data_for_each_panel_and_each_alert() {
    if !installed("a real Prometheus") {
        return;
    }
    let (scene, sts) = (Scene::new(), Sts::start());
    let server = Server::start(&scene, &config(&scene, &sts));
    let client = scene.client(server.address, None);
    let target = server.wait_for_log("metrics at ").rsplit(' ').next().expect("an address").to_owned();
    let rules = root().join("packaging/prometheus/alppaca-ims.rules.yml");
    let prometheus = Prometheus::start("alppaca-ims", std::slice::from_ref(&target), &rules);
    prometheus.wait_for_scrapes(1);

    // What grows has to grow between two scrapes.
    assert_eq!(client.get(DB, &PEOPLE).status, 200, "{}", server.log());
    prometheus.wait_for_scrapes(1);
    assert_eq!(client.get(ADMIN, &PEOPLE).status, 503, "without an alert there is no role");
    fs::write(scene.path().join("records/0000000000000001.request"), "forged").expect("ours");
    let devs = [("X-Remote-User", "bob"), ("X-Groups", "devs")];
    assert_eq!(client.get(ADMIN, &devs).status, 403);
    for _ in 0..30 {
        assert_eq!(client.get(DB, &[]).status, 401);
        TcpStream::connect(server.address)
            .and_then(|mut stream| stream.write_all(b"no TLS\r\n\r\n"))
            .expect("it listens");
    }
    server.reload("listen: nowhere", "the new configuration is wrong");
    sts.change(|script| script.down.push("*".to_owned()));
    let other = [PEOPLE[0], ("X-Groups", "aws-web")];
    eventually(
        "STS is down",
        || (client.get("/account/demo/web/credentials", &other).status == 503).then_some(()),
        || server.log(),
    );
    eventually(
        "that is noticed",
        || server.monitor("/readyz").starts_with("HTTP/1.1 503 ").then_some(()),
        || server.log(),
    );
    for _ in 0..10 {
        assert_eq!(client.get("/account/demo/web/credentials", &other).status, 503);
    }
    prometheus.wait_for_scrapes(1);

    let metrics = server.monitor("/metrics");
    let metrics = metrics.split_once("\r\n\r\n").expect("a head").1;
    lint(metrics);
    let has_data = |query: &str| prometheus.query(query).iter().any(|sample| !number(sample).is_nan());
    for (panel, query) in queries(&root().join("packaging/prometheus/alppaca-ims.dashboard.json")) {
        assert!(has_data(&query), "panel {panel} has no data: {query}\n{metrics}");
    }
    let alerts = prometheus.alerts();
    for (alert, expression) in &alerts {
        assert!(has_data(measure(expression)), "{alert} has nothing to measure: {expression}\n{metrics}");
    }
    let raised = alerts.iter().filter(|(_, expression)| !prometheus.query(expression).is_empty());
    let raised: Vec<_> = raised.map(|(alert, _)| alert.as_str()).collect();
    assert_eq!(raised, RAISED, "{metrics}");
    // And each metric is explained.
    let page = fs::read_to_string(root().join("docs/metrics.md")).expect("the page");
    let names = metrics.lines().filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next());
    let missing: Vec<_> = names.clone().filter(|name| !page.contains(&format!("| `{name}"))).collect();
    assert_eq!(missing, [""; 0], "docs/metrics.md does not explain them");
    assert_eq!(page.matches("\n| `alppaca_ims_").count(), names.count(), "docs/metrics.md explains others");
}
