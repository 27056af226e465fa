//! The faces: what programs on this host talk to. Protocol logic is a pure function from a request
//! to an answer; the sockets are apart.

#[macro_use(notice)]
extern crate alppaca_core;

mod faces;
mod http;

use alppaca_callers::{audit, caller, policy};
use alppaca_core::{clock, credentials, text};
use alppaca_logging as logging;
use alppaca_store::store;

pub use faces::{
    View,
    ecs::{Ecs, EcsSettings, EcsTokens, Fingerprint, IssueError, Key, KeyFile, KeyFiles},
    face::{Face, Faces},
    imds::{
        Defaults, Entry, HostFacts, Imds, Metadata, Passthrough, Replies, Reply, Settings, TokenKey, Wanted,
        passthrough,
    },
    pod_identity::{Association, KeyRing, PodIdentity, PodIdentitySettings, PublicKey, parse_key_set},
};
pub use http::{
    Answer, Body, Counters, Denial, Handed, Limits, Live, MAX_HEAD, Outcome, Parsed, Place, Protocol, Request, Server,
    ServerError, Status, Visitor, parse,
};
