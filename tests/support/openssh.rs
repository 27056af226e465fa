//! Keys, an agent and signatures of the real OpenSSH. Tests of other crates include this file.

#![allow(dead_code, unreachable_pub, reason = "not every test uses all of it")]

use std::{
    fs,
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

/// A folder of keys; `None` where OpenSSH is missing, which is reported.
pub fn folder() -> Option<tempfile::TempDir> {
    if Command::new("ssh-keygen").arg("-?").output().is_err() {
        skip("openssh: there is no ssh-keygen (openssh-client)");
        return None;
    }
    Some(tempfile::tempdir().expect("a folder"))
}

#[allow(clippy::disallowed_methods, reason = "how the suite learns what was skipped")]
fn skip(line: &str) {
    if let Some(file) = std::env::var_os("ALPPACA_TEST_SKIPPED") {
        let mut file = fs::OpenOptions::new().append(true).create(true).open(file).expect("the list");
        writeln!(file, "{line}").expect("the list");
    }
}

fn run(command: &mut Command) -> Vec<u8> {
    let output = command.stdin(Stdio::null()).output().expect("a program");
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

pub fn keygen(folder: &Path, arguments: &[&str]) {
    run(Command::new("ssh-keygen").arg("-q").args(arguments).current_dir(folder));
}

pub fn new_key(folder: &Path, name: &str, kind: &[&str]) {
    keygen(folder, &[&["-N", "", "-C", name, "-f", name, "-t"], kind].concat());
}

/// A FIDO authenticator in software, as `cargo xtask test` has unpacked it; `None` where it is missing, which is reported.
#[allow(clippy::disallowed_methods, reason = "the environment says where the test environment is")]
pub fn authenticator() -> Option<PathBuf> {
    let python = std::env::var_os("ALPPACA_TEST_PYTHON").map(PathBuf::from);
    let environment = python.as_deref().and_then(|python| python.ancestors().nth(3));
    let library = "openssh-tests/usr/lib/openssh/regress/misc/sk-dummy/sk-dummy.so";
    let found = environment.map(|folder| folder.join(library)).filter(|library| library.is_file());
    if found.is_none() {
        skip("openssh, FIDO keys: there is no ALPPACA_TEST_PYTHON with openssh-tests beside its folder");
    }
    found
}

/// A key in that authenticator.
pub fn new_hardware_key(folder: &Path, name: &str, kind: &str, authenticator: &Path, options: &[&str]) {
    let library = authenticator.to_str().expect("UTF-8");
    new_key(folder, name, &[&[kind, "-w", library][..], options].concat());
}

/// The type and the base64 of a public key, without its comment.
pub fn public(folder: &Path, name: &str) -> String {
    let text = fs::read_to_string(folder.join(format!("{name}.pub"))).expect("a key");
    text.split_whitespace().take(2).collect::<Vec<_>>().join(" ")
}

/// An agent, which ends with the test.
pub struct Agent {
    process: Child,
    pub socket: PathBuf,
}

impl Agent {
    pub fn start(folder: &Path) -> Self {
        let socket = folder.join("agent");
        let mut command = Command::new("ssh-agent");
        // It also takes keys of the tests' authenticator, which is not where such libraries are.
        command
            .args(["-D", "-P", "/*", "-a"])
            .arg(&socket)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().expect("an agent");
        // It says where it listens when it does.
        let mut first = [0];
        process.stdout.as_mut().expect("piped").read_exact(&mut first).expect("a line");
        Self { process, socket }
    }

    pub fn add(&self, folder: &Path, key: &str) {
        self.ssh_add(folder, &["-q", key]);
    }

    /// The same for a key in an authenticator.
    pub fn add_hardware(&self, folder: &Path, key: &str, authenticator: &Path) {
        self.ssh_add(folder, &["-q", "-S", authenticator.to_str().expect("UTF-8"), key]);
    }

    /// Locks it (`-x`) or unlocks it (`-X`), with the same password each time.
    pub fn lock(&self, folder: &Path, option: &str) {
        self.ssh_add(folder, &["-q", option]);
    }

    /// Runs `ssh-add`.
    pub fn ssh_add(&self, folder: &Path, arguments: &[&str]) {
        let mut command = Command::new("ssh-add");
        // It answers every question with the same line, and only complains of the question.
        command.env("SSH_ASKPASS", "/bin/pwd").env("SSH_ASKPASS_REQUIRE", "force");
        run(command.args(arguments).env("SSH_AUTH_SOCK", &self.socket).current_dir(folder));
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.process.kill().and_then(|()| self.process.wait()).expect("the agent ends");
    }
}

/// Signs with a key of a folder.
#[derive(Clone, Copy)]
pub struct Signer<'a> {
    pub folder: &'a Path,
    pub key: &'a str,
    pub agent: Option<&'a Agent>,
    pub namespace: &'a str,
}

impl Signer<'_> {
    /// The header `Authorization` for a challenge.
    pub fn sign(&self, path: &str, host: &str, challenge: &str) -> String {
        let mut command = Command::new("ssh-keygen");
        command.args(["-q", "-Y", "sign", "-n", self.namespace, "-f", self.key]).current_dir(self.folder);
        command.env_remove("SSH_AUTH_SOCK");
        if let Some(agent) = self.agent {
            command.env("SSH_AUTH_SOCK", &agent.socket);
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut signer = command.spawn().expect("ssh-keygen");
        let message = format!("GET {path} {host} {challenge}");
        signer.stdin.take().expect("piped").write_all(message.as_bytes()).expect("written");
        let output = signer.wait_with_output().expect("an end");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let armored = String::from_utf8(output.stdout).expect("a text");
        let body: String = armored.lines().filter(|line| !line.starts_with('-')).collect();
        format!(r#"Alppaca-SSH challenge="{challenge}", signature="{body}""#)
    }
}

/// The value of a parameter in `WWW-Authenticate`.
pub fn parameter(header: &str, name: &str) -> String {
    let rest = header.split_once(&format!("{name}=\"")).expect("the parameter").1;
    rest.split_once('"').expect("its end").0.to_owned()
}
