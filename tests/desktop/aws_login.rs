//! `kind: aws_login`: a person signs in at the AWS console. The sign-in service is a stand-in that checks each call as the
//! models of botocore and the AWS CLI's `aws login` have it.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Read, Write},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use alppaca::clock::{Clock, SystemClock};
use aws_lc_rs::{
    digest::{SHA256, digest},
    signature::{ECDSA_P256_SHA256_FIXED, UnparsedPublicKey},
};
use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use serde_json::{Value, json};

use crate::{
    ALPPACA, Daemon, alppaca,
    browser::Browser,
    server::{Asked, Reply, Server},
    sso::{with_browser, with_browser_for},
    stderr, stdout,
    support::{eventually, needs},
};

const HERE: &str = "arn:aws:signin:::devtools/same-device";
const ELSEWHERE: &str = "arn:aws:signin:::devtools/cross-device";
const WHO: &str = "arn:aws:sts::123456789012:assumed-role/Admin/alice";

#[derive(Default)]
struct State {
    /// What it refuses every call with, if anything.
    refusal: Option<&'static str>,
    /// Code → challenge and redirection.
    codes: HashMap<String, (String, String)>,
    /// The refresh token that is good, and the key to which it is bound.
    bound: Option<(String, String)>,
    count: usize,
    /// How long a set lives.
    life: u32,
}

/// A sign-in service.
struct SignIn {
    server: Server,
    state: Arc<Mutex<State>>,
}

impl SignIn {
    fn start(life: u32) -> Self {
        let state = Arc::new(Mutex::new(State { life, ..State::default() }));
        let known = Arc::clone(&state);
        let server = Server::with_headers(move |asked| {
            let mut state = known.lock().expect("not poisoned");
            let outcome = match asked.line().split('?').next().unwrap_or_default() {
                "GET /v1/authorize" => state.authorize(asked),
                "POST /v1/token" => state.token(asked),
                _ => Err((404, "INVALID_REQUEST", "path")),
            };
            outcome.unwrap_or_else(|(status, error, message)| Reply {
                status,
                headers: Vec::new(),
                body: json!({"error": error, "message": message}).to_string(),
            })
        });
        Self { server, state }
    }

    fn config(&self) -> String {
        format!(
            "sources:\n  me: {{kind: aws_login, region: eu-west-1, endpoint: '{}'}}\nroles:\n  admin: {{source: me}}\n",
            self.server.url()
        )
    }

    fn refuse(&self, error: Option<&'static str>) {
        self.state.lock().expect("not poisoned").refusal = error;
    }
}

type Outcome = Result<Reply, (u16, &'static str, &'static str)>;

fn right(holds: bool, what: &'static str) -> Result<(), (u16, &'static str, &'static str)> {
    if holds { Ok(()) } else { Err((400, "INVALID_REQUEST", what)) }
}

/// The public key of a proof that is right (RFC 9449).
fn proven(asked: &Asked) -> Option<String> {
    let proof = asked.header("dpop")?;
    let (signed, signature) = proof.rsplit_once('.')?;
    let part =
        |index| serde_json::from_slice::<Value>(&URL_SAFE_NO_PAD.decode(signed.split('.').nth(index)?).ok()?).ok();
    let (head, body) = (part(0)?, part(1)?);
    let jwk = &head["jwk"];
    let point = |name: &str| URL_SAFE_NO_PAD.decode(jwk[name].as_str()?).ok();
    let point = [&[4][..], &point("x")?, &point("y")?].concat();
    let key = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point);
    key.verify(signed.as_bytes(), &URL_SAFE_NO_PAD.decode(signature).ok()?).ok()?;
    let here = body["htm"] == "POST" && body["htu"] == format!("http://{}/v1/token", asked.header("host")?);
    let now = (SystemClock.now().wall.as_second() - body["iat"].as_i64()?).abs() < 300;
    (head["typ"] == "dpop+jwt" && head["alg"] == "ES256" && here && now).then(|| jwk.to_string())
}

