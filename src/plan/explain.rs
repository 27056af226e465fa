//! The graph of the configuration in words, for `check`.

use std::time::Duration;

use crate::{
    config::{self, CHAINED, Config, Origin, Role, Upstreams},
    credentials::RoleArn,
    refresh::left_when_fetched,
    source::aws::Environment,
};

/// The life of a session that nobody asks otherwise.
const USUAL: Duration = Duration::from_hours(1);

/// Line by line: what is served, where it comes from, how long it lives and when it is fetched again.
pub fn explain(config: &Config, environment: &Environment) -> Vec<String> {
    let upstreams = &config.upstreams;
    let roles = upstreams.roles();
    let every = alppaca_settings::read::render_duration(config.refresh.interval);
    let mut lines = vec!["what is served, and where it comes from:".to_owned()];
    if let (true, Some(ims)) = (roles.is_empty(), upstreams.first_ims()) {
        let url = ims.kind.summary();
        let name = &ims.name;
        lines.push(format!(
            "  all roles that source {name} lists ({url}), in its order; the list is fetched every {every}"
        ));
        lines.push(format!("    {}", life_of("IMS")));
    }
    for role in &roles {
        for (index, name) in role.sources.iter().enumerate() {
            let begin = if index == 0 { role.name.to_string() } else { "  or else".to_owned() };
            lines.push(format!("  {begin} ← {}", from(name, role, &roles, upstreams)));
        }
        lines.push(format!("    {}", life(role, &roles, config)));
        if !role.shared {
            lines.push("    only in sessions of pods, each with its own tags".to_owned());
        }
    }
    let set = environment.in_force();
    if !set.is_empty() {
        let set: Vec<String> = set.into_iter().map(|(name, value)| format!("{name}={value}")).collect();
        lines.push(format!("from the environment, for calls to AWS that say nothing else: {}", set.join(" ")));
    }
    lines
}

/// The way from `name` to `role`, all of it.
fn from(name: &str, role: &Role, roles: &[Role], upstreams: &Upstreams) -> String {
    let Some(origin) = config::origin(name, &upstreams.sources, roles) else { return name.to_owned() };
    let arn = role.role_arn.as_ref().map(RoleArn::as_str).unwrap_or_default();
    let assumed = config::is_assumed(origin, role.role_arn.is_some());
    let step = if assumed {
        let sts = upstreams.sts(role.via.as_deref()).summary();
        format!("AssumeRole {arn} (STS in {sts}) ← ")
    } else {
        String::new()
    };
    let rest = match origin {
        Origin::Role(other) => {
            // The first of its sources stands for all: the others are told with the role itself.
            let more = other.sources.first().map(|name| format!(" ← {}", from(name, other, roles, upstreams)));
            format!("role {name}{}", more.unwrap_or_default())
        }
        Origin::Source(source) => {
            let what = match &role.upstream_role {
                Some(role) if source.kind.is_lister() => format!("role {role} of "),
                None if source.kind.is_lister() && assumed => "the first role of ".to_owned(),
                None if source.kind.is_lister() => format!("role {} of ", role.name),
                _ if !assumed && !arn.is_empty() => format!("{arn} of "),
                _ => String::new(),
            };
            format!("{what}source {name} ({}: {})", source.kind.word(), source.kind.summary())
        }
    };
    format!("{step}{rest}")
}

/// How long it lives and when it is fetched again.
fn life(role: &Role, roles: &[Role], config: &Config) -> String {
    let upstreams = &config.upstreams;
    let origins: Vec<Origin> =
        role.sources.iter().filter_map(|name| config::origin(name, &upstreams.sources, roles)).collect();
    let assumed = |origin: &Origin| config::is_assumed(*origin, role.role_arn.is_some());
    let chained = |origin: &Origin| match origin {
        Origin::Role(_) => true,
        Origin::Source(source) => source.kind.is_role_session(),
    };
    let first = origins.first();
    match first {
        Some(origin) if assumed(origin) || role.session.duration.is_some() => {
            let life = role.session.duration.unwrap_or(USUAL);
            let cap = if assumed(origin) && chained(origin) && life == CHAINED {
                " (the most that AWS gives with role chaining)"
            } else {
                ""
            };
            let left = minutes(left_when_fetched(life));
            format!("lives {}{cap}; fetched again when {left} are left", minutes(life))
        }
        Some(Origin::Role(other)) => format!("lives as long as what role {} has, and changes with it", other.name),
        Some(Origin::Source(source)) if source.kind.is_lister() => life_of("IMS"),
        _ => life_of("source"),
    }
}

fn life_of(what: &str) -> String {
    let least = minutes(left_when_fetched(USUAL));
    format!("lives as the {what} says; fetched again when half of it is left, and at least {least}")
}

fn minutes(duration: Duration) -> String {
    match (duration.as_secs() / 3600, duration.as_secs() / 60 % 60) {
        (0, minutes) => format!("{minutes} min"),
        (hours, 0) => format!("{hours} h"),
        (hours, minutes) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        let loaded =
            config::parse(vec![("a.yaml".into(), text.to_owned())]).unwrap_or_else(|errors| panic!("{errors}"));
        explain(&loaded.config, &Environment::default())
    }

    #[test]
    fn a_chain_is_told_from_the_role_to_its_source() {
        let told = lines(
            "ims_url: http://127.0.0.1:1/\nroles:\n  deploy: {source: app, role_arn: 'arn:aws:iam::123456789012:role/d'}\n  \
             app: {sources: [ims, ims], role_arn: 'arn:aws:iam::123456789012:role/a', duration: 20m}\n  web: {source: ims}\n",
        )
        .join("\n");
        for part in [
            "deploy ← AssumeRole arn:aws:iam::123456789012:role/d (STS in eu-central-1, at most 10/s) ← role app ← AssumeRole",
            "the first role of source ims (ims: http://127.0.0.1:1/latest/",
            "lives 1 h (the most that AWS gives with role chaining); fetched again when 38 min are left",
            "or else ← AssumeRole",
            "lives 20 min; fetched again when 13 min are left",
            "web ← role web of source ims",
            "lives as the IMS says; fetched again when half of it is left, and at least 38 min",
        ] {
            assert!(told.contains(part), "{part}:\n{told}");
        }
    }

    #[test]
    fn without_roles_the_ims_decides() {
        let told = lines("ims_url: http://127.0.0.1:1/\n").join("\n");
        assert!(told.contains("all roles that source ims lists"), "{told}");
    }
}
