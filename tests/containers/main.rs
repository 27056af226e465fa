//! Roles of containers, with a real Docker: who gets what, and that nobody ever gets another's.

#[path = "../support/mod.rs"]
mod support;

mod docker;
mod sts;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use docker::{Docker, get, key, possible};
use sts::Sts;
use support::Daemon;

/// Docker, and the daemon on its host.
struct Host {
    daemon: Daemon,
    sts: Sts,
    docker: Docker,
}

const RULES: &str = "default_account: '111111111111'\n  accounts: {prod: '222222222222'}\n  session_name: none\n  \
                     session_name_from: Labels:user\n  role_from: [Env:IAM_ROLE, Labels:role]\n  \
                     allow: ['arn:aws*:iam::*:role/app-*', 'arn:aws:iam::222222222222:role/team/*']\n";

impl Host {
    fn start(rules: &str) -> Self {
        let docker = Docker::start();
        let listener = docker.listener();
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let config = format!(
            "listen: ['169.254.169.254:80']\nsources:\n  base: {{kind: static, access_key_id: AKIAX, \
             secret_access_key: s, session_token: t, expiration: '2099-01-01T00:00:00Z'}}\n\
             containers:\n  source: base\n  sockets: {}\n  {rules}",
            docker.socket().display()
        );
        let command = |program: &str| {
            let mut command = docker.command(program);
            command.env("AWS_ENDPOINT_URL_STS", &endpoint);
            command
        };
        let daemon = Daemon::start_through(&config, command, || {});
        daemon.wait_for_log("containers: Docker ");
        Self { daemon, sts: Sts::start(listener), docker }
    }

    /// What `policy explain` says of a container.
    fn explain(&self, container: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("alppaca.yaml");
        let text = format!(
            "sources:\n  base: {{kind: static, access_key_id: AKIAX, secret_access_key: s}}\n\
             policy: {{rules: [{{name: ours, match: {{container: '{container}'}}, own: true}}], default: deny}}\n\
             containers:\n  source: base\n  sockets: {}\n  {RULES}",
            self.docker.socket().display()
        );
        std::fs::write(&config, text).expect("a file");
        let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_alppaca"));
        command.args(["policy", "explain", "-c"]).arg(&config).args(["--container", container]);
        let output = command.output().expect("it runs");
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(said.contains("rule 1 (ours): applies"), "{said}{}", String::from_utf8_lossy(&output.stderr));
        said
    }
}

fn arn_key(role: &str) -> String {
    format!("arn_aws_iam__111111111111_role_{role}__none")
}

#[test]
fn each_container_gets_what_it_asks_for_and_may_have() {
    if !possible("containers: roles") {
        return;
    }
    let host = Host::start(RULES);
    let expected = [
        (&["-e", "IAM_ROLE=app-a", "-e", "OTHER=hush"][..], Ok(arn_key("app_a"))),
        (
            &["-e", "IAM_ROLE=team/app-b@prod", "-e", "IAM_EXTERNAL_ID=x1", "--label", "user=an na"][..],
            Ok("arn_aws_iam__222222222222_role_team_app_b_x1_an_na".to_owned()),
        ),
        (
            &["-e", "IAM_ROLE=arn:aws-cn:iam::333333333333:role/app-c"][..],
            Ok("arn_aws_cn_iam__333333333333_role_app_c__none".to_owned()),
        ),
        (&["--label", "role=app-d"][..], Ok(arn_key("app_d"))),
        (&["-e", "IAM_ROLE=admin"][..], Err(404)),
        (&[][..], Err(404)),
    ];
    for (number, (arguments, expected)) in expected.iter().enumerate() {
        let container = host.docker.idle(&format!("c{number}"), arguments);
        assert_eq!(container.key(), *expected, "{arguments:?}: {}", host.daemon.log());
        let said = host.explain(&format!("c{number}"));
        assert_eq!(said.contains("its own role: arn:"), expected.is_ok(), "{said}");
        // Another's role is not there, whatever name one asks for.
        assert_eq!(container.get("/latest/meta-data/iam/security-credentials/app-other").0, 404);
        container.remove();
    }
    let log = host.daemon.log();
    assert!(log.contains("c4 (") && log.contains("which no pattern in containers.allow permits"), "{log}");
    assert!(!log.contains("hush"));
    // Same role, other session: never the other's credentials.
    let one = host.docker.idle("one", &["-e", "IAM_ROLE=app-a", "--label", "user=anna"]);
    let two = host.docker.idle("two", &["-e", "IAM_ROLE=app-a", "--label", "user=bert"]);
    let (one, two) = (one.key(), two.key());
    assert!(one.as_ref().is_ok_and(|key| key.ends_with("_anna")), "{one:?}");
    assert!(two.as_ref().is_ok_and(|key| key.ends_with("_bert")), "{two:?}");
}

