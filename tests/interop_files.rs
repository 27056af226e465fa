//! Files with credentials, as the AWS CLI, botocore, the SDK for JavaScript, a shell, systemd and Docker's rule read them; and
//! which of them read a file again.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use alppaca::mock_ims::{Behaviour, Issued};
use support::{Daemon, Ims, eventually, needs, skip};
use tempfile::TempDir;

/// A daemon that writes a file of each format, with credentials that live for so many seconds.
struct Rig {
    ims: Ims,
    daemon: Daemon,
    run_dir: TempDir,
}

impl Rig {
    fn new(seconds: u64) -> Self {
        let ims = Ims::start(Behaviour {
            roles: vec!["web".into(), "db".into()],
            lifetime: Duration::from_secs(seconds),
            ..Behaviour::default()
        });
        let run_dir = TempDir::new().expect("a directory");
        let files = "files:\n- {path: shared, profiles: {default: web, db/prod@1: db}}\n- {path: env, role: web, format: env}\n\
                     - {path: json, role: web, format: process}\n";
        let config = format!("{}run_dir: {}\n{files}", ims.config(), run_dir.path().display());
        let daemon = Daemon::start(&config);
        let rig = Self { ims, daemon, run_dir };
        for name in ["shared", "env", "json"] {
            let whole =
                || fs::read_to_string(rig.file(name)).ok().filter(|text| name != "shared" || text.contains("[db/"));
            eventually(name, whole, || rig.daemon.log());
        }
        rig
    }

    fn file(&self, name: &str) -> PathBuf {
        self.run_dir.path().join("files").join(name)
    }

    fn issued(&self, key: &str) -> Issued {
        self.ims.handle.issued_with(key).unwrap_or_else(|| panic!("{key:?} is not the upstream's"))
    }

    /// Judges what a client has read: key, secret and token, one a line.
    fn judge(&self, said: &str) -> String {
        let [key, secret, token] = said.lines().collect::<Vec<_>>()[..] else { panic!("three lines: {said:?}") };
        let issued = self.issued(key);
        assert_eq!((secret, token), (&*issued.secret_access_key, &*issued.session_token));
        key.to_owned()
    }
}

#[allow(clippy::disallowed_methods, reason = "the environment says where the tools of tests are")]
fn python(what: &str) -> Option<PathBuf> {
    let python = std::env::var_os("ALPPACA_TEST_PYTHON").map(PathBuf::from);
    if python.is_none() {
        skip(what, "there is no Python with boto3 (ALPPACA_TEST_PYTHON)");
    }
    python
}

/// A client in an environment of its own.
fn client(program: &Path, variables: &[(&str, &Path)]) -> Command {
    let mut command = Command::new(program);
    command
        .env_clear()
        .env("HOME", "/nonexistent")
        .env("PATH", "/usr/bin:/bin")
        .env("AWS_EC2_METADATA_DISABLED", "true");
    command.env("AWS_CONFIG_FILE", "/nonexistent").envs(variables.iter().copied());
    command
}

fn said(command: &mut Command) -> String {
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

const SESSION: &str = "
import botocore.session, sys
session = botocore.session.Session(profile=sys.argv[1] if len(sys.argv) > 1 else None)
got = session.get_credentials()
got = got.get_frozen_credentials()
print(got.access_key, got.secret_key, got.token, sep='\\n')
";

#[test]
fn botocore_and_the_cli_read_each_profile() {
    let Some(python) = python("files: botocore and the AWS CLI") else { return };
    let rig = Rig::new(3600);
    let shared = rig.file("shared");
    let environment = [("AWS_SHARED_CREDENTIALS_FILE", &*shared)];
    let key = rig.judge(&said(client(&python, &environment).args(["-c", SESSION])));
    let other = rig.judge(&said(client(&python, &environment).args(["-c", SESSION, "db/prod@1"])));
    assert_ne!(key, other);
    let cli = python.with_file_name("aws");
    for (profile, key) in [("default", &key), ("db/prod@1", &other)] {
        let shown = said(client(&cli, &environment).args(["--profile", profile, "configure", "list"]));
        let line = shown.lines().find(|line| line.trim_start().starts_with("access_key")).expect("it lists it");
        assert!(line.contains("shared-credentials-file") && line.contains(&key[key.len() - 4..]), "{shown}");
    }
    // The same by a program.
    let config = rig.run_dir.path().join("config");
    fs::write(&config, format!("[default]\ncredential_process = cat {}\n", rig.file("json").display())).expect("ours");
    let by_process = [("AWS_CONFIG_FILE", &*config), ("AWS_SHARED_CREDENTIALS_FILE", Path::new("/nonexistent"))];
    assert_eq!(rig.judge(&said(client(&python, &by_process).args(["-c", SESSION]))), key);
    // Python's own parser, which others use.
    let parse = "
import configparser, sys
parser = configparser.ConfigParser()
parser.read(sys.argv[1])
print(*[parser['default'][k] for k in ('aws_access_key_id', 'aws_secret_access_key', 'aws_session_token')], sep='\\n')
";
    assert_eq!(rig.judge(&said(client(&python, &[]).args(["-c", parse]).arg(&shared))), key);
}

#[test]
fn a_shell_systemd_and_dockers_rule_read_the_variables() {
    let rig = Rig::new(3600);
    let env = rig.file("env");
    let print = "printf '%s\\n' \"$AWS_ACCESS_KEY_ID\" \"$AWS_SECRET_ACCESS_KEY\" \"$AWS_SESSION_TOKEN\"";
    let script = format!("set -eua; . \"$1\"; exec sh -c '{}'", print.replace('\'', "'\\''"));
    let key = rig.judge(&said(client(Path::new("/bin/sh"), &[]).args(["-c", &script, "sh"]).arg(&env)));
    // Docker takes each line but comments as it is.
    let text = fs::read_to_string(&env).expect("there");
    let lines = || text.lines().filter(|line| !line.starts_with('#'));
    let value =
        |name: &str| lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('=')).expect("there").to_owned();
    let values = ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN"].map(value);
    assert_eq!(rig.judge(&values.join("\n")), key);
    if let Some(python) = python("files: variables") {
        // botocore knows when they end.
        let session = format!("{SESSION}print(session.get_credentials()._expiry_time.isoformat())\n");
        let script = "set -eua; . \"$1\"; exec \"$2\" -c \"$3\"";
        let shown =
            said(client(Path::new("/bin/sh"), &[]).args(["-c", script, "sh"]).arg(&env).arg(&python).arg(&session));
        let (set, end) = shown.trim_end().rsplit_once('\n').expect("an end");
        assert_eq!(rig.judge(set), key);
        assert!(value("AWS_CREDENTIAL_EXPIRATION").starts_with(&end[..19]), "{end}");
    }
}

