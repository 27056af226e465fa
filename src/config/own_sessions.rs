//! Whether the roles can have sessions of their own for each client, with tags, of which a face's section speaks.

use alppaca_settings::{
    fields::Fields,
    problem::{Place, Problem},
    yaml::Node,
};

use super::{Role, Upstreams, roles::can_be_tagged};
use crate::{
    credentials::{Pattern, RoleName},
    faces::{OwnSessions, Section},
};

/// Complains of the roles that cannot.
pub(super) fn check<'a>(fields: &mut Fields, faces: impl Iterator<Item = &'a Section>, upstreams: &Upstreams) {
    let roles = upstreams.roles();
    let mut reached = Vec::new();
    for section in faces {
        let Some(node) = fields.given(section.key()).cloned() else { continue };
        for own in section.options.own_sessions() {
            let place = place_of(&node, &own);
            let mut wrong = |why: String| {
                let message =
                    format!("{why}; or write `session_tags: false` here, and these pods share the role's session");
                fields.problems.push(Problem::new(place.clone(), message));
            };
            let mut named = roles
                .iter()
                .filter(|role| own.roles.iter().any(|pattern| pattern.matches(role.name.as_str())))
                .peekable();
            if named.peek().is_none() {
                let patterns: Vec<&str> = own.roles.iter().map(Pattern::as_str).collect();
                let patterns = patterns.join(", ");
                wrong(format!(
                    "there is no role {patterns} in `roles` that could be assumed (`role_arn`) in a session for each pod"
                ));
            }
            for role in named {
                reached.push(&role.name);
                if let Err(why) = can_be_tagged(role, &own.tags, &roles, &upstreams.sources) {
                    wrong(format!("the role \"{}\" cannot have a session with tags for each pod: {why}", role.name));
                }
            }
        }
    }
    warn_of_the_rest(fields, &roles, &reached);
}

/// Warns of the roles that nobody gets.
fn warn_of_the_rest(fields: &mut Fields, roles: &[Role], reached: &[&RoleName]) {
    for role in roles.iter().filter(|role| !role.shared && !reached.contains(&&role.name)) {
        let message = format!(
            "nobody gets the role \"{}\": it is not `shared`, and no item of `pod_identity` with `session_tags` names it",
            role.name
        );
        fields.warnings.push(match fields.place("roles") {
            Some(place) => Problem::new(place, message),
            None => Problem::nowhere(message),
        });
    }
}

