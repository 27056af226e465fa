//! Nothing that the daemon ever writes holds a secret that it handled; and what the page on security names is there.

mod support;

use std::{fs, path::Path, time::Duration};

use alppaca::mock_ims::{Answer, Behaviour};
use support::{Daemon, Ims, request};

const ROLE: &str = "/latest/meta-data/iam/security-credentials/test_role";

#[test]
fn no_secret_is_in_the_log_the_command_line_or_any_answer_that_is_not_the_document() {
    // Long enough for four failures, which begin when a third is over.
    let ims = Ims::start(Behaviour { lifetime: Duration::from_secs(30), ..Behaviour::default() });
    let config = format!("{}imds_v1: false\n", ims.config());
    let mut daemon = Daemon::with_credentials(&config);
    let put = "PUT /latest/api/token HTTP/1.1\r\nX-aws-ec2-metadata-token-ttl-seconds: 60\r\n";
    let token = request(daemon.address(), put).body;
    let get = |path: &str| {
        request(daemon.address(), &format!("GET {path} HTTP/1.1\r\nX-aws-ec2-metadata-token: {token}\r\n"))
    };
    let mut documents = vec![get(ROLE).json()];
    let mut answers = Vec::new();
    for wrong in [Answer::MissingField, Answer::BadDate, Answer::Expired, Answer::Reset] {
        let known = daemon.log().matches("cannot fetch credentials").count();
        ims.handle.update(|behaviour| behaviour.document = wrong);
        while daemon.log().matches("cannot fetch credentials").count() == known {
            answers.push(get("/latest/meta-data/iam/security-credentials/"));
        }
        documents.push(get(ROLE).json());
        answers.push(get("/nowhere"));
        answers.push(request(daemon.address(), &format!("GET {ROLE} HTTP/1.1\r\n")));
    }
    let commandline = std::fs::read_to_string(format!("/proc/{}/cmdline", daemon.pid())).expect("it runs");
    daemon.stop();
    let written = format!("{}\n{commandline}\n{answers:?}", daemon.log());
    let served = documents.iter().flat_map(|document| [&document["SecretAccessKey"], &document["Token"]]);
    let served = served.map(|value| value.as_str().expect("a text").to_owned());
    let issued = ims.handle.issued();
    assert!(issued.len() >= 4, "also those that came in bad documents");
    let issued = issued.into_iter().flat_map(|set| [set.secret_access_key, set.session_token]);
    for secret in served.chain(issued).chain([token.clone()]) {
        assert!(secret.len() >= 40);
        // A part would be bad enough.
        assert!(!written.contains(&secret[..16]), "a secret was written:\n{written}");
    }
    assert!(written.contains("ASIA"), "the public half is logged");
}

/// Each threat of the page names what shows that it is met.
#[test]
fn the_page_on_security_names_tests_that_are_there() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut sources = String::new();
    let mut folders = vec![root.join("src"), root.join("crates"), root.join("tests")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(&folder).expect("a folder").flatten() {
            match entry.path() {
                path if path.is_dir() => folders.push(path),
                path if path.extension().is_some_and(|end| end == "rs") => {
                    sources.push_str(&fs::read_to_string(path).expect("UTF-8"));
                }
                _ => {}
            }
        }
    }
    let page = fs::read_to_string(root.join("docs/security.md")).expect("the page");
    let rows = page.lines().filter(|line| line.starts_with("| ") && line.split(" | ").count() == 3).skip(1);
    let mut count = 0;
    for row in rows {
        let shown = row.rsplit(" | ").next().expect("three cells").trim_end_matches(" |");
        for name in shown.split(", ").map(|name| name.trim_matches('`')) {
            // Some are for several runtimes; the cases of the conformance table are made by a macro.
            let there = ["fn NAME()", "fn NAME<", "fn NAME(\n", " NAME => "]
                .iter()
                .any(|form| sources.contains(&form.replace("NAME", name)));
            assert!(there, "docs/security.md: there is no test {name}");
            count += 1;
        }
    }
    assert!(count > 40, "{count}");
}
