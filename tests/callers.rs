//! Who asks? Real users, real sockets: each gets what the policy gives it and nothing else.

mod support;

use std::{
    collections::HashMap,
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    os::unix::{net::UnixStream, process::CommandExt},
    path::Path,
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use alppaca::mock_ims::Behaviour;
use support::{
    Daemon, Ims, cannot,
    cgroups::{Slice, command_in},
    connect, get, needs, needs_root, read_one, request,
};
use tempfile::TempDir;

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
/// Numbers that belong to nobody on this host.
const FIRST_UID: u32 = 52_000;

fn with_roles(roles: &[String]) -> Ims {
    Ims::start(Behaviour { roles: roles.to_vec(), ..Behaviour::default() })
}

fn names(roles: &[&str]) -> Vec<String> {
    roles.iter().map(|role| (*role).to_owned()).collect()
}

/// Waits until every role has credentials; who has which access key id.
fn keys(ims: &Ims, daemon: &Daemon, roles: usize) -> HashMap<String, String> {
    while ims.handle.issued().len() < roles {
        daemon.wait_for_log(" fetched ");
        std::thread::yield_now();
    }
    ims.handle.issued().into_iter().map(|set| (set.access_key_id, set.role)).collect()
}

/// What user `uid` gets with curl, one answer after the other, each on a connection of its own.
fn curl(uid: u32, urls: &[String]) -> Command {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-H", "Connection: close", "-w", "\n%{http_code}\n"]).args(urls);
    command.uid(uid).gid(uid).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).current_dir("/");
    command
}

fn ask(uid: u32, url: &str) -> (String, String) {
    let output = curl(uid, &[url.to_owned()]).output().expect("curl runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text
        .trim_end()
        .rsplit_once('\n')
        .unwrap_or_else(|| panic!("{url}: {text} {}", String::from_utf8_lossy(&output.stderr)));
    (status.to_owned(), body.to_owned())
}

fn possible(what: &str) -> bool {
    needs_root(what) && needs(what, "curl")
}

#[test]
fn two_hundred_users_at_once_each_get_their_own() {
    const USERS: u32 = 200;
    if !possible("callers: 200 users") {
        return;
    }
    let roles: Vec<String> = (0..USERS).map(|user| format!("role-{user}")).collect();
    let ims = with_roles(&roles);
    let rules: Vec<String> =
        (0..USERS).map(|user| format!("  - {{match: {{user: {}}}, role: role-{user}}}\n", FIRST_UID + user)).collect();
    let rules = rules.concat();
    let config = format!("{}user: nobody\ngroup: nogroup\naccess_log: false\npolicy:\n  rules:\n{rules}", ims.config());
    let daemon = Daemon::start(&config);
    let issued = keys(&ims, &daemon, roles.len());
    let base = format!("http://{}{LIST}", daemon.address());
    let children: Vec<_> = (0..USERS)
        .map(|user| {
            // The own role, and that of the next user, in turn.
            let (own, next) = (format!("{base}role-{user}"), format!("{base}role-{}", (user + 1) % USERS));
            let urls = [&base, &own, &next].into_iter().cycle().take(15).cloned().collect::<Vec<_>>();
            (user, curl(FIRST_UID + user, &urls).spawn().expect("curl starts"))
        })
        .collect();
    let mut answers = 0;
    for (user, child) in children {
        let output = child.wait_with_output().expect("curl ends");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let role = format!("role-{user}");
        for part in text.split("\"AccessKeyId\"").skip(1) {
            let key = part.split('"').nth(1).expect("a key");
            assert_eq!(issued[key], role, "user {user} got another's key");
            answers += 1;
        }
        let lists = text.lines().filter(|line| **line == *role).count();
        let refusals = text.lines().filter(|line| *line == "404").count();
        assert_eq!((lists, refusals), (5, 5), "user {user}: {text}");
    }
    assert_eq!(answers, USERS * 5);
}

#[test]
fn a_users_accounts_and_groups_decide_for_accounts_that_useradd_made() {
    if !possible("callers: useradd") || !needs("callers: useradd", "useradd") || !needs("callers: useradd", "unshare") {
        return;
    }
    let ims = with_roles(&names(&["base", "ann", "staff", "prime"]));
    // A private copy of /etc, so that nothing is left behind: the daemon and the tools see it, nobody else.
    let etc = TempDir::new().expect("a directory");
    let script = etc.path().join("in-private-etc");
    let text = format!(
        "set -e\nmkdir -p {0}/etc && cp -a /etc/. {0}/etc\nmount --bind {0}/etc /etc\n\
         groupadd -g 52990 alp-staff && groupadd -g 52991 alp-prime\n\
         useradd -M -u 52901 alp-ann && useradd -M -u 52902 -G alp-staff alp-bob\n\
         useradd -M -u 52903 -g alp-prime alp-cid && useradd -M -u 52904 alp-dan\n\
         exec \"$@\"\n",
        etc.path().display()
    );
    fs::write(&script, text).expect("a file");
    let config = format!(
        "{}user: nobody\ngroup: nogroup\npolicy:\n  rules:\n  - {{match: {{user: alp-ann}}, role: ann}}\n  \
         - {{match: {{group: alp-staff}}, role: staff}}\n  - {{match: {{group: alp-prime}}, role: prime}}\n  \
         - {{match: {{user: alp-nobody}}, everything: true}}\n",
        ims.config()
    );
    let through = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private", "sh"]).arg(&script).arg(program);
        command
    };
    let daemon = Daemon::start_through(&config, through, || {});
    keys(&ims, &daemon, 4);
    daemon.wait_for_log("policy: there is no user \"alp-nobody\" on this host");
    let list = format!("http://{}{LIST}", daemon.address());
    for (uid, role) in [(52_901, "ann"), (52_902, "staff"), (52_903, "prime")] {
        assert_eq!(ask(uid, &list), ("200".to_owned(), role.to_owned()));
    }
    let (status, body) = ask(52_904, &list);
    assert!(status == "404" && body.contains("404 - Not Found"), "{status} {body}");
    daemon.wait_for_log("denied: user 52904 at 127.0.0.1:");
}

