//! The documentation as a reader meets it: every link leads somewhere, and every page is in the table of contents.

use std::{
    collections::{BTreeSet, HashMap},
    fs,
    path::{Path, PathBuf},
};

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The pages of the repository, without those of dependencies.
fn pages() -> Vec<PathBuf> {
    ["", "docs", "packaging", ".github/ISSUE_TEMPLATE"]
        .into_iter()
        .filter_map(|folder| fs::read_dir(root().join(folder)).ok())
        .flatten()
        .map(|entry| entry.expect("a file").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .collect()
}

/// The text without code, in which brackets mean nothing.
fn prose(text: &str) -> String {
    let outside = text.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    outside.split('`').step_by(2).collect::<Vec<_>>().join("code")
}

/// The targets of the links in a page.
fn links(prose: &str) -> impl Iterator<Item = &str> {
    prose.split("](").skip(1).filter_map(|rest| rest.split(')').next())
}

/// The anchors of a page, as GitHub and mdBook make them from headings.
fn anchors(path: &Path) -> BTreeSet<String> {
    let text = fs::read_to_string(path).expect("text");
    let outside = text.split("\n```").step_by(2).collect::<Vec<_>>().join("\n");
    let headings = outside.lines().filter_map(|line| line.strip_prefix('#'));
    let mut seen = HashMap::new();
    headings
        .map(|heading| {
            let kept = |character: &char| character.is_alphanumeric() || " -_".contains(*character);
            let title = heading.trim_start_matches('#').trim().to_lowercase();
            let slug: String = title.chars().filter(kept).map(|it| if it == ' ' { '-' } else { it }).collect();
            match seen.entry(slug.clone()).and_modify(|count| *count += 1).or_insert(0) {
                0 => slug,
                count => format!("{slug}-{count}"),
            }
        })
        .collect()
}

#[test]
fn every_link_leads_somewhere() {
    let mut broken = Vec::new();
    let mut count = 0;
    for page in pages() {
        let text = prose(&fs::read_to_string(&page).expect("text"));
        for link in links(&text).filter(|link| !link.contains("://")) {
            count += 1;
            let (file, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if file.is_empty() { page.clone() } else { page.with_file_name("").join(file) };
            let found = target.exists() && (anchor.is_empty() || anchors(&target).contains(anchor));
            if !found {
                broken.push(format!("{}: {link}", page.display()));
            }
        }
    }
    assert!(broken.is_empty(), "{broken:#?}");
    assert!(count > 100, "only {count} links were found: does the search work?");
}

#[test]
fn the_book_has_every_page_and_needs_nothing_outside_of_it() {
    let docs = root().join("docs");
    let summary = prose(&fs::read_to_string(docs.join("SUMMARY.md")).expect("text"));
    let listed: BTreeSet<_> = links(&summary).map(ToOwned::to_owned).collect();
    let name = |path: PathBuf| path.file_name().and_then(|name| name.to_str()).expect("text").to_owned();
    let inside = pages().into_iter().filter(|path| path.parent() == Some(&docs)).map(name);
    let pages: BTreeSet<_> = inside.filter(|name| name != "SUMMARY.md").collect();
    assert_eq!(listed, pages);
    for page in &pages {
        let text = prose(&fs::read_to_string(docs.join(page)).expect("text"));
        let outside: Vec<_> = links(&text).filter(|link| link.starts_with("../")).collect();
        assert!(outside.is_empty(), "{page}: neither the book nor an installed host has {outside:?}");
    }
}

/// The last column of the table names them; in the scripts of the virtual machine they are checks.
#[test]
fn every_test_of_the_page_on_trouble_exists() {
    let page = fs::read_to_string(root().join("docs/behaviour.md")).expect("text");
    let mut files = vec![root().join("tests/machine/check.sh")];
    for folder in ["tests", "src", "crates"] {
        rust_files(&root().join(folder), &mut files);
    }
    let code: String = files.iter().map(|file| fs::read_to_string(file).expect("text")).collect();
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(1);
    let tests: Vec<&str> =
        rows.flat_map(|row| row.rsplit('|').nth(1).expect("a cell").split('`').skip(1).step_by(2)).collect();
    assert!(tests.len() > 15, "only {tests:?} are found");
    let is_there = |test: &str| code.contains(&format!("fn {test}(")) || code.contains(&format!("\ncheck {test} "));
    let lost: Vec<_> = tests.into_iter().filter(|test| !is_there(test)).collect();
    assert!(lost.is_empty(), "{lost:?}");
}

fn rust_files(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            rust_files(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push(path);
        }
    }
}

#[test]
fn code_has_no_links() {
    let text = prose("see [x](a.md#b), `[no](code.md)`\n```sh\n[no](block.md)\n```\n");
    assert_eq!(links(&text).collect::<Vec<_>>(), ["a.md#b"]);
}
