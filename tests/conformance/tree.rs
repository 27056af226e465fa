//! What SDKs ask for beside credentials. The rest of the tree is in `tests/metadata.rs`.

use crate::{get, with_metadata};

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
