//! `aws login`: a profile with `login_session`, and a sign-in service that checks the proof of each call.

use std::{
    fs,
    os::unix::fs::{MetadataExt, PermissionsExt, chown},
    path::{Path, PathBuf},
    process::Command,
    sync::{Arc, Mutex},
    time::Duration,
};

use alppaca::{
    clock::{Clock, SystemClock},
    credentials::Credentials,
    refresh::Fetch,
    source::profile::{Profile, Settings},
};
use aws_lc_rs::signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey};
use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{
    options,
    server::{Asked, Server},
    support::{needs_root, skip},
    write,
};

const SESSION: &str = "arn:aws:iam::123456789012:user/Admin";
/// The SHA-256 of the session, as the CLI names the file.
const FILE: &str = ".aws/login/cache/10cabd19777b6651ac57333b55c7c10a1242b1c2337f40e674926d7324698347.json";

/// A key and the coordinates of its public half.
const KEY: &str = "-----BEGIN EC PRIVATE KEY-----\nMHcCAQEEIFDZHUzOG1Pzq+6F0mjMlOSp1syN9LRPBuHMoCFXTcXhoAoGCCqGSM49\nAwEHoUQDQgAE9qhj+KtcdHj1kVgwxWWWw++tqoh7H7UHs7oXh8jBbgF47rrYGC+t\ndjiIaHK3dBvvdE7MGj5HsepzLm3Kj91bqA==\n-----END EC PRIVATE KEY-----\n";
const PUBLIC: [&str; 2] =
    ["9qhj-KtcdHj1kVgwxWWWw--tqoh7H7UHs7oXh8jBbgE", "eO662BgvrXY4iGhyt3Qb73ROzBo-R7Hqcy5tyo_dW6g"];

/// A sign-in service. Each refresh token is good for one call; what it refuses all calls with may be said.
struct SignIn {
    server: Server,
    refusal: Arc<Mutex<Option<&'static str>>>,
}

impl SignIn {
    fn start() -> Self {
        let refusal = Arc::new(Mutex::new(None));
        let (says, count) = (Arc::clone(&refusal), Mutex::new(0));
        let server = Server::start(move |asked| {
            if let Some(error) = *says.lock().expect("not poisoned") {
                return (403, format!(r#"{{"error":"{error}","message":"no"}}"#));
            }
            let mut count = count.lock().expect("not poisoned");
            match check(asked, *count) {
                Ok(()) => {
                    *count += 1;
                    let access =
                        json!({"accessKeyId": format!("ASIA{count}"), "secretAccessKey": "s", "sessionToken": "t"});
                    let answer = json!({"accessToken": access, "tokenType": "aws_sigv4", "expiresIn": 900,
                        "refreshToken": format!("r{count}")});
                    (200, answer.to_string())
                }
                Err(wrong) => (400, format!(r#"{{"error":"INVALID_REQUEST","message":"{wrong}"}}"#)),
            }
        });
        Self { server, refusal }
    }

    fn refuse(&self, error: Option<&'static str>) {
        *self.refusal.lock().expect("not poisoned") = error;
    }

    fn calls(&self) -> usize {
        self.server.asked().len()
    }
}

/// Whether this is the call of RFC 9449 and of botocore's model for the refresh token of this number.
fn check(asked: &Asked, number: usize) -> Result<(), &'static str> {
    let right = |holds: bool, what| if holds { Ok(()) } else { Err(what) };
    right(asked.line() == "POST /v1/token", "target")?;
    right(asked.header("content-type").is_some_and(|kind| kind.starts_with("application/json")), "content type")?;
    let expected = json!({"clientId": "arn:aws:signin:::devtools/same-device", "grantType": "refresh_token",
        "refreshToken": format!("r{number}")});
    right(serde_json::from_str::<Value>(&asked.body).ok() == Some(expected), "body")?;
    let proof = asked.header("dpop").ok_or("no proof")?;
    let (signed, signature) = proof.rsplit_once('.').ok_or("form")?;
    let (head, body) = signed.split_once('.').ok_or("form")?;
    let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).map_err(|_| "base64");
    let json = |part| serde_json::from_slice::<Value>(&decode(part)?).map_err(|_| "JSON");
    let (head, body) = (json(head)?, json(body)?);
    let jwk = json!({"kty": "EC", "crv": "P-256", "x": PUBLIC[0], "y": PUBLIC[1]});
    right(head == json!({"typ": "dpop+jwt", "alg": "ES256", "jwk": jwk}), "header")?;
    let point = [&[4][..], &decode(PUBLIC[0])?, &decode(PUBLIC[1])?].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| "signature")?;
    let host = asked.header("host").ok_or("no host")?;
    right(body["htm"] == "POST" && body["htu"] == format!("http://{host}/v1/token"), "htu")?;
    let now = SystemClock.now().wall.as_second();
    right(body["iat"].as_i64().is_some_and(|iat| (now - iat).abs() < 300), "iat")?;
    right(body["jti"].as_str().is_some_and(|id| id.len() == 36), "jti")
}

struct Home {
    directory: TempDir,
    source: Profile,
}

impl Home {
    /// A profile `console` with a login, whose set ends in so many minutes.
    fn new(sign_in: &SignIn, minutes: i64) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        fs::create_dir_all(directory.path().join(".aws/login/cache")).expect("writable");
        let config = format!(
            "[profile console]\nlogin_session = {SESSION}\nregion = eu-west-1\nservices = local\n[services local]\nsignin =\n  endpoint_url = {}\n",
            sign_in.server.url()
        );
        write(&directory.path().join(".aws/config"), &config);
        let settings = Settings {
            profile: "console".to_owned(),
            home: directory.path().to_owned(),
            config_file: None,
            credentials_file: None,
            region: "eu-central-1".to_owned(),
            endpoints: Vec::new(),
            launcher: Vec::new(),
            environment: Vec::new(),
            http: options(),
            assumed_lifetime: Duration::from_hours(1),
        };
        let home = Self { directory, source: Profile::new(settings, SystemClock::shared()) };
        let access = json!({"accessKeyId": "ASIA0", "secretAccessKey": "s", "sessionToken": "t",
            "accountId": "123456789012", "expiresAt": "2020-01-01T00:00:00Z"});
        let login = json!({"accessToken": access, "tokenType": "aws_sigv4", "refreshToken": "r0", "idToken": "i",
            "clientId": "arn:aws:signin:::devtools/same-device", "dpopKey": KEY, "later": 1});
        write(&home.file(), &login.to_string());
        fs::set_permissions(home.file(), fs::Permissions::from_mode(0o600)).expect("ours");
        home.end_in(minutes);
        home
    }

