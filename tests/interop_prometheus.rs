//! The metrics of daemons in trouble, as Prometheus reads them; the alerts and the dashboard find there what they look for.

mod support;

#[path = "support/prometheus.rs"]
mod prometheus;

use std::{fs, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use alppaca::{
    clock::{Clock, SystemClock},
    mock_ims::{Answer, Behaviour},
};
use prometheus::{Prometheus, check_rules, lint, measure, number, queries};
use support::{Daemon, Ims, eventually, needs, raw, request};
use tempfile::TempDir;

const ROOT: &str = env!("CARGO_MANIFEST_DIR");
const ROLE: &str = "/latest/meta-data/iam/security-credentials/web";

/// Those that the troubles of this test raise, at once if they had no `for`. The others need a quarter of an hour, or trouble
/// that would spoil the rest; their unit tests raise them.
const RAISED: [&str; 12] = [
    "AlppacaCredentialsExpireSoon",
    "AlppacaNoCredentials",
    "AlppacaUpstreamFails",
    "AlppacaClientCertificateExpiresSoon",
    "AlppacaClockWrong",
    "AlppacaSignInNeeded",
    "AlppacaServiceAccountsUnknown",
    "AlppacaRequestsFail",
    "AlppacaDenials",
    "AlppacaFileFailing",
    "AlppacaAuditFailing",
    "AlppacaReloadFailed",
];

/// What only a build with traces has; `tests/interop_traces.rs` looks at it.
const OF_TRACES: &str = "alppaca_spans_";

fn installed(what: &str) -> bool {
    needs(what, "prometheus") && needs(what, "promtool")
}

#[test]
fn each_alert_has_a_runbook_and_fires_in_its_unit_test() {
    if installed("the alerts of alppaca") {
        check_rules(Path::new(ROOT), "alppaca");
    }
}

/// One whose upstream refuses and fails, whose clock is wrong, whose audit and file cannot be written, and whose reload is refused.
fn troubled() -> (Ims, Daemon) {
    let ims = Ims::start(Behaviour {
        roles: vec!["web".into(), "sick".into(), "flaky".into()],
        documents: vec![("sick".into(), Answer::Status(403)), ("flaky".into(), Answer::Status(500))],
        lifetime: Duration::from_mins(10),
        headers: vec![("Date".to_owned(), "Mon, 23 Nov 2015 10:00:00 GMT".to_owned())],
        ..Behaviour::default()
    });
    let config = format!(
        "{}metrics_listen: '127.0.0.1:0'\nrefresh_interval: 1\naudit_log: /dev/full\naudit_required: true\n\
         files: [{{path: /no-such-directory/web, role: web}}]\n",
        ims.config()
    );
    let daemon = Daemon::with_credentials(&config);
    daemon.wait_for_log("this host's clock is ");
    daemon.wait_for_log("role sick: cannot fetch");
    daemon.wait_for_log("file /no-such-directory/web: it cannot be written");
    // What is accepted before the device is known to be full is kept.
    assert_eq!(daemon.get(ROLE).status, 200);
    daemon.wait_for_log("audit: cannot write to /dev/full");
    let file = daemon.directory.path().join("alppaca.yaml");
    fs::write(file, "refresh_interval: never\n").expect("ours");
    daemon.hang_up();
    daemon.wait_for_log("the new configuration is wrong");
    (ims, daemon)
}

/// One whose client certificate ends soon, and whose upstream is not there, nor the API server of its cluster.
fn certified(directory: &TempDir) -> Daemon {
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["host".to_owned()]).expect("a name");
    let end = SystemClock.now().wall.as_second() + 3 * 86_400;
    params.not_after = rcgen::date_time_ymd(1970, 1, 1) + Duration::from_secs(end.unsigned_abs());
    let certificate = params.self_signed(&key).expect("a certificate");
    let write = |name: &str, text: &str| {
        let path = directory.path().join(name);
        fs::write(&path, text).expect("a file");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).expect("ours");
        path.display().to_string()
    };
    let (certificate, key) = (write("host.pem", &certificate.pem()), write("host.key", &key.serialize_pem()));
    Daemon::start(&format!(
        "ims_url: https://127.0.0.1:1\nims_client_certificate: {certificate}\nims_client_key: {key}\n\
         ims_ca_file: {certificate}\nmetrics_listen: '127.0.0.1:0'\n\
         pod_identity: {{listen: '127.0.0.1:0', issuer: 'https://127.0.0.1:1', service_accounts: {{\
         api_server: 'https://127.0.0.1:1', api_ca_file: {certificate}, allow: [{{namespace: prod, roles: web}}]}}}}\n"
    ))
}

