//! Capturing 169.254.169.254 for real, in network namespaces of the test's own.

mod attack;
mod laptop;
#[path = "../support/mod.rs"]
mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    process::{Child, Command, Output, Stdio},
    sync::{
        atomic::{AtomicU32, Ordering},
        mpsc,
    },
    time::Duration,
};

use support::{needs, needs_root};
use tempfile::TempDir;

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");
/// The rule of the 2015 tool's README, to the letter.
const OLD_RULE: &str = "iptables -t nat -A OUTPUT -d 169.254.169.254/32 -p tcp -m addrtype --src-type LOCAL \
                        -j DNAT --to-destination 127.0.0.1:25772";

/// A network namespace with a default route, as a host has one; gone when dropped.
struct Namespace {
    name: String,
    children: Vec<Child>,
    directory: TempDir,
    /// What the daemon logs from when it is ready.
    log: Option<mpsc::Receiver<String>>,
}

impl Namespace {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("alp{}n{number}", std::process::id());
        let namespace = Self { name, children: Vec::new(), directory: TempDir::new().expect("a directory"), log: None };
        let name = &namespace.name;
        shell(&format!(
            "ip netns add {name} && ip -n {name} link set lo up && \
             ip -n {name} link add veth0 type veth peer name veth1 && \
             ip -n {name} address add 192.0.2.1/24 dev veth0 && ip -n {name} link set veth0 up && \
             ip -n {name} link set veth1 up && ip -n {name} route add default via 192.0.2.2"
        ));
        // iptables itself leaves an empty table behind after its first rule.
        for chain in ["nat -A OUTPUT", "filter -A OUTPUT"] {
            namespace.shell(&format!(
                "iptables -t {chain} -j ACCEPT && iptables -t {} -j ACCEPT",
                chain.replace("-A", "-D")
            ));
        }
        namespace
    }

    fn command(&self, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.name, program]);
        command
    }

    /// Runs `alppaca` inside; its exit code and all that it said.
    fn alppaca(&self, arguments: &str) -> (Option<i32>, String) {
        let output = self.command(ALPPACA).args(arguments.split(' ')).output().expect("it runs");
        (output.status.code(), text(&output))
    }

    fn shell(&self, script: &str) -> String {
        let output = self.command("sh").args(["-c", script]).output().expect("it runs");
        assert!(output.status.success(), "{script}: {}", text(&output));
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    fn start(&mut self, mut command: Command, until: &str, stderr: bool) {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("it starts");
        let pipe: Box<dyn std::io::Read + Send> = if stderr {
            Box::new(child.stderr.take().expect("piped"))
        } else {
            Box::new(child.stdout.take().expect("piped"))
        };
        self.children.push(child);
        let mut lines = BufReader::new(pipe).lines().map_while(Result::ok);
        assert!(lines.any(|line| line.contains(until)), "it never said {until:?}");
        let (tell, told) = mpsc::channel();
        self.log = Some(told);
        // Keeps reading, so that it can keep writing, whoever listens.
        std::thread::spawn(move || lines.for_each(|line| drop(tell.send(line))));
    }

    /// Waits for the next line of the daemon's log with this text.
    fn wait_for_log(&self, text: &str) {
        let log = self.log.as_ref().expect("a daemon runs");
        let next = || log.recv_timeout(Duration::from_mins(1)).unwrap_or_else(|_| panic!("never: {text}"));
        while !next().contains(text) {}
    }

    /// The mock and the daemon, listening on `listen`.
    fn start_daemon(&mut self, listen: &str) -> u32 {
        let mut mock = self.command(ALPPACA);
        mock.arg("mock-ims");
        self.start(mock, "mock IMS at", false);
        let config = self.directory.path().join("alppaca.yaml");
        let text = format!(
            "ims_protocol: http\nims_host: 127.0.0.1\n{listen}log_level: info\n\
             logging_handler: {{module: logging, class: StreamHandler}}\n"
        );
        fs::write(&config, text).expect("a file");
        let mut daemon = self.command(ALPPACA);
        daemon.arg("run").arg("-c").arg(config);
        self.start(daemon, " fetched ", true);
        self.children.last().expect("started").id()
    }

    /// What iptables, nft and ip show, without counters.
    fn state(&self) -> String {
        let script =
            "nft -s list ruleset; ip -o -4 address show | sed 's/ valid_lft.*//'; ip -o link show | cut -d: -f2";
        self.shell(script)
    }

    /// What a program gets at the address, by both versions.
    fn roles(&self) -> [String; 2] {
        let list = "http://169.254.169.254/latest/meta-data/iam/security-credentials/";
        let token = "curl -sS -m 5 -X PUT http://169.254.169.254/latest/api/token -H 'X-aws-ec2-metadata-token-ttl-seconds: 60'";
        [
            self.shell(&format!("curl -sS -m 5 {list}")),
            self.shell(&format!("curl -sS -m 5 -H \"X-aws-ec2-metadata-token: $({token})\" {list}")),
        ]
    }
}

