//! `console`, against a stub of AWS's federation endpoint that has its rules, and browsers that are scripts.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Output,
    thread,
};

use crate::{
    ALPPACA, Command, Daemon, as_user,
    aws_sign_in::{ESCAPED, SignIn},
    public_place, stderr, stdout,
    support::{needs, needs_root},
    with_credentials, with_roles,
};

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

/// The place to which a command connects through a proxy, which does not let it.
fn connects_to(daemon: &Daemon, arguments: &[&str]) -> String {
    let proxy = TcpListener::bind("127.0.0.1:0").expect("a port");
    let place = proxy.local_addr().expect("bound");
    let url = format!("http://{place}");
    let asked = thread::spawn(move || {
        let (mut stream, _) = proxy.accept().expect("a connection");
        let mut line = String::new();
        BufReader::new(&stream).read_line(&mut line).expect("a line");
        // Whoever asked for nothing has gone.
        let _sent = stream.write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n");
        line
    });
    let mut command = Command::new(ALPPACA);
    command.args(["console", "--url"]).args(arguments).env("ALPPACA_SOCKET", daemon.socket());
    let output = command.env("https_proxy", url).env_remove("NO_PROXY").env_remove("no_proxy").output();
    let output = output.expect("it runs");
    // If the command has failed before it asked, nothing else ends the wait.
    drop(TcpStream::connect(place));
    assert!(output.status.code() == Some(1) && output.stdout.is_empty(), "{output:?}");
    asked.join().expect("it was asked").split(' ').nth(1).expect("a place").to_owned()
}

#[test]
fn each_partition_has_its_own_sign_in_and_console() {
    let (ims, sign_in) = (with_roles(&["web"]), SignIn::start(false));
    let daemon = with_credentials(&ims.config(), 1);
    for (region, place, page) in [
        ("us-east-1", "signin.aws.amazon.com", "console.aws.amazon.com"),
        ("eu-west-1", "eu-west-1.signin.aws.amazon.com", "console.aws.amazon.com"),
        ("cn-north-1", "signin.amazonaws.cn", "console.amazonaws.cn"),
        ("cn-northwest-1", "cn-northwest-1.signin.amazonaws.cn", "console.amazonaws.cn"),
        ("us-gov-west-1", "signin.amazonaws-us-gov.com", "console.amazonaws-us-gov.com"),
        ("us-gov-east-1", "us-gov-east-1.signin.amazonaws-us-gov.com", "console.amazonaws-us-gov.com"),
    ] {
        assert_eq!(connects_to(&daemon, &["--region", region]), format!("{place}:443"));
        let url = stdout(&console(&daemon, &sign_in, "", &["--url", "--region", region, "--service", "s3"]));
        let destination = format!("Destination=https%3A%2F%2F{page}%2Fs3%2Fhome%3Fregion%3D{region}&");
        assert!(url.contains(&destination), "{url}");
    }
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
         echo \"$1 $2\" >{1}.new && mv {1}.new {1}",
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
