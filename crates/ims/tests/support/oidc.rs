//! A real `OpenID` provider, and a browser for it.

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

/// A browser with its cookies.
pub struct Browser(pub PathBuf);

impl Browser {
    /// GET without a form, POST with one. Redirections are followed.
    pub fn open(&self, url: &str, form: &[(String, String)]) -> String {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--location", "--noproxy", "*", "--max-time", "30"]);
        command.arg("--cookie").arg(&self.0).arg("--cookie-jar").arg(&self.0);
        for (name, value) in form {
            command.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let output = command.arg(url).stdin(Stdio::null()).output().expect("curl");
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Sends the form of a page, with its hidden values and these.
    pub fn submit(&self, page: &str, values: &[(&str, &str)]) -> String {
        let form = page.split_once("<form").unwrap_or_else(|| panic!("no form: {page}")).1;
        let hidden = form.split("<input type=\"hidden\"").skip(1);
        let hidden = hidden.map(|input| (attribute(input, "name"), attribute(input, "value")));
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.open(&attribute(form, "action"), &hidden.chain(values).collect::<Vec<_>>())
    }
}

/// The first value of an attribute.
pub fn attribute(html: &str, name: &str) -> String {
    let rest = html.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name}: {html}")).1;
    rest.split_once('"').expect("its end").0.to_owned()
}
