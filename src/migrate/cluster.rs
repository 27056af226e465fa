//! Objects of a Kubernetes cluster, as `kubectl get -o json` prints them. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::kubernetes::Account;

/// A pod, or the template of those that a controller makes.
pub(super) struct Pod<'a> {
    /// As a person knows it: `deployment web`.
    pub(super) shown: String,
    pub(super) account: Account,
    annotations: &'a Value,
}

impl<'a> Pod<'a> {
    pub(super) fn annotation(&self, key: &str) -> Option<&'a str> {
        self.annotations[key].as_str()
    }
}

/// Pods, and the annotations of namespaces.
#[derive(Default)]
pub(super) struct Cluster<'a> {
    pub(super) pods: Vec<Pod<'a>>,
    namespaces: BTreeMap<&'a str, &'a Value>,
}

impl<'a> Cluster<'a> {
    /// What is in these documents, each an object or a list of some.
    pub(super) fn of(documents: &'a [Value]) -> Self {
        let mut cluster = Self::default();
        for document in documents {
            let kind = document["kind"].as_str().unwrap_or_default();
            match document["items"].as_array() {
                // The items of the API's own lists have no kind.
                Some(items) => items.iter().for_each(|item| {
                    cluster.add(item, item["kind"].as_str().unwrap_or(kind.trim_end_matches("List")));
                }),
                None => cluster.add(document, kind),
            }
        }
        cluster
    }

    /// An annotation of that namespace.
    pub(super) fn annotation(&self, namespace: &str, key: &str) -> Option<&'a str> {
        self.namespaces.get(namespace)?[key].as_str()
    }

    fn add(&mut self, object: &'a Value, kind: &str) {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let template = match kind {
            "Namespace" => {
                self.namespaces.insert(name, &object["metadata"]["annotations"]);
                return;
            }
            // One that has ended asks for nothing any more.
            "Pod" if matches!(object["status"]["phase"].as_str(), Some("Succeeded" | "Failed")) => return,
            "Pod" => object,
            "DaemonSet" | "Deployment" | "Job" | "ReplicationController" | "StatefulSet" => &object["spec"]["template"],
            "CronJob" => &object["spec"]["jobTemplate"]["spec"]["template"],
            _ => return,
        };
        let spec = &template["spec"];
        let account = spec["serviceAccountName"].as_str().or_else(|| spec["serviceAccount"].as_str());
        let account = account.filter(|name| !name.is_empty()).unwrap_or("default");
        let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
        if let Some(account) = Account::new(namespace, account) {
            let shown = format!("{} {}", kind.to_lowercase(), name.escape_debug());
            self.pods.push(Pod { shown, account, annotations: &template["metadata"]["annotations"] });
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_and_templates_are_found_in_lists_and_by_themselves() {
        let annotations = json!({"a": "1"});
        let template = json!({"metadata": {"annotations": annotations}, "spec": {"serviceAccountName": "web"}});
        let documents = [
            json!({"kind": "List", "items": [
                {"kind": "Namespace", "metadata": {"name": "prod", "annotations": {"b": "2"}}},
                {"kind": "Deployment", "metadata": {"name": "d", "namespace": "prod"}, "spec": {"template": template}},
                {"kind": "CronJob", "metadata": {"name": "c", "namespace": "prod"},
                 "spec": {"jobTemplate": {"spec": {"template": template}}}},
                {"kind": "Secret", "metadata": {"name": "s", "namespace": "prod"}},
            ]}),
            json!({"kind": "PodList", "items": [
                {"metadata": {"name": "p", "annotations": annotations}, "spec": {}},
                {"metadata": {"name": "over"}, "spec": {}, "status": {"phase": "Succeeded"}},
            ]}),
            json!({"kind": "Pod", "metadata": {"name": "q", "namespace": "Not one"}, "spec": {}}),
            json!(3),
        ];
        let cluster = Cluster::of(&documents);
        let pods: Vec<_> = cluster.pods.iter().map(|pod| format!("{} {}", pod.shown, pod.account)).collect();
        assert_eq!(pods, ["deployment d prod/web", "cronjob c prod/web", "pod p default/default"]);
        assert!(cluster.pods.iter().all(|pod| pod.annotation("a") == Some("1") && pod.annotation("b").is_none()));
        assert_eq!((cluster.annotation("prod", "b"), cluster.annotation("other", "b")), (Some("2"), None));
    }
}
