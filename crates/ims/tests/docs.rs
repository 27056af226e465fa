//! The documentation of the server is true: its reference is that of the code, its examples are legal.

#[path = "../../../tests/support/schema.rs"]
mod schema;

use std::{fs, path::PathBuf, process::Command};

use alppaca_ims::site::{SECTIONS, SETTINGS, parse};
use alppaca_settings::reference::markdown;

fn docs() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../docs")
}

#[test]
#[allow(clippy::disallowed_methods, reason = "a developer asks for rewriting through the environment")]
fn the_reference_has_every_setting_as_the_code_has_it() {
    let path = docs().join("ims-configuration.md");
    let text = fs::read_to_string(&path).expect("text");
    let start = text.find("rewrites it -->\n").expect("a marker") + "rewrites it -->\n".len();
    let end = text.find("<!-- end of the generated part").expect("a marker");
    let reference = markdown(&SETTINGS, &SECTIONS);
    if std::env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&path, [&text[..start], &reference, &text[end..]].concat()).expect("writable");
        return;
    }
    assert_eq!(text[start..end], reference, "run UPDATE_DOCS=1 cargo test -p alppaca-ims --test docs");
}

/// What every configuration needs, for examples of a part.
const REST: [(&str, &str); 3] = [
    ("listen:", "listen: 127.0.0.1:1\n"),
    ("identities:", "identities: {hosts: {kind: dns, pattern: '.*'}, people: {kind: dns, pattern: 'x'}}\n"),
    ("sts:", "sts: {credentials: {kind: imds}}\n"),
];

/// All examples, each made whole, with the pages that they are on.
fn examples() -> Vec<(PathBuf, String)> {
    let mut examples = Vec::new();
    for entry in fs::read_dir(docs()).expect("docs") {
        let path = entry.expect("a file").path();
        let name = path.file_name().expect("a name").to_string_lossy().into_owned();
        if !name.starts_with("ims-") {
            continue;
        }
        let text = fs::read_to_string(&path).expect("text");
        for block in text.split("```yaml\n").skip(1).filter_map(|rest| rest.split("```").next()) {
            if block.starts_with("# daemon\n") {
                continue;
            }
            let missing = REST.iter().filter(|(key, _)| !block.lines().any(|line| line.starts_with(key)));
            examples.push((path.clone(), missing.map(|(_, text)| *text).chain([block]).collect()));
        }
    }
    examples
}

fn schema() -> serde_json::Value {
    alppaca_ims::site::schema().expect("all keys are read")
}

#[test]
fn every_example_is_legal() {
    let examples = examples();
    assert!(examples.len() >= 8, "{}", examples.len());
    for (path, text) in examples {
        schema::compare(schema, &text, None);
        if let Err(errors) = parse(vec![(path, text.clone())]) {
            panic!("{errors}\n{text}");
        }
    }
}

#[test]
fn the_schema_and_the_program_find_the_same_mistakes_in_examples() {
    let refused = |text: &str| parse(vec![("a.yaml".into(), text.to_owned())]).err().map(|errors| errors.to_string());
    let texts = examples().into_iter().map(|(_, text)| text);
    let (count, disagreements) = schema::compare_changed(schema, texts, refused);
    assert!(count > 500, "{count}");
    assert!(disagreements.is_empty(), "{} of {count}:\n{}", disagreements.len(), disagreements.join("\n\n"));
}

#[test]
fn the_manual_pages_and_completions_are_made() {
    for (arguments, expected) in [
        (vec!["generate", "man"], ".TH alppaca-ims 8"),
        (vec!["generate", "man", "--of", "alppaca-ims.yaml"], "\\fBmax_connections\\fR"),
        (vec!["generate", "bash"], "complete -F _alppaca__ims"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_alppaca-ims")).args(&arguments).output().expect("it runs");
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success() && text.contains(expected), "{arguments:?}: {text:.300}");
    }
}

/// All Rust code below a folder.
fn code(folder: &std::path::Path, text: &mut String) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            code(&path, text);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            text.push_str(&fs::read_to_string(&path).expect("text"));
        }
    }
}

#[test]
fn each_threat_names_tests_that_exist() {
    let page = fs::read_to_string(docs().join("ims-threats.md")).expect("the page");
    let mut all = String::new();
    code(&docs().join("../crates"), &mut all);
    let mut names = 0;
    for row in page.lines().filter(|line| line.starts_with("| ")).skip(1) {
        let cell = row.trim_matches('|').rsplit('|').next().expect("a cell");
        let tests: Vec<&str> = cell.split('`').skip(1).step_by(2).collect();
        assert!(!tests.is_empty(), "{row}");
        for name in tests {
            assert!(all.contains(&format!("fn {name}(")), "docs/ims-threats.md: there is no test {name}");
            names += 1;
        }
    }
    assert!(names > 15, "{names}");
}
