//! The face by itself: request in, answer out. The same over sockets is in `tests/conformance`.

use super::Overlay;
use super::*;
use crate::{
    caller::{Membership, Origin, Peer, Process},
    credentials::{Credentials, RoleId, render_refusal},
    faces::tests::{credentials, ended, held, name, now, peer, read, respond},
    policy::Grant,
    store::{Slot, Store},
};

/// A face as the daemon makes it: what the metadata say of account and region holds for all faces.
fn face(options: Options, store: Arc<Store>, host: &HostFacts) -> Imds {
    let Metadata { account_id, region, .. } = options.metadata.clone();
    let shared = Shared { account_id, region, ..Shared::of(store) };
    Imds::new(options, shared, TokenKey::random().expect("randomness"), None, host, now().wall)
}

/// A store with a role in each state.
fn roles() -> Arc<Store> {
    let store = Store::shared();
    store.publish_roles(&["first", "expired", "denied", "warming"].map(name));
    store.publish(&name("first"), held(&credentials()));
    store.publish(&name("expired"), ended());
    store.publish(
        &name("denied"),
        Slot::Denied(render_refusal("AssumeRoleUnauthorizedAccess", "no", now().wall).into()),
    );
    store
}

fn imds(options: Options) -> Imds {
    face(options, roles(), &HostFacts::default())
}

fn v1() -> Options {
    Options { v1: true, ..Options::default() }
}

fn ask(imds: &Imds, head: &str) -> (u16, String) {
    ask_as(imds, head, &Grant::Everything)
}

fn ask_as(imds: &Imds, head: &str, grant: &Grant) -> (u16, String) {
    read(respond((FACE, imds), head, (&peer(), grant), now()))
}

fn get(imds: &Imds, path: &str) -> (u16, String) {
    ask(imds, &format!("GET {path} HTTP/1.1"))
}

#[test]
fn the_tree_is_listed_level_by_level_with_and_without_a_final_slash() {
    let host = HostFacts { instance_id: Some("i-0".to_owned()), ..HostFacts::default() };
    let metadata = Metadata { region: Some("eu-west-1".to_owned()), ..Metadata::default() };
    let imds = face(Options { metadata, ..v1() }, roles(), &host);
    for (path, body) in [
        ("/latest", "dynamic\nmeta-data"),
        ("/latest/", "dynamic\nmeta-data"),
        ("/latest/meta-data", "iam/\ninstance-id\nplacement/\nservices/"),
        // No account is known, so that there is no instance profile.
        ("/2021-03-23//meta-data//iam", "security-credentials/"),
        ("/latest/dynamic/", "instance-identity/"),
        ("/latest/meta-data/iam/security-credentials", "first"),
        ("/latest/meta-data/iam/security-credentials/?q", "first"),
    ] {
        assert_eq!(get(&imds, path), (200, body.to_owned()), "{path}");
    }
    assert!(get(&imds, "/").1.ends_with("\nlatest"));
    for path in ["/later", "/latest/x", "/latest/meta-data/iam/security-credentials/first/x", "/latest/api"] {
        assert_eq!(get(&imds, path).0, 404, "{path}");
    }
}

#[test]
fn each_state_of_a_role_has_its_one_answer() {
    let imds = imds(v1());
    let role = |role: &str| get(&imds, &format!("/latest/meta-data/iam/security-credentials/{role}"));
    assert_eq!(role("first").0, 200);
    assert!(role("first/").1.contains("\"AccessKeyId\" : \"ASIAEXAMPLE\""));
    assert_eq!(role("expired").0, 503);
    assert_eq!(role("warming").0, 0);
    assert_eq!(role("unknown").0, 404);
    let (status, body) = role("denied");
    assert_eq!(status, 200);
    assert!(body.contains("\"Code\" : \"AssumeRoleUnauthorizedAccess\"") && !body.contains("AccessKeyId"), "{body}");
}

