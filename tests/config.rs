//! The configuration as a person meets it: what is accepted, what is refused and how that is said.

#[path = "support/schema.rs"]
mod schema;

use std::{collections::BTreeSet, fs, path::PathBuf, process::Command};

use alppaca::config::{Config, SECTIONS, SETTINGS, load, parse, restart_keys};
use alppaca_settings::reference::markdown;
use proptest::prelude::*;

fn parsed(text: &str) -> Result<Config, String> {
    schema::parse(text).map(|loaded| loaded.config)
}

fn refused(text: &str) -> String {
    parsed(text).expect_err(text)
}

#[test]
fn a_mistake_is_told_with_its_place_its_line_and_the_nearest_key() {
    assert_eq!(
        refused("ims_host: x\nims_prot: 443\n"),
        "a.yaml:2:1: there is no setting \"ims_prot\"; did you mean `ims_port`?\n 2 | ims_prot: 443\n   | ^"
    );
    assert_eq!(
        refused("ims_host: x\nbind_port:   70000\n"),
        "a.yaml:2:14: a port number from 0 to 65535 is expected here, not \"70000\"\n 2 | bind_port:   70000\n   |              ^"
    );
}

#[test]
fn all_mistakes_are_told_at_once() {
    let said = refused("ims_port: x\nlog_level: loud\nlist_roles: some\nfrobnicate: 1\n");
    for part in [
        "1:11: a port number",
        "2:12: one of debug, info, warning, error",
        "3:13: one of first, all",
        "4:1: there is no setting \"frobnicate\"",
        "`ims_host` (or `ims_url`, or `sources`) is missing",
    ] {
        assert!(said.contains(part), "{part}: {said}");
    }
}

#[test]
fn each_kind_of_mistake_has_its_message() {
    for (text, part) in [
        ("ims_host: [a]", "1:11: a text is expected here, not a list"),
        (
            "ims_host: x\nims_url: http://y/",
            "2:1: `ims_url` replaces `ims_host`, which is also set (a.yaml:1); remove one",
        ),
        ("ims_host: x\nlisten: ['[::1]:1']\nbind_ip: ::1", "2:1: `listen` replaces `bind_ip`"),
        ("ims_host: x\nlisten: []", "an empty list: the daemon would listen nowhere"),
        ("ims_host: x\nlisten: [localhost:1]", "address:port, such as 127.0.0.1:25772"),
        ("ims_host: x\nims_identity: {kind: jwt}", "2:1: this kind of identity needs a `file`"),
        ("ims_host: x\nims_identity: {file: f}", "2:1: an identity needs a `kind`: jwt, token or ssh"),
        ("ims_host: x\nims_identity: {kind: ssh}", "an identity by SSH needs a `key`, or the socket of an `agent`"),
        ("ims_host: x\nims_identity: {kind: ssh, file: f, key: k}", "ssh has no `file`"),
        ("ims_host: x\nims_identity: {kind: jwt, file: f, agent: a}", "jwt and token have a `file` only"),
        ("ims_host: x\nims_identity: {kind: ssh, agent: a, certificate: c}", "`agent` replaces `certificate`"),
        (
            "ims_host: x\nims_identity: {kind: ssh, agent: a, user: u}",
            "`user` is the name of a person, with `for: people`",
        ),
        ("ims_host: x\nims_identity: {kind: x, file: f}", "2:22: one of jwt, token, ssh is expected here"),
        ("ims_host: x\nims_client_key: k", "2:1: `ims_client_key` has no effect without `ims_client_certificate`"),
        ("ims_host: x\nims_proxy: ftp://u:secret@h:1", "2:12: a proxy such as http://proxy.example.com:3128"),
        ("ims_url: ftp://x/", "which is not a URL with http or https, a host and a path"),
        ("ims_host: 'a b'", "which is not a URL"),
        ("ims_host: x\nrefresh_interval: 0", "2:19: a time of at least one second"),
        ("ims_host: x\nims_timeout: soon", "2:14: a time such as 500ms, 10s, 5m or 1h"),
        ("ims_host: x\nimds_v1: maybe", "2:10: true or false is expected here, not \"maybe\""),
        ("ims_host: x\nlog_format: '%(massage)s'", "2:13: position 1: there is no attribute \"massage\""),
        ("ims_host: x\nlogging_handler: syslog", "2:18: a mapping with `module` and `class` is expected here"),
        (
            "ims_host: x\nlogging_handler: {module: logging, class: SmtpHandler}",
            "there is no handler logging.SmtpHandler; there are logging.StreamHandler,",
        ),
        ("ims_host: x\nlogging_handler: {class: FileHandler}", "FileHandler: filename has to be the path of a file"),
        (
            "ims_host: x\nlogging_handler: {class: FileHandler, args: [f], kwargs: {filename: g}}",
            "has no (further) argument \"filename\"",
        ),
        ("ims_host: x\nlogging_handler: {klass: FileHandler}", "there is no setting \"klass\"; did you mean `class`?"),
        ("ims_host: x\nassume_role: admin", "2:14: \"admin\" is not the ARN of a role"),
        ("ims_host: x\nims_host: y", "2:1: \"ims_host\" appears here a second time; first in line 1"),
        ("ims_host: x\n---\nims_host: y", "a second document begins here"),
        ("- ims_host", "a configuration is a mapping (`key: value`), not a list"),
        ("ims_host: 'x", "this is not YAML: "),
        (
            "ims_host: x\n policy: {}",
            "mapping values are not allowed in this context; is this line indented further than the one above?",
        ),
        ("ims_host: a: b", "A text with `: ` in it needs quotation marks"),
        ("ims_host: x\npolicy:\n\trules: []", "within this context (block indentation); indent with spaces"),
        ("ims_host: x\nallowed_hosts: ['a:80']", "a host name without a port"),
    ] {
        let said = refused(text);
        assert!(said.contains(part), "{text:?} should say {part:?}, not {said}");
        assert!(!said.contains("secret"), "{said}");
    }
}

