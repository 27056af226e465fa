//! `kind: sso`: a person signs in at IAM Identity Center, and works as any role that is assigned there.

use std::{
    fs,
    io::{BufRead, BufReader, Read},
    path::Path,
    process::{Child, ChildStdout, Command, Output, Stdio},
    time::Duration,
};

use alppaca::clock::{Clock, SystemClock};
use tempfile::TempDir;

use crate::{
    ALPPACA, Daemon, alppaca,
    browser::Browser,
    identity_center::{IdentityCenter, START_URL},
    stderr, stdout,
    support::{
        eventually, needs,
        service::{Service, said},
        skip,
    },
};

fn config(at: &IdentityCenter, more: &str) -> String {
    format!(
        "sources:\n  work:\n    kind: sso\n    start_url: {START_URL}\n    sso_region: eu-west-1\n    endpoint: {}\n{more}\
         refresh_interval: 1s\n",
        at.url()
    )
}

fn say(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = alppaca(&daemon.socket(), arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}\n{}", daemon.log());
    stdout(&output)
}

/// Signs in with a browser, in which the person consents.
pub(crate) fn with_browser(daemon: &Daemon) -> String {
    with_browser_for(daemon, &[])
}

/// The same for a source.
pub(crate) fn with_browser_for(daemon: &Daemon, source: &[&str]) -> String {
    let directory = tempfile::tempdir().expect("a directory");
    let mut login = Command::new(ALPPACA);
    login.args(["login", "--no-browser"]).args(source).env("ALPPACA_SOCKET", daemon.socket());
    let mut child = login.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().expect("it starts");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut said = String::new();
    while !said.lines().last().is_some_and(|line| line.starts_with("    http://127.0.0.1:")) {
        assert!(reader.read_line(&mut said).expect("text") > 0, "{said}\n{}", daemon.log());
    }
    let url = said.lines().last().expect("a line").trim().to_owned();
    let page = Browser(directory.path().join("cookies")).open(&url, &[]);
    reader.read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("it ends").success(), "{said}{page}\n{}", daemon.log());
    assert!(page.contains("You may close this window."), "{page}");
    said
}

/// Signs in with a code.
fn with_code(daemon: &Daemon, at: &IdentityCenter) -> String {
    let (mut child, mut reader, mut said) = begin_with_code(daemon, at);
    reader.read_to_string(&mut said).expect("text");
    assert!(child.wait().expect("it ends").success(), "{said}\n{}", daemon.log());
    said
}

/// Begins to, and enters the code.
fn begin_with_code(daemon: &Daemon, at: &IdentityCenter) -> (Child, BufReader<ChildStdout>, String) {
    let mut login = Command::new(ALPPACA);
    login.args(["login", "--device"]).env("ALPPACA_SOCKET", daemon.socket());
    let mut child =
        login.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut said = String::new();
    while !said.contains("The code is valid for") {
        assert!(reader.read_line(&mut said).expect("text") > 0, "{said}\n{}", daemon.log());
    }
    let code = said.lines().find_map(|line| line.strip_prefix("    ABCD")).expect("a code");
    at.approve(&format!("ABCD{code}"));
    (child, reader, said)
}

#[test]
fn a_person_signs_in_with_the_browser_and_has_every_role_that_is_assigned() {
    const WHAT: &str = "desktop: IAM Identity Center, browser";
    if !needs(WHAT, "curl") {
        return;
    }
    let at = IdentityCenter::start();
    let daemon = Daemon::start(&config(&at, ""));
    let before = alppaca(&daemon.socket(), &["whoami"]);
    let needed = format!("work: sign-in needed at {START_URL} (nobody has signed in yet): run `alppaca login`\n");
    assert_eq!((before.status.code(), stdout(&before)), (Some(1), needed));
    assert!(with_browser(&daemon).ends_with("\nSigned in.\n"));
    let who = say(&daemon, &["whoami"]);
    assert!(who.starts_with(&format!("work: signed in at {START_URL}\n")) && who.contains("then renewed"), "{who}");
    let roles = eventually(
        "the roles are listed",
        || Some(stdout(&alppaca(&daemon.socket(), &["roles"]))).filter(|roles| roles.contains("auditor")),
        || daemon.log(),
    );
    // All pages, each account, and names that are unique.
    for part in [
        "account 111111111111\n",
        " admin@sandbox ",
        " developer ",
        " admin@prod ",
        " readonly ",
        " billing ",
        "account 333333333333\n",
        " auditor ",
    ] {
        assert!(roles.contains(part), "{part}: {roles}");
    }
    assert_eq!(at.calls("/federation/credentials"), 0, "none is fetched before it is wanted");
    let set: serde_json::Value = serde_json::from_str(&say(&daemon, &["credentials", "admin@prod"])).expect("JSON");
    assert_eq!(set["SessionToken"], "222222222222/admin");
    assert_eq!(at.calls("/federation/credentials"), 1);
    let log = daemon.log();
    for secret in ["client-secret-", "access-", "refresh-", "wJalrSECRET"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }

    assert_eq!(say(&daemon, &["logout"]), "Signed out.\n");
    eventually("the session ends there, too", || (at.calls("/logout") == 1).then_some(()), || daemon.log());
    let gone = alppaca(&daemon.socket(), &["credentials", "admin@prod", "--wait", "0"]);
    assert!(!gone.status.success(), "{gone:?}");
}

