//! moto's server: an S3 and an STS that believe everybody, so that the gate alone decides.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{SocketAddr, TcpStream},
    path::Path,
    process::{Child, Command, Stdio},
    thread,
};

/// The bucket of the matrix.
pub const BUCKET: &str = "matrix";

pub struct Moto {
    child: Child,
    pub address: SocketAddr,
}

impl Moto {
    /// Starts it with a Python that has it.
    pub fn start(python: &Path) -> Self {
        let mut command = Command::new(python);
        // moto's own client library must not look for anything.
        command.args(["-m", "moto.server", "--host", "127.0.0.1", "--port", "0"]).env_clear();
        command.env("AWS_CONFIG_FILE", "/dev/null").env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
        command.env("AWS_EC2_METADATA_DISABLED", "true").env("PYTHONUNBUFFERED", "1");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("python starts");
        let mut lines = BufReader::new(child.stderr.take().expect("piped")).lines().map_while(Result::ok);
        let said = lines.find_map(|line| line.split_once("Running on http://").map(|(_, rest)| rest.to_owned()));
        let address = said.expect("moto starts").trim().trim_end_matches('/').parse().expect("an address");
        // Keeps reading, so that it can keep writing.
        thread::spawn(move || lines.for_each(drop));
        Self { child, address }
    }

    /// Makes a bucket in the account of everybody whose key moto does not know.
    pub fn make_bucket(&self, name: &str) {
        let scope = "Credential=AKIAIOSFODNN7EXAMPLE/20260101/us-east-1/s3/aws4_request";
        let authorization = format!("AWS4-HMAC-SHA256 {scope}, SignedHeaders=host, Signature=0");
        let mut stream = TcpStream::connect(self.address).expect("it listens");
        let head = format!("PUT /{name} HTTP/1.1\r\nContent-Length: 0\r\nHost: 127.0.0.1\r\nConnection: close\r\n");
        write!(stream, "{head}Authorization: {authorization}\r\n\r\n").expect("sent");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    }
}

impl Drop for Moto {
    fn drop(&mut self) {
        // It may have ended already.
        let _gone = self.child.kill();
        let _status = self.child.wait();
    }
}
