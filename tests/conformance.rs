//! The numbered cases of `docs/conformance.md`, against the real binary over real sockets. A test's
//! name begins with the cases that it proves.

mod support;

use std::{
    io::{Read, Write},
    net::SocketAddr,
    thread,
    time::Duration,
};

use alppaca::mock_ims::{Answer, Behaviour};
use support::{Daemon, Ims, Response, connect, raw, read_one, request};

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";

struct Rig {
    ims: Ims,
    v1: Daemon,
    v2: Daemon,
}

/// One upstream and two daemons, with and without v1.
fn rig() -> Rig {
    let ims = Ims::start(Behaviour::default());
    let v1 = Daemon::with_credentials(&format!(
        "{}listen: ['127.0.0.1:0', '[::1]:0']
",
        ims.config()
    ));
    let v2 = Daemon::with_credentials(&format!(
        "{}imds_v1: false
",
        ims.config()
    ));
    Rig { ims, v1, v2 }
}

impl Rig {
    fn both(&self) -> [SocketAddr; 2] {
        [self.v1.address(), self.v2.address()]
    }
}

fn put_token(address: SocketAddr, ttl: &str) -> Response {
    request(
        address,
        &format!(
            "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nx-aws-ec2-metadata-token-ttl-seconds: {ttl}\r\n"
        ),
    )
}

fn token(address: SocketAddr) -> String {
    put_token(address, "21600").body
}

fn get_with(address: SocketAddr, path: &str, token: &str) -> Response {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\nX-aws-ec2-metadata-token: {token}\r\n"))
}

/// With a fresh token.
fn get(address: SocketAddr, path: &str) -> Response {
    get_with(address, path, &token(address))
}

fn get_v1(address: SocketAddr, path: &str) -> Response {
    request(address, &format!("GET {path} HTTP/1.1\r\nHost: 169.254.169.254\r\n"))
}

#[test]
fn case_01_02_a_put_gives_a_token_without_newline_and_its_ttl() {
    let rig = rig();
    for address in rig.both() {
        let response = put_token(address, "21600");
        assert_eq!(response.status, 200);
        assert_eq!(response.header("x-aws-ec2-metadata-token-ttl-seconds"), Some("21600"));
        assert_eq!(response.body.len(), 56);
        assert!(!response.body.contains(['\r', '\n']));
    }
}

#[test]
fn case_03_04_a_put_without_a_legal_ttl_is_400() {
    let rig = rig();
    for address in rig.both() {
        for ttl in ["0", "21601", "-1", "abc", ""] {
            assert_eq!(put_token(address, ttl).status, 400, "{ttl}");
        }
        assert_eq!(request(address, "PUT /latest/api/token HTTP/1.1\r\nHost: h.localhost\r\n").status, 403);
        assert_eq!(request(address, "PUT /latest/api/token HTTP/1.1\r\nHost: localhost\r\n").status, 400);
    }
}

#[test]
fn case_05_17_a_token_dies_after_its_ttl_and_a_new_one_works_at_once() {
    let rig = rig();
    let address = rig.v2.address();
    let token = put_token(address, "1").body;
    assert_eq!(put_token(address, "10").status, 200);
    assert_eq!(get_with(address, "/", &token).status, 200);
    // The token's own life is what is waited for; there is no event to synchronise on.
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(get_with(address, "/", &token).status, 401);
    assert_eq!(get(address, "/").status, 200);
}

#[test]
fn case_06_forwarded_requests_are_refused_without_a_token() {
    let rig = rig();
    for (address, status) in [(rig.v1.address(), 400), (rig.v2.address(), 403)] {
        for value in ["1.2.3.4", ""] {
            let put = "PUT /latest/api/token HTTP/1.1\r\nx-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
            let response = request(address, &format!("{put}X-Forwarded-For: {value}\r\n"));
            assert_eq!(response.status, status);
            assert!(response.header("x-aws-ec2-metadata-token-ttl-seconds").is_none());
        }
    }
}

#[test]
fn case_07_a_put_may_have_a_length_none_or_a_small_body() {
    let rig = rig();
    let head = "PUT /latest/api/token HTTP/1.1\r\nHost: 127.0.0.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    for address in rig.both() {
        for rest in ["Content-Length: 0\r\n\r\n", "\r\n", "Content-Length: 5\r\n\r\nhello"] {
            let mut stream = connect(address);
            stream.write_all(format!("{head}{rest}").as_bytes()).expect("it reads");
            assert_eq!(read_one(&mut stream).status, 200, "{rest:?}");
            // The body is not taken for the next request.
            stream.write_all(b"GET /latest/api/token HTTP/1.1\r\n\r\n").expect("it reads");
            assert_eq!(read_one(&mut stream).status, 405, "{rest:?}");
        }
        let chunked =
            raw(address, format!("{head}Transfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n").as_bytes());
        assert_eq!((chunked.status, chunked.header("connection")), (200, Some("close")));
        let waiting = raw(address, format!("{head}Content-Length: 5\r\nExpect: 100-continue\r\n\r\nhello").as_bytes());
        assert_eq!(waiting.status, 200);
    }
}