impl State {
    /// The person signs in at once.
    fn authorize(&mut self, asked: &Asked) -> Outcome {
        let pairs = asked.target.split_once('?').map_or("", |(_, query)| query).split('&');
        let decoded = |text: &str| percent_encoding::percent_decode_str(text).decode_utf8_lossy().into_owned();
        let query: HashMap<&str, String> =
            pairs.filter_map(|pair| pair.split_once('=')).map(|(key, value)| (key, decoded(value))).collect();
        let get = |key: &str| query.get(key).map_or("", String::as_str);
        right(query.len() == 7, "parameters")?;
        right(get("response_type") == "code" && get("scope") == "openid", "request")?;
        right(get("code_challenge_method") == "SHA-256" && get("code_challenge").len() == 43, "challenge")?;
        let redirect = get("redirect_uri");
        let port = redirect.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.strip_suffix("/oauth/callback"));
        let here = get("client_id") == HERE && port.is_some_and(|port| port.parse::<u16>().is_ok());
        let confirmation = format!("http://{}/v1/sessions/confirmation", asked.header("host").unwrap_or_default());
        let elsewhere = get("client_id") == ELSEWHERE && redirect == confirmation;
        right(here || elsewhere, "redirect_uri")?;
        self.count += 1;
        let code = format!("code-{}", self.count);
        self.codes.insert(code.clone(), (get("code_challenge").to_owned(), redirect.to_owned()));
        if elsewhere {
            // The page of confirmation.
            let shown = STANDARD.encode(format!("state={}&code={code}", get("state")));
            return Ok(Reply { status: 200, headers: Vec::new(), body: shown });
        }
        let location = format!("Location: {redirect}?code={code}&state={}", get("state"));
        Ok(Reply { status: 302, headers: vec![location], body: String::new() })
    }

    fn token(&mut self, asked: &Asked) -> Outcome {
        if let Some(error) = self.refusal {
            return Err((403, error, "no"));
        }
        let key = proven(asked).ok_or((400, "INVALID_REQUEST", "proof"))?;
        let body: Value = serde_json::from_str(&asked.body).map_err(|_| (400, "INVALID_REQUEST", "JSON"))?;
        let has = |keys: &[&str]| {
            body.as_object()
                .is_some_and(|body| body.len() == keys.len() && keys.iter().all(|key| body[*key].is_string()))
        };
        right(body["clientId"] == HERE || body["clientId"] == ELSEWHERE, "client")?;
        let mut first = false;
        match body["grantType"].as_str() {
            Some("authorization_code") => {
                right(has(&["clientId", "grantType", "code", "codeVerifier", "redirectUri"]), "members")?;
                let verifier = body["codeVerifier"].as_str().unwrap_or_default();
                let challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, verifier.as_bytes()));
                let known = self.codes.remove(body["code"].as_str().unwrap_or_default());
                let redirect = body["redirectUri"].as_str().unwrap_or_default().to_owned();
                right(known == Some((challenge, redirect)), "code")?;
                first = true;
            }
            Some("refresh_token") => {
                right(has(&["clientId", "grantType", "refreshToken"]), "members")?;
                let shown = body["refreshToken"].as_str().map(str::to_owned).map(|token| (token, key.clone()));
                right(shown.is_some() && shown == self.bound, "refresh token, or another key")?;
            }
            _ => right(false, "grantType")?,
        }
        self.count += 1;
        let refresh = format!("refresh-{}", self.count);
        self.bound = Some((refresh.clone(), key));
        let set = json!({"accessKeyId": format!("ASIALOGIN{}", self.count), "secretAccessKey": "wJalrSECRET",
            "sessionToken": "SESSION"});
        let mut answer = json!({"accessToken": set, "tokenType": "aws_sigv4", "expiresIn": self.life,
            "refreshToken": refresh});
        if first {
            let part = |value: Value| URL_SAFE_NO_PAD.encode(value.to_string());
            answer["idToken"] = format!("{}.{}.sig", part(json!({"alg": "ES384"})), part(json!({"sub": WHO}))).into();
        }
        Ok(Reply { status: 200, headers: Vec::new(), body: answer.to_string() })
    }
}

#[test]
fn each_source_has_a_sign_in_of_its_own() {
    const WHAT: &str = "desktop: two sign-ins at the AWS console";
    if !needs(WHAT, "curl") {
        return;
    }
    let at = SignIn::start(900);
    let source = format!("{{kind: aws_login, region: eu-west-1, endpoint: '{}'}}", at.server.url());
    let daemon = Daemon::start(&format!(
        "sources:\n  me: {source}\n  other: {source}\nroles:\n  admin: {{source: me}}\n  guest: {{source: other}}\n"
    ));
    let several = alppaca(&daemon.socket(), &["login", "--no-browser"]);
    assert!(stderr(&several).contains("several sources have a sign-in; name one of me, other"), "{several:?}");
    with_browser_for(&daemon, &["me"]);
    first_key(&daemon);
    let who = stdout(&alppaca(&daemon.socket(), &["whoami"]));
    assert!(who.starts_with(&format!("me: {WHO} at")) && who.contains("other: sign-in needed"), "{who}");
    let guest = alppaca(&daemon.socket(), &["credentials", "guest", "--wait", "0"]);
    assert!(!guest.status.success(), "{guest:?}");
    assert_eq!(stdout(&alppaca(&daemon.socket(), &["logout", "other"])), "Signed out.\n");
    assert!(!key(&daemon).is_empty(), "{}", daemon.log());
}

