//! What of a pod decides what is added to it. All else is not looked at, and stays as it is.

use std::collections::BTreeMap;

use serde::Deserialize;

/// A pod as the API server sends it.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
pub(super) struct Pod {
    pub(super) metadata: Metadata,
    pub(super) spec: Spec,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Metadata {
    pub(super) name: Option<String>,
    pub(super) generate_name: Option<String>,
    pub(super) annotations: Option<BTreeMap<String, String>>,
    pub(super) labels: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub(super) struct Spec {
    pub(super) service_account_name: Option<String>,
    pub(super) os: Option<Os>,
    pub(super) node_selector: Option<BTreeMap<String, String>>,
    pub(super) volumes: Option<Vec<Volume>>,
    pub(super) containers: Option<Vec<Container>>,
    pub(super) init_containers: Option<Vec<Container>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Os {
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Container {
    pub(super) name: String,
    pub(super) env: Option<Vec<Variable>>,
    pub(super) volume_mounts: Option<Vec<Mount>>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Variable {
    pub(super) name: String,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Mount {
    pub(super) name: String,
    #[serde(rename = "mountPath")]
    pub(super) path: String,
    pub(super) sub_path: Option<String>,
    pub(super) sub_path_expr: Option<String>,
}

impl Mount {
    /// Whether all of the volume is there.
    pub(super) fn is_whole(&self) -> bool {
        let is_empty = |path: &Option<String>| path.as_deref().is_none_or(str::is_empty);
        is_empty(&self.sub_path) && is_empty(&self.sub_path_expr)
    }
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Volume {
    pub(super) name: String,
    pub(super) projected: Option<Projected>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Projected {
    pub(super) sources: Option<Vec<Source>>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Source {
    pub(super) service_account_token: Option<Token>,
}

#[derive(Debug, Clone, Deserialize)]
pub(super) struct Token {
    pub(super) path: String,
}

impl Volume {
    /// Whether it has a token of the service account at this path.
    pub(super) fn has_token(&self, path: &str) -> bool {
        let sources = self.projected.iter().flat_map(|projected| &projected.sources).flatten();
        sources.filter_map(|source| source.service_account_token.as_ref()).any(|token| token.path == path)
    }
}

impl Pod {
    /// An annotation.
    pub(super) fn annotation(&self, key: &str) -> Option<&str> {
        self.metadata.annotations.as_ref()?.get(key).map(String::as_str)
    }

    /// Whether it is for nodes with Windows.
    pub(super) fn is_for_windows(&self) -> bool {
        let selected = |label: &str| {
            let selector = self.spec.node_selector.as_ref();
            selector.and_then(|selector| selector.get(label)).is_some_and(|os| os == "windows")
        };
        self.spec.os.as_ref().is_some_and(|os| os.name == "windows")
            || selected("kubernetes.io/os")
            || selected("beta.kubernetes.io/os")
    }

    /// Its containers, each with its place in the document.
    pub(super) fn containers(&self) -> impl Iterator<Item = (String, &Container)> {
        let listed = |list: &'static str, containers: &'_ Option<Vec<Container>>| {
            let count = containers.as_ref().map_or(0, Vec::len);
            (0..count).map(move |index| format!("/spec/{list}/{index}"))
        };
        let (first, rest) = (&self.spec.init_containers, &self.spec.containers);
        let places = listed("initContainers", first).chain(listed("containers", rest));
        places.zip(first.iter().flatten().chain(rest.iter().flatten()))
    }
}
