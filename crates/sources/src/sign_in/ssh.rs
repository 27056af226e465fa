//! A person's proof by an SSH key: the daemon has the ssh-agent sign the challenge of the site, for each call.
//! `docs/ims-identities.md` has the protocol.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use jiff::Timestamp;
use tokio::sync::Notify;

use super::{Failure, NoToken, Report, options::Ssh};
use crate::{
    clock::SharedClock,
    credentials::Secret,
    ssh_agent::{
        Agent, Choice, Signer,
        challenge::{authorization, challenge, message},
        key_fingerprint,
        sshsig::SshSig,
    },
};

/// The only namespace in which is signed: a site cannot have anything else signed.
const NAMESPACE: &str = "alppaca-user";

/// One person's key.
pub struct SshSession {
    options: Ssh,
    clock: SharedClock,
    state: Mutex<State>,
    serial: AtomicU64,
    /// Notified of each change.
    changed: Arc<Notify>,
}

#[derive(Default)]
struct State {
    /// Where the agent is, as far as known.
    agent: Option<PathBuf>,
    signed_out: bool,
    /// Why the person is needed.
    needed: Option<String>,
    /// The key that signed last, and since when it does.
    key: Option<(String, Timestamp)>,
}

/// What a site wants to have signed.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// `WWW-Authenticate`, all of them.
    pub challenges: &'a [&'a str],
    /// The path with its query.
    pub path: &'a str,
    /// The header `Host`.
    pub authority: &'a str,
}

impl SshSession {
    pub(super) fn new(options: Ssh, agent: Option<PathBuf>, clock: SharedClock, changed: Arc<Notify>) -> Self {
        let agent = options.agent.clone().or(agent);
        let needed = agent.is_none().then(|| "it is not known where your ssh-agent is".to_owned());
        let state = State { agent, needed, ..State::default() };
        Self { options, clock, state: Mutex::new(state), serial: AtomicU64::new(0), changed }
    }

    pub(super) fn options(&self) -> &Ssh {
        &self.options
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How often somebody has signed in or out.
    pub(super) fn serial(&self) -> u64 {
        self.serial.load(Ordering::Relaxed)
    }

    fn agent(&self) -> Result<Agent, NoToken> {
        let state = self.state();
        match (&state.agent, &state.needed) {
            _ if state.signed_out => Err(NoToken::SignedOut),
            (_, Some(reason)) => Err(NoToken::Needed(reason.clone())),
            (None, None) => Err(NoToken::Needed("it is not known where your ssh-agent is".to_owned())),
            (Some(socket), None) => Ok(Agent::new(socket, self.options.patience)),
        }
    }

    /// Whether there is somebody who could sign.
    pub fn ready(&self) -> Result<(), NoToken> {
        self.agent().map(drop)
    }

    /// `Authorization` for a request that a site has refused with a challenge. The agent may ask the person; if that is of
    /// no use, it is not asked again before the person has signed in.
    pub async fn authorization(&self, request: Request<'_>) -> Result<Secret, NoToken> {
        let challenge = challenge(request.challenges.iter().copied(), NAMESPACE).ok_or_else(|| {
            NoToken::Later("the site asks for no signature of a person (Alppaca-SSH in WWW-Authenticate)".to_owned())
        })?;
        let Request { path, authority, .. } = request;
        let message = message(path, authority, challenge);
        let signer = Signer::Agent { agent: self.agent()?, key: self.options.key.as_deref().map(Choice::parse) };
        match signer.sign(NAMESPACE, message.as_bytes()).await {
            Ok(signature) => {
                self.signed(&signature);
                Ok(Secret::new(authorization(challenge, &signature, None)))
            }
            Err(error) => {
                self.need(error.to_string());
                Err(NoToken::Needed(error.to_string()))
            }
        }
    }

    fn signed(&self, signature: &[u8]) {
        let key = SshSig::parse(signature).map(|signature| key_fingerprint(signature.key)).unwrap_or_default();
        let mut state = self.state();
        if state.key.as_ref().is_none_or(|(before, _)| *before != key) {
            state.key = Some((key, self.clock.now().wall));
        }
    }

    /// The site did not accept a signature.
    pub fn refused(&self, reason: &str) {
        self.need(format!("the site does not accept the key: {reason}"));
    }

    fn need(&self, reason: String) {
        notice!("sign-in needed: {reason}; run `alppaca login`");
        self.state().needed = Some(reason);
        self.changed.notify_waiters();
    }

    /// The person is there, with an agent at this socket. Answers which key will sign.
    pub(super) async fn sign_in(&self, socket: Option<PathBuf>) -> Result<String, Failure> {
        let known = self.state().agent.clone();
        let socket = self.options.agent.clone().or(socket).or(known);
        let socket = socket.ok_or_else(|| Failure::Wrong("there is no ssh-agent (SSH_AUTH_SOCK)".to_owned()))?;
        let choice = self.options.key.as_deref().map(Choice::parse);
        let key = Agent::new(&socket, self.options.patience).key(choice.as_ref()).await;
        let key = key.map_err(|error| Failure::Wrong(error.to_string()))?;
        let name = key.fingerprint();
        notice!("signing in with the SSH key {name} of the agent {}", socket.display());
        let since = self.clock.now().wall;
        *self.state() =
            State { agent: Some(socket), signed_out: false, needed: None, key: Some((name.clone(), since)) };
        self.serial.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
        Ok(name)
    }

    pub(super) fn sign_out(&self) {
        let agent = self.state().agent.clone();
        *self.state() = State { agent, signed_out: true, ..State::default() };
        self.serial.fetch_add(1, Ordering::Relaxed);
        self.changed.notify_waiters();
    }

    /// How it is.
    pub(super) fn report(&self) -> Report {
        let state = self.state();
        let needed = state.needed.clone();
        let agent = state.agent.as_ref().map(|agent| agent.display().to_string());
        Report {
            kind: "ssh",
            issuer: agent.unwrap_or_else(|| "ssh-agent".to_owned()),
            redirect_url: None,
            person: None,
            key: state.key.clone(),
            renewed: true,
            needed: if state.signed_out { Some("you have signed out".to_owned()) } else { needed },
            signed_out: state.signed_out,
            problem: None,
        }
    }
}
