//! A Docker of the test's own: its data, its socket, and a network namespace in which its bridge is.
#![allow(unreachable_pub, reason = "a part of one test program")]

use std::{
    fs::{self, File},
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::Duration,
};

use tempfile::TempDir;

use crate::support::{needs, needs_root};

/// One at a time: each is several programs.
static ONE: Mutex<()> = Mutex::new(());

/// Few addresses, so that they are used again soon: three for containers.
const NETWORK: &str = "172.30.0.1/29";

/// A running Docker. All of it is gone when it is dropped.
pub struct Docker {
    dockerd: Option<Child>,
    directory: TempDir,
    namespace: String,
    _one: MutexGuard<'static, ()>,
}

/// Whether this machine can run one.
pub fn possible(what: &str) -> bool {
    let programs = ["dockerd", "docker", "busybox", "ip", "nsenter", "curl", "tar"];
    needs_root(what) && programs.iter().all(|program| needs(what, program)) && cgroups(what)
}

/// Docker cannot do without control groups that it may write to.
fn cgroups(what: &str) -> bool {
    let writable = ["/sys/fs/cgroup/devices", "/sys/fs/cgroup/cgroup.procs"]
        .iter()
        .any(|path| rustix::fs::access(*path, rustix::fs::Access::WRITE_OK).is_ok());
    writable || crate::support::skip(what, "there are no control groups that Docker could use")
}

impl Docker {
    pub fn start() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let namespace = format!("alp{}d{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        shell(&format!(
            "ip netns add {namespace} && ip -n {namespace} link set lo up && \
             ip -n {namespace} address add 169.254.169.254/32 dev lo scope link"
        ));
        let directory = TempDir::new().expect("a directory");
        let mut docker = Self { dockerd: None, directory, namespace, _one: one };
        fs::write(docker.path("daemon.json"), "{}").expect("a file");
        docker.start_dockerd();
        let box_directory = docker.path("box");
        shell(&format!(
            "mkdir -p {0}/bin && cp \"$(command -v busybox)\" {0}/bin/busybox && ln -s busybox {0}/bin/sh && \
             ln -s usr/lib {0}/lib && ln -s usr/lib64 {0}/lib64 && \
             tar -C {0} -c . | docker -H unix://{1} import - box:1",
            box_directory.display(),
            docker.socket().display()
        ));
        docker
    }

    /// Starts `dockerd` and waits until it answers.
    pub fn start_dockerd(&mut self) {
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a file");
        let path = |name: &str| self.path(name).display().to_string();
        let mut command = self.command("dockerd");
        command
            .args(["--data-root", &path("data"), "--exec-root", &path("exec"), "--pidfile", &path("pid")])
            .args(["--config-file", &path("daemon.json"), "-H", &format!("unix://{}", path("sock"))])
            .args(["--bip", NETWORK, "--storage-driver", "vfs", "--exec-opt", "native.cgroupdriver=cgroupfs"])
            .args(["--iptables=false", "--ip6tables=false", "--ip-forward=false", "--ip-masq=false"])
            .args(["--userland-proxy=false", "--live-restore"])
            .stdin(Stdio::null())
            .stdout(log.try_clone().expect("a file"))
            .stderr(log);
        let mut child = command.spawn().expect("it starts");
        for _ in 0..600 {
            if self.try_docker(&["version"]).status.success() {
                self.dockerd = Some(child);
                return;
            }
            if let Some(status) = child.try_wait().expect("our child") {
                panic!("dockerd ended with {status}: {}", fs::read_to_string(self.path("log")).unwrap_or_default());
            }
            // There is no event for "somebody else's process answers".
            thread::sleep(Duration::from_millis(50));
        }
        panic!("dockerd does not answer: {}", fs::read_to_string(self.path("log")).unwrap_or_default());
    }

    /// Ends `dockerd`, but not the containers.
    pub fn stop_dockerd(&mut self) {
        if let Some(mut dockerd) = self.dockerd.take() {
            let pid = rustix::process::Pid::from_child(&dockerd);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
            dockerd.wait().expect("it ends");
        }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn socket(&self) -> PathBuf {
        self.path("sock")
    }

    /// A command in the network of Docker's host.
    pub fn command(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.namespace)).arg(program);
        command
    }

    /// A listener on loopback there.
    pub fn listener(&self) -> TcpListener {
        let namespace = File::open(format!("/run/netns/{}", self.namespace)).expect("a namespace");
        thread::spawn(move || {
            use rustix::{
                fd::AsFd,
                thread::{LinkNameSpaceType, move_into_link_name_space},
            };
            move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).expect("root may");
            TcpListener::bind("127.0.0.1:0").expect("a free port")
        })
        .join()
        .expect("it binds")
    }

    fn try_docker(&self, arguments: &[&str]) -> Output {
        let host = format!("unix://{}", self.socket().display());
        Command::new("docker").args(["-H", &host]).args(arguments).output().expect("it runs")
    }

    /// What `docker` prints.
    pub fn docker(&self, arguments: &[&str]) -> String {
        let output = self.try_docker(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "docker {arguments:?}: {out}{err}");
        out.trim().to_owned()
    }

    /// Starts a container that does nothing until it is removed.
    pub fn idle(&self, name: &str, arguments: &[&str]) -> Container<'_> {
        let begin = ["run", "--detach", "--name", name];
        self.docker(&[&begin, arguments, &["box:1", "/bin/busybox", "sleep", "1000"]].concat());
        let pid = self.docker(&["inspect", "--format", "{{.State.Pid}}", name]);
        Container { docker: self, name: name.to_owned(), pid }
    }
}

