//! The associations of EKS Pod Identity, as its API describes them.
//! <https://docs.aws.amazon.com/eks/latest/APIReference/API_PodIdentityAssociation.html>

use std::collections::BTreeSet;

use alppaca_settings::render::{mapping, quoted};
use serde_json::Value;

use super::{
    associations::{Associations, Role},
    text::Text,
};
use crate::{
    credentials::{Arn, RoleArn, is_external_id},
    kubernetes::Account,
};

/// One association, with what is needed of it.
struct Described {
    account: Account,
    role: Role,
    /// A role that the first one assumes.
    target: Option<Role>,
    tags: bool,
}

/// Our configuration from the answers of the API, with a comment at all that changes or cannot be kept. An error says why
/// no account gets a role.
pub fn translate(documents: &[Value]) -> Result<String, String> {
    let listed = documents.iter().flat_map(|document| {
        let list = document["associations"].as_array().map_or(&[][..], Vec::as_slice);
        list.iter().chain(document.get("association"))
    });
    let listed: Vec<&Value> = listed.collect();
    let with_role: BTreeSet<&str> =
        listed.iter().filter(|of| of["roleArn"].is_string()).filter_map(|of| of["associationId"].as_str()).collect();
    let mut text = Text::new("EKS Pod Identity", "eks-pod-identity");
    let (mut associations, mut problems) = (Associations::default(), Vec::new());
    let (mut clusters, mut seen, mut tags) = (BTreeSet::new(), BTreeSet::new(), false);
    for association in listed {
        let id = association["associationId"].as_str().unwrap_or_default();
        // Of a list, which has no roles, and described beside it; or the same one again.
        let is_repeated = if association["roleArn"].is_string() { !seen.insert(id) } else { with_role.contains(id) };
        if is_repeated && !id.is_empty() {
            continue;
        }
        match described(association, &mut problems) {
            Ok(Described { account, role, target, tags: own }) => {
                clusters.extend(cluster(association));
                tags |= own;
                let role = match target {
                    None => role,
                    Some(target) => Role { via: Some(associations.role(role)), ..target },
                };
                associations.add(account, role, own, None);
            }
            Err(error) => problems.push(format!("{id:?}: {error}")),
        }
    }
    // Some say where their cluster is, and some do not.
    let placed: BTreeSet<String> =
        clusters.iter().filter(|(_, arn)| !arn.is_empty()).map(|(name, _)| name.clone()).collect();
    clusters.retain(|(name, arn)| !arn.is_empty() || !placed.contains(name));
    if clusters.len() > 1 {
        let names: Vec<_> = clusters.iter().map(|(name, _)| format!("{name:?}")).collect();
        return Err(format!("associations of {}: one cluster at a time has its daemons", names.join(", ")));
    }
    if associations.is_empty() {
        problems.insert(0, "no association with a role".to_owned());
        return Err(problems.join("\n"));
    }
    for problem in &problems {
        text.note(problem);
    }
    text.note("On EKS the service pods.eks.amazonaws.com assumed the roles.");
    if let Some((name, arn)) = clusters.first().filter(|_| tags) {
        text.note(
            "Each pod has a session of its own, with the tags of EKS: trust policies have to allow sts:TagSession.",
        );
        let keys = [("cluster_name", name), ("cluster_arn", arn)].into_iter().filter(|(_, value)| !value.is_empty());
        associations.tagged(mapping(keys.map(|(key, value)| (key.to_owned(), quoted(value))).collect()));
    }
    associations.write(&mut text);
    Ok(text.into_string())
}