#[test]
fn a_denied_user_finds_what_an_instance_without_a_role_has_and_the_log_says_so_once() {
    if !possible("callers: denials") {
        return;
    }
    let ims = with_roles(&names(&["secret"]));
    let config =
        format!("{}policy:\n  rules:\n  - {{name: admins, match: {{user: 0}}, everything: true}}\n", ims.config());
    let daemon = Daemon::start(&config);
    keys(&ims, &daemon, 1);
    let empty = with_roles(&[]);
    let bare = Daemon::start(&empty.config());
    bare.wait_for_log("no role");
    for path in ["/latest/meta-data/", "/latest/meta-data/iam/", LIST, &format!("{LIST}secret"), &format!("{LIST}x")] {
        let denied = ask(FIRST_UID, &format!("http://{}{path}", daemon.address()));
        assert_eq!(denied, ask(FIRST_UID, &format!("http://{}{path}", bare.address())), "{path}");
    }
    assert_eq!(daemon.get(&format!("{LIST}secret")).status, 200);
    let denials = || daemon.log().lines().filter(|line| line.contains("denied: user 52000")).count();
    daemon.wait_for_log("denied: user 52000 at 127.0.0.1:");
    assert_eq!(denials(), 1, "{}", daemon.log());
}

#[test]
fn a_token_of_one_user_is_of_no_use_to_another() {
    if !possible("callers: tokens") {
        return;
    }
    let ims = with_roles(&names(&["a"]));
    let daemon = Daemon::with_credentials(&format!("{}imds_v1: false\n{FOR_EVERYONE}", ims.config()));
    let mine = token(&daemon, FIRST_UID);
    let statuses = [FIRST_UID, FIRST_UID + 1, 0].map(|uid| status_with(&daemon, uid, &mine));
    assert_eq!(statuses, ["200", "401", "401"]);
}

#[test]
fn without_a_policy_a_token_is_good_for_every_user_as_on_ec2() {
    if !possible("callers: tokens without a policy") {
        return;
    }
    let ims = with_roles(&names(&["a"]));
    let daemon = Daemon::with_credentials(&format!("{}imds_v1: false\n", ims.config()));
    let token = token(&daemon, FIRST_UID);
    assert_eq!([FIRST_UID, FIRST_UID + 1, 0].map(|uid| status_with(&daemon, uid, &token)), ["200"; 3]);
}

