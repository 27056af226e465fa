//! The cases that can be tried at any instance metadata service, with the numbers of `docs/conformance.md`.

use std::{collections::BTreeMap, thread, time::Duration};

use zeroize::Zeroizing;

use super::probe::{Checked, LIST, Probe, Shortfall, TOKEN, expect, expect_status};

/// One case.
pub(super) struct Case {
    /// That of `docs/conformance.md`.
    pub(super) number: u8,
    pub(super) what: &'static str,
    /// Which clients depend on it.
    pub(super) needed_by: &'static str,
    pub(super) check: fn(&Probe) -> Checked,
}

/// A service without IMDSv1 has this case in place of [`V1`].
pub(super) const V2_ONLY: Case = Case {
    number: 12,
    what: "no token: 401, whatever the path",
    needed_by: "all; C++ turns tokens on again",
    check: |probe| {
        for path in ["/latest/meta-data/", "/", LIST, "/nowhere"] {
            expect_status(&probe.send("GET", path, "")?, 401, format_args!("GET {path} without a token"))?;
        }
        Ok(())
    },
};

/// A service with IMDSv1.
pub(super) const V1: Case = Case {
    number: 13,
    what: "no token where v1 is on: 200",
    needed_by: "rusoto, curl, old SDKs",
    check: |probe| {
        for path in ["/latest/meta-data/", "/"] {
            expect_status(&probe.send("GET", path, "")?, 200, format_args!("GET {path} without a token"))?;
        }
        Ok(())
    },
};

macro_rules! cases {
    ($($number:literal $what:literal, $needed_by:literal => $check:expr;)*) => {
        /// All others.
        pub(super) const CASES: &[Case] =
            &[$(Case { number: $number, what: $what, needed_by: $needed_by, check: $check }),*];
    };
}

