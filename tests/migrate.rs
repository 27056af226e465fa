//! The translation of another tool's settings, as a person does it.

use std::{
    fs,
    process::{Command, Stdio},
};

use tempfile::TempDir;

const ALPPACA: &str = env!("CARGO_BIN_EXE_alppaca");

/// Translates the file, and has the result checked; what `check` printed.
fn migrated(settings: &str) -> String {
    let directory = TempDir::new().expect("a directory");
    let (old, new) = (directory.path().join("old.env"), directory.path().join("alppaca.yaml"));
    fs::write(&old, settings).expect("a file");
    let output = Command::new(ALPPACA).args(["migrate", "metadataproxy"]).arg(&old).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    fs::write(&new, &output.stdout).expect("a file");
    let check = Command::new(ALPPACA).args(["check", "-c"]).arg(&new).output().expect("it runs");
    let [text, said] = [output.stdout, check.stderr].map(|text| String::from_utf8(text).expect("text"));
    assert!(check.status.success(), "{said}\n{text}");
    String::from_utf8(check.stdout).expect("text")
}

#[test]
fn what_metadataproxy_was_told_becomes_a_configuration_that_is_valid() {
    let nothing = migrated("");
    assert!(nothing.contains("kind: imds") && nothing.contains("session_name: \"devproxyauth\""), "{nothing}");
    let all = migrated(
        "DEFAULT_ROLE=web\nDEFAULT_ACCOUNT_ID=111111111111\nAWS_ACCOUNT_MAP={\"prod\":\"222222222222\"}\n\
         ROLE_SESSION_KEY=Env:USER_NAME\nDEBUG=True\nDOCKER_URL=unix://var/run/docker.sock\n\
         METADATA_URL=http://169.254.169.254\nAWS_REGION=us-east-1\nROLE_EXPIRATION_THRESHOLD=15\n\
         ROLE_MAPPING_FILE=/etc/roles.json\nROLE_REVERSE_LOOKUP=1\nHOSTNAME_MATCH_REGEX=^([a-z0-9-]+)\\..*$\n\
         MESOS_STATE_LOOKUP=true\nPATCH_ECS_ALLOWED_HOSTS=x\nHOST=0.0.0.0\nPORT=8000\nAWS_PROFILE=proxy\n",
    );
    for part in [
        "default_role: \"web\"",
        "accounts: {\"prod\": \"222222222222\"}",
        "session_name_from: \"Env:USER_NAME\"",
        "sockets: [\"/var/run/docker.sock\"]",
        "mapping_file: \"/etc/roles.json\"",
        "host_name_pattern: \"^([a-z0-9-]+)\\\\..*$\"",
        "aws_region: \"us-east-1\"",
        "passthrough: \"http://169.254.169.254\"",
        "log_level: debug",
        "profile: \"proxy\"",
    ] {
        assert!(all.contains(part), "{part}\n{all}");
    }
    migrated("MOCK_API=true\nMOCKED_INSTANCE_ID=1234\nAWS_ACCESS_KEY_ID=x\nAWS_SECRET_ACCESS_KEY=y\n");
    // Whatever stands in a value stays in its place.
    migrated(
        "DEFAULT_ROLE=x: y\nDOCKER_URL=a\"b\nAWS_ACCOUNT_MAP=[1]\nROLE_SESSION_KEY=k'}\nROLE_MAPPING_FILE=a: #b\n",
    );
}

#[test]
fn without_a_file_the_environment_is_translated() {
    let output = Command::new(ALPPACA)
        .args(["migrate", "metadataproxy"])
        .env_clear()
        .env("DEFAULT_ACCOUNT_ID", "111111111111")
        .output()
        .expect("it runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.status.success() && text.contains("  default_account: \"111111111111\"\n"), "{text}");
}

#[test]
fn a_file_that_is_none_is_told_with_its_line() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("old.env");
    fs::write(&file, "A=1\nSECRET hush\n").expect("a file");
    let output = Command::new(ALPPACA).args(["migrate", "metadataproxy"]).arg(&file).output().expect("it runs");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(output.status.code() == Some(2) && said.contains("line 2: ") && !said.contains("hush"), "{said}");
}

