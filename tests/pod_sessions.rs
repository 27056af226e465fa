//! A session for each pod, of an STS that verifies signatures, names and tags (`mock_sts`), and with botocore as the client.
#![allow(clippy::disallowed_methods, reason = "the environment names the Python, and an issuer has a clock of its own")]

#[path = "interop/rig/cluster.rs"]
#[allow(unreachable_pub, dead_code, reason = "others share it, too")]
mod issuer;
#[path = "support/kubernetes.rs"]
mod kubernetes;
#[path = "support/schema.rs"]
mod schema;
mod support;

use std::{
    fs,
    net::{Ipv4Addr, TcpListener},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc,
    thread,
};

use alppaca::clock::SystemClock;
use alppaca_mock_sts::{Call, Handle, Role, Script, User, serve};
use issuer::{Cluster, ISSUER};
use jiff::Timestamp;
use serde_json::{Value, json};
use support::{Daemon, Response, eventually, manager::Manager, request};
use tempfile::TempDir;

const BASE: &str = "arn:aws:iam::111111111111:user/node";
const KEY: &str = "AKIAIOSFODNN7EXAMPLE";
const SECRET: &str = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
const WEB: &str = "arn:aws:iam::222222222222:role/team/web";
const CLUSTER: &str = "arn:aws:eks:eu-central-1:111111111111:cluster/blue";
const TAGS: &str =
    "session_tags: {cluster_name: blue, cluster_arn: 'arn:aws:eks:eu-central-1:111111111111:cluster/blue'}";

/// A node of a cluster, whose daemon assumes roles at an STS of its own.
struct Node {
    sts: Handle,
    cluster: Cluster,
    directory: TempDir,
}

impl Node {
    fn new(roles: Vec<Role>) -> Self {
        let user = User { arn: BASE.into(), access_key_id: KEY.into(), secret_access_key: SECRET.into() };
        let script = Script { users: vec![user], roles, ..Script::default() };
        let (tell, told) = mpsc::channel();
        thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
            runtime.block_on(async {
                let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
                tell.send(serve(listener, script, SystemClock::shared()).expect("it serves")).expect("the test waits");
                std::future::pending::<()>().await;
            });
        });
        let node = Self {
            sts: told.recv().expect("the mock starts"),
            cluster: Cluster::new(),
            directory: TempDir::new().expect("a directory"),
        };
        fs::write(node.path("jwks.json"), node.cluster.keys()).expect("written");
        node
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.directory.path().join(name)
    }

    fn config(&self, tags: &str, rest: &str) -> String {
        format!(
            "sources:\n  base: {{kind: static, access_key_id: {KEY}, secret_access_key: {SECRET}}}\n  \
             far: {{kind: sts, endpoint: '{}'}}\nroles:\n  web: {{source: base, role_arn: '{WEB}', via: far, tags: {{team: red}}}}\n\
             sandbox: enforce\naudit_log: {}\npod_identity:\n  listen: ['127.0.0.1:0']\n  issuer: {ISSUER}\n  \
             jwks_file: {}\n  associations: [{{namespace: prod, role: web}}, {{namespace: shared, role: web, session_tags: false}}]\n  \
             {tags}\n{rest}",
            self.sts.url(),
            self.path("audit.log").display(),
            self.path("jwks.json").display(),
        )
    }

    fn start(&self, tags: &str) -> Daemon {
        Daemon::with_credentials(&self.config(tags, ""))
    }

    /// The token that the kubelet projects into a pod of the account `web` in a namespace.
    fn token(&self, namespace: &str, pod: Option<(&str, &str)>) -> String {
        let now = Timestamp::now().as_second();
        let mut said = json!({"namespace": namespace, "serviceaccount": {"name": "web", "uid": "0-1"}});
        if let Some((name, uid)) = pod {
            said["pod"] = json!({"name": name, "uid": uid});
        }
        self.cluster.sign(&json!({
            "iss": ISSUER, "aud": ["pods.eks.amazonaws.com"], "sub": format!("system:serviceaccount:{namespace}:web"),
            "exp": now + 3600, "nbf": now, "iat": now, "kubernetes.io": said,
        }))
    }

    /// The calls for the session with that name.
    fn calls(&self, session: &str) -> Vec<Call> {
        self.sts.calls().into_iter().filter(|call| call.get("RoleSessionName") == session).collect()
    }

    /// What the audit has of hand-outs to pods, when there are so many.
    fn audit(&self, count: usize, daemon: &Daemon) -> Vec<Value> {
        let read = || {
            let text = fs::read_to_string(self.path("audit.log")).ok()?;
            let records: Vec<Value> = text.lines().map_while(|line| serde_json::from_str(line).ok()).collect();
            let records = Some(records).filter(|records| records.len() >= count)?;
            schema::check_records(include_str!("../docs/schemas/audit.schema.json"), &text);
            Some(records)
        };
        eventually("all is recorded", read, || daemon.log())
    }
}

