//! `docs/dependencies.md` names every dependency with a C library, a build script or network code, and no other.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
    process::Command,
};

use serde_json::Value;

/// A crate that uses one of these itself talks to the network.
const NETWORK: [&str; 4] = ["hyper", "mio", "socket2", "tokio-rustls"];

/// What is not built in by default.
const OTEL: &str = "alppaca/otel";

fn cargo(arguments: &[&str]) -> String {
    let mut command = Command::new(env!("CARGO"));
    let output = command.args(arguments).current_dir(env!("CARGO_MANIFEST_DIR")).output().expect("cargo runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("text")
}

/// The crates of others in both programs, with that feature or the default ones: name and version.
fn built_in(feature: Option<&str>) -> BTreeSet<(String, String)> {
    let tree = ["tree", "--locked", "--offline", "--edges=normal", "--prefix=none", "--format={p}"];
    let feature = feature.map(|feature| format!("--features={feature}"));
    let programs = ["--package=alppaca", "--package=alppaca-ims"];
    let tree = cargo(&tree.into_iter().chain(programs).chain(feature.as_deref()).collect::<Vec<_>>());
    let package = |line: &str| {
        let mut words = line.split(' ');
        let (name, version) = (words.next()?, words.next()?.strip_prefix('v')?);
        (!name.starts_with("alppaca")).then(|| (name.to_owned(), version.to_owned()))
    };
    tree.lines().filter_map(package).collect()
}

/// What has to be said of each crate.
fn found() -> BTreeMap<String, BTreeSet<&'static str>> {
    let platform = format!("--filter-platform={}-unknown-linux-gnu", std::env::consts::ARCH);
    let metadata = cargo(&["metadata", "--locked", "--offline", "--format-version=1", &platform]);
    let metadata: Value = serde_json::from_str(&metadata).expect("JSON");
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let (built_in, mut found) = (built_in(Some(OTEL)), BTreeMap::new());
    let all = metadata["packages"].as_array().expect("packages");
    for package in all.iter().filter(|package| built_in.contains(&(text(&package["name"]), text(&package["version"]))))
    {
        let array = |key: &str| package[key].as_array().cloned().unwrap_or_default();
        let builds = array("targets").iter().any(|target| target["kind"][0] == "custom-build");
        let name = text(&package["name"]);
        let uses = |dependency: &Value| {
            let used = text(&dependency["name"]);
            dependency["kind"].is_null() && NETWORK.contains(&&*used) && built_in.iter().any(|(name, _)| *name == used)
        };
        let talks = NETWORK.contains(&&*name) || array("dependencies").iter().any(uses);
        let says = [(!package["links"].is_null(), "C library"), (builds, "build script"), (talks, "network")];
        let says: BTreeSet<_> = says.into_iter().filter_map(|(is, word)| is.then_some(word)).collect();
        if !says.is_empty() {
            found.insert(name, says);
        }
    }
    found
}

#[test]
fn traces_add_nothing_to_a_build_without_them() {
    let (without, with) = (built_in(None), built_in(Some(OTEL)));
    let added: BTreeSet<_> = with.difference(&without).map(|(name, _)| name.as_str()).collect();
    // The last three run at build time.
    assert_eq!(added, BTreeSet::from(["prost", "prost-derive", "itertools", "anyhow"]));
    assert!(without.is_subset(&with));
}

#[test]
fn every_dependency_of_consequence_is_named_with_its_reason() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/dependencies.md");
    let page = fs::read_to_string(page).expect("text");
    let rows = page.lines().filter(|line| line.starts_with("| `"));
    let mut named: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [name, what, reason] = cells.as_slice() else { panic!("not a row: {row}") };
        assert!(reason.len() > 10, "no reason: {row}");
        named.insert(name.trim_matches('`').to_owned(), what.split(", ").map(str::to_owned).collect());
    }
    let found: BTreeMap<String, BTreeSet<String>> =
        found().into_iter().map(|(name, says)| (name, says.into_iter().map(str::to_owned).collect())).collect();
    assert_eq!(named, found);
}
