//! The table of the result, and the page that shows it.

use std::{env, fs, path::Path};

use super::ways::{Cell, No, Way};

const BEGIN: &str = "<!-- made by a run; `UPDATE_DOCS=1 cargo xtask test --test interop_matrix` rewrites it -->";
const END: &str = "<!-- end of the made part -->";

/// What one client came to.
pub struct Line {
    /// Its name and version.
    pub client: String,
    pub cells: Vec<(Way, Cell)>,
}

/// Checks that the page shows what the run came to, or rewrites it. Clients that are not on this
/// machine have no line here, and their lines on the page stay as they are; so do single cells.
pub fn check(lines: &[Line]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md");
    let page = fs::read_to_string(&file).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
    let (shown, after) = rest.split_once(END).expect("where the table ends");
    let made = render(lines, shown);
    let stale: Vec<_> = made.lines().filter(|line| !shown.lines().any(|row| row == *line)).collect();
    if stale.is_empty() {
        return;
    }
    if env::var_os("UPDATE_DOCS").is_some() {
        fs::write(&file, format!("{before}{BEGIN}\n\n{made}\n{END}{after}")).expect("the page can be written");
        return;
    }
    let reasons: Vec<_> = lines.iter().flat_map(reasons).collect();
    panic!(
        "docs/clients.md does not show what this run came to:\n{}\nWhat does not work, and why:\n{}\n\
         UPDATE_DOCS=1 rewrites the page.",
        stale.join("\n"),
        reasons.join("\n")
    );
}

fn render(lines: &[Line], shown: &str) -> String {
    let tables = Way::TABLES.iter().map(|ways| render_one(ways, lines, shown));
    tables.collect::<Vec<_>>().join("\n")
}

fn render_one(ways: &[Way], lines: &[Line], shown: &str) -> String {
    let titles: Vec<_> = ways.iter().map(|way| way.title()).collect();
    let mut table = format!("| client | {} |\n|---{}|\n", titles.join(" | "), "|---".repeat(titles.len()));
    let old_table = shown.split("\n\n").find(|old| old.contains(titles[0])).unwrap_or_default();
    for Line { client, cells } in lines {
        let old: Vec<_> = old_table.lines().map(row).find(|row| row.get(1) == Some(&&**client)).unwrap_or_default();
        let cell = |(column, way): (usize, &Way)| match cells.iter().find(|(done, _)| done == way).map(|(_, cell)| cell)
        {
            Some(Ok(())) => "yes",
            Some(Err(No::Unable { .. })) => "–",
            Some(Err(No::Needless)) => "each call anew",
            Some(Err(No::Untried { .. })) | None => old.get(column + 2).copied().unwrap_or("?"),
        };
        let cells: Vec<_> = ways.iter().enumerate().map(cell).collect();
        table.extend(["| ", client, " | ", &cells.join(" | "), " |\n"]);
    }
    table
}

/// The cells of a line, after an empty first one.
fn row(line: &str) -> Vec<&str> {
    line.split('|').map(str::trim).collect()
}

fn reasons(line: &Line) -> Vec<String> {
    let reason = |(way, cell): &(Way, Cell)| match cell {
        Ok(()) | Err(No::Needless) => None,
        Err(No::Unable { why } | No::Untried { why }) => Some(format!("{}, {}: {why}", line.client, way.title())),
    };
    line.cells.iter().filter_map(reason).collect()
}