fn described(association: &Value, problems: &mut Vec<String>) -> Result<Described, String> {
    let field = |key: &str| association[key].as_str().filter(|text| !text.is_empty());
    let (namespace, name) = (field("namespace").unwrap_or_default(), field("serviceAccount").unwrap_or_default());
    let account = Account::new(namespace, name).ok_or("it has no `namespace` and `serviceAccount`.")?;
    let role = |key| field(key).map(str::parse::<RoleArn>).transpose().map_err(|error| format!("{account}: {error}."));
    let Some(arn) = role("roleArn")? else {
        return Err(format!(
            "{account}: a list has no roles. Append what `aws eks describe-pod-identity-association` prints."
        ));
    };
    let target = role("targetRoleArn")?;
    let (mut role, mut target) = (Role::new(&arn), target.as_ref().map(Role::new));
    let last = target.as_mut().unwrap_or(&mut role);
    last.policy = field("policy").map(str::to_owned);
    if let Some(target) = &mut target {
        target.external_id = field("externalId").map(str::to_owned);
        if let Some(id) = target.external_id.take_if(|id| !is_external_id(id)) {
            problems.push(format!("{account}: {id:?} is no external id."));
        }
        problems.push(format!(
            "{account}: the pod's tags are those of the session of {}; on EKS that of {arn} had them, and passed them on.",
            target.arn
        ));
    }
    let tags = association["disableSessionTags"] != true;
    Ok(Described { account, role, target, tags })
}

/// The name and the ARN of the cluster.
fn cluster(association: &Value) -> Option<(String, String)> {
    let is_of_name = |c: char| c.is_ascii_alphanumeric() || "-_".contains(c);
    let name = association["clusterName"].as_str().filter(|name| !name.is_empty() && name.chars().all(is_of_name))?;
    let own = association["associationArn"].as_str().and_then(|arn| Arn::parse(arn).ok());
    let arn = own
        .filter(|own| own.service == "eks")
        .map(|Arn { partition, region, account, .. }| format!("arn:{partition}:eks:{region}:{account}:cluster/{name}"));
    Some((name.to_owned(), arn.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn association(id: &str, account: &str, more: &Value) -> Value {
        let mut association = json!({
            "clusterName": "blue", "namespace": "prod", "serviceAccount": account, "associationId": id,
            "associationArn": format!("arn:aws:eks:eu-west-1:123456789012:podidentityassociation/blue/{id}"),
        });
        association.as_object_mut().expect("one").extend(more.as_object().expect("one").clone());
        association
    }

    #[test]
    fn each_association_is_kept_or_named() {
        let role = |name: &str| json!({"roleArn": format!("arn:aws:iam::123456789012:role/{name}")});
        let target = json!({
            "roleArn": "arn:aws:iam::123456789012:role/web", "disableSessionTags": true,
            "targetRoleArn": "arn:aws:iam::210987654321:role/far", "externalId": "eu-west-1/123456789012/blue/prod/far",
        });
        let list = json!({"associations": [
            association("a-1", "web", &json!({})), association("a-2", "far", &json!({})), association("a-3", "db", &json!({})),
        ]});
        let documents = [
            list.clone(),
            json!({"association": association("a-1", "web", &role("web"))}),
            json!({"association": association("a-1", "web", &role("web"))}),
            json!({"association": association("a-2", "far", &target)}),
            json!({"association": association("a-4", "bad", &role("*"))}),
        ];
        let text = translate(&documents).expect("roles");
        for part in [
            "\"web\": {source: \"node\", role_arn: \"arn:aws:iam::123456789012:role/web\"}",
            "\"far\": {source: \"web\", role_arn: \"arn:aws:iam::210987654321:role/far\", external_id: \"eu-west-1/1",
            "service_account: \"web\", role: \"web\"}",
            "service_account: \"far\", role: \"far\", session_tags: false}",
            "session_tags: {cluster_name: \"blue\", cluster_arn: \"arn:aws:eks:eu-west-1:123456789012:cluster/blue\"}",
            "# ! \"a-3\": prod/db: a list has no roles",
            "# ! \"a-4\": prod/bad: ",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert_eq!(text.matches("service_account: \"web\"").count(), 1, "{text}");
        let said = translate(&[list]).expect_err("no role");
        assert!(said.contains("no association with a role") && said.contains("prod/db: a list"), "{said}");
        let other = json!({"roleArn": "arn:aws:iam::123456789012:role/web", "clusterName": "green"});
        let both = [&role("web"), &other].map(|more| json!({"association": association("", "web", more)}));
        assert!(translate(&both).expect_err("two clusters").contains("\"blue\", \"green\""));
    }
}
