//! The table of the result, and the page that shows it.

use std::{env, fs, path::Path};

use super::ways::{Cell, Way};

const BEGIN: &str = "<!-- made by a run; `UPDATE_DOCS=1 cargo xtask test --test interop_matrix` rewrites it -->";
const END: &str = "<!-- end of the made part -->";

/// What one client came to.
pub struct Line {
    /// Its name and version.
    pub client: String,
    pub cells: Vec<Cell>,
}

/// Checks that the page shows what the run came to, or rewrites it. Clients that are not on this
/// machine have no line here, and their lines on the page stay as they are.
pub fn check(lines: &[Line]) {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/clients.md");
    let page = fs::read_to_string(&file).expect("the page");
    let (before, rest) = page.split_once(BEGIN).expect("where the table begins");
    let (shown, after) = rest.split_once(END).expect("where the table ends");
    let made = render(lines);
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

fn render(lines: &[Line]) -> String {
    let titles: Vec<_> = Way::ALL.iter().map(|way| way.title()).collect();
    let mut table = format!("| client | {} |\n|---{}|\n", titles.join(" | "), "|---".repeat(titles.len()));
    for Line { client, cells } in lines {
        let cells: Vec<_> = cells.iter().map(|cell| if cell.is_ok() { "yes" } else { "–" }).collect();
        table.extend(["| ", client, " | ", &cells.join(" | "), " |\n"]);
    }
    table
}

fn reasons(line: &Line) -> Vec<String> {
    let cells = Way::ALL.iter().zip(&line.cells);
    cells
        .filter_map(|(way, cell)| Some(format!("{}, {}: {}", line.client, way.title(), cell.as_ref().err()?)))
        .collect()
}
