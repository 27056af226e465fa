//! Which page of the console is opened (pure).

/// Short names, and names of services whose pages have another.
const PAGES: [(&str, &str); 14] = [
    ("cfn", "cloudformation"),
    ("cw", "cloudwatch"),
    ("ddb", "dynamodbv2"),
    ("dynamodb", "dynamodbv2"),
    ("elb", "ec2"),
    ("r53", "route53/v2"),
    ("route53", "route53/v2"),
    ("sfn", "states"),
    ("sm", "secretsmanager"),
    ("ssm", "systems-manager"),
    ("sso", "singlesignon"),
    ("stepfunctions", "states"),
    ("vpc", "vpcconsole"),
    ("apigw", "apigateway"),
];

/// A service as the command line has it.
pub(super) fn service(text: &str) -> Result<String, String> {
    let word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if !text.is_empty() && text.chars().all(word) {
        Ok(text.to_owned())
    } else {
        Err("the name of a service in the console's URLs is expected, such as ec2 or s3".to_owned())
    }
}

/// A region as the command line has it: it becomes a part of a host name.
pub(super) fn region(text: &str) -> Result<String, String> {
    service(text).map_err(|_| "the name of a region is expected, such as eu-central-1".to_owned())
}

/// The page of a service, or the first of all.
pub(super) fn page(console: &str, service: Option<&str>, region: Option<&str>) -> String {
    let region = region.map(|region| format!("?region={region}")).unwrap_or_default();
    let (path, fragment) = match service {
        None => return format!("https://{console}/console/home{region}"),
        Some("logs") => ("cloudwatch", "#logsV2:log-groups"),
        Some(name) => (PAGES.iter().find(|(short, _)| *short == name).map_or(name, |(_, path)| path), ""),
    };
    format!("https://{console}/{path}/home{region}{fragment}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_service_has_its_page() {
        for (service, region, expected) in [
            (None, None, "https://c/console/home"),
            (None, Some("eu-west-1"), "https://c/console/home?region=eu-west-1"),
            (Some("ec2"), None, "https://c/ec2/home"),
            (Some("ddb"), Some("eu-west-1"), "https://c/dynamodbv2/home?region=eu-west-1"),
            (Some("logs"), Some("eu-west-1"), "https://c/cloudwatch/home?region=eu-west-1#logsV2:log-groups"),
        ] {
            assert_eq!(page("c", service, region), expected);
        }
    }

    #[test]
    fn nothing_on_the_command_line_leads_elsewhere() {
        for text in ["", "a/b", "evil.example/", "EC2", "a?b", "a#b", "a b", "..", "é"] {
            assert!(service(text).is_err() && region(text).is_err(), "{text}");
        }
    }
}
