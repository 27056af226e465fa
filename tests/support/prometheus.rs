//! A real Prometheus that scrapes what a test runs, and `promtool`. Tests of other crates include this file.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;
use tempfile::TempDir;

use super::eventually;

/// A Prometheus, ended with the test.
pub(crate) struct Prometheus {
    child: Child,
    address: SocketAddr,
    _directory: TempDir,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

impl Prometheus {
    /// One that scrapes each of `targets` as `job`, five times a second, and knows these rules.
    pub(crate) fn start(job: &str, targets: &[String], rules: &Path) -> Self {
        // It does not say which port it was given, so another process may be quicker; then it exits and is tried anew.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a free port");
            let directory = tempfile::tempdir().expect("a directory");
            let configuration = directory.path().join("prometheus.yml");
            let text = format!(
                "global: {{scrape_interval: 200ms, scrape_timeout: 200ms, evaluation_interval: 1h}}\nrule_files: ['{}']\n\
                 scrape_configs:\n  - {{job_name: {job}, static_configs: [{{targets: ['{}']}}]}}\n",
                rules.display(),
                targets.join("', '")
            );
            fs::write(&configuration, text).expect("ours");
            let mut command = Command::new("prometheus");
            command.arg("--config.file").arg(&configuration).arg(format!("--web.listen-address={free}"));
            command.arg("--storage.tsdb.path").arg(directory.path().join("data")).arg("--log.level=error");
            let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
            let mut this = Self { child: child.expect("it is there"), address: free, _directory: directory };
            if this.is_ready() {
                return this;
            }
        }
        panic!("Prometheus does not come up");
    }

    fn is_ready(&mut self) -> bool {
        eventually(
            "Prometheus is ready",
            || match self.child.try_wait().expect("ours") {
                Some(_ended) => Some(false),
                None => self.try_get("/-/ready").filter(|(head, _)| head.starts_with("HTTP/1.1 200 ")).map(|_| true),
            },
            String::new,
        )
    }

    /// Waits until it has scraped all targets several times from now on.
    pub(crate) fn wait_for_scrapes(&self, targets: usize) {
        let scrapes = || {
            let counts = self.query("count_over_time(up[1h])");
            let mut counts = counts.iter().map(number).collect::<Vec<_>>();
            counts.sort_by(f64::total_cmp);
            (counts.len() >= targets).then(|| counts[0])
        };
        let before = scrapes().unwrap_or(0.0);
        eventually(
            "it scrapes",
            || scrapes().filter(|count| *count >= before + 4.0),
            || self.get("/api/v1/targets").to_string(),
        );
    }

    /// What an expression evaluates to now.
    pub(crate) fn query(&self, expression: &str) -> Vec<Value> {
        let encoded = expression.bytes().map(|byte| format!("%{byte:02x}")).collect::<Vec<_>>().concat();
        let answer = self.get(&format!("/api/v1/query?query={encoded}"));
        assert_eq!(answer["status"], "success", "{expression}: {answer}");
        match &answer["data"]["result"] {
            Value::Array(samples) => samples.clone(),
            other => panic!("{expression}: {other}"),
        }
    }

    /// The names of the alerts that it knows, and their expressions.
    pub(crate) fn alerts(&self) -> Vec<(String, String)> {
        let answer = self.get("/api/v1/rules");
        let groups = answer["data"]["groups"].as_array().expect("a list").iter();
        let rules = groups.flat_map(|group| group["rules"].as_array().expect("a list"));
        rules.map(|rule| (text(&rule["name"]), text(&rule["query"]))).collect()
    }

    fn get(&self, path: &str) -> Value {
        let (head, body) = self.try_get(path).expect("it answers");
        serde_json::from_str(&body).unwrap_or_else(|error| panic!("{path}: {error}: {head}\n{body}"))
    }

    fn try_get(&self, path: &str) -> Option<(String, String)> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        // HTTP/1.0, so that the body has no chunks.
        write!(stream, "GET {path} HTTP/1.0\r\nHost: x\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (head, body) = answer.split_once("\r\n\r\n")?;
        Some((head.replacen("HTTP/1.0", "HTTP/1.1", 1), body.to_owned()))
    }
}

fn text(value: &Value) -> String {
    value.as_str().expect("a text").to_owned()
}

/// The value of a sample.
pub(crate) fn number(sample: &Value) -> f64 {
    sample["value"][1].as_str().and_then(|value| value.parse().ok()).expect("a number")
}