/// A program that says, each time that it gets a line, which key it would use now.
struct Asked {
    child: std::process::Child,
    ask: ChildStdin,
    said: BufReader<ChildStdout>,
}

impl Asked {
    fn start(command: &mut Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it starts");
        let (ask, said) = (child.stdin.take().expect("piped"), child.stdout.take().expect("piped"));
        Self { child, ask, said: BufReader::new(said) }
    }

    fn key(&mut self) -> String {
        self.ask.write_all(b"\n").expect("it reads");
        let mut line = String::new();
        self.said.read_line(&mut line).expect("text");
        line.trim_end().to_owned()
    }
}

impl Drop for Asked {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What `docs/files.md` says of them.
#[test]
fn botocore_and_javascript_read_a_shared_file_once_and_run_a_process_again() {
    const WHAT: &str = "files: SDKs that read once";
    let Some(python) = python(WHAT) else { return };
    let rig = Rig::new(4);
    let (shared, config) = (rig.file("shared"), rig.run_dir.path().join("config"));
    fs::write(&config, format!("[default]\ncredential_process = cat {}\n", rig.file("json").display())).expect("ours");
    let by_process = [("AWS_CONFIG_FILE", &*config), ("AWS_SHARED_CREDENTIALS_FILE", Path::new("/nonexistent"))];
    let botocore = "
import botocore.session, sys
got = botocore.session.Session().get_credentials()
for line in sys.stdin:
    print(got.get_frozen_credentials().access_key, flush=True)
";
    let mut clients: Vec<(&str, bool, Asked)> = Vec::new();
    let start = |variables: &[(&str, &Path)]| Asked::start(client(&python, variables).args(["-c", botocore]));
    clients.push(("botocore", false, start(&[("AWS_SHARED_CREDENTIALS_FILE", &shared)])));
    let modules = python.ancestors().nth(3).expect("the test environment").join("javascript/node_modules");
    if needs(WHAT, "node") && modules.exists() {
        let script =
            "const { defaultProvider } = require('@aws-sdk/credential-provider-node'); const get = defaultProvider();
            require('readline').createInterface({ input: process.stdin })
                .on('line', async () => console.log((await get()).accessKeyId));";
        let node = |variables: &[(&str, &Path)]| {
            let mut command = client(Path::new("/usr/bin/node"), variables);
            Asked::start(command.env("NODE_PATH", &modules).args(["-e", script]))
        };
        clients.push(("JavaScript", false, node(&[("AWS_SHARED_CREDENTIALS_FILE", &shared)])));
        clients.push(("JavaScript, by a process", true, node(&by_process)));
    }
    let first: Vec<String> = clients.iter_mut().map(|(_, _, asked)| asked.key()).collect();
    for key in &first {
        rig.issued(key);
    }
    let key = || {
        let text = fs::read_to_string(&shared).expect("there");
        text.lines().find_map(|line| line.strip_prefix("aws_access_key_id = ")).expect("a key").to_owned()
    };
    let old = key();
    eventually("a newer file", || (key() != old).then_some(()), || rig.daemon.log());
    eventually("another one", || (!first.contains(&key())).then_some(()), || rig.daemon.log());
    // What ends soon is renewed beside the answer, so that the next one has it.
    for ((name, _, asked), first) in clients.iter_mut().zip(&first).filter(|((_, again, _), _)| *again) {
        eventually(name, || (asked.key() != *first).then_some(()), || rig.daemon.log());
    }
    for ((name, _, asked), first) in clients.iter_mut().zip(&first).filter(|((_, again, _), _)| !*again) {
        assert_eq!([asked.key(), asked.key()], [first.as_str(), first], "{name}");
    }
}