impl Drop for Docker {
    fn drop(&mut self) {
        if self.dockerd.is_some() {
            let all = self.try_docker(&["ps", "--all", "--quiet"]);
            for id in String::from_utf8_lossy(&all.stdout).split_whitespace() {
                self.try_docker(&["rm", "--force", id]);
            }
        }
        self.stop_dockerd();
        // Docker leaves these mounted.
        for mounted in ["exec/netns/default", "data"] {
            let _gone = Command::new("umount").arg(self.path(mounted)).stderr(Stdio::null()).status();
        }
        let _gone = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}

/// A container that runs until it is removed.
pub struct Container<'a> {
    docker: &'a Docker,
    pub name: String,
    pid: String,
}

impl Container<'_> {
    /// The status and the body of an answer that its network gets.
    pub fn get(&self, path: &str) -> (u16, String) {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.pid));
        get(command, path)
    }

    /// The access key that it gets, as an SDK asks: the list first, each again after 5xx.
    pub fn key(&self) -> Result<String, u16> {
        key(|path| self.get(path))
    }

    pub fn remove(self) {
        self.docker.docker(&["rm", "--force", &self.name]);
    }
}

/// The same for another network.
pub fn key(get: impl Fn(&str) -> (u16, String)) -> Result<String, u16> {
    let ask = |path: &str| {
        let mut answer = (0, String::new());
        for _ in 0..40 {
            answer = get(path);
            if answer.0 < 500 {
                break;
            }
        }
        if answer.0 == 200 { Ok(answer.1) } else { Err(answer.0) }
    };
    let role = ask("/latest/meta-data/iam/security-credentials/")?;
    let document = ask(&format!("/latest/meta-data/iam/security-credentials/{role}"))?;
    let document: serde_json::Value = serde_json::from_str(&document).expect("a document");
    Ok(document["AccessKeyId"].as_str().expect("a key").to_owned())
}

/// Asks with `curl` behind `command`.
pub fn get(mut command: Command, path: &str) -> (u16, String) {
    let url = format!("http://169.254.169.254{path}");
    let output = command.args(["curl", "-s", "-m", "5", "-w", "\n%{http_code}", &url]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a status"), body.to_owned())
}

fn shell(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}
