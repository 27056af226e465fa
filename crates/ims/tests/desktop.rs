//! A person's desktop: sign in at a real provider, or with a real ssh-agent, and work as any role that the role server
//! gives.

#[path = "../../../tests/support/aws_sign_in.rs"]
mod aws_sign_in;
#[path = "desktop/browser.rs"]
mod browser;
#[path = "../../../tests/support/chromium.rs"]
mod chromium;
#[path = "../../../tests/interop/rig/moto.rs"]
#[allow(dead_code, unreachable_pub, reason = "the matrix of clients uses more of it")]
mod moto;
#[path = "desktop/notification.rs"]
mod notification;
#[path = "../../../tests/support/openssh.rs"]
mod openssh;
#[path = "desktop/session.rs"]
mod session;
mod support;

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    os::unix::fs::{MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    time::Duration,
};

use support::{
    Browser, PATIENCE, Provider, Scene, Server, Sts, daemon_program as program, eventually,
    needs::{needs, skip},
};

/// A provider, a role server, and where the daemon's files are.
struct Desktop {
    scene: Scene,
    sts: Sts,
    provider: Option<Provider>,
    server: Server,
    listen: SocketAddr,
    /// Everything that the commands printed.
    printed: String,
}

/// The daemon of the person.
struct Daemon {
    child: Child,
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

impl Desktop {
    /// `None` where there is no provider, whose ID tokens and refresh tokens live for so many seconds.
    fn new(lives: &[u32], sign_in: &str) -> Option<Self> {
        const WHAT: &str = "oidc-provider";
        if !needs(WHAT, "node") || !needs(WHAT, "curl") {
            return None;
        }
        let Some(program) = Provider::program() else {
            skip(WHAT, "there is no ALPPACA_TEST_PYTHON with provider.mjs beside its folder (npm)");
            return None;
        };
        let scene = Scene::new();
        let provider = Provider::start(&program, &scene, lives);
        let issuer = &provider.issuer;
        let people = format!(
            "{{kind: jwt, issuer: '{issuer}', audience: alppaca, groups_claim: groups, jwks_url: '{issuer}/jwks'}}"
        );
        let sign_in = format!(
            "{{kind: oidc, issuer: '{issuer}', client_id: alppaca, scopes: openid offline_access groups, \
             parameters: {{prompt: consent}}{sign_in}}}"
        );
        Some(Self::with(scene, Some(provider), &people, &sign_in))
    }

    /// A server that knows people in that way, and a daemon where they sign in so.
    fn with(scene: Scene, provider: Option<Provider>, people: &str, sign_in: &str) -> Self {
        let sts = Sts::start();
        let more = format!(
            "\
identities:
  people: {people}
rules:
  - {{name: groups, match: {{method: people, groups: 'aws-(?P<role>[a-z]+)'}}, account: demo, role: '{{role}}'}}
  - {{name: everybody, match: {{method: people}}, account: demo, role: web, max_duration: 2h}}
"
        );
        let server = Server::start(&scene, &scene.config(&sts.url(), &more));
        let listen = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let file = |name: &str| scene.path().join(name).display().to_string();
        let config = format!(
            "\
sources:
  work:
    kind: site
    url: https://localhost:{}
    ca_file: {}
    sign_in: {sign_in}
listen: {listen}
run_dir: {}
logging_handler: {{module: logging, class: StreamHandler}}
log_level: debug
sign_in_notification: yes
user: root
",
            server.address.port(),
            file("ca.pem"),
            file("run/alppaca"),
        );
        fs::write(scene.path().join("alppaca.yaml"), config).expect("ours");
        fs::create_dir_all(scene.path().join("run/alppaca")).expect("ours");
        let desktop = Self { scene, sts, provider, server, listen, printed: String::new() };
        let notified = desktop.scene.path().join("notified");
        desktop.script("notify-send", &format!("echo \"$*\" >>'{}'", notified.display()));
        desktop
    }

    /// A program that the daemon finds before others of that name.
    fn script(&self, name: &str, text: &str) {
        let bin = self.scene.path().join("bin");
        fs::create_dir_all(&bin).expect("ours");
        let file = bin.join(name);
        fs::write(&file, format!("#!/bin/sh\n{text}\n")).expect("ours");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
    }

