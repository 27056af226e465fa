//! `alppaca demo --desktop`, as a person tries it: what it says is typed.

#[path = "../../../tests/support/chromium.rs"]
mod chromium;
mod support;

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
};

use chromium::{Chromium, pictures};
use support::{
    Browser, daemon_program, eventually,
    needs::{needs, needs_root},
};
use tempfile::TempDir;

struct Demo {
    child: Child,
    place: TempDir,
    /// Everything that it says.
    guide: String,
}

impl Demo {
    /// With commands named `alppaca` and `browser`. The browser writes the page that it is to open into a file.
    fn start() -> Self {
        let place = TempDir::new().expect("a directory");
        fs::create_dir(place.path().join("tmp")).expect("ours");
        fs::create_dir(place.path().join("bin")).expect("ours");
        std::os::unix::fs::symlink(daemon_program(), place.path().join("bin/alppaca")).expect("ours");
        let browser = place.path().join("bin/browser");
        let page = place.path().join("page");
        let page = page.display();
        fs::write(&browser, format!("#!/bin/sh\necho \"$1\" >'{page}.new' && mv '{page}.new' '{page}'\n"))
            .expect("ours");
        fs::set_permissions(&browser, fs::Permissions::from_mode(0o755)).expect("ours");
        // It becomes the program beside it.
        let mut command = Command::new(daemon_program());
        command.args(["demo", "--desktop", "--port", "0"]).env("TMPDIR", place.path().join("tmp"));
        command.env_remove("XDG_RUNTIME_DIR");
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let mut guide = String::new();
        for line in lines {
            guide.push_str(&line);
            guide.push('\n');
            if line.starts_with("Stop with") {
                break;
            }
        }
        assert!(guide.contains("Stop with"), "{guide}");
        Self { child, place, guide }
    }

    /// The line of the guide that begins so.
    fn line(&self, beginning: &str) -> &str {
        let lines = self.guide.lines().filter_map(|line| line.strip_prefix("  "));
        let mut found = lines.filter(|line| line.starts_with(beginning));
        found.next().unwrap_or_else(|| panic!("{beginning}: {}", self.guide))
    }

    /// A shell after the person has typed what the guide exports.
    fn command(&self, script: &str) -> Command {
        let exports = self.guide.lines().filter(|line| line.starts_with("  export "));
        let exports = exports.collect::<Vec<_>>().join("\n");
        let mut command = Command::new("sh");
        command.args(["-ec", &format!("{exports}\n{script}")]).env_clear().env("HOME", self.place.path());
        let own = self.place.path().join("bin");
        command.env("PATH", format!("{}:/usr/bin:/bin", own.display())).env("BROWSER", own.join("browser"));
        // The tests beside this one need the machine, too.
        command.env("AWS_METADATA_SERVICE_TIMEOUT", "5").env("AWS_METADATA_SERVICE_NUM_ATTEMPTS", "10");
        command.stdin(Stdio::null());
        command
    }

    fn run(&self, script: &str) -> Output {
        self.command(script).output().expect("a shell")
    }

    /// What a script prints, which succeeds.
    fn say(&self, script: &str) -> String {
        let output = self.run(script);
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        assert!(output.status.success(), "{script}: {said}");
        said
    }

    /// The page that a command has the browser open.
    fn page(&self) -> String {
        let page = self.place.path().join("page");
        let url = eventually("a browser", || fs::read_to_string(&page).ok(), String::new);
        fs::remove_file(&page).expect("ours");
        url.trim().to_owned()
    }

    fn begin(&self, script: &str) -> Child {
        self.command(script).stdout(Stdio::piped()).spawn().expect("a shell")
    }

    /// Nothing stays of it.
    fn stop(mut self) {
        let killed = Command::new("kill").args(["-INT", &self.child.id().to_string()]).status();
        assert!(killed.expect("kill").success());
        assert_eq!(self.child.wait().expect("it ends").code(), Some(0));
        assert_eq!(fs::read_dir(self.place.path().join("tmp")).expect("ours").count(), 0);
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.child.kill();
        let _reaped = self.child.wait();
    }
}

