//! Load by wrk, and what it says.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::http;
use super::measure::Sample;
use super::process::LOAD_CORE;
use super::servers::{Place, Server};
use crate::shell;

/// wrk's own summary has no p99.9. The hook does not touch the requests, so wrk stays as fast as without.
const REPORT: &str = "done = function(summary, latency, requests)
  local e = summary.errors
  io.write(string.format('REPORT %d %d %d %d %d %d\\n', summary.requests, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout,
    latency:percentile(50), latency:percentile(99), latency:percentile(99.9)))
end
";

/// One kind of load.
#[derive(Clone, Copy)]
pub struct Load {
    pub connections: u32,
    pub keep_alive: bool,
}

/// Runs it once.
pub fn run(place: &Place, server: &Server, path: &str, load: Load, time: Duration) -> Result<Sample> {
    let script: PathBuf = place.folder.join("report.lua");
    fs::write(&script, REPORT)?;
    let token = http::token_header(server.address)?;
    let before = server.process.cpu()?;
    let mut wrk = Command::new("taskset");
    wrk.args(["-c", LOAD_CORE, "wrk", "-t1", &format!("-c{}", load.connections), &format!("-d{}s", time.as_secs())]);
    wrk.arg("-s").arg(&script).args(["-H", &token]);
    if !load.keep_alive {
        wrk.args(["-H", "Connection: close"]);
    }
    let said = shell::output(wrk.arg(format!("http://{}{path}", server.address)))?;
    let cpu = server.process.cpu()?.checked_sub(before).unwrap_or_default();
    let report = said.lines().find_map(|line| line.strip_prefix("REPORT ")).context("no report from wrk")?;
    let numbers: Vec<u64> = report.split(' ').map(str::parse).collect::<Result<_, _>>()?;
    let [requests, duration, errors, p50, p99, p999] = numbers[..] else { anyhow::bail!("an odd report: {report}") };
    ensure!(requests > 0, "wrk got no answer at all:\n{said}");
    Ok(Sample::new(requests, errors, Duration::from_micros(duration), cpu, [p50, p99, p999]))
}
