//! `vault`: a stand-in that holds each request against the recorded contract, and accepts nothing else.
//!
//! The contract is what hashicorp/vault's own sources say: `http/logical.go` (GET with a query, `X-Vault-*` headers,
//! `{"errors": […]}`), `builtin/logical/aws/path_user.go` and `secret_access_keys.go`, `builtin/credential/approle`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use alppaca::{
    clock::{Clock, SystemClock},
    credentials::RoleArn,
    refresh::Fetch,
    source::vault::{Auth, Endpoint, RoleSettings, Settings, Vault},
};
use tempfile::TempDir;

use crate::{
    is_refused, is_transient, options,
    server::{Asked, Server},
    write,
};

const STS: &str = r#"{"request_id":"5f1b6dc5","lease_id":"aws/sts/deploy/8hUm","renewable":false,"lease_duration":3599,"data":{"access_key":"ASIAEXAMPLE","arn":"arn:aws:sts::123456789012:assumed-role/deploy/x","secret_key":"wJalr","security_token":"IQoJ"},"wrap_info":null,"warnings":null,"auth":null}"#;
const USER: &str = r#"{"request_id":"5f1b6dc5","lease_id":"aws/creds/user/8hUm","renewable":true,"lease_duration":2764800,"data":{"access_key":"AKIAEXAMPLE","secret_key":"wJalr","security_token":null},"wrap_info":null,"warnings":null,"auth":null}"#;

