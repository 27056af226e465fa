//! What stands in the way, as far as variables and files tell. Pure: each rule is a fact about the SDKs.

use super::finding::Finding;
use crate::{
    cli::sdk::{PROXY_VARIABLES, ProfileFiles, Variables},
    faces::ecs::loggable,
};

/// EC2's addresses of IMDS.
const IMDS: &str = "http://169.254.169.254";
const IMDS_V6: &str = "http://[fd00:ec2::254]";
/// Where ECS's agent is.
const ECS: &str = "http://169.254.170.2";

/// Where an SDK would ask in the end.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Endpoint {
    /// IMDS, at this base URL.
    Imds(String),
    /// The container protocol, at this URL.
    Container(String),
}

/// What goes before any endpoint, then which endpoint it is, and what keeps an SDK from it.
pub(super) fn judge(variables: &Variables, files: &ProfileFiles) -> (Vec<Finding>, Option<Endpoint>) {
    let mut findings = Vec::new();
    keys(variables, &mut findings);
    web_identity(variables, &mut findings);
    profile(variables, files, &mut findings);
    let endpoint = container(variables, &mut findings).or_else(|| imds(variables, &mut findings));
    if let Some(Endpoint::Imds(url) | Endpoint::Container(url)) = &endpoint {
        proxy(variables, url, &mut findings);
    }
    (findings, endpoint)
}

/// Variables with keys go before everything: botocore `EnvProvider`, aws-config `environment`, and all others.
fn keys(variables: &Variables, findings: &mut Vec<Finding>) {
    match (variables.get("AWS_ACCESS_KEY_ID"), variables.get("AWS_SECRET_ACCESS_KEY")) {
        (Some(key), Some(_)) => findings.push(Finding::problem(
            "keys",
            format!("AWS_ACCESS_KEY_ID holds a key ({key}), which every SDK uses before any endpoint"),
            "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN",
        )),
        (Some(_), None) | (None, Some(_)) => findings.push(Finding::problem(
            "keys",
            "only one of AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY is set, which makes some SDKs stop with an error",
            "unset AWS_ACCESS_KEY_ID AWS_SECRET_ACCESS_KEY AWS_SESSION_TOKEN",
        )),
        (None, None) => {}
    }
}

fn web_identity(variables: &Variables, findings: &mut Vec<Finding>) {
    if let Some(file) = variables.get("AWS_WEB_IDENTITY_TOKEN_FILE").filter(|_| variables.get("AWS_ROLE_ARN").is_some())
    {
        findings.push(Finding::problem(
            "web_identity",
            format!("AWS_WEB_IDENTITY_TOKEN_FILE ({file}) takes precedence over any endpoint"),
            "unset AWS_WEB_IDENTITY_TOKEN_FILE AWS_ROLE_ARN",
        ));
    }
}

fn profile(variables: &Variables, files: &ProfileFiles, findings: &mut Vec<Finding>) {
    let chosen = variables.first(&["AWS_PROFILE", "AWS_DEFAULT_PROFILE"]);
    let (variable, name) = chosen.unwrap_or(("", "default"));
    if chosen.is_some() && name != "default" && !files.has(name) {
        findings.push(Finding::problem(
            "profile",
            format!(
                "{variable} names the profile {name}, which is neither in {} nor in {}: SDKs stop with an error",
                files.config.path.display(),
                files.credentials.path.display()
            ),
            format!("unset {variable}"),
        ));
        return;
    }
    let Some(shadow) = files.shadow(name) else { return };
    let place = shadow.file.display();
    if shadow.setting == "credential_process" && shadow.value.contains("alppaca") {
        findings.push(Finding::good(
            "profile",
            format!("the profile {name} gets credentials from the daemon by credential_process ({place})"),
        ));
        return;
    }
    let source = files.setting(name, "credential_source").filter(|_| shadow.setting == "role_arn");
    if let Some(source) = source.filter(|source| *source != "Environment") {
        findings.push(Finding::note(
            "profile",
            format!("the profile {name} assumes another role with the endpoint's credentials ({source}; {place})"),
            "",
        ));
        return;
    }
    findings.push(Finding::problem(
        "profile",
        format!(
            "the profile {name} has credentials of its own ({} in {place}), which take precedence over any endpoint",
            shadow.setting
        ),
        if chosen.is_some() {
            format!("unset {variable}")
        } else {
            "remove it from the file, or start the program with `alppaca exec`, which hides it".to_owned()
        },
    ));
}

