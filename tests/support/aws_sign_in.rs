//! A stub of AWS's federation endpoint.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, TcpListener},
    sync::{Arc, Mutex},
    thread,
};

const TOKEN: &str = "SIGN/IN+TOKEN=";
pub const ESCAPED: &str = "SIGN%2FIN%2BTOKEN%3D";

/// AWS's rules: POST of a form, a session of three texts, a duration within its bounds and never for a chained role.
pub struct SignIn {
    pub url: String,
    /// The session of each call, and whether it had a duration.
    pub calls: Arc<Mutex<Vec<(serde_json::Value, bool)>>>,
}

impl SignIn {
    pub fn start(chained: bool) -> Self {
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
