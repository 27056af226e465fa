//! Roles of containers, with a real Docker and a real Podman: who gets what, and that nobody ever gets another's.

#[path = "../support/mod.rs"]
mod support;

mod docker;
mod image;
mod place;
mod podman;
mod reload;
mod sts;

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use docker::Docker;
use image::{the_daemon_of_the_image_serves_and_stops, the_image_has_nothing_but_the_program_and_is_not_root};
use place::{IDLE, Runtime, get, get_at, in_network_of, key};
use podman::Podman;
use sts::Sts;
use support::Daemon;

/// A runtime, and the daemon on its host.
struct Host<R> {
    daemon: Daemon,
    sts: Sts,
    runtime: R,
}

const RULES: &str = "default_account: '111111111111'\n  accounts: {prod: '222222222222'}\n  session_name: none\n  \
                     session_name_from: Labels:user\n  role_from: [Env:IAM_ROLE, Labels:role]\n  \
                     allow: ['arn:aws*:iam::*:role/app-*', 'arn:aws:iam::222222222222:role/team/*']\n";

impl<R: Runtime> Host<R> {
    fn start(rules: &str) -> Self {
        let runtime = R::start();
        let listener = runtime.place().listener();
        let endpoint = format!("http://{}", listener.local_addr().expect("bound"));
        let config = format!(
            "listen: ['169.254.169.254:80', '[fd00:ec2::254]:80']\nsources:\n  base: {{kind: static, \
             access_key_id: AKIAX, secret_access_key: s, session_token: t, expiration: '2099-01-01T00:00:00Z'}}\n\
             containers:\n  source: base\n  sockets: {}\n  {rules}",
            runtime.socket().display()
        );
        let command = |program: &str| {
            let mut command = runtime.place().command(program);
            command.env("AWS_ENDPOINT_URL_STS", &endpoint);
            command
        };
        let daemon = Daemon::start_through(&config, command, || {});
        daemon.wait_for_log(&format!("containers: {} ", R::NAME));
        Self { daemon, sts: Sts::start(listener), runtime }
    }

