//! ARCHITECTURE.md holds: each room imports only what its row allows, no rooms import each other in a circle, and the
//! paths and names that it mentions exist.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

type Rooms = BTreeMap<String, BTreeSet<String>>;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The words of a cell that name rooms, without what stands in parentheses.
fn names(cell: &str) -> BTreeSet<String> {
    let mut depth = 0_usize;
    let outside = cell.chars().filter(|character| match character {
        '(' => {
            depth += 1;
            false
        }
        ')' => {
            depth -= 1;
            false
        }
        _ => depth == 0,
    });
    let outside: String = outside.collect();
    outside.split(',').map(|name| name.trim().to_owned()).filter(|name| !matches!(name.as_str(), "" | "–")).collect()
}

/// What each room may import, as the table has it. A room with several rows may import what each of them says.
fn allowed(architecture: &str) -> Rooms {
    let table = architecture.split("| room | purpose | may import |").nth(1).expect("the table of rooms");
    let mut rooms = Rooms::new();
    for row in table.lines().skip(2).take_while(|line| line.starts_with('|')) {
        let cells: Vec<_> = row.trim_matches('|').split('|').collect();
        let [room, .., imports] = cells.as_slice() else { panic!("not a row: {row}") };
        let room = room.trim().trim_matches('`').split('/').next().expect("a name").to_owned();
        let imports = names(imports);
        rooms.entry(room).or_default().extend(imports);
    }
    let before: Vec<_> = rooms.keys().cloned().collect();
    for (room, imports) in &mut rooms {
        if imports.remove("all") || imports.remove("all of the above") {
            imports.extend(before.iter().filter(|other| *other != room && *other != "cli").cloned());
        }
        imports.remove(room);
    }
    rooms
}

/// Code without the tests at its end.
fn without_tests(code: &str) -> &str {
    let ends = ["mod tests {", "pub(crate) mod tests {", "pub(super) mod tests {"];
    let end = ends.iter().filter_map(|module| code.find(&format!("\n#[cfg(test)]\n{module}"))).min();
    &code[..end.unwrap_or(code.len())]
}

/// Code without its tests and comments.
fn production(code: &str) -> String {
    without_tests(code).lines().filter(|line| !line.trim_start().starts_with("//")).collect::<Vec<_>>().join("\n")
}

/// The rooms that are named after `crate::`, or after the name of one of our crates, in code.
fn imports(code: &str) -> BTreeSet<String> {
    let paths = code.split("crate::").skip(1).chain(code.split("alppaca::").skip(1));
    let mut found: BTreeSet<String> = paths.flat_map(heads).collect();
    for after in code.split("alppaca_").skip(1) {
        let Some((krate, rest)) = after.split_once("::") else { continue };
        if krate.chars().all(|character| character.is_ascii_lowercase() || character == '_') {
            found.insert(krate.to_owned());
            found.extend(heads(rest));
        }
    }
    found
}

/// The first names of the paths with which a text begins: `a::b`, or `{a, b::c}`.
fn heads(text: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.trim().chars().take_while(|character| character.is_ascii_alphanumeric() || *character == '_').collect()
    };
    let Some(list) = text.strip_prefix('{') else { return vec![word(text)] };
    let (mut depth, mut item, mut found) = (1_usize, String::new(), Vec::new());
    for character in list.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 1 => found.push(word(&std::mem::take(&mut item))),
            _ => {}
        }
        if depth == 0 {
            break;
        }
        if character != ',' || depth > 1 {
            item.push(character);
        }
    }
    found.push(word(&item));
    found
}

fn sources(folder: &Path, into: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            sources(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") && !path.ends_with("tests.rs") {
            into.push(path);
        }
    }
}

