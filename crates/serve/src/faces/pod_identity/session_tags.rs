//! A session for each pod: its tags, under the names that EKS gives them, and its name. Pure.

use aws_lc_rs::digest::{SHA256, digest};

use crate::{
    credentials::{Arn, RoleName, SESSION_NAME_LENGTHS, check_tag_value},
    kubernetes::{Account, Pod},
    settings::{
        Node, Problem, Setting, options, read,
        render::{AsYaml, entries},
    },
};

/// <https://docs.aws.amazon.com/eks/latest/userguide/pod-id-abac.html>
const CLUSTER_ARN: &str = "eks-cluster-arn";
const CLUSTER_NAME: &str = "eks-cluster-name";
/// Those that are always there.
const OF_POD: [&str; 4] =
    ["kubernetes-namespace", "kubernetes-service-account", "kubernetes-pod-name", "kubernetes-pod-uid"];

/// What stands between the parts of a session's name: it is in none of them.
const BETWEEN: char = '+';
/// What stands before the digest of a name that was cut. It is in no part either.
const CUT: char = '=';
/// How many hexadecimal digits of that digest there are.
const DIGITS: usize = 12;
/// <https://docs.aws.amazon.com/eks/latest/APIReference/API_CreateCluster.html>
const LONGEST_CLUSTER: usize = 100;

options! {
    /// How the session of a pod is to be.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct SessionTags {
        /// The name of the cluster.
        pub cluster_name: Option<String> = Setting::nested(
            "cluster_name",
            "",
            "The name of the cluster: the tag `eks-cluster-name`, and the beginning of the session's name. Without it there \
             is neither.",
        ) => optional(cluster_name);
        /// The ARN of the cluster.
        pub cluster_arn: Option<String> = Setting::nested(
            "cluster_arn",
            "",
            "The ARN of the cluster, or what your policies expect in its place: the tag `eks-cluster-arn`. Without it there \
             is no such tag.",
        ) => optional(cluster_arn);
        /// Whether what is assumed with the session has the tags, too.
        pub transitive: bool = Setting::nested(
            "transitive",
            "true",
            "Whether the roles that a pod assumes with its session get the tags, too, as on EKS.",
        ) => value(read::boolean);
        /// How many sessions are kept.
        pub max_sessions: usize = Setting::nested(
            "max_sessions",
            "500",
            "The number of sessions that are kept. At the limit, a new one takes the place of the one that was not asked for \
             for longest, in the namespace that has most.",
        ) => value(read::count);
    }
}

impl AsYaml for SessionTags {
    fn as_yaml(&self) -> Option<String> {
        Some(entries(self))
    }
}

fn cluster_name(node: &Node) -> Result<String, Problem> {
    let text = read::name_like(node, "^[0-9A-Za-z][0-9A-Za-z_-]{0,99}$")?;
    let legal = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == '-';
    if text.len() <= LONGEST_CLUSTER && text.starts_with(|c: char| c.is_ascii_alphanumeric()) && text.chars().all(legal)
    {
        return Ok(text);
    }
    let message = "the name of a cluster has 1 to 100 letters, digits, - and _, and begins with a letter or a digit";
    Err(Problem::new(node.place.clone(), message))
}

fn cluster_arn(node: &Node) -> Result<String, Problem> {
    let text = read::text_like(node, "^arn:")?;
    if Arn::parse(&text).is_ok() && check_tag_value(&text).is_ok() {
        return Ok(text);
    }
    let message = "an ARN of at most 256 letters, digits and _.:/=+-@ is expected here, such as arn:aws:eks:eu-central-1:123456789012:cluster/prod";
    Err(Problem::new(node.place.clone(), message))
}

/// The session of one pod. What is the same in all fields is the same session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodSession {
    /// The role of the configuration that it is of.
    pub role: RoleName,
    /// Its name, legal for STS. A pod has the same after each restart of the daemon.
    pub name: String,
    /// Its tags, beside those of the role.
    pub tags: Vec<(String, String)>,
    /// Whether they are handed on along a chain.
    pub transitive: bool,
}

impl SessionTags {
    /// The keys of the tags.
    pub fn keys(&self) -> Vec<&'static str> {
        let name = self.cluster_name.as_ref().map(|_| CLUSTER_NAME);
        self.cluster_arn.as_ref().map(|_| CLUSTER_ARN).into_iter().chain(name).chain(OF_POD).collect()
    }

    #[cfg(test)]
    pub(super) fn of_no_cluster() -> Self {
        Self { cluster_name: None, cluster_arn: None, transitive: true, max_sessions: 500 }
    }

    /// The session of that role for a pod of an account.
    pub(super) fn session(&self, role: &RoleName, account: &Account, pod: &Pod) -> PodSession {
        let cluster = [&self.cluster_arn, &self.cluster_name].into_iter().flatten();
        let values = cluster.chain([&account.namespace, &account.name, &pod.name, &pod.uid]);
        let tags = self.keys().into_iter().zip(values).map(|(key, value)| (key.to_owned(), value.clone())).collect();
        let parts = self.cluster_name.iter().chain([&account.namespace, &account.name, &pod.name]);
        let parts: Vec<&str> = parts.map(String::as_str).collect();
        PodSession { role: role.clone(), name: session_name(&parts), tags, transitive: self.transitive }
    }
}