impl Drop for Namespace {
    fn drop(&mut self) {
        for child in &mut self.children {
            // It may have ended already.
            let _gone = child.kill();
            let _status = child.wait();
        }
        let _gone = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&[output.stdout.clone(), output.stderr.clone()].concat()).into_owned()
}

fn shell(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", text(&output));
}

fn possible(what: &str) -> bool {
    needs_root(what) && ["ip", "iptables", "nft", "curl"].iter().all(|program| needs(what, program))
}

/// Capture with `arguments`, and everything that is promised of it.
fn prove(arguments: &str, listen: &str) {
    let mut namespace = Namespace::new();
    let before = namespace.state();
    let capture = |action: &str| format!("capture {action} {arguments}");

    let (code, said) = namespace.alppaca(&capture("apply"));
    assert_eq!(code, Some(0), "{said}");
    let applied = namespace.state();
    assert_ne!(applied, before);
    assert_eq!(namespace.alppaca(&capture("apply")).0, Some(0));
    assert_eq!(namespace.state(), applied, "twice is once");
    let (code, said) = namespace.alppaca(&capture("check"));
    assert!(code == Some(1) && said.contains("captured: ") && said.contains("no answer (connection refused"), "{said}");
    assert!(!said.contains("packets leave by"), "{said}");

    if arguments.contains("dnat") {
        // Whatever the mode is that `check` is called with.
        let (_, said) = namespace.alppaca("capture check");
        assert!(said.contains(" redirects 169.254.169.254 to 127.0.0.1:25774\n"), "{said}");
    }

    let pid = namespace.start_daemon(listen);
    assert_eq!(namespace.roles(), ["test_role", "test_role"]);
    let (code, said) = namespace.alppaca(&capture("check"));
    assert!(code == Some(0) && said.contains(&format!("alppaca answers (process {pid})")), "{said}");

    let (code, said) = namespace.alppaca(&capture("remove"));
    assert_eq!(code, Some(0), "{said}");
    assert_eq!(namespace.state(), before, "nothing is left");
    let (code, said) = namespace.alppaca(&capture("remove"));
    assert!(code == Some(0) && said.contains("nothing to remove"), "{said}");
}

#[test]
fn the_address_on_a_link_reaches_the_daemon_on_port_80() {
    if possible("capture: address") {
        prove("--mode address", "listen: ['169.254.169.254:80']\n");
    }
}

#[test]
fn nftables_redirects_to_the_daemon() {
    if possible("capture: nft") {
        prove("--mode dnat --tool nft", "");
    }
}

#[test]
fn iptables_redirects_to_the_daemon() {
    if possible("capture: iptables") {
        prove("--mode dnat --tool iptables", "");
    }
}

#[test]
fn a_redirection_to_a_port_that_every_user_may_take_is_warned_of() {
    if !possible("capture: a port of everybody's") {
        return;
    }
    let mut namespace = Namespace::new();
    let apply = |namespace: &Namespace, to: &str| namespace.alppaca(&format!("capture apply --mode dnat --to {to}"));
    let (code, said) = apply(&namespace, "127.0.0.1:25772");
    assert_eq!(code, Some(0), "{said}");
    let warning =
        "every user can listen on 127.0.0.1:25772 and give programs other credentials (no socket listens there)";
    assert!(said.contains(warning) && said.contains("enable --now alppaca.socket"), "{said}");
    let (code, said) = apply(&namespace, "127.0.0.1:80");
    assert!(code == Some(0) && !said.contains("warning"), "{said}");
    // Root's socket, but not systemd's.
    namespace.start_daemon("listen: ['127.0.0.1:25772']\n");
    let (code, said) = apply(&namespace, "127.0.0.1:25772");
    let warning = "every user can listen on 127.0.0.1:25772 and give programs other credentials (uid 0, process ";
    assert!(code == Some(0) && said.contains(warning) && said.contains("/alppaca\" listens there)"), "{said}");
}