/// One whose upstream does not say which roles there are.
fn unlisted() -> (Ims, Daemon) {
    let ims = Ims::start(Behaviour { list: Answer::Status(403), ..Behaviour::default() });
    let daemon = Daemon::start(&format!("{}metrics_listen: '127.0.0.1:0'\n", ims.config()));
    daemon.wait_for_log("cannot read the role list");
    (ims, daemon)
}

/// One into which a person would have to sign in.
fn signed_out() -> Daemon {
    Daemon::start(
        "metrics_listen: '127.0.0.1:0'\nsources:\n  work:\n    kind: site\n    url: https://127.0.0.1:9\n    \
         sign_in: {kind: oidc, issuer: 'https://127.0.0.1:9', client_id: alppaca}\n",
    )
}

#[test]
fn prometheus_finds_data_for_each_panel_and_each_alert() {
    if !installed("a real Prometheus") {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let ((_ims, troubled), (_other, unlisted)) = (troubled(), unlisted());
    let daemons = [&troubled, &unlisted, &certified(&directory), &signed_out()];
    let targets = daemons.map(|daemon| {
        let line = daemon.wait_for_log("metrics at ");
        line.rsplit(' ').next().expect("an address").to_owned()
    });
    let text = |target: &String| support::get(target.parse().expect("an address"), "/metrics").body;
    for target in &targets {
        lint(&text(target));
    }

    let rules = Path::new(ROOT).join("packaging/prometheus/alppaca.rules.yml");
    // What grows has to grow between two scrapes.
    assert_eq!(troubled.get(ROLE).status, 503, "it cannot be recorded");
    let prometheus = Prometheus::start("alppaca", &targets, &rules);
    prometheus.wait_for_scrapes(targets.len());
    let denied = format!("GET {ROLE} HTTP/1.1\r\nX-Forwarded-For: 192.0.2.1\r\n");
    for _ in 0..30 {
        assert_eq!(troubled.get(ROLE).status, 503);
        assert_eq!(troubled.get("/latest/meta-data/").status, 200);
        assert_eq!(request(troubled.address(), &denied).status, 403);
        raw(troubled.address(), b"no HTTP\r\n\r\n");
    }
    prometheus.wait_for_scrapes(targets.len());

    let has_data = |query: &str| prometheus.query(query).iter().any(|sample| !number(sample).is_nan());
    for (panel, query) in queries(&Path::new(ROOT).join("packaging/prometheus/alppaca.dashboard.json")) {
        if query.contains(OF_TRACES) {
            continue;
        }
        // The calls to the upstreams go on.
        eventually(&format!("panel {panel}: {query}"), || has_data(&query).then_some(()), || text(&targets[0]));
    }
    let alerts = prometheus.alerts();
    for (alert, expression) in alerts.iter().filter(|(_, expression)| !expression.contains(OF_TRACES)) {
        assert!(has_data(measure(expression)), "{alert} has nothing to measure: {expression}");
    }
    let raised = || {
        let raised = alerts.iter().filter(|(_, expression)| !prometheus.query(expression).is_empty());
        raised.map(|(alert, _)| alert.as_str()).collect::<Vec<_>>()
    };
    eventually("these alerts", || (raised() == RAISED).then_some(()), || format!("{:?}", raised()));
    // And nothing by accident.
    assert!(!has_data("alppaca_role_expiry_seconds"));
}