#[test]
fn case_08_header_names_match_in_any_case() {
    let rig = rig();
    let address = rig.v2.address();
    for name in [
        "X-AWS-EC2-METADATA-TOKEN-TTL-SECONDS",
        "x-aws-ec2-metadata-token-ttl-seconds",
        "X-Aws-eC2-Metadata-Token-Ttl-Seconds",
    ] {
        assert_eq!(request(address, &format!("PUT /latest/api/token HTTP/1.1\r\n{name}: 60\r\n")).status, 200);
    }
}

#[test]
fn case_09_get_on_the_token_path_is_405_with_the_methods() {
    let rig = rig();
    for address in rig.both() {
        let response = get_v1(address, "/latest/api/token");
        assert!(response.head.starts_with("HTTP/1.1 405 Not Allowed\r\n"), "{}", response.head);
        assert_eq!(response.header("allow"), Some("OPTIONS, PUT"));
        assert_eq!(response.header("content-length"), Some("0"));
        assert_eq!(response.header("content-type"), Some("text/plain"));
    }
}

#[test]
fn case_10_11_other_methods_are_405() {
    let rig = rig();
    for address in rig.both() {
        for method in ["POST", "DELETE", "PATCH"] {
            for path in ["/", LIST, "/latest/api/token", "/nowhere"] {
                assert_eq!(request(address, &format!("{method} {path} HTTP/1.1\r\n")).status, 405, "{method} {path}");
            }
        }
        for path in ["/", "/latest/api", LIST] {
            assert_eq!(request(address, &format!("PUT {path} HTTP/1.1\r\n")).status, 405, "{path}");
        }
    }
}

#[test]
fn case_12_13_14_15_61_tokens_are_needed_where_v1_is_off_and_bad_ones_are_refused_everywhere() {
    let rig = rig();
    for path in ["/latest/meta-data/", "/", LIST, ROLE] {
        assert_eq!(get_v1(rig.v2.address(), path).status, 401, "{path}");
        assert_eq!(get_v1(rig.v1.address(), path).status, 200, "{path}");
        for address in rig.both() {
            for token in ["INVALID", "INVALID_TOKEN", "", &"A".repeat(56), &"x".repeat(8000)] {
                assert_eq!(get_with(address, path, token).status, 401, "{path} {token}");
            }
        }
    }
}

#[test]
fn case_16_the_root_lists_the_versions() {
    let rig = rig();
    for address in rig.both() {
        let body = get(address, "/").body;
        assert!(body.lines().any(|line| line == "latest") && body.starts_with("1.0\n2007-01-19\n"), "{body}");
        assert!(!body.ends_with('\n'));
    }
}

#[test]
fn case_18_a_token_of_another_instance_is_401() {
    let rig = rig();
    assert_eq!(get_with(rig.v1.address(), "/", &token(rig.v2.address())).status, 401);
}

#[test]
fn case_19_two_tokens_are_valid_together() {
    let rig = rig();
    for address in rig.both() {
        let (first, second) = (token(address), token(address));
        assert_ne!(first, second);
        for token in [&first, &second, &first] {
            assert_eq!(get_with(address, "/", token).status, 200);
        }
    }
}

#[test]
fn case_20_21_22_the_listing_is_one_line_with_and_without_slash() {
    let rig = rig();
    for address in rig.both() {
        for path in [LIST, LIST.trim_end_matches('/')] {
            let response = get(address, path);
            assert_eq!((response.status, &*response.body), (200, "test_role"), "{path}");
        }
    }
}

#[test]
fn case_23_to_30_the_document_is_ec2s_to_the_letter() {
    let rig = rig();
    for address in rig.both() {
        for path in [ROLE.to_owned(), format!("{ROLE}/")] {
            let response = get(address, &path);
            assert_eq!(response.status, 200, "{path}");
            let document = response.json();
            let object = document.as_object().expect("an object");
            let order: Vec<_> = response.body.lines().filter_map(|line| line.split('"').nth(1)).collect();
            let keys = ["Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"];
            assert_eq!(order, keys);
            assert!(object.values().all(serde_json::Value::is_string), "no nested objects");
            assert_eq!((&document["Code"], &document["Type"]), (&"Success".into(), &"AWS-HMAC".into()));
            for key in ["Expiration", "LastUpdated"] {
                let text = document[key].as_str().expect("a text");
                let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
                assert_eq!(shape, "0000-00-00T00:00:00Z");
            }
            assert!(response.body.starts_with("{\n  \"Code\" : \"Success\",\n  \"LastUpdated\" : \""));
            assert!(response.body.ends_with("Z\"\n}"));
            assert_eq!(response.header("content-type"), Some("text/plain"));
            assert_eq!(response.header("accept-ranges"), Some("none"));
            assert!(response.header("last-modified").is_some_and(|date| date.ends_with(" GMT")));
            assert_eq!(response.header("content-length"), Some(&*response.body.len().to_string()));
            assert!(response.header("transfer-encoding").is_none());
        }
    }
}

