//! What is added to which container, and why not to the others.

use std::fmt;

use serde_json::{Value, json};

use super::{
    pod::{Container, Pod},
    review::Review,
};
use crate::text::printable;

/// The name of the volume with the token. This and the next two are EKS's.
const VOLUME: &str = "eks-pod-identity-token";
/// The file in it.
const TOKEN: &str = "eks-pod-identity-token";
/// Where it is mounted.
const MOUNT: &str = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount";
const URI: &str = "AWS_CONTAINER_CREDENTIALS_FULL_URI";
const TOKEN_FILE: &str = "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE";
/// A container that sets one of these has a source of its own for this protocol, with which ours must not be mixed.
const OWN: [&str; 4] = [URI, TOKEN_FILE, "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN"];
const REGION: [&str; 2] = ["AWS_DEFAULT_REGION", "AWS_REGION"];
const REGIONAL_STS: &str = "AWS_STS_REGIONAL_ENDPOINTS";
/// Names of containers, with commas, to which nothing is added.
const SKIP_CONTAINERS: &str = "eks.amazonaws.com/skip-containers";
/// How long a token is valid, in seconds.
const TOKEN_EXPIRATION: &str = "eks.amazonaws.com/token-expiration";
/// As EKS marks the pods to which it has added something: key, key in a path of a patch, value.
const LABEL: (&str, &str, &str) = ("eks.amazonaws.com/pod-identity", "eks.amazonaws.com~1pod-identity", "enabled");
/// The least and the most that a token may be valid: the least of the API server, the most of EKS.
const EXPIRATION: std::ops::RangeInclusive<u32> = 600..=86_400;
/// A text for people is not longer.
const MAX_SHOWN: usize = 1000;

/// What is added where something is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Injection {
    /// Where programs ask for credentials.
    pub credentials_url: String,
    /// Whom the token is for.
    pub audience: String,
    /// How long a token is valid, in seconds, unless the pod says something else.
    pub token_expiration: u32,
    /// The region for containers that set none.
    pub region: Option<String>,
    /// Whether SDKs are told to use STS of the region.
    pub regional_sts: bool,
}

/// Why nothing is added.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Skip {
    /// It is no pod that is being made.
    NotANewPod,
    /// The kubelet has made the pod, and the API server only shows it.
    Mirror,
    /// Windows.
    Windows,
    /// The service account has no role.
    NotAssociated,
    /// The service account asks for a role that it cannot have.
    NotAllowed,
    /// The annotation names each container.
    OptedOut,
    /// Each other container sets its own, or has it already.
    OwnSettings,
    /// The pod has another volume of that name.
    VolumeTaken,
    /// Each other container has something else where the token would be.
    PathTaken,
}

impl Skip {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NotANewPod,
        Self::Mirror,
        Self::Windows,
        Self::NotAssociated,
        Self::NotAllowed,
        Self::OptedOut,
        Self::OwnSettings,
        Self::VolumeTaken,
        Self::PathTaken,
    ];

    /// The word for it, in metrics.
    pub fn word(self) -> &'static str {
        match self {
            Self::NotANewPod => "not_a_new_pod",
            Self::Mirror => "mirror",
            Self::Windows => "windows",
            Self::NotAssociated => "not_associated",
            Self::NotAllowed => "not_allowed",
            Self::OptedOut => "opted_out",
            Self::OwnSettings => "own_settings",
            Self::VolumeTaken => "volume_taken",
            Self::PathTaken => "path_taken",
        }
    }
}

impl fmt::Display for Skip {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NotANewPod => f.write_str("it is no new pod"),
            Self::Mirror => f.write_str("it is the mirror of a static pod"),
            Self::Windows => f.write_str("it is for Windows"),
            Self::NotAssociated => f.write_str("its service account has no role"),
            Self::NotAllowed => f.write_str(
                "its service account asks for a role that does not exist, or that its namespace may not have",
            ),
            Self::OptedOut => write!(f, "{SKIP_CONTAINERS} names each container"),
            Self::OwnSettings => f.write_str("its containers have settings of their own"),
            Self::VolumeTaken => write!(f, "it has another volume {VOLUME}"),
            Self::PathTaken => write!(f, "its containers have something else at {MOUNT}"),
        }
    }
}

/// What is to be done with a pod.
#[derive(Debug, Clone, PartialEq)]
pub enum Decision {
    /// Something is added.
    Inject(Injected),
    /// Nothing is.
    Skip(Skip),
}

/// What is added.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Injected {
    /// The operations of a JSON Patch (RFC 6902).
    pub operations: Vec<Value>,
    /// The containers that get something.
    pub containers: Vec<String>,
    /// Those that do not, and why.
    pub left: Vec<(String, Skip)>,
}

impl Decision {
    /// What the person who makes the pod has to know.
    pub(super) fn warning(&self) -> Option<String> {
        let named = |what: &dyn fmt::Display| format!("alppaca: the pod gets no AWS credentials: {what}");
        match self {
            Self::Skip(skip @ (Skip::NotAllowed | Skip::VolumeTaken | Skip::PathTaken)) => Some(named(skip)),
            Self::Skip(_) => None,
            Self::Inject(injected) => {
                let taken = injected.left.iter().filter(|(_, skip)| *skip == Skip::PathTaken);
                let taken: Vec<&str> = taken.map(|(name, _)| name.as_str()).collect();
                let why =
                    format!("alppaca: without AWS credentials, as something else is at {MOUNT}: {}", taken.join(", "));
                (!taken.is_empty()).then(|| printable(&why, MAX_SHOWN))
            }
        }
    }
}

