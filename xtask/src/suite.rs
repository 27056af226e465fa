//! `cargo xtask test`: everything, from a fresh machine that has only Rust.

use std::ffi::OsString;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use clap::{Args, ValueEnum};

use crate::outcome::{Counts, Row, summarize};
use crate::{clients, fuzz, go_programs, image, kubernetes, machine, openssh, pins, python, shell, tools};

/// Fuzzing finds shallow faults in seconds; for deep ones there is `cargo xtask fuzz`.
const SMOKE: Duration = Duration::from_secs(5);
/// How many minutes all clients work at once in CI; elsewhere the test does so for half a minute.
const SOAK_IN_CI: u32 = 10;

/// What the packages leave out. The other tests need no build with it.
const WITH_TRACES: [&str; 5] = ["--workspace", "--features", "otel", "--test", "interop_traces"];

#[derive(Args)]
pub struct Options {
    /// What can be installed must be there (also set by CI=true)
    #[arg(long)]
    ci: bool,
    /// Run only this kind; may be repeated
    #[arg(long, value_enum)]
    only: Vec<Kind>,
    /// Given to cargo test; then documentation tests and fuzzing are left out unless --only names them
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// The heights of tests.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Kind {
    /// Beside the code, no sockets
    Unit,
    /// tests/*.rs: the real binary over real sockets
    Integration,
    /// tests/interop_*.rs: real clients
    Interop,
    /// Examples in the documentation
    Doc,
    /// A few seconds for each fuzz target
    Fuzz,
}

pub fn run(options: &Options) -> Result<()> {
    let everything = options.only.is_empty() && options.arguments.is_empty();
    let wants = |kind| everything || options.only.contains(&kind);

    let mut rows = tools::ensure(tools::For::Test);
    let (python, row) = python::environment();
    rows.push(row);
    let mut cluster = None;
    if wants(Kind::Interop) || !options.arguments.is_empty() {
        rows.extend(clients::ensure());
        let (made, row) = kubernetes::ensure();
        cluster = made;
        rows.push(row);
        rows.push(go_programs::metadata_mock());
    }
    let mut collector = None;
    if wants(Kind::Interop) || names_traces(&options.arguments) {
        let (made, row) = go_programs::collector();
        collector = made;
        rows.push(row);
    }
    rows.push(openssh::ensure());
    rows.push(pinned("nfpm", pins::nfpm()).1);
    let (helm, row) = pinned("helm", pins::helm());
    rows.push(row);
    let mut machine = None;
    if wants(Kind::Integration) || !options.arguments.is_empty() {
        let (made, row) = machine::ensure();
        machine = made;
        rows.push(row);
    }
    let soak = (options.ci || shell::in_ci()).then_some(SOAK_IN_CI);
    let skips = fresh_skips_file()?;
    let mut tests = Tests { python, helm, machine, cluster, collector, image: None, soak, skips };

    let heights = [Kind::Unit, Kind::Integration, Kind::Interop];
    if heights.into_iter().any(wants) || !options.arguments.is_empty() {
        match selection(&options.only, &options.arguments) {
            Some(selection) => {
                let (image, row) = image::ensure(&selection);
                tests.image = image;
                rows.extend(row);
                rows.extend(tests.run("cargo test", &selection)?);
            }
            None => rows.push(Row::new("cargo test", Counts::NONE, "there is no test of this kind")),
        }
    }
    if wants(Kind::Interop) {
        rows.extend(tests.run("cargo test, traces", &WITH_TRACES.map(Into::into))?);
    }
    if wants(Kind::Doc) {
        rows.extend(tests.run("cargo test --doc", &["--workspace".into(), "--doc".into()])?);
    }
    if wants(Kind::Fuzz) {
        rows.extend(fuzz::smoke(SMOKE));
    }
    if !summarize(&mut rows, options.ci || shell::in_ci()) {
        bail!("some tests failed");
    }
    Ok(())
}

/// What a test needs that Debian does not have.
fn pinned(name: &str, made: Result<PathBuf>) -> (Option<PathBuf>, Row) {
    match made {
        Ok(program) => (Some(program), Row::new(name, Counts::NONE, "it is there")),
        Err(error) => (None, Row::skipped(name, format!("{error:#}"), true)),
    }
}