/// What an alert measures, without the comparison that makes it one.
pub(crate) fn measure(expression: &str) -> &str {
    let ends = [" < ", " <= ", " > ", " >= ", " == "].map(|comparison| expression.rfind(comparison));
    let end = ends.into_iter().flatten().max().unwrap_or_else(|| panic!("{expression}: no comparison"));
    expression[..end].trim()
}

/// The queries of a dashboard of Grafana, with the title of their panel, for all that is scraped.
pub(crate) fn queries(dashboard: &Path) -> Vec<(String, String)> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(dashboard).expect("readable")).expect("JSON");
    let mut queries = Vec::new();
    for panel in dashboard["panels"].as_array().expect("panels") {
        for target in panel["targets"].as_array().expect("targets") {
            let query = text(&target["expr"]).replace("$__rate_interval", "1m");
            let query = query.replace("$job", ".+").replace("$instance", ".+");
            assert!(!query.contains('$'), "{query}: an unknown variable");
            queries.push((text(&panel["title"]), query));
        }
    }
    assert!(queries.len() > 10, "{queries:?}");
    queries
}

/// Runs `promtool` with these arguments and this input; what it says, if it is content.
pub(crate) fn promtool(arguments: &[&str], input: &str) -> String {
    let mut command = Command::new("promtool");
    command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().expect("it is there");
    child.stdin.take().expect("piped").write_all(input.as_bytes()).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = [output.stdout, output.stderr].map(|text| String::from_utf8_lossy(&text).into_owned()).concat();
    assert!(output.status.success(), "promtool {arguments:?}: {said}");
    said
}

/// Has `promtool` look for what Prometheus' guidelines do not want. It reads the older text format, so what `OpenMetrics`
/// adds is taken away.
pub(crate) fn lint(metrics: &str) {
    let mut plain = String::new();
    for line in metrics.lines().filter(|line| !line.starts_with("# UNIT ") && *line != "# EOF") {
        let kinds = [("counter", "_total", "counter"), ("info", "_info", "gauge"), ("stateset", "", "gauge")];
        let family = |line: &str| line.split(' ').nth(2).map(str::to_owned);
        let kind = metrics.lines().find(|other| other.starts_with("# TYPE ") && family(other) == family(line));
        let kind = kind.and_then(|line| line.split(' ').nth(3));
        let found = kinds.iter().find(|(openmetrics, ..)| line.starts_with("# ") && kind == Some(openmetrics));
        let line = match found {
            Some((openmetrics, suffix, kind)) => {
                let name = family(line).expect("a name");
                let line = line.replacen(&name, &format!("{name}{suffix}"), 1);
                if line.starts_with("# TYPE ") { line.replace(openmetrics, kind) } else { line }
            }
            None => line.to_owned(),
        };
        plain.push_str(&line);
        plain.push('\n');
    }
    let said = promtool(&["check", "metrics"], &plain);
    assert_eq!(said, "", "{plain}");
}

/// Has `promtool` check the rules of a program and run their unit tests; each alert has one, and a runbook.
pub(crate) fn check_rules(root: &Path, program: &str) {
    let path = |path: String| -> PathBuf { root.join(path) };
    let rules = path(format!("packaging/prometheus/{program}.rules.yml"));
    let tests = path(format!("tests/data/prometheus/{program}.rules.test.yml"));
    promtool(&["check", "rules", rules.to_str().expect("UTF-8")], "");
    promtool(&["test", "rules", tests.to_str().expect("UTF-8")], "");
    let read = |path: &Path| fs::read_to_string(path).expect("readable");
    let (rules, tests, runbooks) = (read(&rules), read(&tests), read(&path("docs/runbooks.md".to_owned())));
    let mut alerts = 0;
    for alert in rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")) {
        let fires = format!("alertname: {alert}\n        exp_alerts:\n          - exp_labels:");
        assert!(tests.contains(&fires), "{alert} has no test in which it fires");
        assert!(rules.contains(&format!("runbook_url: runbooks.md#{}\n", alert.to_lowercase())), "{alert}: no runbook");
        assert!(runbooks.contains(&format!("\n### {alert}\n")), "docs/runbooks.md has nothing on {alert}");
        alerts += 1;
    }
    assert!(alerts > 10, "{rules}");
    assert_eq!(alerts, rules.matches("runbook_url: ").count());
}