#[test]
fn a_redirection_without_a_route_is_warned_of() {
    if !possible("capture: no route") {
        return;
    }
    for tool in ["nft", "iptables"] {
        let namespace = Namespace::new();
        let apply = |warned: bool, after: &str| {
            let (code, said) = namespace.alppaca(&format!("capture apply --mode dnat --tool {tool}"));
            let warning = "warning: no route leads to 169.254.169.254, and without one nothing is redirected: use --mode \
                           address, or add a default route\n";
            assert!(code == Some(0) && said.contains(warning) == warned, "{tool}, {after}: {said}");
        };
        apply(false, "a default route");
        for (script, warned) in [
            ("ip route delete default", true),
            ("ip route add blackhole 169.254.169.254", true),
            ("ip route delete blackhole 169.254.169.254 && ip route add default via 192.0.2.2", false),
            // Then the address is one of this host's.
            ("ip route delete default && ip address add 169.254.169.254/32 dev lo", false),
        ] {
            namespace.shell(script);
            apply(warned, script);
        }
    }
}

#[test]
fn what_is_left_of_the_other_mode_is_told() {
    if !possible("capture: the other mode") {
        return;
    }
    let remove_dnat = "`sudo alppaca capture remove --mode dnat`";
    for (applied, removed, left, remedy) in [
        ("--mode dnat --tool nft", "", "nftables still redirects 169.254.169.254: ", remove_dnat),
        ("--mode dnat --tool iptables", "", "iptables still redirects 169.254.169.254: ", remove_dnat),
        ("--link lo", " --mode dnat", "169.254.169.254 is still on the link lo: ", "`sudo alppaca capture remove`"),
    ] {
        let namespace = Namespace::new();
        let before = namespace.state();
        assert_eq!(namespace.alppaca(&format!("capture apply {applied}")).0, Some(0));
        let remove = format!("capture remove{removed}");
        let (code, said) = namespace.alppaca(&remove);
        let told = format!("there was nothing to remove\n{left}{remedy}\n");
        assert!(code == Some(0) && said.contains(&told), "{applied}: {said}");
        // What it says to do leaves nothing, and then there is nothing to say.
        let (_, said) = namespace.alppaca(remedy.trim_matches('`').trim_start_matches("sudo alppaca "));
        assert!(said.contains("removed: ") && !said.contains("still"), "{applied}: {said}");
        assert_eq!(namespace.state(), before, "{applied}");
        let (_, said) = namespace.alppaca(&remove);
        assert!(said.contains("nothing to remove") && !said.contains("still"), "{applied}: {said}");
    }
}

/// A container as far as the network goes: a namespace behind the bridge `docker0` of the host's. Gone when dropped.
struct Guest {
    name: String,
}

impl Guest {
    fn behind(host: &Namespace) -> Self {
        let (host, name) = (&host.name, format!("{}c", host.name));
        shell(&format!(
            "ip netns add {name} && ip -n {name} link set lo up && \
             ip -n {host} link add docker0 type bridge && ip -n {host} address add 172.31.0.1/24 dev docker0 && \
             ip -n {host} link set docker0 up && \
             ip -n {host} link add vethc type veth peer name eth0 netns {name} && \
             ip -n {host} link set vethc master docker0 up && \
             ip -n {name} address add 172.31.0.2/24 dev eth0 && ip -n {name} link set eth0 up && \
             ip -n {name} route add default via 172.31.0.1"
        ));
        Self { name }
    }

    /// The roles that are listed for it at this place; empty if it is not answered within a second.
    fn roles(&self, place: &str) -> String {
        let url = format!("http://{place}/latest/meta-data/iam/security-credentials/");
        let mut curl = Command::new("ip");
        curl.args(["netns", "exec", &self.name, "curl", "-s", "-m", "1", &url]);
        String::from_utf8_lossy(&curl.output().expect("it runs").stdout).into_owned()
    }
}

impl Drop for Guest {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "delete", &self.name]).status();
    }
}

