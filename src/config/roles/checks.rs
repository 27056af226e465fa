//! What is wrong with roles only beside the sources and each other.

use std::{collections::HashMap, time::Duration};

use alppaca_settings::{
    fields::Fields,
    problem::{Place, Problem},
    read::render_duration,
    table::nearest,
};

use super::{CHAINED, Origin, Read, Role, is_assumed, origin};
use crate::{
    config::sources::Source,
    credentials::MAX_TAGS,
    source::{Provides, Session},
};

/// Checks the roles against the sources and each other.
pub(in crate::config) fn resolve(fields: &mut Fields, read: &[Read], sources: &[Source]) -> Vec<Role> {
    let roles: Vec<Role> = read.iter().map(|read| read.role.clone()).collect();
    for one in read {
        check(fields, one, sources, &roles);
    }
    refuse_cycles(fields, read);
    roles
}

fn check(fields: &mut Fields, read: &Read, sources: &[Source], roles: &[Role]) {
    let role = &read.role;
    let mut wrong = |place: Place, message: String| fields.problems.push(Problem::new(place, message));
    if sources.iter().any(|source| source.name == role.name.as_str()) {
        wrong(read.place.clone(), format!("a source is also called {:?}; a `source:` could mean either", role.name));
    }
    if let Some(via) = &role.via {
        let sts = sources.iter().any(|source| source.name == *via && source.kind.assumes().is_some());
        if !sts {
            wrong(read.place_of("via"), format!("there is no source {via:?} of kind sts"));
        }
    }
    let mut origins = Vec::new();
    for (name, place) in role.sources.iter().zip(&read.sources) {
        let Some(origin) = origin(name, sources, roles) else {
            let known = sources.iter().map(|source| &*source.name).chain(roles.iter().map(|role| role.name.as_str()));
            let hint = nearest(name, known).map(|name| format!("; did you mean `{name}`?"));
            wrong(place.clone(), format!("there is no source and no role {name:?}{}", hint.unwrap_or_default()));
            continue;
        };
        if let Origin::Role(other) = origin
            && !other.shared
        {
            wrong(
                place.clone(),
                format!("the role {name:?} has no session that others can be made of (`shared: false`)"),
            );
        }
        if let Origin::Source(source) = origin {
            match source.kind.provides() {
                Provides::Nothing => wrong(
                    place.clone(),
                    format!(
                        "{name:?} has no credentials of its own, it configures how AssumeRole is called; name it in `via`"
                    ),
                ),
                Provides::PerArn if role.role_arn.is_none() => {
                    wrong(place.clone(), format!("{name:?} takes the ARN of a role, so a `role_arn` is needed"));
                }
                _ => {}
            }
        }
        origins.push(origin);
    }
    if origins.len() < role.sources.len() {
        return;
    }
    let assumed = origins.iter().any(|origin| is_assumed(*origin, role.role_arn.is_some()));
    let taken = |key: &str| {
        origins.iter().any(|origin| matches!(origin, Origin::Source(source) if source.kind.accepts().contains(&key)))
    };
    for (key, place) in &read.given {
        if is_of_session(key) && !assumed && !taken(key) {
            let why = match origins.first() {
                Some(Origin::Source(source)) if role.role_arn.is_some() => {
                    format!(
                        "{:?} returns the role itself, and the call of the kind {} has none",
                        source.name,
                        source.kind.word()
                    )
                }
                _ => "no role is assumed (`role_arn`)".to_owned(),
            };
            wrong(place.clone(), format!("`{key}` has no effect here: {why}"));
        }
        if *key == "upstream_role" && !taken(key) {
            wrong(place.clone(), "`upstream_role` has no effect here: no source of this role lists roles".to_owned());
        }
        if *key == "role_arn" && !assumed && !origins.iter().any(|origin| is_per_arn(*origin)) {
            wrong(place.clone(), "`role_arn` has no effect with such a source".to_owned());
        }
    }
    let chained = |origin: &Origin| is_chained(role, *origin);
    if role.session.duration.is_some_and(|duration| duration > CHAINED) && origins.iter().any(chained) {
        wrong(
            read.place_of("duration"),
            "AWS grants at most 1h to a role that is assumed with the credentials of another role (role chaining); \
             write 1h, or let the role be assumed from a source that is no role"
                .to_owned(),
        );
    }
}

/// Whether a role is assumed with the credentials of another one.
fn is_chained(role: &Role, origin: Origin) -> bool {
    match origin {
        _ if !is_assumed(origin, role.role_arn.is_some()) => false,
        Origin::Role(_) => true,
        Origin::Source(source) => source.kind.is_role_session(),
    }
}