#[derive(Args)]
pub struct SoakOptions {
    /// How long
    #[arg(long, default_value_t = SOAK_IN_CI, value_parser = clap::value_parser!(u32).range(1..))]
    minutes: u32,
}

/// All clients at once, for as long as wanted; what happens is shown.
pub fn soak(options: &SoakOptions) -> Result<()> {
    let mut rows = tools::ensure(tools::For::Test);
    let (python, row) = python::environment();
    rows.push(row);
    rows.extend(clients::ensure());
    let soak = Some(options.minutes);
    let skips = fresh_skips_file()?;
    let tests = Tests { python, helm: None, machine: None, cluster: None, collector: None, image: None, soak, skips };
    rows.extend(tests.run("soak", &["--package", "alppaca", "--test", "soak", "--", "--nocapture"].map(Into::into))?);
    if !summarize(&mut rows, shell::in_ci()) {
        bail!("the soak failed");
    }
    Ok(())
}

#[derive(Args)]
pub struct YearsOptions {
    /// How many hosts
    #[arg(long, default_value_t = 1_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,
    /// How many years each
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1_000))]
    years: u64,
    /// The seed of the first host; the others follow
    #[arg(long, default_value_t = 0)]
    seed: u64,
}

/// Many hosts live for years in virtual time. What must not happen is reported with the seed that repeats it.
pub fn years(options: &YearsOptions) -> Result<()> {
    let YearsOptions { runs, years, seed } = options;
    let mut command = shell::cargo();
    command.args(["test", "--profile", "years", "--package", "alppaca-refresh", "--lib", "years", "--", "--nocapture"]);
    for (name, number) in [("RUNS", *runs), ("DAYS", years * 365), ("SEED", *seed)] {
        command.env(format!("ALPPACA_YEARS_{name}"), number.to_string());
    }
    shell::run(&mut command)
}

/// Whether the tests of traces are among those of these arguments of cargo test; without their feature they need no collector.
fn names_traces(arguments: &[OsString]) -> bool {
    let named = |wanted: &str| arguments.iter().any(|word| word.to_string_lossy().contains(wanted));
    named("otel") && (named("interop_traces") || !named("--test"))
}

/// The arguments of cargo test. None if there is no such test.
fn selection(only: &[Kind], arguments: &[OsString]) -> Option<Vec<OsString>> {
    let tests = shell::root().join("tests");
    let mut files = shell::stems(&tests, ".rs");
    for krate in fs::read_dir(shell::root().join("crates")).into_iter().flatten().flatten() {
        files.extend(shell::stems(&krate.path().join("tests"), ".rs"));
    }
    // A test may also be a folder with a main.rs.
    files.extend(shell::stems(&tests, "").into_iter().filter(|name| tests.join(name).join("main.rs").is_file()));
    let mut selected: Vec<OsString> = vec!["--workspace".into()];
    if only.contains(&Kind::Unit) {
        selected.extend(["--lib".into(), "--bins".into()]);
    }
    for file in files {
        let kind = if file.starts_with("interop_") { Kind::Interop } else { Kind::Integration };
        if only.contains(&kind) {
            selected.extend(["--test".into(), file.into()]);
        }
    }
    let heights = [Kind::Unit, Kind::Integration, Kind::Interop];
    let own_choice = ["--lib", "--bin", "--test", "--example", "--bench", "-p", "--package", "--all-targets"];
    if arguments.iter().any(|word| own_choice.iter().any(|choice| word == choice)) {
        selected.clear();
    } else if !only.iter().any(|kind| heights.contains(kind)) {
        selected.push("--all-targets".into());
    } else if selected.len() == 1 {
        return None;
    }
    selected.extend(arguments.iter().cloned());
    Some(selected)
}

