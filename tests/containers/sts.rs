//! An STS that says in the access key what it was asked for.
#![allow(unreachable_pub, reason = "a part of one test program")]

use std::{
    io::{BufRead, BufReader, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
};

/// It answers until the test ends.
#[derive(Clone, Default)]
pub struct Sts {
    calls: Arc<Mutex<Vec<String>>>,
}

impl Sts {
    pub fn start(listener: TcpListener) -> Self {
        let sts = Self::default();
        let own = sts.clone();
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let own = own.clone();
                thread::spawn(move || own.serve(&stream));
            }
        });
        sts
    }

    /// The keys that it gave.
    pub fn calls(&self) -> Vec<String> {
        self.calls.lock().expect("not poisoned").clone()
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream.try_clone().expect("a socket"));
        while let Some(body) = read_request(&mut reader) {
            let answer = self.answer(&body);
            let head = format!("HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: {}\r\n\r\n", answer.len());
            let mut stream = stream;
            if stream.write_all(format!("{head}{answer}").as_bytes()).is_err() {
                return;
            }
        }
    }

    fn answer(&self, body: &str) -> String {
        let value = |name: &str| {
            let encoded =
                body.split('&').find_map(|pair| pair.strip_prefix(name)?.strip_prefix('=')).unwrap_or_default();
            percent_encoding::percent_decode_str(encoded).decode_utf8_lossy().into_owned()
        };
        let (arn, session) = (value("RoleArn"), value("RoleSessionName"));
        let external = value("ExternalId");
        let key = format!("{}_{external}_{session}", arn.replace([':', '/', '-'], "_"));
        self.calls.lock().expect("not poisoned").push(key.clone());
        format!(
            "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult><AssumedRoleUser>\
             <AssumedRoleId>AROA:{session}</AssumedRoleId><Arn>{arn}</Arn></AssumedRoleUser><Credentials>\
             <AccessKeyId>{key}</AccessKeyId><SecretAccessKey>secret</SecretAccessKey><SessionToken>token</SessionToken>\
             <Expiration>2099-01-01T00:00:00Z</Expiration></Credentials></AssumeRoleResult><ResponseMetadata>\
             <RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>"
        )
    }
}

/// The body of the next request.
fn read_request(reader: &mut impl BufRead) -> Option<String> {
    let mut length = 0;
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if line.trim().is_empty() {
            break;
        }
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("content-length")
        {
            length = value.trim().parse().expect("a length");
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    String::from_utf8(body).ok()
}