/// Asks again and again, beginning at once, and prints what it got with its address.
const SCRIPT: &str = r#"b=/bin/busybox; u=http://169.254.169.254/latest/meta-data/iam/security-credentials/
$b ip -o -4 address show dev eth0 | $b awk '{print "address", $4}'
n=0; while [ $n -lt 30 ]; do n=$((n+1)); /usr/bin/curl -s -m 1 "$u$1" | $b grep AccessKeyId; done"#;

/// The host's own programs, so that there is a client: `curl` is not linked statically.
const PROGRAMS: &str = "/usr:/usr:ro";

#[test]
fn addresses_that_are_used_again_never_bring_the_role_of_who_was_there() {
    if !possible("containers: churn") {
        return;
    }
    let host = Host::start(RULES);
    let (next, answers) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let addresses = std::sync::Mutex::new(HashMap::<String, usize>::new());
    thread::scope(|scope| {
        for _worker in 0..3 {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= 24 {
                        return;
                    }
                    let (variable, role) = (format!("IAM_ROLE=app-{number}"), format!("app-{number}"));
                    let said = host.docker.docker(&[
                        "run", "--rm", "-v", PROGRAMS, "-e", &variable, "box:1", "/bin/sh", "-c", SCRIPT, "sh", &role,
                    ]);
                    let mut own = 0;
                    for line in said.lines() {
                        match line.trim().strip_prefix("address ") {
                            Some(address) => {
                                let mut addresses = addresses.lock().expect("not poisoned");
                                *addresses.entry(address.to_owned()).or_default() += 1;
                            }
                            None => {
                                let key = arn_key(&format!("app_{number}"));
                                assert!(line.contains(&format!("\"{key}\"")), "app-{number} got {line}");
                                own += 1;
                            }
                        }
                    }
                    assert!(own > 0, "app-{number} got nothing: {said}\n{}", host.daemon.log());
                    answers.fetch_add(own, Ordering::Relaxed);
                }
            });
        }
    });
    let addresses = addresses.into_inner().expect("not poisoned");
    assert!(addresses.len() <= 5 && addresses.values().sum::<usize>() == 24, "{addresses:?}");
    assert!(answers.into_inner() >= 300, "most of the requests are answered");
    assert_eq!(host.sts.calls().len(), 24, "each role was fetched once");
}

#[test]
fn a_container_on_the_hosts_network_is_known_by_its_control_group() {
    if !possible("containers: host network") {
        return;
    }
    let host = Host::start(RULES);
    let url = "http://169.254.169.254/latest/meta-data/iam/security-credentials/";
    let script = format!("for n in 1 2 3 4 5 6 7 8 9; do /usr/bin/curl -s -f -m 2 {url}$1 && exit; done");
    let said = host.docker.docker(&[
        "run",
        "--rm",
        "-v",
        PROGRAMS,
        "--network",
        "host",
        "-e",
        "IAM_ROLE=app-host",
        "box:1",
        "/bin/sh",
        "-c",
        &script,
        "sh",
        "app-host",
    ]);
    assert!(said.contains(&arn_key("app_host")), "{said}\n{}", host.daemon.log());
    // The host's own processes are nobody's container.
    let container = host.docker.idle("hosted", &["--network", "host", "-e", "IAM_ROLE=app-host"]);
    let path = "/latest/meta-data/iam/security-credentials/app-host";
    assert_ne!(get(host.docker.command("env"), path).0, 200);
    container.remove();
}

#[test]
fn without_docker_no_container_gets_anything_and_with_it_all_do_again() {
    if !possible("containers: Docker down") {
        return;
    }
    let mut host = Host::start(RULES);
    let container = host.docker.idle("lasting", &["-e", "IAM_ROLE=app-a"]);
    let pid = host.docker.docker(&["inspect", "--format", "{{.State.Pid}}", "lasting"]);
    assert_eq!(container.key(), Ok(arn_key("app_a")));
    drop(container);
    let ask = |path: &str| {
        let mut command = std::process::Command::new("nsenter");
        command.arg(format!("--net=/proc/{pid}/ns/net"));
        get(command, path)
    };
    host.docker.stop_dockerd();
    host.daemon.wait_for_log("no container gets credentials until this is over");
    assert_eq!(ask("/latest/meta-data/iam/security-credentials/app-a").0, 503);
    host.docker.start_dockerd();
    assert_eq!(key(ask), Ok(arn_key("app_a")));
    assert_eq!(host.sts.calls().len(), 1, "what was fetched before is still there");
    let told = host.daemon.log().matches("no container gets credentials until this is over").count();
    assert_eq!(told, 1, "{}", host.daemon.log());
    assert_eq!(host.docker.docker(&["ps", "--quiet"]).lines().count(), 1, "it never stopped");
}
