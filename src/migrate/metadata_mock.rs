//! The configuration file of amazon-ec2-metadata-mock, `aemm-config.json`.
//! <https://github.com/aws/amazon-ec2-metadata-mock/blob/main/docs/configuration.md>

use alppaca_settings::render::quoted;
use serde_json::{Map, Value};

use super::text::Text;

/// The only network interface that it has.
const MAC: &str = "0e:49:61:0f:c3:11";

/// Its values whose path is not their name; `pkg/config/defaults/aemm-metadata-default-values.json`.
const PATHS: [(&str, &str); 10] = [
    ("block-device-mapping-ebs", "block-device-mapping/ebs0"),
    ("block-device-mapping-ephemeral", "block-device-mapping/ephemeral0"),
    ("mac-ipv4-associations", "network/interfaces/macs/MAC/ipv4-associations/192.0.2.54"),
    ("mac-ipv6-associations", "network/interfaces/macs/MAC/ipv6s"),
    ("mac-network-interface-card-index", "network/interfaces/macs/MAC/network-card-index"),
    ("mac-network-interface-id", "network/interfaces/macs/MAC/interface-id"),
    ("tags-instance-name", "tags/instance/Name"),
    ("tags-instance-test", "tags/instance/Test"),
    ("target-lifecycle-state", "autoscaling/target-lifecycle-state"),
    ("tags-instance", "tags/instance"),
];

/// Prefixes of names, and the directories for which they stand.
const DIRECTORIES: [(&str, &str); 4] = [
    ("block-device-mapping-", "block-device-mapping/"),
    ("mac-", "network/interfaces/macs/MAC/"),
    ("placement-", "placement/"),
    ("services-", "services/"),
];

/// Our configuration from its own, with a comment at all that changes or cannot be kept. It shows no credentials.
pub fn translate(json: &Value) -> String {
    let mut text = Text::new("amazon-ec2-metadata-mock", "ec2-metadata-mock");
    let empty = Map::new();
    let section = |name: &str, part: &str| json[name][part].as_object().unwrap_or(&empty);
    let values = section("metadata", "values");
    let server = &json["server"];
    let port = server["port"].as_u64().unwrap_or(1338);
    if server["hostname"].as_str().unwrap_or("0.0.0.0") == "0.0.0.0" {
        text.note(
            "It listened on all addresses; the daemon listens on this host only. For containers: `alppaca capture`.",
        );
    }
    text.line(&format!("listen: [{}]", quoted(&format!("127.0.0.1:{port}"))));
    if json["imdsv2"] == true {
        text.line("imds_v1: false");
    }
    upstream(&mut text, values);
    text.line("metadata:");
    text.line("  defaults: ec2");
    tree(&mut text, "meta-data", values, |name| path(name, section("metadata", "paths")));
    tree(&mut text, "dynamic", section("dynamic", "values"), |name| match name {
        "instance-identity-document" => Some("instance-identity/document".to_owned()),
        "fws-instance-monitoring" => Some("fws/instance-monitoring".to_owned()),
        // Signatures of made-up documents.
        _ => None,
    });
    // It decodes base64 when it serves them.
    if let Some(data) = section("userdata", "values").get("userdata").and_then(Value::as_str) {
        text.line(&format!("  user-data: !!binary {}", quoted(data)));
    }
    for (key, value) in json.as_object().into_iter().flatten() {
        if !matches!(&**key, "server" | "metadata" | "dynamic" | "userdata" | "imdsv2") && !value.is_null() {
            text.note(&format!(
                "{key:?} has no counterpart: alppaca serves what is there, and simulates no events or delays."
            ));
        }
    }
    text.into_string()
}

/// Its credentials are a text that never changes; ours are those of an upstream.
fn upstream(text: &mut Text, values: &Map<String, Value>) {
    let role = values.get("iam-security-credentials-role").and_then(Value::as_str).unwrap_or("baskinc-role");
    text.note("Credentials are no fixed text, but those of an upstream. For tests, an IMS that makes some up:");
    text.note(&format!("alppaca mock-ims --role {}", quoted(role)));
    text.line("ims_host: localhost");
    text.line("ims_port: 8080");
    text.line("ims_protocol: http");
}

