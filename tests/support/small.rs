//! A file system that is soon full.

use std::{
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use tempfile::TempDir;

/// A small file system in a mount namespace of its own, which lasts as long as this.
pub struct Small {
    keeper: Child,
    directory: TempDir,
}

impl Small {
    pub fn new(size: &str) -> Self {
        let directory = TempDir::new().expect("a directory");
        let script = format!("mount -t tmpfs -o size={size} small {} && echo ready && cat", directory.path().display());
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", &script]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut keeper = command.spawn().expect("it starts");
        let mut line = String::new();
        BufReader::new(keeper.stdout.take().expect("piped")).read_line(&mut line).expect("it says so");
        assert_eq!(line, "ready\n");
        Self { keeper, directory }
    }

    /// As those inside name it.
    pub fn inside(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// A program inside.
    pub fn enter(&self, program: &str) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--mount=/proc/{}/ns/mnt", self.keeper.id())).arg(program);
        command
    }

    /// The same as seen from outside.
    pub fn outside(&self, name: &str) -> PathBuf {
        let path = self.inside(name);
        Path::new(&format!("/proc/{}/root", self.keeper.id())).join(path.strip_prefix("/").expect("absolute"))
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.keeper.kill();
        let _status = self.keeper.wait();
    }
}
