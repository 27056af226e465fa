//! Whether there are the roles that other sections name: `policy`, `pod_identity.associations` and `container.roles`.

use alppaca_settings::{
    fields::Fields,
    problem::{Place, Problem},
    read,
    table::nearest,
    yaml::{Node, Value},
};

use super::{Role, Upstreams};

/// Warns of those that there are not, where all roles are known: nobody gets them. Not an error, since such a configuration
/// was legal before. `fields` have been read, and nothing is wrong with them.
pub(super) fn warn(fields: &mut Fields, upstreams: &Upstreams) {
    let served = upstreams.roles();
    if served.is_empty() {
        return;
    }
    let unknown = named(fields).into_iter().filter(|(name, _)| served.iter().all(|role| role.name.as_str() != name));
    let warnings = unknown.map(|(name, place)| Problem::new(place, unknown_role(&name, &served)));
    fields.warnings.extend(warnings);
}

/// What is said of a name that none of the roles has.
pub(super) fn unknown_role(name: &str, served: &[Role]) -> String {
    let hint = nearest(name, served.iter().map(|role| role.name.as_str()));
    let hint = hint.map(|name| format!("; did you mean `{name}`?")).unwrap_or_default();
    format!("there is no role \"{name}\"{hint}")
}

/// The names, and where they stand.
fn named(fields: &Fields) -> Vec<(String, Place)> {
    let below = |section: &str, key: &str| fields.given(section).and_then(|node| node.entry(key));
    let rules = below("policy", "rules").map(Node::items).unwrap_or_default();
    let granted = rules.iter().flat_map(|rule| ["role", "roles"].into_iter().filter_map(move |key| rule.entry(key)));
    let associations = below("pod_identity", "associations").map(Node::items).unwrap_or_default();
    let associated = associations.iter().filter_map(|association| association.entry("role"));
    // What is null is not given, and no name.
    let names = |node: &Node| read::list(node, |node| Ok((read::text(node)?, node.place.clone()))).unwrap_or_default();
    let opened = match below("container", "roles").map(|node| &node.value) {
        Some(Value::Map(entries)) => entries.as_slice(),
        _ => &[],
    };
    let opened = opened.iter().map(|(key, _)| (key.text.clone(), key.place.clone()));
    granted.chain(associated).flat_map(names).chain(opened).collect()
}

#[cfg(test)]
mod tests {
    use crate::config::parse;

    /// The beginnings of what is said of roles that there are not.
    fn said(text: &str) -> Vec<String> {
        let warnings = parse(vec![("a.yaml".into(), text.to_owned())]).expect(text).warnings;
        let lines = warnings.iter().filter_map(|warning| warning.to_string().lines().next().map(str::to_owned));
        lines.filter(|line| line.contains("there is no role")).collect()
    }

    const SECTIONS: &str = "policy:\n  rules:\n  - {role: tset_role}\n  - {roles: [web, wbe]}\n  - {role: ~, deny: true}\n\
                            pod_identity:\n  issuer: https://i\n  jwks_file: /k\n  associations: [{role: test_rol}, {role: web}]\n\
                            container:\n  roles:\n    web: {open: true}\n    other: {open: true}\n";

    #[test]
    fn a_role_that_there_is_not_is_warned_of_with_its_place() {
        let text = format!("ims_host: x\nroles: {{test_role: {{source: ims}}, web: {{source: ims}}}}\n{SECTIONS}");
        assert_eq!(
            said(&text),
            [
                "a.yaml:5:12: there is no role \"tset_role\"; did you mean `test_role`?",
                "a.yaml:6:19: there is no role \"wbe\"; did you mean `web`?",
                "a.yaml:11:25: there is no role \"test_rol\"; did you mean `test_role`?",
                "a.yaml:15:5: there is no role \"other\"",
            ]
        );
    }

    #[test]
    fn where_an_upstream_lists_the_roles_any_may_be_one() {
        assert_eq!(said(&format!("ims_host: x\n{SECTIONS}")), [""; 0]);
    }

    #[test]
    fn the_only_role_of_assume_role_is_known_by_the_name_in_its_arn() {
        let text =
            "ims_host: x\nassume_role: arn:aws:iam::123456789012:role/path/web\npolicy:\n  rules:\n  - {role: web}\n";
        assert_eq!(said(text), [""; 0]);
        assert_eq!(said(&text.replace("role: web", "role: wbe")).len(), 1);
    }
}
