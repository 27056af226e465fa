use base64::{Engine, prelude::BASE64_STANDARD};
use proptest::{collection::vec, option, prelude::*, sample::select};
use serde_json::{Value, json};

use super::*;

const MOUNT: &str = "/var/run/secrets/pods.eks.amazonaws.com/serviceaccount";

fn injection() -> Injection {
    Injection {
        credentials_url: "http://169.254.170.23/v1/credentials".into(),
        audience: "pods.eks.amazonaws.com".into(),
        token_expiration: 86_400,
        region: Some("eu-central-1".into()),
        regional_sts: true,
    }
}

fn request(pod: &Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "name": "web",
            "namespace": "prod",
            "operation": "CREATE",
            "userInfo": { "username": "admin" },
            "object": pod,
            "oldObject": null,
            "dryRun": false,
        },
    })
}

fn review(request: &Value) -> Review {
    Review::read(request.to_string().as_bytes()).expect("a review")
}

/// What the API server makes of a patch of nothing but `add`: RFC 6902, section 4.1.
fn patched(pod: &Value, operations: &[Value]) -> Value {
    let mut pod = pod.clone();
    for operation in operations {
        assert_eq!(operation["op"], "add", "{operation}");
        let path = operation["path"].as_str().expect("a path");
        let (parent, last) = path.rsplit_once('/').expect("a path");
        let last = last.replace("~1", "/");
        match pod.pointer_mut(parent).unwrap_or_else(|| panic!("there is no {parent}")) {
            Value::Array(list) if last == "-" => list.push(operation["value"].clone()),
            Value::Object(map) => {
                let before = map.insert(last, operation["value"].clone());
                assert!(before.is_none_or(|before| before.is_null()), "{operation} replaces something");
            }
            other => panic!("{operation}: {other}"),
        }
    }
    pod
}

/// The pod afterwards.
fn admitted(pod: &Value) -> Value {
    match decide(&review(&request(pod)), &injection()) {
        Decision::Inject(injected) => patched(pod, &injected.operations),
        Decision::Skip(skip) => panic!("{skip}"),
    }
}

fn skip(pod: &Value) -> Skip {
    match decide(&review(&request(pod)), &injection()) {
        Decision::Skip(skip) => skip,
        Decision::Inject(injected) => panic!("{injected:?}"),
    }
}