    /// What the person has been told by notifications.
    fn notified(&self) -> Vec<String> {
        let told = fs::read_to_string(self.scene.path().join("notified")).unwrap_or_default();
        told.lines().map(str::to_owned).collect()
    }

    fn start(&self) -> Daemon {
        self.start_with(&[("PATH", &format!("{}:/usr/bin:/bin", self.scene.path().join("bin").display()))])
    }

    /// With these variables.
    fn start_with(&self, variables: &[(&str, &str)]) -> Daemon {
        let log = fs::File::options().create(true).append(true).open(self.scene.path().join("daemon.log"));
        let mut command = Command::new(program());
        command.args(["run", "-c"]).arg(self.scene.path().join("alppaca.yaml"));
        command.env("XDG_RUNTIME_DIR", self.scene.path().join("run")).env_remove("SSH_AUTH_SOCK");
        command.envs(variables.iter().copied());
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log.expect("ours"));
        let daemon = Daemon { child: command.spawn().expect("it starts") };
        eventually("the daemon listens", || TcpStream::connect(self.listen).ok(), || self.log());
        eventually("its socket", || self.run(&["whoami"]).status.code().filter(|code| *code != 3), || self.log());
        daemon
    }

    /// The provider knows nobody any more, or everybody again.
    fn turn(&self) {
        self.provider.as_ref().expect("a provider").turn();
    }

    fn log(&self) -> String {
        fs::read_to_string(self.scene.path().join("daemon.log")).unwrap_or_default()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(program());
        let [name, rest @ ..] = arguments else { panic!("a command") };
        command.arg(name).arg("--socket").arg(self.scene.path().join("run/alppaca/alppaca.sock")).args(rest);
        command.env_remove("DISPLAY").stdin(Stdio::null());
        command
    }

    fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().expect("it runs")
    }

    /// What a command prints, which succeeds.
    fn say(&mut self, arguments: &[&str]) -> String {
        let output = self.run(arguments);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{arguments:?}: {said}\n{}", self.log());
        self.printed.push_str(&said);
        said
    }

    /// What it prints until there is a line with that in it, and the rest.
    fn begin(&self, arguments: &[&str], part: &str) -> (Child, BufReader<impl Read + use<>>, String) {
        let mut child = self.command(arguments).stdout(Stdio::piped()).spawn().expect("it starts");
        let mut stdout = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = String::new();
        while !said.lines().last().is_some_and(|line| line.contains(part)) {
            let length = stdout.read_line(&mut said).expect("text");
            assert!(length > 0, "{arguments:?}: {said}\n{}", self.log());
        }
        (child, stdout, said)
    }

    fn finish(&mut self, (mut child, mut stdout, mut said): (Child, BufReader<impl Read>, String)) -> String {
        stdout.read_to_string(&mut said).expect("text");
        assert!(child.wait().expect("it ends").success(), "{said}\n{}", self.log());
        self.printed.push_str(&said);
        said
    }

    /// Signs in with the browser.
    fn sign_in(&mut self) -> String {
        let begun = self.begin(&["login", "--no-browser"], "    http://127.0.0.1:");
        let url = begun.2.lines().last().expect("a URL").trim().to_owned();
        let person = Browser(self.scene.path().join("person.cookies"));
        let page = person.open(&url, &[]);
        assert!(person.open(&url, &[]).contains("This link has been used"));
        // The second time the provider still knows her.
        let page = if page.contains("name=\"login\"") {
            person.submit(&page, &[("login", "alice"), ("password", "any")])
        } else {
            page
        };
        let page = person.submit(&page, &[]);
        assert!(page.contains("Signed in as alice"), "{page}\n{}", self.log());
        self.finish(begun)
    }

    fn whoami(&self) -> serde_json::Value {
        let output = self.run(&["whoami", "--json"]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        document["sign_ins"][0].clone()
    }

    fn get(&self, path: &str) -> String {
        let mut stream = TcpStream::connect(self.listen).expect("it listens");
        stream
            .write_all(format!("GET /latest/meta-data/iam/security-credentials/{path} HTTP/1.0\r\n\r\n").as_bytes())
            .expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        answer
    }

    fn state(&self, role: &str) -> Option<String> {
        let output = self.run(&["status", "--json"]);
        let document: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        let roles = document["roles"].as_array()?;
        let found = roles.iter().find(|status| status["name"] == role)?;
        Some(found["state"].as_str()?.to_owned())
    }

    fn awaits_state(&self, role: &str, state: Option<&str>) {
        let reached = || Some(()).filter(|()| self.state(role).as_deref() == state);
        eventually(&format!("{role} is {state:?}"), reached, || format!("{:?}\n{}", self.state(role), self.log()));
    }

    /// The tokens in the file of a kept sign-in.
    fn kept(&self) -> Option<(PathBuf, serde_json::Value)> {
        let entries = fs::read_dir(self.scene.path().join("run/alppaca")).expect("ours");
        let paths = entries.map(|entry| entry.expect("an entry").path());
        let path = paths.into_iter().find(|path| path.extension().is_some_and(|extension| extension == "json"))?;
        let tokens = serde_json::from_slice(&fs::read(&path).expect("ours")).expect("JSON");
        Some((path, tokens))
    }
}

