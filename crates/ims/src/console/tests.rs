//! Against a stub of the federation endpoint that has AWS's rules.

use std::{net::Ipv4Addr, path::PathBuf, sync::Arc};

use jiff::Timestamp;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::TcpListener,
};

use super::{ConsoleError, read};
use crate::{
    clock::SystemClock,
    credentials::{Credentials, Secret},
    fetch::ProxyVariables,
    rules::Grant,
    settings::{Fields, Setting, Value, problem::Source, yaml},
    source::{HostEnv, aws::Environment},
    sts::Minted,
};

const TABLE: &[Setting] = &[Setting::nested("console", "", "")];

/// Answers `count` requests; their bodies are the result. A `SessionDuration` is refused if `chained`.
async fn stub(count: usize, chained: bool) -> (String, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let url = format!("http://{}/federation", listener.local_addr().expect("bound"));
    let task = tokio::spawn(async move {
        let mut bodies = Vec::new();
        for _ in 0..count {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut reader = BufReader::new(stream);
            let (mut length, mut first, mut line) = (0, String::new(), String::new());
            while reader.read_line(&mut line).await.expect("a line") > 2 {
                if first.is_empty() {
                    first.clone_from(&line);
                }
                if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length: ") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).await.expect("a body");
            let body = String::from_utf8(body).expect("a form");
            let legal = first == "POST /federation HTTP/1.1\r\n"
                && body.starts_with("Action=getSigninToken&")
                && !(chained && body.contains("SessionDuration"));
            let answer = if legal { ("200 OK", "{\"SigninToken\": \"to/ken\"}") } else { ("400 Bad Request", "no") };
            let head =
                format!("HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", answer.0, answer.1.len());
            reader.write_all(format!("{head}{}", answer.1).as_bytes()).await.expect("written");
            bodies.push(body);
        }
        bodies
    });
    (url, task)
}

fn console(url: &str) -> super::Console {
    let text = format!("console: {{endpoint: '{url}', callback_urls: ['https://portal.example/aws/']}}");
    let node = yaml::read(&Arc::new(Source { name: PathBuf::from("test.yaml"), text })).expect("YAML").expect("some");
    let Value::Map(entries) = node.value else { panic!("no mapping") };
    let host_env = HostEnv {
        host: "ims1".to_owned(),
        aws: Environment::default(),
        proxies: ProxyVariables::read(|_| None),
        home: None,
        path: None,
        ssh_auth_sock: None,
        launcher: Vec::new(),
        sign_ins: alppaca_sources::sign_in::SignIns::new(SystemClock::shared(), None),
        clock: SystemClock::shared(),
    };
    read(&mut Fields::new(entries, TABLE)).expect("options").open(&host_env).expect("open")
}

fn minted(by_user: bool) -> Minted {
    let credentials = Credentials {
        access_key_id: "ASIATEST".to_owned(),
        secret_access_key: Secret::new("s+/"),
        session_token: Secret::new("t=="),
        expiration: Timestamp::MAX,
        life: None,
        last_updated: None,
        account_id: None,
        role_arn: None,
    };
    Minted { credentials, at: Timestamp::UNIX_EPOCH, request_id: None, region: String::new(), by_user }
}

fn grant(arn: &str) -> Grant {
    Grant { console: true, ..Grant::of(arn) }
}

const ROLE: &str = "arn:aws:iam::222222222222:role/web";

#[tokio::test]
async fn a_duration_is_asked_for_with_a_users_keys_only_and_left_out_after_a_refusal() {
    for (by_user, chained, calls) in [(true, false, 1), (false, true, 1), (true, true, 2)] {
        let (url, stub) = stub(calls, chained).await;
        let made = console(&url).url(&minted(by_user), &grant(ROLE), Some("https://portal.example/aws/x")).await;
        let expected = "Action=login&Issuer=https%3A%2F%2Fportal.example%2Faws%2Fx&Destination=https%3A%2F%2F\
                        console.aws.amazon.com%2F&SigninToken=to%2Fken";
        assert_eq!(made.expect("a URL").expose(), format!("{url}?{expected}"));
        let bodies = stub.await.expect("no panic");
        let with: Vec<bool> = bodies.iter().map(|body| body.contains("&SessionDuration=43200&")).collect();
        assert_eq!(with, if calls == 2 { vec![true, false] } else { vec![by_user] });
        assert!(bodies[0].contains("%22sessionKey%22%3A%22s%2B%2F%22"), "{}", bodies[0]);
    }
}

#[tokio::test]
async fn a_session_on_approval_ends_with_its_credentials() {
    let (url, stub) = stub(1, false).await;
    let approved = crate::rules::Approved { id: "1".to_owned(), until: Timestamp::MAX };
    let grant = Grant { approval: Some(approved), ..grant(ROLE) };
    console(&url).url(&minted(true), &grant, None).await.expect("a URL");
    assert!(!stub.await.expect("no panic")[0].contains("SessionDuration"));
}

#[tokio::test]
async fn a_callback_that_is_not_listed_is_refused_before_anything_is_sent() {
    let console = console("http://127.0.0.1:9/federation");
    let made = console.url(&minted(true), &grant(ROLE), Some("https://evil.example/aws/")).await;
    let error = made.expect_err("refused");
    assert!(error == ConsoleError::Callback && error.is_decision());
    let foreign = grant("arn:aws-iso:iam::222222222222:role/web");
    let error = console.url(&minted(true), &foreign, None).await.expect_err("no console");
    assert!(!error.is_decision() && error.to_string().contains("aws-iso"));
}
