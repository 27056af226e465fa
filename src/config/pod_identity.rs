//! The section `pod_identity`: credentials for the service accounts of a Kubernetes cluster.

use std::{net::SocketAddr, path::Path, time::Duration};

use super::container::addresses;
use crate::{faces::pod_identity::Association, relay::KeySource};
use alppaca_settings::{
    Setting,
    fields::Fields,
    problem::{Place, Problem},
    read,
    render::{list, mapping, quoted},
};

/// The settings of the section.
pub const POD_IDENTITY: &[Setting] = &[
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
    Setting::nested(
        "jwks_file",
        "",
        "A file with the public keys of the issuer, a JSON Web Key Set. This or `jwks_url` is required.",
    ),
    Setting::nested("jwks_url", "", "The URL of the keys, such as `https://kubernetes.default.svc/openid/v1/jwks`."),
    Setting::nested(
        "jwks_ca_file",
        "",
        "PEM file of additional certificate authorities for that URL. The system's stay in force.",
    ),
    Setting::nested("jwks_token_file", "", "A file with a token that is sent to that URL, as `Bearer`."),
    Setting::nested(
        "jwks_refresh",
        "5m",
        "How often the keys are read again; earlier if a token names an unknown \
         key.",
    ),
    Setting::nested(
        "associations",
        "",
        "A list of `namespace`, `service_account` and `role`. The first match counts. Required.",
    ),
];

/// The settings of one association.
pub const ASSOCIATION: &[Setting] = &[
    Setting::nested("namespace", "*", "The namespace; `*` matches any characters."),
    Setting::nested("service_account", "*", "The service account; `*` matches any characters."),
    Setting::nested("role", "", "The name of the role. Required."),
];

/// The face of the EKS Pod Identity agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodIdentity {
    /// Where to listen. Never empty.
    pub listen: Vec<SocketAddr>,
    /// Who issues the tokens.
    pub issuer: String,
    /// Whom they must be for.
    pub audience: String,
    /// How far the clocks may differ.
    pub leeway: Duration,
    /// Where the keys are.
    pub keys: KeySource,
    /// How often they are read anew (`jwks_refresh`).
    pub refresh: Duration,
    /// Which service account has which role.
    pub associations: Vec<Association>,
}

#[allow(clippy::option_option, reason = "wrong and absent are not the same")]
pub(super) fn pod_identity(fields: &mut Fields) -> Option<Option<PodIdentity>> {
    let place = fields.place("pod_identity");
    fields.section("pod_identity", POD_IDENTITY, |fields| {
        let place = place?;
        let missing = |key: &str| Problem::new(place.clone(), format!("`{key}` is missing in this section"));
        let listen = fields.value("listen", addresses);
        let issuer = fields.optional("issuer", read::text);
        let audience = fields.value("audience", read::text);
        let leeway = fields.value("leeway", read::duration);
        let keys = keys(fields, &missing);
        let refresh = fields.value("jwks_refresh", read::interval);
        let associations = fields.items("associations", ASSOCIATION, association);
        if matches!(issuer, Some(None)) {
            fields.problems.push(missing("issuer"));
        }
        if associations.as_ref().is_some_and(Vec::is_empty) {
            fields.problems.push(missing("associations"));
        }
        Some(PodIdentity {
            listen: listen?,
            issuer: issuer??,
            audience: audience?,
            leeway: leeway?,
            keys: keys?,
            refresh: refresh?,
            associations: associations?,
        })
    })
}