/// Where the item stands.
fn place_of(section: &Node, own: &OwnSessions) -> Place {
    let list = own.list.iter().try_fold(section, |node, key| node.entry(key));
    let item = list.and_then(|list| list.items().get(own.index));
    item.unwrap_or(section).place.clone()
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    fn said(roles: &str, pods: &str) -> Result<(), String> {
        let text = format!(
            "ims_host: x\nsources:\n  token: {{kind: web_identity, token_file: /t}}\n  far: {{kind: sts}}\nroles:\n{roles}\
             pod_identity:\n  issuer: https://i\n  jwks_file: /k\n{pods}"
        );
        parse(vec![("a.yaml".into(), text)]).map(|_| ()).map_err(|errors| errors.to_string())
    }

    const ARN: &str = "role_arn: 'arn:aws:iam::123456789012:role/r'";

    #[test]
    fn a_role_that_is_assumed_can_have_tags_and_no_other() {
        let associations = "  session_tags: {}\n  associations: [{service_account: a, role: r}]\n";
        for (roles, part) in [
            (format!("  r: {{source: ims, {ARN}}}\n"), None),
            (format!("  b: {{source: token, {ARN}}}\n  r: {{source: b, {ARN}, via: far}}\n"), None),
            (
                format!("  r: {{source: token, {ARN}}}\n"),
                Some(
                    "11:18: the role \"r\" cannot have a session with tags for each pod: token (web_identity) is asked for the role itself, and a call of that kind takes no tags: the token has them",
                ),
            ),
            ("  r: {source: ims}\n".to_owned(), Some("ims (ims) says itself what its sessions are like")),
            (format!("  b: {{source: ims, {ARN}}}\n  r: {{source: b}}\n"), Some("it passes on what the role b has")),
            (format!("  r: {{sources: [ims, token], {ARN}}}\n"), Some("token (web_identity) is asked")),
            (
                format!("  r: {{source: ims, {ARN}, tags: {{Kubernetes-Namespace: x}}}}\n"),
                Some("the role has a tag \"Kubernetes-Namespace\" already"),
            ),
            (
                format!(
                    "  b: {{source: ims, {ARN}, tags: {{kubernetes-pod-name: x}}, transitive_tags: [kubernetes-pod-name]}}\n  \
                     c: {{source: b, {ARN}}}\n  r: {{source: c, {ARN}}}\n"
                ),
                Some("the role b hands on a tag \"kubernetes-pod-name\""),
            ),
            (
                format!(
                    "  r: {{source: ims, {ARN}, tags: {{{}}}}}\n",
                    (0..47).map(|n| format!("k{n}: v")).collect::<Vec<_>>().join(", ")
                ),
                Some("AWS accepts at most 50 session tags, and with the 4 of each pod there are 51"),
            ),
            (format!("  s: {{source: ims, {ARN}}}\n"), Some("there is no role r in `roles`")),
        ] {
            let result = said(&roles, associations);
            match part {
                None => assert_eq!(result, Ok(()), "{roles}"),
                Some(part) => {
                    let said = result.expect_err(&roles);
                    assert!(said.contains(part), "{roles} should say {part:?}, not {said}");
                    assert!(said.contains("or write `session_tags: false` here"), "{said}");
                }
            }
        }
    }

    #[test]
    fn what_is_not_shared_is_for_pods_alone() {
        let own = format!("  r: {{source: ims, {ARN}, shared: false}}\n");
        let pods = "  session_tags: {}\n  associations: [{role: r}]\n";
        let warnings = |pods: &str| {
            let text = format!("ims_host: x\nroles:\n{own}pod_identity:\n  issuer: https://i\n  jwks_file: /k\n{pods}");
            let loaded = parse(vec![("a.yaml".into(), text)]).expect("legal");
            let again = parse(vec![("b.yaml".into(), loaded.config.render())]).expect("what we wrote").config;
            assert!(again == loaded.config && !again.upstreams.roles[0].shared);
            loaded.warnings.iter().map(ToString::to_string).collect::<String>()
        };
        assert!(!warnings(pods).contains("nobody gets"), "{}", warnings(pods));
        let warned = warnings("  associations: [{role: r}]\n");
        assert!(warned.contains("2:1: nobody gets the role \"r\""), "{warned}");
        let child = format!("{own}  c: {{source: r, {ARN}}}\n");
        for (roles, more, part) in [
            (&child, "", "the role \"r\" has no session that others can be made of"),
            (&own, "files: [{path: f, role: r}]\n", "the role \"r\" has no session for a file"),
            (&own, "containers: {source: r, allow: ['*']}\n", "`containers.source` is \"r\", a role without a session"),
        ] {
            let wrong = said(roles, &format!("{pods}{more}")).expect_err(part);
            assert!(wrong.contains(part), "{wrong}");
        }
    }

    #[test]
    fn an_association_may_do_without_and_annotations_are_looked_at_too() {
        let roles = format!("  web: {{source: token, {ARN}}}\n  db: {{source: ims, {ARN}}}\n");
        let allow =
            |item: &str| format!("  session_tags: {{}}\n  service_accounts: {{allow: [{{namespace: a, {item}}}]}}\n");
        assert_eq!(
            said(&roles, "  session_tags: {}\n  associations: [{role: web, session_tags: false}, {role: db}]\n"),
            Ok(())
        );
        assert_eq!(said(&roles, "  associations: [{role: web}]\n"), Ok(()));
        assert_eq!(said(&roles, &allow("roles: 'd*'")), Ok(()));
        assert_eq!(said(&roles, &allow("roles: '*', session_tags: false")), Ok(()));
        let wrong = said(&roles, &allow("roles: '*'")).expect_err("web");
        assert!(wrong.contains("12:30: the role \"web\""), "{wrong}");
        let listed = "ims_host: x\npod_identity:\n  issuer: https://i\n  jwks_file: /k\n  session_tags: {}\n  \
                      associations: [{role: web}]\n";
        let wrong = parse(vec![("a.yaml".into(), listed.to_owned())]).map(|_| ()).expect_err("listed").to_string();
        assert!(wrong.contains("6:18: there is no role web in `roles`"), "{wrong}");
    }
}