#[test]
fn a_person_signs_in_with_a_code_and_filters_choose_what_counts() {
    let at = IdentityCenter::start();
    let daemon = Daemon::start(&config(
        &at,
        "    accounts: [prod, '333333333333']\n    roles: [admin, auditor]\n    ready: [admin]\n",
    ));
    let said = with_code(&daemon, &at);
    assert!(said.contains(&format!("Open {START_URL}/#/device in any browser")), "{said}");
    assert!(said.contains(&format!("or open {START_URL}/#/device?user_code=ABCD-")), "{said}");
    assert!(said.ends_with("\nSigned in.\n"), "{said}");
    daemon.wait_for_log("admin: fetched");
    let roles = say(&daemon, &["roles"]);
    assert!(roles.contains(" admin ") && roles.contains(" auditor "), "{roles}");
    assert!(!roles.contains("developer") && !roles.contains("readonly"), "{roles}");
    assert_eq!(daemon.get(&format!("{}admin", crate::LIST)).json()["Token"], "222222222222/admin");
}

#[test]
fn a_token_that_ends_is_renewed_and_what_cannot_be_renewed_needs_the_person() {
    let at = IdentityCenter::start();
    at.state().throttle = 2;
    let daemon = Daemon::start(&config(&at, "    ready: [auditor, developer]\n"));
    with_code(&daemon, &at);
    daemon.wait_for_log("auditor: fetched");
    let (tokens, sets) = (at.calls("/token"), at.calls("/federation/credentials"));
    assert!(sets >= 2);
    // The portal does not know the token any more: another one is got without the person.
    at.state().end_access();
    let first: serde_json::Value = serde_json::from_str(&say(&daemon, &["credentials", "readonly"])).expect("JSON");
    assert_eq!(first["SessionToken"], "222222222222/readonly");
    assert_eq!(at.calls("/token"), tokens + 1, "{}", daemon.log());
    assert_eq!(at.calls("/client/register"), 1, "with the client that has signed in");
    // The session has ended.
    at.state().renews = false;
    at.state().end_access();
    let none = alppaca(&daemon.socket(), &["credentials", "billing", "--wait", "0"]);
    assert!(!none.status.success(), "{none:?}");
    let who = eventually(
        "a person is needed",
        || Some(alppaca(&daemon.socket(), &["whoami"])).filter(|who| who.status.code() == Some(1)),
        || daemon.log(),
    );
    assert!(stdout(&who).contains("sign-in needed"), "{who:?}");
    // What is valid is served on.
    assert_eq!(daemon.get(&format!("{}auditor", crate::LIST)).status, 200);
    at.state().renews = true;
    with_code(&daemon, &at);
    assert_eq!(at.calls("/client/register"), 2);
    say(&daemon, &["credentials", "billing"]);
}

#[test]
fn a_token_that_comes_after_the_logout_does_not_stay_valid() {
    let at = IdentityCenter::start();
    let daemon = Daemon::start(&config(&at, "    ready: [auditor]\n"));
    with_code(&daemon, &at);
    daemon.wait_for_log("auditor: fetched");
    let tokens = at.calls("/token");
    let held = at.hold_tokens();
    at.state().end_access();
    // It is refused, and a renewal begins.
    let idle = alppaca(&daemon.socket(), &["credentials", "billing", "--wait", "0"]);
    assert!(!idle.status.success(), "{idle:?}");
    eventually("a renewal", || (at.calls("/token") > tokens).then_some(()), || daemon.log());
    assert_eq!(say(&daemon, &["logout"]), "Signed out.\n");
    drop(held);
    eventually("both are revoked", || (at.calls("/logout") == 2).then_some(()), || daemon.log());
    eventually("no token is good", || (!at.state().has_access()).then_some(()), || daemon.log());
    assert_eq!(alppaca(&daemon.socket(), &["whoami"]).status.code(), Some(1));
}