#[test]
fn a_person_signs_in_with_the_browser_and_has_the_roles_of_the_site_until_the_sign_out() {
    let Some(mut desktop) = Desktop::new(&[], "") else { return };
    let _daemon = desktop.start();
    assert_eq!(desktop.run(&["whoami"]).status.code(), Some(1));
    let status = String::from_utf8(desktop.run(&["status"]).stdout).expect("text");
    assert!(status.contains("sign-in needed for work") && status.contains("alppaca login"), "{status}");
    assert!(desktop.get("").contains(" 503 "));
    for arguments in
        [&["me"][..], &["use", "web"], &["roles"], &["credentials", "web"], &["console"], &["exec", "--", "true"]]
    {
        let output = desktop.run(arguments);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.code() == Some(5) && said.contains("sign-in needed: run `alppaca login`"), "{output:?}");
    }

    let said = desktop.sign_in();
    assert!(said.contains("Signed in as alice."), "{said}");
    let whoami = desktop.whoami();
    assert_eq!((&whoami["name"], &whoami["groups"]), (&"alice".into(), &serde_json::json!(["aws-readonly"])));
    assert_eq!((&whoami["signed_in"], &whoami["renewed"]), (&true.into(), &true.into()), "{whoami}");

    // The roles are known, and nothing has been fetched for them.
    desktop.awaits_state("readonly", Some("idle"));
    assert_eq!(desktop.state("web").as_deref(), Some("idle"));
    assert!(desktop.sts.assumed().is_empty());
    assert!(desktop.say(&["status"]).contains("idle"));
    let credentials: serde_json::Value =
        serde_json::from_str(&desktop.say(&["credentials", "readonly"])).expect("JSON");
    assert_eq!(credentials["AccountId"], support::ACCOUNT);
    let answer = eventually(
        "IMDS gives the other role",
        || Some(desktop.get("web")).filter(|answer| answer.contains(" 200 ")),
        || desktop.log(),
    );
    assert!(answer.contains("SecretAccessKey"), "{answer}");
    let names: Vec<String> = desktop.sts.assumed().iter().map(|call| call.get("RoleSessionName").to_owned()).collect();
    assert_eq!(names, ["alice", "alice"]);

    nobody_else_gets_them(&desktop);

    assert!(desktop.say(&["logout"]).contains("Signed out."));
    desktop.awaits_state("readonly", None);
    assert!(!desktop.get("web").contains("SecretAccessKey"));
    assert_eq!(desktop.run(&["whoami"]).status.code(), Some(1));
    eventually("the provider forgets", || desktop.log().contains("was revoked at").then_some(()), || desktop.log());
}

/// Another user of the host sees no role.
fn nobody_else_gets_them(desktop: &Desktop) {
    let is_root = fs::metadata(desktop.scene.path()).expect("ours").uid() == 0;
    if !is_root || !needs("other users", "setpriv") {
        return;
    }
    for path in ["", "web"] {
        let url = format!("http://{}/latest/meta-data/iam/security-credentials/{path}", desktop.listen);
        let mut other = Command::new("setpriv");
        other.args(["--reuid=65534", "--regid=65534", "--clear-groups", "curl", "--silent", "--noproxy", "*"]);
        other.args(["--output", "/dev/null", "--write-out", "%{http_code}"]).arg(url);
        let output = other.output().expect("setpriv");
        assert_eq!(String::from_utf8_lossy(&output.stdout), "404", "{path:?}: {output:?}");
    }
}

