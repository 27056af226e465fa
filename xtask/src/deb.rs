//! `cargo xtask deb`: the Debian packages, each with its checksum. What is in them stands in `packaging/deb/build` and
//! `packaging/deb-ims/build`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::shell;

#[derive(Args)]
pub struct Options {
    /// Where the packages are put [default: target/deb]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only the package of this program
    #[arg(long, value_enum)]
    only: Option<Program>,
    /// A binary that you have, for --only; it is stripped of nothing [default: one that is built for release]
    #[arg(long, requires = "only")]
    program: Option<PathBuf>,
}

/// The programs that have a package.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    Alppaca,
    AlppacaIms,
}

impl Program {
    fn name(self) -> &'static str {
        match self {
            Self::Alppaca => "alppaca",
            Self::AlppacaIms => "alppaca-ims",
        }
    }

    fn script(self) -> &'static str {
        match self {
            Self::Alppaca => "packaging/deb/build",
            Self::AlppacaIms => "packaging/deb-ims/build",
        }
    }
}

pub fn run(options: &Options) -> Result<()> {
    for tool in ["dpkg-deb", "gzip"] {
        if shell::which(tool).is_none() {
            bail!("there is no {tool}: apt-get install dpkg gzip");
        }
    }
    let out = options.out.clone().unwrap_or_else(|| shell::target().join("deb"));
    fs::create_dir_all(&out).with_context(|| out.display().to_string())?;
    let out = fs::canonicalize(&out)?;
    for of in [Program::Alppaca, Program::AlppacaIms] {
        if options.only.is_none_or(|only| only == of) {
            let program = options.program.clone().map_or_else(|| build(of), Ok)?;
            package(of, &program, &out)?;
        }
    }
    Ok(())
}

/// Builds it for release.
fn build(of: Program) -> Result<PathBuf> {
    shell::heading(&format!("building {} for release", of.name()));
    let mut build = shell::cargo();
    build.args(["build", "--release", "--locked", "--package", of.name(), "--bin", of.name()]);
    // For `--version`. An archive without a repository has none.
    let revision = Command::new("git").args(["rev-parse", "--short=12", "HEAD"]).current_dir(shell::root()).output();
    if let Ok(found) = revision
        && found.status.success()
    {
        build.env("ALPPACA_REVISION", String::from_utf8_lossy(&found.stdout).trim());
    }
    shell::run(&mut build)?;
    Ok(shell::target().join("release").join(of.name()))
}

fn package(of: Program, program: &Path, out: &Path) -> Result<()> {
    let program = fs::canonicalize(program).with_context(|| program.display().to_string())?;
    let said = shell::output(Command::new(shell::root().join(of.script())).arg(program).arg(out))?;
    let package = PathBuf::from(said.trim());
    let name = package.file_name().context("the script names a file")?;
    // With the name alone, so that it can be checked wherever both are.
    let sum = shell::output(Command::new("sha256sum").arg(name).current_dir(out))?;
    fs::write(package.with_extension("deb.sha256"), &sum)?;
    print!("{sum}");
    println!("{}", package.display());
    Ok(())
}
