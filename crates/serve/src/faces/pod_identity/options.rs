//! The section `pod_identity`: credentials for the service accounts of a Kubernetes cluster.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{FACE, PodIdentity};
use crate::{
    credentials::{Pattern, RoleName},
    faces::section::{self, Entry, OpenError, Opened, Opening},
    jwt::KeyOptions,
    needs::Needs,
    settings::{
        Keys, NamedFiles, Setting, Topic, options, read,
        render::{AsYaml, entries},
        table::join,
    },
};

/// How the face is written.
pub static ENTRY: Entry = Entry {
    section: Setting::new(
        Topic::Serving,
        "pod_identity",
        "",
        "A mapping: the face of the EKS Pod Identity agent. See [below](#pod_identity) and [Containers](container.md).",
    ),
    settings: &join::<{ 1 + Options::SETTINGS.len() }>(&[&[LISTEN], Options::SETTINGS]),
    below: &[("pod_identity.associations[]", Association::SETTINGS)],
    face: FACE,
    read: |fields, _| Some(Arc::new(Options::read(fields)?)),
};

const LISTEN: Setting = Setting::nested(
    "listen",
    "169.254.170.23:80",
    "Where to listen: `address:port`, or a list of them. The agent of EKS is also at `[fd00:ec2::23]:80`.",
)
.on_restart();

options! {
    /// How the face behaves.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Options {
        /// The issuer of the tokens.
        pub issuer: String = Setting::nested(
            "issuer",
            "",
            "The issuer of the tokens (`iss`), such as `https://kubernetes.default.svc`. Required.",
        ) => needed("`issuer` is missing in this section", read::text);
        /// Whom they must be for.
        pub audience: String = Setting::nested("audience", "pods.eks.amazonaws.com", "The required audience (`aud`).")
            => value(read::text);
        /// How far the clocks may differ.
        pub leeway: Duration = Setting::nested(
            "leeway",
            "60s",
            "How far the clocks of the issuer and of this host may differ.",
        ) => value(read::duration);
        /// Where the keys are.
        pub keys: KeyOptions;
        /// Which service account has which role. The first one that fits counts.
        pub associations: Vec<Association> = Setting::nested(
            "associations",
            "",
            "A list of `namespace`, `service_account` and `role`. The first match counts. Required.",
        ) => needed_items(
            "`associations` is missing in this section",
            Association::SETTINGS,
            Association::read,
        );
    }
}

options! {
    /// Which service account has which role.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Association {
        /// Its namespace; `*` stands for any characters.
        pub namespace: Pattern = Setting::nested("namespace", "*", "The namespace; `*` matches any characters.")
            => value(read::pattern);
        /// Its name; `*` stands for any characters.
        pub service_account: Pattern = Setting::nested(
            "service_account",
            "*",
            "The service account; `*` matches any characters.",
        ) => value(read::pattern);
        /// The role.
        pub role: RoleName = Setting::nested("role", "", "The name of the role. Required.")
            => needed("`role` is missing here", read::role_name);
    }
}

impl AsYaml for Association {
    fn as_yaml(&self) -> Option<String> {
        Some(entries(self))
    }
}

impl section::Options for Options {
    fn open(&self, listen: &[SocketAddr], opening: &Opening) -> Result<Opened, OpenError> {
        let hosts = listen.iter().map(SocketAddr::ip).collect();
        let (face, ring) = PodIdentity::new(self.clone(), hosts, opening.shared.clone());
        let work = opening.remote.keys(&self.keys, ring)?;
        Ok(Opened { respond: Arc::new(face), work: Some(work) })
    }

    fn files(&self, files: &mut NamedFiles) {
        self.keys.files(files);
    }

    fn needs(&self, needs: &mut Needs) {
        self.keys.needs(needs);
    }
}
