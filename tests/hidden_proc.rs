//! Where `/proc` hides the processes of other users from the daemon, as it does for the systemd unit
//! (`ProtectProc=invisible`): containers and units are known all the same.

mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{IpAddr, Ipv4Addr},
    os::unix::{
        fs::PermissionsExt,
        net::{UnixListener, UnixStream},
    },
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Mutex,
        atomic::{AtomicU32, Ordering},
    },
    thread,
};

use alppaca::mock_ims::Behaviour;
use support::{
    Daemon, Ims, cannot,
    cgroups::{Slice, command_in},
    needs, needs_root,
};
use tempfile::TempDir;

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const ID: &str = "0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const HOST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 1));
const GUEST: IpAddr = IpAddr::V4(Ipv4Addr::new(198, 51, 100, 2));

/// Mounts a `/proc` that shows others' processes, or does not, and goes on with the program that it is given.
const WITH_PROC: &str = "mount -t proc -o \"hidepid=$1\" proc /proc && shift && exec \"$@\"";

fn possible(what: &str) -> bool {
    needs_root(what) && ["curl", "ip", "nsenter", "unshare", "mount"].iter().all(|program| needs(what, program))
}

/// `before` and then the program, which sees only its own user's processes if they are hidden.
fn with_proc(mut before: Command, hidden: bool, program: &str) -> Command {
    let mode = if hidden { "invisible" } else { "off" };
    before.args(["unshare", "--mount", "--propagation", "private", "sh", "-c", WITH_PROC, "sh", mode, program]);
    before
}

/// Two network namespaces with a cable between them; gone when dropped.
struct Networks {
    host: String,
    guest: String,
}

impl Networks {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let [host, guest] = ["h", "g"].map(|end| format!("alph{}n{number}{end}", std::process::id()));
        let networks = Self { host, guest };
        let (host, guest) = (&networks.host, &networks.guest);
        let script = format!(
            "ip netns add {host} && ip netns add {guest} && ip -n {host} link set lo up && \
             ip -n {host} link add v0 type veth peer name v0 netns {guest} && \
             ip -n {host} address add {HOST}/24 dev v0 && ip -n {host} link set v0 up && \
             ip -n {guest} address add {GUEST}/24 dev v0 && ip -n {guest} link set v0 up"
        );
        let output = Command::new("sh").args(["-c", &script]).output().expect("a shell");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        networks
    }

    /// What is in front of a command that runs there. `ip netns exec` would hide the control groups.
    fn inside(namespace: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{namespace}"));
        command
    }
}

impl Drop for Networks {
    fn drop(&mut self) {
        for namespace in [&self.host, &self.guest] {
            let _gone = Command::new("ip").args(["netns", "delete", namespace]).status();
        }
    }
}

/// A Docker socket behind which there is one container, which never ends: no event ever comes.
struct FakeDocker {
    directory: TempDir,
    /// The first process of the container.
    pid: Arc<Mutex<u32>>,
}

impl FakeDocker {
    fn start(pid: u32) -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("our own");
        let docker = Self { directory, pid: Arc::new(Mutex::new(pid)) };
        let listener = UnixListener::bind(docker.socket()).expect("a socket");
        fs::set_permissions(docker.socket(), PermissionsExt::from_mode(0o666)).expect("our own");
        let pid = Arc::clone(&docker.pid);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let pid = Arc::clone(&pid);
                thread::spawn(move || serve(client, &pid));
            }
        });
        docker
    }

    fn socket(&self) -> PathBuf {
        self.directory.path().join("docker.sock")
    }
}

fn serve(client: UnixStream, pid: &Mutex<u32>) {
    let mut lines = BufReader::new(client.try_clone().expect("a descriptor")).lines().map_while(Result::ok);
    let mut client = client;
    while let Some(request) = lines.next() {
        assert!(lines.by_ref().any(|line| line.is_empty()), "{request}: no whole head");
        let path = request.split(' ').nth(1).expect("a path");
        let body = if path.starts_with("/events") {
            client
                .write_all(b"HTTP/1.1 200 OK\r\nServer: Docker/1 (linux)\r\nTransfer-Encoding: chunked\r\n\r\n")
                .expect("it reads");
            // Until the daemon goes.
            lines.by_ref().for_each(drop);
            return;
        } else if path == "/containers/json" {
            format!(r#"[{{"Id": "{ID}", "NetworkSettings": {{"Networks": {{"x": {{"IPAddress": "{GUEST}"}}}}}}}}]"#)
        } else {
            let pid = *pid.lock().expect("not poisoned");
            format!(
                r#"{{"Id": "{ID}", "Name": "/good", "Config": {{"Image": "box"}},
                 "State": {{"Status": "running", "Running": true, "Pid": {pid}, "StartedAt": "2026-11-24T10:00:00Z"}},
                 "NetworkSettings": {{"Networks": {{"x": {{"IPAddress": "{GUEST}"}}}}}}}}"#
            )
        };
        let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        client.write_all(format!("{head}{body}").as_bytes()).expect("it reads");
    }
}

