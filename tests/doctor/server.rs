//! A metadata service whose every answer the test writes.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    thread,
};

use jiff::{SignedDuration, Timestamp};

/// A metadata service of today, as far as `doctor` looks: what it says to `METHOD PATH`, as a status, header lines and a body.
pub fn healthy(line: &str) -> (u16, String, String) {
    let role = "/latest/meta-data/iam/security-credentials/";
    let answer = |body: &str| (200, String::new(), body.to_owned());
    match line.split_once(' ') {
        Some(("PUT", _)) => (200, "X-aws-ec2-metadata-token-ttl-seconds: 60\r\n".to_owned(), "token".to_owned()),
        Some((_, path)) if path == role => answer("web"),
        Some((_, path)) if path.strip_prefix(role) == Some("web") => answer(&document()),
        Some((_, "/latest/meta-data/placement/region")) => answer("eu-west-1"),
        _ => (404, String::new(), String::new()),
    }
}

/// Credentials for an hour.
pub fn document() -> String {
    document_of(Timestamp::now())
}

/// Credentials for an hour from then on.
pub fn document_of(made: Timestamp) -> String {
    let time = |time: Timestamp| time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    serde_json::json!({
        "Code": "Success", "Type": "AWS-HMAC", "LastUpdated": time(made),
        "Expiration": time(made + SignedDuration::from_hours(1)),
        "AccessKeyId": "ASIAEXAMPLE", "SecretAccessKey": "s3cret", "Token": "t0ken",
    })
    .to_string()
}

/// Serves what `answer` says, to the end of the test's process.
pub fn serve(answer: impl Fn(&str) -> (u16, String, String) + Send + 'static) -> SocketAddr {
    serve_raw(move |line| {
        let (status, headers, body) = answer(line);
        format!("HTTP/1.1 {status} X\r\n{headers}Content-Length: {}\r\nConnection: close\r\n\r\n{body}", body.len())
    })
}

/// The same, byte for byte.
pub fn serve_raw(answer: impl Fn(&str) -> String + Send + 'static) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
    let address = listener.local_addr().expect("bound");
    thread::spawn(move || listener.incoming().flatten().for_each(|client| one(client, &answer)));
    address
}

fn one(mut client: TcpStream, answer: &impl Fn(&str) -> String) {
    let mut head = Vec::new();
    let mut byte = [0];
    while !head.ends_with(b"\r\n\r\n") {
        if client.read(&mut byte).unwrap_or(0) == 0 {
            return;
        }
        head.push(byte[0]);
    }
    let head = String::from_utf8_lossy(&head).into_owned();
    let line: Vec<_> = head.split(' ').take(2).collect();
    // Who asks may have given up.
    client.write_all(answer(&line.join(" ")).as_bytes()).unwrap_or_default();
}
