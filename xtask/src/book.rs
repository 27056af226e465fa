//! `cargo xtask book`: the documentation as HTML, by mdBook.

use std::process::Command;

use anyhow::Result;

use crate::{pins, shell};

pub fn run() -> Result<()> {
    let mdbook = pins::mdbook()?;
    shell::heading("building the book");
    let book = shell::target().join("book");
    shell::run(Command::new(mdbook).arg("build").arg("--dest-dir").arg(&book).arg(shell::root()))?;
    println!("{}", book.join("index.html").display());
    Ok(())
}
