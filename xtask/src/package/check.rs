//! `cargo xtask check-packages`: tries the packages of a release before they are published: that they are whole, that all formats have the
//! same programs, what the tools of distributions say, and that the programs run, those for another processor under qemu. Installing,
//! upgrading and removing need a system of their own: the tests have one.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, ValueEnum};
use rustix::process::{Pid, Signal, geteuid, kill_process};

use super::{Arch, Format, Libc, Program, build, chosen, publish, row, sha256, version};
use crate::outcome::{Row, summarize};
use crate::shell;

/// Up to there a demo has said what to type.
const MOST_LINES: usize = 40;

#[derive(Args)]
pub struct Options {
    /// Where the packages are [default: target/package]
    #[arg(value_name = "FOLDER")]
    folder: Option<PathBuf>,
    /// The public key of minisign with which the checksums have to be signed
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Only those for this processor; may be repeated
    #[arg(long, value_enum)]
    arch: Vec<Arch>,
}

pub fn run(options: &Options) -> Result<()> {
    let folder = options.folder.clone().unwrap_or_else(|| shell::target().join("package"));
    let folder = fs::canonicalize(&folder).with_context(|| folder.display().to_string())?;
    let version = version()?;
    let mut rows = vec![row("checksums".to_owned(), publish::check_sums(&folder))];
    if let Some(key) = &options.key {
        rows.push(row("signature".to_owned(), publish::check_signature(&folder, key)));
    }
    // Not in the folder itself, of which every file has a checksum.
    let work = shell::target().join("check-packages");
    for arch in chosen(&options.arch, Arch::value_variants()) {
        for program in Program::value_variants() {
            for libc in [Libc::Gnu, Libc::Static] {
                let built = Unpacked { program: *program, arch, libc, version: &version, place: &work };
                rows.extend(built.check(&folder));
            }
        }
    }
    fs::remove_dir_all(&work).with_context(|| work.display().to_string())?;
    ensure!(summarize(&mut rows, shell::in_ci()), "these packages are not to be published");
    Ok(())
}

/// The packages of one build of a program, and where they are unpacked.
struct Unpacked<'a> {
    program: Program,
    arch: Arch,
    libc: Libc,
    version: &'a str,
    place: &'a Path,
}

