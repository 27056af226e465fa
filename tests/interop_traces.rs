//! Traces: as a real OpenTelemetry Collector reads them, and with collectors that answer nothing. A build without the feature
//! `otel` has none, and says so.
#![allow(clippy::disallowed_methods, reason = "the environment names the collector; tests measure real time")]

mod support;

use std::time::Duration;

use alppaca::mock_ims::Behaviour;
#[cfg(feature = "otel")]
use support::eventually;
use support::{Daemon, Ims};

const WEB: &str = "/latest/meta-data/iam/security-credentials/web";

fn ims() -> Ims {
    Ims::start(Behaviour { roles: vec!["web".into()], lifetime: Duration::from_hours(1), ..Behaviour::default() })
}

#[cfg(not(feature = "otel"))]
#[test]
fn a_build_without_traces_says_so_once_and_serves() {
    let ims = ims();
    let daemon = Daemon::with_credentials(&format!("traces_endpoint: http://127.0.0.1:1\n{}", ims.config()));
    assert_eq!(daemon.get(WEB).status, 200);
    let log = daemon.log();
    let said: Vec<_> = log.lines().filter(|line| line.contains("traces")).collect();
    let [line] = &*said else { panic!("{log}") };
    assert!(line.contains("alppaca.yaml:1:1: this build of alppaca has no traces, so none are sent"), "{line}");
}

#[cfg(feature = "otel")]
mod with_traces {
    use std::{
        fs,
        net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
        path::{Path, PathBuf},
        process::{Child, Command, Stdio},
        thread,
        time::Instant,
    };

    use rcgen::{CertificateParams, KeyPair};

    use super::{
        prometheus::{Prometheus, number, queries},
        stand_in::{Reply, StandIn},
        support::{needs, skip},
        *,
    };

    /// A collector that prints the spans that it gets.
    struct Collector {
        child: Child,
        printed: PathBuf,
        address: SocketAddr,
        ca_file: PathBuf,
    }

    impl Drop for Collector {
        fn drop(&mut self) {
            // It may have ended.
            let _ended = self.child.kill();
            let _reaped = self.child.wait();
        }
    }

    /// What `cargo xtask test` builds from `tests/interop/collector`.
    fn program() -> Option<PathBuf> {
        let program = PathBuf::from(std::env::var_os("ALPPACA_TEST_COLLECTOR")?);
        assert!(program.is_file(), "ALPPACA_TEST_COLLECTOR: {}", program.display());
        Some(program)
    }

    impl Collector {
        /// One with TLS. `None` where there is none.
        fn start(directory: &Path) -> Option<Self> {
            let Some(program) = program() else {
                skip("traces", "no OpenTelemetry Collector was built; `cargo xtask test` does that, with Go");
                return None;
            };
            let path = |name: &str| directory.join(name);
            let key = KeyPair::generate().expect("a key");
            let certificate = CertificateParams::new(["localhost".to_owned()]).expect("a name").self_signed(&key);
            fs::write(path("tls.crt"), certificate.expect("signed").pem()).expect("ours");
            fs::write(path("tls.key"), key.serialize_pem()).expect("ours");
            let free = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|free| free.local_addr());
            let address = free.expect("a port");
            let config = format!(
                "receivers: {{otlp: {{protocols: {{http: {{endpoint: '{address}', \
                 tls: {{cert_file: '{}', key_file: '{}'}}}}}}}}}}\n\
                 exporters: {{debug: {{verbosity: detailed}}}}\n\
                 service:\n  telemetry: {{metrics: {{level: none}}}}\n  \
                 pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}\n",
                path("tls.crt").display(),
                path("tls.key").display()
            );
            fs::write(path("collector.yaml"), config).expect("ours");
            let output = fs::File::create(path("spans")).expect("ours");
            let mut command = Command::new(program);
            command
                .arg("--config")
                .arg(path("collector.yaml"))
                .stdin(Stdio::null())
                .stdout(Stdio::null())
                .stderr(output);
            let child = command.spawn().expect("it starts");
            let collector = Self { child, printed: path("spans"), address, ca_file: path("tls.crt") };
            eventually("the collector listens", || TcpStream::connect(address).ok(), || collector.printed());
            Some(collector)
        }

