//! What users get: by user, group, address and control group.

use std::{
    fs,
    io::Write,
    net::{TcpListener, TcpStream},
    process::Command,
};

use tempfile::TempDir;

use crate::{
    FIRST_UID, LIST, ask, curl, keys, names, possible, records,
    support::{
        Daemon, cannot,
        cgroups::{Slice, command_in},
        get, needs,
    },
    with_roles,
};

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
