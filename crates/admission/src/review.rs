//! The request of the API server, and the answer to it.
//!
//! <https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/>

use base64::{Engine, prelude::BASE64_STANDARD};
use serde::Deserialize;
use serde_json::json;

use super::{
    decision::{Decision, Skip},
    pod::Pod,
};
use crate::text::printable;

/// The only version that is spoken; API servers have it since 1.16.
const API_VERSION: &str = "admission.k8s.io/v1";
const KIND: &str = "AdmissionReview";
/// More than fits into etcd. What is added for each would otherwise be many times the size of the request.
const MAX_CONTAINERS: usize = 1000;
/// Pods that the kubelet runs by itself, as the API server shows them.
const MIRROR: &str = "kubernetes.io/config.mirror";
/// The longest name that is shown whole; those of Kubernetes are not longer.
const MAX_SHOWN: usize = 253;

/// Why a request is not understood.
#[derive(Debug, thiserror::Error)]
pub enum Malformed {
    /// It is not what the API server sends.
    #[error("not an AdmissionReview with a pod: {0}")]
    Json(String),
    /// It is of another version or kind.
    #[error("{0} is not {API_VERSION} {KIND}")]
    Version(String),
    /// There is no request in it.
    #[error("there is no `request`")]
    NoRequest,
    /// No cluster can have such a pod.
    #[error("more than {MAX_CONTAINERS} containers")]
    TooManyContainers,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Envelope {
    api_version: String,
    kind: String,
    request: Option<Request>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Request {
    uid: String,
    resource: Resource,
    sub_resource: Option<String>,
    namespace: Option<String>,
    operation: String,
    object: Option<Pod>,
    dry_run: Option<bool>,
}

#[derive(Deserialize)]
struct Resource {
    group: String,
    resource: String,
}

/// What the API server asks about.
#[derive(Debug, Clone)]
pub struct Review {
    uid: String,
    namespace: String,
    is_new_pod: bool,
    dry_run: bool,
    pub(super) pod: Pod,
}

impl Review {
    /// Reads a request.
    pub fn read(body: &[u8]) -> Result<Self, Malformed> {
        let envelope: Envelope = serde_json::from_slice(body)
            // It may quote all of what is wrong.
            .map_err(|error| Malformed::Json(printable(&error.to_string(), MAX_SHOWN)))?;
        if (envelope.api_version.as_str(), envelope.kind.as_str()) != (API_VERSION, KIND) {
            let shown = format!("{} {}", envelope.api_version, envelope.kind);
            return Err(Malformed::Version(printable(&shown, MAX_SHOWN)));
        }
        let request = envelope.request.ok_or(Malformed::NoRequest)?;
        let is_pod = request.resource.group.is_empty() && request.resource.resource == "pods";
        let is_whole = request.sub_resource.as_deref().is_none_or(str::is_empty);
        let pod = request.object.unwrap_or_default();
        if pod.containers().count() > MAX_CONTAINERS {
            return Err(Malformed::TooManyContainers);
        }
        Ok(Self {
            uid: request.uid,
            namespace: request.namespace.unwrap_or_default(),
            is_new_pod: is_pod && is_whole && request.operation == "CREATE",
            dry_run: request.dry_run.unwrap_or_default(),
            pod,
        })
    }

    /// The namespace of the pod.
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// The service account of the pod.
    pub fn service_account(&self) -> &str {
        self.pod.spec.service_account_name.as_deref().filter(|name| !name.is_empty()).unwrap_or("default")
    }

    /// The pod as a person knows it: a new one may not have all of its name yet.
    pub fn shown(&self) -> String {
        let named = |name: &'_ Option<String>| name.as_deref().filter(|name| !name.is_empty()).map(str::to_owned);
        let metadata = &self.pod.metadata;
        let name = named(&metadata.name).or_else(|| named(&metadata.generate_name).map(|name| name + "*"));
        printable(&format!("{}/{}", self.namespace, name.unwrap_or_default()), 2 * MAX_SHOWN)
    }

    /// The service account as a person knows it.
    pub fn shown_account(&self) -> String {
        printable(&format!("{}/{}", self.namespace, self.service_account()), 2 * MAX_SHOWN)
    }

    /// Whether nothing will come of it.
    pub fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// Why nothing is added, whatever the service account is associated with.
    pub fn skip(&self) -> Option<Skip> {
        if !self.is_new_pod {
            Some(Skip::NotANewPod)
        } else if self.pod.annotation(MIRROR).is_some() {
            Some(Skip::Mirror)
        } else if self.pod.is_for_windows() {
            Some(Skip::Windows)
        } else {
            None
        }
    }

    /// The answer. Every pod is let in.
    pub fn answer(&self, decision: &Decision) -> Vec<u8> {
        let mut response = json!({
            "uid": self.uid,
            "allowed": true,
            "auditAnnotations": { "decision": decision.to_string() },
        });
        if let Decision::Inject(injected) = decision {
            let patch = serde_json::Value::from(injected.operations.clone());
            response["patchType"] = "JSONPatch".into();
            response["patch"] = BASE64_STANDARD.encode(patch.to_string()).into();
        }
        if let Some(warning) = decision.warning() {
            response["warnings"] = json!([warning]);
        }
        json!({ "apiVersion": API_VERSION, "kind": KIND, "response": response }).to_string().into_bytes()
    }
}
