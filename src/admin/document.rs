//! The JSON documents of the admin socket, as both sides know them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::FileStatus;
use crate::credentials::Secret;

/// `GET /v1/status`. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Status {
    /// Of the daemon.
    pub version: String,
    /// Its process.
    pub pid: u32,
    /// When it started.
    pub started: String,
    /// How long ago that is.
    pub uptime_seconds: u64,
    /// Whether the upstream has ever said which roles there are.
    pub answered: bool,
    /// The digest of its policy's rules; none without a policy.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<String>,
    /// How many containers get no credentials because the daemon cannot verify that they run.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub unverified_containers: usize,
    /// Where it serves.
    pub listeners: Vec<Listener>,
    /// Where the status page is: URLs for a browser, and Unix sockets as `unix:/path`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub status_page: Vec<String>,
    /// Whether the last reload was refused, so that an older configuration is in force.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub reload_refused: bool,
    /// By how many seconds this host's clock is ahead of the upstream's, if that is much; negative if it is behind.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clock_ahead_seconds: Option<i64>,
    /// How the audit is, if there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audit: Option<AuditStatus>,
    /// That the upstream refuses its list of roles, if it does.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub list_refused: Option<ListRefused>,
    /// The sources for which a person has to sign in before they give anything new.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sign_in_needed: Vec<SignInNeeded>,
    /// How it stands with the service accounts of the cluster, if their annotations count.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service_accounts: Option<ServiceAccountsStatus>,
    /// What confines the daemon; none in a demonstration.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sandbox: Option<SandboxStatus>,
    /// The files with credentials, only for callers that may see the state of all roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<FileStatus>,
    /// The roles that the caller may see, the one that a program gets by default first.
    pub roles: Vec<RoleStatus>,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde requires it")]
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// What of the confinement is in force on this kernel.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SandboxStatus {
    /// `enforce`, `report` or `off` (`sandbox`).
    pub mode: String,
    /// The version of Landlock that confines files and ports; none if they are not confined.
    pub landlock: Option<u32>,
    /// What this kernel cannot restrict, though it was wanted.
    pub lacking: Vec<String>,
    /// Why less is confined than the kernel could, only for callers that may see the state of all roles.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub widened: Vec<String>,
    /// Which system calls are let through.
    pub system_calls: String,
    /// Whether a helper runs programs, since the daemon can run none.
    pub helper: bool,
    /// Each part of it, and whether it is in force.
    pub in_force: BTreeMap<String, bool>,
    /// All of that in one line, as in the log; only for callers that may see the state of all roles.
    pub summary: Option<String>,
}

impl SandboxStatus {
    /// As a caller sees it: the reasons name what is in the configuration.
    pub(super) fn seen(self, everything: bool) -> Self {
        if everything { self } else { Self { widened: Vec::new(), summary: None, ..self } }
    }
}

/// One listening socket.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct Listener {
    /// The protocol that is spoken there: `imds`, `container`, …
    pub face: String,
    /// `address:port`.
    pub address: String,
}

/// One role.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RoleStatus {
    /// Its name.
    pub name: String,
    /// Whether it was made on demand: for a container, a user or a pod.
    pub on_demand: bool,
    /// The name of the session, if a pod has it for itself.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session_name: Option<String>,
    /// One of the words of `docs/states.md`.
    pub state: String,
    /// Since when it is in that state.
    pub since: Option<String>,
    /// The public half of the key that is served.
    pub access_key_id: Option<String>,
    /// When that key expires.
    pub expiration: Option<String>,
    /// In how many seconds; negative if it has.
    pub seconds_left: Option<i64>,
    /// Where the credentials come from.
    pub source: Option<String>,
    /// The failure of the last attempt to fetch newer ones, if it failed.
    pub last_error: Option<LastError>,
    /// Since when the upstream refuses newer ones, if it does.
    #[serde(default)]
    pub refused_since: Option<String>,
    /// The account of the role, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// Its ARN, where it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role_arn: Option<String>,
    /// For whom these sets are, if a user has chosen the role with a length of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chosen_by: Option<ChosenBy>,
}

/// A user who has sets of a role for itself (`use --duration`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ChosenBy {
    /// The user.
    pub uid: u32,
    /// How long each of the sets shall live.
    pub seconds: u64,
}

/// `GET /v1/roles`: what the caller may have. No secrets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct RolesDocument {
    /// The role that the caller's user has chosen, whether it is there or not.
    pub chosen: Option<String>,
    /// Its own sets of that role, if it has asked for some (`use --duration`).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub own: Option<OwnSets>,
    /// The roles, the one that a program of that user gets by default first.
    pub roles: Vec<RoleStatus>,
}

/// The sets of a role that a user has for itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct OwnSets {
    /// How long each of them shall live.
    pub seconds: u64,
    /// Whether they are served; if not, those are that all users share.
    pub served: bool,
    /// Why newer ones cannot be had, if they cannot.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// `GET /v1/choice`, and the answer to `POST /v1/choice`: what a program of the caller's user gets by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChoiceDocument {
    /// The role that the user has chosen, whether it is there or not.
    pub chosen: Option<String>,
    /// The role that a program gets; none if there is none for this user.
    pub role: Option<RoleStatus>,
    /// Whether a person has to sign in before some source gives anything new.
    #[serde(default)]
    pub sign_in_needed: bool,
}