impl fmt::Display for Decision {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Skip(skip) => write!(f, "nothing is added: {skip}"),
            Self::Inject(injected) => {
                let left: Vec<_> = injected.left.iter().map(|(name, why)| format!("{name} ({})", why.word())).collect();
                let left = if left.is_empty() { String::new() } else { format!("; not to {}", left.join(", ")) };
                f.write_str(&printable(&format!("added to {}{left}", injected.containers.join(", ")), MAX_SHOWN))
            }
        }
    }
}

/// What is added to a pod whose service account has a role.
pub fn decide(review: &Review, injection: &Injection) -> Decision {
    if let Some(skip) = review.skip() {
        return Decision::Skip(skip);
    }
    let pod = &review.pod;
    let volumes = pod.spec.volumes.as_deref();
    let volume = volumes.unwrap_or_default().iter().find(|volume| volume.name == VOLUME);
    if volume.is_some_and(|volume| !volume.has_token(TOKEN)) {
        return Decision::Skip(Skip::VolumeTaken);
    }
    let skipped: Vec<&str> = pod.annotation(SKIP_CONTAINERS).unwrap_or_default().split(',').map(str::trim).collect();
    let mut injected = Injected::default();
    for (place, container) in pod.containers() {
        let name = container.name.clone();
        match if skipped.contains(&&*name) { Err(Skip::OptedOut) } else { additions(container, injection) } {
            Ok(additions) => {
                additions.write(&place, container, &mut injected.operations);
                injected.containers.push(name);
            }
            Err(why) => injected.left.push((name, why)),
        }
    }
    if injected.containers.is_empty() {
        let why = |skip: Skip| injected.left.iter().any(|(_, why)| *why == skip);
        let first = [Skip::PathTaken, Skip::OwnSettings].into_iter().find(|skip| why(*skip));
        return Decision::Skip(first.unwrap_or(Skip::OptedOut));
    }
    if volume.is_none() {
        let expiration = expiration(pod, injection);
        let token = json!({ "audience": injection.audience, "expirationSeconds": expiration, "path": TOKEN });
        let volume = json!({ "name": VOLUME, "projected": { "sources": [{ "serviceAccountToken": token }] } });
        append("/spec/volumes", volumes.is_some(), vec![volume], &mut injected.operations);
    }
    label(pod, &mut injected.operations);
    Decision::Inject(injected)
}

/// How long the token is valid.
fn expiration(pod: &Pod, injection: &Injection) -> u32 {
    let own = pod.annotation(TOKEN_EXPIRATION).and_then(|seconds| seconds.trim().parse().ok());
    own.unwrap_or(injection.token_expiration).clamp(*EXPIRATION.start(), *EXPIRATION.end())
}

/// What a container lacks.
struct Additions {
    variables: Vec<Value>,
    mount: bool,
}

impl Additions {
    fn write(self, place: &str, container: &Container, operations: &mut Vec<Value>) {
        append(&format!("{place}/env"), container.env.is_some(), self.variables, operations);
        if self.mount {
            let mount = json!({ "name": VOLUME, "mountPath": MOUNT, "readOnly": true });
            append(&format!("{place}/volumeMounts"), container.volume_mounts.is_some(), vec![mount], operations);
        }
    }
}

/// All that is added to a container, or nothing: half of it would be worse.
fn additions(container: &Container, injection: &Injection) -> Result<Additions, Skip> {
    let sets = |names: &[&str]| container.env.iter().flatten().any(|variable| names.contains(&variable.name.as_str()));
    if sets(&OWN) {
        return Err(Skip::OwnSettings);
    }
    let mounts = container.volume_mounts.as_deref().unwrap_or_default();
    let own = mounts.iter().find(|mount| mount.name == VOLUME && mount.is_whole());
    let taken = || mounts.iter().any(|mount| mount.path.trim_end_matches('/') == MOUNT);
    let directory = match own {
        Some(mount) => mount.path.trim_end_matches('/'),
        None if taken() => return Err(Skip::PathTaken),
        None => MOUNT,
    };
    let variable = |name: &str, value: &str| json!({ "name": name, "value": value });
    let mut variables = Vec::new();
    if injection.regional_sts && !sets(&[REGIONAL_STS]) {
        variables.push(variable(REGIONAL_STS, "regional"));
    }
    if let Some(region) = injection.region.as_deref().filter(|_| !sets(&REGION)) {
        variables.extend(REGION.map(|name| variable(name, region)));
    }
    variables.push(variable(URI, &injection.credentials_url));
    variables.push(variable(TOKEN_FILE, &format!("{directory}/{TOKEN}")));
    Ok(Additions { variables, mount: own.is_none() })
}

fn label(pod: &Pod, operations: &mut Vec<Value>) {
    let (key, in_path, value) = LABEL;
    match &pod.metadata.labels {
        None => operations.push(json!({ "op": "add", "path": "/metadata/labels", "value": { key: value } })),
        Some(labels) if labels.contains_key(key) => {}
        Some(_) => {
            operations.push(json!({ "op": "add", "path": format!("/metadata/labels/{in_path}"), "value": value }));
        }
    }
}

/// Adds to a list, or makes it.
fn append(list: &str, exists: bool, values: Vec<Value>, operations: &mut Vec<Value>) {
    if exists {
        operations.extend(
            values.into_iter().map(|value| json!({ "op": "add", "path": format!("{list}/-"), "value": value })),
        );
    } else {
        operations.push(json!({ "op": "add", "path": list, "value": values }));
    }
}