#[test]
fn bombs_and_towers_are_refused() {
    let bomb = (1..9).fold("a0: &a0 [x,x,x,x,x,x,x,x,x,x]\n".to_owned(), |text, n| {
        let aliases = [format!("*a{}", n - 1).as_str(); 10].join(",");
        format!("{text}a{n}: &a{n} [{aliases}]\n")
    });
    // Only by the daemon: the validator would really make them.
    let refused = |text: &str| parse(vec![(PathBuf::from("a.yaml"), text.to_owned())]).expect_err(text).to_string();
    assert!(refused(&bomb).contains("more than 100000 values, aliases resolved"));
    assert!(refused(&format!("a: {}{}", "[".repeat(100), "]".repeat(100))).contains("levels deep"));
}

#[test]
fn the_keys_of_2015_have_their_meaning_and_their_defaults() {
    let config = parsed("ims_host: ims.example.com\n").expect("enough");
    assert_eq!(
        config.upstreams.ims.as_ref().expect("given").list_url,
        "https://ims.example.com:8080/latest/meta-data/iam/security-credentials/"
    );
    assert_eq!(config.listen, ["127.0.0.1:25772".parse().expect("legal")]);
    assert_eq!(config.logging.format, "alppaca: [%(levelname)s] %(message)s");
    let text = "ims_host: h\nims_port: '80'\nims_protocol: http\nbind_ip: 127.0.0.2\nbind_port: 1\nlog_level: DEBUG\n\
                user: 1000\ngroup: staff\nassume_role: arn:aws:iam::123456789012:role/path/name\naws_proxy_host: p\n\
                aws_proxy_port: 3128\naws_region: us-east-1\nlogging_handler:\n  module: logging.handlers\n  class: SysLogHandler\n  \
                args: []\n  kwargs: {address: /dev/log}\n";
    let config = parsed(text).expect("legal");
    assert_eq!(
        config.upstreams.ims.as_ref().expect("given").list_url,
        "http://h:80/latest/meta-data/iam/security-credentials/"
    );
    assert_eq!(config.account.user.as_deref(), Some("1000"));
    let upstreams = &config.upstreams;
    assert_eq!((&*upstreams.sts.region, upstreams.aws_proxy.clone()), ("us-east-1", Some(("p".to_owned(), 3128))));
    let roles = upstreams.roles();
    assert_eq!(roles.iter().map(|role| role.name.as_str()).collect::<Vec<_>>(), ["name"]);
}

#[test]
fn redirected_connections_have_a_port_beside_the_usual_one_unless_another_listener_has_it() {
    let capture = |text: &str| {
        let config = parsed(&format!("ims_host: x\n{text}\n")).expect("legal");
        config.capture_listen.map(|address| address.to_string())
    };
    let usual = Some("127.0.0.1:25774".to_owned());
    for text in ["", "bind_ip: 0.0.0.0", "listen: ['[::]:25772']", "listen: ['127.0.0.1:25772', '127.0.0.1:25773']"] {
        assert_eq!(capture(text), usual, "{text}");
    }
    for text in [
        "bind_port: 8080",
        "bind_ip: 127.0.0.2",
        "listen: ['169.254.169.254:80']",
        "listen: ['127.0.0.1:25772', '0.0.0.0:25774']",
        "container: {listen: 127.0.0.1:25774}",
        "capture_listen: none",
    ] {
        assert_eq!(capture(text), None, "{text}");
    }
    assert_eq!(capture("bind_port: 8080\ncapture_listen: 127.0.0.2:8081"), Some("127.0.0.2:8081".to_owned()));
}