/// The parts in one name. If they do not fit, the longest are cut, and a digest of all tells apart what looks alike then.
fn session_name(parts: &[&str]) -> String {
    let longest = *SESSION_NAME_LENGTHS.end();
    let join = |parts: &[&str]| parts.join(&BETWEEN.to_string());
    let whole = join(parts);
    if whole.len() <= longest {
        return whole;
    }
    let room = longest - DIGITS - 1;
    let mut cut: Vec<&str> = parts.to_vec();
    while cut.iter().map(|part| part.len() + 1).sum::<usize>() > room + 1 {
        let Some(most) = cut.iter_mut().max_by_key(|part| part.len()) else { break };
        // All of them are ASCII.
        *most = most.get(..most.len().saturating_sub(1)).unwrap_or_default();
    }
    let digest = digest(&SHA256, whole.as_bytes());
    let number = digest.as_ref().iter().take(DIGITS / 2).fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    format!("{}{CUT}{number:0DIGITS$x}", join(&cut))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use proptest::prelude::*;

    use super::*;
    use crate::{credentials::is_session_name, faces::tests::name};

    fn tags(cluster_name: Option<&str>, cluster_arn: Option<&str>) -> SessionTags {
        let [cluster_name, cluster_arn] = [cluster_name, cluster_arn].map(|text| text.map(str::to_owned));
        SessionTags { cluster_name, cluster_arn, ..SessionTags::of_no_cluster() }
    }

    fn pod(name: &str) -> Pod {
        Pod { name: name.to_owned(), uid: "7f0c".to_owned() }
    }

    #[test]
    fn a_session_has_the_six_tags_of_eks_and_a_name_that_lasts() {
        let account = Account::new("prod", "web").expect("legal");
        let arn = "arn:aws:eks:eu-central-1:111122223333:cluster/blue";
        let session = tags(Some("blue"), Some(arn)).session(&name("r"), &account, &pod("web-6d4b-x2x7q"));
        let expected = [
            ("eks-cluster-arn", arn),
            ("eks-cluster-name", "blue"),
            ("kubernetes-namespace", "prod"),
            ("kubernetes-service-account", "web"),
            ("kubernetes-pod-name", "web-6d4b-x2x7q"),
            ("kubernetes-pod-uid", "7f0c"),
        ];
        assert_eq!(session.tags, expected.map(|(key, value)| (key.to_owned(), value.to_owned())));
        assert_eq!(session.name, "blue+prod+web+web-6d4b-x2x7q");
        for (options, keys, first) in
            [(tags(None, None), 4, "kubernetes-namespace"), (tags(None, Some(arn)), 5, "eks-cluster-arn")]
        {
            let session = options.session(&name("r"), &account, &pod("web-0"));
            assert_eq!((session.tags.len(), &*session.tags[0].0, &*session.name), (keys, first, "prod+web+web-0"));
            assert_eq!(session.tags.iter().map(|(key, _)| &**key).collect::<Vec<_>>(), options.keys());
        }
    }

    #[test]
    fn a_long_name_is_cut_where_it_is_longest_and_keeps_apart_what_is_not_the_same() {
        let long = "a-very-long-name-of-a-deployment-that-nobody-can-remember-7d9f8c6b5";
        let one = session_name(&["blue", "prod", "web", &format!("{long}-aaaaa")]);
        let other = session_name(&["blue", "prod", "web", &format!("{long}-bbbbb")]);
        assert_eq!(&one[..one.len() - DIGITS], "blue+prod+web+a-very-long-name-of-a-deployment-that=");
        assert_eq!(one[..one.len() - DIGITS], other[..other.len() - DIGITS]);
        assert!(one != other && one.len() == 64, "{one} {other}");
        assert_eq!(one, session_name(&["blue", "prod", "web", &format!("{long}-aaaaa")]));
    }

    proptest! {
        #[test]
        fn every_name_is_legal_and_of_one_pod_only(
            cluster in proptest::option::of("[0-9A-Za-z][0-9A-Za-z_-]{0,99}"),
            namespaces in proptest::collection::hash_set("[a-z0-9-]{1,63}", 1..4),
            pods in proptest::collection::hash_set("[a-z0-9.-]{1,253}", 1..4),
            account in "[a-z0-9.-]{1,253}",
        ) {
            let options = tags(cluster.as_deref(), None);
            let mut names = HashSet::new();
            for namespace in &namespaces {
                let account = Account::new(namespace, &account).expect("legal");
                for pod_name in &pods {
                    let session = options.session(&name("r"), &account, &pod(pod_name));
                    prop_assert!(is_session_name(&session.name), "{}", session.name);
                    prop_assert!(session.tags.iter().all(|(_, value)| check_tag_value(value).is_ok()));
                    prop_assert!(names.insert(session.name));
                }
            }
        }
    }
}