/// Containers reach the daemon at the address, and nothing else of it.
fn prove_for_containers(arguments: &str, listen: &str) {
    let mut host = Namespace::new();
    host.shell("iptables -I INPUT -j ACCEPT && iptables -D INPUT -j ACCEPT");
    host.shell("iptables -t nat -I PREROUTING -j ACCEPT && iptables -t nat -D PREROUTING -j ACCEPT");
    let guest = Guest::behind(&host);
    let before = host.state();
    let capture = |action: &str| format!("capture {action} {arguments}");

    let (code, said) = host.alppaca(&capture("apply"));
    assert_eq!(code, Some(0), "{said}");
    let applied = host.state();
    assert_eq!(host.alppaca(&capture("apply")).0, Some(0));
    assert_eq!(host.state(), applied, "twice is once");
    assert!(applied.contains("docker0") && host.alppaca(&capture("check")).1.contains("for containers: "));

    host.start_daemon(listen);
    assert_eq!(guest.roles("169.254.169.254"), "test_role");
    assert_eq!(guest.roles("172.31.0.1:25772"), "", "the other listener is shut");
    let probe = "curl -s -m 1 -o /dev/null -D - -H 'X-Alppaca-Probe: 1' http://169.254.169.254/";
    let heard = Command::new("ip").args(["netns", "exec", &guest.name, "sh", "-c", probe]).output().expect("it runs");
    assert!(text(&heard).contains("X-Alppaca-Pid: 0\r\n"), "a container does not learn the number: {}", text(&heard));
    let direct =
        host.shell("curl -s http://172.31.0.1:25772/latest/meta-data/iam/security-credentials/ || echo refused");
    let redirected = arguments.contains("dnat");
    assert_eq!(direct, if redirected { "refused\n" } else { "test_role" }, "only redirected connections get there");
    assert_eq!(host.shell("cat /proc/sys/net/ipv4/conf/*/route_localnet | sort -u"), "0\n", "loopback stays loopback");

    let (code, said) = host.alppaca(&capture("remove"));
    assert!(code == Some(0) && said.contains("removed: "), "{said}");
    assert_eq!(host.state(), before, "nothing is left");
    assert_eq!(guest.roles("169.254.169.254"), "", "and nothing is answered");
}

#[test]
fn containers_reach_the_address_and_no_other_listener() {
    if !possible("capture: containers") {
        return;
    }
    for tool in ["nft", "iptables"] {
        prove_for_containers(
            &format!("--link lo --tool {tool} --bridge docker0 --bridge br-*"),
            "listen: ['169.254.169.254:80', '172.31.0.1:25772']\n",
        );
    }
}

#[test]
fn containers_are_redirected_to_an_address_that_is_not_loopback() {
    if !possible("capture: containers, dnat") {
        return;
    }
    for tool in ["nft", "iptables"] {
        prove_for_containers(
            &format!("--mode dnat --tool {tool} --all-bridges --to 172.31.0.1:25772"),
            "listen: ['172.31.0.1:25772']\n",
        );
    }
    let host = Namespace::new();
    let (code, said) = host.alppaca("capture apply --mode dnat --bridge docker0");
    assert!(code == Some(2) && said.contains("route_localnet"), "{said}");
    let (code, said) = host.alppaca("capture apply --only-bridges --bridge docker0");
    assert!(code == Some(2) && said.contains("--mode dnat"), "{said}");
    let only = "--mode dnat --tool nft --bridge docker0 --to 172.31.0.1:1 --only-bridges";
    assert_eq!(host.alppaca(&format!("capture apply {only}")).0, Some(0));
    let rules = host.state();
    assert!(rules.contains("hook prerouting") && !rules.contains("hook output priority dstnat"), "{rules}");
}

#[test]
fn an_ecs_address_can_be_on_the_same_link() {
    if !possible("capture: a further address") {
        return;
    }
    let host = Namespace::new();
    let before = host.state();
    for link in ["lo", "alppaca0"] {
        let arguments = format!("--link {link} --also 169.254.170.2 --also 169.254.170.23");
        assert_eq!(host.alppaca(&format!("capture apply {arguments}")).0, Some(0));
        let applied = host.state();
        assert_eq!(host.alppaca(&format!("capture apply {arguments}")).0, Some(0));
        assert_eq!(host.state(), applied, "twice is once");
        for address in ["169.254.169.254/32", "169.254.170.2/32", "169.254.170.23/32"] {
            assert!(applied.contains(address), "{applied}");
        }
        assert_eq!(host.alppaca(&format!("capture remove {arguments}")).0, Some(0));
        assert_eq!(host.state(), before);
    }
}

#[test]
fn the_rule_of_the_2015_readme_works_and_is_left_alone() {
    if !possible("capture: the old rule") {
        return;
    }
    let mut namespace = Namespace::new();
    namespace.shell(OLD_RULE);
    namespace.start_daemon("");
    assert_eq!(namespace.roles(), ["test_role", "test_role"]);
    let state = namespace.state();
    let (code, said) = namespace.alppaca("capture remove --mode dnat --tool iptables");
    assert!(
        code == Some(0) && said.contains("alppaca did not make it: iptables -t nat -A OUTPUT -d 169.254.169.254/32"),
        "{said}"
    );
    assert_eq!(namespace.state(), state);
}