fn keys(fields: &mut Fields, missing: &dyn Fn(&str) -> Problem) -> Option<KeySource> {
    fields.exclude("jwks_file", &["jwks_url", "jwks_ca_file", "jwks_token_file"]);
    let file = fields.optional("jwks_file", read::path);
    let url = fields.optional("jwks_url", |node| {
        let text = read::text(node)?;
        let url: Option<http::Uri> = text.parse().ok();
        let fine = url.is_some_and(|url| matches!(url.scheme_str(), Some("http" | "https")) && url.host().is_some());
        if fine { Ok(text) } else { Err(Problem::new(node.place.clone(), "a URL with http or https is expected here")) }
    });
    let ca_file = fields.optional("jwks_ca_file", read::path);
    let token_file = fields.optional("jwks_token_file", read::path);
    match (file?, url?) {
        (Some(file), _) => Some(KeySource::File(file)),
        (None, Some(url)) => {
            if let (true, Some(place)) = (url.starts_with("http:"), fields.place("jwks_url")) {
                let message =
                    "the keys come in clear text: anyone who can change them can impersonate any service account";
                fields.warnings.push(Problem::new(place, message));
            }
            Some(KeySource::Url { url, ca_file: ca_file?, token_file: token_file? })
        }
        (None, None) => {
            fields.problems.push(missing("jwks_file` or `jwks_url"));
            None
        }
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

/// The section as YAML.
pub(super) fn render(section: &PodIdentity) -> String {
    let path = |path: &Path| quoted(&path.to_string_lossy());
    let mut entries = vec![
        ("listen", list(section.listen.iter().map(|address| quoted(&address.to_string())))),
        ("issuer", quoted(&section.issuer)),
        ("audience", quoted(&section.audience)),
        ("leeway", read::render_duration(section.leeway)),
    ];
    match &section.keys {
        KeySource::File(file) => entries.push(("jwks_file", path(file))),
        KeySource::Url { url, ca_file, token_file } => {
            entries.push(("jwks_url", quoted(url)));
            entries.extend(ca_file.as_ref().map(|file| ("jwks_ca_file", path(file))));
            entries.extend(token_file.as_ref().map(|file| ("jwks_token_file", path(file))));
        }
    }
    entries.push(("jwks_refresh", read::render_duration(section.refresh)));
    let associations = section.associations.iter().map(|association| {
        mapping(vec![
            ("namespace".to_owned(), quoted(association.namespace.as_str())),
            ("service_account".to_owned(), quoted(association.service_account.as_str())),
            ("role".to_owned(), quoted(association.role.as_str())),
        ])
    });
    entries.push(("associations", list(associations)));
    mapping(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn parsed(text: &str) -> Result<crate::config::Loaded, String> {
        parse(vec![("a.yaml".into(), format!("ims_host: x\npod_identity:\n{text}"))]).map_err(|e| e.to_string())
    }

    #[test]
    fn what_is_read_is_printed() {
        for keys in ["jwks_file: /k", "jwks_url: 'https://k/jwks'\n  jwks_ca_file: /ca\n  jwks_token_file: /t"] {
            let text = format!(
                "  issuer: https://i\n  {keys}\n  associations:\n    - {{namespace: prod, service_account: 'web-*', role: web}}\n    \
                 - {{role: rest}}\n"
            );
            let config = parsed(&text).expect("legal").config;
            let section = config.pod_identity.as_ref().expect("given");
            assert_eq!(section.associations[1].namespace.as_str(), "*");
            assert_eq!(section.audience, "pods.eks.amazonaws.com");
            let again = parse(vec![("b.yaml".into(), config.render())]).expect("what we wrote").config;
            assert_eq!(again, config);
        }
    }

    #[test]
    fn mistakes_are_told() {
        let rest = "  associations: [{role: r}]\n";
        for (text, part) in [
            (format!("  issuer: i\n{rest}"), "2:1: `jwks_file` or `jwks_url` is missing"),
            (format!("  jwks_file: k\n{rest}"), "2:1: `issuer` is missing"),
            ("  issuer: i\n  jwks_file: k\n".to_owned(), "2:1: `associations` is missing"),
            (
                "  issuer: i\n  jwks_file: k\n  associations: [{namespace: a}]".to_owned(),
                "5:18: `role` is missing here",
            ),
            (format!("  issuer: i\n  jwks_file: k\n  jwks_url: http://x\n{rest}"), "replaces `jwks_url`"),
            (format!("  issuer: i\n  jwks_url: x\n{rest}"), "4:13: a URL with http or https"),
        ] {
            let said = parsed(&text).expect_err(&text);
            assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        }
    }
}