/// Where a value is below `meta-data`; `None` for those that are not set.
fn path(name: &str, paths: &Map<String, Value>) -> Option<String> {
    if ["elastic-inference-", "event", "iam-", "spot", "rebalance-"].iter().any(|prefix| name.starts_with(prefix)) {
        return None;
    }
    if let Some(own) = paths.get(name).and_then(Value::as_str) {
        return own.strip_prefix("/latest/meta-data/").map(str::to_owned);
    }
    let known = PATHS.iter().find(|(known, _)| *known == name).map(|(_, path)| (*path).to_owned());
    let placed = || {
        let (prefix, directory) = DIRECTORIES.iter().find(|(prefix, _)| name.starts_with(prefix))?;
        Some(format!("{directory}{}", &name[prefix.len()..]))
    };
    match name {
        "public-key" => Some("public-keys/0=key/openssh-key".to_owned()),
        _ => Some(known.or_else(placed).unwrap_or_else(|| name.to_owned()).replace("MAC", MAC)),
    }
}

/// One of our trees, as JSON, which is YAML, too.
fn tree(text: &mut Text, name: &str, values: &Map<String, Value>, path: impl Fn(&str) -> Option<String>) {
    let mut root = Map::new();
    let mut left_out = Vec::new();
    for (name, value) in values {
        match path(name) {
            Some(path) => insert(&mut root, &path, leaf(name, value)),
            None => left_out.push(name.as_str()),
        }
    }
    if !left_out.is_empty() {
        text.note(&format!("Not kept: {}. Roles make `iam`; alppaca simulates no events.", left_out.join(", ")));
    }
    if !root.is_empty() {
        text.line(&format!("  {name}: {}", Value::Object(root)));
    }
}

/// A file of metadata is a text.
fn leaf(name: &str, value: &Value) -> Value {
    match value {
        Value::String(_) => value.clone(),
        Value::Object(tags) if name == "tags-instance" => {
            tags.iter().map(|(name, value)| (name.clone(), leaf("", value))).collect::<Map<_, _>>().into()
        }
        other => other.to_string().into(),
    }
}

fn insert(directory: &mut Map<String, Value>, path: &str, value: Value) {
    match path.split_once('/') {
        None => match (directory.get_mut(path), value) {
            (Some(Value::Object(there)), Value::Object(more)) => there.extend(more),
            (_, value) => drop(directory.insert(path.to_owned(), value)),
        },
        Some((name, rest)) => {
            let entry = directory.entry(name).or_insert_with(|| Map::new().into());
            // A file is in the way if somebody gave both a file and a directory one name.
            if !entry.is_object() {
                *entry = Map::new().into();
            }
            if let Value::Object(inner) = entry {
                insert(inner, rest, value);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn every_value_is_at_its_path_or_named() {
        let text = translate(&json!({
            "server": {"port": 1400, "hostname": "localhost"}, "imdsv2": true, "mock-delay-sec": 3,
            "metadata": {
                "paths": {"local-ipv4": "/latest/meta-data/odd/place"},
                "values": {
                    "ami-id": "ami-1", "mac-vpc-id": "vpc-1", "local-ipv4": "10.0.0.1", "ami-launch-index": 0,
                    "placement-region": "eu-west-1", "tags-instance": {"Name": "x", "env": "y"}, "tags-instance-name": "z",
                    "iam-security-credentials": {"SecretAccessKey": "hush"}, "spot-termination-time": "2020",
                    "iam-security-credentials-role": "web"
                }
            },
            "dynamic": {"values": {"instance-identity-document": {"region": "eu-west-1"}, "instance-identity-pkcs": "x"}},
            "userdata": {"values": {"userdata": "MTIz"}}
        }));
        for part in [
            "listen: [\"127.0.0.1:1400\"]",
            "imds_v1: false",
            "--role \"web\"",
            r#""ami-id":"ami-1""#,
            r#""ami-launch-index":"0""#,
            r#""macs":{"0e:49:61:0f:c3:11":{"vpc-id":"vpc-1"}}"#,
            r#""odd":{"place":"10.0.0.1"}"#,
            r#""placement":{"region":"eu-west-1"}"#,
            r#""env":"y""#,
            r#""document":"{\"region\":\"eu-west-1\"}""#,
            "user-data: !!binary \"MTIz\"",
            "Not kept: iam-security-credentials, iam-security-credentials-role, spot-termination-time",
            "\"mock-delay-sec\" has no counterpart",
        ] {
            assert!(text.contains(part), "{part}: {text}");
        }
        assert!(!text.contains("hush"), "{text}");
    }
}