    /// What `policy explain` says of a container.
    fn explain(&self, container: &str) -> String {
        let directory = tempfile::tempdir().expect("a directory");
        let config = directory.path().join("alppaca.yaml");
        let text = format!(
            "sources:\n  base: {{kind: static, access_key_id: AKIAX, secret_access_key: s}}\n\
             policy: {{rules: [{{name: ours, match: {{container: '{container}'}}, own: true}}], default: deny}}\n\
             containers:\n  source: base\n  sockets: {}\n  {RULES}",
            self.runtime.socket().display()
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

const LIST: &str = "/latest/meta-data/iam/security-credentials/";

/// The path of a role's document.
fn document(role: &str) -> String {
    format!("{LIST}{role}")
}

/// Each of these with a real Docker and with a real Podman.
macro_rules! with_both {
    ($($proof:ident: $what:literal,)*) => {
        with_both!(docker_proofs: Docker, $($proof: $what,)*);
        with_both!(podman_proofs: Podman, $($proof: $what,)*);
    };
    ($module:ident: $runtime:ident, $($proof:ident: $what:literal,)*) => {
        mod $module {
            use super::{$runtime, Runtime};

            $(#[test]
            fn $proof() {
                if $runtime::possible(concat!("containers: ", stringify!($runtime), ": ", $what)) {
                    super::$proof::<$runtime>();
                }
            })*
        }
    };
}

with_both! {
    each_container_gets_what_it_asks_for_and_may_have: "roles",
    a_role_is_fetched_when_its_container_is_made: "creation",
    one_that_is_started_again_is_known_again: "restart",
    addresses_that_are_used_again_never_bring_the_role_of_who_was_there: "churn",
    a_container_on_the_hosts_network_is_known_by_its_control_group: "host network",
    a_group_below_that_of_another_makes_nobody_another: "parent groups",
    an_address_in_a_label_is_nobodys: "labels",
    who_shares_a_network_has_the_role_of_its_owner: "shared networks",
    while_the_runtime_is_silent_no_container_gets_anything: "silence",
    the_image_has_nothing_but_the_program_and_is_not_root: "image",
    the_daemon_of_the_image_serves_and_stops: "daemon",
}

fn each_container_gets_what_it_asks_for_and_may_have<R: Runtime>() {
    let host = Host::<R>::start(RULES);
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
        let container = host.runtime.idle(&format!("c{number}"), arguments);
        assert_eq!(container.key(), *expected, "{arguments:?}: {}", host.daemon.log());
        let said = host.explain(&format!("c{number}"));
        assert_eq!(said.contains("its own role: arn:"), expected.is_ok(), "{said}");
        // Another's role is not there, whatever name one asks for.
        assert_eq!(container.get(&document("app-other")).0, 404);
        container.remove();
    }
    let log = host.daemon.log();
    assert!(log.contains("c4 (") && log.contains("which no pattern in containers.allow permits"), "{log}");
    assert!(!log.contains("hush"));
    // Same role, other session: never the other's credentials.
    let one = host.runtime.idle("one", &["-e", "IAM_ROLE=app-a", "--label", "user=anna"]);
    let two = host.runtime.idle("two", &["-e", "IAM_ROLE=app-a", "--label", "user=bert"]);
    let (one, two) = (one.key(), two.key());
    assert!(one.as_ref().is_ok_and(|key| key.ends_with("_anna")), "{one:?}");
    assert!(two.as_ref().is_ok_and(|key| key.ends_with("_bert")), "{two:?}");
}

fn a_role_is_fetched_when_its_container_is_made<R: Runtime>() {
    let host = Host::<R>::start(RULES);
    // The list, which is compared now and then, does not show what has not been started: an event tells of it.
    host.runtime.make(&["create", "--name", "early"], &["-e", "IAM_ROLE=app-early"], IDLE);
    host.daemon.wait_for_log("role app-early: fetched ");
    assert_eq!(host.sts.calls(), [arn_key("app_early")]);
    host.runtime.run(&["start", "early"]);
    assert_eq!(host.runtime.container("early").key(), Ok(arn_key("app_early")));
    assert_eq!(host.sts.calls().len(), 1);
}

fn one_that_is_started_again_is_known_again<R: Runtime>() {
    let host = Host::<R>::start(RULES);
    let container = host.runtime.idle("again", &["-e", "IAM_ROLE=app-again"]);
    assert_eq!(container.key(), Ok(arn_key("app_again")));
    host.runtime.run(&["stop", "--time", "0", "again"]);
    // Whoever takes the address while it is away gets nothing of it.
    let others: Vec<_> = (0..4).map(|number| host.runtime.idle(&format!("other{number}"), &[])).collect();
    for other in others {
        assert_eq!(other.key(), Err(404));
        other.remove();
    }
    host.runtime.run(&["start", "again"]);
    assert_eq!(host.runtime.container("again").key(), Ok(arn_key("app_again")));
    host.runtime.run(&["restart", "--time", "0", "again"]);
    assert_eq!(host.runtime.container("again").key(), Ok(arn_key("app_again")));
    assert_eq!(host.sts.calls().len(), 1, "it was kept meanwhile");
}

/// Asks again and again, beginning at once, and prints what it got with its address.
const SCRIPT: &str = r#"b=/bin/busybox; u=http://169.254.169.254/latest/meta-data/iam/security-credentials/
$b ip -o -4 address show dev eth0 | $b awk '{print "address", $4}'
n=0; while [ $n -lt 30 ]; do n=$((n+1)); /usr/bin/curl -s -m 1 "$u$1" | $b grep AccessKeyId; done"#;

/// The host's own programs, so that there is a client: `curl` is not linked statically.
const PROGRAMS: &str = "/usr:/usr:ro";

fn addresses_that_are_used_again_never_bring_the_role_of_who_was_there<R: Runtime>() {
    let host = Host::<R>::start(RULES);
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
                    let options = ["-v", PROGRAMS, "-e", &variable];
                    let said = host.runtime.make(&["run", "--rm"], &options, &["/bin/sh", "-c", SCRIPT, "sh", &role]);
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
    let answers = answers.into_inner();
    assert!(answers >= 300, "most of the requests are answered, not {answers}");
    assert_eq!(host.sts.calls().len(), 24, "each role was fetched once");
}

fn a_container_on_the_hosts_network_is_known_by_its_control_group<R: Runtime>() {
    let host = Host::<R>::start(RULES);
    let script = "for n in 1 2 3 4 5 6 7 8 9; do /usr/bin/curl -s -f -m 2 http://169.254.169.254$1 && exit; done";
    let options = ["-v", PROGRAMS, "--network", "host", "-e", "IAM_ROLE=app-host"];
    let program = ["/bin/sh", "-c", script, "sh", &document("app-host")];
    let said = host.runtime.make(&["run", "--rm"], &options, &program);
    assert!(said.contains(&arn_key("app_host")), "{said}\n{}", host.daemon.log());
    // The host's own processes are nobody's container.
    let container = host.runtime.idle("hosted", &["--network", "host", "-e", "IAM_ROLE=app-host"]);
    assert_ne!(get(host.runtime.place().command("env"), &document("app-host")).0, 200);
    container.remove();
}

fn a_group_below_that_of_another_makes_nobody_another<R: Runtime>() {
    let host = Host::<R>::start(RULES);
    let victim = host.runtime.idle("victim", &["--network", "host", "-e", "IAM_ROLE=app-victim"]);
    let groups = std::fs::read_to_string(format!("/proc/{}/cgroup", victim.pid)).expect("it runs");
    let group = groups.lines().find_map(|line| line.strip_prefix("0::")).expect("the unified hierarchy");
    let script = "for n in 1 2 3 4 5 6 7 8 9; do /usr/bin/curl -s -f -m 2 http://169.254.169.254$1 && exit; done; true";
    let options = ["-v", PROGRAMS, "--network", "host", "--cgroup-parent", group, "-e", "IAM_ROLE=app-own"];
    for (role, expected) in [("app-victim", false), ("app-own", true)] {
        let program = ["/bin/sh", "-c", script, "sh", &document(role)];
        let said = host.runtime.make(&["run", "--rm"], &options, &program);
        assert_eq!(said.contains("AccessKeyId"), expected, "{role}: {said}\n{}", host.daemon.log());
    }
}

fn an_address_in_a_label_is_nobodys<R: Runtime>() {
    let host = Host::<R>::start(RULES);
    let victim = host.runtime.idle("victim", &["-e", "IAM_ROLE=app-victim"]);
    let format = "{{range .NetworkSettings.Networks}}{{.IPAddress}}{{end}}";
    let address = host.runtime.run(&["inspect", "--format", format, "victim"]);
    let label = format!("io.rancher.container.ip={address}/16");
    let thief = host.runtime.idle("thief", &["--label", &label, "-e", "IAM_ROLE=app-thief"]);
    assert_eq!(thief.key(), Ok(arn_key("app_thief")));
    assert_eq!(victim.key(), Ok(arn_key("app_victim")), "{}", host.daemon.log());
}

fn who_shares_a_network_has_the_role_of_its_owner<R: Runtime>() {
    let host = Host::<R>::start(RULES);
    let owner = host.runtime.idle("owner", &["-e", "IAM_ROLE=app-owner"]);
    let guest = host.runtime.idle("guest", &["--network", "container:owner", "-e", "IAM_ROLE=app-guest"]);
    for container in [&guest, &owner] {
        assert_eq!(container.key(), Ok(arn_key("app_owner")), "{}", host.daemon.log());
        assert_eq!(container.get(&document("app-guest")).0, 404);
    }
    // The end of a guest ends nothing for the others.
    guest.remove();
    assert_eq!(owner.key(), Ok(arn_key("app_owner")), "{}", host.daemon.log());
}

fn while_the_runtime_is_silent_no_container_gets_anything<R: Runtime>() {
    let mut host = Host::<R>::start(RULES);
    let pid = host.runtime.idle("lasting", &["-e", "IAM_ROLE=app-a"]).pid;
    let ask = |path: &str| get(in_network_of(&pid), path);
    assert_eq!(key(ask), Ok(arn_key("app_a")));
    host.runtime.stop_service();
    host.daemon.wait_for_log("no container gets credentials until the runtime answers again");
    assert_eq!(ask(&document("app-a")).0, 503);
    host.runtime.start_service();
    assert_eq!(key(ask), Ok(arn_key("app_a")));
    assert_eq!(host.sts.calls().len(), 1, "what was fetched before is still there");
    let told = host.daemon.log().matches("no container gets credentials until the runtime answers again").count();
    assert_eq!(told, 1, "{}", host.daemon.log());
    assert_eq!(host.runtime.run(&["ps", "--quiet"]).lines().count(), 1, "it never stopped");
}

#[test]
fn a_pod_has_the_role_that_its_own_labels_ask_for() {
    if !Podman::possible("containers: Podman: pods") {
        return;
    }
    let host = Host::<Podman>::start(RULES);
    let pod = [
        &["pod", "create", "--name", "pod", "--label", "role=app-pod", "--infra-command"][..],
        &["/bin/busybox sleep 1000"],
    ];
    let bridged = host.runtime.bridged();
    let bridged: Vec<&str> = bridged.iter().map(String::as_str).collect();
    host.runtime.run(&[&pod.concat(), &bridged[..]].concat());
    let member = host.runtime.idle("member", &["--pod", "pod", "-e", "IAM_ROLE=app-member"]);
    assert_eq!(member.key(), Ok(arn_key("app_pod")), "{}", host.daemon.log());
    // On the host's network each member is known by its own control group.
    host.runtime.run(
        &[
            &["pod", "create", "--name", "hosted", "--network", "host"][..],
            &["--infra-command", "/bin/busybox sleep 1000"],
        ]
        .concat(),
    );
    let script = "for n in 1 2 3 4 5 6 7 8 9; do /usr/bin/curl -s -f -m 2 http://169.254.169.254$1 && exit; done";
    let options = ["-v", PROGRAMS, "--pod", "hosted", "-e", "IAM_ROLE=app-member"];
    let program = ["/bin/sh", "-c", script, "sh", &document("app-member")];
    let said = host.runtime.make(&["run", "--rm"], &options, &program);
    assert!(said.contains(&arn_key("app_member")), "{said}\n{}", host.daemon.log());
}

#[test]
fn a_network_of_ipv6_alone_is_as_good() {
    if !Podman::possible("containers: Podman: IPv6") {
        return;
    }
    let host = Host::<Podman>::start(RULES);
    let network = format!("{}six", host.runtime.place().namespace);
    host.runtime.run(&["network", "create", "--ipv6", "--subnet", "fd00:30::/120", &network]);
    let container = host.runtime.idle("six", &["--network", &network, "-e", "IAM_ROLE=app-six"]);
    let found = key(|path| get_at(container.command(), "[fd00:ec2::254]", path));
    assert_eq!(found, Ok(arn_key("app_six")), "{}", host.daemon.log());
    container.remove();
    host.runtime.run(&["network", "rm", &network]);
}