#[test]
fn redirections_made_by_hand_are_shown_whatever_made_them() {
    if !possible("capture: by hand") {
        return;
    }
    let nft = |chain: &str, rest: &str| {
        format!("nft 'table inet mine {{ {rest}\nchain o {{ type nat hook output priority -100;\n{chain}\n}}; }}'")
    };
    let imds = "ip daddr 169.254.169.254";
    let guard = "chain direct { type filter hook output priority 0;\ntcp dport 25772 ct status dnat accept\n\
                 tcp dport 25772 drop\n}";
    // What `capture check` says of it, and whether that is a weakness.
    for (rules, shown, weak) in [
        (OLD_RULE.to_owned(), "iptables -t nat -A OUTPUT -d 169.254.169.254/32", true),
        (
            "ip6tables -t nat -A OUTPUT -d fd00:ec2::254 -p tcp -j REDIRECT --to-ports 25772".into(),
            "ip6tables -t nat",
            true,
        ),
        (
            "iptables -t nat -N IMDS && iptables -t nat -A OUTPUT -d 169.254.0.0/16 -p tcp -j IMDS && \
             iptables -t nat -A IMDS -p tcp --dport 80 -j REDIRECT --to-ports 25772"
                .into(),
            "iptables -t nat -A IMDS",
            true,
        ),
        (nft(&format!("{imds} tcp dport 80 dnat ip to 127.0.0.1:25772"), ""), "nft rule inet mine o handle", true),
        (nft(&format!("{imds} meta l4proto tcp redirect to :25772"), ""), "redirect to :25772", true),
        (nft("ip6 daddr fd00:ec2::254 tcp dport 80 dnat ip6 to [::1]:25772", ""), "dnat ip6 to [::1]:25772", true),
        (
            nft(
                "ip daddr @s tcp dport 80 redirect to :25772",
                "set s { type ipv4_addr; elements = { 169.254.169.254 }; }",
            ),
            "ip daddr @s",
            true,
        ),
        (
            nft(&format!("{imds} jump x"), "chain x {\ntcp dport 80 redirect to :25772\n}"),
            "nft rule inet mine x handle",
            true,
        ),
        (nft(&format!("{imds} tcp dport 80 redirect to :25772"), guard), "redirect to :25772", false),
        // Another server's, and none of this host's processes.
        (nft(&format!("{imds} tcp dport 80 redirect to :8000"), ""), "redirect to :8000", false),
        (nft(&format!("{imds} tcp dport 443 redirect to :25772"), ""), "", false),
        ("iptables -t nat -A PREROUTING -d 169.254.169.254 -p tcp -j REDIRECT --to-ports 25772".into(), "", false),
        // Ours.
        (format!("{ALPPACA} capture apply --mode dnat --tool nft"), "", false),
        (format!("{ALPPACA} capture apply --mode dnat --tool iptables"), "", false),
    ] {
        let namespace = Namespace::new();
        namespace.shell(&rules);
        let (_, said) = namespace.alppaca("capture check");
        let line = said.lines().find(|line| line.starts_with("redirected by a rule that alppaca did not make: "));
        assert_eq!(line.is_some(), !shown.is_empty(), "{rules}: {said}");
        let line = line.unwrap_or_default();
        assert!(line.contains(shown), "{rules}: {line}");
        assert_eq!(line.contains("under a policy, it lets other connections reach"), weak, "{rules}: {line}");
    }
}

#[test]
fn what_print_shows_does_what_apply_does() {
    if !possible("capture: print") {
        return;
    }
    for arguments in ["--mode dnat --tool nft", "--mode dnat --tool iptables", "--mode address --link lo"] {
        let (printed, applied) = (Namespace::new(), Namespace::new());
        let (code, script) = printed.alppaca(&format!("capture print {arguments}"));
        assert_eq!(code, Some(0));
        printed.shell(&script);
        assert_eq!(applied.alppaca(&format!("capture apply {arguments}")).0, Some(0));
        assert_eq!(printed.state(), applied.state(), "{script}");
    }
}

#[test]
fn another_server_at_the_address_is_told() {
    if !possible("capture: another server") || !needs("capture: another server", "python3") {
        return;
    }
    let mut namespace = Namespace::new();
    namespace.alppaca("capture apply --link lo");
    let mut other = namespace.command("/usr/bin/python3");
    other.args(["-u", "-m", "http.server", "--bind", "169.254.169.254", "80"]).current_dir(namespace.directory.path());
    namespace.start(other, "Serving HTTP", false);
    let (code, said) = namespace.alppaca("capture check");
    assert!(code == Some(1) && said.contains("another server answers (200 OK; Server: SimpleHTTP"), "{said}");
}
