//! The Markdown that comes out.

use super::measure::{Sample, median};

pub const HEAD: &str = "# alppaca against nginx

Both serve the same bodies on the same paths over loopback, with one core (0) for the server and one (1) for the load,
and take turns: A B A B. The machine may be shared and noisy, so **only ratios within one run mean something**; absolute
numbers are the medians of this run. Ratios are alppaca / nginx, each the median of the rounds' own ratios:
req/s above 1 is better, time and latency below 1 are better. CPU is the server process's own (user and system);
per core = requests per second of that CPU, so it holds also where the load generator is the bottleneck. Requests carry an
IMDS token: alppaca asks the kernel whose each connection is, and verifies that the token is his; nginx does neither.
";

/// The samples of both, round by round.
pub struct Pair {
    pub ours: Vec<Sample>,
    pub nginx: Vec<Sample>,
}

impl Pair {
    /// Median over the rounds of ours / nginx.
    pub fn ratio(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.ours.iter().zip(&self.nginx).map(|(ours, nginx)| of(ours) / of(nginx)))
    }

    /// Throughput for each second of CPU, ours / nginx.
    pub fn per_core(&self) -> f64 {
        1.0 / self.ratio(|sample| sample.cpu)
    }

    pub fn p99(&self) -> f64 {
        self.ratio(|sample| sample.latency[1])
    }

    /// How many of our requests failed: a fast failure is no throughput.
    pub fn failures(&self) -> u64 {
        errors(&self.ours)
    }
}

fn errors(samples: &[Sample]) -> u64 {
    samples.iter().map(|sample| sample.errors).sum()
}

pub const COLUMNS: &str =
    "req/s alppaca | req/s nginx | ratio | CPU µs/req | per core | p50 µs | p99 µs | p99.9 µs | errors";

/// The cells under `COLUMNS`.
pub fn cells(pair: &Pair) -> String {
    let middle = |samples: &[Sample], of: &dyn Fn(&Sample) -> f64| median(samples.iter().map(of));
    let both = |of: &dyn Fn(&Sample) -> f64, digits: usize| {
        format!("{:.digits$} / {:.digits$}", middle(&pair.ours, of), middle(&pair.nginx, of))
    };
    let rate = |sample: &Sample| sample.per_second;
    let latency = |index: usize| both(&move |sample: &Sample| sample.latency[index], 0);
    format!(
        "{:.0} | {:.0} | {:.2} | {} | **{:.2}** | {} | {} (×{:.2}) | {} | {} / {}",
        middle(&pair.ours, &rate),
        middle(&pair.nginx, &rate),
        pair.ratio(rate),
        both(&|sample| sample.cpu, 1),
        pair.per_core(),
        latency(0),
        latency(1),
        pair.p99(),
        latency(2),
        errors(&pair.ours),
        errors(&pair.nginx),
    )
}

/// A table whose rows are already joined with ` | `.
pub fn table(header: &str, rows: &[String]) -> String {
    let rule = header.split(" | ").map(|_| "---").collect::<Vec<_>>().join(" | ");
    let lines = [header, &rule].into_iter().chain(rows.iter().map(String::as_str));
    lines.map(|line| format!("| {line} |\n")).collect::<Vec<_>>().concat()
}

/// One aim, what came out, and whether it is met.
pub struct Aim {
    pub what: &'static str,
    pub measured: String,
    pub met: bool,
}

pub fn aims(aims: &[Aim]) -> String {
    let rows: Vec<_> = aims
        .iter()
        .map(|aim| format!("{} | {} | {}", aim.what, aim.measured, if aim.met { "met" } else { "**missed**" }))
        .collect();
    table("aim | measured | ", &rows)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_server_that_needs_half_the_cpu_does_twice_as_much_per_core() {
        let sample = |cpu| Sample::new(1000, 0, Duration::from_secs(1), Duration::from_millis(cpu), [1, 2, 3]);
        let pair = Pair { ours: vec![sample(50); 3], nginx: vec![sample(100); 3] };
        assert!((pair.per_core() - 2.0).abs() < 1e-9);
        assert_eq!(cells(&pair).split(" | ").count(), COLUMNS.split(" | ").count());
    }
}