/// A policy that denies nothing to anybody.
const FOR_EVERYONE: &str = "policy: {rules: [{match: {user: [0, 52000, 52001]}, everything: true}]}\n";

/// An IMDS token of a user.
fn token(daemon: &Daemon, uid: u32) -> String {
    let mut command = curl(uid, &[format!("http://{}/latest/api/token", daemon.address())]);
    command.args(["-X", "PUT", "-H", "X-aws-ec2-metadata-token-ttl-seconds: 60"]);
    let output = command.output().expect("curl runs");
    String::from_utf8_lossy(&output.stdout).lines().next().expect("a token").to_owned()
}

/// The status of the listing for a user who shows a token.
fn status_with(daemon: &Daemon, uid: u32, token: &str) -> String {
    let mut command = curl(uid, &[format!("http://{}{LIST}", daemon.address())]);
    let output = command.args(["-H", &format!("X-aws-ec2-metadata-token: {token}")]).output().expect("curl runs");
    String::from_utf8_lossy(&output.stdout).trim_end().lines().last().expect("a status").to_owned()
}

#[test]
fn in_a_user_namespace_that_does_not_know_all_users_none_of_those_gets_a_role() {
    const WHAT: &str = "callers: user namespace";
    if !possible(WHAT) || !needs(WHAT, "unshare") {
        return;
    }
    let ims = with_roles(&names(&["a"]));
    // As the kernel shows all users that are not mapped.
    let config = format!("{}policy:\n  rules:\n  - {{match: {{user: [0, 65534]}}, role: a}}\n", ims.config());
    let through = |program: &str| {
        let mut command = Command::new("unshare");
        command.args(["--user", "--map-root-user", program]);
        command
    };
    let daemon = Daemon::start_through(&config, through, || {});
    daemon.wait_for_log("cannot distinguish users");
    keys(&ims, &daemon, 1);
    let list = format!("http://{}{LIST}", daemon.address());
    assert_eq!(ask(0, &list), ("200".to_owned(), "a".to_owned()), "root is mapped");
    for uid in [FIRST_UID, FIRST_UID + 1, 65_534] {
        assert_eq!(ask(uid, &list).0, "503", "user {uid}");
    }
}

#[test]
fn ipv6_and_ipv4_in_ipv6_are_callers_like_all() {
    if !possible("callers: IPv6") {
        return;
    }
    let ims = with_roles(&names(&["mine", "other"]));
    let config = format!(
        "{}listen: ['127.0.0.1:0', '[::1]:0']\npolicy:\n  rules:\n  - {{match: {{user: {FIRST_UID}}}, role: mine}}\n  \
         - {{match: {{address: ['::1', 127.0.0.1]}}, role: other}}\n",
        ims.config()
    );
    let daemon = Daemon::start(&config);
    keys(&ims, &daemon, 2);
    let port = daemon.addresses[0].port();
    for host in [daemon.addresses[0].to_string(), daemon.addresses[1].to_string(), format!("[::ffff:127.0.0.1]:{port}")]
    {
        let list = format!("http://{host}{LIST}");
        assert_eq!(ask(FIRST_UID, &list).1, "mine", "{host}");
        assert_eq!(ask(FIRST_UID + 1, &list).1, "other", "{host}");
    }
}

#[test]
fn a_client_that_is_gone_is_nobody_even_if_its_port_is_anothers_now() {
    let ims = with_roles(&names(&["root"]));
    let audit = TempDir::new().expect("a directory");
    let file = audit.path().join("audit.log");
    let uid = rustix::process::getuid().as_raw();
    let config = format!(
        "{}audit_log: {}\npolicy:\n  rules:\n  - {{match: {{user: [{uid}, 0]}}, role: root}}\n",
        ims.config(),
        file.display()
    );
    let mut daemon = Daemon::start(&config);
    keys(&ims, &daemon, 1);
    let address = daemon.address();
    assert_eq!(get(address, LIST).body, "root");
    for _ in 0..200 {
        let mut client = TcpStream::connect(address).expect("it listens");
        write!(client, "GET {LIST}root HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").expect("it reads");
        let own = client.local_addr().expect("bound");
        // Closed at once: by the time it is accepted, its socket may be nobody's, which the kernel calls root's.
        drop(client);
        // Somebody takes the port, if the kernel lets him.
        let _taken = TcpListener::bind(own);
    }
    assert_eq!(get(address, LIST).body, "root");
    let denied = daemon.metric("alppaca_denials_total{reason=\"unidentified\"}");
    assert!(denied >= 100, "{denied}");
    daemon.stop();
    let records = records(&file);
    for record in &records {
        // Whoever got something was known by a socket that somebody held.
        let known = record["origin"] == "process" && record["uid"] == uid;
        assert!(known || (record["event"] == "denial" && record["origin"] == "unknown"), "{record}");
    }
}

