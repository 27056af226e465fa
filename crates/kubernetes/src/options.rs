//! How the API server is reached, as a process in a pod does by default.

use std::path::PathBuf;

use crate::{
    needs::Needs,
    settings::{
        NamedFiles, Node, Problem, Setting, options, read,
        url::{is_base_url, is_confidential_url},
    },
};

options! {
    /// How the API server is reached.
    #[derive(Debug, Clone, PartialEq, Eq, Hash)]
    pub struct ApiOptions {
        /// Its URL, without a final slash.
        pub server: String = Setting::nested(
            "api_server",
            "https://kubernetes.default.svc",
            "The URL of the API server of the cluster.",
        ) => value(server);
        /// Its certificate authorities, PEM.
        pub ca_file: PathBuf = Setting::nested(
            "api_ca_file",
            "/var/run/secrets/kubernetes.io/serviceaccount/ca.crt",
            "PEM file of certificate authorities for it, in addition to the system's.",
        ) => value(read::path);
        /// The file with the token.
        pub token_file: PathBuf = Setting::nested(
            "api_token_file",
            "/var/run/secrets/kubernetes.io/serviceaccount/token",
            "A file with the token that is sent to it. It is read again for each call.",
        ) => value(read::path);
    }
}

impl ApiOptions {
    /// Adds what they need beside these files.
    pub fn needs(&self, needs: &mut Needs) {
        needs.url(&self.server, "the API server of the cluster");
    }

    /// Adds the files that they name.
    pub fn files(&self, files: &mut NamedFiles) {
        files.authorities("api_ca_file", [&self.ca_file]);
        files.secret("api_token_file", [&self.token_file]);
    }
}

/// What an editor can know of the URL.
const SERVER: &str = r"^([Hh][Tt][Tt][Pp][Ss]://|[Hh][Tt][Tt][Pp]://(127\.|localhost|\[))";

fn server(node: &Node) -> Result<String, Problem> {
    let text = read::text_like(node, SERVER)?;
    let wrong = |message: &str| Err(Problem::new(node.place.clone(), message));
    if !is_base_url(&text) {
        return wrong("a URL such as https://10.96.0.1:443 is expected here");
    }
    if !is_confidential_url(&text) {
        return wrong("https is needed here: a token is sent there, and what comes back says who may have which role");
    }
    Ok(text.trim_end_matches('/').to_owned())
}
