//! The API server of Kubernetes itself, with its etcd: its tokens, its keys and its watch. `tests/service_accounts.rs` has what
//! a stand-in can show everywhere.

#[path = "support/kubernetes.rs"]
mod kubernetes;
mod support;

use std::fs;

use alppaca::mock_ims::Behaviour;
use kubernetes::{Cluster, ISSUER};
use support::{Daemon, Ims, eventually, request};

const ROLE: &str = "alppaca.dev/role";
const AUDIENCE: &str = "pods.eks.amazonaws.com";

struct Node {
    cluster: Cluster,
    ims: Ims,
    daemon: Daemon,
}

impl Node {
    /// A daemon with a service account of its own, and the rights that the documentation says.
    fn start(cluster: Cluster) -> Self {
        cluster.create_namespace("alppaca");
        cluster.create_namespace("prod");
        cluster.create_account("alppaca", "alppaca");
        cluster.let_watch("alppaca", "alppaca");
        let token = cluster.write_token("daemon.token", &cluster.token("alppaca", "alppaca", None));
        let behaviour = Behaviour { roles: ["web", "db"].map(str::to_owned).to_vec(), ..Behaviour::default() };
        let ims = Ims::start(behaviour);
        let (ca, token, url) = (cluster.ca_file(), token.display().to_string(), cluster.url());
        let config = format!(
            "{}sandbox: enforce\npod_identity:\n  listen: ['127.0.0.1:0']\n  issuer: {ISSUER}\n\
             \x20 jwks_url: {url}/openid/v1/jwks\n  jwks_ca_file: {ca}\n  jwks_token_file: {token}\n\
             \x20 service_accounts:\n    api_server: {url}\n    api_ca_file: {ca}\n    api_token_file: {token}\n\
             \x20   allow: [{{namespace: prod, roles: [web, db]}}]\n",
            ims.config(),
            ca = ca.display(),
        );
        let daemon = Daemon::with_credentials(&config);
        daemon.wait_for_log(" public keys from ");
        daemon.wait_for_log("service accounts of the cluster ask for a role");
        Self { cluster, ims, daemon }
    }

    /// The role whose credentials a token gets, or the status.
    fn role(&self, token: &str) -> Result<String, u16> {
        let head = format!("GET /v1/credentials HTTP/1.1\r\nHost: 169.254.170.23\r\nAuthorization: {token}\r\n");
        let response = request(self.daemon.face("pod-identity"), &head);
        if response.status != 200 {
            return Err(response.status);
        }
        let key = response.json()["AccessKeyId"].as_str().expect("an id").to_owned();
        Ok(self.ims.handle.issued_with(&key).expect("of the mock").role)
    }

    fn until(&self, token: &str, expected: Result<&str, u16>) {
        let expected = expected.map(str::to_owned);
        let fits = || (self.role(token) == expected).then_some(());
        eventually(&format!("the token gets {expected:?}"), fits, || self.daemon.log());
    }
}

#[test]
fn a_real_cluster_says_which_account_has_which_role() {
    let Some(cluster) = Cluster::start("a real kube-apiserver") else { return };
    let mut node = Node::start(cluster);
    node.cluster.create_account("prod", "web");
    let token = node.cluster.token("prod", "web", Some(AUDIENCE));
    node.until(&token, Err(404));
    node.cluster.annotate("prod", "web", ROLE, Some("web"));
    node.until(&token, Ok("web"));
    assert_eq!(node.role(&node.cluster.token("prod", "web", None)), Err(400), "for another audience");
    node.cluster.annotate("prod", "web", ROLE, Some("db"));
    node.until(&token, Ok("db"));
    node.cluster.annotate("prod", "web", ROLE, Some("admin"));
    node.until(&token, Err(403));
    node.cluster.annotate("prod", "web", ROLE, None);
    node.until(&token, Err(404));
    node.cluster.annotate("prod", "web", ROLE, Some("web"));
    node.until(&token, Ok("web"));
    // What changes while nobody tells is known when it is over, and nothing is lost meanwhile.
    node.cluster.stop();
    node.daemon.wait_for_log("cannot follow the service accounts of the cluster");
    assert_eq!(node.role(&token).as_deref(), Ok("web"));
    node.cluster.run();
    node.cluster.annotate("prod", "web", ROLE, Some("db"));
    node.until(&token, Ok("db"));
    node.cluster.delete("/api/v1/namespaces/prod/serviceaccounts/web");
    node.until(&token, Err(404));
    // Another account of that name: its pods are never told that they are those of the one before.
    node.cluster.create_account("prod", "web");
    node.cluster.annotate("prod", "web", ROLE, Some("web"));
    node.until(&node.cluster.token("prod", "web", Some(AUDIENCE)), Ok("web"));
    for role in ["db", "web"] {
        node.cluster.delete("/api/v1/namespaces/prod/serviceaccounts/web");
        node.cluster.create_account("prod", "web");
        node.cluster.annotate("prod", "web", ROLE, Some(role));
        let new = node.cluster.token("prod", "web", Some(AUDIENCE));
        let fits = || match node.role(&new) {
            Ok(found) => (found == role).then_some(()),
            Err(status) => {
                assert_ne!(status, 400, "it is not known yet whose the token is");
                None
            }
        };
        eventually("the token of the new account counts", fits, || node.daemon.log());
        assert!(matches!(node.role(&token), Err(400 | 503)), "that of the old one does not");
    }
    let log = node.daemon.log();
    let secret = fs::read_to_string(node.cluster.path("daemon.token")).expect("there");
    assert!(!log.contains(&secret) && !log.contains(&token), "{log}");
    assert_eq!(node.daemon.metric("alppaca_service_accounts_following"), 1);
}
