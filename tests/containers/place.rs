//! Where a container runtime of the test's own runs: a directory, and a network namespace that is its host's network.
#![allow(unreachable_pub, reason = "a part of one test program")]

use std::{
    fs::{self, File},
    net::TcpListener,
    path::{Path, PathBuf},
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

/// Whether this machine can run a runtime that is made of `programs`.
pub fn possible(what: &str, programs: &[&str]) -> bool {
    let common = ["busybox", "ip", "nsenter", "curl", "tar"];
    needs_root(what) && programs.iter().chain(&common).all(|program| needs(what, program)) && cgroups(what)
}

/// Runtimes cannot do without control groups that they may write to.
fn cgroups(what: &str) -> bool {
    let writable = ["/sys/fs/cgroup/devices", "/sys/fs/cgroup/cgroup.procs"]
        .iter()
        .any(|path| rustix::fs::access(*path, rustix::fs::Access::WRITE_OK).is_ok());
    writable || crate::support::skip(what, "there are no control groups that a container could use")
}

/// All of it is gone when it is dropped.
pub struct Place {
    directory: TempDir,
    pub namespace: String,
    _one: MutexGuard<'static, ()>,
}

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let one = ONE.lock().unwrap_or_else(PoisonError::into_inner);
        let namespace = format!("alp{}c{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        shell(&format!(
            "ip netns add {namespace} && ip -n {namespace} link set lo up && \
             ip -n {namespace} address add 169.254.169.254/32 dev lo scope link && \
             ip -n {namespace} address add fd00:ec2::254/128 dev lo"
        ));
        let place = Self { directory: TempDir::new().expect("a directory"), namespace, _one: one };
        let root = place.path("box");
        shell(&format!(
            "mkdir -p {0}/bin && cp \"$(command -v busybox)\" {0}/bin/busybox && ln -s busybox {0}/bin/sh && \
             ln -s usr/lib {0}/lib && ln -s usr/lib64 {0}/lib64",
            root.display(),
        ));
        place
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A command in the network of the runtime's host.
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

    /// Starts a service that writes to a log here, and waits until `answers`.
    pub fn start(&self, mut command: Command, answers: impl Fn() -> bool) -> Child {
        let log = File::options().create(true).append(true).open(self.path("log")).expect("a file");
        let err = log.try_clone().expect("a file");
        let mut child = command.stdin(Stdio::null()).stdout(log).stderr(err).spawn().expect("it starts");
        let said = || fs::read_to_string(self.path("log")).unwrap_or_default();
        for _ in 0..600 {
            if answers() {
                return child;
            }
            if let Some(status) = child.try_wait().expect("our child") {
                panic!("{command:?} ended with {status}: {}", said());
            }
            // There is no event for "somebody else's process answers".
            thread::sleep(Duration::from_millis(50));
        }
        panic!("{command:?} does not answer: {}", said());
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _gone = Command::new("ip").args(["netns", "delete", &self.namespace]).status();
    }
}

/// Docker or Podman.
pub trait Runtime: Sized + Sync {
    const NAME: &'static str;
    /// Ends a container at once and removes it.
    const REMOVE: &'static [&'static str];

    /// Whether this machine can run one.
    fn possible(what: &str) -> bool;

    /// One that runs.
    fn start_in(place: Place) -> Self;

    fn place(&self) -> &Place;

    /// Its command, with these arguments.
    fn call(&self, arguments: &[&str]) -> Output;

    /// Starts the service behind the socket, and waits until it answers.
    fn start_service(&mut self);

    /// Ends it, but not the containers.
    fn stop_service(&mut self);

    /// What a container needs to get an address.
    fn bridged(&self) -> Vec<String>;

    fn start() -> Self {
        let runtime = Self::start_in(Place::new());
        let import = format!("tar -C {0} -c . > {0}.tar", runtime.place().path("box").display());
        shell(&import);
        runtime.run(&["import", &runtime.place().path("box.tar").display().to_string(), "box:1"]);
        runtime
    }

    fn socket(&self) -> PathBuf {
        self.place().path("sock")
    }

    /// What its command prints.
    fn run(&self, arguments: &[&str]) -> String {
        let output = self.call(arguments);
        let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{} {arguments:?}: {out}{err}", Self::NAME);
        out.trim().to_owned()
    }

    /// The same for `run` or `create` with an address of its own, if `options` do not name a network.
    fn make(&self, verb: &[&str], options: &[&str], program: &[&str]) -> String {
        let bridged =
            if options.contains(&"--network") || options.contains(&"--pod") { vec![] } else { self.bridged() };
        let bridged: Vec<&str> = bridged.iter().map(String::as_str).collect();
        self.run(&[verb, &bridged, options, &["box:1"], program].concat())
    }

    /// Starts a container that does nothing until it is removed.
    fn idle(&self, name: &str, options: &[&str]) -> Container<'_, Self> {
        self.make(&["run", "--detach", "--name", name], options, IDLE);
        self.container(name)
    }

    /// A container that runs.
    fn container(&self, name: &str) -> Container<'_, Self> {
        let pid = self.run(&["inspect", "--format", "{{.State.Pid}}", name]);
        Container { runtime: self, name: name.to_owned(), pid }
    }

    /// Removes all containers.
    fn clear(&self) {
        let all = self.call(&["ps", "--all", "--quiet"]);
        let all = String::from_utf8_lossy(&all.stdout).into_owned();
        let ids: Vec<&str> = all.split_whitespace().collect();
        if !ids.is_empty() {
            self.call(&[Self::REMOVE, &ids[..]].concat());
        }
    }
}

/// A program that does nothing.
pub const IDLE: &[&str] = &["/bin/busybox", "sleep", "1000"];

/// A container that runs until it is removed.
pub struct Container<'a, R> {
    runtime: &'a R,
    pub name: String,
    pub pid: String,
}

impl<R: Runtime> Container<'_, R> {
    /// A command in its network.
    pub fn command(&self) -> Command {
        in_network_of(&self.pid)
    }

    /// The status and the body of an answer that its network gets.
    pub fn get(&self, path: &str) -> (u16, String) {
        get(self.command(), path)
    }

    /// The access key that it gets, as an SDK asks: the list first, each again after 5xx.
    pub fn key(&self) -> Result<String, u16> {
        key(|path| self.get(path))
    }

    pub fn remove(self) {
        self.runtime.run(&[R::REMOVE, &[&self.name]].concat());
    }
}

/// A command in the network of a process.
pub fn in_network_of(pid: &str) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net=/proc/{pid}/ns/net"));
    command
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
pub fn get(command: Command, path: &str) -> (u16, String) {
    get_at(command, "169.254.169.254", path)
}

/// The same at another address.
pub fn get_at(mut command: Command, address: &str, path: &str) -> (u16, String) {
    let url = format!("http://{address}{path}");
    let output = command.args(["curl", "-s", "-m", "5", "-w", "\n%{http_code}", &url]).output().expect("it runs");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').expect("a status");
    (status.parse().expect("a status"), body.to_owned())
}

pub fn shell(script: &str) {
    let output = Command::new("sh").args(["-c", script]).output().expect("a shell");
    assert!(output.status.success(), "{script}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Ends a service as its manager would.
pub fn end(child: &mut Option<Child>) {
    if let Some(mut child) = child.take() {
        let pid = rustix::process::Pid::from_child(&child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        child.wait().expect("it ends");
    }
}

/// Unmounts what a runtime leaves mounted.
pub fn unmount(path: &Path) {
    let _gone = Command::new("umount").arg(path).stderr(Stdio::null()).status();
}