#[test]
fn an_endpoint_in_clear_text_is_warned_of() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    for (endpoint, warned) in [("http://signin.example.com", true), ("https://signin.example.com", false)] {
        let text =
            format!("sources:\n  me: {{kind: aws_login, endpoint: '{endpoint}'}}\nroles:\n  admin: {{source: me}}\n");
        std::fs::write(&file, text).expect("ours");
        let output = Command::new(ALPPACA).args(["check", "-c"]).arg(&file).output().expect("it runs");
        let said = stderr(&output) + &stdout(&output);
        assert_eq!(said.contains("credentials will travel in clear text"), warned, "{said}");
    }
}

/// The key that is served, once there is one.
fn first_key(daemon: &Daemon) -> String {
    eventually("a first set", || Some(key(daemon)).filter(|key| !key.is_empty()), || daemon.log())
}

fn key(daemon: &Daemon) -> String {
    daemon.get(&format!("{}admin", crate::LIST)).json()["AccessKeyId"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_person_signs_in_at_the_console_and_the_sets_are_renewed() {
    const WHAT: &str = "desktop: sign-in at the AWS console";
    if !needs(WHAT, "curl") {
        return;
    }
    // A set that is to be renewed at once: its life is shorter than what is wanted.
    let at = SignIn::start(40);
    let daemon = Daemon::start(&at.config());
    assert_eq!(alppaca(&daemon.socket(), &["whoami"]).status.code(), Some(1));
    assert!(with_browser(&daemon).ends_with(&format!("\nSigned in as {WHO}.\n")));
    let who = stdout(&alppaca(&daemon.socket(), &["whoami"]));
    assert!(who.starts_with(&format!("me: {WHO} at {}\n", at.server.url())) && who.contains("then renewed"), "{who}");
    let first = first_key(&daemon);
    assert!(first.starts_with("ASIALOGIN"), "{first}");
    eventually("the next set", || Some(key(&daemon)).filter(|key| *key != first), || daemon.log());
    let account = daemon.get("/latest/meta-data/iam/info").json();
    assert!(account["InstanceProfileArn"].as_str().is_some_and(|arn| arn.contains("123456789012")), "{account}");
    let log = daemon.log();
    for secret in ["wJalrSECRET", "refresh-", "code-"] {
        assert!(!log.contains(secret), "{secret}: {log}");
    }
    assert_eq!(stdout(&alppaca(&daemon.socket(), &["logout"])), "Signed out.\n");
    eventually("nothing is served", || (key(&daemon).is_empty()).then_some(()), || daemon.log());
}

#[test]
fn a_browser_elsewhere_shows_what_is_to_be_entered() {
    const WHAT: &str = "desktop: sign-in at the AWS console, elsewhere";
    if !needs(WHAT, "curl") {
        return;
    }
    let at = SignIn::start(900);
    let daemon = Daemon::start(&at.config());
    let enter = |change: &dyn Fn(String) -> String| {
        let mut login = Command::new(ALPPACA);
        login.args(["login", "--device"]).env("ALPPACA_SOCKET", daemon.socket());
        login.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = login.spawn().expect("it starts");
        let mut reader = BufReader::new(child.stdout.take().expect("piped"));
        let mut said = String::new();
        while !said.contains("Then enter the text") {
            assert!(reader.read_line(&mut said).expect("text") > 0, "{said}\n{}", daemon.log());
        }
        let url = said.lines().find_map(|line| line.strip_prefix("    ")).expect("a URL");
        let directory = tempfile::tempdir().expect("a directory");
        let shown = Browser(directory.path().join("cookies")).open(url, &[]);
        writeln!(child.stdin.take().expect("piped"), "{}", change(shown)).expect("it reads");
        reader.read_to_string(&mut said).expect("text");
        (child.wait_with_output().expect("it ends"), said)
    };
    let (other, _) = enter(&|_| STANDARD.encode("state=x&code=code-1"));
    assert!(!other.status.success() && stderr(&other).contains("belongs to another sign-in"), "{other:?}");
    let (wrong, _) = enter(&|shown| format!("x{shown}"));
    assert!(!wrong.status.success() && stderr(&wrong).contains("this is not the text"), "{wrong:?}");
    let (right, said) = enter(&|shown| shown);
    assert!(right.status.success() && said.ends_with(&format!("\nSigned in as {WHO}.\n")), "{said}{right:?}");
    first_key(&daemon);
}

#[test]
fn what_the_sign_in_service_refuses_needs_the_person() {
    const WHAT: &str = "desktop: a sign-in at the AWS console that ends";
    if !needs(WHAT, "curl") {
        return;
    }
    let at = SignIn::start(15);
    let daemon = Daemon::start(&at.config());
    with_browser(&daemon);
    first_key(&daemon);
    at.refuse(Some("USER_CREDENTIALS_CHANGED"));
    let who = || stdout(&alppaca(&daemon.socket(), &["whoami"]));
    let said =
        eventually("a person is needed", || Some(who()).filter(|who| who.contains("sign-in needed")), || daemon.log());
    assert!(said.contains("USER_CREDENTIALS_CHANGED"), "{said}");
}