#[test]
fn a_sign_in_that_was_given_up_leaves_no_token_behind() {
    let at = IdentityCenter::start();
    let daemon = Daemon::start(&config(&at, ""));
    for (another, said) in [(false, "you have signed out meanwhile"), (true, "there is no such attempt")] {
        let held = at.hold_tokens();
        let tokens = at.calls("/token");
        let (first, _, _) = begin_with_code(&daemon, &at);
        eventually("the tokens are asked for", || (at.calls("/token") > tokens).then_some(()), || daemon.log());
        let ended = at.calls("/logout");
        let second = another.then(|| begin_with_code(&daemon, &at));
        if second.is_none() {
            assert_eq!(say(&daemon, &["logout"]), "Signed out.\n");
        }
        let first = first.wait_with_output().expect("it ends");
        assert!(!first.status.success() && stderr(&first).contains(said), "{first:?}");
        drop(held);
        eventually("it is revoked", || (at.calls("/logout") == ended + 1).then_some(()), || daemon.log());
        if let Some((mut second, _, _)) = second {
            assert!(second.wait().expect("it ends").success(), "{}", daemon.log());
        } else {
            assert!(!at.state().has_access());
        }
        let who = alppaca(&daemon.socket(), &["whoami"]);
        assert_eq!(who.status.code(), Some(i32::from(!another)), "{who:?}");
    }
}

#[test]
fn roles_of_the_configuration_share_one_list_and_its_calls_keep_to_the_rate() {
    let at = IdentityCenter::start();
    let roles = "roles:\n  a: {source: work, upstream_role: auditor}\n  b: {source: work, upstream_role: readonly}\n  \
                 c: {source: work, upstream_role: billing}\n";
    let daemon = Daemon::start(&config(&at, &format!("    rate: 4/s\n{roles}")));
    with_code(&daemon, &at);
    let began = SystemClock.now().boot;
    for role in ["a", "b", "c"] {
        daemon.wait_for_log(&format!("role {role}: could be fetched again"));
    }
    // Two pages of accounts, and one or two for each of the three.
    assert_eq!((at.calls("/assignment/accounts"), at.calls("/assignment/roles")), (2, 4), "{}", daemon.log());
    assert_eq!(at.calls("/federation/credentials"), 3);
    // Nine calls, of which four may begin at once.
    assert!(SystemClock.now().boot.since(began) > Duration::from_secs(1));
}

/// A home with this `.aws/config`.
fn home(config: &str) -> TempDir {
    let home = tempfile::tempdir().expect("a directory");
    fs::create_dir(home.path().join(".aws")).expect("ours");
    fs::write(home.path().join(".aws/config"), config).expect("ours");
    home
}

fn check(home: &Path, config: &str) -> Output {
    let file = home.join("alppaca.yaml");
    fs::write(&file, config).expect("ours");
    let mut command = Command::new(ALPPACA);
    command.args(["check", "-c"]).arg(&file).env("HOME", home).output().expect("it runs")
}

#[test]
fn the_session_of_the_aws_cli_says_where_it_is() {
    let at = IdentityCenter::start();
    let home = home(&format!("[sso-session my work]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n"));
    let config =
        format!("sources:\n  work: {{kind: sso, sso_session: my work, endpoint: '{}', ready: [auditor]}}\n", at.url());
    let daemon = Daemon::start_with(&config, |command| {
        command.env("HOME", home.path());
    });
    with_code(&daemon, &at);
    daemon.wait_for_log("auditor: fetched");
}