        fn printed(&self) -> String {
            fs::read_to_string(&self.printed).unwrap_or_default()
        }

        /// The spans, each with the lines that describe it.
        fn spans(&self) -> Vec<String> {
            self.printed().split("\nSpan #").skip(1).map(str::to_owned).collect()
        }
    }

    #[test]
    fn a_collector_gets_a_span_for_each_call_and_no_secret() {
        let directory = tempfile::tempdir().expect("a directory");
        let Some(collector) = Collector::start(directory.path()) else { return };
        let mut failed = false;
        let sts = StandIn::start(move |_| {
            if std::mem::replace(&mut failed, true) {
                Reply::Set(Duration::from_hours(1))
            } else {
                Reply::Error(503, "ServiceUnavailable", "later")
            }
        });
        let config = format!(
            "traces_endpoint: https://localhost:{}\nsandbox: enforce\nsources:\n  \
             base: {{kind: static, access_key_id: AKIAX, secret_access_key: s3cretKey}}\n  \
             sts1: {{kind: sts, endpoint: '{}'}}\nroles:\n  \
             deploy: {{source: base, role_arn: 'arn:aws:iam::123456789012:role/deploy', via: sts1}}\n",
            collector.address.port(),
            sts.url()
        );
        let daemon = Daemon::start_with(&config, |command| {
            let ca_file = &collector.ca_file;
            command.env("OTEL_EXPORTER_OTLP_CERTIFICATE", ca_file).env("OTEL_EXPORTER_OTLP_HEADERS", "api-key=k3y");
            command.env("OTEL_SERVICE_NAME", "a desktop");
        });
        let both = || {
            let of = |outcome: &str| {
                let outcome = format!("alppaca.outcome: Str({outcome})");
                collector.spans().into_iter().find(|span| {
                    // The last two are its end: it may not be printed whole yet.
                    [&*outcome, "Str(AssumeRole with base)", "aws.request_id"].iter().all(|part| span.contains(part))
                })
            };
            Some([of("transient")?, of("success")?])
        };
        let [failed, fetched] = eventually("both calls", both, || format!("{}\n{}", collector.printed(), daemon.log()));
        for (span, parts) in [
            (
                &failed,
                [
                    "alppaca.attempt: Int(1)",
                    "aws.request_id: Str(call-1)",
                    "Status code    : Error",
                    "ServiceUnavailable",
                ],
            ),
            (&fetched, ["alppaca.attempt: Int(2)", "aws.request_id: Str(call-2)", "Status code    : Unset", "success"]),
        ] {
            let common = ["fetch credentials", "Kind           : Client", "alppaca.role: Str(deploy)"];
            for part in parts.into_iter().chain(common) {
                assert!(span.contains(part), "{part}: {span}");
            }
        }
        let printed = collector.printed();
        assert!(printed.contains("service.name: Str(a desktop)"), "{printed}");
        for secret in ["s3cretKey", "k3y", "wJalrSTS", "IQoJSTS"] {
            assert!(!printed.contains(secret) && !daemon.log().contains(secret), "{secret}");
        }
        // They are counted when the collector has answered, which it does after it has printed them.
        let counted = || (daemon.metric("alppaca_spans_sent_total") >= 2).then_some(());
        eventually("counted", counted, || daemon.log());
        assert_eq!(daemon.metric("alppaca_spans_lost_total"), 0);
    }

    #[test]
    fn a_collector_that_never_answers_delays_neither_credentials_nor_the_end() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("bound");
        thread::spawn(move || {
            // All are held open.
            let _held: Vec<_> = listener.incoming().collect();
        });
        let ims = ims();
        let mut daemon = Daemon::with_credentials(&format!("traces_endpoint: http://{address}\n{}", ims.config()));
        assert_eq!(daemon.get(WEB).status, 200);
        assert_eq!(daemon.metric("alppaca_spans_sent_total"), 0);
        let began = Instant::now();
        assert_eq!(daemon.stop(), Some(0));
        // One second is for what waits; without it that takes ten.
        assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
        daemon.wait_for_log("traces_endpoint: 2 span(s) were lost");
    }

    #[test]
    fn without_a_collector_spans_are_lost_and_counted_and_nothing_else() {
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|gone| gone.local_addr()).expect("a port");
        let ims = ims();
        let config = format!("traces_endpoint: environment\nrefresh_interval: 1s\n{}", ims.config());
        let endpoint = format!("http://{gone}");
        let daemon = Daemon::start_with(&config, |command| {
            command.env("OTEL_EXPORTER_OTLP_ENDPOINT", &endpoint);
        });
        daemon.wait_for_log("role web: fetched ");
        let line = daemon.wait_for_log("traces_endpoint: spans are lost: ");
        assert!(line.contains(&format!("POST {endpoint}/v1/traces: cannot connect")), "{line}");
        let counted = || Some(daemon.metric("alppaca_spans_lost_total")).filter(|lost| *lost >= 8);
        eventually("a second batch is lost", counted, || daemon.log());
        assert_eq!(daemon.get(WEB).status, 200);
        assert_eq!(daemon.log().matches("spans are lost").count(), 1, "it is told once");
    }

    #[test]
    fn prometheus_finds_data_for_the_panel_and_the_alert_of_traces() {
        if !needs("the alert of lost spans", "prometheus") {
            return;
        }
        let gone = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).and_then(|gone| gone.local_addr()).expect("a port");
        let ims = ims();
        let more = format!("traces_endpoint: http://{gone}\nmetrics_listen: '127.0.0.1:0'\nrefresh_interval: 1s\n");
        let daemon = Daemon::with_credentials(&format!("{more}{}", ims.config()));
        let line = daemon.wait_for_log("metrics at ");
        let target = line.rsplit(' ').next().expect("an address").to_owned();
        let packaging = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/prometheus");
        let prometheus = Prometheus::start("alppaca", &[target], &packaging.join("alppaca.rules.yml"));
        prometheus.wait_for_scrapes(1);
        let has_data = |query: &str| prometheus.query(query).iter().any(|sample| !number(sample).is_nan());
        let queries = queries(&packaging.join("alppaca.dashboard.json")).into_iter();
        let of_spans: Vec<_> = queries.filter(|(_, query)| query.contains("alppaca_spans_")).collect();
        assert_eq!(of_spans.len(), 2, "{of_spans:?}");
        for (panel, query) in of_spans {
            eventually(&format!("panel {panel}: {query}"), || has_data(&query).then_some(()), || daemon.log());
        }
        let alerts = prometheus.alerts();
        let (_, expression) = alerts.iter().find(|(name, _)| name == "AlppacaSpansLost").expect("it is there");
        eventually("the alert", || (!prometheus.query(expression).is_empty()).then_some(()), || daemon.log());
    }

    #[test]
    fn what_can_be_read_on_the_way_is_warned_of() {
        let directory = tempfile::tempdir().expect("a directory");
        let file = directory.path().join("alppaca.yaml");
        let check = |endpoint: &str, header: Option<&str>| {
            fs::write(&file, format!("ims_host: ims.example.com\ntraces_endpoint: {endpoint}\n")).expect("ours");
            let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
            command.arg("check").arg("-c").arg(&file);
            command.envs(header.map(|header| ("OTEL_EXPORTER_OTLP_HEADERS", header)));
            let output = command.output().expect("it runs");
            assert!(output.status.success());
            String::from_utf8_lossy(&output.stderr).into_owned()
        };
        let bare = check("http://collector.example.com:4318", None);
        let text = "collector.example.com:4318/v1/traces: traces are sent without TLS, and can be read on the way";
        assert!(bare.contains(text), "{bare}");
        let with_key = check("http://collector.example.com:4318", Some("x-key=secret"));
        assert!(with_key.contains("traces, and the headers with them, are sent without TLS"), "{with_key}");
        assert!(!with_key.contains("secret"), "{with_key}");
        for endpoint in ["https://collector.example.com:4318", "http://127.0.0.1:4318", "http://localhost:4318"] {
            let quiet = check(endpoint, Some("x-key=secret"));
            assert!(!quiet.contains("without TLS"), "{quiet}");
        }
    }
}

#[cfg(feature = "otel")]
#[path = "support/prometheus.rs"]
#[allow(dead_code, reason = "other tests use more of it")]
mod prometheus;

#[cfg(feature = "otel")]
#[path = "sts/stand_in.rs"]
#[allow(dead_code, unreachable_pub, reason = "other tests use more of it")]
mod stand_in;