    fn file(&self) -> PathBuf {
        self.directory.path().join(FILE)
    }

    fn login(&self) -> Value {
        serde_json::from_str(&fs::read_to_string(self.file()).expect("there")).expect("JSON")
    }

    /// Lets the set in the cache end in so many minutes.
    fn end_in(&self, minutes: i64) {
        let end = SystemClock.now().wall + jiff::SignedDuration::from_mins(minutes);
        let mut login = self.login();
        login["accessToken"]["expiresAt"] = alppaca::credentials::format_timestamp(end).into();
        write(&self.file(), &login.to_string());
    }

    async fn fetch(&self) -> Result<Credentials, String> {
        self.source.fetch(None).await.map_err(|error| error.message)
    }

    async fn key(&self) -> Result<String, String> {
        self.fetch().await.map(|set| set.access_key_id)
    }
}

#[tokio::test]
async fn a_login_is_used_and_renewed_in_the_cache_of_the_cli() {
    let sign_in = SignIn::start();
    let home = Home::new(&sign_in, 14);
    let set = home.fetch().await.expect("what the CLI has left");
    assert_eq!((set.access_key_id.as_str(), sign_in.calls()), ("ASIA0", 0));
    assert_eq!(set.account_id.map(|id| id.to_string()).as_deref(), Some("123456789012"));
    // After a third of its life a set is asked for again, and has to be another.
    home.end_in(10);
    let set = home.fetch().await.expect("a new one");
    let left = set.expiration.duration_since(SystemClock.now().wall).as_mins();
    assert!(set.access_key_id == "ASIA1" && (13..=15).contains(&left), "{set:?}");
    let login = home.login();
    assert_eq!((&login["refreshToken"], &login["accessToken"]["accessKeyId"]), (&json!("r1"), &json!("ASIA1")));
    // What a renewal does not change is as the CLI wrote it.
    assert_eq!((&login["dpopKey"], &login["idToken"], &login["later"]), (&json!(KEY), &json!("i"), &json!(1)));
    assert_eq!(fs::metadata(home.file()).expect("there").mode() & 0o777, 0o600);
    assert_eq!(fs::read_dir(home.file().parent().expect("a directory")).expect("there").count(), 1);
    assert_eq!(home.key().await.as_deref(), Ok("ASIA1"));
    assert_eq!(sign_in.calls(), 1, "a young set is not renewed");
}

