//! A real `OpenID` provider.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{Child, ChildStdout, Command, Stdio},
};

use super::Scene;

/// oidc-provider of npm.
pub struct Provider {
    child: Child,
    /// Open, since it warns there, too.
    stdout: BufReader<ChildStdout>,
    pub issuer: String,
}

impl Provider {
    /// Where `cargo xtask test` has put it, if it has.
    #[allow(clippy::disallowed_methods, reason = "the environment says where the clients are")]
    pub fn program() -> Option<PathBuf> {
        let python = PathBuf::from(std::env::var_os("ALPPACA_TEST_PYTHON")?);
        let folder = python.ancestors().nth(3)?.join("javascript");
        Some(folder.join("provider.mjs")).filter(|program| program.exists())
    }

    /// Whose ID tokens and refresh tokens live for so many seconds, if that is said.
    pub fn start(program: &Path, scene: &Scene, lives: &[u32]) -> Self {
        let log = fs::File::create(scene.path().join("provider.log")).expect("ours");
        let mut command = Command::new("node");
        command
            .arg(program)
            .args(lives.iter().map(u32::to_string))
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(log);
        let mut child = command.spawn().expect("it starts");
        let stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut provider = Self { child, stdout, issuer: String::new() };
        provider.stdout.read_line(&mut provider.issuer).expect("a line");
        provider.issuer.truncate(provider.issuer.trim_end().len());
        let log = || fs::read_to_string(scene.path().join("provider.log")).unwrap_or_default();
        assert!(provider.issuer.starts_with("http://127.0.0.1:"), "{}", log());
        provider
    }
}

impl Provider {
    /// Has it know nobody any more, or everybody again.
    pub fn turn(&self) {
        let kill = Command::new("kill").args(["-USR2", &self.child.id().to_string()]).status();
        assert!(kill.expect("kill").success());
    }
}

impl Drop for Provider {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}
