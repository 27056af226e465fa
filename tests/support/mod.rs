//! What integration tests share: the real binary, a mock IMS to point it at, and a raw HTTP client
//! that shows every byte.
#![allow(dead_code, unused_imports, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

pub mod cgroups;
mod eventually;
pub mod load;
pub mod manager;
mod needs;
pub mod service;
pub mod small;

pub use eventually::eventually;
pub use needs::{cannot, needs, needs_root, skip};

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    os::unix::net::UnixStream,
    process::{Child, Command, Stdio},
    sync::{
        Arc, Condvar, Mutex,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use alppaca::mock_ims::{Behaviour, Handle, MockIms};
use tempfile::TempDir;

/// The longest that anything here may take before a test gives up. Never waited for on success.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// A mock IMS on a thread of its own.
pub struct Ims {
    pub address: SocketAddr,
    pub handle: Handle,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
}

impl Ims {
    pub fn start(behaviour: Behaviour) -> Self {
        let (tell, told) = mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let mock = MockIms::bind((Ipv4Addr::LOCALHOST, 0).into(), behaviour).expect("a free port");
                tell.send((mock.local_addr().expect("bound"), mock.handle())).expect("the test waits");
                let stopped = async {
                    // It goes on for those who only know its address.
                    if stopped.await.is_err() {
                        std::future::pending::<()>().await;
                    }
                };
                tokio::select! {
                    ended = mock.run() => ended.expect("it accepts"),
                    () = stopped => {}
                }
            });
        });
        let (address, handle) = told.recv().expect("the mock starts");
        Self { address, handle, stop: Some(stop) }
    }

    /// Stops it: from now on nobody listens there.
    pub fn stop(&mut self) {
        self.stop.take().expect("it runs").send(()).expect("it waits for it");
        while TcpStream::connect(self.address).is_ok() {
            thread::yield_now();
        }
    }

    /// How many requests it got.
    pub fn calls(&self) -> usize {
        self.handle.requests().len()
    }

    /// The configuration that points the daemon here.
    pub fn config(&self) -> String {
        format!("ims_protocol: http\nims_host: {}\nims_port: {}\n", self.address.ip(), self.address.port())
    }
}

#[derive(Default)]
struct Log {
    text: Mutex<(String, bool)>,
    grown: Condvar,
}

/// The real binary, running with a configuration of its own.
pub struct Daemon {
    child: Child,
    pub addresses: Vec<SocketAddr>,
    log: Arc<Log>,
    pub directory: TempDir,
}

impl Daemon {
    /// Starts `alppaca run` with `config`, on a free port unless it says otherwise, and waits until
    /// it listens.
    pub fn start(config: &str) -> Self {
        Self::start_with(config, |_command| {})
    }

    pub fn start_with(config: &str, change: impl FnOnce(&mut Command)) -> Self {
        let command = |program: &str| {
            let mut command = Command::new(program);
            change(&mut command);
            command
        };
        Self::start_through(config, command, || {})
    }