#[test]
fn a_plain_pod_gets_what_eks_adds() {
    let pod = json!({
        "metadata": { "name": "web" },
        "spec": { "serviceAccountName": "web", "containers": [{ "name": "app", "image": "x", "livenessProbe": {} }] },
    });
    assert_eq!(
        admitted(&pod),
        json!({
            "metadata": { "name": "web", "labels": { "eks.amazonaws.com/pod-identity": "enabled" } },
            "spec": {
                "serviceAccountName": "web",
                "containers": [{
                    "name": "app",
                    "image": "x",
                    "livenessProbe": {},
                    "env": [
                        { "name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "regional" },
                        { "name": "AWS_DEFAULT_REGION", "value": "eu-central-1" },
                        { "name": "AWS_REGION", "value": "eu-central-1" },
                        { "name": "AWS_CONTAINER_CREDENTIALS_FULL_URI", "value": "http://169.254.170.23/v1/credentials" },
                        { "name": "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "value": format!("{MOUNT}/eks-pod-identity-token") },
                    ],
                    "volumeMounts": [{ "name": "eks-pod-identity-token", "mountPath": MOUNT, "readOnly": true }],
                }],
                "volumes": [{
                    "name": "eks-pod-identity-token",
                    "projected": { "sources": [{ "serviceAccountToken": {
                        "audience": "pods.eks.amazonaws.com",
                        "expirationSeconds": 86_400,
                        "path": "eks-pod-identity-token",
                    }}]},
                }],
            },
        })
    );
}

#[test]
fn init_containers_and_sidecars_get_it_too() {
    let pod = json!({ "metadata": {}, "spec": {
        "initContainers": [{ "name": "first" }, { "name": "proxy", "restartPolicy": "Always" }],
        "containers": [{ "name": "app" }],
    }});
    let Decision::Inject(injected) = decide(&review(&request(&pod)), &injection()) else { panic!("nothing") };
    assert_eq!(injected.containers, ["first", "proxy", "app"]);
    let after = patched(&pod, &injected.operations);
    for place in ["/spec/initContainers/0", "/spec/initContainers/1", "/spec/containers/0"] {
        assert_eq!(after.pointer(place).expect("a container")["env"].as_array().map(Vec::len), Some(5), "{place}");
    }
}

#[test]
fn a_container_with_settings_of_its_own_is_left_alone() {
    for name in [
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE",
        "AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
    ] {
        let own = json!({ "name": "own", "env": [{ "name": name, "value": "x" }] });
        assert_eq!(skip(&json!({ "metadata": {}, "spec": { "containers": [own] } })), Skip::OwnSettings, "{name}");
        let pod = json!({ "metadata": {}, "spec": { "containers": [own, { "name": "app" }] } });
        assert_eq!(admitted(&pod)["spec"]["containers"][0], own, "{name}");
    }
}

#[test]
fn a_region_of_the_container_counts_and_is_not_mixed_with_another() {
    for name in ["AWS_REGION", "AWS_DEFAULT_REGION"] {
        let env = json!([{ "name": name, "value": "us-east-1" }, { "name": "AWS_STS_REGIONAL_ENDPOINTS", "value": "legacy" }]);
        let pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app", "env": env }] } });
        let after = admitted(&pod);
        let variables = after["spec"]["containers"][0]["env"].as_array().expect("a list").iter();
        let names: Vec<_> = variables.map(|variable| variable["name"].as_str().expect("a name")).collect();
        assert_eq!(
            names,
            [
                name,
                "AWS_STS_REGIONAL_ENDPOINTS",
                "AWS_CONTAINER_CREDENTIALS_FULL_URI",
                "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE"
            ]
        );
    }
}

#[test]
fn containers_can_be_opted_out_and_tokens_shortened_by_annotations() {
    let pod = |annotations: Value| {
        let containers = json!([{ "name": "app" }, { "name": "sidecar" }]);
        json!({ "metadata": { "annotations": annotations }, "spec": { "containers": containers } })
    };
    let after = admitted(&pod(json!({ "eks.amazonaws.com/skip-containers": "other, sidecar" })));
    assert_eq!(after["spec"]["containers"][1], json!({ "name": "sidecar" }));
    assert_eq!(skip(&pod(json!({ "eks.amazonaws.com/skip-containers": "app,sidecar" }))), Skip::OptedOut);
    for (written, seconds) in
        [("3600", 3600), ("1", 600), ("4294967295", 86_400), ("99999999999", 86_400), ("-1", 86_400), ("soon", 86_400)]
    {
        let after = admitted(&pod(json!({ "eks.amazonaws.com/token-expiration": written })));
        let token = &after["spec"]["volumes"][0]["projected"]["sources"][0]["serviceAccountToken"];
        assert_eq!(token["expirationSeconds"], seconds, "{written}");
    }
}

#[test]
fn a_volume_of_that_name_is_used_if_it_has_the_token() {
    let with =
        |volume: Value| json!({ "metadata": {}, "spec": { "containers": [{ "name": "app" }], "volumes": [volume] } });
    let token = json!({ "serviceAccountToken": { "audience": "other", "path": "eks-pod-identity-token" } });
    let own = with(json!({ "name": "eks-pod-identity-token", "projected": { "sources": [token] } }));
    assert_eq!(admitted(&own)["spec"]["volumes"], own["spec"]["volumes"]);
    let empty = with(json!({ "name": "eks-pod-identity-token", "emptyDir": {} }));
    assert_eq!(skip(&empty), Skip::VolumeTaken);
    let decision = Decision::Skip(skip(&empty));
    let answer: Value = serde_json::from_slice(&review(&request(&empty)).answer(&decision)).expect("JSON");
    assert_eq!(
        answer["response"]["warnings"][0],
        "alppaca: the pod gets no AWS credentials: it has another volume eks-pod-identity-token"
    );
}

#[test]
fn a_container_that_has_something_else_there_gets_nothing() {
    let taken = json!({ "name": "own", "volumeMounts": [{ "name": "data", "mountPath": format!("{MOUNT}/") }] });
    assert_eq!(skip(&json!({ "metadata": {}, "spec": { "containers": [taken] } })), Skip::PathTaken);
    let pod = json!({ "metadata": {}, "spec": { "containers": [taken, { "name": "app" }] } });
    let decision = decide(&review(&request(&pod)), &injection());
    assert_eq!(decision.to_string(), "added to app; not to own (path_taken)");
    let answer: Value = serde_json::from_slice(&review(&request(&pod)).answer(&decision)).expect("JSON");
    assert_eq!(
        answer["response"]["warnings"][0],
        format!("alppaca: without AWS credentials, as something else is at {MOUNT}: own")
    );
}

#[test]
fn a_token_that_is_mounted_elsewhere_is_read_there() {
    let mounts = json!([{ "name": "eks-pod-identity-token", "mountPath": "/token/" }]);
    let pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app", "volumeMounts": mounts }] } });
    let after = admitted(&pod);
    let container = &after["spec"]["containers"][0];
    assert_eq!(container["volumeMounts"], mounts);
    assert_eq!(container["env"][4]["value"], "/token/eks-pod-identity-token");
    // A part of it may be anything: the whole is mounted beside it.
    let part = json!([{ "name": "eks-pod-identity-token", "mountPath": "/token", "subPath": "x" }]);
    let pod = json!({ "metadata": {}, "spec": { "containers": [{ "name": "app", "volumeMounts": part }] } });
    assert_eq!(admitted(&pod)["spec"]["containers"][0]["volumeMounts"][1]["mountPath"], MOUNT);
}

#[test]
fn windows_mirror_pods_and_all_but_new_pods_are_left_alone() {
    let containers = json!([{ "name": "app" }]);
    for (pod, why) in [
        (json!({ "metadata": {}, "spec": { "containers": containers, "os": { "name": "windows" } } }), Skip::Windows),
        (
            json!({ "metadata": {}, "spec": { "containers": containers, "nodeSelector": { "kubernetes.io/os": "windows" } } }),
            Skip::Windows,
        ),
        (
            json!({ "metadata": { "annotations": { "kubernetes.io/config.mirror": "x" } }, "spec": { "containers": containers } }),
            Skip::Mirror,
        ),
    ] {
        assert_eq!(skip(&pod), why, "{pod}");
    }
    let pod = json!({ "metadata": {}, "spec": { "containers": containers } });
    for (key, value) in [
        ("operation", json!("UPDATE")),
        ("subResource", json!("ephemeralcontainers")),
        ("resource", json!({ "group": "apps", "version": "v1", "resource": "deployments" })),
    ] {
        let mut request = request(&pod);
        request["request"][key] = value;
        assert_eq!(decide(&review(&request), &injection()), Decision::Skip(Skip::NotANewPod), "{key}");
    }
}

#[test]
fn the_answer_has_the_id_of_the_request_and_a_patch_in_base64() {
    let pod = json!({ "metadata": { "generateName": "web-" }, "spec": { "containers": [{ "name": "app" }] } });
    let review = review(&request(&pod));
    assert_eq!((review.shown(), review.shown_account()), ("prod/web-*".into(), "prod/default".into()));
    let decision = decide(&review, &injection());
    let answer: Value = serde_json::from_slice(&review.answer(&decision)).expect("JSON");
    assert_eq!((&answer["apiVersion"], &answer["kind"]), (&json!("admission.k8s.io/v1"), &json!("AdmissionReview")));
    let response = &answer["response"];
    assert_eq!(response["uid"], "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!((&response["allowed"], &response["patchType"]), (&json!(true), &json!("JSONPatch")));
    assert_eq!(response["auditAnnotations"]["decision"], "added to app");
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().expect("text")).expect("base64");
    let Decision::Inject(injected) = decision else { panic!("nothing") };
    assert_eq!(serde_json::from_slice::<Vec<Value>>(&patch).expect("JSON"), injected.operations);

    let nothing: Value = serde_json::from_slice(&review.answer(&Decision::Skip(Skip::NotAssociated))).expect("JSON");
    assert_eq!((&nothing["response"]["allowed"], &nothing["response"]["patch"]), (&json!(true), &Value::Null));
}

#[test]
fn what_is_no_review_is_refused_with_the_reason() {
    let with = |key: &str, value: Value| {
        let mut request = request(&json!({ "metadata": {}, "spec": {} }));
        request[key] = value;
        request.to_string()
    };
    let many: Vec<Value> = (0..1001).map(|number| json!({ "name": number.to_string() })).collect();
    for (body, why) in [
        (String::new(), "not an AdmissionReview with a pod: EOF"),
        ("[]".to_owned(), "not an AdmissionReview with a pod"),
        (with("apiVersion", json!("admission.k8s.io/v1beta1")), "admission.k8s.io/v1beta1 AdmissionReview is not"),
        (with("kind", json!("a\nb")), "admission.k8s.io/v1 a b is not admission.k8s.io/v1 AdmissionReview"),
        (with("request", Value::Null), "there is no `request`"),
        (request(&json!({ "spec": { "containers": [{}] } })).to_string(), "missing field `name`"),
        (request(&json!({ "spec": { "containers": many } })).to_string(), "more than 1000 containers"),
    ] {
        let error = Review::read(body.as_bytes()).expect_err(why).to_string();
        assert!(error.contains(why), "{error} has not {why}");
    }
}

#[test]
fn each_reason_has_a_word_of_its_own() {
    let words: std::collections::BTreeSet<_> = Skip::ALL.iter().map(|skip| skip.word()).collect();
    assert_eq!(words.len(), Skip::ALL.len());
}

/// Whether all of `small` is in `large`, lists beginning with what there was.
fn contains(large: &Value, small: &Value) -> bool {
    match (large, small) {
        (Value::Object(large), Value::Object(small)) => small
            .iter()
            .all(|(key, value)| value.is_null() || large.get(key).is_some_and(|there| contains(there, value))),
        (Value::Array(large), Value::Array(small)) => {
            large.len() >= small.len() && small.iter().zip(large).all(|(small, large)| contains(large, small))
        }
        (large, small) => large == small,
    }
}

fn variables() -> impl Strategy<Value = Value> {
    let names = select(vec![
        "AWS_REGION",
        "AWS_STS_REGIONAL_ENDPOINTS",
        "AWS_CONTAINER_CREDENTIALS_FULL_URI",
        "AWS_CONTAINER_AUTHORIZATION_TOKEN",
        "PATH",
    ]);
    vec(names.prop_map(|name| json!({ "name": name, "value": "own" })), 0..3).prop_map(Value::from)
}

fn mounts() -> impl Strategy<Value = Value> {
    let mount = (select(vec!["eks-pod-identity-token", "data"]), select(vec![MOUNT, "/x"]), option::of("[a-z]?"));
    let mount = mount.prop_map(|(name, path, part)| json!({ "name": name, "mountPath": path, "subPath": part }));
    vec(mount, 0..3).prop_map(Value::from)
}

fn containers(most: usize) -> impl Strategy<Value = Value> {
    let container = ("[ab]", option::of(variables()), option::of(mounts()), option::of(0..9));
    let container = container.prop_map(|(name, env, mounts, unknown)| {
        let mut container = json!({ "name": name, "image": "x" });
        for (key, value) in [("env", env), ("volumeMounts", mounts), ("unknown", unknown.map(Value::from))] {
            // Both spellings of "none".
            if value.is_some() || name == "a" {
                container[key] = value.into();
            }
        }
        container
    });
    vec(container, 0..most).prop_map(Value::from)
}

fn pods() -> impl Strategy<Value = Value> {
    let token = json!({ "serviceAccountToken": { "path": "eks-pod-identity-token" } });
    let volumes = select(vec![
        json!([]),
        json!([{ "name": "data", "emptyDir": {} }]),
        json!([{ "name": "eks-pod-identity-token", "projected": { "sources": [token] } }]),
        json!([{ "name": "eks-pod-identity-token", "emptyDir": {} }]),
    ]);
    let annotations = select(vec![json!({}), json!({ "eks.amazonaws.com/skip-containers": "b" })]);
    let labels = option::of(select(vec![json!({}), json!({ "eks.amazonaws.com/pod-identity": "own" })]));
    (option::of(containers(3)), containers(3), option::of(volumes), annotations, labels).prop_map(
        |(first, containers, volumes, annotations, labels)| {
            json!({
                "metadata": { "annotations": annotations, "labels": labels },
                "spec": { "initContainers": first, "containers": containers, "volumes": volumes, "hostNetwork": true },
            })
        },
    )
}

proptest! {
    #[test]
    fn all_of_the_pod_stays_and_a_second_call_adds_nothing(pod in pods()) {
        if let Decision::Inject(injected) = decide(&review(&request(&pod)), &injection()) {
            let after = patched(&pod, &injected.operations);
            prop_assert!(contains(&after, &pod), "{pod} -> {after}");
            let again = decide(&review(&request(&after)), &injection());
            prop_assert!(matches!(again, Decision::Skip(Skip::OwnSettings | Skip::PathTaken)), "{again:?}");
        }
    }

    #[test]
    fn each_container_gets_all_or_nothing(pod in pods()) {
        if let Decision::Inject(injected) = decide(&review(&request(&pod)), &injection()) {
            let after = patched(&pod, &injected.operations);
            for list in ["initContainers", "containers"] {
                let both = pod["spec"][list].as_array().into_iter().flatten();
                for (before, after) in both.zip(after["spec"][list].as_array().into_iter().flatten()) {
                    let has = |name: &str| after["env"].as_array().into_iter().flatten().any(|it| it["name"] == name);
                    let mount = after["volumeMounts"].as_array().into_iter().flatten();
                    let mounted = mount.into_iter().any(|mount| mount["name"] == "eks-pod-identity-token");
                    let all = has("AWS_CONTAINER_CREDENTIALS_FULL_URI")
                        && has("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE")
                        && has("AWS_REGION")
                        && mounted;
                    prop_assert!(before == after || all, "{before} -> {after}");
                }
            }
            let volumes = after["spec"]["volumes"].as_array().into_iter().flatten();
            let named = volumes.filter(|volume| volume["name"] == "eks-pod-identity-token").count();
            prop_assert_eq!(named, 1);
        }
    }

    #[test]
    fn no_text_makes_it_panic(body in ".{0,200}") {
        let _refused = Review::read(body.as_bytes());
    }
}

#[test]
fn what_is_wrong_is_not_quoted_whole() {
    let wrong =
        json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": "x".repeat(1 << 20) });
    let error = Review::read(wrong.to_string().as_bytes()).expect_err("no request").to_string();
    assert!(
        error.starts_with("not an AdmissionReview with a pod: invalid type: string") && error.len() < 400,
        "{error}"
    );
}
