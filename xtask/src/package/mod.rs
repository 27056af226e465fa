//! `cargo xtask package`: what users install, for each program and processor, and the chart, with checksums, bills of material
//! and a signature. The same source gives the same bytes.

mod build;
mod chart;
mod check;
mod formats;
mod image;
mod publish;
mod sbom;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};

use crate::outcome::{Counts, Row, summarize};
use crate::shell;

pub use check::{Options as CheckOptions, run as check};

#[derive(Args)]
pub struct Options {
    /// Where the packages are put [default: target/package]
    #[arg(long, value_name = "FOLDER")]
    out: Option<PathBuf>,
    /// Only the packages of this program
    #[arg(long, value_enum)]
    only: Option<Program>,
    /// Only for this processor; may be repeated
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
    /// Only this format; may be repeated
    #[arg(long, value_enum)]
    format: Vec<Format>,
    /// Sign the checksums with this secret key of minisign
    #[arg(long, value_name = "FILE")]
    sign: Option<PathBuf>,
    /// A binary that you have, for --only, of this machine's processor or --arch; it is stripped of nothing [default: one that
    /// is built for release]
    #[arg(long, requires = "only")]
    program: Option<PathBuf>,
    /// A build of that binary that runs here, for what it generates [default: the binary itself]
    #[arg(long, requires = "program")]
    generator: Option<PathBuf>,
    /// The number that the packages of that binary get, such as an older one to upgrade from; with --out, not to be published with
    /// others [default: that of Cargo.toml]
    #[arg(long, requires_all = ["program", "out"])]
    version: Option<String>,
}

/// The programs that have packages.
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

    fn summary(self) -> &'static str {
        match self {
            Self::Alppaca => "AWS credentials for this host, as EC2's metadata service gives them",
            Self::AlppacaIms => "Role server that hands out AWS credentials to hosts and people",
        }
    }
}

/// The processors, as Debian, Go and OCI name them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Arch {
    Amd64,
    Arm64,
}

impl Arch {
    const HERE: Self = if cfg!(target_arch = "aarch64") { Self::Arm64 } else { Self::Amd64 };

    fn name(self) -> &'static str {
        match self {
            Self::Amd64 => "amd64",
            Self::Arm64 => "arm64",
        }
    }

    /// As the kernel, RPM and Alpine name it.
    fn machine(self) -> &'static str {
        match self {
            Self::Amd64 => "x86_64",
            Self::Arm64 => "aarch64",
        }
    }
}

/// What a program is linked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Libc {
    /// The GNU C library of the host, 2.17 or later: names of users and groups as the host knows them, modules for keys.
    Gnu,
    /// Nothing: glibc is in the program. (For musl `pidfd-util` does not compile.)
    Static,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Format {
    Deb,
    Rpm,
    Apk,
    Tar,
    /// An OCI image, in an archive that Docker and Podman load
    Image,
}

impl Format {
    /// A distribution with glibc is served by what is linked to it; Alpine and an empty image need the static one.
    fn libc(self) -> Libc {
        match self {
            Self::Deb | Self::Rpm | Self::Tar => Libc::Gnu,
            Self::Apk | Self::Image => Libc::Static,
        }
    }

    fn name(self) -> &'static str {
        match self {
            Self::Deb => "deb",
            Self::Rpm => "rpm",
            Self::Apk => "apk",
            Self::Tar => "tar",
            Self::Image => "image",
        }
    }

    /// What the package is called, as is usual where it is used.
    fn file(self, program: Program, arch: Arch, version: &str) -> String {
        let (name, machine, arch) = (program.name(), arch.machine(), arch.name());
        match self {
            Self::Deb => format!("{name}_{version}_{arch}.deb"),
            Self::Rpm => format!("{name}-{version}-1.{machine}.rpm"),
            Self::Apk => format!("{name}_{version}_{machine}.apk"),
            Self::Tar => format!("{name}-{version}-linux-{arch}.tar.gz"),
            Self::Image => format!("{name}-{version}-linux-{arch}.oci.tar"),
        }
    }
}

/// One program, built.
struct Built {
    program: Program,
    arch: Arch,
    binary: PathBuf,
    /// A build that runs here, for what the program generates.
    generator: PathBuf,
}

impl Built {
    fn file(&self, format: Format, release: &Release) -> String {
        format.file(self.program, self.arch, &release.version)
    }
}

/// What all packages of a run have in common.
struct Release {
    out: PathBuf,
    version: String,
    /// Seconds since 1970 that stand in everything: when the source was committed.
    epoch: String,
    /// The commit, if there is a repository.
    revision: Option<String>,
}

impl Release {
    /// That of the sources as they are.
    fn of_sources(out: &Path) -> Result<Self> {
        fs::create_dir_all(out).with_context(|| out.display().to_string())?;
        Ok(Self {
            out: fs::canonicalize(out)?,
            version: version()?,
            epoch: epoch()?,
            revision: git(&["rev-parse", "--short=12", "HEAD"]),
        })
    }
}