    /// `command` makes the command that runs the program; `started` is called when it was.
    pub fn start_through(config: &str, command: impl FnOnce(&str) -> Command, started: impl FnOnce()) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let file = directory.path().join("alppaca.yaml");
        let says = |line: &str| line.starts_with("listen:") || line.starts_with("bind_port:");
        let listen = if config.lines().any(says) { "" } else { "bind_port: 0\n" };
        let log = "logging_handler: {module: logging, class: StreamHandler}\nlog_level: debug\n";
        // Daemons of other tests have sockets of their own.
        let run = directory.path().join("run");
        let run = if config.contains("run_dir:") { String::new() } else { format!("run_dir: {}\n", run.display()) };
        std::fs::write(&file, format!("{config}{listen}{run}{log}")).expect("a file");
        let mut command = command(env!("CARGO_BIN_EXE_alppaca"));
        command.arg("run").arg("-c").arg(&file).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("the binary starts");
        started();
        let log = Arc::new(Log::default());
        let stderr = BufReader::new(child.stderr.take().expect("piped"));
        let sink = Arc::clone(&log);
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut text = sink.text.lock().expect("not poisoned");
                text.0.push_str(&line);
                text.0.push('\n');
                sink.grown.notify_all();
            }
            sink.text.lock().expect("not poisoned").1 = true;
            sink.grown.notify_all();
        });
        let mut daemon = Self { child, addresses: Vec::new(), log, directory };
        let line = daemon.wait_for_log(" serves at ");
        let addresses = line.split(" serves at ").nth(1).and_then(|rest| rest.split(';').next()).expect("addresses");
        daemon.addresses = addresses.split(", ").map(|text| text.parse().expect("an address")).collect();
        daemon
    }

    pub fn address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Its admin socket, unless the configuration names another.
    pub fn socket(&self) -> std::path::PathBuf {
        self.directory.path().join("run/alppaca.sock")
    }

    /// Where it shows another face than IMDS.
    pub fn faces(&self, name: &str) -> Vec<SocketAddr> {
        let line = self.wait_for_log(" serves at ");
        let places = line.split(&format!("; {name} at ")).nth(1).and_then(|rest| rest.split(';').next());
        places.expect("that face").split(", ").map(|text| text.parse().expect("an address")).collect()
    }

    /// What the metrics say, at the admin socket, of the series with this name and these labels.
    pub fn metric(&self, series: &str) -> usize {
        let mut stream = UnixStream::connect(self.socket()).expect("it listens");
        write!(stream, "GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").expect("it reads");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("it answers");
        let line = answer.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.unwrap_or_else(|| panic!("no {series}: {answer}")).parse().expect("a number")
    }

    /// The first of these.
    pub fn face(&self, name: &str) -> SocketAddr {
        self.faces(name)[0]
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the log has a line with `part`; that line.
    pub fn wait_for_log(&self, part: &str) -> String {
        let mut text = self.log.text.lock().expect("not poisoned");
        loop {
            if let Some(line) = text.0.lines().find(|line| line.contains(part)) {
                return line.to_owned();
            }
            assert!(!text.1, "the daemon ended without saying {part:?}:\n{}", text.0);
            let (next, waited) = self.log.grown.wait_timeout(text, PATIENCE).expect("not poisoned");
            assert!(!waited.timed_out(), "nothing more in the log, and no {part:?}:\n{}", next.0);
            text = next;
        }
    }

    /// Waits until `part` is in the log so often.
    pub fn wait_for_count(&self, part: &str, count: usize) {
        let mut text = self.log.text.lock().expect("not poisoned");
        while text.0.matches(part).count() < count {
            assert!(!text.1, "the daemon ended without saying {part:?} {count} times:\n{}", text.0);
            let (next, waited) = self.log.grown.wait_timeout(text, PATIENCE).expect("not poisoned");
            assert!(!waited.timed_out(), "nothing more in the log, and not {count} times {part:?}:\n{}", next.0);
            text = next;
        }
    }

    /// Everything that it wrote so far.
    pub fn log(&self) -> String {
        self.log.text.lock().expect("not poisoned").0.clone()
    }

    /// Starts it and waits until it has credentials.
    pub fn with_credentials(config: &str) -> Self {
        let daemon = Self::start(config);
        daemon.wait_for_log(" fetched ");
        daemon
    }

    /// Sends SIGHUP.
    pub fn hang_up(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::HUP).expect("it runs");
    }

    /// How it has ended, if it has.
    pub fn ended(&mut self) -> Option<std::process::ExitStatus> {
        self.child.try_wait().expect("ours")
    }

    /// Sends SIGKILL and waits for the end.
    pub fn kill(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        self.child.wait().expect("ours");
    }

    /// Sends SIGTERM and waits for the end; the exit code.
    pub fn stop(&mut self) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it runs");
        self.child.wait().expect("it ends").code()
    }

    pub fn get(&self, path: &str) -> Response {
        request(
            self.address(),
            &format!("GET {path} HTTP/1.1\r\nHost: x.localhost\r\n").replace("x.localhost", "127.0.0.1"),
        )
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

/// What came back.
#[derive(Debug, Clone)]
pub struct Response {
    pub status: u16,
    pub head: String,
    pub body: String,
}

impl Response {
    /// The value of a header, whose name matches in any case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().skip(1).find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Gets a path, without a token.
pub fn get(address: SocketAddr, path: &str) -> Response {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n"))
}

/// Sends one request (`head` without its last empty line) on a connection of its own.
pub fn request(address: SocketAddr, head: &str) -> Response {
    raw(address, format!("{head}Connection: close\r\n\r\n").as_bytes())
}

/// Sends bytes and reads until the other side closes.
pub fn raw(address: SocketAddr, bytes: &[u8]) -> Response {
    let mut stream = connect(address);
    stream.write_all(bytes).expect("it reads");
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).expect("it answers and closes");
    split(&answer)
}

/// Sets a flag at its end, however that comes: threads of a scope that go on until then would keep a failed test for ever.
pub struct Over<'a>(pub &'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Connects as soon as somebody listens, who is just starting.
pub fn connect_when_listening(address: SocketAddr) -> TcpStream {
    for _ in 0..2000 {
        if let Ok(stream) = TcpStream::connect(address) {
            return stream;
        }
        // There is no event for "somebody else's process listens".
        thread::sleep(Duration::from_millis(5));
    }
    panic!("nobody listens at {address}")
}

pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("it listens");
    stream.set_read_timeout(Some(PATIENCE)).expect("settable");
    stream
}

/// Reads one answer with a Content-Length, leaving the connection open.
pub fn read_one(stream: &mut TcpStream) -> Response {
    let mut answer = Vec::new();
    let mut byte = [0];
    while !answer.ends_with(b"\r\n\r\n") {
        stream
            .read_exact(&mut byte)
            .unwrap_or_else(|error| panic!("{error} after {:?}", String::from_utf8_lossy(&answer)));
        answer.push(byte[0]);
    }
    let length = split(&answer).header("content-length").expect("a length").parse().expect("a number");
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the whole body");
    answer.extend(body);
    split(&answer)
}

fn split(answer: &[u8]) -> Response {
    let text = String::from_utf8(answer.to_vec()).expect("UTF-8");
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no head in {text:?}"));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).expect("a status");
    Response { status, head: head.to_owned(), body: body.to_owned() }
}
