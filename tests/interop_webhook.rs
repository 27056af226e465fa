//! The webhook and the chart at a real API server of Kubernetes: what it stores of pods, and what it says of the chart.

#[path = "chart/helm.rs"]
mod helm;
#[path = "support/kubernetes.rs"]
mod kubernetes;
#[path = "webhook/running.rs"]
mod running;
mod support;

use base64::{Engine, prelude::BASE64_STANDARD};
use helm::{Helm, LEAST, MORE, find};
use kubernetes::Cluster;
use running::Webhook;
use rustix::process::Signal;
use serde_json::{Value, json};
use support::eventually;

const STRICT: &str = "fieldValidation=Strict";

/// Where objects of a kind are made.
fn path(document: &Value) -> String {
    let kind = document["kind"].as_str().expect("a kind");
    let (group, plural) = match kind {
        "ClusterRole" | "ClusterRoleBinding" => {
            ("/apis/rbac.authorization.k8s.io/v1", format!("{}s", kind.to_lowercase()))
        }
        "DaemonSet" | "Deployment" => ("/apis/apps/v1", format!("{}s", kind.to_lowercase())),
        "MutatingWebhookConfiguration" => {
            ("/apis/admissionregistration.k8s.io/v1", "mutatingwebhookconfigurations".into())
        }
        "NetworkPolicy" => ("/apis/networking.k8s.io/v1", "networkpolicies".into()),
        "PodDisruptionBudget" => ("/apis/policy/v1", "poddisruptionbudgets".into()),
        _ => ("/api/v1", format!("{}s", kind.to_lowercase())),
    };
    let namespace = document["metadata"]["namespace"].as_str();
    let namespace = namespace.map(|namespace| format!("/namespaces/{namespace}")).unwrap_or_default();
    format!("{group}{namespace}/{plural}?{STRICT}")
}

fn pod(account: &str) -> Value {
    let containers = json!([{ "name": "app", "image": "x", "terminationMessagePolicy": "File" }]);
    let first =
        json!([{ "name": "first", "image": "x" }, { "name": "sidecar", "image": "x", "restartPolicy": "Always" }]);
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "generateName": "app-" },
        "spec": { "serviceAccountName": account, "containers": containers, "initContainers": first },
    })
}

/// Has the API server make a pod: status and what it stores, or why it does not.
fn make(cluster: &Cluster, namespace: &str, pod: &Value, more: &str) -> (u16, Value) {
    let path = format!("/api/v1/namespaces/{namespace}/pods?{STRICT}{more}");
    cluster.call("POST", &path, Some(("application/json", pod.clone()))).expect("an answer")
}

/// The names of the variables of all containers.
fn variables(pod: &Value) -> Vec<Vec<String>> {
    let containers =
        ["initContainers", "containers"].into_iter().filter_map(|list| pod["spec"][list].as_array().cloned());
    let names = |container: &Value| {
        let variables = container["env"].as_array().cloned().unwrap_or_default();
        variables.iter().map(|it| it["name"].as_str().expect("a name").to_owned()).collect()
    };
    containers.flatten().map(|container| names(&container)).collect()
}

const BOTH: [&str; 2] = ["AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"];