/// Has the output of the command checked, which has to succeed; what it wrote.
fn checked(arguments: &[&str]) -> String {
    checked_with(Stdio::null(), arguments)
}

fn checked_with(input: Stdio, arguments: &[&str]) -> String {
    let directory = TempDir::new().expect("a directory");
    let new = directory.path().join("alppaca.yaml");
    let output = Command::new(ALPPACA).arg("migrate").args(arguments).stdin(input).output().expect("it runs");
    assert!(output.status.success(), "{output:?}");
    fs::write(&new, &output.stdout).expect("a file");
    let check = Command::new(ALPPACA).args(["check", "-c"]).arg(&new).output().expect("it runs");
    let [text, said] = [output.stdout, check.stderr].map(|text| String::from_utf8(text).expect("text"));
    assert!(check.status.success(), "{said}\n{text}");
    text
}

#[test]
fn the_settings_of_hologram_agent_become_a_configuration_that_is_valid() {
    let directory = TempDir::new().expect("a directory");
    let old = directory.path().join("agent.json");
    for settings in [
        r#"{"host": "hologram.example.com:3100", "extraAllowedIps": ["10.0.0.0/8"], "more": 1}"#,
        r#"{"Host": "", "accountAliases": {"prod": "arn:aws:iam::123456789012"}}"#,
        "{}",
    ] {
        fs::write(&old, settings).expect("a file");
        checked(&["hologram", old.to_str().expect("UTF-8")]);
    }
    fs::write(&old, "{").expect("a file");
    let output = Command::new(ALPPACA).args(["migrate", "hologram"]).arg(&old).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("agent.json: EOF") && said.contains("line 1"), "{said}");
}

#[test]
fn the_command_line_of_the_signing_helper_becomes_a_configuration_that_is_valid() {
    let text = checked(&[
        "signing-helper",
        "serve",
        "--certificate",
        "pkcs11:token=hosts;object=web",
        "--private-key",
        "pkcs11:token=hosts;object=web",
        "--pkcs11-lib=/usr/lib/softhsm/libsofthsm2.so",
        "--trust-anchor-arn",
        "arn:aws:rolesanywhere:eu-central-1:123456789012:trust-anchor/00000000-0000-0000-0000-000000000000",
        "--profile-arn",
        "arn:aws:rolesanywhere:eu-central-1:123456789012:profile/00000000-0000-0000-0000-000000000000",
        "--role-arn",
        "arn:aws:iam::123456789012:role/team/web",
        "--session-duration",
        "900",
        "--debug",
    ]);
    assert!(text.contains("listen: [\"127.0.0.1:9911\"]") && text.contains("duration: \"900s\""), "{text}");
}

#[test]
fn the_settings_of_ec2_metadata_mock_become_a_configuration_that_is_valid() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("aemm-config.json");
    for settings in [
        "{}",
        r#"{"server": {"port": "1338"}, "imdsv2": true, "metadata": {"values": {
            "placement-region": "eu-west-1", "placement-availability-zone": "eu-west-1b", "public-key": "ssh-ed25519 AAAA x",
            "mac-device-number": "1", "tags-instance": {"Name": "n"}, "tags-instance-name": "m", "services-domain": "amazonaws.com"
        }}, "userdata": {"values": {"userdata": "MTIzCg=="}}, "spot": {"instance-action": "stop"}}"#,
    ] {
        fs::write(&file, settings).expect("a file");
        checked(&["ec2-metadata-mock", file.to_str().expect("UTF-8")]);
    }
}

