//! The section `pod_identity`: credentials for the service accounts of a Kubernetes cluster.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use super::{FACE, PodIdentity};
use crate::{
    credentials::{Pattern, RoleName},
    faces::section::{self, Entry, OpenError, Opened, Opening, Reading},
    jwt::{KEY_COUNT, KEY_SETTINGS, KeyOptions},
    settings::{
        Fields, NamedFiles, Problem, Setting, Topic,
        problem::Place,
        read,
        render::{list, mapping, quoted},
        table::concat,
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
    settings: &SETTINGS,
    below: &[("pod_identity.associations[]", ASSOCIATION)],
    face: FACE,
    read: |fields, reading| Some(Arc::new(Options::read(fields, reading)?)),
};

/// The settings of the section.
const SETTINGS: [Setting; 5 + KEY_COUNT] = concat(concat::<4, KEY_COUNT, { 4 + KEY_COUNT }>(FIRST, KEY_SETTINGS), LAST);

const FIRST: [Setting; 4] = [
    Setting::nested(
        "listen",
        "169.254.170.23:80",
        "Where to listen: `address:port`, or a list of them. The agent of EKS is also at `[fd00:ec2::23]:80`.",
    )
    .on_restart(),
    Setting::nested(
        "issuer",
        "",
        "The issuer of the tokens (`iss`), such as `https://kubernetes.default.svc`. \
         Required.",
    ),
    Setting::nested("audience", "pods.eks.amazonaws.com", "The required audience (`aud`)."),
    Setting::nested("leeway", "60s", "How far the clocks of the issuer and of this host may differ."),
];
const LAST: [Setting; 1] = [Setting::nested(
    "associations",
    "",
    "A list of `namespace`, `service_account` and `role`. The first match counts. Required.",
)];

/// The settings of one association.
const ASSOCIATION: &[Setting] = &[
    Setting::nested("namespace", "*", "The namespace; `*` matches any characters."),
    Setting::nested("service_account", "*", "The service account; `*` matches any characters."),
    Setting::nested("role", "", "The name of the role. Required."),
];

/// How the face behaves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// The issuer of the tokens (`issuer`).
    pub issuer: String,
    /// Whom they must be for (`audience`).
    pub audience: String,
    /// How far the clocks may differ (`leeway`).
    pub leeway: Duration,
    /// Where the keys are (`jwks_…`).
    pub keys: KeyOptions,
    /// Which service account has which role (`associations`). The first one that fits counts.
    pub associations: Vec<Association>,
}

/// Which service account has which role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Association {
    /// Its namespace; `*` stands for any characters.
    pub namespace: Pattern,
    /// Its name; `*` stands for any characters.
    pub service_account: Pattern,
    /// The role.
    pub role: RoleName,
}

impl Options {
    fn read(fields: &mut Fields, reading: &Reading) -> Option<Self> {
        let missing = |key: &str| Problem::new(reading.place.clone(), format!("`{key}` is missing in this section"));
        let issuer = fields.optional("issuer", read::text);
        let audience = fields.value("audience", read::text);
        let leeway = fields.value("leeway", read::duration);
        let keys = KeyOptions::read(fields, &missing);
        let associations = fields.items("associations", ASSOCIATION, association);
        if matches!(issuer, Some(None)) {
            fields.problems.push(missing("issuer"));
        }
        if associations.as_ref().is_some_and(Vec::is_empty) {
            fields.problems.push(missing("associations"));
        }
        Some(Self { issuer: issuer??, audience: audience?, leeway: leeway?, keys: keys?, associations: associations? })
    }
}

fn association(place: &Place, fields: &mut Fields) -> Option<Association> {
    let namespace = fields.value("namespace", read::pattern);
    let service_account = fields.value("service_account", read::pattern);
    let role = fields.optional("role", read::role_name);
    if matches!(role, Some(None)) {
        fields.problems.push(Problem::new(place.clone(), "`role` is missing here"));
    }
    Some(Association { namespace: namespace?, service_account: service_account?, role: role?? })
}

impl section::Options for Options {
    fn render(&self) -> Vec<(&'static str, String)> {
        let mut all = vec![
            ("issuer", quoted(&self.issuer)),
            ("audience", quoted(&self.audience)),
            ("leeway", read::render_duration(self.leeway)),
        ];
        all.extend(self.keys.render());
        let associations = self.associations.iter().map(|association| {
            mapping(vec![
                ("namespace".to_owned(), quoted(association.namespace.as_str())),
                ("service_account".to_owned(), quoted(association.service_account.as_str())),
                ("role".to_owned(), quoted(association.role.as_str())),
            ])
        });
        all.push(("associations", list(associations)));
        all
    }

    fn open(&self, listen: &[SocketAddr], opening: &Opening) -> Result<Opened, OpenError> {
        let hosts = listen.iter().map(SocketAddr::ip).collect();
        let (face, ring) = PodIdentity::new(self.clone(), hosts, opening.shared.clone());
        let work = opening.remote.keys(&self.keys, ring)?;
        Ok(Opened { respond: Arc::new(face), work: Some(work) })
    }

    fn files(&self, files: &mut NamedFiles) {
        self.keys.files(files);
    }
}