#[test]
fn booleans_are_those_of_yaml_1_1_and_nothing_means_the_default() {
    for (text, v1) in
        [("yes", true), ("On", true), ("no", false), ("off", false), ("FALSE", false), ("", true), ("~", true)]
    {
        let config = parsed(&format!("ims_host: x\nimds_v1: {text}\n")).expect(text);
        assert_eq!(config.imds.v1, v1, "{text}");
    }
}

#[test]
fn an_ims_url_is_the_list_or_its_base() {
    for (url, list) in [
        (
            "https://h/api/latest/machine/meta-data/iam/security-credentials",
            "https://h/api/latest/machine/meta-data/iam/security-credentials/",
        ),
        ("http://[::1]:8080/base/", "http://[::1]:8080/base/latest/meta-data/iam/security-credentials/"),
    ] {
        assert_eq!(parsed(&format!("ims_url: {url}\n")).expect(url).upstreams.ims.expect("given").list_url, list);
    }
}

#[test]
fn the_files_of_a_directory_are_merged_in_order_and_keep_their_places() {
    let directory = tempfile::tempdir().expect("a directory");
    let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).expect("a file");
    write("10-a.yaml", "ims_host: first\nallowed_hosts: [a]\n");
    write("20-b.yaml", "ims_host: second\nallowed_hosts: [b]\n");
    write("30-c.yml", "not: read\n");
    write(".hidden.yaml", "not: read\n");
    write("40-empty.yaml", "# nothing\n");
    let config = load(directory.path()).expect("legal").config;
    assert!(config.upstreams.ims.as_ref().expect("given").list_url.contains("second"));
    assert_eq!(config.common.allowed_hosts, ["a", "b"]);
    write("50-d.yaml", "\nims_port: none\n");
    let said = load(directory.path()).expect_err("wrong").to_string();
    assert!(said.contains("/50-d.yaml:2:11: a port number"), "{said}");
}

#[test]
fn what_cannot_be_read_is_told() {
    let directory = tempfile::tempdir().expect("a directory");
    let said = |path: &std::path::Path| load(path).expect_err("unreadable").to_string();
    assert!(
        said(&directory.path().join("none")).contains("none: write a configuration there, or name another with -c")
    );
    assert!(said(directory.path()).contains("there is no *.yaml in"));
    let binary = directory.path().join("x.yaml");
    fs::write(&binary, [0xff, 0xfe]).expect("a file");
    assert!(said(&binary).contains("UTF-8"));
}

#[test]
fn check_prints_what_it_amounts_to_without_secrets() {
    let directory = tempfile::tempdir().expect("a directory");
    let file = directory.path().join("alppaca.yaml");
    let check = |text: &str| {
        fs::write(&file, text).expect("a file");
        let output =
            Command::new(env!("CARGO_BIN_EXE_alppaca")).arg("check").arg("-c").arg(&file).output().expect("it runs");
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
        (output.status.code(), said)
    };
    let (code, [out, err]) =
        check("ims_host: x.example\nims_protocol: http\nims_proxy: http://me:s3cr3t@p:1\nlisten: ['0.0.0.0:80']\n");
    assert_eq!(code, Some(0), "{err}");
    assert!(out.contains("ims_proxy: \"http://me:***@p:1\"") && !format!("{out}{err}").contains("s3cr3t"), "{out}");
    assert!(err.contains("in clear text") && err.contains("can take the credentials"), "{err}");
    for (endpoint, clear) in
        [("http://sts.example", true), ("http://127.0.0.1:1", false), ("https://sts.example", false)]
    {
        let (_, [_, err]) = check(&format!("ims_host: x\nsources: {{s: {{kind: sts, endpoint: '{endpoint}'}}}}\n"));
        assert_eq!(err.contains("AWS is called by http over the network"), clear, "{err}");
    }
    let (code, [out, err]) = check("ims_host: x\nassume_role: arn:aws-cn:iam::123456789012:role/r\n");
    assert!(code == Some(0) && out.contains("assume_role: \"arn:aws-cn:iam::123456789012:role/r\""), "{err}");
    assert_eq!(check("ims_hots: x\n").0, Some(2));
    for wrong in ["https://me:s3cr3t@collector:4318", "https://collector:4318?api-key=s3cr3t"] {
        let (code, [_, err]) = check(&format!("ims_host: x\ntraces_endpoint: {wrong}\n"));
        assert!(code == Some(2) && err.contains("alppaca.yaml:2:18") && !err.contains("s3cr3t"), "{err}");
    }
}

