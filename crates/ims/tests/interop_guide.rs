//! The guide, as it is written: the server in one network namespace, a host in another, and boto3 there.

mod support;

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use support::{
    ACCOUNT, SECRET, Sts, daemon_program, eventually,
    needs::{needs, needs_root, skip},
};

/// Says that the test runs in namespaces of its own.
const INSIDE: &str = "ALPPACA_TEST_GUIDE";

#[test]
#[allow(clippy::disallowed_methods, reason = "the environment says where boto3 is")]
fn the_guide_leads_to_both_halves() {
    let what = "the guide";
    if !needs_root(what) || !["unshare", "nsenter", "ip", "openssl"].iter().all(|program| needs(what, program)) {
        return;
    }
    if std::env::var_os("ALPPACA_TEST_PYTHON").is_none() {
        skip(what, "there is no ALPPACA_TEST_PYTHON");
        return;
    }
    daemon_program();
    let mut command = Command::new("unshare");
    command.args(["--net", "--mount", "--propagation", "private"]).arg(std::env::current_exe().expect("this program"));
    command.args(["--exact", "inside", "--ignored", "--nocapture"]).env(INSIDE, "1").stdin(Stdio::null());
    let output = command.output().expect("unshare");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains("1 passed"), "{said}");
}

/// What packages and the network do before the guide begins. All of it is gone with the namespaces.
const BEFORE: &str = "
mkdir upper work
mount -t overlay overlay -o lowerdir=/etc,upperdir=$PWD/upper,workdir=$PWD/work /etc
mount -t tmpfs tmpfs /var/log
mount -t tmpfs tmpfs /run
for name in alppaca-ims:990 alppaca:991; do
    echo ${name%:*}:x:${name#*:}:${name#*:}::/nonexistent:/usr/sbin/nologin >> /etc/passwd
    echo ${name%:*}:x:${name#*:}: >> /etc/group
done
mkdir -p /etc/alppaca-ims /etc/alppaca
install -d -o alppaca-ims /var/log/alppaca-ims
install -d -o alppaca /run/alppaca
echo 10.99.0.1 ims.example.com >> /etc/hosts
ip link set lo up
ip link add server type veth peer name host
ip addr add 10.99.0.1/24 dev server
ip link set server up
ip link set host netns $HOST
nsenter --net=/proc/$HOST/ns/net sh -ec 'ip link set lo up; ip addr add 10.99.0.2/24 dev host; ip link set host up'
";

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}

/// The fenced blocks of the guide in this language, in their order.
fn blocks(guide: &str, language: &str) -> Vec<String> {
    let fence = format!("```{language}\n");
    guide.split(&fence).skip(1).filter_map(|rest| rest.split("```").next()).map(str::to_owned).collect()
}

/// Runs a script, without what only a service manager could do.
#[track_caller]
fn run(script: &str, directory: &Path, host: u32) -> String {
    let lines: Vec<&str> = script.lines().filter(|line| !line.starts_with("systemctl ")).collect();
    let programs = daemon_program().parent().expect("a folder").display();
    let mut command = Command::new("sh");
    command.args(["-euc", &format!("PATH={programs}:$PATH\n{}", lines.join("\n"))]);
    command.current_dir(directory).env("HOST", host.to_string()).stdin(Stdio::null());
    let output = command.output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{script}\n{said}");
    said
}

fn start(command: &mut Command, log: &Path) -> Running {
    let log = fs::File::create(log).expect("ours");
    Running(command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().expect("it starts"))
}

#[test]
#[ignore = "run by the other test in namespaces of its own"]
#[allow(clippy::disallowed_methods, reason = "the environment says where it runs, and where boto3 is")]
fn inside() {
    assert!(std::env::var_os(INSIDE).is_some(), "it would change this machine");
    let directory = tempfile::tempdir().expect("a directory");
    let (here, sts) = (directory.path(), Sts::start());
    sts.change(|script| {
        let user = format!("arn:aws:iam::{ACCOUNT}:user/ims");
        script.roles = vec![alppaca_mock_sts::Role::new(format!("arn:aws:iam::{ACCOUNT}:role/hosts/web"), user)];
    });
    let host = start(Command::new("unshare").args(["--net", "sleep", "600"]), &here.join("sleep.log"));
    let id = host.0.id();
    let network = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).ok();
    let other = || (network(&id.to_string())? != network("self")?).then_some(());
    eventually("the host has a network of its own", other, String::new);
    run(BEFORE, here, id);

    let page = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs/ims-guide.md");
    let guide = fs::read_to_string(page).expect("the guide");
    let [certificates, to_server, to_host, on_server, on_host] = &*blocks(&guide, "sh") else {
        panic!("other scripts")
    };
    let [of_server, of_host] = &*blocks(&guide, "yaml") else { panic!("other configurations") };
    for script in [certificates, to_server, to_host] {
        run(script, here, id);
    }
    // The only change: a mock in the place of AWS.
    let keys = format!("{{kind: static, access_key_id: AKIAIOSFODNN7EXAMPLE, secret_access_key: {SECRET}}}");
    let of_server = of_server.replace("{kind: imds}", &format!("{keys}\n  endpoint: {}", sts.url()));
    let log = "logging_handler: {module: logging, class: StreamHandler}\n";
    fs::write("/etc/alppaca-ims/ims.yaml", of_server + log).expect("ours");
    fs::write("/etc/alppaca/alppaca.yaml", format!("{of_host}{log}")).expect("ours");
    run("chgrp alppaca-ims /etc/alppaca-ims/ims.yaml; chmod 0640 /etc/alppaca-ims/ims.yaml", here, id);
    let explained = run(on_server, here, id);
    assert!(explained.contains("shop/web: arn:aws:iam::111122223333:role/hosts/web"), "{explained}");

    let server_log = here.join("server.log");
    let _server = start(Command::new(env!("CARGO_BIN_EXE_alppaca-ims")).arg("run"), &server_log);
    let network = format!("--net=/proc/{id}/ns/net");
    let daemon_log = here.join("daemon.log");
    let _daemon = start(Command::new("nsenter").arg(&network).arg(daemon_program()).arg("run"), &daemon_log);
    let logs = || [&server_log, &daemon_log].map(|log| fs::read_to_string(log).unwrap_or_default()).concat();
    eventually("the daemon has asked for the role", || logs().contains("/web\" 200").then_some(()), logs);
    let status = run(on_host, here, id);
    assert!(status.contains("web"), "{status}");
    let program = "import boto3; print(boto3.Session().get_credentials().access_key)";
    let mut python = Command::new("nsenter");
    python.arg(&network).arg(std::env::var_os("ALPPACA_TEST_PYTHON").expect("looked at")).args(["-c", program]);
    python.env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:25772").env("HOME", here);
    let output = python.output().expect("python");
    let key = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    assert!(key.starts_with("ASIA"), "{}\n{}", String::from_utf8_lossy(&output.stderr), logs());
    let audit = || fs::read_to_string("/var/log/alppaca-ims/audit.log").unwrap_or_default();
    eventually("a record", || audit().contains(&key).then_some(()), audit);
    let call = sts.assumed().remove(0);
    assert_eq!((call.get("RoleSessionName"), call.get("SourceIdentity")), ("web1.example.com", "web1.example.com"));
}