/// The rooms of a crate, and the folder or file of each. A crate that has the name of a room is that room, unless the
/// room is one of its modules.
fn rooms_of(krate: &str, table: &Rooms) -> Vec<(String, PathBuf)> {
    let src = if krate == "alppaca" { root().join("src") } else { root().join("crates").join(krate).join("src") };
    let alone = krate.replace('-', "_");
    if table.contains_key(&alone) && !src.join(format!("{alone}.rs")).exists() {
        return vec![(alone, src)];
    }
    let entries = fs::read_dir(&src).expect("a folder").map(|entry| entry.expect("an entry").path());
    let room = |path: &Path| path.file_stem().expect("a name").to_str().expect("text").to_owned();
    entries.map(|path| (room(&path), path)).filter(|(room, _)| room != "lib" && room != "main").collect()
}

/// The crates below `crates`, and the one at the root.
fn crates() -> Vec<String> {
    let entries = fs::read_dir(root().join("crates")).expect("a folder");
    let names = entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("text"));
    names.chain(["alppaca".to_owned()]).collect()
}

/// What each room imports, and where.
fn actual(table: &Rooms) -> BTreeMap<String, BTreeMap<String, PathBuf>> {
    let mut rooms: BTreeMap<String, BTreeMap<String, PathBuf>> = BTreeMap::new();
    for (room, place) in crates().iter().flat_map(|krate| rooms_of(krate, table)) {
        let imported = rooms.entry(room.clone()).or_default();
        let mut files = Vec::new();
        if place.is_dir() {
            sources(&place, &mut files);
        } else {
            files.push(place);
        }
        for file in files {
            let code = production(&fs::read_to_string(&file).expect("text"));
            for other in imports(&code).into_iter().filter(|other| *other != room && table.contains_key(other)) {
                imported.entry(other).or_insert_with(|| file.clone());
            }
        }
    }
    rooms
}