fn ask(daemon: &Daemon, token: &str) -> Response {
    let head = format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\n");
    request(daemon.face("pod-identity"), &head)
}

/// The key that a pod gets. The first time it may take longer than a request waits.
fn key(daemon: &Daemon, token: &str) -> String {
    let answer = || Some(ask(daemon, token)).filter(|answer| answer.status == 200);
    let answer = eventually("the pod gets credentials", answer, || daemon.log());
    answer.json()["AccessKeyId"].as_str().expect("a key").to_owned()
}

fn tags(call: &Call) -> Vec<(&str, &str)> {
    let tag = |number: usize| {
        let key = call.form.get(&format!("Tags.member.{number}.Key"))?;
        Some((&**key, call.get(&format!("Tags.member.{number}.Value"))))
    };
    (1..).map_while(tag).collect()
}

fn session(name: &str) -> String {
    format!("arn:aws:sts::222222222222:assumed-role/web/{name}")
}

#[test]
fn two_pods_of_one_account_have_different_sessions_and_keep_them() {
    let node = Node::new(vec![Role::new(WEB, BASE)]);
    let daemon = node.start(TAGS);
    let one = node.token("prod", Some(("web-7d9f-aaaaa", "uid-1")));
    let two = node.token("prod", Some(("web-7d9f-bbbbb", "uid-2")));
    let [first, second] = [&one, &two].map(|token| key(&daemon, token));
    assert_eq!(node.sts.principal(&first), session("blue+prod+web+web-7d9f-aaaaa"));
    assert_eq!(node.sts.principal(&second), session("blue+prod+web+web-7d9f-bbbbb"));
    for (expected, token) in [(&first, &one), (&second, &two), (&first, &one)] {
        assert_eq!(key(&daemon, token), *expected);
    }
    let [call] = &node.calls("blue+prod+web+web-7d9f-bbbbb")[..] else { panic!("one call: {:?}", node.sts.calls()) };
    let expected = [
        ("team", "red"),
        ("eks-cluster-arn", CLUSTER),
        ("eks-cluster-name", "blue"),
        ("kubernetes-namespace", "prod"),
        ("kubernetes-service-account", "web"),
        ("kubernetes-pod-name", "web-7d9f-bbbbb"),
        ("kubernetes-pod-uid", "uid-2"),
    ];
    assert_eq!(tags(call), expected);
    for (number, (key, _)) in expected.iter().skip(1).enumerate() {
        assert_eq!(call.get(&format!("TransitiveTagKeys.member.{}", number + 1)), *key);
    }
    assert_eq!(call.get("TransitiveTagKeys.member.7"), "", "the role's own tag is handed on only if it says so");
    // What all share is for the pods of an association without tags, and for no other.
    let shared = key(&daemon, &node.token("shared", None));
    assert!(node.sts.principal(&shared).contains("/alppaca-on-"), "{}", node.sts.principal(&shared));
    let unbound = ask(&daemon, &node.token("prod", None));
    assert!(unbound.status == 400 && unbound.body.contains("not bound to a pod"), "{unbound:?}");
    // Another pod of the same name is another pod.
    let third = key(&daemon, &node.token("prod", Some(("web-7d9f-aaaaa", "uid-3"))));
    assert!(![&first, &second, &shared].contains(&&third));
    assert_eq!(node.sts.principal(&third), session("blue+prod+web+web-7d9f-aaaaa"), "under the same name");
    assert_eq!(daemon.metric("alppaca_pod_sessions"), 3);
    let status = |arguments: &[&str]| {
        let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
        let output = command.arg("status").args(arguments).arg("--socket").arg(daemon.socket()).output();
        String::from_utf8(output.expect("it runs").stdout).expect("text")
    };
    let json: Value = serde_json::from_str(&status(&["--json"])).expect("JSON");
    let names = json["roles"].as_array().expect("a list").iter().map(|role| role["session_name"].as_str());
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    let [first_name, second_name] = ["aaaaa", "bbbbb"].map(|pod| format!("blue+prod+web+web-7d9f-{pod}"));
    assert_eq!(names, [None, Some(&*first_name), Some(&*first_name), Some(&*second_name)]);
    assert!(status(&[]).contains(&format!("web ({second_name})  fresh")), "{}", status(&[]));
    let records = node.audit(7, &daemon);
    let record = records.iter().find(|record| record["access_key_id"] == *second).expect("recorded");
    let pod = json!({"namespace": "prod", "service_account": "web", "name": "web-7d9f-bbbbb", "uid": "uid-2",
                     "session_name": "blue+prod+web+web-7d9f-bbbbb"});
    assert_eq!((&record["role"], &record["pod"]), (&"web".into(), &pod));
    let record = records.iter().find(|record| record["access_key_id"] == *shared).expect("recorded");
    assert_eq!(record["pod"], json!({"namespace": "shared", "service_account": "web"}));
    assert!([&one, &two].iter().all(|token| !daemon.log().contains(&***token)) && !daemon.log().contains(SECRET));
}