/// The part of the documentation that the table of settings gives.
#[test]
#[allow(clippy::disallowed_methods, reason = "a developer asks for rewriting through the environment")]
fn the_documentation_has_every_setting_as_the_code_has_it() {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let text = fs::read_to_string(&path).expect("text");
    let start = text.find("rewrites it -->\n").expect("a marker") + "rewrites it -->\n".len();
    let end = text.find("<!-- end of the generated part").expect("a marker");
    let reference = markdown(&SETTINGS, &SECTIONS);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, [&text[..start], &reference, &text[end..]].concat()).expect("writable");
        return;
    }
    assert_eq!(text[start..end], reference, "run UPDATE_DOCS=1 cargo test --test config");
}

#[test]
fn the_documentation_of_reloads_names_what_needs_a_restart() {
    let text = fs::read_to_string(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("docs/reload.md")).expect("text");
    let section = text.split("## What needs a restart").nth(1).expect("that section");
    let items = section.lines().skip_while(|line| !line.starts_with("- ")).take_while(|line| !line.is_empty());
    let named: BTreeSet<String> =
        items.flat_map(|line| line.split('`').skip(1).step_by(2)).map(str::to_owned).collect();
    assert_eq!(named, restart_keys().collect());
}

/// All examples, with the files that they are in.
fn examples() -> Vec<(PathBuf, String)> {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let mut examples = Vec::new();
    for entry in fs::read_dir(root.join("examples")).expect("examples") {
        let path = entry.expect("a file").path();
        examples.push((path.clone(), fs::read_to_string(path).expect("text")));
    }
    let documents = fs::read_dir(root.join("docs")).expect("docs").map(|entry| entry.expect("a file").path());
    // Those of the role server are in its language, and a test of its crates reads them.
    let of_daemon = |path: &PathBuf| {
        let is_page = path.extension().is_some_and(|extension| extension == "md");
        is_page && !path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("ims-"))
    };
    for path in documents.filter(of_daemon).chain([root.join("README.md")]) {
        let text = fs::read_to_string(&path).expect("text");
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            examples.push((path.clone(), block.to_owned()));
        }
    }
    examples
}

#[test]
fn every_example_is_legal() {
    let examples = examples();
    assert!(examples.len() >= 6, "{}", examples.len());
    for (path, text) in examples {
        parsed(&text).unwrap_or_else(|errors| panic!("{}: {errors}", path.display()));
    }
}

#[test]
fn the_schema_and_the_program_find_the_same_mistakes_in_examples() {
    let schema = || alppaca::config::schema().expect("all keys are read");
    let refused = |text: &str| parse(vec![("a.yaml".into(), text.to_owned())]).err().map(|errors| errors.to_string());
    let texts = examples().into_iter().map(|(_, text)| text);
    let (count, disagreements) = schema::compare_changed(schema, texts, refused);
    assert!(count > 1000, "{count}");
    assert!(disagreements.is_empty(), "{} of {count}:\n{}", disagreements.len(), disagreements.join("\n\n"));
}

proptest! {
    #[test]
    fn what_is_rendered_reads_as_the_same(
        v1 in any::<bool>(), interval in 1_u64..1_000_000, milliseconds in 1_u64..100_000, port in 0_u16..,
        hosts in proptest::collection::vec("[a-z]{1,8}", 0..3), user in proptest::option::of("[a-z]{1,8}"),
        format in "[ -~&&[^%]]{1,20}",
    ) {
        let mut config = parsed("ims_host: x\nlogging_handler: {class: FileHandler, args: [a, null], kwargs: {delay: true}}\n").expect("legal");
        config.imds.v1 = v1;
        config.refresh.interval = std::time::Duration::from_secs(interval);
        config.limits.idle_timeout = std::time::Duration::from_millis(milliseconds);
        config.listen = vec![([127, 0, 0, 1], port).into(), "[::1]:80".parse().expect("legal")];
        config.common.allowed_hosts = hosts;
        config.account.user = user;
        config.logging.format = format;
        prop_assert_eq!(parsed(&config.render()), Ok(config));
    }

    #[test]
    fn no_text_makes_it_panic(text in "([a-z_]{1,8}: ?|[-\\[\\]{}&*!|>'\"%@`#,:\n ]|[a-z0-9]){0,60}") {
        let _ = parse(vec![(PathBuf::from("a.yaml"), text)]);
    }
}