#[test]
fn each_room_imports_only_what_the_table_allows() {
    let allowed = allowed(&fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text"));
    let actual = actual(&allowed);
    assert_eq!(allowed.keys().collect::<Vec<_>>(), actual.keys().collect::<Vec<_>>(), "rooms in the table, and in src");
    let mut wrong = Vec::new();
    for (room, imported) in &actual {
        for (other, file) in imported.iter().filter(|(other, _)| !allowed[room].contains(*other)) {
            wrong.push(format!("{room} imports {other}, in {}", file.display()));
        }
        for other in allowed[room].iter().filter(|other| !imported.contains_key(*other)) {
            if room != "cli" && room != "daemon" {
                wrong.push(format!("the table lets {room} import {other}, which it does not"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn no_file_is_too_long_without_its_tests() {
    const MOST: usize = 400;
    let mut files = Vec::new();
    sources(&root().join("src"), &mut files);
    sources(&root().join("crates"), &mut files);
    files.retain(|file| {
        !file.strip_prefix(root()).is_ok_and(|path| path.components().any(|part| part.as_os_str() == "tests"))
    });
    assert!(files.len() > 200, "only {} files are found", files.len());
    let length = |file: &PathBuf| without_tests(&fs::read_to_string(file).expect("text")).lines().count();
    let long: Vec<_> = files.iter().map(|file| (length(file), file)).filter(|(lines, _)| *lines > MOST).collect();
    assert!(long.is_empty(), "these files have more than {MOST} lines: {long:#?}");
}

#[test]
fn no_rooms_import_each_other_in_a_circle() {
    let table = allowed(&fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text"));
    let mut left: Rooms =
        actual(&table).into_iter().map(|(room, imported)| (room, imported.into_keys().collect())).collect();
    // Rooms that import none of those that are left are taken away, until none is.
    while let Some(room) = left.iter().find(|(_, imported)| imported.is_disjoint(&left.keys().cloned().collect())) {
        let room = room.0.clone();
        left.remove(&room);
    }
    assert!(left.is_empty(), "these rooms are in circles, or import rooms that are: {left:#?}");
}

#[test]
fn the_http_server_names_nothing_of_aws() {
    let mut files = Vec::new();
    sources(&root().join("crates/serve/src/http"), &mut files);
    assert!(files.len() > 10, "only {files:?} are found");
    for file in files {
        let code = production(&fs::read_to_string(&file).expect("text")).to_lowercase();
        let named: Vec<_> = ["ec2", "imds", "aws", "instance-data"].into_iter().filter(|w| code.contains(w)).collect();
        assert!(named.is_empty(), "{} names {named:?}", file.display());
    }
}

/// The table of crates, as the files for cargo have it.
#[test]
fn each_crate_depends_only_on_what_the_table_allows() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text");
    let table = architecture.split("| crate | rooms | depends on |").nth(1).expect("the table of crates");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    let mut written = Rooms::new();
    for row in rows {
        let cells: Vec<_> = row.trim_matches('|').split('|').map(|cell| cell.replace('`', "")).collect();
        written.insert(cells[0].trim().to_owned(), names(&cells[2]));
    }
    let mut real = Rooms::new();
    for krate in crates() {
        let folder = if krate == "alppaca" { root() } else { root().join("crates").join(&krate) };
        let manifest = fs::read_to_string(folder.join("Cargo.toml")).expect("text");
        let section = manifest.split("\n[dependencies]\n").nth(1).and_then(|rest| rest.split("\n[").next());
        let ours =
            section.unwrap_or_default().lines().filter_map(|line| line.split(['.', ' ']).next()).filter_map(|name| {
                name.strip_prefix("alppaca-").or((name == "alppaca").then_some(name)).map(str::to_owned)
            });
        real.insert(krate.clone(), ours.collect());
    }
    assert_eq!(written, real, "crates in the table, and in the files for cargo");
}

/// Words in backticks.
fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

#[test]
fn every_path_in_it_exists() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text");
    let prose = architecture.split("```").step_by(2).collect::<Vec<_>>().join("\n");
    let tables = ["| room | purpose |", "| crate | rooms |"];
    let is_ours = |word: &str| {
        let (folder, rest) = word.split_once('/').unwrap_or_default();
        !rest.is_empty() && !word.contains(['*', ' ']) && root().join(folder).is_dir()
    };
    let paths: BTreeSet<_> = quoted(&prose).filter(|word| is_ours(word)).collect();
    assert!(tables.iter().all(|table| prose.contains(table)), "the code blocks of the page are not in pairs");
    assert!(paths.len() > 10, "only {paths:?} are found: does the search work?");
    let lost: Vec<_> = paths.into_iter().filter(|path| !root().join(path).exists()).collect();
    assert!(lost.is_empty(), "ARCHITECTURE.md names {lost:?}, which do not exist");
}

#[test]
fn every_word_of_the_glossary_is_in_the_code() {
    let architecture = fs::read_to_string(root().join("ARCHITECTURE.md")).expect("text");
    let table = architecture.split("| term | in the code | meaning |").nth(1).expect("the glossary");
    let mut files = Vec::new();
    sources(&root().join("crates"), &mut files);
    let code: String = files.iter().map(|file| fs::read_to_string(file).expect("text")).collect();
    let kinds = ["struct", "enum", "trait", "type", "mod"];
    let defined = |word: &str| {
        let ends = [" ", ";", ":", "<", "("];
        kinds.iter().any(|kind| ends.iter().any(|end| code.contains(&format!("{kind} {word}{end}"))))
    };
    let rows: Vec<_> = table.lines().skip(2).take_while(|line| line.starts_with('|')).collect();
    assert!((10..=23).contains(&rows.len()), "{} terms", rows.len());
    for row in rows {
        let words = row.split('|').nth(2).expect("a cell");
        for word in quoted(words) {
            assert!(defined(word), "the glossary has {word}, which no crate defines");
        }
    }
}

#[test]
fn imports_are_found_in_every_form() {
    let code = "use crate::{a::B, c::{self, d}, e};\nfn f() { crate::g::h(); }\nuse crate::i;\n// use crate::no;\n\
                use alppaca_j::{k::{L, M}, n};\nuse alppaca_o as p;\n\
                #[cfg(test)]\nmod tests {\n use crate::tests_only;\n}";
    let rooms: Vec<_> = imports(&production(code)).into_iter().filter(|room| !room.is_empty()).collect();
    assert_eq!(rooms, ["a", "c", "e", "g", "i", "j", "k", "n"]);
}
