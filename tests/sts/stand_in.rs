//! An STS that does what the test says, and remembers what it was asked. It believes every signature; moto (see
//! `interop_sts.rs`) and the unit tests judge the rest of the wire format.

use std::{
    collections::HashMap,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    sync::{Arc, Mutex},
    thread,
    time::Duration,
};

use jiff::Timestamp;

/// One `AssumeRole` that came.
#[derive(Debug, Clone)]
pub(crate) struct Call {
    /// The parameters of the form.
    pub(crate) form: HashMap<String, String>,
    /// The key that signed it, and the region it was signed for.
    pub(crate) key: String,
    pub(crate) region: String,
    /// The proxy that it came through, as that says.
    pub(crate) via: Option<String>,
}

impl Call {
    pub(crate) fn get(&self, key: &str) -> &str {
        self.form.get(key).map_or("", String::as_str)
    }
}

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) enum Reply {
    /// Credentials that live so long.
    Set(Duration),
    /// Status, code, message.
    Error(u16, &'static str, &'static str),
}

type Script = Box<dyn FnMut(&Call) -> Reply + Send>;

#[derive(Clone)]
pub(crate) struct StandIn {
    pub(crate) address: SocketAddr,
    calls: Arc<Mutex<Vec<Call>>>,
    script: Arc<Mutex<Script>>,
}

impl StandIn {
    pub(crate) fn start(script: impl FnMut(&Call) -> Reply + Send + 'static) -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let address = listener.local_addr().expect("bound");
        let this = Self { address, calls: Arc::default(), script: Arc::new(Mutex::new(Box::new(script))) };
        let server = this.clone();
        thread::spawn(move || {
            for stream in listener.incoming() {
                let server = server.clone();
                thread::spawn(move || server.serve(&stream.expect("a connection")));
            }
        });
        this
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub(crate) fn set(&self, script: impl FnMut(&Call) -> Reply + Send + 'static) {
        *self.script.lock().expect("not poisoned") = Box::new(script);
    }

    pub(crate) fn calls(&self) -> Vec<Call> {
        self.calls.lock().expect("not poisoned").clone()
    }

    /// Calls for the role with that name.
    pub(crate) fn calls_for(&self, role: &str) -> Vec<Call> {
        self.calls().into_iter().filter(|call| call.get("RoleArn").ends_with(&format!("/{role}"))).collect()
    }

    fn serve(&self, stream: &TcpStream) {
        let mut reader = BufReader::new(stream);
        // Until the client closes.
        while let Some(call) = read(&mut reader) {
            let reply = (self.script.lock().expect("not poisoned"))(&call);
            let number = {
                let mut calls = self.calls.lock().expect("not poisoned");
                calls.push(call.clone());
                calls.len()
            };
            let (status, body) = answer(&reply, &call, number);
            let head = format!(
                "HTTP/1.1 {status} X\r\nContent-Type: text/xml\r\nDate: {}\r\nx-amzn-RequestId: call-{number}\r\n\
                 Content-Length: {}\r\n\r\n",
                alppaca::store::http_date(Timestamp::now()),
                body.len()
            );
            if (&mut &*stream).write_all(format!("{head}{body}").as_bytes()).is_err() {
                return;
            }
        }
    }
}

fn read(reader: &mut impl BufRead) -> Option<Call> {
    let mut headers = HashMap::new();
    let mut line = String::new();
    reader.read_line(&mut line).ok().filter(|length| *length > 0)?;
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(": ") else { break };
        headers.insert(name.to_ascii_lowercase(), value.to_owned());
    }
    let length = headers.get("content-length")?.parse().ok()?;
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let body = String::from_utf8(body).expect("a form");
    let decode = |text: &str| {
        percent_encoding::percent_decode_str(&text.replace('+', " ")).decode_utf8().expect("UTF-8").into_owned()
    };
    let form = body.split('&').filter_map(|pair| pair.split_once('=')).map(|(key, value)| (decode(key), decode(value)));
    let scope = headers.get("authorization").and_then(|text| text.split("Credential=").nth(1)).unwrap_or("//");
    let mut scope = scope.split('/');
    let key = scope.next().unwrap_or_default().to_owned();
    let region = scope.nth(1).unwrap_or_default().to_owned();
    Some(Call { form: form.collect(), key, region, via: headers.get("via").cloned() })
}

fn answer(reply: &Reply, call: &Call, number: usize) -> (u16, String) {
    match reply {
        Reply::Error(status, code, message) => {
            let error = format!("<Error><Type>Sender</Type><Code>{code}</Code><Message>{message}</Message></Error>");
            let space = "https://sts.amazonaws.com/doc/2011-06-15/";
            (*status, format!("<ErrorResponse xmlns=\"{space}\">{error}<RequestId>1</RequestId></ErrorResponse>"))
        }
        Reply::Set(life) => {
            let (arn, session) = (call.get("RoleArn"), call.get("RoleSessionName"));
            let account = arn.split(':').nth(4).unwrap_or_default();
            let role = arn.rsplit('/').next().unwrap_or_default();
            // Whole seconds, as AWS has them.
            let end = Timestamp::from_second((Timestamp::now() + *life).as_second()).expect("in range");
            let body = format!(
                "<AssumeRoleResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\"><AssumeRoleResult>\
                 <AssumedRoleUser><Arn>arn:aws:sts::{account}:assumed-role/{role}/{session}</Arn>\
                 <AssumedRoleId>AROA:{session}</AssumedRoleId></AssumedRoleUser>\
                 <Credentials><AccessKeyId>ASIASTS{number}{role}</AccessKeyId><SecretAccessKey>wJalrSTS</SecretAccessKey>\
                 <SessionToken>IQoJSTS</SessionToken><Expiration>{end}</Expiration></Credentials>\
                 </AssumeRoleResult><ResponseMetadata><RequestId>1</RequestId></ResponseMetadata></AssumeRoleResponse>"
            );
            (200, body)
        }
    }
}