#[test]
fn expired_credentials_are_served_only_where_that_is_wanted() {
    let mut imds = imds(v1());
    imds.shared.common.serve_expired = true;
    assert_eq!(get(&imds, "/latest/meta-data/iam/security-credentials/expired").0, 200);
}

#[test]
fn all_roles_are_listed_where_that_is_wanted() {
    let imds = imds(Options { list_all: true, ..v1() });
    let listing = get(&imds, "/latest/meta-data/iam/security-credentials/");
    assert_eq!(listing, (200, "first\nexpired\ndenied\nwarming".to_owned()));
}

#[test]
fn without_roles_the_iam_tree_is_not_there_and_before_the_first_answer_it_is_warming() {
    let store = Store::shared();
    let imds = face(v1(), Arc::clone(&store), &HostFacts::default());
    assert_eq!(get(&imds, "/latest/meta-data/iam/security-credentials/").0, 0);
    // A listing without `iam/` would be taken for the truth.
    assert_eq!(get(&imds, "/latest/meta-data/").0, 0);
    store.publish_roles(&[]);
    for path in ["/latest/meta-data/iam/security-credentials/", "/latest/meta-data/iam/", "/latest/meta-data/iam/info"]
    {
        assert_eq!(get(&imds, path).0, 404, "{path}");
    }
    let (status, listing) = get(&imds, "/latest/meta-data/");
    assert!(status == 200 && !listing.contains("iam"), "{listing}");
}

/// The document of the identity and `iam/info` of a face whose only role is in that state.
fn told(metadata: Metadata, state: Slot) -> [(u16, String); 3] {
    let store = Store::shared();
    store.publish_roles(&[name("web")]);
    store.publish(&name("web"), state);
    let imds = face(Options { metadata, ..v1() }, store, &HostFacts::default());
    let paths = ["dynamic/instance-identity/document", "meta-data/iam/info", "meta-data/iam"];
    paths.map(|path| get(&imds, &format!("/latest/{path}")))
}

fn held_with(key: &str, arn: Option<&str>) -> Slot {
    let role_arn = arn.map(|arn| arn.parse().expect("an ARN"));
    held(&Credentials { access_key_id: key.into(), role_arn, ..credentials() })
}

#[test]
fn an_account_is_derived_but_never_made_up() {
    const NEW: &str = "ASIAQNZGKIQY56JQ7WML";
    const OLD: &str = "ASIAIOSFODNN7EXAMPLE";
    let china = || Metadata { region: Some("cn-north-1".to_owned()), ..Metadata::default() };
    let configured = || Metadata { account_id: "123456789012".parse().ok(), ..china() };
    let arn = Some("arn:aws-us-gov:iam::111122223333:role/p/web");
    for (metadata, key, arn, expected) in [
        (configured(), NEW, arn, Some(("aws-us-gov", "123456789012"))),
        (configured(), NEW, None, Some(("aws-cn", "123456789012"))),
        (china(), NEW, arn, Some(("aws-us-gov", "111122223333"))),
        (china(), NEW, None, Some(("aws-cn", "029608264753"))),
        (china(), OLD, None, None),
    ] {
        let [document, info, listing] = told(metadata, held_with(key, arn));
        let json: serde_json::Value = serde_json::from_str(&document.1).expect("JSON");
        assert_eq!(json.get("accountId").and_then(|id| id.as_str()), expected.map(|(_, account)| account), "{json}");
        assert_eq!(json["region"], "cn-north-1");
        match expected {
            Some((partition, account)) => {
                let profile = format!("\"arn:{partition}:iam::{account}:instance-profile/web\"");
                assert!(info.0 == 200 && info.1.contains(&profile), "{info:?}");
                assert_eq!(listing.1, "info\nsecurity-credentials/");
            }
            None => assert_eq!((info.0, &*listing.1), (404, "security-credentials/")),
        }
    }
}

