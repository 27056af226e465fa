//! What stands in a user's variables and files: the real binary, with a daemon that is well.

use std::fs;

use alppaca::mock_ims::Behaviour;

use crate::{
    assert_found, doctor, endpoint, findings,
    support::{Daemon, Ims},
};

/// Variables, the texts of `config` and `credentials`, and what is found.
type Case<'a> = (&'a [(&'a str, &'a str)], &'a str, &'a str, &'a str, &'a str);

#[test]
fn whatever_goes_before_the_endpoint_is_found() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}metadata: {{region: eu-west-1}}\n", ims.config()));
    let url = endpoint(&daemon);
    let keys = "[default]\naws_access_key_id = AKIA\naws_secret_access_key = s3cret\n";
    let cases: &[Case<'_>] = &[
        (&[("AWS_ACCESS_KEY_ID", "AKIA"), ("AWS_SECRET_ACCESS_KEY", "s3cret")], "", "", "problem keys ", "unset AWS_A"),
        (&[("AWS_SECRET_ACCESS_KEY", "s3cret")], "", "", "problem keys only one of ", "unset AWS_A"),
        (&[("AWS_WEB_IDENTITY_TOKEN_FILE", "/t"), ("AWS_ROLE_ARN", "a")], "", "", "problem web_identity ", "unset"),
        (&[("AWS_PROFILE", "gone")], "", "", "problem profile AWS_PROFILE names the profile gone", "unset AWS_PROFILE"),
        (&[], "", keys, "problem profile the profile default has credentials", "`alppaca exec`"),
        (&[("AWS_DEFAULT_PROFILE", "default")], "", keys, "problem profile ", "-> unset AWS_DEFAULT_PROFILE"),
        (&[], "[default]\nsso_session = s\n", "", "problem profile ", "sso_session in "),
        (
            &[],
            "[default]\nrole_arn = a\ncredential_source = Environment\n",
            "",
            "problem profile the profile default has credentials",
            "role_arn in ",
        ),
        (
            &[],
            "[default]\nrole_arn = a\ncredential_source = Ec2InstanceMetadata\n",
            "",
            "note profile the profile default assumes another role",
            "Ec2InstanceMetadata",
        ),
        (&[], "[default]\ncredential_process = alppaca credentials\n", "", "good profile ", "by credential_process"),
        (&[("AWS_EC2_METADATA_DISABLED", "true")], "", "", "problem disabled ", "unset AWS_EC2_METADATA_DISABLED"),
        (&[("AWS_EC2_METADATA_DISABLED", "1")], "", "", "note disabled ", "JavaScript"),
        (&[("AWS_EC2_METADATA_V1_DISABLED", "true")], "", "", "note v1 ", "only IMDSv2"),
        (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT_MODE", "5")], "", "", "problem endpoint ", "neither IPv4 nor IPv6"),
        (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "https://x")], "", "", "problem endpoint ", "write http:// there"),
        (&[("AWS_EC2_METADATA_SERVICE_ENDPOINT", "x")], "", "", "problem endpoint ", "is no URL such as "),
        (&[("http_proxy", "http://u:s3cret@p:3128")], "", "", "problem proxy http_proxy sends ", "export NO_PROXY="),
        (&[("ALL_PROXY", "p"), ("NO_PROXY", "x")], "", "", "problem proxy ALL_PROXY sends ", "export NO_PROXY="),
        (&[("AWS_CONTAINER_CREDENTIALS_FULL_URI", "x")], "", "", "problem container ", "is no URL"),
    ];
    for (variables, config, credentials, start, part) in cases {
        let home = tempfile::tempdir().expect("a directory");
        fs::create_dir(home.path().join(".aws")).expect("ours");
        fs::write(home.path().join(".aws/config"), config).expect("ours");
        fs::write(home.path().join(".aws/credentials"), credentials).expect("ours");
        let mut all = vec![
            ("HOME", home.path().to_str().expect("UTF-8")),
            // Whatever else is found, nobody else is asked.
            ("AWS_EC2_METADATA_SERVICE_ENDPOINT", &url),
        ];
        all.extend(*variables);
        let output = doctor(&daemon.socket(), &all);
        let (code, lines) = findings(&output);
        assert_found(&lines, start, part);
        assert_eq!(code, Some(i32::from(start.starts_with("problem"))), "{lines:#?}");
        assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"), "{lines:#?}");
    }
}

#[test]
fn what_is_wrong_with_the_variables_of_containers_is_found() {
    let (url, token) = ("AWS_CONTAINER_CREDENTIALS_FULL_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN");
    let (relative, file) = ("AWS_CONTAINER_CREDENTIALS_RELATIVE_URI", "AWS_CONTAINER_AUTHORIZATION_TOKEN_FILE");
    let nobody = "http://127.0.0.1:1/";
    for (variables, start, part) in [
        (
            &[(url, nobody), (file, "/no/such")][..],
            "problem container the token cannot be read",
            "/no/such: No such file",
        ),
        (
            &[(url, nobody), (token, "s3cret\nx")],
            "problem container AWS_CONTAINER_AUTHORIZATION_TOKEN has a line break",
            "",
        ),
        // No packet leaves for a broadcast address by TCP.
        (&[(url, "http://255.255.255.255/")], "problem container the SDKs refuse http to 255.255.255.255", "loopback"),
        (&[(url, nobody), (relative, "@255.255.255.255/")], "note container both ", "most SDKs take the first"),
    ] {
        let output = doctor("/no/daemon.sock".as_ref(), variables);
        let (code, lines) = findings(&output);
        assert_eq!(code, Some(1), "{lines:#?}");
        assert_found(&lines, start, part);
        assert!(!String::from_utf8_lossy(&output.stdout).contains("s3cret"), "{lines:#?}");
    }
}
