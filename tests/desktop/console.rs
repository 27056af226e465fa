//! `console`, against a stub of AWS's federation endpoint that has its rules, and browsers that are scripts.

use std::{
    fs,
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    sync::{Arc, Mutex},
    thread,
};

use crate::{
    ALPPACA, Command, Daemon, as_user, public_place, stderr, stdout,
    support::{needs, needs_root},
    with_credentials, with_roles,
};

const TOKEN: &str = "SIGN/IN+TOKEN=";
const ESCAPED: &str = "SIGN%2FIN%2BTOKEN%3D";

/// AWS's rules: POST of a form, a session of three texts, a duration within its bounds and never for a chained role.
struct SignIn {
    url: String,
    /// The session of each call, and whether it had a duration.
    calls: Arc<Mutex<Vec<(serde_json::Value, bool)>>>,
}

impl SignIn {
    fn start(chained: bool) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let url = format!("http://{}/federation", listener.local_addr().expect("bound"));
        let calls = Arc::new(Mutex::new(Vec::new()));
        let seen = Arc::clone(&calls);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.expect("a connection"));
                let (mut head, mut line) = (String::new(), String::new());
                while reader.read_line(&mut line).expect("a line") > 2 {
                    head.push_str(&line);
                    line.clear();
                }
                let lower = head.to_ascii_lowercase();
                let value = |name: &str| lower.lines().find_map(|line| line.strip_prefix(name)).unwrap_or_default();
                let mut body = vec![0; value("content-length: ").parse().unwrap_or(0)];
                reader.read_exact(&mut body).expect("a body");
                let answer = judge(&head, value("content-type: "), &String::from_utf8_lossy(&body), chained);
                let (status, text) = match answer {
                    Ok(call) => {
                        seen.lock().expect("not poisoned").push(call);
                        ("200 OK", format!("{{\"SigninToken\":\"{TOKEN}\"}}"))
                    }
                    Err(why) => ("400 Bad Request", why.to_owned()),
                };
                let length = text.len();
                let answer =
                    format!("HTTP/1.1 {status}\r\nConnection: close\r\nContent-Length: {length}\r\n\r\n{text}");
                reader.get_mut().write_all(answer.as_bytes()).expect("it reads");
            }
        });
        Self { url, calls }
    }
}

fn judge(head: &str, kind: &str, body: &str, chained: bool) -> Result<(serde_json::Value, bool), &'static str> {
    if !head.starts_with("POST /federation HTTP/1.1\r\n") || kind != "application/x-www-form-urlencoded" {
        return Err("no POST of a form");
    }
    let pairs: Vec<(&str, String)> = body.split('&').filter_map(|pair| pair.split_once('=')).map(decoded).collect();
    let one = |name: &str| {
        let mut values = pairs.iter().filter(|(key, _)| *key == name).map(|(_, value)| value.as_str());
        values.next().filter(|_| values.next().is_none())
    };
    if one("Action") != Some("getSigninToken") {
        return Err("wrong action");
    }
    let duration = one("SessionDuration");
    if duration.is_some_and(|duration| chained || !duration.parse().is_ok_and(|d: u32| (900..=43_200).contains(&d))) {
        return Err("Invalid credentials parameter");
    }
    let session: serde_json::Value =
        serde_json::from_str(one("Session").ok_or("no session")?).map_err(|_| "no JSON")?;
    let keys = session.as_object().map(|object| object.keys().map(String::as_str).collect::<Vec<_>>());
    if keys.as_deref() != Some(&["sessionId", "sessionKey", "sessionToken"]) {
        return Err("wrong session");
    }
    Ok((session, duration.is_some()))
}

fn decoded<'a>((key, value): (&'a str, &'a str)) -> (&'a str, String) {
    let text = percent_encoding::percent_decode_str(value).decode_utf8().expect("UTF-8");
    (key, text.into_owned())
}