/// `POST /v1/choice`: what the programs of the caller's user shall get by default.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ChoiceRequest {
    /// This role.
    Role(String),
    /// This role, with sets of the user's own.
    Timed {
        /// The role.
        role: String,
        /// How long they shall live.
        seconds: u64,
    },
    /// What they got before the last choice.
    Back,
    /// What they get without a choice.
    Default,
}

/// How the audit is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct AuditStatus {
    /// How many events were lost.
    pub lost: u64,
    /// Whether records cannot be written now.
    pub failing: bool,
    /// How many hand-outs did not take place because they could not be recorded, with `audit_required`.
    pub withheld: Option<u64>,
}

/// How it stands with the service accounts of the cluster.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ServiceAccountsStatus {
    /// When they were last known as the cluster has them; none if they never were.
    pub synced: Option<String>,
    /// Whether changes of them are heard of now.
    pub following: bool,
    /// How many of them ask for a role.
    pub accounts: usize,
    /// How many more there was no place for.
    pub left_out: u64,
    /// How many calls of the API server have failed since the start.
    pub failures: u64,
    /// Why the last one did, if it did; only for callers that may see the state of all roles.
    pub problem: Option<String>,
}

/// That the upstream refuses its list of roles.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct ListRefused {
    /// Since when.
    pub since: String,
    /// Its last message, only for callers that may see the state of all roles.
    pub message: Option<String>,
}

/// What went wrong, and when.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct LastError {
    /// When.
    pub at: String,
    /// What.
    pub message: String,
}

/// That a person has to sign in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
pub struct SignInNeeded {
    /// For which source.
    pub source: String,
    /// Why, only for callers that may see the state of all roles.
    pub reason: Option<String>,
}

/// `GET /v1/credentials/ROLE`: a set of credentials, in the words of `credential_process`.
///
/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-process-credentials.html>
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct CredentialsDocument {
    /// Always 1.
    pub version: u8,
    /// The role's name. No SDK reads it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The public half of the key.
    pub access_key_id: String,
    /// The secret half.
    #[serde(with = "secret")]
    pub secret_access_key: Secret,
    /// The session token.
    #[serde(with = "secret")]
    pub session_token: Secret,
    /// When AWS begins to refuse them.
    pub expiration: String,
    /// The account, where it is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account_id: Option<String>,
    /// The region that goes with the role, where it is known. No SDK reads it here.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub region: Option<String>,
}

/// `POST /v1/exec-token`: what is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExecRequest {
    /// The role; by default the caller's first.
    pub role: Option<String>,
}

/// `POST /v1/exec-token`: what a program needs to get credentials from the container face by itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExecDocument {
    /// The role.
    pub role: String,
    /// For `AWS_CONTAINER_CREDENTIALS_FULL_URI`.
    pub url: String,
    /// For `AWS_CONTAINER_AUTHORIZATION_TOKEN`. Valid as long as the process that asked runs.
    #[serde(with = "secret")]
    pub token: Secret,
    /// The region from the metadata, if there is one.
    pub region: Option<String>,
}

/// The only place where a secret is written out or read in.
pub(super) mod secret {
    use serde::{Deserialize, Deserializer, Serializer};
    use zeroize::Zeroizing;

    use super::Secret;

    pub(in crate::admin) fn serialize<S: Serializer>(secret: &Secret, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(secret.expose())
    }

    pub(in crate::admin) fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Secret, D::Error> {
        String::deserialize(deserializer).map(|text| Secret::new(&**Zeroizing::new(text)))
    }
}

/// Every answer that is not 2xx.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorDocument {
    /// What kind of error.
    pub code: Code,
    /// For people.
    pub message: String,
}

/// The kinds of error, each with its HTTP status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Code {
    /// 400: the request makes no sense.
    BadRequest,
    /// 404: there is nothing at that path.
    NoSuchPath,
    /// 404: no such role for this caller.
    NoSuchRole,
    /// 405.
    MethodNotAllowed,
    /// 403: the upstream refuses the role.
    Refused,
    /// 403: not for this caller.
    Forbidden,
    /// 501: this daemon has no listener for programs, without which tokens are of no use.
    NoContainerFace,
    /// 503: nothing has been fetched yet.
    NotReady,
    /// 503: what there was has expired.
    Expired,
    /// 503: too much is going on.
    Busy,
    /// 503: the daemon is about to end, or another takes its place: nothing was done, and the next one can be asked.
    Restarting,
    /// 503: the hand-out cannot be recorded, which `audit_required` demands.
    NotRecorded,
    /// Something this version does not know.
    #[serde(other)]
    Unknown,
}

impl Code {
    /// The HTTP status.
    pub fn status(self) -> u16 {
        match self {
            Self::BadRequest => 400,
            Self::Refused | Self::Forbidden => 403,
            Self::NoSuchPath | Self::NoSuchRole => 404,
            Self::MethodNotAllowed => 405,
            Self::NoContainerFace => 501,
            Self::NotReady | Self::Expired | Self::Busy | Self::Restarting | Self::NotRecorded => 503,
            Self::Unknown => 500,
        }
    }
}
