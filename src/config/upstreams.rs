//! Where credentials come from, all together: the keys of 2015, `sources` and `roles`.

use super::{
    roles::{self, Origin, Role, is_assumed},
    sources::{self, Source},
};
use std::sync::Arc;

use crate::{
    credentials::{RoleArn, RoleName},
    fetch::{Proxy, ProxyChoice},
    source::{
        Provides,
        aws::{self, Aws},
        ims,
    },
};
use alppaca_settings::{Keys, fields::Fields, problem::Problem, read};

/// The name of the source that `ims_host` or `ims_url` make.
pub(super) const IMPLICIT_IMS: &str = "ims";

/// The upstreams, validated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Upstreams {
    /// What `ims_host` and the other keys of that name say.
    pub ims: Option<ims::Options>,
    /// All sources: that IMS first, under the name `ims`; then those of `sources`.
    pub sources: Vec<Source>,
    /// The roles that are served; none: all that the first IMS lists.
    pub roles: Vec<Role>,
    /// The role of `assume_role`, assumed with the first role of the IMS. Then there are no `roles`.
    pub assume_role: Option<RoleArn>,
    /// How `AssumeRole` is called where no role says otherwise (`aws_region`, `aws_proxy_host`).
    pub sts: Aws,
    /// `aws_proxy_host` and `aws_proxy_port`.
    pub aws_proxy: Option<(String, u16)>,
}

impl Upstreams {
    /// The roles that are served: those of `roles`, or that of `assume_role`. None: all that the first IMS lists.
    pub fn roles(&self) -> Vec<Role> {
        let assumed = self.assume_role.as_ref().and_then(|arn| {
            let role = Role::of(arn.name().clone(), &self.first_ims()?.name);
            Some(Role { role_arn: Some(arn.clone()), ..role })
        });
        assumed.into_iter().chain(self.roles.iter().cloned()).collect()
    }

    /// Those of them that have an ARN.
    pub fn role_arns(&self) -> Arc<[(RoleArn, RoleName)]> {
        self.roles().into_iter().filter_map(|role| Some((role.role_arn?, role.name))).collect()
    }

    /// The first source that is an IMS.
    pub fn first_ims(&self) -> Option<&Source> {
        self.sources.iter().find(|source| source.kind.is_lister())
    }

    /// The first source with credentials.
    pub fn usable(&self) -> Option<&Source> {
        self.sources.iter().find(|source| source.kind.provides() != Provides::Nothing)
    }

    /// The region in which AWS is asked for a role that comes from `name`, with an ARN or without, if AWS is.
    pub fn region(&self, name: &str, has_arn: bool, via: Option<&str>) -> Option<&str> {
        let origin = self.sources.iter().find(|source| source.name == name);
        match (origin, has_arn) {
            (Some(source), true) if !is_assumed(Origin::Source(source), has_arn) => source.kind.region(),
            (_, true) => Some(&self.sts(via).region),
            (Some(_), false) => None,
            // The same as another role: there are no circles.
            (None, false) => {
                let role = self.roles.iter().find(|role| role.name.as_str() == name)?;
                self.region(role.sources.first()?, role.role_arn.is_some(), role.via.as_deref())
            }
        }
    }

    /// The source of that name.
    pub fn source(&self, name: &str) -> Option<&Source> {
        self.sources.iter().find(|source| source.name == name)
    }

    /// Whether a source of that name says how `AssumeRole` is called.
    pub fn is_sts(&self, name: &str) -> bool {
        self.source(name).is_some_and(|source| source.kind.assumes().is_some())
    }

    /// How `AssumeRole` is called for a role with that `via`.
    pub fn sts(&self, via: Option<&str>) -> &Aws {
        let named = via.and_then(|via| self.source(via)).and_then(|source| source.kind.assumes());
        named.unwrap_or(&self.sts)
    }
}

/// Reads all of it; `None` if something is wrong.
pub(super) fn upstreams(fields: &mut Fields) -> Option<Upstreams> {
    fields.pair("aws_proxy_host", "aws_proxy_port");
    fields.exclude("assume_role", &["roles"]);
    let read = sources::read_sources(fields);
    // Only who has no source at all is told that an IMS is missing.
    let named = fields.place("sources").is_some();
    let has_ims = ["ims_host", "ims_url"].iter().any(|key| fields.given(key).is_some());
    let ims = if has_ims || !named { ims::Options::read_flat(fields).map(Some) } else { Some(None) };
    let assume_role = fields.optional("assume_role", roles::role_arn);
    let host = fields.optional("aws_proxy_host", read::text);
    let port = fields.optional("aws_proxy_port", read::port);
    let region = fields.value("aws_region", read::region);
    let read_roles = roles::read_roles(fields);
    let (ims, read, read_roles) = (ims?, read?, read_roles?);
    let mut all = Vec::new();
    if let Some(ims) = &ims {
        all.push(Source { name: IMPLICIT_IMS.to_owned(), kind: Arc::new(ims.clone()) });
    }
    for (key, source) in read {
        if all.iter().any(|other| other.name == source.name) {
            let message = "`ims_host` or `ims_url` already make a source of this name; give this one another";
            fields.problems.push(Problem::new(key.place, message));
        }
        all.push(source);
    }
    let roles = roles::resolve(fields, &read_roles, &all);
    let aws_proxy = host?.zip(port?);
    let mut sts = Fields::new(Vec::new(), &aws::SETTINGS);
    let mut sts = Aws::read(&mut sts)?;
    sts.region = region?;
    if let Some((host, port)) = &aws_proxy {
        sts.proxying.choice = ProxyChoice::Given(proxy_of(host, *port));
    }
    let upstreams = Upstreams { ims, sources: all, roles, assume_role: assume_role?, sts, aws_proxy };
    let serves_containers = fields.place("containers").is_some();
    if upstreams.roles.is_empty() && upstreams.first_ims().is_none() && !serves_containers {
        let message = "there are `sources`, but no `roles` that come from them; add some such as\n  \
                       roles:\n    name: {source: …}";
        fields.problems.push(match fields.place("sources") {
            Some(place) => Problem::new(place, message),
            None => Problem::nowhere(message),
        });
    }
    Some(upstreams)
}

fn proxy_of(host: &str, port: u16) -> Proxy {
    let host = if host.contains(':') && !host.starts_with('[') { format!("[{host}]") } else { host.to_owned() };
    Proxy { url: format!("http://{host}:{port}"), credentials: None }
}
