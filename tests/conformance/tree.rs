//! What SDKs ask for beside credentials. The rest of the tree is in `tests/metadata.rs`.

use std::time::Duration;

use alppaca::mock_ims::Behaviour;

use crate::{
    LIST, get,
    support::{Daemon, Ims, Response},
    with_metadata,
};

const SECTION: &str = "{region: us-east-1, account_id: '123456789012'}";

pub(crate) fn the_zone_with_and_without_slash() {
    let (_ims, daemon) = with_metadata(SECTION);
    for path in ["/latest/meta-data/placement/availability-zone", "/latest/meta-data/placement/availability-zone/"] {
        let response = get(daemon.address(), path);
        assert_eq!((response.status, &*response.body), (200, "us-east-1a"), "{path}");
    }
}

pub(crate) fn the_region() {
    let (_ims, daemon) = with_metadata(SECTION);
    let response = get(daemon.address(), "/latest/meta-data/placement/region");
    assert_eq!((response.status, &*response.body), (200, "us-east-1"));
}

pub(crate) fn the_identity_document() {
    let (_ims, daemon) = with_metadata(SECTION);
    let document = get(daemon.address(), "/latest/dynamic/instance-identity/document");
    assert_eq!((document.status, document.header("content-type")), (200, Some("text/plain")));
    let json = document.json();
    assert_eq!((&json["region"], &json["accountId"]), (&"us-east-1".into(), &"123456789012".into()));
    assert_eq!(json["availabilityZone"], "us-east-1a");
}

pub(crate) fn the_instance_profile() {
    let (_ims, daemon) = with_metadata(SECTION);
    let info = get(daemon.address(), "/latest/meta-data/iam/info").json();
    assert_eq!(info["InstanceProfileArn"], "arn:aws:iam::123456789012:instance-profile/test_role");
    assert_eq!(info["Code"], "Success");
    assert!(info["InstanceProfileId"].is_string() && info["LastUpdated"].is_string());
}

fn meta(daemon: &Daemon, path: &str) -> Response {
    get(daemon.address(), &format!("/latest/meta-data/{path}"))
}

pub(crate) fn services_and_arns_follow_the_region() {
    for (region, domain, partition) in [
        ("cn-north-1", "amazonaws.com.cn", "aws-cn"),
        ("us-gov-west-1", "amazonaws.com", "aws-us-gov"),
        ("eusc-de-east-1", "amazonaws.eu", "aws-eusc"),
        ("us-isob-east-1", "sc2s.sgov.gov", "aws-iso-b"),
    ] {
        let ims = Ims::start(Behaviour::default());
        let daemon = Daemon::with_credentials(&format!(
            "{}metadata: {{region: {region}, account_id: '123456789012'}}\n\
             container: {{listen: '127.0.0.1:0', roles: {{test_role: {{open: true}}}}}}\n",
            ims.config()
        ));
        assert_eq!(meta(&daemon, "services/domain").body, domain);
        assert_eq!(meta(&daemon, "services/partition").body, partition);
        let arn = |kind: &str| format!("arn:{partition}:iam::123456789012:{kind}/test_role");
        assert_eq!(meta(&daemon, "iam/info").json()["InstanceProfileArn"], arn("instance-profile"));
        assert_eq!(get(daemon.face("container"), "/role/test_role").json()["RoleArn"], arn("role"));
    }
}

pub(crate) fn the_region_of_a_local_zone() {
    for (zone, region) in [("us-west-2-lax-1a", "us-west-2"), ("us-east-1-wl1-bos-wlz-1", "us-east-1")] {
        let section = format!("{{meta-data: {{placement: {{availability-zone: {zone}}}}}}}");
        let (_ims, daemon) = with_metadata(&section);
        assert_eq!(meta(&daemon, "placement/availability-zone").body, zone);
        assert_eq!(meta(&daemon, "placement/region").body, region);
        let document = get(daemon.address(), "/latest/dynamic/instance-identity/document").json();
        assert_eq!((&document["region"], &document["availabilityZone"]), (&region.into(), &zone.into()));
    }
}

pub(crate) fn an_account_is_never_made_up() {
    // The mock tells no account, and its key ids contain none.
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!(
        "{}metadata: {{region: eu-west-1}}\ncontainer: {{listen: '127.0.0.1:0', roles: {{test_role: {{open: true}}}}}}\n",
        ims.config()
    ));
    assert_eq!(meta(&daemon, "iam/info").status, 404);
    assert_eq!(meta(&daemon, "iam/").body, "security-credentials/");
    let document = get(daemon.address(), "/latest/dynamic/instance-identity/document").json();
    assert_eq!((&document["region"], document.get("accountId")), (&"eu-west-1".into(), None));
    let container = get(daemon.face("container"), "/role/test_role").json();
    assert_eq!((&container["RoleArn"], container.as_object().map(serde_json::Map::len)), (&"".into(), Some(5)));
}

pub(crate) fn what_is_not_known_yet_is_503() {
    let hanging = Ims::start(Behaviour { latency: Duration::from_secs(20), ..Behaviour::default() });
    let daemon = Daemon::start(&format!("{}metadata: {{region: eu-west-1}}\n", hanging.config()));
    for path in [LIST, "/latest/meta-data/", "/latest/meta-data/iam/", "/latest/dynamic/instance-identity/document"] {
        assert_eq!(get(daemon.address(), path).status, 503, "{path}");
    }
    assert_eq!(meta(&daemon, "placement/region").body, "eu-west-1");
}

pub(crate) fn a_key_is_listed_with_its_name() {
    let (_ims, daemon) = with_metadata("{meta-data: {public-keys: {'0=my-key': {openssh-key: 'ssh-rsa A'}}}}");
    assert_eq!(meta(&daemon, "public-keys/").body, "0=my-key");
    assert_eq!(meta(&daemon, "public-keys/0/").body, "openssh-key");
    assert_eq!(meta(&daemon, "public-keys/0/openssh-key").body, "ssh-rsa A\n");
}

pub(crate) fn by_default_nothing_says_that_this_is_ec2() {
    let (_ims, daemon) = with_metadata(SECTION);
    assert_eq!(meta(&daemon, "").body, "iam/\ninstance-id\nplacement/\nservices/");
    let document = get(daemon.address(), "/latest/dynamic/instance-identity/document").json();
    for field in ["imageId", "instanceType", "privateIp"] {
        assert!(document.get(field).is_none(), "{document}");
    }
}

pub(crate) fn the_defaults_of_ec2_are_complete() {
    let (_ims, daemon) = with_metadata("{defaults: ec2, region: us-east-1, account_id: '123456789012'}");
    let image = meta(&daemon, "ami-id").body;
    let digits = image.split(|c: char| !c.is_ascii_digit()).map(str::len).max();
    assert!(image.starts_with("ami-") && image.len() == 21 && digits < Some(12), "{image}");
    assert_eq!(meta(&daemon, "events/maintenance/scheduled").body, "[]");
    let tags = meta(&daemon, "tags/instance/");
    assert_eq!((tags.status, &*tags.body), (200, ""));
    let mac = meta(&daemon, "mac");
    let macs = meta(&daemon, "network/interfaces/macs/");
    assert_eq!(mac.status, macs.status);
    if mac.status == 200 {
        assert_eq!(macs.body, format!("{}/", mac.body));
        assert_eq!(meta(&daemon, &format!("network/interfaces/macs/{}/mac", mac.body)).body, mac.body);
    }
}
