//! IMDSv2 tokens, and which methods there are.

use std::{io::Write, thread, time::Duration};

use crate::{
    LIST, ROLE, get, get_v1, get_with, put_token, rig,
    support::{Response, connect, raw, read_one, request},
    token,
};

pub(crate) fn a_put_gives_a_token_without_newline() {
    for address in rig().both() {
        let response = put_token(address, "21600");
        assert_eq!((response.status, response.body.len()), (200, 56));
        assert!(!response.body.contains(['\r', '\n']));
    }
}

pub(crate) fn the_answer_has_the_ttl_in_a_header() {
    for address in rig().both() {
        for ttl in ["21600", "300", "10"] {
            assert_eq!(put_token(address, ttl).header("x-aws-ec2-metadata-token-ttl-seconds"), Some(ttl));
        }
    }
}

pub(crate) fn a_put_without_a_ttl_is_400() {
    for address in rig().both() {
        assert_eq!(request(address, "PUT /latest/api/token HTTP/1.1\r\nHost: localhost\r\n").status, 400);
        // Who it is refused for another reason is told that.
        assert_eq!(request(address, "PUT /latest/api/token HTTP/1.1\r\nHost: h.localhost\r\n").status, 403);
    }
}

pub(crate) fn an_illegal_ttl_is_400() {
    for address in rig().both() {
        for ttl in ["0", "21601", "-1", "abc", ""] {
            assert_eq!(put_token(address, ttl).status, 400, "{ttl}");
        }
    }
}

pub(crate) fn a_short_life_is_kept() {
    let rig = rig();
    let address = rig.v2.address();
    let token = put_token(address, "1").body;
    assert_eq!(put_token(address, "10").status, 200);
    assert_eq!(get_with(address, "/", &token).status, 200);
    // The token's own life is what is waited for; there is no event to synchronise on.
    thread::sleep(Duration::from_millis(1100));
    assert_eq!(get_with(address, "/", &token).status, 401);
}

pub(crate) fn forwarded_requests_get_no_token() {
    let rig = rig();
    for address in rig.both() {
        let token = token(address);
        for value in ["1.2.3.4", ""] {
            let put = "PUT /latest/api/token HTTP/1.1\r\nx-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
            let response = request(address, &format!("{put}X-Forwarded-For: {value}\r\n"));
            assert_empty_403(&response, "a PUT");
            let get =
                format!("GET {ROLE} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\nX-Forwarded-For: {value}\r\n");
            assert_empty_403(&request(address, &get), "a GET");
        }
    }
}

/// As EC2 answers: <https://github.com/aws-beam/aws_credentials/pull/47> has it from a real instance.
fn assert_empty_403(response: &Response, what: &str) {
    assert_eq!((response.status, &*response.body), (403, ""), "{what}");
    assert_eq!(response.header("content-type"), Some("text/plain"), "{what}");
    assert_eq!(response.header("content-length"), Some("0"), "{what}");
    assert!(response.header("x-aws-ec2-metadata-token-ttl-seconds").is_none(), "{what}");
}

pub(crate) fn a_put_may_have_a_length_none_or_a_small_body() {
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

pub(crate) fn header_names_match_in_any_case() {
    let rig = rig();
    let address = rig.v2.address();
    for name in [
        "X-AWS-EC2-METADATA-TOKEN-TTL-SECONDS",
        "x-aws-ec2-metadata-token-ttl-seconds",
        "X-Aws-eC2-Metadata-Token-Ttl-Seconds",
    ] {
        assert_eq!(request(address, &format!("PUT /latest/api/token HTTP/1.1\r\n{name}: 60\r\n")).status, 200);
    }
    let token = token(address);
    for name in ["X-AWS-EC2-METADATA-TOKEN", "x-aws-ec2-metadata-token", "X-aws-eC2-Metadata-Token"] {
        assert_eq!(request(address, &format!("GET {ROLE} HTTP/1.1\r\n{name}: {token}\r\n")).status, 200);
    }
}

pub(crate) fn get_on_the_token_path_is_405_with_the_methods() {
    for address in rig().both() {
        let response = get_v1(address, "/latest/api/token");
        assert!(response.head.starts_with("HTTP/1.1 405 Not Allowed\r\n"), "{}", response.head);
        assert_eq!(response.header("allow"), Some("OPTIONS, PUT"));
        assert_eq!(response.header("content-length"), Some("0"));
        assert_eq!(response.header("content-type"), Some("text/plain"));
    }
}

pub(crate) fn other_methods_are_405() {
    for address in rig().both() {
        for method in ["POST", "DELETE", "PATCH"] {
            for path in ["/", LIST, "/latest/api/token", "/nowhere", "/latest/user-data"] {
                assert_eq!(request(address, &format!("{method} {path} HTTP/1.1\r\n")).status, 405, "{method} {path}");
            }
        }
    }
}

pub(crate) fn put_elsewhere_is_an_empty_403() {
    for address in rig().both() {
        for path in ["/", "/latest/api", LIST, "/latest/api/token/", "/latest/api/token/x", "/2021-01-03/api/token"] {
            let put = format!("PUT {path} HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n");
            assert_empty_403(&request(address, &put), path);
        }
    }
}

const PATHS: [&str; 4] = ["/latest/meta-data/", "/", LIST, ROLE];

pub(crate) fn without_a_token_401_where_v1_is_off() {
    let rig = rig();
    for path in PATHS.iter().chain(&["/nowhere", "/latest/dynamic/instance-identity/document"]) {
        assert_eq!(get_v1(rig.v2.address(), path).status, 401, "{path}");
    }
}

pub(crate) fn without_a_token_200_where_v1_is_on() {
    let rig = rig();
    for path in PATHS {
        assert_eq!(get_v1(rig.v1.address(), path).status, 200, "{path}");
    }
}

pub(crate) fn a_bad_token_is_401_even_where_v1_is_on() {
    let rig = rig();
    for address in rig.both() {
        for path in PATHS {
            for token in ["INVALID", "INVALID_TOKEN", &"A".repeat(56), &"x".repeat(8000)] {
                assert_eq!(get_with(address, path, token).status, 401, "{path} {token}");
            }
        }
    }
}

pub(crate) fn the_root_with_a_bad_token_is_401() {
    for address in rig().both() {
        assert_eq!(get_with(address, "/", "INVALID").status, 401);
    }
}

pub(crate) fn a_token_that_is_over_is_401() {
    let rig = rig();
    for address in rig.both() {
        let token = put_token(address, "1").body;
        // As above: the token's own life.
        thread::sleep(Duration::from_millis(1100));
        assert_eq!(get_with(address, ROLE, &token).status, 401);
        assert_eq!(get(address, ROLE).status, 200);
    }
}

pub(crate) fn a_token_of_another_process_is_401() {
    let rig = rig();
    assert_eq!(get_with(rig.v1.address(), "/", &token(rig.v2.address())).status, 401);
    // Also of another listener of the same.
    assert_eq!(get_with(rig.v1.addresses[1], "/", &token(rig.v1.address())).status, 401);
}

pub(crate) fn two_tokens_are_valid_together() {
    for address in rig().both() {
        let (first, second) = (token(address), token(address));
        assert_ne!(first, second);
        for token in [&first, &second, &first] {
            assert_eq!(get_with(address, "/", token).status, 200);
        }
    }
}

pub(crate) fn an_empty_token_is_a_bad_one() {
    for address in rig().both() {
        for path in PATHS {
            assert_eq!(get_with(address, path, "").status, 401, "{path}");
        }
    }
}
