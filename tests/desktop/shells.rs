//! Completion and prompt in real shells, each in a pseudo-terminal (of `script`, util-linux).

use std::{
    fs,
    io::{Read, Write},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, ChildStdin, Stdio},
    sync::{Arc, Condvar, Mutex},
    thread,
};

use crate::{
    ALPPACA, Command, Daemon, stdout,
    support::{PATIENCE, needs},
    with_credentials, with_roles,
};

/// A shell whose `alppaca` writes down how it is called, unless it is asked for completions or the prompt.
struct Shell {
    child: Child,
    keys: ChildStdin,
    screen: Arc<(Mutex<Vec<u8>>, Condvar)>,
    directory: tempfile::TempDir,
}

impl Shell {
    fn start(command: &str, daemon: &Daemon) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let wrapper = directory.path().join("alppaca");
        let called = directory.path().join("called");
        let text = format!(
            "#!/bin/sh\n[ -n \"$_ALPPACA_COMPLETE\" ] || [ \"$1\" = prompt ] && exec {ALPPACA} \"$@\"\n\
             echo \"$@\" >{0}.new && mv {0}.new {0}\n",
            called.display()
        );
        fs::write(&wrapper, text).expect("a file");
        fs::set_permissions(&wrapper, fs::Permissions::from_mode(0o755)).expect("ours");
        for (shell, file) in [("bash", "alppaca.bash"), ("zsh", "_alppaca"), ("fish", "alppaca.fish")] {
            let output = Command::new(ALPPACA).args(["generate", shell]).output().expect("it runs");
            fs::write(directory.path().join(file), output.stdout).expect("a file");
        }
        let mut script = Command::new("script");
        script.args(["-q", "-e", "-c", command, "/dev/null"]).current_dir(directory.path()).env_clear();
        script.env("PATH", format!("{}:/usr/bin:/bin", directory.path().display())).env("HOME", directory.path());
        script.env("TERM", "xterm").env("LC_ALL", "C.UTF-8").env("ALPPACA_SOCKET", daemon.socket());
        script.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut child = script.spawn().expect("script runs");
        let screen = Arc::new((Mutex::new(Vec::new()), Condvar::new()));
        let (mut output, sink) = (child.stdout.take().expect("piped"), Arc::clone(&screen));
        thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(length @ 1..) = output.read(&mut buffer) {
                sink.0.lock().expect("not poisoned").extend(&buffer[..length]);
                sink.1.notify_all();
            }
        });
        let keys = child.stdin.take().expect("piped");
        Self { child, keys, screen, directory }
    }

    fn press(&mut self, keys: &str) {
        self.keys.write_all(keys.as_bytes()).and_then(|()| self.keys.flush()).expect("it reads");
    }

    /// Waits until the shell has shown `text`.
    fn wait_for(&self, text: &str) {
        let shown = |screen: &Vec<u8>| String::from_utf8_lossy(screen).into_owned();
        let mut screen = self.screen.0.lock().expect("not poisoned");
        while !shown(&screen).contains(text) {
            let (next, waited) = self.screen.1.wait_timeout(screen, PATIENCE).expect("not poisoned");
            assert!(!waited.timed_out(), "no {text:?}: {:?}", shown(&next));
            screen = next;
        }
    }

    /// Waits until `alppaca` was called; how.
    #[allow(clippy::disallowed_methods, reason = "how long the test is patient")]
    fn called(&self) -> String {
        let file = self.directory.path().join("called");
        let started = std::time::Instant::now();
        loop {
            if let Ok(text) = fs::read_to_string(&file) {
                fs::remove_file(&file).expect("ours");
                return text.trim().to_owned();
            }
            let screen = self.screen.0.lock().expect("not poisoned");
            let text = String::from_utf8_lossy(&screen).into_owned();
            drop(self.screen.1.wait_timeout(screen, std::time::Duration::from_millis(20)));
            assert!(started.elapsed() < PATIENCE, "it was not called: {text:?}");
        }
    }
}

impl Drop for Shell {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}

fn daemon() -> (crate::Ims, Daemon) {
    let ims = with_roles(&["prod-admin", "prod-readonly", "test-admin"]);
    let daemon = with_credentials(&ims.config(), 3);
    (ims, daemon)
}

/// Each completes a unique beginning, one of a command and one of an option.
fn completes(shell: &mut Shell) {
    shell.press("alppaca use te\t\r");
    assert_eq!(shell.called(), "use test-admin");
    shell.press("alppaca cons\tprod-r\t--u\t\r");
    assert_eq!(shell.called(), "console prod-readonly --url");
}

#[test]
fn bash_completes_the_names_of_roles() {
    if !needs("desktop: bash", "bash") || !needs("desktop: bash", "script") {
        return;
    }
    let (_ims, daemon) = daemon();
    let mut shell = Shell::start("bash --noprofile --norc -i", &daemon);
    shell.press("source alppaca.bash; echo rea''dy\r");
    shell.wait_for("ready");
    completes(&mut shell);
}

#[test]
fn zsh_completes_the_names_of_roles_from_the_first_time_on() {
    if !needs("desktop: zsh", "zsh") || !needs("desktop: zsh", "script") {
        return;
    }
    let (_ims, daemon) = daemon();
    let mut shell = Shell::start("zsh -f -i", &daemon);
    // As the package does it: the function is loaded by its name.
    shell.press("fpath=($PWD $fpath); autoload -Uz compinit; compinit -u -d $PWD/dump; echo rea''dy\r");
    shell.wait_for("ready");
    completes(&mut shell);
}

#[test]
fn fish_completes_the_names_of_roles() {
    if !needs("desktop: fish", "fish") || !needs("desktop: fish", "script") {
        return;
    }
    let (_ims, daemon) = daemon();
    let mut shell = Shell::start("fish --no-config -i", &daemon);
    shell.press("source alppaca.fish; echo rea''dy\r");
    shell.wait_for("ready");
    completes(&mut shell);
}

/// The lines that the documentation has for a shell.
fn documented(shell: &str) -> String {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/prompt.md");
    let text = fs::read_to_string(page).expect("a page");
    let block = text.split(&format!("```{shell}\n")).nth(1).and_then(|rest| rest.split("```").next());
    block.expect("a block").to_owned()
}

#[test]
fn the_documented_prompts_show_the_role() {
    let (_ims, daemon) = daemon();
    for (name, command) in
        [("bash", "bash --noprofile --norc -i"), ("zsh", "zsh -f -i"), ("fish", "fish --no-config -i")]
    {
        if !needs("desktop: prompts", name) || !needs("desktop: prompts", "script") {
            continue;
        }
        let mut shell = Shell::start(command, &daemon);
        let file: PathBuf = shell.directory.path().join("snippet");
        fs::write(&file, documented(name)).expect("a file");
        shell.press("source snippet\r");
        shell.wait_for("prod-admin 59m");
        // With each line anew.
        assert!(crate::alppaca(&daemon.socket(), &["use", "prod-readonly"]).status.success());
        shell.press("\r");
        shell.wait_for("prod-readonly 59m");
        assert!(stdout(&crate::alppaca(&daemon.socket(), &["use", "prod-admin"])).starts_with("prod-admin"));
    }
}
