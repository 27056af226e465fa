//! Notifications at a real desktop: a bus of the session, and dunst, which prints what it shows.

use std::{
    io::{BufRead, BufReader, Read},
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
};

use super::{
    Desktop, PATIENCE, fs, openssh,
    support::{Scene, needs::needs},
};

/// The screen, the bus and what shows notifications.
struct Session {
    screen: Child,
    bus: Child,
    address: String,
    shown: mpsc::Receiver<String>,
}

impl Session {
    fn start(scene: &Scene) -> Self {
        let mut screen = Command::new("Xvfb");
        screen.args(["-displayfd", "1", "-screen", "0", "320x240x8", "-nolisten", "tcp"]);
        let mut screen =
            screen.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("Xvfb");
        let number = first_line(&mut BufReader::new(screen.stdout.as_mut().expect("piped")));
        let mut bus = Command::new("dbus-run-session");
        bus.args(["--", "sh", "-c", "echo $DBUS_SESSION_BUS_ADDRESS; exec dunst -print"]);
        bus.env_clear().env("PATH", "/usr/bin:/bin").env("HOME", scene.path()).env("DISPLAY", format!(":{number}"));
        let mut bus = bus.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::null()).spawn().expect("a bus");
        let mut said = BufReader::new(bus.stdout.take().expect("piped"));
        let address = first_line(&mut said);
        let (tell, shown) = mpsc::channel();
        thread::spawn(move || said.lines().map_while(Result::ok).try_for_each(|line| tell.send(line)));
        Self { screen, bus, address, shown }
    }

    /// The next value of that name that is shown.
    fn shows(&self, name: &str) -> String {
        loop {
            let line = self.shown.recv_timeout(PATIENCE).unwrap_or_else(|_| panic!("never: {name}"));
            if let Some(value) = line.trim().strip_prefix(&format!("{name}: ")) {
                return value.to_owned();
            }
        }
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        for child in [&mut self.bus, &mut self.screen] {
            // Both take what they have started with them. One may have ended.
            let _asked = Command::new("kill").arg(child.id().to_string()).status();
            let _reaped = child.wait();
        }
    }
}

fn first_line(reader: &mut BufReader<impl Read>) -> String {
    let mut line = String::new();
    reader.read_line(&mut line).expect("text");
    line.trim().to_owned()
}

#[test]
fn a_real_desktop_shows_that_a_person_is_needed() {
    const WHAT: &str = "desktop: notification";
    if !["Xvfb", "dunst", "notify-send", "dbus-run-session"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let Some(keys) = openssh::folder() else { return };
    openssh::new_key(keys.path(), "alice", &["ed25519"]);
    let agent = openssh::Agent::start(keys.path());
    agent.add(keys.path(), "alice");
    let signers = keys.path().join("allowed_signers");
    fs::write(&signers, format!("alice {}\n", openssh::public(keys.path(), "alice"))).expect("ours");
    let people = format!("{{kind: ssh, for: people, file: {}, hosts: [localhost]}}", signers.display());
    let desktop = Desktop::with(Scene::new(), None, &people, "{kind: ssh}");
    let session = Session::start(&desktop.scene);
    let _daemon = desktop.start_with(&[("PATH", "/usr/bin:/bin"), ("DBUS_SESSION_BUS_ADDRESS", &session.address)]);
    let login = desktop.command(&["login"]).env("SSH_AUTH_SOCK", &agent.socket).output().expect("it runs");
    assert!(login.status.success(), "{login:?}\n{}", desktop.log());
    desktop.awaits_state("web", Some("idle"));

    agent.ssh_add(keys.path(), &["-q", "-D"]);
    assert!(!desktop.run(&["credentials", "--wait", "1", "web"]).status.success());
    assert_eq!(session.shows("appname"), "'alppaca'");
    assert_eq!(session.shows("summary"), "'Sign-in needed'");
    assert_eq!(session.shows("body"), "'work: run alppaca login'");
    assert!(!desktop.log().contains("no desktop notification"), "{}", desktop.log());
}