pub fn run(options: &Options) -> Result<()> {
    let out = options.out.clone().unwrap_or_else(|| shell::target().join("package"));
    let mut release = Release::of_sources(&out)?;
    if let Some(version) = &options.version {
        release.version.clone_from(version);
    }
    let mut rows = Vec::new();
    ensure!(options.program.is_none() || options.arch.len() < 2, "a binary is for one processor: give --arch once");
    let is_ours = options.program.is_some() && options.arch.is_empty();
    for arch in chosen(&options.arch, if is_ours { &[Arch::HERE] } else { Arch::value_variants() }) {
        for program in Program::value_variants() {
            if options.only.is_none_or(|only| only == *program) {
                rows.extend(packages(*program, arch, options, &release));
            }
        }
    }
    if options.only.is_none() && options.arch.is_empty() && options.format.is_empty() {
        rows.push(row("chart".to_owned(), chart::make(&release)));
    }
    rows.push(row("checksums".to_owned(), publish::checksums(&release.out)));
    if let Some(key) = &options.sign {
        rows.push(row("signature".to_owned(), publish::sign(&release.out, key)));
    }
    if !summarize(&mut rows, shell::in_ci()) {
        bail!("some packages could not be made");
    }
    println!("{}", release.out.display());
    Ok(())
}

/// The image of a daemon that was built for this machine.
pub fn image(binary: &Path, out: &Path) -> Result<PathBuf> {
    let release = Release::of_sources(out)?;
    let (binary, generator) = (binary.to_owned(), binary.to_owned());
    let built = Built { program: Program::Alppaca, arch: Arch::HERE, binary, generator };
    Ok(release.out.join(image::make(&built, &release)?))
}

/// Makes those of one program for one processor; a row for each.
fn packages(program: Program, arch: Arch, options: &Options, release: &Release) -> Vec<Row> {
    let mut rows = Vec::new();
    for libc in [Libc::Gnu, Libc::Static] {
        let formats: Vec<Format> =
            chosen(&options.format, Format::value_variants()).filter(|format| format.libc() == libc).collect();
        if formats.is_empty() {
            continue;
        }
        let built = match built(program, arch, libc, options, release) {
            Ok(built) => built,
            Err(error) => {
                let step = format!("{} for {} ({libc:?})", program.name(), arch.name());
                rows.push(Row::skipped(step, format!("{error:#}"), true));
                continue;
            }
        };
        for format in formats {
            let step = format!("{} {} {}", program.name(), arch.name(), format.name());
            rows.push(row(step, make(format, &built, release)));
        }
        let step = format!("{} {} SBOM ({libc:?})", program.name(), arch.name());
        rows.push(row(step, sbom::write(program, arch, libc, release)));
    }
    rows
}

fn built(program: Program, arch: Arch, libc: Libc, options: &Options, release: &Release) -> Result<Built> {
    if let Some(binary) = &options.program {
        let whole = |file: &Path| fs::canonicalize(file).with_context(|| file.display().to_string());
        let generator = whole(options.generator.as_ref().unwrap_or(binary))?;
        return Ok(Built { program, arch, binary: whole(binary)?, generator });
    }
    let binary = build::release(program, arch, libc, release)?;
    let here = if arch == Arch::HERE { binary.clone() } else { build::release(program, Arch::HERE, libc, release)? };
    Ok(Built { program, arch, binary, generator: here })
}

fn make(format: Format, built: &Built, release: &Release) -> Result<String> {
    match format {
        Format::Deb => formats::deb(built, release),
        Format::Rpm => formats::rpm(built, release),
        Format::Apk => formats::apk(built, release),
        Format::Tar => formats::tar(built, release),
        Format::Image => image::make(built, release),
    }
}

/// What was made, or a failure that leaves the others to be made.
fn row(step: String, made: Result<String>) -> Row {
    match made {
        Ok(name) => Row::new(step, Counts::PASSED, name),
        Err(error) => {
            eprintln!("error: {step}: {error:#}");
            Row::new(step, Counts::FAILED, format!("{error:#}").lines().next().unwrap_or_default())
        }
    }
}

/// Those that were asked for, else all.
fn chosen<T: Copy + PartialEq>(wanted: &[T], all: &[T]) -> impl Iterator<Item = T> {
    all.iter().copied().filter(move |one| wanted.is_empty() || wanted.contains(one))
}

/// That of the workspace.
fn version() -> Result<String> {
    let text = fs::read_to_string(shell::root().join("Cargo.toml"))?;
    let version = text.lines().find_map(|line| line.strip_prefix("version = \"")?.strip_suffix('"'));
    Ok(version.context("Cargo.toml has a version")?.to_owned())
}

fn epoch() -> Result<String> {
    let given = std::env::var("SOURCE_DATE_EPOCH").ok();
    let epoch = given.or_else(|| git(&["log", "-1", "--format=%ct"]));
    let epoch = epoch.context("this is no git repository: say in SOURCE_DATE_EPOCH when the source is from")?;
    epoch.parse::<u64>().with_context(|| format!("SOURCE_DATE_EPOCH: {epoch:?} are no seconds since 1970"))?;
    Ok(epoch)
}

fn git(arguments: &[&str]) -> Option<String> {
    let output = Command::new("git").args(arguments).current_dir(shell::root()).output().ok()?;
    output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// An empty folder for what is laid out before it is packed.
fn work(name: &str, release: &Release) -> Result<PathBuf> {
    let folder = release.out.join(format!(".{name}"));
    match fs::remove_dir_all(&folder) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error).context("an old one")?,
        _ => fs::create_dir_all(&folder)?,
    }
    Ok(folder)
}

/// The SHA-256 of a file.
fn sha256(file: &Path) -> Result<String> {
    let said = shell::output(Command::new("sha256sum").arg(file))?;
    Ok(said.trim_start_matches('\\').split(' ').next().unwrap_or_default().to_owned())
}
