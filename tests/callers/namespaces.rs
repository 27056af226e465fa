//! Users of other namespaces, and connections that a firewall redirects.

use std::{
    process::{Command, Stdio},
    sync::atomic::{AtomicU32, Ordering},
};

use crate::{
    FIRST_UID, LIST, ask, keys, names, possible,
    support::{Daemon, needs},
    with_roles,
};

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