cases! {
    1 "PUT for a token: 200, a token without newline", "all" => |probe| {
        let token = probe.token("21600")?;
        expect(!token.is_empty() && !token.contains(char::is_whitespace), || "the token is empty or has white space".into())
    };
    2 "the answer has the TTL in a header", "the Rust SDK refuses an answer without; Go falls back to v1" => |probe| {
        for ttl in ["21600", "300"] {
            let answer = probe.put_token(ttl)?;
            let said = answer.header("x-aws-ec2-metadata-token-ttl-seconds");
            expect(said == Some(ttl), || format!("a TTL of {ttl} is answered with {said:?}"))?;
        }
        Ok(())
    };
    3 "a PUT without TTL: 400", "all: 400 means no fall-back to v1" => |probe| {
        expect_status(&probe.send("PUT", TOKEN, "Content-Length: 0\r\n")?, 400, "a PUT without a TTL")
    };
    4 "an illegal TTL: 400", "the same; ec2-metadata-mock" => |probe| {
        for ttl in ["0", "21601", "-1", "abc", ""] {
            expect_status(&probe.put_token(ttl)?, 400, format_args!("a TTL of {ttl:?}"))?;
        }
        Ok(())
    };
    5 "a token dies after its TTL", "GDAL asks for 10 s" => |probe| {
        let token = probe.token("1")?;
        thread::sleep(Duration::from_millis(1_500));
        expect_status(&probe.get_with("/", &token, "")?, 401, "a token of 1 s after 1.5 s")
    };
    6 "a forwarded PUT gets no token", "protection against SSRF" => |probe| {
        let lines = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\nX-Forwarded-For: 192.0.2.1\r\n";
        expect_status(&probe.send("PUT", TOKEN, lines)?, 403, "a PUT with X-Forwarded-For")
    };
    7 "a PUT with a length of 0, none, or a small body: 200", "curl, Java, Node" => |probe| {
        for (rest, what) in [("Content-Length: 0\r\n\r\n", "a length of 0"), ("\r\n", "none"), ("Content-Length: 5\r\n\r\nhello", "a body")] {
            let head = format!("PUT {TOKEN} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n");
            expect_status(&probe.raw(&format!("{head}{rest}"))?, 200, format_args!("a PUT with {what}"))?;
        }
        Ok(())
    };
    8 "header names in any case", "all" => |probe| {
        for name in ["X-AWS-EC2-METADATA-TOKEN-TTL-SECONDS", "x-aws-ec2-metadata-token-ttl-seconds"] {
            expect_status(&probe.send("PUT", TOKEN, &format!("{name}: 60\r\nContent-Length: 0\r\n"))?, 200, name)?;
        }
        let token = probe.token("60")?;
        for name in ["X-AWS-EC2-METADATA-TOKEN", "x-aws-ec2-metadata-token"] {
            let line = Zeroizing::new(format!("{name}: {}\r\n", *token));
            expect_status(&probe.send("GET", "/latest/meta-data/", &line)?, 200, name)?;
        }
        Ok(())
    };
    9 "GET of the token's path: 405", "scanners for SSRF" => |probe| expect_status(&probe.send("GET", TOKEN, "")?, 405, "GET /latest/api/token");
    10 "POST and DELETE: 405", "scanners" => |probe| {
        for method in ["POST", "DELETE"] {
            let answer = probe.send(method, "/latest/meta-data/", "Content-Length: 0\r\n")?;
            expect_status(&answer, 405, format_args!("{method} /latest/meta-data/"))?;
        }
        Ok(())
    };
    11 "a PUT of anything else: 403 without a body", "clients with a wrong path fail here and there alike" => |probe| {
        let lines = "X-aws-ec2-metadata-token-ttl-seconds: 60\r\nContent-Length: 0\r\n";
        for path in ["/latest/api/token/", "/latest/api", "/2021-01-03/api/token"] {
            let answer = probe.send("PUT", path, lines)?;
            expect_status(&answer, 403, format_args!("PUT {path}"))?;
            expect(answer.body.is_empty(), || format!("PUT {path} has a body"))?;
        }
        Ok(())
    };
    14 "a bad token: 401, also where v1 is on", "fluent-bit" => |probe| {
        expect_status(&probe.get_with("/latest/meta-data/", "bad", "")?, 401, "a bad token")
    };
    15 "GET / with INVALID as token: 401", "fluent-bit tells v2 from v1 by that" => |probe| {
        expect_status(&probe.get_with("/", "INVALID", "")?, 401, "GET / with the token INVALID")
    };
    16 "GET /: the versions, with latest", "fluent-bit, cloud-init" => |probe| {
        let answer = probe.get("/")?;
        expect_status(&answer, 200, "GET /")?;
        expect(answer.body.lines().any(|line| line.trim_end_matches('/') == "latest"), || "latest is not among them".into())
    };
    19 "two tokens are valid together", "many processes on one host" => |probe| {
        for token in [probe.token("60")?, probe.token("60")?] {
            expect_status(&probe.get_with("/latest/meta-data/", &token, "")?, 200, "one of two tokens")?;
        }
        Ok(())
    };
    20 "the listing is the role, without newline", "botocore, Rust, PHP, GDAL, object_store paste it into the next path" => |probe| {
        probe.role_path()?;
        let answer = probe.get(LIST)?;
        expect(!answer.body.is_empty() && !answer.body.ends_with('\n'), || "it is empty or ends with a newline".into())
    };
    21 "the same without final slash, no redirect", "C++, .NET, rust-s3" => |probe| {
        probe.role_path()?;
        let answer = probe.get(LIST.trim_end_matches('/'))?;
        expect_status(&answer, 200, "the listing without its final slash")?;
        expect(answer.body == probe.get(LIST)?.body, || "it is another listing".into())
    };
    22 "exactly one line", "botocore, JavaScript, PHP, Kotlin" => |probe| {
        probe.role_path()?;
        let lines = probe.get(LIST)?.body.lines().count();
        expect(lines == 1, || format!("it has {lines} lines"))
    };
    23 "the document has seven keys in EC2's order and form", "all" => |probe| {
        let answer = probe.document()?;
        let keys: Vec<_> = answer.body.lines().filter_map(|line| line.split('"').nth(1)).collect();
        let wanted = ["Code", "LastUpdated", "Type", "AccessKeyId", "SecretAccessKey", "Token", "Expiration"];
        // A document on one line would show values among the keys.
        let known = |key: &&str| wanted.contains(key) || *key == "AccountId" || *key == "RoleArn";
        let keys: Vec<_> = keys.into_iter().filter(known).collect();
        expect(keys == wanted, || format!("its lines have these keys: {keys:?}"))
    };
    24 "the same with a final slash", "fluent-bit asks for leaves that way" => |probe| {
        let path = probe.role_path()?;
        expect_status(&probe.get(&format!("{path}/"))?, 200, "the document with a final slash")
    };
    25 "Code is exactly Success", "PHP, minio-go, Rust" => |probe| {
        let document = fields(probe)?;
        expect(document.get("Code").is_some_and(|code| **code == "Success"), || "it is not".into())
    };
    26 "Expiration has whole seconds and Z", "botocore's static stability reads nothing else; Rust, minio-py" => |probe| whole_seconds(probe, "Expiration");
    27 "LastUpdated has the same form", "minio-go fails on any other" => |probe| whole_seconds(probe, "LastUpdated");
    28 "no RoleArn, no AccountId, nothing nested", "s3fs counts the keys it knows, GDAL scans without nesting" => |probe| {
        let document = fields(probe)?;
        let more: Vec<_> = ["RoleArn", "AccountId"].into_iter().filter(|key| document.contains_key(*key)).collect();
        expect(more.is_empty(), || format!("it has {more:?}"))
    };
    29 "text/plain, Accept-Ranges and Last-Modified", "fidelity: that is what EC2 sends" => |probe| {
        let answer = probe.document()?;
        for (name, wanted) in [("content-type", "text/plain"), ("accept-ranges", "none")] {
            let said = answer.header(name);
            expect(said == Some(wanted), || format!("{name}: {said:?}, not {wanted}"))?;
        }
        expect(answer.header("last-modified").is_some(), || "there is no Last-Modified".into())
    };
    30 "a Content-Length, no chunks", "fluent-bit and other hand-written parsers" => |probe| {
        let answer = probe.document()?;
        let length = answer.body.len().to_string();
        expect(answer.header("content-length") == Some(&length), || "the Content-Length is not that of the body".into())?;
        expect(answer.header("transfer-encoding").is_none(), || "there is a Transfer-Encoding".into())
    };
    31 "HTTP/1.0 is served, and closed", "busybox wget, raw sockets" => |probe| {
        let token = probe.token("60")?;
        let request = Zeroizing::new(format!("GET /latest/meta-data/ HTTP/1.0\r\nX-aws-ec2-metadata-token: {}\r\n\r\n", *token));
        expect_status(&probe.raw(&request)?, 200, "a request of HTTP/1.0")
    };
    33 "an unknown role: 404", "Java, Kotlin, Ruby list again" => |probe| {
        probe.role_path()?;
        expect_status(&probe.get(&format!("{LIST}no-such-role-of-alppaca"))?, 404, "an unknown role")
    };
    39 "// is /", "Java with an endpoint that ends in /" => |probe| {
        expect_status(&probe.get("//latest/meta-data/")?, 200, "//latest/meta-data/")
    };
    40 "the availability zone, with and without slash: one line", "botocore (with) cuts off the last character, C++ (without)" => |probe| {
        let plain = probe.get_if_there("/latest/meta-data/placement/availability-zone")?;
        expect_status(&plain, 200, "the zone")?;
        let slash = probe.get("/latest/meta-data/placement/availability-zone/")?;
        expect(slash.status == 200 && slash.body == plain.body, || "with a slash it is another".into())?;
        expect(!plain.body.contains('\n'), || "it has more than one line".into())
    };
    41 "placement/region", "Rust" => |probe| {
        let answer = probe.get_if_there("/latest/meta-data/placement/region")?;
        expect(answer.status == 200 && !answer.body.contains(char::is_whitespace), || "it is not one word".into())
    };
    42 "the identity document has region and accountId", "Go takes the region from it, .NET" => |probe| {
        let answer = probe.get_if_there("/latest/dynamic/instance-identity/document")?;
        let document: serde_json::Value = serde_json::from_str(&answer.body).map_err(|_| Shortfall::Differs("it is no JSON".into()))?;
        for key in ["region", "accountId"] {
            expect(document[key].is_string(), || format!("it has no {key}"))?;
        }
        Ok(())
    };
    43 "iam/info has InstanceProfileArn", ".NET, tools" => |probe| {
        let answer = probe.get_if_there("/latest/meta-data/iam/info")?;
        let document: serde_json::Value = serde_json::from_str(&answer.body).map_err(|_| Shortfall::Differs("it is no JSON".into()))?;
        expect(document["InstanceProfileArn"].is_string(), || "it has none".into())
    };
    44 "Server: EC2ws on every answer", "old terraform, detectors" => |probe| {
        for (answer, what) in [(probe.get("/")?, "GET /"), (probe.get("/nowhere")?, "a 404"), (probe.send("POST", "/", "Content-Length: 0\r\n")?, "a POST")] {
            let server = answer.header("server").map(crate::cli::human::foreign);
            expect(server.as_deref() == Some("EC2ws"), || format!("{what}: {server:?}"))?;
        }
        Ok(())
    };
    45 "directories without final slash: 200, the same listing", "GDAL, terraform probe that way" => |probe| {
        for path in ["/latest/meta-data", "/latest"] {
            let answer = probe.get(path)?;
            expect_status(&answer, 200, path)?;
            expect(answer.body == probe.get(&format!("{path}/"))?.body, || format!("{path}/ is another listing"))?;
        }
        Ok(())
    };
    46 "a warm answer in far less than 250 ms", "Go gives up 500 ms after the request" => |probe| {
        let path = probe.role_path()?;
        let token = probe.token("60")?;
        let mut times = Vec::new();
        for _ in 0..5 {
            times.push(probe.get_with(&path, &token, "")?.took);
        }
        times.sort();
        expect(times[2] < Duration::from_millis(250), || format!("it takes {} ms", times[2].as_millis()))
    };
    48 "HEAD: headers only", "curl -I" => |probe| {
        let token = probe.token("60")?;
        let line = Zeroizing::new(format!("X-aws-ec2-metadata-token: {}\r\n", *token));
        let answer = probe.send("HEAD", "/latest/meta-data/", &line)?;
        expect_status(&answer, 200, "HEAD /latest/meta-data/")?;
        expect(answer.body.is_empty(), || "there is a body".into())
    };
    49 "the query is ignored", "clients that defeat caches" => |probe| {
        expect_status(&probe.get("/latest/meta-data/?x=1")?, 200, "/latest/meta-data/?x=1")
    };
    61 "an empty token is a bad one: 401", "PHP sends it when it got none" => |probe| {
        expect_status(&probe.get_with("/latest/meta-data/", "", "")?, 401, "an empty token")
    };
    62 "a head of 8 KB is accepted", "user agents of botocore and Java" => |probe| {
        let token = probe.token("60")?;
        let long = format!("User-Agent: {}\r\n", "x".repeat(7_500));
        expect_status(&probe.get_with("/latest/meta-data/", &token, &long)?, 200, "a head of 8 KB")
    };
}

/// The fields of the document that are texts. Secret.
fn fields(probe: &Probe) -> Result<BTreeMap<String, Zeroizing<String>>, Shortfall> {
    let answer = probe.document()?;
    let document: BTreeMap<String, String> = serde_json::from_str(&answer.body)
        .map_err(|_| Shortfall::Differs("the document is no JSON object of texts".to_owned()))?;
    Ok(document.into_iter().map(|(key, value)| (key, Zeroizing::new(value))).collect())
}

fn whole_seconds(probe: &Probe, key: &str) -> Checked {
    let document = fields(probe)?;
    let Some(value) = document.get(key) else { return Err(Shortfall::Differs(format!("there is no {key}"))) };
    let shape: String = value.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
    // What is no date might be anything.
    let shown = if shape.starts_with("0000-00-00T00:00:00") { shape.as_str() } else { "something else" };
    expect(shape == "0000-00-00T00:00:00Z", || format!("it has the form {shown}"))
}