/// Runs cargo test with the environment that the tests expect.
struct Tests {
    /// `ALPPACA_TEST_PYTHON`: a Python that has moto and clients; the other clients are beside its folder.
    python: Option<PathBuf>,
    /// `ALPPACA_TEST_HELM`: what renders the chart.
    helm: Option<PathBuf>,
    /// `ALPPACA_TEST_MACHINE`: a Debian to boot.
    machine: Option<PathBuf>,
    /// `ALPPACA_TEST_CLUSTER`: an API server, made of the sources as they are.
    cluster: Option<PathBuf>,
    /// `ALPPACA_TEST_COLLECTOR`: an OpenTelemetry Collector, made of the sources as they are.
    collector: Option<PathBuf>,
    /// `ALPPACA_TEST_IMAGE`: an image of the daemon, made of the sources as they are unless one is given.
    image: Option<PathBuf>,
    /// `ALPPACA_SOAK_MINUTES`: how long all clients work at once.
    soak: Option<u32>,
    /// `ALPPACA_TEST_SKIPPED`: a test that cannot run here adds one line to this file that says why.
    skips: PathBuf,
}

impl Tests {
    fn run(&self, step: &str, arguments: &[OsString]) -> Result<Vec<Row>> {
        shell::heading(step);
        let started = Instant::now();
        let mut command = shell::cargo();
        // One failing test file must not hide the others from the table.
        command.arg("test").arg("--no-fail-fast").args(if shell::colours() { &["--color=always"][..] } else { &[] });
        command.args(arguments).env("ALPPACA_TEST_SKIPPED", &self.skips);
        if let Some(python) = &self.python {
            command.env("ALPPACA_TEST_PYTHON", python);
        }
        if let Some(helm) = &self.helm {
            command.env("ALPPACA_TEST_HELM", helm);
        }
        if let Some(machine) = &self.machine {
            command.env("ALPPACA_TEST_MACHINE", machine);
        }
        if let Some(cluster) = &self.cluster {
            command.env("ALPPACA_TEST_CLUSTER", cluster);
        }
        if let Some(collector) = &self.collector {
            command.env("ALPPACA_TEST_COLLECTOR", collector);
        }
        if let Some(image) = &self.image {
            command.env(image::VARIABLE, image);
        }
        if let Some(minutes) = self.soak {
            command.env("ALPPACA_SOAK_MINUTES", minutes.to_string());
        }
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().context("cannot start cargo")?;
        let mut counts = Counts::default();
        for line in BufReader::new(child.stdout.take().context("piped above")?).split(b'\n') {
            let line = String::from_utf8_lossy(&line?).into_owned();
            println!("{line}");
            counts.add_line(&line);
        }
        let mut note = format!("{} s", started.elapsed().as_secs());
        if !child.wait()?.success() && counts.failed == 0 {
            counts.failed = 1;
            "it did not get as far as running the tests, or ended out of order".clone_into(&mut note);
        }
        let skipped = self.take_skips()?;
        // A test that could not run has returned early, which cargo counts as passed.
        counts.passed = counts.passed.saturating_sub(skipped.len() as u64);
        let mut rows = vec![Row::new(step, counts, note)];
        rows.extend(skipped);
        Ok(rows)
    }

    fn take_skips(&self) -> Result<Vec<Row>> {
        let lines = fs::read_to_string(&self.skips)?;
        fs::write(&self.skips, "")?;
        let rows = lines.lines().map(|line| {
            let (test, why) = line.split_once(": ").unwrap_or(("a test", line));
            Row::skipped(test, why, false)
        });
        Ok(rows.collect())
    }
}

fn fresh_skips_file() -> Result<PathBuf> {
    let folder = shell::target().join("test-env");
    fs::create_dir_all(&folder)?;
    let file = folder.join("skipped");
    fs::write(&file, "")?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selected(only: &[Kind], arguments: &[&str]) -> Option<String> {
        let arguments: Vec<_> = arguments.iter().map(OsString::from).collect();
        let words = selection(only, &arguments)?;
        Some(words.join(" ".as_ref()).into_string().expect("UTF-8"))
    }

    #[test]
    fn without_a_choice_every_target_of_the_workspace_is_tested() {
        assert_eq!(selected(&[], &[]).as_deref(), Some("--workspace --all-targets"));
        assert_eq!(selected(&[], &["a_name"]).as_deref(), Some("--workspace --all-targets a_name"));
    }

    #[test]
    fn a_persons_own_choice_of_targets_replaces_ours() {
        assert_eq!(selected(&[], &["--lib", "clock"]).as_deref(), Some("--lib clock"));
    }

    #[test]
    fn one_height_can_be_chosen() {
        assert_eq!(selected(&[Kind::Unit], &[]).as_deref(), Some("--workspace --lib --bins"));
    }
}