fn console(daemon: &Daemon, sign_in: &SignIn, browser: &str, arguments: &[&str]) -> Output {
    let mut command = Command::new(ALPPACA);
    command.args(["console", "--endpoint", &sign_in.url]).args(arguments);
    command.env("ALPPACA_SOCKET", daemon.socket()).env("BROWSER", browser).output().expect("it runs")
}

/// A browser: a shell script, which gets the page as its last argument.
fn browser(directory: &Path, script: &str) -> PathBuf {
    let file = directory.join("browser");
    fs::write(&file, format!("#!/bin/sh\n{script}\n")).expect("a file");
    fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).expect("ours");
    file
}

#[test]
fn a_url_is_made_of_the_credentials_of_the_daemon() {
    let (ims, sign_in) = (with_roles(&["web", "db"]), SignIn::start(false));
    let daemon = with_credentials(&ims.config(), 2);
    let output = console(&daemon, &sign_in, "", &["db", "--url", "--service", "ddb", "--region", "eu-central-1"]);
    let destination = "https%3A%2F%2Fconsole.aws.amazon.com%2Fdynamodbv2%2Fhome%3Fregion%3Deu-central-1";
    let expected = format!("{}?Action=login&Issuer=&Destination={destination}&SigninToken={ESCAPED}\n", sign_in.url);
    assert_eq!((stdout(&output), stderr(&output)), (expected, String::new()));
    let (session, had_duration) = sign_in.calls.lock().expect("not poisoned")[0].clone();
    let served = daemon.get(&format!("{}db", crate::LIST)).json();
    for (field, key) in [("sessionId", "AccessKeyId"), ("sessionKey", "SecretAccessKey"), ("sessionToken", "Token")] {
        assert_eq!(session[field], served[key]);
    }
    assert!(!had_duration);
    let output = console(&daemon, &sign_in, "", &["db", "--url", "--duration", "2h"]);
    assert!(output.status.success() && output.stderr.is_empty(), "{output:?}");
    assert!(sign_in.calls.lock().expect("not poisoned")[1].1);
    assert!(!daemon.log().contains("SIGN"), "{}", daemon.log());
}

#[test]
fn a_duration_that_the_credentials_do_not_allow_is_left_out_and_said() {
    let (ims, sign_in) = (with_roles(&["web"]), SignIn::start(true));
    let daemon = with_credentials(&ims.config(), 1);
    let output = console(&daemon, &sign_in, "", &["--url", "--duration", "1h"]);
    assert!(output.status.success() && stdout(&output).contains(ESCAPED), "{output:?}");
    assert!(stderr(&output).contains("AWS gives these credentials no --duration"), "{output:?}");
    for (arguments, code) in [
        (&["nothing", "--url"][..], 4),
        (&["--url", "--duration", "13h"], 2),
        (&["--url", "--region", "evil.example/"], 2),
        (&["--url", "--endpoint", "http://127.0.0.1:9/"], 2),
    ] {
        assert_eq!(console(&daemon, &sign_in, "", arguments).status.code(), Some(code), "{arguments:?}");
    }
    // A sign-in that gives nothing.
    let output = Command::new(ALPPACA)
        .args(["console", "--url", "--endpoint", "http://127.0.0.1:9/federation"])
        .env("ALPPACA_SOCKET", daemon.socket())
        .output()
        .expect("it runs");
    assert_eq!(output.status.code(), Some(1));
    assert!(stderr(&output).contains("sign-in of AWS"), "{output:?}");
}