#[test]
fn a_person_signs_in_with_a_code_and_boto3_works() {
    let Some(mut desktop) = Desktop::new(&[], "") else { return };
    let _daemon = desktop.start();
    let begun = desktop.begin(&["login", "--device"], "The code is valid for");
    let lines: Vec<&str> = begun.2.lines().map(str::trim).collect();
    let url = lines[0].split(' ').nth(1).expect("a URL").to_owned();
    let code = lines[2].to_owned();
    let person = Browser(desktop.scene.path().join("person.cookies"));
    let page = person.open(&url, &[]);
    let page = person.submit(&page, &[("user_code", &code)]);
    let page = person.submit(&page, &[]);
    let page = person.submit(&page, &[("login", "alice"), ("password", "any")]);
    let page = person.submit(&page, &[]);
    assert!(page.contains("Sign-in Success"), "{page}");
    assert!(desktop.finish(begun).contains("Signed in as alice."));
    desktop.awaits_state("readonly", Some("idle"));

    let Some(python) = python() else { return };
    let script =
        "import boto3; c = boto3.Session().get_credentials(); print(c.method, c.get_frozen_credentials().access_key)";
    let mut command = Command::new(python);
    command.args(["-c", script]).env("AWS_EC2_METADATA_SERVICE_ENDPOINT", format!("http://{}", desktop.listen));
    command.env("AWS_METADATA_SERVICE_TIMEOUT", "5").env("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "10");
    command.env("HOME", desktop.scene.path()).env_remove("AWS_PROFILE");
    let output = command.output().expect("python");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.starts_with("iam-role ASIA"), "{output:?}\n{}", desktop.log());
}

#[allow(clippy::disallowed_methods, reason = "the environment says where the clients are")]
fn python() -> Option<PathBuf> {
    std::env::var_os("ALPPACA_TEST_PYTHON").map(PathBuf::from).filter(|python| python.exists())
}

#[test]
fn a_sign_in_outlives_the_daemon_only_if_it_is_to_and_no_token_is_anywhere_else() {
    for keeps in [false, true] {
        let sign_in = if keeps { ", keep_sign_in: yes" } else { "" };
        let Some(mut desktop) = Desktop::new(&[], sign_in) else { return };
        let daemon = desktop.start();
        desktop.sign_in();
        desktop.say(&["credentials", "readonly"]);
        let kept = desktop.kept();
        assert_eq!(kept.is_some(), keeps);
        drop(daemon);
        let _daemon = desktop.start();
        assert_eq!(desktop.whoami()["signed_in"], keeps);
        let Some((path, tokens)) = kept else { continue };
        desktop.say(&["credentials", "readonly"]);
        desktop.say(&["logout"]);
        assert!(!path.exists());
        no_secrets(&desktop, &tokens);
    }
}

/// Neither the tokens nor parts of them are in what was logged or printed, or in any other file.
fn no_secrets(desktop: &Desktop, tokens: &serde_json::Value) {
    let token = |name: &str| tokens[name].as_str().expect("a token").to_owned();
    let id = token("bearer");
    let signature = id.rsplit('.').next().expect("a signature").to_owned();
    for secret in [&id, &signature, &token("refresh")] {
        assert!(!desktop.printed.contains(secret.as_str()), "printed");
        assert!(!desktop.server.log().contains(secret.as_str()), "in the log of the server");
        search(desktop.scene.path(), secret);
    }
}

fn search(folder: &Path, secret: &str) {
    for entry in fs::read_dir(folder).expect("ours") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            search(&path, secret);
        } else if path.is_file() {
            let text = fs::read(&path).expect("ours");
            assert!(!String::from_utf8_lossy(&text).contains(secret), "in {}", path.display());
        }
    }
}

