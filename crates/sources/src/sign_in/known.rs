//! A sign-in of any kind, as the registry and the sources hold it.

use std::{path::PathBuf, sync::Arc, time::Duration};

use super::{
    held::Tokens,
    session::{Report, Session},
    ssh::SshSession,
};

/// A sign-in of any kind. Clones are the same one.
#[derive(Clone)]
pub enum Known {
    /// At a provider.
    Provider(Arc<Session>),
    /// With a key in an ssh-agent.
    Ssh(Arc<SshSession>),
}

impl Known {
    /// How it is.
    pub fn report(&self) -> Report {
        match self {
            Self::Provider(session) => session.report(),
            Self::Ssh(session) => session.report(),
        }
    }

    pub(super) fn is(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::Provider(one), Self::Provider(other)) => Arc::ptr_eq(one, other),
            (Self::Ssh(one), Self::Ssh(other)) => Arc::ptr_eq(one, other),
            _ => false,
        }
    }

    /// Another number whenever a person has signed in or out.
    pub fn serial(&self) -> u64 {
        match self {
            Self::Provider(session) => session.serial(),
            Self::Ssh(session) => session.serial(),
        }
    }

    /// Renews what is due; answers how long until more is.
    pub(super) async fn renew_ahead(&self) -> Option<Duration> {
        match self {
            Self::Provider(session) => session.renew_ahead().await,
            Self::Ssh(_) => None,
        }
    }

    /// Forgets the person; returns what is to be revoked.
    pub(super) fn sign_out(&self) -> Option<(Arc<Session>, Tokens)> {
        match self {
            Self::Provider(session) => Some((Arc::clone(session), session.sign_out()?)),
            Self::Ssh(session) => {
                session.sign_out();
                None
            }
        }
    }
}

/// What a person has at hand to sign in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Method {
    /// A browser, which comes back to this port.
    Browser {
        /// Where it is awaited.
        port: u16,
    },
    /// A code, for any device.
    Device,
    /// An ssh-agent at this socket, if it is not where it was.
    Agent {
        /// The socket.
        socket: Option<PathBuf>,
    },
}