#[test]
fn what_is_missing_is_said() {
    let home = home(
        "[sso-session work]\nsso_start_url = https://x.awsapps.com/start\n\
         [sso-session elsewhere]\nsso_start_url = https://x.awsapps.com/start\nsso_region = evil.example/eu-west-1\n\
         [sso-session narrow]\nsso_start_url = https://x.awsapps.com/start\nsso_region = eu-west-1\n\
         sso_registration_scopes = codewhisperer:completions\n\
         [sso-session clear]\nsso_start_url = http://x.awsapps.com/start\nsso_region = eu-west-1\n",
    );
    for (source, said) in [
        ("{kind: sso}", "an sso source needs a `start_url`, or the `sso_session` of `~/.aws/config` that has it"),
        ("{kind: sso, start_url: 'https://x.awsapps.com/start'}", "needs a `sso_region`"),
        ("{kind: sso, start_url: 'http://x.awsapps.com/start', sso_region: eu-west-1}", "the URL of an access portal"),
        ("{kind: sso, sso_session: work, sso_region: eu-west-1}", "sso_region"),
        ("{kind: sso, sso_session: work, scopes: 'a:b'}", "`sso:account:access` in it"),
        ("{kind: sso, sso_session: work}", "has no sso_region"),
        ("{kind: sso, sso_session: elsewhere}", "sso_region of [sso-session elsewhere]"),
        ("{kind: sso, sso_session: clear}", "sso_region of [sso-session clear]"),
        ("{kind: sso, sso_session: narrow}", "sso_registration_scopes of that section lack sso:account:access"),
        ("{kind: sso, sso_session: other}", "there is no [sso-session other] in "),
    ] {
        let output = check(home.path(), &format!("sources:\n  work: {source}\n"));
        let text = stderr(&output) + &stdout(&output);
        assert!(text.contains(said), "{source}: {output:?}");
    }
}

/// The stand-in is what botocore expects: its clients, its errors, and its own way from a login to credentials.
#[test]
fn botocore_signs_in_at_the_stand_in_as_well() {
    const WHAT: &str = "botocore at the stand-in for IAM Identity Center";
    let Some(python) = python() else {
        skip(WHAT, "there is no ALPPACA_TEST_PYTHON");
        return;
    };
    let at = IdentityCenter::start();
    let home = home(&format!(
        "[profile work]\nsso_session = work\nsso_account_id = 222222222222\nsso_role_name = readonly\nregion = eu-west-1\n\
         [sso-session work]\nsso_start_url = {START_URL}\nsso_region = eu-west-1\n\
         sso_registration_scopes = sso:account:access\n"
    ));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/python/identity_center.py");
    let mut command = Command::new(python);
    command.arg(script).arg(START_URL).env("HOME", home.path()).env_remove("AWS_PROFILE");
    for service in ["SSO", "SSO_OIDC"] {
        command.env(format!("AWS_ENDPOINT_URL_{service}"), at.url());
    }
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("it starts");
    let mut reader = BufReader::new(child.stdout.take().expect("piped"));
    let mut code = String::new();
    reader.read_line(&mut code).expect("a line");
    if !code.is_empty() {
        at.approve(code.trim());
    }
    let mut rest = String::new();
    reader.read_to_string(&mut rest).expect("text");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{code}{rest}{}", stderr(&output));
    assert_eq!(rest, "ok\n");
}

#[allow(clippy::disallowed_methods, reason = "the environment says where the clients are")]
fn python() -> Option<std::path::PathBuf> {
    std::env::var_os("ALPPACA_TEST_PYTHON").map(Into::into)
}

/// A daemon in the background, which can be restarted.
struct Restartable {
    service: Service,
    /// What the session of a person has instead of a home.
    session: TempDir,
}

impl Restartable {
    fn new(at: &IdentityCenter, more: &str) -> Self {
        let service = Service::new();
        let session = TempDir::new().expect("a directory");
        fs::create_dir(session.path().join("alppaca")).expect("ours");
        let listen = format!("bind_port: {}\nrun_dir: {}\n", service.port, service.path("run").display());
        let log = format!(
            "logging_handler: {{module: logging, class: FileHandler, args: [{}]}}\n",
            service.path("run/log").display()
        );
        service.configure(&format!("{}{listen}{log}", config(at, more)));
        let restartable = Self { service, session };
        assert!(restartable.begin("start").wait().expect("it ends").success(), "{}", restartable.service.log());
        restartable
    }