fn finished(child: Child) -> String {
    let output = child.wait_with_output().expect("it ends");
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{said}");
    said
}

#[allow(clippy::disallowed_methods, reason = "the environment says where the clients are")]
fn python() -> Option<PathBuf> {
    std::env::var_os("ALPPACA_TEST_PYTHON").map(PathBuf::from).filter(|python| python.exists())
}

/// The accounts and roles, once the site has said them.
fn roles(demo: &Demo) -> Vec<String> {
    let names = || {
        let said = demo.say("alppaca roles --json");
        let document: serde_json::Value = serde_json::from_str(&said).expect("JSON");
        let roles = document["roles"].as_array().expect("roles");
        let names: Vec<_> = roles.iter().map(|role| role["name"].as_str().expect("a name").to_owned()).collect();
        (!names.is_empty()).then_some(names)
    };
    eventually("roles", names, String::new)
}

#[test]
fn what_the_demo_says_works_as_it_says() {
    if !needs("demo", "curl") {
        return;
    }
    let demo = Demo::start();
    let login = demo.begin(demo.line("alppaca login"));
    let browser = Browser(demo.place.path().join("cookies"));
    let page = browser.open(&demo.page(), &[]);
    assert!(page.contains("Sign in as alice") && page.contains("Sign in as bob"), "{page}");
    assert!(browser.submit(&page, &[("person", "bob")]).contains("Signed in as bob"));
    assert!(finished(login).contains("Signed in as bob."));
    let whoami = demo.say(demo.line("alppaca whoami"));
    assert!(
        whoami.contains("bob") && whoami.contains("groups: developers") && whoami.contains("then renewed"),
        "{whoami}"
    );
    let mut names = roles(&demo);
    names.sort();
    assert_eq!(names, ["developer", "readonly"], "not admin, which is for alice");
    assert!(demo.say(demo.line("alppaca roles")).contains("444455556666"));
    assert!(demo.say(demo.line("alppaca use")).starts_with("developer (account 111122223333): valid for "));
    assert!(demo.say("alppaca prompt").starts_with("developer "));

    let url = demo.say(demo.line("alppaca console"));
    let console = browser.open(url.trim(), &[]);
    assert!(console.contains("assumed-role/developer/bob") && console.contains("console.aws.amazon.com"), "{console}");

    if needs("demo: AWS CLI", "aws") {
        let said = demo.say(demo.line("aws sts"));
        assert!(said.contains("arn:aws:sts::111122223333:assumed-role/developer/bob"), "{said}");
        let said = demo.say(demo.line("alppaca exec"));
        assert!(said.contains("arn:aws:sts::444455556666:assumed-role/readonly/bob"), "{said}");
    }
    if let Some(python) = python() {
        std::os::unix::fs::symlink(python, demo.place.path().join("bin/python3")).expect("ours");
        assert!(demo.say(demo.line("python3")).starts_with("ASIA"));
    }
    assert!(demo.say(demo.line("alppaca logout")).contains("Signed out."));
    demo.stop();
}

