//! The proof by an SSH key, as `alppaca-ims` verifies it: `crates/identity/src/ssh/mod.rs` has the other side.

use std::{
    collections::BTreeMap,
    fs::File,
    io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError, Weak},
    time::Duration,
};

use http::{HeaderValue, Method, StatusCode, Uri, header};

use crate::{
    credentials::Secret,
    fetch::{Answer, Call, Client, SetupError},
    source::SourceError,
    ssh_agent::{
        Agent, Choice, PrivateKey, Signer, SshError,
        challenge::{authorization, challenge, message},
    },
};

/// How long an agent may take. A challenge is valid for 30 seconds.
const PATIENCE: Duration = Duration::from_secs(25);

/// Whose keys sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subjects {
    /// Hosts.
    Hosts,
    /// People.
    People,
}

impl Subjects {
    pub(super) const WORDS: [(&'static str, Self); 2] = [("hosts", Self::Hosts), ("people", Self::People)];

    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Hosts => "hosts",
            Self::People => "people",
        }
    }

    /// What a signature is for.
    fn namespace(self) -> &'static str {
        match self {
            Self::Hosts => "alppaca-host",
            Self::People => "alppaca-user",
        }
    }
}

/// The key that signs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Key {
    /// A private key, which is read once, since it may be readable at the start only.
    File {
        /// Its file.
        file: PathBuf,
        /// The file of its certificate, which is read for each call, since it is renewed.
        certificate: Option<PathBuf>,
    },
    /// One of an agent.
    Agent {
        /// The agent's socket.
        socket: PathBuf,
        /// Which of its keys: a fingerprint, a comment or a `.pub` file. `None` if it has only one.
        key: Option<String>,
    },
}

/// A proof that is ready.
pub(super) struct Proof {
    key: Ready,
    subjects: Subjects,
    user: Option<String>,
}

enum Ready {
    /// With the file of its certificate.
    File(Arc<PrivateKey>, Option<PathBuf>),
    Agent(Signer),
}

impl Proof {
    /// Reads a private key.
    pub(super) fn open(key: Key, subjects: Subjects, user: Option<String>) -> Result<Self, SetupError> {
        let key = match key {
            Key::File { file, certificate } => Ready::File(private_key(file)?, certificate),
            Key::Agent { socket, key } => {
                let agent = Agent::new(socket, PATIENCE);
                Ready::Agent(Signer::Agent { agent, key: key.map(|key| Choice::parse(&key)) })
            }
        };
        Ok(Self { key, subjects, user })
    }

    fn signer(&self) -> Result<Signer, SshError> {
        Ok(match &self.key {
            Ready::File(key, None) => Signer::File(Arc::clone(key)),
            Ready::File(key, Some(certificate)) => Signer::File(Arc::new(key.with_certificate(certificate)?)),
            Ready::Agent(signer) => signer.clone(),
        })
    }

    /// The answer to a request that is signed, after one that brings the challenge.
    pub(super) async fn get(&self, client: &Client, url: &str, limit: usize) -> Result<Answer, SourceError> {
        let first = client.send(Call::new(Method::GET, url), limit).await?;
        let headers = first.headers.get_all(header::WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        let challenge = challenge(headers, self.subjects.namespace()).map(str::to_owned);
        let Some(challenge) = challenge.filter(|_| first.status == StatusCode::UNAUTHORIZED) else { return Ok(first) };
        let uri: Uri = url.parse().map_err(|_| SourceError::transient(format!("{url} is not a URL")))?;
        let host = uri.authority().map_or("", |authority| authority.as_str()).to_ascii_lowercase();
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let message = message(path, &host, &challenge);
        let failed = |error: SshError| SourceError::transient(format!("identity: no signature: {error}"));
        let signature = self.signer().map_err(failed)?.sign(self.subjects.namespace(), message.as_bytes()).await;
        let value = Secret::new(authorization(&challenge, &signature.map_err(failed)?, self.user.as_deref()));
        let host = HeaderValue::from_str(&host).map_err(|_| SourceError::transient(format!("{url} has no host")))?;
        // The host is signed, so it is sent as it is signed.
        let call = Call::new(Method::GET, url).header(header::HOST, host);
        Ok(client.send(call.secret_header(header::AUTHORIZATION, &value)?, limit).await?)
    }
}

/// The private keys in use.
static KEYS: Mutex<BTreeMap<PathBuf, Weak<PrivateKey>>> = Mutex::new(BTreeMap::new());

/// The key in a file. That of a host can be read as root only: at the start, and not for a reload, which goes on with it.
fn private_key(file: PathBuf) -> Result<Arc<PrivateKey>, SetupError> {
    let mut known = KEYS.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(key) = known.get(&file).and_then(Weak::upgrade).filter(|_| is_forbidden(&file)) {
        return Ok(key);
    }
    match PrivateKey::read(&file, None) {
        Ok(key) => {
            let key = Arc::new(key);
            known.insert(file, Arc::downgrade(&key));
            Ok(key)
        }
        Err(error) => Err(SetupError::File { path: file, problem: error.to_string() }),
    }
}

fn is_forbidden(file: &Path) -> bool {
    File::open(file).is_err_and(|error| error.kind() == io::ErrorKind::PermissionDenied)
}