fn denied() -> (u16, String) {
    (403, r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#.into())
}

/// Vault with a token `hvs.GOOD`, the role `deploy` and the IAM user `user`.
fn vault(asked: &Asked) -> (u16, String) {
    if asked.header("x-vault-request") != Some("true") || asked.header("user-agent").is_none() {
        return (412, "{}".into());
    }
    if asked.header("x-vault-token") != Some("hvs.GOOD") {
        return denied();
    }
    match asked.line().as_str() {
        "GET /v1/aws/sts/deploy"
        | "GET /v1/team/aws/sts/deploy?ttl=1800s&role_arn=arn%3Aaws%3Aiam%3A%3A123456789012%3Arole%2Fdeploy&role_session_name=ci-7" => {
            (200, STS.into())
        }
        "GET /v1/aws/creds/user" => (200, USER.into()),
        line if line.starts_with("GET /v1/aws/sts/") => (400, r#"{"errors":["Role \"x\" not found"]}"#.into()),
        _ => (404, r#"{"errors":["no handler for route"]}"#.into()),
    }
}

fn role(name: &str) -> RoleSettings {
    RoleSettings { role: name.into(), endpoint: Endpoint::Sts, ttl: None, role_arn: None, session_name: None }
}

struct Fixture {
    directory: TempDir,
    server: Server,
}

impl Fixture {
    fn new(answer: impl Fn(&Asked) -> (u16, String) + Send + Sync + 'static) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        write(&directory.path().join("token"), "hvs.GOOD\n");
        write(&directory.path().join("secret-id"), "5ecret-1d\n");
        Self { directory, server: Server::start(answer) }
    }

    fn settings(&self, auth: Auth) -> Settings {
        Settings { address: self.server.url(), namespace: None, mount: "aws".into(), auth, http: options() }
    }

    fn token_file(&self) -> Auth {
        Auth::TokenFile(self.directory.path().join("token"))
    }

    fn app_role(&self) -> Auth {
        let secret_id_file = Some(self.directory.path().join("secret-id"));
        Auth::AppRole { mount: "approle".into(), role_id: "r0le".into(), secret_id_file }
    }

    fn start(&self, auth: Auth) -> Arc<Vault> {
        Vault::new(self.settings(auth), SystemClock::shared()).expect("good settings")
    }
}

#[tokio::test]
async fn a_set_comes_with_the_lifetime_of_its_lease() {
    let fixture = Fixture::new(vault);
    let before = SystemClock.now().wall;
    let set = fixture.start(fixture.token_file()).role(role("deploy")).fetch(None).await.expect("credentials");
    let lease = Duration::from_secs(3599);
    assert!(set.expiration >= before + lease && set.expiration <= SystemClock.now().wall + lease);
    assert_eq!((set.access_key_id.as_str(), set.session_token.expose()), ("ASIAEXAMPLE", "IQoJ"));
    assert_eq!(fixture.server.asked()[0].header("x-vault-namespace"), None);
}

#[tokio::test]
async fn everything_that_can_be_said_is_said() {
    let fixture = Fixture::new(vault);
    let settings = Settings {
        namespace: Some("ops/team".into()),
        mount: "/team/aws/".into(),
        address: format!("{}/", fixture.server.url()),
        ..fixture.settings(fixture.token_file())
    };
    let role = RoleSettings {
        ttl: Some(Duration::from_mins(30)),
        role_arn: "arn:aws:iam::123456789012:role/deploy".parse().ok(),
        session_name: Some("ci-7".into()),
        ..role("deploy")
    };
    let vault = Vault::new(settings, SystemClock::shared()).expect("good settings");
    let set = vault.role(role).fetch(None).await.expect("credentials");
    assert_eq!(set.role_arn.as_ref().map(RoleArn::as_str), Some("arn:aws:iam::123456789012:role/deploy"));
    assert_eq!(fixture.server.asked()[0].header("x-vault-namespace"), Some("ops/team"));
}

#[tokio::test]
async fn the_keys_of_an_iam_user_have_no_token() {
    let fixture = Fixture::new(vault);
    let user = RoleSettings { endpoint: Endpoint::Creds, ..role("user") };
    let set = fixture.start(fixture.token_file()).role(user).fetch(None).await.expect("credentials");
    assert!(alppaca::source::long_term::is_long_term(&set));
}

#[tokio::test]
async fn the_token_file_is_read_each_time() {
    let fixture = Fixture::new(vault);
    let token = fixture.directory.path().join("token");
    write(&token, "hvs.OLD");
    let role = fixture.start(fixture.token_file()).role(role("deploy"));
    let error = role.fetch(None).await.expect_err("an old token");
    assert!(is_refused(&error) && error.message.contains("1 error occurred: * permission denied"), "{error}");
    assert!(!format!("{error:?}").contains("hvs."), "{error:?}");
    write(&token, "hvs.GOOD");
    role.fetch(None).await.expect("credentials");
    std::fs::remove_file(&token).expect("own");
    let error = role.fetch(None).await.expect_err("no token");
    assert!(is_transient(&error) && error.message.starts_with("the file of the Vault token ("), "{error}");
}

/// As `vault`, with a login that gives `hvs.GOOD` for `lease` seconds.
fn with_login(path: &'static str, body: &'static str, lease: u32) -> impl Fn(&Asked) -> (u16, String) {
    move |asked| {
        if asked.line() != format!("POST {path}") {
            return vault(asked);
        }
        let right = asked.header("content-type") == Some("application/json")
            && asked.header("x-vault-token").is_none()
            && serde_json::from_str::<serde_json::Value>(&asked.body).ok() == serde_json::from_str(body).ok();
        if !right {
            return (400, r#"{"errors":["invalid role or secret ID"]}"#.into());
        }
        (
            200,
            format!(
                r#"{{"request_id":"x","lease_id":"","data":null,"wrap_info":null,"auth":{{"client_token":"hvs.GOOD","accessor":"a","policies":["p"],"lease_duration":{lease},"renewable":true}}}}"#
            ),
        )
    }
}

fn logins(server: &Server) -> usize {
    server.lines().iter().filter(|line| line.starts_with("POST")).count()
}

#[tokio::test]
async fn an_app_role_logs_in_once_for_all_roles() {
    let body = r#"{"role_id":"r0le","secret_id":"5ecret-1d"}"#;
    let fixture = Fixture::new(with_login("/v1/auth/approle/login", body, 1200));
    let vault = fixture.start(fixture.app_role());
    let (first, second) = (vault.role(role("deploy")), vault.role(role("deploy")));
    let (one, two) = tokio::join!(first.fetch(None), second.fetch(None));
    one.and(two).expect("credentials");
    first.fetch(None).await.expect("credentials");
    assert_eq!(logins(&fixture.server), 1, "{:?}", fixture.server.lines());
}

#[tokio::test]
async fn a_login_that_is_over_is_made_anew() {
    // For no time at all, in whole seconds of which a tenth is taken off.
    let body = r#"{"role_id":"r0le","secret_id":"5ecret-1d"}"#;
    let revoked = Arc::new(AtomicUsize::new(0));
    let (count, login) = (Arc::clone(&revoked), with_login("/v1/auth/approle/login", body, 1200));
    let fixture = Fixture::new(move |asked| {
        // The second question for credentials meets a revoked token.
        if asked.method == "GET" && count.fetch_add(1, Ordering::SeqCst) == 1 { denied() } else { login(asked) }
    });
    let role = fixture.start(fixture.app_role()).role(role("deploy"));
    role.fetch(None).await.expect("credentials");
    role.fetch(None).await.expect("credentials, after another login");
    assert_eq!(logins(&fixture.server), 2);
    assert_eq!(revoked.load(Ordering::SeqCst), 3);
}

#[tokio::test]
async fn an_app_role_without_a_right_is_asked_twice_and_no_more() {
    let body = r#"{"role_id":"r0le","secret_id":"5ecret-1d"}"#;
    let login = with_login("/v1/auth/approle/login", body, 1200);
    let fixture = Fixture::new(move |asked| if asked.method == "GET" { denied() } else { login(asked) });
    let error = fixture.start(fixture.app_role()).role(role("deploy")).fetch(None).await.expect_err("denied");
    assert!(is_refused(&error), "{error:?}");
    assert_eq!(fixture.server.lines().len(), 4, "{:?}", fixture.server.lines());
}

#[tokio::test]
async fn a_service_account_logs_in() {
    let fixture = Fixture::new(with_login("/v1/auth/k8s/prod/login", r#"{"role":"app","jwt":"ey.J.hbG"}"#, 0));
    let token_file = fixture.directory.path().join("jwt");
    write(&token_file, "ey.J.hbG");
    let auth = Auth::Kubernetes { mount: "k8s/prod".into(), role: "app".into(), token_file: token_file.clone() };
    fixture.start(auth.clone()).role(role("deploy")).fetch(None).await.expect("credentials");
    write(&token_file, "ey.J.other");
    let error = fixture.start(auth).role(role("deploy")).fetch(None).await.expect_err("another account");
    assert!(is_refused(&error) && error.message.starts_with("POST http://"), "{error:?}");
    assert!(!format!("{error:?}").contains("ey.J"), "{error:?}");
}

#[tokio::test]
async fn each_failure_means_what_it_means() {
    for (status, body, transient, part) in [
        (400, r#"{"errors":["Role \"deploy\" not found"]}"#, false, "Role \"deploy\" not found"),
        (404, r#"{"errors":["no handler for route"]}"#, false, "no handler for route"),
        (403, r#"{"errors":["permission denied"]}"#, false, "permission denied"),
        (429, r#"{"errors":["request path quota exceeded"]}"#, true, "quota exceeded"),
        (503, r#"{"errors":["Vault is sealed"]}"#, true, "sealed or down"),
        (500, r#"{"errors":["internal error"]}"#, true, "internal error"),
        (502, r#"{"errors":["upstream"]}"#, true, "upstream"),
        (307, "", true, "without a usable Location"),
        (200, "<html>", true, "is not Vault's JSON"),
        (200, r#"{"errors":null,"data":{}}"#, true, "has no access_key"),
    ] {
        let fixture = Fixture::new(move |_| (status, body.to_owned()));
        let fetched = fixture.start(fixture.token_file()).role(role("deploy")).fetch(None).await;
        let error = fetched.expect_err("no credentials");
        assert_eq!((is_transient(&error), is_refused(&error)), (transient, !transient), "{status}: {error:?}");
        assert!(error.message.contains(part), "{status}: {error}");
    }
}