fn records(file: &Path) -> Vec<serde_json::Value> {
    let text = fs::read_to_string(file).expect("an audit");
    text.lines().map(|line| serde_json::from_str(line).expect("JSON")).collect()
}

#[test]
fn each_hand_out_and_each_denial_is_recorded_without_a_secret() {
    let ims = with_roles(&names(&["mine", "other"]));
    let audit = TempDir::new().expect("a directory");
    let (file, socket) = (audit.path().join("audit.log"), audit.path().join("admin.sock"));
    let uid = rustix::process::getuid().as_raw();
    let config = format!(
        "{}audit_log: {}\nadmin_socket: {}\npolicy:\n  rules:\n  - {{name: tests, match: {{user: {uid}}}, role: mine}}\n",
        ims.config(),
        file.display(),
        socket.display()
    );
    let mut daemon = Daemon::start(&config);
    let issued = keys(&ims, &daemon, 2);
    let head = |method: &str, path: &str| {
        format!("{method} {LIST}{path} HTTP/1.1\r\nHost: 127.0.0.1\r\nUser-Agent: test \"agent\"\r\n")
    };
    // Held open, so that it can be found who holds it.
    let mut stream = connect(daemon.address());
    write!(stream, "{}\r\n", head("GET", "mine")).expect("it reads");
    let answer = read_one(&mut stream);
    assert_eq!(answer.status, 200);
    for (method, path) in [("HEAD", "mine"), ("GET", ""), ("GET", "other")] {
        request(daemon.address(), &head(method, path));
    }
    for path in ["mine", "other"] {
        let mut stream = UnixStream::connect(&socket).expect("it listens");
        write!(stream, "GET /v1/credentials/{path} HTTP/1.1\r\nHost: x\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        assert_eq!(answer.contains("SecretAccessKey"), path == "mine", "{answer}");
    }
    daemon.stop();
    drop(stream);
    let records = records(&file);
    let told: Vec<_> = records.iter().map(|record| (record["event"].as_str(), record["face"].as_str())).collect();
    let expected = [("hand-out", "imds"), ("denial", "imds"), ("hand-out", "admin"), ("denial", "admin")];
    assert_eq!(told, expected.map(|(event, face)| (Some(event), Some(face))), "{records:?}");
    assert_eq!(records[2]["pid"], std::process::id());
    let (out, denial) = (&records[0], &records[1]);
    let key = answer.json()["AccessKeyId"].clone();
    assert_eq!(issued[key.as_str().expect("text")], "mine");
    for (name, value) in [
        ("event", "hand-out".into()),
        ("role", "mine".into()),
        ("access_key_id", key),
        ("expiration", answer.json()["Expiration"].clone()),
        ("reason", "rule 1 (tests)".into()),
        ("uid", uid.into()),
        ("pid", std::process::id().into()),
        ("face", "imds".into()),
        ("version", "v1".into()),
        ("user_agent", "test \"agent\"".into()),
    ] {
        assert_eq!(out[name], value, "{name}: {out}");
    }
    assert_eq!((&denial["event"], &denial["path"]), (&"denial".into(), &format!("{LIST}other").into()));
    let text = fs::read_to_string(&file).expect("text");
    for set in ims.handle.issued() {
        assert!(!text.contains(&set.secret_access_key) && !text.contains(&set.session_token));
    }
}

#[test]
fn explain_tells_which_rule_and_why() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    let text = "ims_host: x\npolicy:\n  rules:\n  - {match: {user: daemon}, role: a}\n  \
                - {name: web, match: {label: {team: web}}, role: b}\n  - {match: {address: 10.0.0.0/8}, deny: true}\n";
    fs::write(&file, text).expect("a file");
    let explain = |arguments: &[&str]| {
        let output = Command::new(env!("CARGO_BIN_EXE_alppaca"))
            .args(["policy", "explain", "-c"])
            .arg(&file)
            .args(arguments)
            .output()
            .expect("it runs");
        (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
    };
    let (code, said) = explain(&["--user", "daemon"]);
    assert!(
        code == Some(0) && said.starts_with("caller: user daemon (1), groups 1\n> rule 1: applies and gives a"),
        "{said}"
    );
    let (_, said) = explain(&["--container", "c", "--label", "team=web", "--address", "10.0.0.7"]);
    assert!(
        said.contains("rule 1: does not apply (it is not: user daemon)\n> rule 2 (web): applies and gives b"),
        "{said}"
    );
    let (_, said) = explain(&["--address", "10.0.0.7"]);
    assert!(
        said.ends_with(
            "? rule 2 (web): gives b, if this holds: label team: web\n> otherwise: rule 3: applies and gives nothing\n"
        ),
        "{said}"
    );
    let (_, said) = explain(&["--pid", &std::process::id().to_string()]);
    assert!(said.contains("cgroup /"), "{said}");
    assert_eq!(explain(&["--user", "no-such-user"]).0, Some(2));
    // A daemon that goes by another policy.
    let socket = directory.path().join("admin.sock");
    let ims = with_roles(&names(&["a"]));
    let policy = "policy:\n  rules:\n  - {role: a}\n";
    let daemon = Daemon::start(&format!("{}admin_socket: {}\n{policy}", ims.config(), socket.display()));
    for (rules, differs) in [(text.split_once('\n').expect("lines").1, true), (policy, false)] {
        fs::write(&file, format!("ims_host: x\nadmin_socket: {}\n{rules}", socket.display())).expect("a file");
        let (_, said) = explain(&["--user", "daemon"]);
        let note = format!("note: the running daemon (process {}) uses another policy", daemon.pid());
        assert_eq!(said.contains(&note), differs, "{said}");
    }
    assert_eq!(explain(&[]).0, Some(2));
}

#[test]
fn the_control_group_of_a_client_decides_where_the_kernel_tells_it() {
    const WHAT: &str = "callers: cgroup v2";
    if !possible(WHAT) {
        return;
    }
    let Some(slice) = Slice::new(WHAT) else { return };
    let unit = slice.group("web@1.service");
    let ims = with_roles(&names(&["web", "base"]));
    let config = format!(
        "{}policy:\n  rules:\n  - {{match: {{unit: 'web@*.service', slice: alptest*.slice}}, role: web}}\n",
        ims.config()
    );
    let daemon = Daemon::start(&config);
    keys(&ims, &daemon, 2);
    let list = format!("http://{}{LIST}", daemon.address());
    let output = command_in(&unit, "curl").args(["-sS", &list]).output().expect("a shell");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if said.contains("503") && fs::read_to_string("/proc/self/cgroup").expect("cgroups").contains("net_") {
        cannot(WHAT, "net_cls or net_prio is in use");
        return;
    }
    assert_eq!(said, "web", "{} {}", String::from_utf8_lossy(&output.stderr), daemon.log());
    // In the root nothing is certain.
    let (status, _) = ask(0, &list);
    assert_eq!(status, "503");
    daemon.wait_for_log("it cannot be determined whether this holds: unit web@*.service");
}

/// A network namespace with a default route; gone when dropped.
struct Namespace {
    name: String,
}

impl Namespace {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let name = format!("alpc{}n{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let namespace = Self { name };
        let name = &namespace.name;
        let script = format!(
            "ip netns add {name} && ip -n {name} link set lo up && \
             ip -n {name} link add veth0 type veth peer name veth1 && ip -n {name} address add 192.0.2.1/24 dev veth0 && \
             ip -n {name} address add fd00:1::1/64 dev veth0 nodad && ip -n {name} link set veth0 up && \
             ip -n {name} link set veth1 up && ip -n {name} route add default via 192.0.2.2"
        );
        let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        namespace
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    fn shell(&self, script: &str) -> String {
        let output = self.command("sh").args(["-c", script]).output().expect("it runs");
        assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// A mock IMS and the daemon, both in the namespace.
fn daemon_in(namespace: &Namespace, config: &str) -> (Child, Daemon) {
    let mut mock = namespace.command(env!("CARGO_BIN_EXE_alppaca"));
    mock.args(["mock-ims", "--role", "one", "--role", "two"]);
    let mut mock = mock.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let said = mock.stdout.take().expect("piped");
    let mut lines = std::io::BufRead::lines(std::io::BufReader::new(said)).map_while(Result::ok);
    assert!(lines.any(|line| line.contains("mock IMS at")));
    std::thread::spawn(move || lines.for_each(drop));
    let config = format!(
        "ims_protocol: http\nims_host: 127.0.0.1\n{config}user: nobody\ngroup: nogroup\npolicy:\n  rules:\n  \
         - {{match: {{user: {FIRST_UID}}}, role: one}}\n  - {{match: {{user: {}}}, role: two}}\n",
        FIRST_UID + 1
    );
    let daemon = Daemon::start_through(&config, |program| namespace.command(program), || {});
    daemon.wait_for_log(" fetched ");
    (Child(mock), daemon)
}

struct Child(std::process::Child);

impl Drop for Child {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

/// What a user gets at `host` inside the namespace.
fn ask_in(namespace: &Namespace, uid: u32, host: &str) -> String {
    namespace.shell(&format!("setpriv --reuid {uid} --regid {uid} --clear-groups curl -sS -m 10 http://{host}{LIST}"))
}

#[test]
fn behind_the_redirections_of_a_firewall_each_user_is_known() {
    const WHAT: &str = "callers: redirection";
    if !possible(WHAT) || !["ip", "iptables", "ip6tables", "nft", "setpriv"].iter().all(|program| needs(WHAT, program))
    {
        return;
    }
    let namespace = Namespace::new();
    // The rule of the 2015 tool's README, and the same for IPv6.
    namespace.shell(
        "iptables -t nat -A OUTPUT -d 169.254.169.254/32 -p tcp -m addrtype --src-type LOCAL -j DNAT --to-destination 127.0.0.1:25772",
    );
    namespace.shell(
        "ip -6 route add fd00:ec2::254/128 dev veth0 && ip6tables -t nat -A OUTPUT -d fd00:ec2::254/128 -p tcp --dport 80 \
         -j DNAT --to-destination [fd00:1::1]:25772",
    );
    let (_mock, daemon) = daemon_in(&namespace, "listen: ['127.0.0.1:25772', '[fd00:1::1]:25772']\n");
    for host in ["169.254.169.254", "127.0.0.1:25772", "[fd00:ec2::254]", "[fd00:1::1]:25772"] {
        assert_eq!(ask_in(&namespace, FIRST_UID, host), "one", "{host}");
        assert_eq!(ask_in(&namespace, FIRST_UID + 1, host), "two", "{host}");
        assert!(ask_in(&namespace, FIRST_UID + 2, host).contains("404"), "{host}");
    }
    // Other connections come to that port as well, which weakens the policy.
    daemon.wait_for_log("a firewall rule redirects 169.254.169.254:80 to 127.0.0.1:25772");
    let alppaca = |arguments: &[&str]| {
        let output = namespace.command(env!("CARGO_BIN_EXE_alppaca")).args(arguments).output().expect("it runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let (socket, config) = (daemon.socket(), daemon.directory.path().join("alppaca.yaml"));
    let [socket, config] = [&socket, &config].map(|path| path.to_str().expect("text"));
    for said in [alppaca(&["check", "-c", config]), alppaca(&["doctor", "--socket", socket])] {
        for rule in
            ["iptables -t nat -A OUTPUT -d 169.254.169.254/32", "ip6tables -t nat -A OUTPUT -d fd00:ec2::254/128"]
        {
            assert!(said.contains(&format!("there is a policy, and a firewall rule `{rule}")), "{said}");
        }
    }
    namespace.shell("iptables -t nat -F OUTPUT && ip6tables -t nat -F OUTPUT");
    assert!(!alppaca(&["check", "-c", config]).contains("firewall"));
}

#[test]
fn a_redirection_by_nftables_is_warned_of_as_well() {
    const WHAT: &str = "callers: redirection by nftables";
    if !possible(WHAT) || !["ip", "nft", "setpriv"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let namespace = Namespace::new();
    namespace.shell(
        "ip -6 route add fd00:ec2::254/128 dev veth0 && nft 'table inet mine { chain output { type nat hook output priority -100;
         ip daddr 169.254.169.254 tcp dport 80 dnat ip to 127.0.0.1:25772
         ip6 daddr fd00:ec2::254 tcp dport 80 redirect to :25772
         }; }'",
    );
    let (_mock, daemon) = daemon_in(&namespace, "listen: ['127.0.0.1:25772', '[::1]:25772']\n");
    for host in ["[fd00:ec2::254]", "169.254.169.254"] {
        assert_eq!(ask_in(&namespace, FIRST_UID, host), "one", "{host}");
    }
    daemon.wait_for_log("a firewall rule redirects [fd00:ec2::254]:80 to [::1]:25772");
    let alppaca = |arguments: &[&str]| {
        let output = namespace.command(env!("CARGO_BIN_EXE_alppaca")).args(arguments).output().expect("it runs");
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    let (socket, config) = (daemon.socket(), daemon.directory.path().join("alppaca.yaml"));
    let [socket, config] = [&socket, &config].map(|path| path.to_str().expect("text"));
    let commands: [&[&str]; 2] = [&["check", "-c", config], &["doctor", "--socket", socket]];
    for command in commands {
        let said = alppaca(command);
        for rule in ["ip daddr 169.254.169.254 tcp dport 80 dnat", "ip6 daddr fd00:ec2::254 tcp dport 80 redirect to"] {
            let of_rule =
                |line: &str| line.contains("a firewall rule `nft rule inet mine output") && line.contains(rule);
            assert!(said.lines().any(of_rule), "{command:?}: {said}");
        }
    }
    // To where nobody but the capture connects: another rule sees to that.
    namespace.shell(
        "nft 'flush chain inet mine output; table inet mine { chain direct { type filter hook output priority 0;
         tcp dport 25772 ct status dnat accept
         tcp dport 25772 reject with tcp reset
         }; }' && nft add rule inet mine output ip daddr 169.254.169.254 tcp dport 80 dnat ip to 127.0.0.1:25772",
    );
    for command in commands {
        let said = alppaca(command);
        assert!(!said.contains("firewall rule"), "{command:?}: {said}");
    }
}

#[test]
fn at_the_captured_address_each_user_is_known() {
    const WHAT: &str = "callers: captured address";
    if !possible(WHAT) || !["ip", "setpriv"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let namespace = Namespace::new();
    let output = namespace.command(env!("CARGO_BIN_EXE_alppaca")).args(["capture", "apply"]).output().expect("it runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_mock, _daemon) = daemon_in(&namespace, "listen: ['169.254.169.254:80']\n");
    assert_eq!(ask_in(&namespace, FIRST_UID, "169.254.169.254"), "one");
    assert_eq!(ask_in(&namespace, FIRST_UID + 1, "169.254.169.254"), "two");
    assert!(ask_in(&namespace, 0, "169.254.169.254").contains("404"));
}

#[test]
fn somebody_in_another_network_namespace_is_no_user_of_this_host() {
    const WHAT: &str = "callers: another namespace";
    if !possible(WHAT) || !["ip", "setpriv"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let (host, guest) = (Namespace::new(), Namespace::new());
    let (inside, outside) = (&guest.name, &host.name);
    let script = format!(
        "ip -n {outside} link add br0 type veth peer name guest0 netns {inside} && \
         ip -n {outside} address add 198.51.100.1/24 dev br0 && ip -n {outside} link set br0 up && \
         ip -n {inside} address add 198.51.100.2/24 dev guest0 && ip -n {inside} link set guest0 up"
    );
    let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let (_mock, daemon) = daemon_in(&host, "listen: ['198.51.100.1:8080']\n");
    assert_eq!(ask_in(&host, FIRST_UID, "198.51.100.1:8080"), "one");
    // The same number there is another user.
    assert!(ask_in(&guest, FIRST_UID, "198.51.100.1:8080").contains("404"));
    daemon.wait_for_log("denied: a remote client at 198.51.100.2:");
}