#[test]
fn a_real_api_server_stores_pods_as_the_webhook_says() {
    let what = "the webhook at a real API server";
    let Some(helm) = Helm::new(what) else { return };
    let Some(cluster) = Cluster::start(what) else { return };
    let mut webhook = Webhook::start("[{namespace: prod, service_account: 'web-*', role: web}]", "  stop_delay: 0s\n");
    for (namespace, accounts) in [("prod", ["web-1", "other"]), ("stage", ["web-1", "other"])] {
        cluster.create_namespace(namespace);
        for account in accounts {
            cluster.create_account(namespace, account);
        }
    }
    // As the chart makes it, but for the place: there is no network of a cluster here.
    let documents = helm.documents(LEAST);
    let mut configuration = find(&documents, "MutatingWebhookConfiguration", "aws-alppaca-webhook").clone();
    configuration["webhooks"][0]["clientConfig"] = json!({
        "url": format!("https://{}/mutate", webhook.address),
        "caBundle": BASE64_STANDARD.encode(&webhook.authority),
    });
    cluster.create(&path(&configuration), configuration.clone());
    // It takes the API server a moment to know of it.
    let patched = eventually(
        "a pod is patched",
        || {
            let (status, made) = make(&cluster, "prod", &pod("web-1"), "");
            assert_eq!(status, 201, "{made}");
            (!variables(&made)[0].is_empty()).then_some(made)
        },
        || webhook.log(),
    );
    assert_eq!(variables(&patched), [BOTH, BOTH, BOTH]);
    assert_eq!(patched["metadata"]["labels"]["eks.amazonaws.com/pod-identity"], "enabled");
    let volumes = patched["spec"]["volumes"].as_array().expect("volumes");
    let volume = volumes.iter().find(|volume| volume["name"] == "eks-pod-identity-token").expect("the token's");
    let token = &volume["projected"]["sources"][0]["serviceAccountToken"];
    assert_eq!((&token["audience"], &token["expirationSeconds"]), (&json!("pods.eks.amazonaws.com"), &json!(86_400)));
    let mounts = patched["spec"]["containers"][0]["volumeMounts"].as_array().expect("mounts");
    let mount = mounts.iter().find(|mount| mount["name"] == "eks-pod-identity-token").expect("the token's");
    assert_eq!(mount["readOnly"], true);

    // What was patched before is not patched again.
    let mut again = pod("web-1");
    again["spec"] = patched["spec"].clone();
    let (status, again) = make(&cluster, "prod", &again, "");
    assert_eq!((status, variables(&again)), (201, variables(&patched)), "{again}");
    for (namespace, account) in [("prod", "other"), ("stage", "web-1")] {
        let (status, made) = make(&cluster, namespace, &pod(account), "");
        assert_eq!((status, variables(&made).concat()), (201, Vec::<String>::new()), "{made}");
    }
    let (status, dry) = make(&cluster, "prod", &pod("web-1"), "&dryRun=All");
    assert_eq!((status, variables(&dry)), (201, variables(&patched)), "{dry}");
    let mut labelled = pod("web-1");
    labelled["metadata"]["labels"] = json!({ "eks.amazonaws.com/skip-pod-identity-webhook": "true" });
    let (_, labelled) = make(&cluster, "prod", &labelled, "");
    assert_eq!(variables(&labelled).concat(), Vec::<String>::new());

    // Nobody answers: Ignore, and Fail.
    webhook.signal(Signal::TERM);
    assert_eq!(webhook.wait(), Some(0));
    let (status, made) = make(&cluster, "prod", &pod("web-1"), "");
    assert_eq!((status, variables(&made).concat()), (201, Vec::<String>::new()), "{made}");
    cluster.delete("/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/aws-alppaca-webhook");
    configuration["webhooks"][0]["failurePolicy"] = "Fail".into();
    cluster.create(&path(&configuration), configuration);
    let refused = eventually(
        "a pod is refused",
        || Some(make(&cluster, "prod", &pod("web-1"), "")).filter(|(status, _)| *status != 201),
        String::new,
    );
    let message = refused.1["message"].as_str().expect("a message");
    assert!(refused.0 == 500 && message.contains("failed calling webhook \"pods.alppaca.dev\""), "{refused:?}");
    // The own namespace can always start again.
    cluster.create_namespace("aws");
    cluster.create_account("aws", "default");
    assert_eq!(make(&cluster, "aws", &pod("default"), "").0, 201);
}

#[test]
fn a_real_api_server_takes_what_the_chart_makes() {
    let what = "the chart at a real API server";
    let Some(helm) = Helm::new(what) else { return };
    let Some(cluster) = Cluster::start(what) else { return };
    let enforced = json!({ "name": "aws", "labels": { "pod-security.kubernetes.io/enforce": "restricted" } });
    cluster.create("/api/v1/namespaces", json!({ "metadata": enforced }));
    let foreign = |document: &Value| {
        let version = document["apiVersion"].as_str().expect("a version");
        version.starts_with("cert-manager.io/") || version.starts_with("monitoring.coreos.com/")
    };
    let documents: Vec<Value> = helm.documents(MORE).into_iter().filter(|document| !foreign(document)).collect();
    assert!(documents.len() > 12, "only {} documents", documents.len());
    // The accounts first, which pods need. What asks the webhook would refuse all pods, as none runs.
    for document in documents.iter().filter(|document| document["kind"] != "MutatingWebhookConfiguration") {
        cluster.create(&path(document), document.clone());
    }
    // The profile is judged when a pod is made, which no controller does here.
    let made = |kind: &str, name: &str| {
        let template = &find(&documents, kind, name)["spec"]["template"];
        let mut metadata = template["metadata"].clone();
        metadata["name"] = name.into();
        let pod = json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"] });
        make(&cluster, "aws", &pod, "")
    };
    for name in ["alppaca-webhook", "alppaca-ims"] {
        let (status, pod) = made("Deployment", name);
        assert_eq!(status, 201, "{pod}");
    }
    // It is in the network of the node, and says why.
    let (status, pod) = made("DaemonSet", "alppaca");
    assert_eq!(status, 403, "{pod}");
    let privileged = json!({ "metadata": { "labels": { "pod-security.kubernetes.io/enforce": "privileged" } } });
    let patch = Some(("application/merge-patch+json", privileged));
    assert_eq!(cluster.call("PATCH", "/api/v1/namespaces/aws", patch).expect("an answer").0, 200);
    let (status, pod) = made("DaemonSet", "alppaca");
    assert_eq!(status, 201, "{pod}");
    let configuration = find(&documents, "MutatingWebhookConfiguration", "aws-alppaca-webhook");
    cluster.create(&path(configuration), configuration.clone());
}
