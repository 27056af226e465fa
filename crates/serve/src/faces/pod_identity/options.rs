//! The section `pod_identity`: credentials for the service accounts of a Kubernetes cluster.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{FACE, PodIdentity, annotated::Annotated, session_tags::SessionTags};
use crate::{
    credentials::{Pattern, RoleName},
    faces::section::{self, Entry, OpenError, Opened, Opening, OwnSessions, Work},
    jwt::KeyOptions,
    kubernetes::ApiOptions,
    needs::Needs,
    settings::{
        Fields, Keys, NamedFiles, Setting, Topic, options, read,
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
    below: &[
        ("pod_identity.associations[]", Association::SETTINGS),
        ("pod_identity.service_accounts", Annotations::SETTINGS),
        ("pod_identity.service_accounts.allow[]", Allowed::SETTINGS),
        ("pod_identity.session_tags", SessionTags::SETTINGS),
    ],
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
            "A list of `namespace`, `service_account` and `role`. The first match counts. Required without \
             `service_accounts`.",
        ) => items(Association::SETTINGS, |_, fields| Association::read(fields));
        /// Which annotations count beside them.
        pub service_accounts: Option<Annotations> = Setting::nested(
            "service_accounts",
            "",
            "A mapping: associations by the annotation `alppaca.dev/role` (or `eks.amazonaws.com/role-arn`) of service \
             accounts, which are watched. See [below](#pod_identityservice_accounts). `associations` count before them.",
        ) => section(Annotations::SETTINGS, Annotations::read);
        /// What the sessions of pods are like, if each has its own.
        pub session_tags: Option<SessionTags> = Setting::nested(
            "session_tags",
            "",
            "A mapping, which may be empty (`{}`): each pod gets a session of its own, with the tags of EKS and a name that \
             shows the pod. See [below](#pod_identitysession_tags) and [Containers](container.md#a-session-for-each-pod). \
             Without it all pods of a role share one.",
        ) => section(SessionTags::SETTINGS, SessionTags::read);
    }
    before either;
    after Options::associate;
}

options! {
    /// Which annotations of service accounts count.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Annotations {
        /// How the API server is reached.
        pub api: ApiOptions;
        /// Which roles they may ask for.
        pub allow: Vec<Allowed> = Setting::nested(
            "allow",
            "",
            "A list of `namespace` and `roles`: which roles the service accounts of a namespace may ask for. Whoever may \
             edit them gets these. Required.",
        ) => needed_items(
            "`allow` is missing in this section: without it no annotation has any effect",
            Allowed::SETTINGS,
            Allowed::read,
        );
    }
}

options! {
    /// Which roles the accounts of a namespace may ask for.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Allowed {
        /// The namespace; `*` stands for any characters.
        pub namespace: Pattern = Setting::nested(
            "namespace",
            "",
            "The namespace; `*` matches any characters. Required.",
        ) => needed("`namespace` is missing here", read::pattern);
        /// The roles; `*` stands for any characters.
        pub roles: Vec<Pattern> = Setting::nested(
            "roles",
            "",
            "The name of a role, or a list of them; `*` matches any characters. Required.",
        ) => needed("`roles` is missing here", |node| read::list(node, read::pattern));
        /// Whether each pod gets a session of its own.
        pub session_tags: bool = OWN => value(read::boolean);
    }
}

/// Whether the pods of an item have sessions of their own.
const OWN: Setting = Setting::nested(
    "session_tags",
    "true",
    "Whether these pods have sessions of their own, where the section has `session_tags`; otherwise they share the role's.",
);

impl AsYaml for Annotations {
    fn as_yaml(&self) -> Option<String> {
        Some(entries(self))
    }
}

impl AsYaml for Allowed {
    fn as_yaml(&self) -> Option<String> {
        Some(entries(self))
    }
}

fn either(fields: &mut Fields) {
    fields.note_one_of(&["associations", "service_accounts"]);
}

impl Options {
    fn associate(self, fields: &mut Fields) -> Option<Self> {
        if self.associations.is_empty() && self.service_accounts.is_none() {
            fields.complain_here("`associations` or `service_accounts` is missing in this section");
            return None;
        }
        Some(self)
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
        /// Whether each pod gets a session of its own.
        pub session_tags: bool = OWN => value(read::boolean);
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
        let shared = opening.shared.clone();
        let (annotated, follow): (_, Work) = match &self.service_accounts {
            None => (None, Box::pin(std::future::pending())),
            Some(Annotations { api, allow }) => {
                let index = opening.watched.index(api);
                let annotated = Annotated::new(Arc::clone(&index), allow.clone(), Arc::clone(&opening.role_arns));
                let arrived = Arc::clone(&shared.arrived);
                let work = opening.remote.accounts(api, Arc::clone(&index), Arc::clone(&opening.clock));
                let (watched, api) = (Arc::clone(&opening.watched), api.clone());
                let follow = async move {
                    index.wake(&arrived);
                    let _following = watched.follow(&api, index);
                    work.await;
                };
                (Some(annotated), Box::pin(follow))
            }
        };
        let (face, ring) = PodIdentity::new(self.clone(), hosts, shared);
        let face = face.annotated_by(annotated).with_sessions(&opening.pod_sessions, &opening.role_arns);
        let keys = opening.remote.keys(&self.keys, ring)?;
        let work = Box::pin(async {
            tokio::join!(keys, follow);
        });
        Ok(Opened { respond: Arc::new(face), work: Some(work) })
    }

    fn own_sessions(&self) -> Vec<OwnSessions> {
        let Some(tags) = &self.session_tags else { return Vec::new() };
        let own = |list, index, roles| OwnSessions { list, index, roles, tags: tags.keys() };
        let associated = self.associations.iter().enumerate().filter(|(_, association)| association.session_tags);
        let associated = associated.map(|(index, association)| {
            own(&["associations"][..], index, vec![Pattern::new(association.role.as_str())])
        });
        let allowed = self.service_accounts.iter().flat_map(|annotations| annotations.allow.iter().enumerate());
        let allowed = allowed.filter(|(_, allowed)| allowed.session_tags);
        let allowed =
            allowed.map(|(index, allowed)| own(&["service_accounts", "allow"][..], index, allowed.roles.clone()));
        associated.chain(allowed).collect()
    }

    fn files(&self, files: &mut NamedFiles) {
        self.keys.files(files);
        if let Some(annotations) = &self.service_accounts {
            annotations.api.files(files);
        }
    }

    fn needs(&self, needs: &mut Needs) {
        self.keys.needs(needs);
        if let Some(annotations) = &self.service_accounts {
            annotations.api.needs(needs);
        }
    }
}