#[test]
fn tokens_are_renewed_until_the_provider_wants_to_see_the_person_again() {
    // ID tokens are renewed when 10 s are left.
    let Some(mut desktop) = Desktop::new(&[14, 25], "") else { return };
    let _daemon = desktop.start();
    desktop.sign_in();
    desktop.say(&["credentials", "readonly"]);
    let first = desktop.whoami()["until"].clone();
    let renewed = || Some(desktop.whoami()["until"].clone()).filter(|until| until.is_string() && *until != first);
    eventually("the token is renewed", renewed, || desktop.log());
    // The provider has had enough.
    desktop.turn();
    let ended = || desktop.whoami()["needed"].as_str().map(str::to_owned);
    eventually("a person is needed", ended, || format!("{}\n{}", desktop.whoami(), desktop.log()));
    let status = String::from_utf8(desktop.run(&["status"]).stdout).expect("text");
    assert!(status.contains("sign-in needed for work"), "{status}");
    let notified = || Some(desktop.notified()).filter(|told| !told.is_empty());
    let told = eventually("a notification", notified, || desktop.log());
    assert_eq!(told, ["--app-name=alppaca --icon=dialog-password -- Sign-in needed work: run alppaca login"]);
    // What is valid is served to its end.
    assert!(desktop.get("readonly").contains("SecretAccessKey"));
    desktop.turn();
    desktop.sign_in();
    assert_eq!(desktop.whoami()["signed_in"], true);
    desktop.say(&["credentials", "web"]);
    // No notification for what the person does.
    desktop.say(&["logout"]);
    assert_eq!(desktop.notified().len(), 1, "{:?}", desktop.notified());
}

#[test]
fn a_person_signs_in_with_a_key_in_an_agent() {
    let Some(keys) = openssh::folder() else { return };
    openssh::new_key(keys.path(), "alice", &["ed25519"]);
    openssh::new_key(keys.path(), "other", &["ecdsa"]);
    let agent = openssh::Agent::start(keys.path());
    agent.add(keys.path(), "alice");
    agent.add(keys.path(), "other");
    let signers = keys.path().join("allowed_signers");
    fs::write(&signers, format!("alice {}\n", openssh::public(keys.path(), "alice"))).expect("ours");
    let people = format!("{{kind: ssh, for: people, file: {}, hosts: [localhost]}}", signers.display());
    let desktop = Desktop::with(Scene::new(), None, &people, "{kind: ssh, key: alice}");
    let daemon = desktop.start();
    assert!(desktop.whoami()["needed"].as_str().expect("a reason").contains("where your ssh-agent is"));
    let login = || desktop.command(&["login"]).env("SSH_AUTH_SOCK", &agent.socket).output().expect("it runs");
    let output = login();
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(said.contains("Signed in as SHA256:"), "{output:?}\n{}", desktop.log());
    desktop.awaits_state("web", Some("idle"));
    let credentials = desktop.run(&["credentials", "web"]);
    assert!(credentials.status.success(), "{credentials:?}\n{}\n{}", desktop.log(), desktop.server.log());
    let sessions: Vec<String> =
        desktop.sts.assumed().iter().map(|call| call.get("RoleSessionName").to_owned()).collect();
    assert_eq!(sessions, ["alice"]);
    assert!(said.contains(desktop.whoami()["name"].as_str().expect("a name")));
    sets_of_her_own(&desktop, &daemon);

    // Without the key a person is needed, and what is valid is served.
    agent.ssh_add(keys.path(), &["-q", "-d", "alice"]);
    assert!(!desktop.run(&["credentials", "--wait", "1", "gone"]).status.success());
    assert_eq!(login().status.code(), Some(1));
    agent.add(keys.path(), "alice");
    assert!(login().status.success());
    desktop.awaits_state("web", Some("fresh"));
    // A length that was chosen waits for the next sign-in, as the role does.
    let chosen = desktop.run(&["use", "web", "--duration", "2h"]);
    assert!(chosen.status.success(), "{chosen:?}\n{}", desktop.log());
    assert!(desktop.run(&["logout"]).status.success());
    desktop.awaits_state("web", None);
    let needed = desktop.run(&["prompt"]);
    assert_eq!(String::from_utf8_lossy(&needed.stdout), "sign-in needed\n");
    assert!(login().status.success());
    desktop.awaits_state("web", Some("idle"));
    let own = || desktop.run(&["status"]);
    let again = || Some(()).filter(|()| String::from_utf8_lossy(&own().stdout).contains("\nweb (2h)  fresh"));
    eventually("her own sets are there again", again, || format!("{:?}\n{}", own(), desktop.log()));
}