#[test]
fn case_31_http_1_0_is_served_and_closed() {
    let rig = rig();
    let response = raw(rig.v1.address(), format!("GET {LIST} HTTP/1.0\r\n\r\n").as_bytes());
    assert_eq!((response.status, &*response.body, response.header("connection")), (200, "test_role", Some("close")));
    let mut stream = connect(rig.v1.address());
    for _ in 0..2 {
        stream.write_all(b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n").expect("open");
        assert_eq!(read_one(&mut stream).header("connection"), Some("keep-alive"));
    }
}

#[test]
fn case_32_a_connection_serves_many_requests_also_pipelined_and_in_pieces() {
    let rig = rig();
    let mut stream = connect(rig.v1.address());
    for _ in 0..3 {
        stream.write_all(format!("GET {LIST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes()).expect("open");
        assert_eq!(read_one(&mut stream).body, "test_role");
    }
    stream.write_all(format!("GET {LIST} HTTP/1.1\r\n\r\n").repeat(20).as_bytes()).expect("open");
    for _ in 0..20 {
        assert_eq!(read_one(&mut stream).body, "test_role");
    }
    for byte in format!("GET {LIST} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n").as_bytes() {
        stream.write_all(&[*byte]).expect("open");
    }
    assert_eq!(read_one(&mut stream).body, "test_role");
}

#[test]
fn case_33_35_36_unknown_roles_and_the_extended_paths_are_404() {
    let rig = rig();
    for address in rig.both() {
        for path in [
            "/latest/meta-data/iam/security-credentials/other",
            "/latest/meta-data/iam/security-credentials-extended/",
            "/latest/meta-data/iam/security-credentials-extended/test_role",
            "/latest/meta-data/iam/security-credentials/..",
            "/latest/meta-data/iam/security-credentials/%2e%2e",
            "/latest/meta-data/iam/security-credentials/test_role/x",
            "/nowhere",
        ] {
            let response = get(address, path);
            assert_eq!(response.status, 404, "{path}");
            assert!(response.body.contains("<title>404 - Not Found</title>"));
        }
    }
}

#[test]
fn case_34_without_a_role_the_listing_is_404() {
    let ims = Ims::start(Behaviour { roles: Vec::new(), ..Behaviour::default() });
    let daemon = Daemon::start(&ims.config());
    daemon.wait_for_log("no role");
    assert_eq!(get(daemon.address(), LIST).status, 404);
    assert_eq!(get(daemon.address(), ROLE).status, 404);
}

#[test]
fn case_37_cached_credentials_are_served_while_the_upstream_is_down() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
    let before = get(daemon.address(), ROLE).body;
    ims.handle.update(|behaviour| behaviour.list = Answer::Status(502));
    ims.handle.update(|behaviour| behaviour.document = Answer::Status(502));
    daemon.wait_for_log("cannot fetch credentials");
    let response = get(daemon.address(), ROLE);
    assert_eq!((response.status, response.json()["Code"].as_str()), (200, Some("Success")));
    assert_eq!(before.len(), response.body.len());
}

#[test]
fn case_38_a_role_that_the_upstream_refuses_is_a_200_that_says_so() {
    let ims = Ims::start(Behaviour { document: Answer::Status(403), ..Behaviour::default() });
    let daemon = Daemon::start(&ims.config());
    daemon.wait_for_log("cannot fetch credentials");
    let response = get(daemon.address(), ROLE);
    assert_eq!((response.status, response.json()["Code"].as_str()), (200, Some("AssumeRoleUnauthorizedAccess")));
    assert!(response.json()["Message"].is_string() && response.json().get("AccessKeyId").is_none());
}

#[test]
fn case_39_45_49_slashes_collapse_and_queries_do_not_count() {
    let rig = rig();
    for address in rig.both() {
        for path in
            ["//latest///meta-data/", "/latest/meta-data", "/latest/meta-data?x=1", "/latest", "/2021-03-23/meta-data"]
        {
            assert_eq!(get(address, path).status, 200, "{path}");
        }
    }
}

#[test]
fn case_44_every_answer_names_ec2s_server() {
    let rig = rig();
    for address in rig.both() {
        for bytes in [
            "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
            "GET /nowhere HTTP/1.1\r\nConnection: close\r\n\r\n",
            "POST / HTTP/1.1\r\nConnection: close\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n",
            "nonsense\r\n\r\n",
            &format!("GET / HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(20_000)),
        ] {
            let response = raw(address, bytes.as_bytes());
            assert_eq!(response.header("server"), Some("EC2ws"), "{bytes:.40}");
            assert!(response.header("date").is_some());
        }
    }
}

#[test]
fn case_47_unusual_hosts_are_refused_and_those_of_ipv6_mode_are_not() {
    let rig = rig();
    let ask = |host: &str| request(rig.v1.address(), &format!("GET / HTTP/1.1\r\nHost: {host}\r\n")).status;
    for host in ["[fd00:ec2::254]", "169.254.169.254", "169.254.169.254:80", "localhost:25772", "127.0.0.1"] {
        assert_eq!(ask(host), 200, "{host}");
    }
    for host in ["evil.example", "169.254.169.254.evil.example", "localhost.evil.example"] {
        assert_eq!(ask(host), 403, "{host}");
    }
    let v6 = rig.v1.addresses[1];
    assert!(v6.is_ipv6());
    assert_eq!(get(v6, LIST).body, "test_role");
}

#[test]
fn case_48_head_has_headers_only() {
    let rig = rig();
    let response = request(rig.v1.address(), &format!("HEAD {LIST} HTTP/1.1\r\n"));
    assert_eq!((response.status, response.header("content-length"), &*response.body), (200, Some("9"), ""));
}

#[test]
fn case_58_nothing_redirects() {
    let rig = rig();
    for path in ["/latest", "/latest/meta-data", "/latest/meta-data/iam", "/latest/meta-data/iam/security-credentials"]
    {
        let response = get(rig.v1.address(), path);
        assert_eq!((response.status, response.header("location")), (200, None), "{path}");
    }
}

#[test]
fn case_59_a_thousand_gets_at_once_cost_no_upstream_call_and_all_succeed() {
    let ims = Ims::start(Behaviour::default());
    let daemon = Daemon::with_credentials(&ims.config());
    let calls = ims.calls();
    let address = daemon.address();
    thread::scope(|scope| {
        for _ in 0..50 {
            scope.spawn(|| (0..20).for_each(|_| assert_eq!(get(address, ROLE).status, 200)));
        }
    });
    assert_eq!(ims.calls(), calls);
}

#[test]
fn case_60_no_answer_mixes_two_sets() {
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(3), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&format!("{}refresh_interval: 1\n", ims.config()));
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 4 {
        let document = get(daemon.address(), ROLE).json();
        let part = |key: &str| document[key].as_str().expect("a text").to_owned();
        let issued = ims.handle.issued_with(&part("AccessKeyId")).expect("a key that the mock issued");
        assert_eq!((part("SecretAccessKey"), part("Token")), (issued.secret_access_key, issued.session_token));
        seen.insert(part("AccessKeyId"));
    }
}

#[test]
fn case_62_a_head_of_eight_kilobytes_is_accepted_and_one_of_twenty_is_431() {
    let rig = rig();
    let agent = |length: usize| format!("GET / HTTP/1.1\r\nUser-Agent: {}\r\n", "x".repeat(length));
    assert_eq!(request(rig.v1.address(), &agent(8192)).status, 200);
    assert_eq!(request(rig.v1.address(), &agent(20_000)).status, 431);
}

#[test]
fn a_request_while_the_first_fetch_runs_waits_for_it_but_not_long() {
    let slow = |latency| Ims::start(Behaviour { latency: Duration::from_millis(latency), ..Behaviour::default() });
    // Two calls of 100 ms: the answer comes with them. Of 5 s: the patience is over before.
    let quick = slow(100);
    let daemon = Daemon::start(&quick.config());
    assert_eq!(get_v1(daemon.address(), LIST).status, 200);
    let hanging = slow(5000);
    let daemon = Daemon::start(&hanging.config());
    assert_eq!(get_v1(daemon.address(), LIST).status, 503);
}

#[test]
fn a_closed_connection_is_closed_cleanly() {
    let rig = rig();
    let mut stream = connect(rig.v1.address());
    stream.write_all(b"GET / HTTP/1.1\r\nConnection: close\r\n\r\n").expect("open");
    read_one(&mut stream);
    assert_eq!(stream.read(&mut [0]).expect("not reset"), 0);
    assert_eq!(rig.ims.handle.connections(), 2, "one from each daemon, kept open");
}