/// The container endpoint goes before IMDS; the relative URI goes before the full one (botocore `ContainerProvider`).
fn container(variables: &Variables, findings: &mut Vec<Finding>) -> Option<Endpoint> {
    let relative = variables.get("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI");
    let full = variables.get("AWS_CONTAINER_CREDENTIALS_FULL_URI");
    let url = match (relative, full) {
        (Some(path), Some(_)) => {
            findings.push(Finding::note(
                "container",
                "both AWS_CONTAINER_CREDENTIALS_RELATIVE_URI and …_FULL_URI are set; most SDKs take the first",
                "unset AWS_CONTAINER_CREDENTIALS_RELATIVE_URI",
            ));
            format!("{ECS}{path}")
        }
        (Some(path), None) => format!("{ECS}{path}"),
        (None, Some(url)) => url.to_owned(),
        (None, None) => return None,
    };
    let Some((scheme, host)) = parts(&url) else {
        findings.push(Finding::problem(
            "container",
            format!("{:?} in AWS_CONTAINER_CREDENTIALS_FULL_URI is no URL", shown(&url)),
            "unset AWS_CONTAINER_CREDENTIALS_FULL_URI, or start the program with `alppaca exec`",
        ));
        return None;
    };
    if scheme == "http" && !is_allowed(&host) {
        findings.push(Finding::problem(
            "container",
            format!("the SDKs refuse http to {host}: only loopback and the addresses of ECS and EKS are allowed"),
            "use a loopback address in the daemon's `container: {listen: …}`",
        ));
    }
    let file = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    if let Some(error) = file.and_then(|file| std::fs::read(file).err().map(|error| format!("{file}: {error}"))) {
        findings.push(Finding::problem(
            "container",
            format!("the token cannot be read ({error})"),
            "set AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE to a file that you can read",
        ));
    }
    let token = variables.get("AWS_CONTAINER_AUTHORIZATION_TOKEN");
    if token.is_some_and(|token| token.contains(['\r', '\n'])) {
        findings.push(Finding::problem(
            "container",
            "AWS_CONTAINER_AUTHORIZATION_TOKEN has a line break, which the SDKs refuse",
            "remove it",
        ));
    }
    Some(Endpoint::Container(url))
}

fn imds(variables: &Variables, findings: &mut Vec<Finding>) -> Option<Endpoint> {
    if variables.flag("AWS_EC2_METADATA_DISABLED") {
        findings.push(Finding::problem(
            "disabled",
            "AWS_EC2_METADATA_DISABLED is true: SDKs do not use IMDS at all",
            "unset AWS_EC2_METADATA_DISABLED",
        ));
    } else if let Some(value) = variables.get("AWS_EC2_METADATA_DISABLED").filter(|value| *value != "false") {
        findings.push(Finding::note(
            "disabled",
            format!("AWS_EC2_METADATA_DISABLED={value} keeps only the SDK for JavaScript from using IMDS"),
            "unset AWS_EC2_METADATA_DISABLED",
        ));
    }
    if variables.flag("AWS_EC2_METADATA_V1_DISABLED") {
        findings.push(Finding::note("v1", "AWS_EC2_METADATA_V1_DISABLED is true: only IMDSv2 is used", ""));
    }
    let mode = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE");
    let default = match mode {
        None => IMDS,
        Some(mode) if mode.eq_ignore_ascii_case("ipv4") => IMDS,
        Some(mode) if mode.eq_ignore_ascii_case("ipv6") => IMDS_V6,
        Some(mode) => {
            findings.push(Finding::problem(
                "endpoint",
                format!(
                    "AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE={mode} is neither IPv4 nor IPv6: SDKs stop with an error"
                ),
                "unset AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE",
            ));
            IMDS
        }
    };
    let url = variables.get("AWS_EC2_METADATA_SERVICE_ENDPOINT").unwrap_or(default).trim_end_matches('/');
    match parts(url) {
        Some(("http", _)) => Some(Endpoint::Imds(url.to_owned())),
        Some(_) => {
            findings.push(Finding::problem(
                "endpoint",
                format!("AWS_EC2_METADATA_SERVICE_ENDPOINT={} is not http, which the daemon speaks", shown(url)),
                "write http:// there, or unset it",
            ));
            None
        }
        None => {
            findings.push(Finding::problem(
                "endpoint",
                format!("AWS_EC2_METADATA_SERVICE_ENDPOINT={} is no URL such as http://127.0.0.1:25772", shown(url)),
                "unset AWS_EC2_METADATA_SERVICE_ENDPOINT",
            ));
            None
        }
    }
}