#[test]
fn the_browser_is_sent_there_without_the_secret_on_its_command_line() {
    if !needs("desktop: console", "curl") {
        return;
    }
    let (ims, sign_in) = (with_roles(&["web"]), SignIn::start(false));
    let daemon = with_credentials(&ims.config(), 1);
    let directory = tempfile::tempdir().expect("a directory");
    let (argument, target) = (directory.path().join("argument"), directory.path().join("target"));
    // Another site's name for 127.0.0.1, another page, and then what it was told to open.
    let script = format!(
        "curl -s -o /dev/null -w '%{{http_code}} ' -H 'Host: evil.example' \"$2\" >{0}\n\
         curl -s -o /dev/null -w '%{{http_code}} ' \"$2x\" >>{0}\n\
         curl -s -o /dev/null -w '%{{http_code}} %{{redirect_url}}' \"$2\" >>{0}\n\
         echo \"$1 $2\" >{1}",
        target.display(),
        argument.display()
    );
    let program = browser(directory.path(), &script);
    let output = console(&daemon, &sign_in, &format!("/nonexistent/browser:{} --new", program.display()), &[]);
    assert!(output.status.success() && stdout(&output).starts_with("the console is open as web, for "), "{output:?}");
    while !argument.exists() {
        thread::yield_now();
    }
    let said = fs::read_to_string(target).expect("it was told");
    let expected = format!("404 404 302 {}?Action=login&Issuer=&Destination=", sign_in.url);
    assert!(said.starts_with(&expected) && said.ends_with(ESCAPED), "{said}");
    let argument = fs::read_to_string(argument).expect("it has one");
    assert!(argument.starts_with("--new http://127.0.0.1:") && !argument.contains("SIGN"), "{argument}");
}

#[test]
fn a_browser_that_cannot_be_started_or_fails_is_named() {
    let (ims, sign_in) = (with_roles(&["web"]), SignIn::start(false));
    let daemon = with_credentials(&ims.config(), 1);
    let directory = tempfile::tempdir().expect("a directory");
    let failing = browser(directory.path(), "exit 3");
    for (browser, what) in [("/nonexistent/browser", "/nonexistent/browser: "), (failing.to_str().expect("UTF-8"), "3")]
    {
        let output = console(&daemon, &sign_in, browser, &[]);
        assert_eq!(output.status.code(), Some(1));
        let said = stderr(&output);
        assert!(said.contains(what) && said.contains("--url") && !said.contains("SIGN"), "{said}");
    }
}

#[test]
fn another_user_who_reads_the_command_line_gets_nothing() {
    if !needs_root("desktop: console of another") || !needs("desktop: console of another", "curl") {
        return;
    }
    let (ims, sign_in) = (with_roles(&["web"]), SignIn::start(false));
    let (place, binary) = public_place();
    let run = place.path().join("run");
    let _daemon = with_credentials(&format!("{}run_dir: {}\n", ims.config(), run.display()), 1);
    let own = place.path().join("own");
    fs::create_dir(&own).expect("ours");
    std::os::unix::fs::chown(&own, Some(52_111), Some(52_111)).expect("root");
    // The page is read from a file by the other user, before the browser opens it.
    let script = format!(
        "echo \"$1\" >{0}/page\nwhile [ ! -e {0}/tried ]; do :; done\n\
         curl -s -o /dev/null -w '%{{http_code}}' \"$1\" >{0}/told",
        own.display()
    );
    let program = browser(place.path(), &script);
    let mut command = as_user(52_111, &binary);
    command.args(["console", "--endpoint", &sign_in.url]).env("ALPPACA_SOCKET", run.join("alppaca.sock"));
    let child = command.env("BROWSER", program).stdout(std::process::Stdio::piped()).spawn().expect("it starts");
    let page = loop {
        match fs::read_to_string(own.join("page")) {
            Ok(page) if page.ends_with('\n') => break page.trim().to_owned(),
            _ => thread::yield_now(),
        }
    };
    let other = as_user(52_112, "curl").args(["-s", "-m", "10", "-i", &page]).output().expect("curl runs");
    assert!(!other.status.success() && stdout(&other).is_empty(), "{other:?}");
    fs::write(own.join("tried"), "").expect("root");
    let output = child.wait_with_output().expect("it ends");
    assert!(output.status.success(), "{output:?}");
    while fs::read_to_string(own.join("told")).unwrap_or_default() != "302" {
        thread::yield_now();
    }
}