#[test]
fn the_identity_document_has_null_only_where_ec2_has() {
    let region = || Metadata { region: Some("eu-west-1".to_owned()), ..Metadata::default() };
    let [(status, document), ..] = told(region(), held(&credentials()));
    assert_eq!(status, 200);
    let json: serde_json::Value = serde_json::from_str(&document).expect("JSON");
    let json = json.as_object().expect("an object");
    let null: Vec<_> = json.iter().filter(|(_, value)| value.is_null()).map(|(key, _)| &**key).collect();
    let keys = ["billingProducts", "devpayProductCodes", "kernelId", "marketplaceProductCodes", "ramdiskId"];
    assert_eq!(null, keys, "{document}");
    assert_eq!(told(Metadata::default(), held(&credentials()))[0].0, 404);
}

#[test]
fn what_the_first_set_will_tell_is_waited_for() {
    let region = || Metadata { region: Some("eu-west-1".to_owned()), ..Metadata::default() };
    let [document, info, listing] = told(region(), Slot::Warming);
    assert_eq!((document.0, info.0), (0, 0));
    assert_eq!(listing, (200, "info\nsecurity-credentials/".to_owned()));
    let configured = Metadata { account_id: "123456789012".parse().ok(), ..region() };
    assert!(told(configured, Slot::Warming)[0].1.contains("123456789012"));
}

#[test]
fn a_key_is_listed_with_its_name_and_found_by_its_number() {
    let file = |text: &str| Entry::File(text.to_owned());
    let key = |name: &str| (name.to_owned(), Entry::Directory(vec![("openssh-key".to_owned(), file("ssh-rsa A"))]));
    let keys = Entry::Directory(vec![key("0=my-key"), key("1=other key")]);
    let overlay = Overlay(vec![("meta-data".to_owned(), Entry::Directory(vec![("public-keys".to_owned(), keys)]))]);
    let imds = imds(Options { metadata: Metadata { overlay, ..Metadata::default() }, ..v1() });
    let keys = |below: &str| get(&imds, &format!("/latest/meta-data/public-keys{below}"));
    assert_eq!(keys("/"), (200, "0=my-key\n1=other key".to_owned()));
    assert_eq!(keys("/0/"), (200, "openssh-key".to_owned()));
    assert_eq!(keys("/1/openssh-key"), (200, "ssh-rsa A\n".to_owned()));
    assert_eq!(keys("/0=my-key/").0, 404);
    assert!(get(&imds, "/latest/meta-data/").1.contains("public-keys/"));
}

#[test]
fn a_mac_is_there_only_with_the_directory_that_it_names() {
    const MAC: &str = "02:fc:00:00:00:01";
    let host = HostFacts {
        mac: Some(MAC.to_owned()),
        local_ipv4: Some("10.0.0.7".to_owned()),
        hostname: Some("box".to_owned()),
        ..HostFacts::default()
    };
    let with = |overlay: Vec<(String, Entry)>| {
        let overlay = Overlay(vec![("meta-data".to_owned(), Entry::Directory(overlay))]);
        let metadata = Metadata { defaults: Defaults::Ec2, overlay, ..Metadata::default() };
        face(Options { metadata, ..v1() }, roles(), &host)
    };
    let meta = |imds: &Imds, path: &str| get(imds, &format!("/latest/meta-data/{path}"));
    let imds = with(Vec::new());
    assert_eq!(meta(&imds, "mac"), (200, MAC.to_owned()));
    assert_eq!(meta(&imds, "network/interfaces/macs/"), (200, format!("{MAC}/")));
    let below = format!("network/interfaces/macs/{MAC}/");
    assert_eq!(meta(&imds, &below), (200, "device-number\nlocal-hostname\nlocal-ipv4s\nmac".to_owned()));
    assert_eq!(meta(&imds, &format!("{below}local-ipv4s")), (200, "10.0.0.7".to_owned()));
    assert_eq!(meta(&imds, "tags/instance/"), (200, String::new()));
    assert_eq!(meta(&imds, "events/maintenance/scheduled"), (200, "[]".to_owned()));
    let imds = with(vec![("network".to_owned(), Entry::Removed)]);
    assert_eq!((meta(&imds, "mac").0, meta(&imds, "network/").0), (404, 404));
    let imds = with(vec![("mac".to_owned(), Entry::File("0a:00:00:00:00:02".to_owned()))]);
    assert_eq!(meta(&imds, "network/interfaces/macs/"), (200, "0a:00:00:00:00:02/".to_owned()));
}