#[test]
fn a_token_that_a_real_api_server_binds_to_a_pod_is_for_the_session_of_that_pod() {
    let Some(cluster) = kubernetes::Cluster::start("tokens of pods of a real kube-apiserver") else { return };
    let node = Node::new(vec![Role::new(WEB, BASE)]);
    let (status, keys) = cluster.call("GET", "/openid/v1/jwks", None).expect("it answers");
    assert_eq!(status, 200, "{keys}");
    fs::write(node.path("jwks.json"), keys.to_string()).expect("written");
    let daemon = Daemon::with_credentials(&node.config(TAGS, "").replace(ISSUER, kubernetes::ISSUER));
    cluster.create_namespace("prod");
    cluster.create_account("prod", "web");
    let spec = json!({"serviceAccountName": "web", "containers": [{"name": "app", "image": "app"}]});
    let pod = json!({"metadata": {"name": "web-0"}, "spec": spec});
    let pod = cluster.create("/api/v1/namespaces/prod/pods", pod);
    let uid = pod["metadata"]["uid"].as_str().expect("a uid");
    // As the kubelet asks for it.
    let bound = json!({"kind": "Pod", "apiVersion": "v1", "name": "web-0", "uid": uid});
    let audience = "pods.eks.amazonaws.com";
    let request = json!({"spec": {"audiences": [audience], "expirationSeconds": 3600, "boundObjectRef": bound}});
    let made = cluster.create("/api/v1/namespaces/prod/serviceaccounts/web/token", request);
    let key = key(&daemon, made["status"]["token"].as_str().expect("a token"));
    assert_eq!(node.sts.principal(&key), session("blue+prod+web+web-0"));
    let calls = node.calls("blue+prod+web+web-0");
    let expected = [("kubernetes-pod-name", "web-0"), ("kubernetes-pod-uid", uid)];
    assert!(tags(&calls[0]).ends_with(&expected), "{calls:?}");
    let records = node.audit(1, &daemon);
    assert_eq!((&records[0]["pod"]["name"], &records[0]["pod"]["uid"]), (&json!("web-0"), &json!(uid)));
    assert_eq!(ask(&daemon, &cluster.token("prod", "web", Some(audience))).status, 400, "it is bound to no pod");
}

