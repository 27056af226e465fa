//! `cargo xtask book`: the documentation as HTML, by mdBook, which is installed below `target` if it is not there.

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;

use crate::shell;

/// The version that is installed; another one in `PATH` is not used.
const VERSION: &str = "0.5.4";

pub fn run() -> Result<()> {
    let mdbook = ensure()?;
    shell::heading("building the book");
    let book = shell::target().join("book");
    shell::run(Command::new(mdbook).arg("build").arg("--dest-dir").arg(&book).arg(shell::root()))?;
    println!("{}", book.join("index.html").display());
    Ok(())
}

/// Where mdBook is, installing it first if need be.
fn ensure() -> Result<PathBuf> {
    let tools = shell::target().join("tools");
    let mdbook = tools.join("bin/mdbook");
    let version = shell::output(Command::new(&mdbook).arg("--version")).unwrap_or_default();
    if version.trim() != format!("mdbook v{VERSION}") {
        shell::heading(&format!("installing mdbook {VERSION}"));
        let options = ["install", "--quiet", "--locked", "--force", "--no-default-features", "mdbook", "--version"];
        shell::run(shell::cargo().args(options).arg(VERSION).arg("--root").arg(&tools))?;
    }
    Ok(mdbook)
}