/// botocore (`get_environ_proxies`), requests-based tools and curl send requests to IMDS to a proxy, too.
fn proxy(variables: &Variables, url: &str, findings: &mut Vec<Finding>) {
    let Some((_, host)) = parts(url) else { return };
    if let Some((variable, proxy)) = variables.first(&PROXY_VARIABLES).filter(|_| !variables.avoids_proxy(&host)) {
        // It may hold a password.
        let proxy = proxy.rsplit('@').next().unwrap_or_default();
        findings.push(Finding::problem(
            "proxy",
            format!("{variable} sends requests for {host} to the proxy {proxy}, which cannot answer them"),
            format!("export NO_PROXY={host} no_proxy={host} (add it to your existing list)"),
        ));
    }
}

/// Scheme and host, without brackets.
pub(super) fn parts(url: &str) -> Option<(&'static str, String)> {
    let url: http::Uri = url.parse().ok()?;
    let scheme = match url.scheme_str()? {
        "http" => "http",
        "https" => "https",
        _ => return None,
    };
    let host = url.host().filter(|host| !host.is_empty())?;
    Some((scheme, host.trim_start_matches('[').trim_end_matches(']').to_owned()))
}

/// A URL as it may be shown: without a user and a password, and without the id of a container, which is as secret as a token.
pub(super) fn shown(url: &str) -> String {
    // What is not understood may have a secret anywhere.
    if parts(url).is_none() && (url.contains(['@', '%']) || url.contains("redentials")) {
        return "***".to_owned();
    }
    let (scheme, rest) = url.split_at(url.find("://").map_or(0, |end| end + "://".len()));
    let (authority, target) = rest.split_at(rest.find(['/', '?', '#']).unwrap_or(rest.len()));
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}{host}{}", loggable(target))
}

