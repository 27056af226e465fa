//! The daemon in the background, as an init script has it.

use std::{
    fs,
    net::{SocketAddr, TcpListener},
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    process::{Child, Command, Output, Stdio},
};

use alppaca::mock_ims::Behaviour;
use tempfile::TempDir;

use super::Ims;

/// A directory with a configuration, and what `alppacad` makes of it.
pub struct Service {
    pub directory: TempDir,
    pub port: u16,
    pub ims: Ims,
}

impl Service {
    pub fn new() -> Self {
        Self::with("")
    }

    /// With more settings.
    pub fn with(more: &str) -> Self {
        let ims = Ims::start(Behaviour::default());
        let directory = TempDir::new().expect("a directory");
        // The daemon may become another user.
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).expect("ours");
        symlink(env!("CARGO_BIN_EXE_alppaca"), directory.path().join("alppacad")).expect("a link");
        let port = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("free").port();
        let service = Self { directory, port, ims };
        service.configure(&service.config(more));
        service
    }

    /// A configuration that works.
    pub fn config(&self, more: &str) -> String {
        let listen = if more.lines().any(|line| line.starts_with("listen:")) {
            String::new()
        } else {
            format!("bind_port: {}\n", self.port)
        };
        let (run, log) = (self.path("run"), self.path("run/log"));
        format!(
            "{}{listen}run_dir: {}\nlogging_handler: {{module: logging, class: FileHandler, args: [{}]}}\n{more}",
            self.ims.config(),
            run.display(),
            log.display()
        )
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn configure(&self, text: &str) {
        fs::write(self.path("alppaca.yaml"), text).expect("a file");
    }

    pub fn address(&self) -> SocketAddr {
        ([127, 0, 0, 1], self.port).into()
    }

    /// The command that does it.
    pub fn command(&self, word: &str) -> Command {
        let alppacad = self.path("alppacad");
        let mut command = match word {
            // It asks 169.254.169.254, which is nobody of ours outside a network of the test's own.
            "status" => {
                let mut command = Command::new("unshare");
                let root = rustix::process::geteuid().is_root();
                command.args(if root { &["--net"][..] } else { &["--map-root-user", "--net"] }).arg(alppacad);
                command
            }
            _ => Command::new(alppacad),
        };
        // A relative path: the daemon must find it although it leaves this directory.
        command.args([word, "-c", "alppaca.yaml"]).current_dir(self.directory.path());
        command
    }

    pub fn say(&self, word: &str) -> (Option<i32>, String) {
        said(&self.command(word).output().expect("it runs"))
    }

    /// The same, without waiting.
    pub fn begin(&self, word: &str) -> Child {
        self.command(word).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it runs")
    }

    pub fn pid(&self) -> Option<u32> {
        fs::read_to_string(self.path("run/alppaca.pid")).ok()?.trim().parse().ok()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(self.path("run/log")).unwrap_or_default()
    }
}

/// What a command has said, and its exit code.
pub fn said(Output { status, stdout, stderr }: &Output) -> (Option<i32>, String) {
    (status.code(), String::from_utf8_lossy(&[&stdout[..], &stderr[..]].concat()).into_owned())
}

impl Drop for Service {
    fn drop(&mut self) {
        self.say("stop");
    }
}