/// Whether sessions of a role can last as long as that; if not, why.
pub fn can_last(role: &Role, duration: Duration, roles: &[Role], sources: &[Source]) -> Result<(), String> {
    if let Some(most) = role.session.duration.filter(|most| duration > *most) {
        return Err(format!("the configuration allows its sessions {} at most (`duration`)", render_duration(most)));
    }
    for (name, origin) in role.sources.iter().filter_map(|name| Some((name, origin(name, sources, roles)?))) {
        let takes_it = match origin {
            Origin::Source(source) => source.kind.accepts().contains(&"duration"),
            Origin::Role(_) => false,
        };
        if !takes_it && !is_assumed(origin, role.role_arn.is_some()) {
            return Err(format!(
                "{name} says how long its credentials live, and cannot be asked for another time; \
                 a role with a `role_arn`, which is assumed with them, can have one"
            ));
        }
        if duration > CHAINED && is_chained(role, origin) {
            return Err(
                "AWS grants at most 1h to a role that is assumed with the credentials of another role".to_owned()
            );
        }
    }
    Ok(())
}

/// Whether sessions of a role can have tags with these keys beside its own; if not, why.
pub fn can_be_tagged(role: &Role, keys: &[&str], roles: &[Role], sources: &[Source]) -> Result<(), String> {
    let is_taken = |own: &&String| keys.iter().any(|key| key.eq_ignore_ascii_case(own));
    if let Some(own) = role.session.tags.iter().map(|(own, _)| own).find(is_taken) {
        return Err(format!("the role has a tag {own:?} already"));
    }
    let all = role.session.tags.len() + keys.len();
    if all > MAX_TAGS {
        let most = format!("AWS accepts at most {MAX_TAGS} session tags");
        return Err(format!("{most}, and with the {} of each pod there are {all}", keys.len()));
    }
    for (name, origin) in role.sources.iter().filter_map(|name| Some((name, origin(name, sources, roles)?))) {
        if is_assumed(origin, role.role_arn.is_some()) {
            continue;
        }
        let Origin::Source(source) = origin else { return Err(format!("it passes on what the role {name} has")) };
        let word = source.kind.word();
        return Err(match source.kind.provides() {
            Provides::PerArn => format!(
                "{name} ({word}) is asked for the role itself, and a call of that kind takes no tags: the token has them. \
                 Let the role be assumed with the credentials of another role"
            ),
            _ => format!(
                "{name} ({word}) says itself what its sessions are like. Let the role be assumed with its credentials \
                 (`role_arn`)"
            ),
        });
    }
    // What is handed on along the chain cannot be set again.
    let mut above: Vec<&Role> = vec![role];
    let mut next = 0;
    while let Some(one) = above.get(next).copied() {
        next += 1;
        for origin in one.sources.iter().filter_map(|name| origin(name, sources, roles)) {
            let Origin::Role(parent) = origin else { continue };
            if let Some(own) = parent.session.transitive_tags.iter().find(is_taken) {
                return Err(format!(
                    "the role {} hands on a tag {own:?}, which AWS lets no session set again",
                    parent.name
                ));
            }
            if above.iter().all(|known| known.name != parent.name) {
                above.push(parent);
            }
        }
    }
    Ok(())
}

fn is_per_arn(origin: Origin) -> bool {
    matches!(origin, Origin::Source(source) if matches!(source.kind.provides(), Provides::PerArn | Provides::PerName))
}

/// Complains once of each circle, where it closes.
fn refuse_cycles(fields: &mut Fields, read: &[Read]) {
    let by_name: HashMap<&str, usize> =
        read.iter().enumerate().map(|(index, read)| (read.role.name.as_str(), index)).collect();
    // 0: not seen, 1: on the path, 2: done.
    let mut seen = vec![0_u8; read.len()];
    for start in 0..read.len() {
        // Each step of the path: the role, and which of its sources comes next.
        let mut path = vec![(start, 0)];
        while let Some((index, next)) = path.last().copied() {
            if next == 0 && seen.get(index) == Some(&2) {
                path.pop();
                continue;
            }
            let Some(one) = read.get(index) else { break };
            if let Some(mark) = seen.get_mut(index) {
                *mark = 1;
            }
            let Some(source) = one.role.sources.get(next) else {
                if let Some(mark) = seen.get_mut(index) {
                    *mark = 2;
                }
                path.pop();
                continue;
            };
            if let Some((_, next)) = path.last_mut() {
                *next += 1;
            }
            let Some(target) = by_name.get(&**source).copied() else { continue };
            match seen.get(target) {
                Some(1) => {
                    let from = path.iter().position(|(index, _)| *index == target).unwrap_or_default();
                    let names: Vec<String> = path
                        .iter()
                        .skip(from)
                        .filter_map(|(index, _)| read.get(*index))
                        .map(|read| read.role.name.to_string())
                        .chain([source.clone()])
                        .collect();
                    let place = one.sources.get(next).unwrap_or(&one.place).clone();
                    let message = format!("a circle: {}; a role cannot come from itself", names.join(" ← "));
                    fields.problems.push(Problem::new(place, message));
                }
                Some(0) => path.push((target, 0)),
                _ => {}
            }
        }
    }
}

/// Whether a setting says how a session shall be. Without a role to assume it has no effect.
fn is_of_session(key: &str) -> bool {
    key == "via" || Session::SETTINGS.iter().any(|setting| setting.key == key)
}