/// <https://docs.aws.amazon.com/sdkref/latest/guide/feature-container-credentials.html>
fn is_allowed(host: &str) -> bool {
    let agents = ["localhost", "169.254.170.2", "169.254.170.23", "fd00:ec2::23"];
    agents.contains(&host) || host.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What is found with these variables, and these texts of `~/.aws/config` and `~/.aws/credentials`.
    fn found(pairs: &[(&str, &str)], config: &str, credentials: &str) -> (Vec<Finding>, Option<Endpoint>) {
        let home = tempfile::tempdir().expect("a directory");
        std::fs::create_dir(home.path().join(".aws")).expect("ours");
        std::fs::write(home.path().join(".aws/config"), config).expect("ours");
        std::fs::write(home.path().join(".aws/credentials"), credentials).expect("ours");
        let own = [("HOME", home.path().to_str().expect("UTF-8"))];
        let all = pairs.iter().chain(&own).map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        let variables = Variables(all.collect());
        judge(&variables, &ProfileFiles::read(&variables))
    }

    #[test]
    fn nothing_in_the_way_is_no_finding() {
        let imds = Some(Endpoint::Imds(IMDS.into()));
        assert_eq!(found(&[], "", ""), (vec![], imds.clone()));
        assert_eq!(
            found(&[("AWS_ACCESS_KEY_ID", ""), ("AWS_PROFILE", "")], "[default]\nregion = x\n", ""),
            (vec![], imds)
        );
    }

    #[test]
    fn each_rule_has_its_finding_and_its_remedy() {
        let static_default = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = x\n";
        for (pairs, config, credentials, rule, problem, part) in [
            (&[("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s3cret")][..], "", "", "keys", true, "(AKIA)"),
            (&[("AWS_ACCESS_KEY_ID", "AKIA")], "", "", "keys", true, "only one of"),
            (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "a")], "", "", "web_identity", true, "(/t)"),
            (&[], "", static_default, "profile", true, "aws_access_key_id in "),
            (&[], "[default]\nsso_session = s\n", "", "profile", true, "sso_session in "),
            (&[("AWS_PROFILE", "gone")], "", "", "profile", true, "neither in "),
            (
                &[("AWS_PROFILE", "p")],
                "[profile p]\nrole_arn = a\nsource_profile = q\n",
                "",
                "profile",
                true,
                "role_arn in ",
            ),
            (
                &[("AWS_PROFILE", "p")],
                "[profile p]\nrole_arn = a\ncredential_source = Ec2InstanceMetadata\n",
                "",
                "profile",
                false,
                "assumes another role",
            ),
            (
                &[],
                "[default]\ncredential_process = /usr/bin/alppaca credentials\n",
                "",
                "profile",
                false,
                "from the daemon by credential_process",
            ),
            (&[("AWS_EC2_METADATA_DISABLED", "TRUE")], "", "", "disabled", true, "do not use IMDS"),
            (&[("AWS_EC2_METADATA_DISABLED", "1")], "", "", "disabled", false, "JavaScript"),
            (&[("AWS_EC2_METADATA_V1_DISABLED", "true")], "", "", "v1", false, "only IMDSv2"),
            (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "ipv5")], "", "", "endpoint", true, "neither IPv4 nor IPv6"),
            (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "127.0.0.1")], "", "", "endpoint", true, "is no URL"),
            (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "https://x")], "", "", "endpoint", true, "is not http"),
            (&[("http_proxy", "http://u:s3cret@p:3128")], "", "", "proxy", true, "to the proxy p:3128"),
            (&[("ALL_PROXY", "p"), ("NO_PROXY", "x")], "", "", "proxy", true, "ALL_PROXY sends"),
            (
                &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://10.0.0.1/")],
                "",
                "",
                "container",
                true,
                "refuse http to 10.0.0.1",
            ),
            (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "x")], "", "", "container", true, "\"x\" in AWS_CON"),
            (
                &[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http:/127.0.0.1/v2/credentials/s3cret")],
                "",
                "",
                "container",
                true,
                "is no URL",
            ),
            (
                &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "https://u:s3cret@x")],
                "",
                "",
                "endpoint",
                true,
                "=https://x is not http",
            ),
            (
                &[
                    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://localhost/"),
                    ("AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE", "/no/such"),
                ],
                "",
                "",
                "container",
                true,
                "/no/such: No such file",
            ),
            (
                &[
                    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://[::1]/"),
                    ("AWS_CONTAINER_AUTHORIZATION_TOKEN", "a\nb"),
                ],
                "",
                "",
                "container",
                true,
                "line break",
            ),
        ] {
            let (findings, _) = found(pairs, config, credentials);
            let [finding] = findings.as_slice() else { panic!("{pairs:?} {config}: {findings:?}") };
            assert_eq!((finding.rule, finding.is_problem()), (rule, problem), "{pairs:?}: {finding:?}");
            assert!(finding.message.contains(part), "{pairs:?}: {finding:?}");
            assert!(!problem || !finding.remedy.is_empty(), "{finding:?}");
            assert!(!format!("{finding:?}").contains("s3cret"), "{finding:?}");
        }
    }

    #[test]
    fn a_url_is_shown_without_what_is_secret_in_it() {
        for (url, expected) in [
            ("http://169.254.170.2/v2/credentials/s3cret", "http://169.254.170.2/v2/credentials/***"),
            ("https://u:s3cret@[::1]:1//v2/%63redentials/s3cret", "https://[::1]:1/v2/credentials/***"),
            ("http://127.0.0.1:1/v1/credentials?id=s3cret", "http://127.0.0.1:1/v2/credentials/***"),
            ("http://169.254.170.23/v1/credentials", "http://169.254.170.23/v1/credentials"),
            ("http://u:s3cret@127.0.0.1:1/role/web", "http://127.0.0.1:1/role/web"),
            ("http://u:s3cret@localhost", "http://localhost"),
            ("http:/u:s3cret@localhost/", "***"),
            ("169.254.170.2/v2/credentials/s3cret", "***"),
            ("/v2/%63redentials/s3cret", "***"),
            ("x", "x"),
            ("", ""),
        ] {
            assert_eq!(shown(url), expected, "{url}");
        }
    }

    #[test]
    fn the_endpoint_is_the_one_that_an_sdk_would_ask() {
        for (pairs, endpoint) in [
            (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "IPv6")][..], Endpoint::Imds(IMDS_V6.into())),
            (
                &[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "http://127.0.0.1:25772/")],
                Endpoint::Imds("http://127.0.0.1:25772".into()),
            ),
            (
                &[("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "/v2/credentials/x")],
                Endpoint::Container(format!("{ECS}/v2/credentials/x")),
            ),
            (
                &[
                    ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "http://127.0.0.1:1/x"),
                    ("http_proxy", "p"),
                    ("no_proxy", "*"),
                ],
                Endpoint::Container("http://127.0.0.1:1/x".into()),
            ),
        ] {
            assert_eq!(found(pairs, "", ""), (vec![], Some(endpoint)), "{pairs:?}");
        }
    }
}
