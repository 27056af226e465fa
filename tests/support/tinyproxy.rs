//! tinyproxy, for the tests that want a real proxy.

use std::{
    fs,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use crate::support::needs;

/// A real proxy, ended with the test.
pub(crate) struct Tinyproxy {
    child: Child,
    pub(crate) address: SocketAddr,
    _directory: TempDir,
}

impl Tinyproxy {
    /// With these further lines of configuration; nothing if it is not installed, which is told as a skipped test.
    pub(crate) fn start(extra: &str) -> Option<Self> {
        if !needs("a real proxy", "tinyproxy") {
            return None;
        }
        // It cannot bind port 0, so another process may be quicker; then it exits and is tried anew.
        for _ in 0..10 {
            let free = TcpListener::bind("127.0.0.1:0").expect("a free port");
            let address = free.local_addr().expect("bound");
            drop(free);
            let directory = tempfile::tempdir().expect("a directory");
            let configuration = directory.path().join("tinyproxy.conf");
            fs::write(directory.path().join("filter"), "^denied\\.example$\n").expect("writable");
            let text = format!("Port {}\nListen 127.0.0.1\nTimeout 30\nMaxClients 20\n{extra}\n", address.port())
                .replace("FILTER", &directory.path().join("filter").display().to_string());
            fs::write(&configuration, text).expect("writable");
            let mut command = Command::new("tinyproxy");
            command.arg("-d").arg("-c").arg(&configuration).stdin(Stdio::null());
            let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("it is there");
            let mut proxy = Self { child, address, _directory: directory };
            if proxy.is_up() {
                return Some(proxy);
            }
        }
        panic!("tinyproxy does not come up");
    }

    /// Waits until it answers a request of its own kind, or has ended.
    fn is_up(&mut self) -> bool {
        loop {
            if let Ok(mut stream) = TcpStream::connect(self.address) {
                let mut answer = String::new();
                let asked = stream.write_all(b"GET http://tinyproxy.stats/ HTTP/1.0\r\n\r\n");
                let _ = asked.and_then(|()| stream.read_to_string(&mut answer).map(drop));
                return answer.to_lowercase().contains("tinyproxy") && self.is_running();
            }
            if !self.is_running() {
                return false;
            }
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_none()
    }
}

impl Drop for Tinyproxy {
    fn drop(&mut self) {
        // Both fail only if it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
