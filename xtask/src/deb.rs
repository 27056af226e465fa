//! `cargo xtask deb`: the Debian package, with its checksum. What is in it stands in `packaging/deb/build`.

use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::shell;

#[derive(Args)]
pub struct Options {
    /// Where the package is put [default: target/deb]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// A binary that you have; it is stripped of nothing [default: one that is built for release]
    #[arg(long)]
    program: Option<PathBuf>,
}

pub fn run(options: &Options) -> Result<()> {
    for tool in ["dpkg-deb", "gzip"] {
        if shell::which(tool).is_none() {
            bail!("there is no {tool}: apt-get install dpkg gzip");
        }
    }
    let program = if let Some(program) = &options.program {
        program.clone()
    } else {
        shell::heading("building for release");
        let mut build = shell::cargo();
        build.args(["build", "--release", "--locked", "--bin", "alppaca"]);
        // For `--version`. An archive without a repository has none.
        let revision =
            Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(shell::root()).output();
        if let Ok(found) = revision
            && found.status.success()
        {
            build.env("ALPPACA_REVISION", String::from_utf8_lossy(&found.stdout).trim());
        }
        shell::run(&mut build)?;
        shell::target().join("release/alppaca")
    };
    let out = options.out.clone().unwrap_or_else(|| shell::target().join("deb"));
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let out = fs::canonicalize(&out)?;
    let program = fs::canonicalize(&program).with_context(|| program.display().to_string())?;
    let script = shell::root().join("packaging/deb/build");
    let said = shell::output(Command::new(script).arg(program).arg(&out))?;
    let package = PathBuf::from(said.trim());
    let name = package.file_name().context("the script names a file")?;
    // With the name alone, so that it can be checked wherever both are.
    let sum = shell::output(Command::new("sha256sum").arg(name).current_dir(&out))?;
    fs::write(package.with_extension("deb.sha256"), &sum)?;
    print!("{sum}");
    println!("{}", package.display());
    Ok(())
}
