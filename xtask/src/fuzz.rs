//! `cargo xtask fuzz`: libFuzzer on stable Rust, time-boxed, side by side.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Mutex;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::Args;

use crate::outcome::{Counts, Row};
use crate::shell::{self, Tone, paint};

/// What cargo-fuzz passes to rustc, less the address sanitizer, which needs nightly Rust; there is
/// no unsafe code of ours for it to look at.
const INSTRUMENTATION: &str = "-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares --cfg fuzzing";

#[derive(Args)]
pub struct Options {
    /// The targets to run [default: all]
    targets: Vec<String>,
    /// How long each target runs
    #[arg(long, default_value_t = 20, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
}

pub fn run(options: &Options) -> Result<()> {
    let known = targets()?;
    for name in &options.targets {
        ensure!(known.contains(name), "no fuzz target {name:?}; there are: {}", known.join(", "));
    }
    let chosen = if options.targets.is_empty() { known } else { options.targets.clone() };
    let rows = run_all(&chosen, Duration::from_secs(options.seconds))?;
    let failed = rows.iter().filter(|row| row.counts.failed > 0).count();
    if failed > 0 {
        bail!("{failed} of {} fuzz targets failed", rows.len());
    }
    Ok(())
}

/// All targets for a short while; also what goes wrong before that becomes a row.
pub fn smoke(time: Duration) -> Vec<Row> {
    if shell::which("g++").is_none() && shell::which("c++").is_none() {
        return vec![Row::skipped("fuzz", "no C++ compiler for the fuzzing engine", true)];
    }
    targets()
        .and_then(|targets| run_all(&targets, time))
        .unwrap_or_else(|error| vec![Row::new("fuzz", Counts::FAILED, format!("{error:#}"))])
}

/// The targets that the manifest switches on.
fn targets() -> Result<Vec<String>> {
    let manifest = shell::root().join("fuzz/Cargo.toml");
    let text = fs::read_to_string(&manifest).with_context(|| manifest.display().to_string())?;
    let names = text.split("[[bin]]").skip(1).filter_map(|table| {
        let line = table.lines().find_map(|line| line.strip_prefix("name = "))?;
        Some(line.trim_matches('"').to_owned())
    });
    Ok(names.collect())
}

fn run_all(targets: &[String], time: Duration) -> Result<Vec<Row>> {
    let binaries = build()?;
    let queue = Mutex::new(targets.iter());
    let rows = Mutex::new(Vec::new());
    let workers = thread::available_parallelism()?.get();
    thread::scope(|scope| {
        for _ in 0..workers {
            scope.spawn(|| {
                while let Some(target) = { queue.lock().expect("no worker panics").next() } {
                    let row = fuzz(&binaries, target, time).unwrap_or_else(|error| {
                        Row::new(format!("fuzz {target}"), Counts::FAILED, format!("{error:#}"))
                    });
                    let tone = if row.counts.failed > 0 { Tone::Bad } else { Tone::Good };
                    println!("{}", paint(tone, &format!("{}: {}", row.step, row.note)));
                    rows.lock().expect("no worker panics").push(row);
                }
            });
        }
    });
    let mut rows = rows.into_inner().expect("no worker panics");
    rows.sort_by(|a, b| a.step.cmp(&b.step));
    Ok(rows)
}

/// Builds all targets and returns the folder of their programs.
fn build() -> Result<PathBuf> {
    shell::heading("building the fuzz targets");
    let version = shell::output(Command::new("rustc").arg("-vV"))?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc -vV names no host")?;
    let target = shell::target().join("fuzz");
    // With --target the flags reach only what is fuzzed, not build scripts, which would not link.
    shell::run(
        shell::cargo()
            .args(["build", "--quiet", "--release", "--manifest-path", "fuzz/Cargo.toml", "--target", host])
            .arg("--target-dir")
            .arg(&target)
            .env("RUSTFLAGS", INSTRUMENTATION),
    )?;
    Ok(target.join(host).join("release"))
}

fn fuzz(binaries: &Path, target: &str, time: Duration) -> Result<Row> {
    let step = format!("fuzz {target}");
    let root = shell::root();
    // libFuzzer adds what it finds to the first folder; the seeds stay as they are.
    let corpus = shell::target().join("fuzz/corpus").join(target);
    let artifacts = root.join("fuzz/artifacts").join(target);
    let log = shell::target().join(format!("fuzz/{target}.log"));
    fs::create_dir_all(&corpus)?;
    fs::create_dir_all(&artifacts)?;
    println!("{step}: {} s …", time.as_secs());
    let status = Command::new(binaries.join(target))
        .args([&corpus, &root.join("fuzz/seeds").join(target)])
        .arg(format!("-max_total_time={}", time.as_secs()))
        .arg(format!("-artifact_prefix={}/", artifacts.display()))
        .args(["-timeout=10", "-rss_limit_mb=2048", "-max_len=8192", "-print_final_stats=1"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(fs::File::create(&log)?)
        .status()
        .with_context(|| format!("cannot start {target}"))?;
    let said = String::from_utf8_lossy(&fs::read(&log)?).into_owned();
    if status.success() {
        let runs = number(&said, "stat::number_of_executed_units:").context("libFuzzer did not say how much it ran")?;
        ensure!(runs > 0, "libFuzzer ran nothing");
        // Fails if the folder has something in it, which is from an earlier run.
        let _ = fs::remove_dir(&artifacts);
        return Ok(Row::new(step, Counts::PASSED, format!("{runs} inputs in {} s", time.as_secs())));
    }
    let file = said.lines().find_map(|line| line.split_once("Test unit written to ")).map(|(_, file)| file.to_owned());
    let panic =
        said.lines().find(|line| line.contains("panicked at") || line.contains("SUMMARY")).unwrap_or("no panic");
    let again = file.as_ref().map_or_else(String::new, |file| {
        format!("; the input is {file}; again: {} {file}", binaries.join(target).display())
    });
    Ok(Row::new(step, Counts::FAILED, format!("{panic} (log: {}){again}", log.display())))
}

fn number(text: &str, label: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(label))?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_of_the_manifest_has_a_file_and_seeds() {
        let targets = targets().expect("a manifest");
        assert!(!targets.is_empty());
        for target in targets {
            assert!(shell::root().join(format!("fuzz/targets/{target}.rs")).is_file(), "{target}");
            assert!(!shell::stems(&shell::root().join("fuzz/seeds").join(&target), "").is_empty(), "{target}");
        }
    }
}