#[test]
fn its_pages_are_readable_in_a_real_browser_and_load_nothing() {
    const WHAT: &str = "demo: Chromium";
    if !["curl", "chromium", "chromedriver"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let (demo, chromium) = (Demo::start(), Chromium::start());
    let login = demo.begin(demo.line("alppaca login"));
    chromium.open(&demo.page());
    chromium.finds_readable(&pictures(), "demo-who-are-you");
    chromium.click("button[value=alice]");
    assert!(chromium.text().contains("Signed in as alice"), "{}", chromium.text());
    assert!(finished(login).contains("Signed in as alice."));
    assert_eq!(roles(&demo).len(), 3);

    // With the browser, not --url: so there is no secret on its command line.
    let console = demo.begin(&demo.line("alppaca console").replace("--url", "admin"));
    let page = demo.page();
    chromium.open(&page);
    assert!(finished(console).contains("the console is open as admin"));
    assert!(chromium.text().contains("assumed-role/admin/alice"), "{}", chromium.text());
    chromium.finds_readable(&pictures(), "demo-console");
    let secret = chromium.address();
    assert!(secret.contains("SigninToken=") && !page.contains("SigninToken="), "{page}");
    chromium.open(&secret);
    assert!(chromium.text().contains("has been used"), "{}", chromium.text());
    chromium.stayed_here();
    drop(chromium);
    demo.stop();
}

#[test]
fn a_port_that_is_taken_is_said() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("bound").port().to_string();
    let place = TempDir::new().expect("a directory");
    let output = Command::new(Path::new(env!("CARGO_BIN_EXE_alppaca-ims")))
        .args(["demo", "--desktop", "--port", &port])
        .env("TMPDIR", place.path())
        .output()
        .expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.code() == Some(1) && said.contains("`alppaca demo --desktop --port 0`"), "{output:?}");
    assert_eq!(fs::read_dir(place.path()).expect("ours").count(), 0);
}

/// What a service has is no account for a demo: its files are for those who run it.
#[test]
fn its_configurations_work_for_root_on_a_host_with_the_accounts_of_the_services() {
    const WHAT: &str = "demo: accounts";
    if !needs_root(WHAT) || !needs(WHAT, "unshare") {
        return;
    }
    let place = TempDir::new().expect("a directory");
    let accounts = place.path().join("passwd");
    let users = fs::read_to_string("/etc/passwd").expect("users");
    let more = "alppaca:x:64001:64001::/:/bin/false\nalppaca-ims:x:64002:64002::/:/bin/false\n";
    fs::write(&accounts, users + more).expect("ours");
    let mut demo = Command::new(env!("CARGO_BIN_EXE_alppaca-ims"));
    demo.args(["demo", "--port", "0"]).env("TMPDIR", place.path()).stdin(Stdio::null()).stdout(Stdio::piped());
    let mut demo = Running(demo.spawn().expect("it starts"));
    let stdout = BufReader::new(demo.0.stdout.take().expect("piped"));
    assert!(stdout.lines().map_while(Result::ok).any(|line| line.starts_with("Stop with")));
    let mut found = fs::read_dir(place.path()).expect("ours").map(|entry| entry.expect("an entry").path());
    let directory = found.find(|path| path.is_dir()).expect("its directory");
    let server = Path::new(env!("CARGO_BIN_EXE_alppaca-ims"));
    for (program, config, said) in
        [(daemon_program().as_path(), "alppaca.yaml", "role web: fetched"), (server, "ims.yaml", " serves at ")]
    {
        // It may listen elsewhere: other tests want the usual port, too.
        let text = fs::read_to_string(directory.join(config)).expect("a configuration");
        let listen = text.lines().find(|line| line.starts_with("listen: ")).expect("a listener");
        fs::write(directory.join(config), text.replace(listen, "listen: 127.0.0.1:0")).expect("ours");
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", "mount --bind \"$0\" /etc/passwd && exec \"$1\" run -c \"$2\""]);
        command.arg(&accounts).arg(program).arg(directory.join(config));
        let log = place.path().join("log");
        let stderr = fs::File::create(&log).expect("ours");
        let _server = Running(command.stdin(Stdio::null()).stderr(stderr).spawn().expect("it starts"));
        let log = || fs::read_to_string(&log).expect("ours");
        eventually(config, || log().contains(said).then_some(()), log);
        // The daemon reads its certificates before it becomes another account, but not what is in its run directory.
        assert!(!log().contains("Permission denied"), "{config}: {}", log());
    }
}

struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended.
        let _ended = self.0.kill();
        let _reaped = self.0.wait();
    }
}