#[test]
fn a_role_that_takes_no_tags_is_refused_to_pods_and_nothing_else_is_given() {
    let node = Node::new(vec![Role { tag_session: true, ..Role::new(WEB, BASE) }]);
    let daemon = node.start(&TAGS.replace('{', "{transitive: no, "));
    assert!(key(&daemon, &node.token("shared", None)).starts_with("ASIA"));
    node.sts.change(|script| script.roles[0].tag_session = false);
    let token = node.token("prod", Some(("web-0", "uid-1")));
    let refused = || Some(ask(&daemon, &token)).filter(|answer| answer.status != 503);
    let answer = eventually("it is refused", refused, || daemon.log());
    assert!(answer.status == 403 && answer.body.contains("sts:TagSession"), "{answer:?}");
    let told = daemon.wait_for_log("session blue+prod+web+web-0: AssumeRole of ");
    assert!(told.contains("ERROR") && told.contains("must allow the signer sts:TagSession"), "{told}");
    let calls = node.sts.calls().len();
    assert_eq!(ask(&daemon, &token).status, 403);
    assert_eq!(node.sts.calls().len(), calls, "the refusal is remembered");
    assert_eq!(node.calls("blue+prod+web+web-0")[0].get("TransitiveTagKeys.member.1"), "");
}

#[test]
fn a_role_that_is_not_shared_is_fetched_for_pods_alone() {
    let node = Node::new(vec![Role::new(WEB, BASE)]);
    let config = node.config(TAGS, "").replace("tags: {team: red}", "shared: false");
    let daemon = Daemon::start(&config.replace(", {namespace: shared, role: web, session_tags: false}", ""));
    let token = node.token("prod", Some(("web-0", "uid-1")));
    let key = key(&daemon, &token);
    assert_eq!(node.sts.principal(&key), session("blue+prod+web+web-0"));
    assert!(node.sts.calls().iter().all(|call| tags(call).len() == 6), "{:?}", node.sts.calls());
    let list = daemon.get("/latest/meta-data/iam/security-credentials/");
    assert!(!list.body.contains("web"), "{list:?}");
    assert_eq!(daemon.get("/latest/meta-data/iam/security-credentials/web").status, 404);
}

#[test]
fn a_user_does_not_keep_a_set_of_its_own_of_a_role_that_is_for_pods_alone() {
    let node = Node::new(vec![Role::new(WEB, BASE)]);
    let config = node.config(TAGS, "").replace(", {namespace: shared, role: web, session_tags: false}", "");
    let daemon = Daemon::with_credentials(&config);
    let mut command = Command::new(env!("CARGO_BIN_EXE_alppaca"));
    command.args(["use", "web", "--duration", "30m"]).env("ALPPACA_SOCKET", daemon.socket());
    let output = command.output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    let document = "/latest/meta-data/iam/security-credentials/web";
    assert_eq!(daemon.get(document).status, 200);
    let file = daemon.directory.path().join("alppaca.yaml");
    let alone = fs::read_to_string(&file).expect("it is there").replace("tags: {team: red}", "shared: false");
    fs::write(&file, alone).expect("written");
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
    assert!(daemon.log().contains("only pods have sessions of the role web"), "{}", daemon.log());
    let calls = node.sts.calls().len();
    assert_eq!(daemon.get(document).status, 404);
    let token = node.token("prod", Some(("web-0", "uid-1")));
    assert_eq!(node.sts.principal(&key(&daemon, &token)), session("blue+prod+web+web-0"));
    assert_eq!(node.sts.calls().len(), calls + 1);
}