#[test]
fn a_token_is_asked_for_with_put_and_a_life_of_one_second_to_six_hours() {
    let imds = imds(Options::default());
    let put = |ttl: &str| ask(&imds, &format!("PUT /latest/api/token HTTP/1.1\r\n{ttl}")).0;
    for ttl in ["1", "10", "300", "21600", "00010"] {
        assert_eq!(put(&format!("X-aws-ec2-metadata-token-ttl-seconds: {ttl}")), 200, "{ttl}");
    }
    for ttl in ["0", "21601", "-1", "+1", "abc", "", "1.0", "99999999999999999999"] {
        assert_eq!(put(&format!("X-aws-ec2-metadata-token-ttl-seconds: {ttl}")), 400, "{ttl}");
    }
    assert_eq!(put("a: b"), 400);
}

#[test]
fn without_v1_everything_needs_a_valid_token() {
    let imds = imds(Options::default());
    let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60";
    let (_, token) = ask(&imds, put);
    for (header, status) in
        [("", 401), ("\r\nx-aws-ec2-metadata-token: ", 401), ("\r\nx-aws-ec2-metadata-token: INVALID", 401)]
    {
        for path in ["/", "/latest/meta-data/", "/nowhere"] {
            assert_eq!(ask(&imds, &format!("GET {path} HTTP/1.1{header}")).0, status, "{path} {header}");
        }
    }
    assert_eq!(ask(&imds, &format!("GET / HTTP/1.1\r\nX-aws-EC2-metadata-TOKEN: {token}")).0, 200);
}

#[test]
fn a_bad_token_is_refused_even_where_none_is_needed() {
    let imds = imds(v1());
    assert_eq!(ask(&imds, "GET / HTTP/1.1\r\nx-aws-ec2-metadata-token: INVALID").0, 401);
}

#[test]
fn proxied_cross_site_and_rebound_requests_are_refused() {
    for options in [v1(), Options::default()] {
        let imds = imds(options);
        for (header, status) in [
            ("X-Forwarded-For: 1.2.3.4", 403),
            ("x-forwarded-for: ", 403),
            ("Origin: http://evil.example", 403),
            ("Referer: http://evil.example/", 403),
            ("Sec-Fetch-Site: cross-site", 403),
            ("Host: evil.example", 403),
        ] {
            let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60";
            assert_eq!(ask(&imds, &format!("{put}\r\n{header}")).0, status, "{header}");
            assert_eq!(ask(&imds, &format!("GET / HTTP/1.1\r\n{header}")).0, status, "{header}");
        }
        assert_eq!(ask(&imds, "GET http://evil.example/ HTTP/1.1\r\nHost: 127.0.0.1").0, 403);
    }
}

