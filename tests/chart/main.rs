//! The chart: what Helm makes of it is what Kubernetes takes, and the configuration in it is valid for the real binaries.

mod helm;
#[path = "../support/mod.rs"]
mod support;

use std::{fs, path::Path, process::Command};

use helm::{Helm, LEAST, MORE, ONLY_IMS, OWN_CERTIFICATE, chart, find};
use serde_json::Value;
use tempfile::TempDir;

/// Kinds and names.
fn names(documents: &[Value]) -> Vec<String> {
    let name =
        |it: &Value| format!("{} {}", it["kind"].as_str().unwrap_or(""), it["metadata"]["name"].as_str().unwrap_or(""));
    let mut names: Vec<_> = documents.iter().map(name).collect();
    names.sort();
    names
}

/// Has the program judge a configuration.
fn check(program: &str, config: &Value) {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("config.yaml");
    // It looks at the files of the role server, too.
    let secrets = directory.path().to_str().expect("text");
    for folder in ["tls", "secrets/keys"] {
        fs::create_dir_all(directory.path().join(folder)).expect("a directory");
    }
    let key = rcgen::KeyPair::generate().expect("a key");
    let certificate = rcgen::CertificateParams::new(Vec::new()).expect("no names").self_signed(&key).expect("one");
    for (name, text) in [
        ("tls/tls.crt", certificate.pem()),
        ("tls/tls.key", key.serialize_pem()),
        ("secrets/keys/ca.pem", certificate.pem()),
    ] {
        fs::write(directory.path().join(name), text).expect("a file");
    }
    let text = config.as_str().expect("text").replace("/etc/alppaca-ims", secrets);
    fs::write(&file, text).expect("a file");
    let program = Path::new(env!("CARGO_BIN_EXE_alppaca")).with_file_name(program);
    let output = Command::new(&program).args(["check", "-c"]).arg(&file).output();
    let output = output.unwrap_or_else(|error| panic!("{}: {error}; it is built with --workspace", program.display()));
    assert!(output.status.success(), "{config}\n{}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn helm_finds_nothing_to_complain_of() {
    let Some(helm) = Helm::new("the chart and helm lint") else { return };
    for values in [LEAST, MORE, ONLY_IMS, OWN_CERTIFICATE] {
        let output = helm.run(&["lint", "--strict", chart().to_str().expect("text")], values);
        assert!(output.status.success(), "{values}{}", String::from_utf8_lossy(&output.stdout));
    }
}

#[test]
fn all_that_is_rendered_is_valid() {
    let Some(helm) = Helm::new("what the chart makes") else { return };
    let least = helm.documents(LEAST);
    assert_eq!(
        names(&least),
        [
            "ClusterRoleBinding aws-alppaca-issuer",
            "ConfigMap alppaca",
            "DaemonSet alppaca",
            "Deployment alppaca-webhook",
            "MutatingWebhookConfiguration aws-alppaca-webhook",
            "PodDisruptionBudget alppaca-webhook",
            "Secret alppaca-webhook-tls",
            "Service alppaca-webhook",
            "ServiceAccount alppaca",
            "ServiceAccount alppaca-webhook",
        ]
    );
    let more = helm.documents(MORE);
    let ims = helm.documents(ONLY_IMS);
    assert_eq!(
        names(&ims),
        ["ConfigMap alppaca-ims", "Deployment alppaca-ims", "Service alppaca-ims", "ServiceAccount alppaca-ims"]
    );
    let none = "daemon: {updateStrategy: {rollingUpdate: {maxSurge: 0, maxUnavailable: 10%}}}";
    assert_eq!(names(&helm.documents(&format!("{LEAST}{none}"))), names(&least));
    let own = helm.documents(OWN_CERTIFICATE);
    assert!(!names(&own).iter().any(|name| name.starts_with("Secret ") || name.starts_with("DaemonSet ")));
    for documents in [&least, &more, &own] {
        check("alppaca", &find(documents, "ConfigMap", "alppaca")["data"]["alppaca.yaml"]);
    }
    for documents in [&more, &ims] {
        check("alppaca-ims", &find(documents, "ConfigMap", "alppaca-ims")["data"]["ims.yaml"]);
    }
}

#[test]
fn the_values_of_the_guide_are_a_configuration() {
    let Some(helm) = Helm::new("the values of the guide") else { return };
    let guide = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/kubernetes.md")).expect("text");
    let blocks = || guide.split("```yml\n").skip(1).filter_map(|rest| rest.split("```").next());
    let least = blocks().find(|block| block.starts_with("image:")).expect("the least that has to be said");
    let other = blocks().find(|block| block.starts_with("secrets:")).expect("another source");
    let (before, after) = least.split_once("config:\n").expect("a configuration");
    let rest = &after[after.find("podIdentity:").expect("what follows")..];
    for values in [least.to_owned(), format!("{before}{other}{rest}")] {
        let documents = helm.documents(&values);
        check("alppaca", &find(&documents, "ConfigMap", "alppaca")["data"]["alppaca.yaml"]);
    }
}

#[test]
fn the_api_server_asks_about_new_pods_outside_of_the_own_namespace() {
    let Some(helm) = Helm::new("the configuration of the webhook") else { return };
    let own = |selector: &Value| {
        let expressions = selector["matchExpressions"].as_array().expect("a list");
        let not = expressions.iter().find(|it| it["key"] == "kubernetes.io/metadata.name").expect("one").clone();
        assert_eq!(not["operator"], "NotIn");
        not["values"]
            .as_array()
            .expect("a list")
            .iter()
            .map(|it| it.as_str().expect("text").to_owned())
            .collect::<Vec<_>>()
    };
    for (values, policy) in [(LEAST, "Ignore"), (MORE, "Fail")] {
        let documents = helm.documents(values);
        let webhook = &find(&documents, "MutatingWebhookConfiguration", "aws-alppaca-webhook")["webhooks"][0];
        assert_eq!(webhook["failurePolicy"], policy);
        let cluster = ["kube-system", "kube-public", "kube-node-lease"];
        // Without a network the webhook does not start, nor without a certificate.
        let needed = ["kube-flannel", "calico-system", "tigera-operator", "cert-manager"];
        assert_eq!(own(&webhook["namespaceSelector"]), [&cluster[..], &needed, &["aws"]].concat());
        assert_eq!(webhook["rules"][0]["operations"], serde_json::json!(["CREATE"]));
        assert_eq!(webhook["sideEffects"], "None");
    }
    let more = helm.documents(MORE);
    let selector =
        &find(&more, "MutatingWebhookConfiguration", "aws-alppaca-webhook")["webhooks"][0]["namespaceSelector"];
    assert_eq!(selector["matchLabels"]["aws"], "yes");
    assert_eq!(selector["matchExpressions"].as_array().map(Vec::len), Some(2));
}

/// Each container, with its pod.
fn containers(documents: &[Value]) -> Vec<(&Value, &Value)> {
    let pods = documents.iter().map(|document| &document["spec"]["template"]["spec"]).filter(|pod| pod.is_object());
    let of = |pod: &'_ Value, list: &str| pod[list].as_array().cloned().unwrap_or_default().len();
    pods.flat_map(|pod| {
        ["initContainers", "containers"]
            .into_iter()
            .flat_map(move |list| (0..of(pod, list)).map(move |at| (pod, &pod[list][at])))
    })
    .collect()
}

#[test]
fn no_container_has_more_rights_than_it_needs() {
    let Some(helm) = Helm::new("the rights of containers") else { return };
    let documents = helm.documents(MORE);
    let all = containers(&documents);
    assert_eq!(all.len(), 4);
    for (pod, container) in all {
        let (name, security) = (container["name"].as_str().expect("a name"), &container["securityContext"]);
        assert_eq!(security["allowPrivilegeEscalation"], false, "{name}");
        assert_eq!(security["privileged"], false, "{name}");
        assert_eq!(security["readOnlyRootFilesystem"], true, "{name}");
        assert_eq!(security["capabilities"]["drop"], serde_json::json!(["ALL"]), "{name}");
        assert_eq!(pod["automountServiceAccountToken"], false, "{name}");
        let added: Vec<&str> =
            security["capabilities"]["add"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let (expected, root): (&[&str], bool) = match name {
            "capture" => (&["NET_ADMIN"], true),
            "alppaca" => (&["NET_BIND_SERVICE", "SETGID", "SETPCAP", "SETUID"], true),
            _ => (&[], false),
        };
        assert_eq!(added, expected, "{name}");
        assert_eq!(security["runAsUser"] == 0, root, "{name}");
        assert_eq!(pod["hostNetwork"] == true, root, "{name}");
        assert!(container["resources"]["limits"]["memory"].is_string(), "{name}");
    }
    let may = find(&documents, "ClusterRole", "aws-alppaca");
    let watch =
        serde_json::json!([{ "apiGroups": [""], "resources": ["serviceaccounts"], "verbs": ["list", "watch"] }]);
    assert_eq!(may["rules"], watch);
    assert!(!names(&helm.documents(LEAST)).iter().any(|name| name.starts_with("ClusterRole ")));
    // Who begins as root listens at no port that others could take.
    let capture = &find(&documents, "DaemonSet", "alppaca")["spec"]["template"]["spec"]["initContainers"][0];
    assert_eq!(capture["args"], serde_json::json!(["capture", "apply", "--also=169.254.170.23", "--bridge=cni0"]));
}

#[test]
fn wrong_values_are_refused_with_the_reason() {
    let Some(helm) = Helm::new("wrong values of the chart") else { return };
    for (values, said) in [
        ("podIdentity: {associations: [{role: a}]}", "webhook.failurePolicy: choose what happens"),
        ("webhook: {failurePolicy: Fail}", "podIdentity.associations is empty"),
        (
            "webhook: {failurePolicy: Fail}\npodIdentity: {serviceAccounts: {enabled: true}}",
            "podIdentity.serviceAccounts.allow is empty",
        ),
        (
            "webhook: {failurePolicy: Fail}\npodIdentity: {associations: [{role: a}], listen: ['[fd00:ec2::23]:80']}",
            "capture gives the node no IPv6 address, so that the daemon cannot listen at [fd00:ec2::23]:80",
        ),
        (
            "webhook: {failurePolicy: Fail}\nconfig: {sources: {a: {kind: static, secret_access_key: x}}}",
            "secret_access_key does not belong in a ConfigMap",
        ),
        (
            "webhook: {failurePolicy: Fail}\npodIdentity: {associations: [{role: a}]}\ncapture: {imds: true}",
            "config.listen has to have 169.254.169.254:80",
        ),
        (
            "webhook: {failurePolicy: Fail}\npodIdentity: {associations: [{role: a}]}\ncapture: {imds: true}\n\
             config: {listen: ['127.0.0.1:25772', '169.254.169.254:8080']}",
            "the daemon would listen at 127.0.0.1:25772, 169.254.169.254:8080",
        ),
        (
            "webhook: {failurePolicy: Fail}\npodIdentity: {associations: [{role: a}]}\ncapture: {imds: true}\n\
             config: {bind_ip: 169.254.169.254}",
            "the daemon would listen at 169.254.169.254:25772",
        ),
        ("webhook: {failurePolicy: ignore}", "/webhook/failurePolicy"),
        (
            "webhook: {failurePolicy: Fail}\nconfig: {ims_host: x}\npodIdentity: {associations: [{role: a}]}\n\
             daemon: {updateStrategy: {rollingUpdate: {maxSurge: 1}}}",
            "maxSurge: has to be 0, as a second pod on a node cannot listen where the first one does",
        ),
        (
            "webhook: {failurePolicy: Fail}\nconfig: {ims_host: x}\npodIdentity: {associations: [{role: a}]}\n\
             daemon: {updateStrategy: {rollingUpdate: {maxSurge: 25%}}}",
            "maxSurge: has to be 0",
        ),
        ("webhok: {}", "webhok"),
        ("image: {repo: x}", "repo"),
        ("webhook: {failurePolicy: Fail, timeoutSeconds: 31}", "/webhook/timeoutSeconds"),
        ("webhook: {failurePolicy: Fail, replicas: 0}", "/webhook/replicas"),
        ("podIdentity: {listen: []}", "/podIdentity/listen"),
        ("podIdentity: {associations: [{namespace: prod}]}", "/podIdentity/associations/0"),
        ("podIdentity: {sessionTags: {cluster: blue}}", "/podIdentity/sessionTags"),
        ("podIdentity: {sessionTags: {clusterName: a/b}}", "/podIdentity/sessionTags/clusterName"),
        ("secrets: ['../etc']", "/secrets/0"),
        ("daemon: {metricsListen: '[::1]:1'}", "/daemon/metricsListen"),
        (
            "webhook: {failurePolicy: Fail}\nconfig: {metrics_listen: '0.0.0.0:1'}",
            "config.metrics_listen: the chart sets it",
        ),
        (
            "podIdentity: {associations: [{role: a}]}\nwebhook: {failurePolicy: Fail, tls: {mode: certManager}}",
            "webhook.tls.certManager.issuerRef.name",
        ),
        (
            "podIdentity: {associations: [{role: a}]}\nwebhook: {failurePolicy: Fail, tls: {mode: existingSecret}}",
            "webhook.tls.existingSecret.name",
        ),
        ("podIdentity: {enabled: false}\nims: {enabled: true}", "ims.tlsSecret"),
    ] {
        let told = helm.refusal(values);
        assert!(told.contains(said) || told.replace('.', "/").contains(said), "{values}: no {said} in {told}");
    }
}

#[test]
fn what_is_alone_has_no_budget_and_only_api_servers_ask_if_that_is_said() {
    let Some(helm) = Helm::new("budgets and network policies of the chart") else { return };
    let ingress =
        |values: &str| find(&helm.documents(values), "NetworkPolicy", "alppaca-webhook")["spec"]["ingress"].clone();
    assert_eq!(ingress(MORE)[0]["from"], serde_json::json!([{ "ipBlock": { "cidr": "192.0.2.0/28" } }]));
    let alone = LEAST.replace("Ignore", "Ignore, replicas: 1, networkPolicy: {enabled: true}");
    assert!(ingress(&alone)[0]["from"].is_null());
    let budgets = |values: &str| names(&helm.documents(values)).iter().filter(|name| name.contains("Budget")).count();
    assert_eq!((budgets(LEAST), budgets(&alone)), (1, 0));
}

#[test]
fn the_captured_address_may_be_written_in_each_way_that_the_daemon_knows() {
    let Some(helm) = Helm::new("the listeners of the chart") else { return };
    for listeners in [
        "listen: 169.254.169.254:80",
        "listen: ['127.0.0.1:25772', '169.254.169.254:80']",
        "bind_ip: 169.254.169.254, bind_port: 80",
    ] {
        let values = format!(
            "webhook: {{failurePolicy: Ignore}}\ncapture: {{imds: true}}\nconfig: {{ims_host: x, {listeners}}}\n\
             podIdentity: {{associations: [{{role: a}}]}}"
        );
        check("alppaca", &find(&helm.documents(&values), "ConfigMap", "alppaca")["data"]["alppaca.yaml"]);
    }
}

#[test]
fn annotations_alone_are_enough() {
    let Some(helm) = Helm::new("the chart with annotations alone") else { return };
    let values = "webhook: {failurePolicy: Ignore}\nconfig: {ims_host: x}\n\
                  podIdentity: {serviceAccounts: {enabled: true, allow: [{namespace: prod, roles: web}]}}";
    check("alppaca", &find(&helm.documents(values), "ConfigMap", "alppaca")["data"]["alppaca.yaml"]);
}

#[test]
fn a_change_of_the_configuration_restarts_what_reads_it() {
    let Some(helm) = Helm::new("the checksums of the chart") else { return };
    let sums = |values: &str| {
        let documents = helm.documents(values);
        let sum = |kind: &str, name: &str| {
            find(&documents, kind, name)["spec"]["template"]["metadata"]["annotations"]["checksum/config"].clone()
        };
        [sum("DaemonSet", "alppaca"), sum("Deployment", "alppaca-webhook")]
    };
    let (before, again) = (sums(LEAST), sums(LEAST));
    assert_eq!(before, again);
    let after = sums(&LEAST.replace("web-*", "web-?"));
    assert!(before.iter().zip(&after).all(|(before, after)| before != after));
}

#[test]
fn its_versions_are_those_of_the_program() {
    let text = fs::read_to_string(chart().join("Chart.yaml")).expect("text");
    let version = env!("CARGO_PKG_VERSION");
    assert!(
        text.contains(&format!("\nversion: {version}\n")) && text.contains(&format!("\nappVersion: {version}\n")),
        "{text}"
    );
}

/// The values of the file, as dotted keys down to what is no mapping.
#[test]
fn each_value_is_explained_and_has_a_schema() {
    let readme = fs::read_to_string(chart().join("README.md")).expect("text");
    let schema: Value =
        serde_json::from_str(&fs::read_to_string(chart().join("values.schema.json")).expect("text")).expect("JSON");
    let properties = schema["properties"].as_object().expect("a mapping");
    assert!(properties.len() > 10);
    for (key, part) in properties.iter().filter(|(key, _)| *key != "global") {
        let below = part["properties"].as_object().map(|below| below.keys().collect::<Vec<_>>()).unwrap_or_default();
        assert!(readme.contains(&format!("`{key}")), "README.md does not explain {key}");
        for below in below {
            let named =
                [format!("`{key}.{below}"), format!("`*.{below}`")].into_iter().any(|name| readme.contains(&name));
            assert!(named, "README.md does not explain {key}.{below}");
        }
    }
}
