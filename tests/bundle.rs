//! `alppaca debug bundle`: all parts are there, and no secret is.

mod support;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output},
};

use alppaca::mock_ims::Behaviour;
use support::{Daemon, Ims, request};

const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";
/// What only the configuration has.
const WRITTEN: [&str; 2] = ["wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLE", "proxy-password"];

fn bundle(config: &Path, socket: &Path, out: &Path) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.args(["debug", "bundle", "--out"]).arg(out).arg("-c").arg(config).arg("--socket").arg(socket);
    // Even a variable that only a program of the user has.
    command.env("AWS_CONTAINER_AUTHORIZATION_TOKEN", WRITTEN[0]);
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/role/web");
    command.output().expect("it runs")
}

#[test]
fn a_bundle_has_all_parts_and_no_secret() {
    let ims = Ims::start(Behaviour::default());
    let place = tempfile::tempdir().expect("a directory");
    let log = place.path().join("alppaca.log");
    let config = format!(
        "{}sources:\n  keys: {{kind: static, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: {}}}\n  far: {{kind: sts, proxy: \
         'http://me:{}@127.0.0.1:1'}}\nroles: {{test_role: {{source: ims}}}}\n",
        ims.config(),
        WRITTEN[0],
        WRITTEN[1]
    );
    let daemon = Daemon::with_credentials(&config);
    let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let token = request(daemon.address(), put).body;
    let served = request(daemon.address(), &format!("GET {ROLE} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n"));
    fs::write(&log, daemon.log()).expect("a file");
    // As the daemon's, but with a log in a file, where it usually is.
    let file = place.path().join("alppaca.yaml");
    let handler = format!("logging_handler: {{class: FileHandler, args: ['{}']}}\n", log.display());
    fs::write(&file, format!("{config}{handler}")).expect("a file");
    let out = place.path().join("out");
    let output = bundle(&file, &daemon.socket(), &out);
    assert!(output.status.success(), "{output:?}");

    let mode = |path: &Path| fs::metadata(path).expect("there").permissions().mode() & 0o777;
    assert_eq!(mode(&out), 0o700);
    let mut all = String::new();
    for name in [
        "README.txt",
        "configuration.yaml",
        "status.json",
        "metrics.txt",
        "log.txt",
        "doctor.json",
        "confinement.txt",
        "host.txt",
    ] {
        let path = out.join(name);
        let text = fs::read_to_string(&path).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert!(text.len() > 20 && !text.starts_with("# not available"), "{name}: {text}");
        assert_eq!(mode(&path), 0o600, "{name}");
        all.push_str(&text);
    }
    for part in [
        "secret_access_key: \"***\"",
        "\"test_role\"",
        "alppaca_role",
        " fetched ",
        "NoNewPrivs:",
        "Linux version",
        "IT BEFORE YOU SEND",
    ] {
        assert!(all.contains(part), "{part}");
    }
    let served = served.json();
    let issued = ims.handle.issued();
    assert!(!issued.is_empty());
    let issued = issued.into_iter().flat_map(|set| [set.secret_access_key, set.session_token]);
    let texts = ["SecretAccessKey", "Token"].map(|key| served[key].as_str().expect("a text").to_owned());
    let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).expect("text")).concat();
    for secret in issued.chain(texts).chain([token]).chain(WRITTEN.map(str::to_owned)) {
        // A part would be bad enough.
        let part = &secret[..secret.len().min(14)];
        assert!(!all.contains(part) && !said.contains(part), "a secret is in the bundle");
    }

    let again = bundle(&file, &daemon.socket(), &out);
    assert_eq!(again.status.code(), Some(1), "nothing is overwritten");
}

#[test]
fn without_a_daemon_or_a_valid_configuration_the_rest_is_there() {
    let place = tempfile::tempdir().expect("a directory");
    let (file, out) = (place.path().join("alppaca.yaml"), place.path().join("out"));
    fs::write(&file, format!("ims_host: x\nims_secret: {}\n", WRITTEN[0])).expect("a file");
    let output = bundle(&file, &place.path().join("none.sock"), &out);
    assert!(output.status.success(), "{output:?}");
    let text = |name: &str| fs::read_to_string(out.join(name)).expect(name);
    assert!(text("status.json").starts_with("# not available: no daemon answers"), "{}", text("status.json"));
    assert!(text("configuration.yaml").contains("see `alppaca check`") && text("host.txt").contains("Linux version"));
    assert!(!text("configuration.yaml").contains(WRITTEN[0]) && !text("confinement.txt").contains(WRITTEN[0]));
    let said = String::from_utf8(output.stdout).expect("text");
    let invalid =
        format!("\nNot available: the configuration ({} is not valid: see `alppaca check`), ", file.display());
    assert!(said.contains(&invalid) && said.contains(", metrics (no daemon answers"), "{said}");
}

#[test]
fn what_a_bundle_has_not_is_said() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let place = tempfile::tempdir().expect("a directory");
    let (nowhere, out) = (place.path().join("nowhere"), place.path().join("out"));
    let output = bundle(&nowhere, &daemon.socket(), &out);
    let said = String::from_utf8(output.stdout).expect("text");
    let (has, has_not) = said.split_once("\nNot available: ").expect("something is missing");
    let missing = format!("there is no {}; name it with -c", nowhere.display());
    assert!(output.status.success() && has.ends_with('.') && has.contains(": the status, metrics, "), "{said}");
    assert!(has_not.starts_with(&format!("the configuration ({missing})")), "{said}");
    let written = fs::read_to_string(out.join("configuration.yaml")).expect("there");
    assert_eq!(written, format!("# not available: {missing}\n"));
}
