//! `cargo xtask bench`: our daemon and nginx, or another build of ours, by turns, in one run, on this machine.

mod crowd;
pub mod hostile;
mod http;
mod measure;
mod plan;
mod process;
mod report;
mod sdk;
mod servers;
mod wrk;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::Args;
use rustix::process::{Resource, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_setaffinity};

use crate::{shell, tools};

/// 5,500 connections to each of two servers, and the load.
const DESCRIPTORS: u64 = 16_384;

#[derive(Args)]
pub struct Options {
    /// Under two minutes, and less sure
    #[arg(long)]
    quick: bool,
    /// Also write the report here
    #[arg(long, value_name = "FILE.md")]
    out: Option<PathBuf>,
    /// Measure this program instead of building one
    #[arg(long, value_name = "PROGRAM")]
    alppaca: Option<PathBuf>,
    /// Compare with this alppaca, of before a change, instead of nginx
    #[arg(long, value_name = "PROGRAM")]
    against: Option<PathBuf>,
    /// Only what an ordinary client notices of clients and upstreams that do harm
    #[arg(long, conflicts_with = "against")]
    harm: bool,
    /// Of these only clients that do this
    #[arg(long, requires = "harm")]
    only: Option<hostile::Harm>,
}

/// How long things take.
pub struct Times {
    /// One round of one load.
    pub round: Duration,
    pub rounds: usize,
    pub idle: Duration,
    pub starts: usize,
    pub prompts: usize,
    /// Leave out rows that say little new.
    pub brief: bool,
}

const FULL: Times = Times {
    round: Duration::from_secs(4),
    rounds: 3,
    idle: Duration::from_mins(1),
    starts: 20,
    prompts: 100,
    brief: false,
};
const QUICK: Times = Times {
    round: Duration::from_secs(1),
    rounds: 3,
    idle: Duration::from_secs(10),
    starts: 20,
    prompts: 100,
    brief: true,
};

pub fn run(options: &Options) -> Result<()> {
    let unavailable: Vec<_> =
        tools::ensure(tools::For::Bench).into_iter().filter(|row| row.counts.skipped > 0).collect();
    if let Some(row) = unavailable.first() {
        bail!("the benchmark needs {}: {}", row.step, row.note);
    }
    raise_descriptor_limit()?;
    let absolute = |program: &PathBuf| fs::canonicalize(program).with_context(|| program.display().to_string());
    let alppaca = options.alppaca.as_ref().map_or_else(build, absolute)?;
    let against = options.against.as_ref().map(absolute).transpose()?;
    // After the build, which may have all cores.
    ensure!(std::thread::available_parallelism()?.get() >= 2, "needs two cores: one for the server, one for the load");
    pin_to_load_core()?;
    let folder = shell::target().join("bench");
    let _ = fs::remove_dir_all(&folder);
    let place = |alppaca, name| {
        let folder = folder.join(name);
        fs::create_dir_all(&folder)?;
        anyhow::Ok(servers::Place { alppaca, folder })
    };
    let ours = place(alppaca, "ours")?;
    let before = against.map(|program| place(program, "before")).transpose()?;

    let started = Instant::now();
    let times = if options.quick { &QUICK } else { &FULL };
    let text =
        if options.harm { plan::harm(&ours, options.only, times) } else { plan::run(&ours, before.as_ref(), times) }?;
    let text =
        format!("{text}\nTook {} s{}.\n", started.elapsed().as_secs(), if options.quick { ", --quick" } else { "" });
    println!("\n{text}");
    if let Some(file) = &options.out {
        fs::write(file, text).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

fn build() -> Result<PathBuf> {
    shell::heading("building the release");
    shell::run(shell::cargo().args(["build", "--quiet", "--release", "--package", "alppaca"]))?;
    Ok(shell::target().join("release/alppaca"))
}

fn raise_descriptor_limit() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    let enough = |value: Option<u64>| value.is_none_or(|value| value >= DESCRIPTORS);
    if enough(limit.current) {
        return Ok(());
    }
    limit.current = Some(DESCRIPTORS);
    if !enough(limit.maximum) {
        limit.maximum = Some(DESCRIPTORS);
    }
    setrlimit(Resource::Nofile, limit).with_context(|| format!("needs ulimit -n {DESCRIPTORS} (as root: ulimit -Hn)"))
}

/// Threads that are started later inherit it.
fn pin_to_load_core() -> Result<()> {
    let mut cores = CpuSet::new();
    cores.set(process::LOAD_CORE.parse()?);
    sched_setaffinity(None, &cores).context("cannot stay on core 1")
}