impl Unpacked<'_> {
    fn check(&self, folder: &Path) -> Vec<Row> {
        let name = format!("{} {} ({:?})", self.program.name(), self.arch.name(), self.libc);
        shell::heading(&name);
        let formats = Format::value_variants().iter().copied().filter(|format| format.libc() == self.libc);
        let mut rows = Vec::new();
        let mut programs = Vec::new();
        for format in formats {
            let file = folder.join(format.file(self.program, self.arch, self.version));
            let step = format!("{} {} {}", self.program.name(), self.arch.name(), format.name());
            match self.unpack(format, &file) {
                Ok(root) => programs.push(root),
                Err(error) => rows.push(row(format!("{step}, unpacked"), Err(error))),
            }
            if let Some(linter) = linter(format) {
                rows.push(match shell::which(linter) {
                    Some(_) => row(format!("{step}, {linter}"), lint(linter, &file)),
                    None => Row::skipped(step, format!("there is no {linter}: apt-get install {linter}"), true),
                });
            }
        }
        rows.push(row(format!("{name}, the same in all"), self.same(&programs)));
        let Some(root) = programs.first() else { return rows };
        match self.runner(root) {
            Ok((runner, host)) => rows.push(row(format!("{name} runs"), self.try_it(&runner, &host, root))),
            Err(why) => rows.push(Row::skipped(format!("{name} runs"), why.to_string(), true)),
        }
        rows
    }

    /// The folder in which the package's files are.
    fn unpack(&self, format: Format, package: &Path) -> Result<PathBuf> {
        ensure!(package.is_file(), "there is no {}", package.display());
        let parts = [self.program.name(), self.arch.name(), format.name()];
        let root = self.place.join(parts.join("-"));
        if root.exists() {
            fs::remove_dir_all(&root)?;
        }
        fs::create_dir_all(&root)?;
        let script = match format {
            Format::Deb => "dpkg-deb --extract \"$0\" .",
            Format::Rpm => "rpm2cpio \"$0\" | cpio --quiet --extract --make-directories",
            Format::Tar => "tar --extract --gzip --strip-components=1 --file \"$0\"",
            Format::Apk => "tar --extract --gzip --ignore-zeros --warning=no-unknown-keyword --file \"$0\"",
            Format::Image => {
                "tar --extract --file \"$0\"
                 arch=$(skopeo --override-arch \"$1\" inspect --format '{{.Architecture}}' \"oci-archive:$0\")
                 [[ $arch == \"$1\" ]] || { echo \"it is for $arch\" >&2; exit 1; }
                 for blob in blobs/sha256/*; do
                     if tar --list --gzip --file $blob >/dev/null 2>&1; then tar --extract --gzip --file $blob; fi
                 done"
            }
        };
        let mut command = Command::new("bash");
        command.args(["-c", &format!("set -eo pipefail\n{script}")]).arg(package).arg(self.arch.name());
        shell::output(command.current_dir(&root))?;
        Ok(root)
    }

    /// All formats have one program, in which nothing of this machine shows.
    fn same(&self, roots: &[PathBuf]) -> Result<String> {
        let program = format!("usr/bin/{}", self.program.name());
        let sums = roots.iter().map(|root| sha256(&root.join(&program))).collect::<Result<Vec<_>>>()?;
        let (Some(first), Some(root)) = (sums.first(), roots.first()) else { bail!("there is none") };
        ensure!(sums.iter().all(|sum| sum == first), "the programs differ: {}", sums.join(" "));
        let bytes = fs::read(root.join(program))?;
        build::is_linked(&bytes, self.libc)?;
        for place in [shell::root(), build::cargo_home()?] {
            let place = place.into_os_string().into_encoded_bytes();
            let shows = bytes.windows(place.len()).any(|window| window == place);
            ensure!(!shows, "{} is in the program", String::from_utf8_lossy(&place));
        }
        Ok(format!("{} MB, {}", bytes.len() / 100_000 / 10, &first[..12]))
    }

    /// The words before the program, and the folder that is its `/`. A static one has no glibc around it where it is used: it would
    /// load this host's modules for names of users, and may crash.
    fn runner(&self, root: &Path) -> Result<(Vec<String>, PathBuf)> {
        let host = PathBuf::from("/");
        if self.arch == Arch::HERE && self.libc == Libc::Static {
            fs::create_dir_all(root.join("tmp"))?;
            let mut alone = vec!["unshare".to_owned(), format!("--root={}", root.display())];
            // Only root has another root for the asking.
            alone.extend((!geteuid().is_root()).then(|| "--map-root-user".to_owned()));
            return Ok((alone, root.to_owned()));
        }
        if self.arch == Arch::HERE {
            return Ok((Vec::new(), host));
        }
        let machine = self.arch.machine();
        let (qemu, libraries) = (format!("qemu-{machine}"), format!("/usr/{machine}-linux-gnu"));
        ensure!(shell::which(&qemu).is_some(), "there is no {qemu}: apt-get install qemu-user");
        ensure!(
            self.libc == Libc::Static || Path::new(&libraries).is_dir(),
            "there is no {libraries}: apt-get install libc6-{}-cross",
            self.arch.name()
        );
        Ok((vec![qemu, "-L".to_owned(), libraries], host))
    }

    /// Its version, its configuration, and the demo, of which a command that it prints gives credentials. `host`: what is `/` for it.
    fn try_it(&self, runner: &[String], host: &Path, root: &Path) -> Result<String> {
        let inside = |path: &Path| Path::new("/").join(path.strip_prefix(host).unwrap_or(path));
        let outside = |path: &Path| host.join(path.strip_prefix("/").unwrap_or(path));
        let binary = inside(&root.join("usr/bin").join(self.program.name()));
        let command = |words: &[&str]| {
            let program = [binary.as_os_str()];
            let mut all = runner.iter().map(AsRef::as_ref).chain(program).chain(words.iter().map(AsRef::as_ref));
            let mut command = Command::new(all.next().expect("at least the program"));
            command.args(all);
            command
        };
        let said = shell::output(&mut command(&["--version"]))?;
        let wanted = format!("{} {} (revision ", self.program.name(), self.version);
        ensure!(said.starts_with(&wanted), "--version says {said}");
        let mut demo = Demo::begin(&mut command(&["demo", "--port", "0"]))?;
        let (place, curl) = demo.advice()?;
        let place = place.map_or_else(|| root.to_owned(), |place| outside(&place));
        let answer = shell::output(Command::new("sh").args(["-c", &curl]).current_dir(&place))?;
        ensure!(answer.contains("\"AccessKeyId\""), "{curl}: {answer}");
        let config = place.join(match self.program {
            Program::Alppaca => "minimal.yaml",
            Program::AlppacaIms => "ims.yaml",
        });
        if self.program == Program::Alppaca {
            fs::write(&config, "ims_host: localhost\n")?;
        }
        shell::output(command(&["check", "--quiet", "-c"]).arg(inside(&config)))?;
        Ok(said.trim().to_owned())
    }
}

/// A demo, until this is dropped. It may go on writing.
struct Demo {
    child: Child,
    output: BufReader<ChildStdout>,
}

impl Demo {
    fn begin(command: &mut Command) -> Result<Self> {
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        let output = child.stdout.take().context("its output is read")?;
        Ok(Self { child, output: BufReader::new(output) })
    }

    /// Where to be for what it says to type, if it says that, and the first command that gets credentials of a role.
    fn advice(&mut self) -> Result<(Option<PathBuf>, String)> {
        let mut place = None;
        for line in (&mut self.output).lines().take(MOST_LINES) {
            let line = line?;
            let line = line.trim();
            if let Some(folder) = line.strip_prefix("cd ") {
                place = Some(folder.into());
            }
            if line.starts_with("curl ") && !line.ends_with('/') {
                return Ok((place, format!("{line} --silent --show-error --fail --max-time 60")));
            }
        }
        bail!("the demo names no command that gets credentials")
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        let pid = Pid::from_child(&self.child);
        // Else it has ended already, which the next line notices.
        let _ = kill_process(pid, Signal::TERM);
        let _ = self.child.wait();
    }
}

/// What a distribution's people have to say of a format.
fn linter(format: Format) -> Option<&'static str> {
    match format {
        Format::Deb => Some("lintian"),
        Format::Rpm => Some("rpmlint"),
        _ => None,
    }
}

fn lint(linter: &str, package: &Path) -> Result<String> {
    let mut command = Command::new(linter);
    if linter == "lintian" {
        let said = shell::output(command.args(["--allow-root", "--fail-on=error,warning"]).arg(package))?;
        ensure!(said.is_empty(), "{said}");
    } else {
        let said = shell::output(command.arg("-c").arg(shell::root().join("packaging/rpm/rpmlint.toml")).arg(package))?;
        ensure!(said.contains("0 errors, 0 warnings"), "{said}");
    }
    Ok("nothing to complain of".to_owned())
}