/// What `kubectl get pods,cronjobs,namespaces -A -o json` prints, cut down to what is read.
const CLUSTER: &str = r#"{"apiVersion": "v1", "kind": "List", "metadata": {"resourceVersion": ""}, "items": [
    {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "prod", "annotations": {
        "iam.amazonaws.com/allowed-roles": "[\"web*\", \"db\"]", "iam.amazonaws.com/permitted": ".*role/(web|db).*"}}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "web-1", "namespace": "prod", "annotations": {
        "iam.amazonaws.com/role": "web", "iam.amazonaws.com/session-name": "web 1"}},
     "spec": {"serviceAccountName": "web"}, "status": {"phase": "Running"}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "stray", "namespace": "prod", "annotations": {
        "iam.amazonaws.com/role": "db", "iam.amazonaws.com/external-id": "x: y"}},
     "spec": {"serviceAccountName": "default"}, "status": {"phase": "Running"}},
    {"apiVersion": "batch/v1", "kind": "CronJob", "metadata": {"name": "nightly", "namespace": "prod"},
     "spec": {"jobTemplate": {"spec": {"template": {
        "metadata": {"annotations": {"iam.amazonaws.com/role": "arn:aws:iam::210987654321:role/team/web"}},
        "spec": {"serviceAccountName": "nightly"}}}}}},
    {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "greedy", "namespace": "prod", "annotations": {
        "iam.amazonaws.com/role": "admin"}}, "spec": {"serviceAccountName": "greedy"}, "status": {"phase": "Running"}}
]}"#;

#[test]
fn the_annotations_of_kube2iam_and_kiam_become_associations_that_are_valid() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("cluster.json");
    fs::write(&file, CLUSTER).expect("a file");
    for (tool, base, more) in [
        ("kube2iam", "--base-role-arn=arn:aws:iam::123456789012:role/", "--namespace-restrictions"),
        ("kiam", "--role-base-arn=arn:aws:iam::123456789012:role/", "--json-log"),
    ] {
        let input = Stdio::from(fs::File::open(&file).expect("the file"));
        let text = checked_with(input, &[tool, "-", "--", base, more]);
        for part in [
            "\n    - {namespace: \"prod\", service_account: \"web\", role: \"web\"}",
            "# ! prod/default: pod stray has no role: \"x: y\" is no external id.",
            "# ! prod/greedy: pod greedy has no role: iam.amazonaws.com/",
        ] {
            assert!(text.contains(part), "{tool}: {part}\n{text}");
        }
        assert!(!text.contains("role: \"admin\""), "{text}");
    }
    // Nothing that counts: valid all the same, until a person has decided.
    fs::write(&file, CLUSTER.replace("\"web\"}, \"status", "\"default\"}, \"status")).expect("a file");
    let path = file.to_str().expect("UTF-8");
    let text = checked(&["kube2iam", path, "--", "--base-role-arn", "arn:aws:iam::123456789012:role"]);
    assert!(text.contains("prod/default: its pods have different roles"), "{text}");
    let output = Command::new(ALPPACA).args(["migrate", "kube2iam", path]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "the role with an ARN is enough: {said}");
    fs::write(&file, "{\"kind\": \"List\", \"items\": []}").expect("a file");
    let output = Command::new(ALPPACA).args(["migrate", "kiam", path]).output().expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.code() == Some(2) && said.contains("cluster.json: no role in 0 pods"), "{said}");
}

#[test]
fn the_associations_of_eks_become_ours_that_are_valid() {
    let directory = TempDir::new().expect("a directory");
    let file = directory.path().join("associations.json");
    let described = |more: &str| {
        format!(
            r#"{{"association": {{"clusterName": "blue", "namespace": "prod", "serviceAccount": "web",
            "roleArn": "arn:aws:iam::123456789012:role/web", "associationId": "a-1", "tags": {{}},
            "associationArn": "arn:aws:eks:eu-west-1:123456789012:podidentityassociation/blue/a-1"{more}}}}}
            {{"association": {{"clusterName": "blue", "namespace": "prod", "serviceAccount": "db",
            "roleArn": "arn:aws:iam::123456789012:role/node", "associationId": "a-2"}}}}"#
        )
    };
    for more in [
        "",
        r#", "disableSessionTags": true"#,
        r#", "targetRoleArn": "arn:aws:iam::210987654321:role/far", "externalId": "eu-west-1/123456789012/blue/prod/web""#,
        r#", "disableSessionTags": true, "policy": "{\"Version\":\"2012-10-17\",\"Statement\":[]}""#,
    ] {
        fs::write(&file, described(more)).expect("a file");
        let text = checked(&["eks-pod-identity", file.to_str().expect("UTF-8")]);
        assert!(text.contains("service_account: \"web\"") && text.contains("cluster_name: \"blue\""), "{text}");
    }
}