struct Running(Child);

impl Running {
    fn end(&mut self) {
        // It may have ended already.
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.end();
    }
}

fn idle(mut command: Command) -> Running {
    Running(command.arg("1000").stdin(Stdio::null()).spawn().expect("it starts"))
}

/// A container's process, and a daemon that sees it.
struct Scene {
    daemon: Daemon,
    docker: FakeDocker,
    process: Running,
    networks: Networks,
    _slice: Slice,
    _ims: Running,
}

impl Scene {
    /// With a container whose process is in a group of that name; `None` where that cannot be.
    fn start(what: &str, hidden: bool, group: &str, setting: &str) -> Option<Self> {
        let slice = Slice::new(what)?;
        let networks = Networks::new();
        let process = idle(command_in(&slice.group(group), "sleep"));
        let docker = FakeDocker::start(process.0.id());
        let mut mock = Networks::inside(&networks.host);
        mock.arg(env!("CARGO_BIN_EXE_alppaca")).args(["mock-ims", "--role", "good-role"]);
        let mut mock = Running(mock.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts"));
        let said = BufReader::new(mock.0.stdout.take().expect("piped"));
        let mut said = said.lines().map_while(Result::ok);
        assert!(said.any(|line| line.contains("mock IMS at")));
        thread::spawn(move || said.for_each(drop));
        let config = format!(
            "ims_protocol: http\nims_host: 127.0.0.1\nlisten: ['{HOST}:8080']\nuser: nobody\ngroup: nogroup\n\
             policy: {{rules: [{{match: {{container: good}}, role: good-role}}]}}\n\
             containers: {{source: ims, sockets: '{}', default_role: 'none@111111111111', {setting}}}\n",
            docker.socket().display()
        );
        let host = networks.host.clone();
        let daemon =
            Daemon::start_through(&config, |program| with_proc(Networks::inside(&host), hidden, program), || {});
        daemon.wait_for_log(" fetched ");
        daemon.wait_for_log("containers: Docker 1 at ");
        Some(Self { daemon, docker, process, networks, _slice: slice, _ims: mock })
    }

    /// The status and the body that the container gets.
    fn ask(&self) -> (u16, String) {
        let url = format!("http://{HOST}:8080{LIST}");
        let mut command = Networks::inside(&self.networks.guest);
        let output = command.args(["curl", "-sS", "-m", "10", "-w", "\n%{http_code}", &url]).output().expect("curl");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let (body, status) = text.rsplit_once('\n').expect("a status");
        (status.parse().expect("a status"), body.to_owned())
    }

    /// The same as SDKs ask: again after 503, though not for ever.
    fn answer(&self) -> (u16, String) {
        let mut answers = (0..40).map(|_try| self.ask());
        answers.find(|(status, _)| *status != 503).unwrap_or_else(|| panic!("only 503: {}", self.daemon.log()))
    }
}

#[test]
fn a_containers_address_is_its_own_until_its_process_has_ended_whatever_proc_shows() {
    const WHAT: &str = "hidden /proc: containers";
    if !possible(WHAT) {
        return;
    }
    for hidden in [false, true] {
        // In a group of its own, and in one below that, which only the container knows of.
        for group in [format!("docker-{ID}.scope"), format!("docker-{ID}.scope/init")] {
            let Some(mut scene) = Scene::start(WHAT, hidden, &group, "") else { return };
            if hidden && !tells_groups() {
                cannot(WHAT, "the kernel shows no control group of a pidfd");
                return;
            }
            let log = || scene.daemon.log();
            assert_eq!(scene.answer(), (200, "good-role".to_owned()), "{hidden} {group}: {}", log());
            assert!(!log().contains("gets no credentials"), "{}", log());
            // There is no event of it.
            scene.process.end();
            for _ in 0..3 {
                let (status, body) = scene.ask();
                assert!(matches!(status, 404 | 503), "{hidden} {group}: {status} {body}");
            }
        }
    }
}

#[test]
fn a_container_whose_process_cannot_be_verified_gets_nothing_unless_that_is_accepted() {
    const WHAT: &str = "hidden /proc: unverified containers";
    if !possible(WHAT) {
        return;
    }
    for hidden in [false, true] {
        // Another container's process, as where the runtime counts processes in another namespace.
        let group = format!("docker-{}.scope", "f".repeat(64));
        let Some(scene) = Scene::start(WHAT, hidden, &group, "") else { return };
        let line = scene.daemon.wait_for_log("because its first process cannot be verified");
        assert!(line.contains("ERROR") && line.contains("`containers.accept_unverified: true`"), "{line}");
        for _ in 0..3 {
            assert_eq!(scene.ask().0, 503, "{}", scene.daemon.log());
        }
        // There is no such process at all.
        *scene.docker.pid.lock().expect("not poisoned") = i32::MAX.unsigned_abs();
        assert_eq!(scene.ask().0, 503);
        assert_eq!(
            scene
                .daemon
                .log()
                .matches(
                    "because its first process cannot be \
             verified"
                )
                .count(),
            1,
            "{}",
            scene.daemon.log()
        );
        let doctor = Command::new(env!("CARGO_BIN_EXE_alppaca"))
            .args(["doctor", "--socket"])
            .arg(scene.daemon.socket())
            .env("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:1")
            .output()
            .expect("it runs");
        let found = String::from_utf8_lossy(&doctor.stdout).into_owned();
        assert!(found.contains("problem  1 container(s) get no credentials"), "{found}");
        let accepted = Scene::start(WHAT, hidden, &group, "accept_unverified: true").expect("as before");
        accepted.daemon.wait_for_log("only the runtime reports the end of 0123456789ab");
        assert_eq!(accepted.answer(), (200, "good-role".to_owned()), "{}", accepted.daemon.log());
    }
}

#[test]
fn a_unit_has_its_roles_at_the_admin_socket_whatever_proc_shows() {
    const WHAT: &str = "hidden /proc: admin socket";
    if !possible(WHAT) {
        return;
    }
    let Some(slice) = Slice::new(WHAT) else { return };
    let unit = slice.group("web@1.service");
    let ims = Ims::start(Behaviour { roles: vec!["web".into()], ..Behaviour::default() });
    // Where other users can go.
    let directory = TempDir::new().expect("a directory");
    fs::set_permissions(directory.path(), PermissionsExt::from_mode(0o755)).expect("our own");
    let program = directory.path().join("alppaca");
    fs::copy(env!("CARGO_BIN_EXE_alppaca"), &program).expect("there is room");
    for hidden in [false, true] {
        let run = directory.path().join(format!("run-{hidden}"));
        let socket = run.join("alppaca.sock");
        let config = format!(
            "{}user: nobody\ngroup: nogroup\nrun_dir: {}\npolicy:\n  rules:\n  - {{match: {{unit: 'web@*.service', slice: \
             alptest*.slice}}, role: web}}\n",
            ims.config(),
            run.display()
        );
        let through = |program: &str| with_proc(Command::new("env"), hidden, program);
        let daemon = Daemon::start_through(&config, through, || {});
        daemon.wait_for_log(" fetched ");
        let credentials =
            |mut command: Command| command.arg("credentials").arg("--socket").arg(&socket).output().expect("it runs");
        let inside = credentials(command_in(&unit, env!("CARGO_BIN_EXE_alppaca")));
        let error = String::from_utf8_lossy(&inside.stderr).into_owned();
        if hidden && !tells_groups() {
            cannot(WHAT, "the kernel shows no control group of a pidfd");
            return;
        }
        assert!(inside.status.success(), "{hidden}: {error}\n{}", daemon.log());
        assert!(String::from_utf8_lossy(&inside.stdout).contains("\"AccessKeyId\""));
        // The first look of a program in another such unit, as another user, shows its role at once.
        let other = slice.group(&format!("web@{hidden}.service"));
        let mut command = command_in(&other, "setpriv");
        command.args([
            "--reuid",
            "52500",
            "--regid",
            "52500",
            "--clear-groups",
            env!("CARGO_BIN_EXE_alppaca"),
            "status",
        ]);
        let status = command.arg("--socket").arg(&socket).output().expect("it runs");
        assert!(String::from_utf8_lossy(&status.stdout).contains("\nweb "), "{hidden}: {status:?}");
        let outside = credentials(Command::new(env!("CARGO_BIN_EXE_alppaca")));
        // The unit of a process in the root of the hierarchy cannot be determined.
        assert!(matches!(outside.status.code(), Some(4 | 5)), "{hidden}: {outside:?}");
    }
}

/// Whether the kernel is new enough for `PIDFD_GET_INFO`.
fn tells_groups() -> bool {
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").expect("readable");
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0)) >= (6, 13)
}