#[tokio::test]
async fn a_login_that_is_over_says_what_to_do_and_is_not_asked_for_again_and_again() {
    let sign_in = SignIn::start();
    let home = Home::new(&sign_in, 5);
    for (error, said) in [
        ("TOKEN_EXPIRED", "the profile console: the login has ended; run `aws login --profile console` again"),
        (
            "USER_CREDENTIALS_CHANGED",
            "the profile console: the password was changed after the login; run `aws login --profile console` again",
        ),
        (
            "INSUFFICIENT_PERMISSIONS",
            "the profile console: the user may not renew the login: the policy SignInLocalDevelopmentAccess \
             (signin:CreateOAuth2Token) is missing",
        ),
    ] {
        sign_in.refuse(Some(error));
        let calls = sign_in.calls();
        // The set that is still good is given out once, to those who have none.
        assert_eq!(home.key().await.as_deref(), Ok("ASIA0"));
        assert_eq!([home.key().await, home.key().await], [Err(said.to_owned()), Err(said.to_owned())]);
        assert_eq!(sign_in.calls(), calls + 1);
        // The CLI writes the file anew.
        home.end_in(4 - i64::try_from(calls).expect("few"));
    }
    sign_in.refuse(None);
    assert_eq!(home.key().await.as_deref(), Ok("ASIA1"), "after a new login");
    home.end_in(-1);
    sign_in.refuse(Some("INTERNAL"));
    let said = home.key().await.expect_err("trouble");
    assert!(said.ends_with("/v1/token: the answer is 403 Forbidden (INTERNAL: no)"), "{said}");
    sign_in.refuse(None);
    assert_eq!(home.key().await.as_deref(), Ok("ASIA2"), "trouble is not the end");
    fs::remove_file(home.file()).expect("ours");
    let said = home.key().await.expect_err("no login");
    assert!(
        said.contains(SESSION)
            && said.ends_with("No such file or directory (os error 2); run `aws login --profile console`"),
        "{said}"
    );
}

#[tokio::test]
async fn a_login_in_a_cache_that_cannot_be_written_is_kept_in_memory() {
    let sign_in = SignIn::start();
    let home = Home::new(&sign_in, -1);
    let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).expect("ours");
    mode(home.directory.path(), 0o755);
    mode(&home.file(), 0o644);
    mode(home.file().parent().expect("a directory"), 0o555);
    // Root writes everywhere, unless this thread is another account to the file system.
    let own = nix::unistd::geteuid();
    nix::unistd::setfsuid(if own.is_root() { 65534.into() } else { own });
    let got = [home.key().await, home.key().await];
    nix::unistd::setfsuid(own);
    mode(home.file().parent().expect("a directory"), 0o755);
    assert_eq!(got, [Ok("ASIA1".to_owned()), Ok("ASIA1".to_owned())]);
    assert_eq!((sign_in.calls(), &home.login()["refreshToken"]), (1, &json!("r0")), "the file is as it was");
    // A new login goes before what is in memory.
    home.end_in(14);
    assert_eq!(home.key().await.as_deref(), Ok("ASIA0"));
}

#[tokio::test]
async fn a_login_stays_its_owners_when_root_renews_it() {
    if !needs_root("a login of another account") {
        return;
    }
    let sign_in = SignIn::start();
    let home = Home::new(&sign_in, -1);
    chown(home.file(), Some(1234), Some(2345)).expect("root may");
    assert_eq!(home.key().await.as_deref(), Ok("ASIA1"));
    let metadata = fs::metadata(home.file()).expect("there");
    assert_eq!((metadata.uid(), metadata.gid(), metadata.mode() & 0o777), (1234, 2345, 0o600));
    assert_eq!(home.login()["refreshToken"], "r1");
}

/// botocore and we renew one login in turn.
#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "the environment says where Python is")]
async fn botocore_goes_on_with_our_login_and_we_with_its_own() {
    const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/interop/python/login.py");
    let what = "a login that is shared with botocore";
    let Ok(python) = std::env::var("ALPPACA_TEST_PYTHON") else {
        skip(what, "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let sign_in = SignIn::start();
    let home = Home::new(&sign_in, -1);
    let botocore = || {
        let mut command = Command::new(&python);
        command
            .arg(SCRIPT)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .env("HOME", home.directory.path())
            .env("AWS_EC2_METADATA_DISABLED", "true");
        for name in ["AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_LOGIN_CACHE_DIRECTORY", "AWS_ENDPOINT_URL"]
        {
            command.env_remove(name);
        }
        let output = command.output().expect("Python");
        let text = |bytes| String::from_utf8_lossy(bytes).trim().to_owned();
        (text(&output.stdout), text(&output.stderr))
    };
    assert_eq!(home.key().await.as_deref(), Ok("ASIA1"));
    assert_eq!(botocore(), ("ASIA1".to_owned(), String::new()), "it takes what we have written");
    home.end_in(-1);
    assert_eq!(botocore(), ("ASIA2".to_owned(), String::new()), "it renews what we have renewed");
    assert_eq!(home.key().await.as_deref(), Ok("ASIA2"));
    home.end_in(-1);
    assert_eq!(home.key().await.as_deref(), Ok("ASIA3"), "and we what it has renewed");
    assert_eq!(sign_in.calls(), 3);
}