#[test]
fn pods_keep_their_sessions_over_a_restart_while_the_upstream_is_down() {
    let node = Node::new(vec![Role::new(WEB, BASE)]);
    let listen = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a free port");
    let config = node.config(TAGS, &format!("listen: '{listen}'\n"));
    let mut manager = Manager::new();
    let mut daemon = manager.start(&config);
    daemon.wait_for_log("role web: fetched ");
    let token = node.token("prod", Some(("web-0", "uid-1")));
    let before = key(&daemon, &token);
    assert_eq!(daemon.stop(), Some(0));
    drop(daemon);
    node.sts.change(|script| script.down = vec!["*".to_owned()]);
    let daemon = manager.start(&config);
    // Nor does a reload lose what no pod has asked for since; another role has nothing to do with it.
    let file = daemon.directory.path().join("alppaca.yaml");
    let more = fs::read_to_string(&file).expect("it is there").replace("roles:\n", "roles:\n  more: {source: base}\n");
    fs::write(&file, more).expect("written");
    daemon.hang_up();
    daemon.wait_for_log("the configuration has been reloaded");
    assert_eq!(key(&daemon, &token), before);
    // Another pod has none yet, and gets no other's.
    assert_eq!(ask(&daemon, &node.token("prod", Some(("web-1", "uid-2")))).status, 503);
}

#[test]
fn at_the_limit_the_session_that_was_not_asked_for_for_longest_goes() {
    let node = Node::new(vec![Role::new(WEB, BASE)]);
    let daemon = node.start("session_tags: {max_sessions: 2}");
    let token = |pod: &str| node.token("prod", Some((pod, pod)));
    let [first, second] = ["a", "b"].map(|pod| key(&daemon, &token(pod)));
    let third = key(&daemon, &token("c"));
    assert!(third != first && third != second);
    assert_eq!(daemon.metric("alppaca_pod_sessions"), 2);
    assert!(daemon.metric("alppaca_pod_sessions_evicted_total") >= 1);
    assert_eq!(key(&daemon, &token("c")), third);
    assert_eq!(node.sts.principal(&third), session("prod+web+c"));
}

/// What botocore, with nothing but the variables that a pod has, says of itself at that STS.
const WHO: &str = "
import botocore.session
session = botocore.session.get_session()
print(session.create_client('sts').get_caller_identity()['Arn'])
print(session.get_credentials().method)
";

fn botocore(python: &str, url: &str, token: &Path, sts: &str) -> String {
    let mut command = Command::new(python);
    command.args(["-c", WHO]).env_clear().stdin(Stdio::null());
    command.env("AWS_CONTAINER_CREDENTIALS_FULL_URI", url).env("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", token);
    command.env("AWS_ENDPOINT_URL_STS", sts).env("AWS_REGION", "eu-central-1");
    command.env("AWS_DEFAULT_REGION", "eu-central-1").env("AWS_CONFIG_FILE", "/dev/null");
    command.env("AWS_SHARED_CREDENTIALS_FILE", "/dev/null");
    let output = command.output().expect("python runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

#[test]
fn botocore_in_a_pod_is_who_the_pod_is() {
    let Ok(python) = std::env::var("ALPPACA_TEST_PYTHON") else {
        support::skip("botocore in a pod", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    let node = Node::new(vec![Role::new(WEB, BASE)]);
    let daemon = node.start(TAGS);
    let url = format!("http://{}/v1/credentials", daemon.face("pod-identity"));
    for (pod, uid) in [("web-0", "uid-1"), ("web-1", "uid-2")] {
        let token = node.path(pod);
        fs::write(&token, node.token("prod", Some((pod, uid)))).expect("written");
        let said = botocore(&python, &url, &token, &node.sts.url());
        assert_eq!(said, format!("{}\ncontainer-role\n", session(&format!("blue+prod+web+{pod}"))));
    }
}