#[test]
fn what_is_not_granted_looks_as_if_it_were_not_there() {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let imds = imds(Options { list_all: true, ..v1() });
    let ask = |path: &str, grant: &Grant| ask_as(&imds, &format!("GET {path} HTTP/1.1"), grant);
    let one = Grant::Roles([RoleId::named(&name("expired"))].into());
    assert_eq!(ask(ROLES, &one), (200, "expired".to_owned()));
    assert_eq!(ask(&format!("{ROLES}expired"), &one).0, 503);
    let nowhere = ask(&format!("{ROLES}no-such-role"), &one);
    assert_eq!(nowhere.0, 404);
    for role in ["first", "denied", "warming"] {
        assert_eq!(ask(&format!("{ROLES}{role}"), &one), nowhere, "{role}");
    }
    // As on an instance without a role.
    let store = Store::shared();
    store.publish_roles(&[]);
    let bare = face(v1(), store, &HostFacts::default());
    for path in ["/", "/latest/meta-data/", "/latest/meta-data/iam/", "/latest/meta-data/iam/info", ROLES] {
        assert_eq!(ask(path, &Grant::Denied), get(&bare, path), "{path}");
    }
    assert_eq!(ask(&format!("{ROLES}first"), &Grant::Denied), get(&bare, &format!("{ROLES}first")));
    assert_eq!(ask(ROLES, &Grant::Pending).0, 0);
}

#[test]
fn only_what_exists_or_may_exist_for_others_is_denied() {
    const ROLES: &str = "/latest/meta-data/iam/security-credentials/";
    let imds = imds(v1());
    let why = |path: &str, grant: &Grant| match respond(
        (FACE, &imds),
        &format!("GET {path} HTTP/1.1"),
        (&peer(), grant),
        now(),
    ) {
        Outcome::Answer(answer) | Outcome::Expired(answer) => answer.denied,
        Outcome::Warming | Outcome::Elsewhere => panic!("{path}"),
    };
    let one = Grant::Roles([RoleId::named(&name("first"))].into());
    for (path, grant, denied) in [
        (format!("{ROLES}first"), &one, None),
        (format!("{ROLES}denied"), &one, Some(Denial::Policy)),
        (format!("{ROLES}denied"), &Grant::Everything, Some(Denial::Refused)),
        (format!("{ROLES}nowhere"), &Grant::Everything, None),
        (format!("{ROLES}nowhere"), &Grant::Denied, Some(Denial::Policy)),
        (ROLES.to_owned(), &Grant::Denied, Some(Denial::Policy)),
        ("/latest/meta-data/nowhere".to_owned(), &Grant::Denied, None),
    ] {
        assert_eq!(why(&path, grant), denied, "{path} {grant:?}");
    }
}

#[test]
fn a_token_is_of_no_use_to_another_user() {
    let imds = imds(Options::default());
    let ask_as = |head: &str, uid: u32| {
        let process = Process { uid, gid: None, pid: None, inode: 1, cgroup: Membership::Unknown };
        let peer = Peer { origin: Origin::Process(process), ..peer() };
        read(respond((FACE, &imds), head, (&peer, &Grant::Everything), now()))
    };
    let (_, token) = ask_as("PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60", 1000);
    let get = format!("GET / HTTP/1.1\r\nx-aws-ec2-metadata-token: {token}");
    assert_eq!((ask_as(&get, 1000).0, ask_as(&get, 1001).0), (200, 401));
    assert_eq!(ask(&imds, &get).0, 401);
}

#[test]
fn a_put_that_is_not_for_a_token_is_forbidden_without_a_page() {
    let imds = imds(v1());
    for path in
        ["/", "/latest/api/token/", "/latest/api//token/", "/2021-01-03/api/token", "/latest/meta-data/", "/1/2/3"]
    {
        let put = format!("PUT {path} HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60");
        assert_eq!(ask(&imds, &put), (403, String::new()), "{path}");
    }
}

#[test]
fn other_methods_are_not_allowed() {
    let imds = imds(v1());
    for method in ["POST", "DELETE", "PATCH", "OPTIONS", "TRACE", "CONNECT", "get"] {
        assert_eq!(ask(&imds, &format!("{method} /latest/meta-data/ HTTP/1.1")).0, 405, "{method}");
    }
    for method in ["GET", "HEAD", "POST", "DELETE"] {
        assert_eq!(ask(&imds, &format!("{method} /latest/api/token HTTP/1.1")).0, 405, "{method}");
    }
}
