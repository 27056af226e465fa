//! A client that says exactly what a test wants it to.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{Ipv4Addr, SocketAddr, SocketAddrV4, TcpStream},
    sync::Arc,
};

use rustix::net::{AddressFamily, SocketType};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned, crypto::aws_lc_rs};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};

use super::{Authority, Files, PATIENCE};

/// Connects as often as needed.
pub struct Client {
    address: SocketAddr,
    tls: Arc<ClientConfig>,
    /// Its own address, if it does not leave it to the kernel.
    source: Option<Ipv4Addr>,
    /// What it sends before TLS.
    first: Vec<u8>,
}

/// A connection that is open.
pub struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A text of a document.
    pub fn field(&self, name: &str) -> String {
        let document: serde_json::Value = serde_json::from_str(&self.body).unwrap_or_else(|_| panic!("{self:?}"));
        document[name].as_str().unwrap_or_else(|| panic!("{self:?}")).to_owned()
    }
}

impl Client {
    pub fn new(address: SocketAddr, authority: &Authority, files: Option<&Files>) -> Self {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).expect("PEM")).expect("an authority");
        let tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_root_certificates(roots);
        let tls = match files {
            None => tls.with_no_client_auth(),
            Some(files) => {
                let chain = vec![CertificateDer::from_pem_slice(files.certificate.as_bytes()).expect("PEM")];
                let key = PrivateKeyDer::from_pem_slice(files.key.as_bytes()).expect("PEM");
                tls.with_client_auth_cert(chain, key).expect("they fit")
            }
        };
        Self { address, tls: Arc::new(tls), source: None, first: Vec::new() }
    }

    /// One whose handshakes are whole ones.
    pub fn without_resumption(address: SocketAddr, authority: &Authority, files: &Files) -> Self {
        let mut client = Self::new(address, authority, Some(files));
        let mut tls = ClientConfig::clone(&client.tls);
        tls.resumption = rustls::client::Resumption::disabled();
        client.tls = Arc::new(tls);
        client
    }

    /// The same at this address of the loopback network.
    pub fn at(self, source: &str) -> Self {
        Self { source: Some(source.parse().expect("an address")), ..self }
    }

    /// The same behind a balancer that sends this first.
    pub fn behind(self, first: &[u8]) -> Self {
        Self { first: first.to_vec(), ..self }
    }

    /// Without TLS.
    pub fn tcp(&self) -> std::io::Result<TcpStream> {
        let mut stream = match self.source {
            None => TcpStream::connect(self.address)?,
            Some(source) => {
                let socket = rustix::net::socket(AddressFamily::INET, SocketType::STREAM, None)?;
                rustix::net::bind(&socket, &SocketAddrV4::new(source, 0))?;
                rustix::net::connect(&socket, &self.address)?;
                socket.into()
            }
        };
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&self.first)?;
        Ok(stream)
    }

    pub fn connect(&self) -> std::io::Result<Connection> {
        let stream = self.tcp()?;
        let name = ServerName::try_from("localhost").expect("a name");
        let connection = ClientConnection::new(Arc::clone(&self.tls), name).expect("a client");
        let mut stream = StreamOwned::new(connection, stream);
        while stream.conn.is_handshaking() {
            stream.conn.complete_io(&mut stream.sock)?;
        }
        Ok(Connection(BufReader::new(stream)))
    }

    /// One request that changes something.
    pub fn post(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        let request = format!("POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n{headers}\r\n");
        self.connect().expect("a connection").raw(&request).expect("an answer")
    }

    /// One request on a connection of its own.
    pub fn get(&self, path: &str, headers: &[(&str, &str)]) -> Answer {
        let mut connection = self.connect().expect("a connection");
        connection.get(path, headers).expect("an answer")
    }
}

impl Connection {
    pub fn get(&mut self, path: &str, headers: &[(&str, &str)]) -> std::io::Result<Answer> {
        let headers: Vec<String> = headers.iter().map(|(name, value)| format!("{name}: {value}\r\n")).collect();
        let headers = headers.concat();
        self.raw(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n"))
    }

    /// Sends exactly this.
    pub fn send(&mut self, text: &str) -> std::io::Result<()> {
        self.0.get_mut().write_all(text.as_bytes())?;
        self.0.get_mut().flush()
    }

    /// Sends exactly this, and reads an answer.
    pub fn raw(&mut self, request: &str) -> std::io::Result<Answer> {
        self.send(request)?;
        self.answer(!request.starts_with("HEAD "))
    }

    fn answer(&mut self, has_body: bool) -> std::io::Result<Answer> {
        let mut line = || {
            let mut line = String::new();
            let length = self.0.read_line(&mut line)?;
            if length == 0 { Err(std::io::ErrorKind::UnexpectedEof.into()) } else { Ok(line.trim_end().to_owned()) }
        };
        let first: String = line()?;
        let status = first.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or_else(|| panic!("{first}"));
        let mut headers = Vec::new();
        loop {
            let line: std::io::Result<String> = line();
            let line = line?;
            let Some((name, value)) = line.split_once(':') else { break };
            headers.push((name.to_lowercase(), value.trim().to_owned()));
        }
        let length =
            headers.iter().find(|(name, _)| name == "content-length").and_then(|(_, value)| value.parse().ok());
        let mut body = vec![0; length.filter(|_| has_body).unwrap_or(0)];
        self.0.read_exact(&mut body)?;
        Ok(Answer { status, headers, body: String::from_utf8(body).expect("text") })
    }
}