    fn begin(&self, word: &str) -> Child {
        let mut command = self.service.command(word);
        command.env("XDG_RUNTIME_DIR", self.session.path()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("it runs")
    }

    fn socket(&self) -> std::path::PathBuf {
        self.service.path("run/alppaca.sock")
    }

    /// Begins to sign in with a code, and enters it; then come further lines.
    fn login(&self, at: &IdentityCenter) -> (Child, impl Iterator<Item = String>) {
        let mut login = Command::new(ALPPACA);
        login.args(["login", "--device"]).env("ALPPACA_SOCKET", self.socket());
        let login = login.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut login = login.spawn().expect("it starts");
        let mut lines = BufReader::new(login.stdout.take().expect("piped")).lines().map_while(Result::ok);
        let code =
            lines.find_map(|line| line.strip_prefix("    ABCD").map(|rest| format!("ABCD{rest}"))).expect("a code");
        at.approve(&code);
        (login, lines)
    }
}

/// The provider accepts each refresh token once.
#[test]
fn a_sign_in_that_is_renewed_during_a_restart_is_not_lost() {
    let at = IdentityCenter::start();
    // Renewed after five seconds, and usable for so long.
    at.state().life = 15;
    let daemon = Restartable::new(&at, "    keep_sign_in: yes\n");
    let Restartable { service, .. } = &daemon;
    let (mut login, _lines) = daemon.login(&at);
    assert!(login.wait().expect("it ends").success(), "{}", service.log());
    let renewals = || at.calls("/token");
    let (before, held) = (renewals(), at.hold_tokens());
    eventually("a renewal is under way", || (renewals() > before).then_some(()), || service.log());
    let restart = daemon.begin("restart");
    eventually(
        "a process prepares",
        || service.log().contains("prepares to take over").then_some(()),
        || service.log(),
    );
    // It is ready long before the provider answers the other one.
    std::thread::sleep(std::time::Duration::from_secs(1));
    drop(held);
    let (code, words) = said(&restart.wait_with_output().expect("it ends"));
    assert_eq!((code, &*words), (Some(0), "alppaca restarted\n"), "{}", service.log());
    let renewed = renewals();
    eventually("it is renewed by the next process", || (renewals() > renewed).then_some(()), || service.log());
    eventually(
        "the person is signed in",
        || alppaca(&daemon.socket(), &["whoami"]).status.success().then_some(()),
        || service.log(),
    );
    assert!(!service.log().contains("sign-in needed at"), "{}", service.log());
    assert!(daemon.begin("stop").wait().expect("it ends").success());
}

#[test]
fn a_sign_in_that_is_renewed_while_the_daemon_stops_is_not_lost() {
    let at = IdentityCenter::start();
    at.state().life = 15;
    let daemon = Restartable::new(&at, "    keep_sign_in: yes\n");
    let Restartable { service, .. } = &daemon;
    let (mut login, _lines) = daemon.login(&at);
    assert!(login.wait().expect("it ends").success(), "{}", service.log());
    let (before, held) = (at.calls("/token"), at.hold_tokens());
    eventually("a renewal is under way", || (at.calls("/token") > before).then_some(()), || service.log());
    let mut stop = daemon.begin("stop");
    eventually("it stops", || service.log().contains("stopping: SIGTERM").then_some(()), || service.log());
    drop(held);
    assert!(stop.wait().expect("it ends").success());
    assert!(daemon.begin("start").wait().expect("it ends").success(), "{}", service.log());
    let who = alppaca(&daemon.socket(), &["whoami"]);
    assert!(who.status.success(), "{who:?}\n{}", service.log());
    let renewed = at.calls("/token");
    eventually("it is renewed", || (at.calls("/token") > renewed).then_some(()), || service.log());
    assert!(!service.log().contains("sign-in needed at"), "{}", service.log());
    assert!(daemon.begin("stop").wait().expect("it ends").success());
}

#[test]
fn tokens_that_come_in_the_moment_of_a_restart_do_not_stay_valid() {
    let at = IdentityCenter::start();
    let daemon = Restartable::new(&at, "");
    let Restartable { service, .. } = &daemon;
    let held = at.hold_tokens();
    let (login, _lines) = daemon.login(&at);
    eventually("the tokens are asked for", || (at.calls("/token") > 0).then_some(()), || service.log());
    let restart = daemon.begin("restart");
    let login = login.wait_with_output().expect("it ends");
    assert!(stderr(&login).contains("the daemon is being restarted"), "{login:?}");
    drop(held);
    let (code, words) = said(&restart.wait_with_output().expect("it ends"));
    assert_eq!((code, &*words), (Some(0), "alppaca restarted\n"), "{}", service.log());
    // The process that has asked for them is gone.
    assert_eq!(at.calls("/logout"), 1, "{}", service.log());
    assert!(!at.state().has_access());
    assert!(daemon.begin("stop").wait().expect("it ends").success());
}