#[test]
fn a_person_signs_in_with_a_touch_of_a_fido_key() {
    let Some(keys) = openssh::folder() else { return };
    let Some(authenticator) = openssh::authenticator() else { return };
    let agent = openssh::Agent::start(keys.path());
    let mut signers = String::new();
    for (name, kind, options) in [
        ("old", "ecdsa-sk", &[][..]),
        ("new", "ed25519-sk", &[]),
        ("untouched", "ed25519-sk", &["-O", "no-touch-required"]),
    ] {
        openssh::new_hardware_key(keys.path(), name, kind, &authenticator, options);
        agent.add_hardware(keys.path(), name, &authenticator);
        signers.extend(["alice ", &openssh::public(keys.path(), name), "\n"]);
    }
    let file = keys.path().join("allowed_signers");
    fs::write(&file, signers).expect("ours");
    let people = format!("{{kind: ssh, for: people, file: {}, hosts: [localhost]}}", file.display());
    for (name, refused) in [("old", None), ("new", None), ("untouched", Some("the key was used without the person"))] {
        // The key is chosen by its fingerprint.
        let key = keys.path().join(format!("{name}.pub"));
        let shown = Command::new("ssh-keygen").arg("-lf").arg(&key).output().expect("ssh-keygen");
        let shown = String::from_utf8(shown.stdout).expect("text");
        let fingerprint = shown.split(' ').nth(1).expect("a fingerprint");
        let sign_in = format!("{{kind: ssh, key: '{fingerprint}'}}");
        let desktop = Desktop::with(Scene::new(), None, &people, &sign_in);
        let _daemon = desktop.start();
        let login = desktop.command(&["login"]).env("SSH_AUTH_SOCK", &agent.socket).output().expect("it runs");
        let said = String::from_utf8_lossy(&[login.stdout, login.stderr].concat()).into_owned();
        if let Some(reason) = refused {
            eventually("it is refused", || desktop.log().contains(reason).then_some(()), || desktop.log());
            assert!(desktop.sts.assumed().is_empty());
            continue;
        }
        assert!(login.status.success() && said.contains(fingerprint), "{name}: {said}\n{}", desktop.log());
        desktop.awaits_state("web", Some("idle"));
        let credentials = desktop.run(&["credentials", "web"]);
        assert!(credentials.status.success(), "{name}: {credentials:?}\n{}", desktop.log());
        assert_eq!(desktop.sts.assumed()[0].get("RoleSessionName"), "alice");
    }
}

/// They live as long as the rule of the site allows.
fn sets_of_her_own(desktop: &Desktop, daemon: &Daemon) {
    let says = |arguments: &[&str], code: i32, what: &str| {
        let output = desktop.run(arguments);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.code() == Some(code) && said.contains(what), "{arguments:?}: {said}\n{}", desktop.log());
    };
    let key = || desktop.get("web").split("AccessKeyId").nth(1).map(str::to_owned);
    let shared = key();
    desktop.sts.change(|script| script.roles.iter_mut().for_each(|role| role.max_session = Duration::from_hours(2)));
    says(&["use", "web", "--duration", "2h"], 0, "valid for 1h 59m");
    assert_ne!(key(), shared);
    says(&["use", "web", "--duration", "121m"], 4, "sessions of this role last 120m at most");
    says(&["roles"], 0, "web");
    assert_ne!(key(), shared, "what was chosen stays");
    says(&["status"], 0, "\nweb (2h)  fresh");
    // A reload that changes nothing about the site leaves them.
    let (own, file) = (key(), desktop.scene.path().join("alppaca.yaml"));
    let config = fs::read_to_string(&file).expect("ours");
    fs::write(&file, format!("{config}refresh_interval: 4m\n")).expect("ours");
    let killed = Command::new("kill").args(["-HUP", &daemon.child.id().to_string()]).status();
    assert!(killed.expect("kill").success());
    let read = || desktop.log().contains("the configuration has been reloaded").then_some(());
    eventually("the configuration is read", read, || desktop.log());
    assert_eq!(key(), own);
    says(&["me"], 0, "web (account");
    assert_ne!(key(), own);
}
