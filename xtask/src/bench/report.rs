//! The Markdown that comes out.

use super::measure::{Sample, median};

/// What the numbers mean, against nginx or against the program of before a change.
pub fn head(before: bool) -> String {
    let (other, is) = if before { ("alppaca of before", "new / old") } else { ("nginx", "alppaca / nginx") };
    let requests = if before {
        "Requests carry an IMDS token, which both verify."
    } else {
        "Requests carry an IMDS token, which alppaca verifies and nginx does not."
    };
    format!(
        "# alppaca against {other}

Both serve the same bodies on the same paths over loopback, with one core (0) for the server and one (1) for the load,
and take turns: A B A B. The machine may be shared and noisy, so **only ratios within one run mean something**; absolute
numbers are the medians of this run. Ratios are {is}, each the median of the rounds' own ratios, with the lowest and the
highest of them behind it: req/s above 1 is better, time and latency below 1 are better. CPU is the server process's own
(user and system); per core = requests per second of that CPU, so it holds also where the load generator is the bottleneck.
{requests}
"
    )
}

pub const LOGGED: &str = "With its request log on, alppaca logs 500 requests of one client and then 20 a second, and the number \
                          of the others: these rows show what a flood of requests costs. nginx, and alppaca before it had that \
                          limit, log each request.";

/// The samples of both, round by round.
pub struct Pair {
    pub ours: Vec<Sample>,
    pub other: Vec<Sample>,
}

impl Pair {
    /// Ours / the other's, round by round.
    fn ratios(&self, of: impl Fn(&Sample) -> f64) -> impl Iterator<Item = f64> {
        self.ours.iter().zip(&self.other).map(move |(ours, other)| of(ours) / of(other))
    }

    /// The median of these.
    pub fn ratio(&self, of: impl Fn(&Sample) -> f64) -> f64 {
        median(self.ratios(of))
    }

    /// The median, the lowest and the highest of them.
    fn spread(&self, of: impl Fn(&Sample) -> f64) -> (f64, f64, f64) {
        let ratios: Vec<f64> = self.ratios(of).collect();
        let (low, high) =
            ratios.iter().fold((f64::INFINITY, 0.0_f64), |(low, high), &one| (low.min(one), high.max(one)));
        (median(ratios), low, high)
    }

    /// Throughput for each second of CPU, ours / the other's.
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

pub fn columns(before: bool) -> String {
    let (ours, other) = if before { ("new", "old") } else { ("alppaca", "nginx") };
    format!("req/s {ours} | req/s {other} | ratio | CPU µs/req | per core | p50 µs | p99 µs | p99.9 µs | errors")
}

/// The cells under [`columns`].
pub fn cells(pair: &Pair) -> String {
    let middle = |samples: &[Sample], of: &dyn Fn(&Sample) -> f64| median(samples.iter().map(of));
    let both = |of: &dyn Fn(&Sample) -> f64, digits: usize| {
        format!("{:.digits$} / {:.digits$}", middle(&pair.ours, of), middle(&pair.other, of))
    };
    let rate = |sample: &Sample| sample.per_second;
    let (cpu, low, high) = pair.spread(|sample| sample.cpu);
    let core = 1.0 / cpu;
    let latency = |index: usize| both(&move |sample: &Sample| sample.latency[index], 0);
    format!(
        "{:.0} | {:.0} | {:.2} | {} | **{core:.2}** ({:.2}–{:.2}) | {} | {} (×{:.2}) | {} | {} / {}",
        middle(&pair.ours, &rate),
        middle(&pair.other, &rate),
        pair.ratio(rate),
        both(&|sample| sample.cpu, 1),
        1.0 / high,
        1.0 / low,
        latency(0),
        latency(1),
        pair.p99(),
        latency(2),
        errors(&pair.ours),
        errors(&pair.other),
    )
}

/// A table whose rows are already joined with ` | `.
pub fn table(header: &str, rows: &[String]) -> String {
    let rule = header.split(" | ").map(|_| "---").collect::<Vec<_>>().join(" | ");
    let lines = [header, &rule].into_iter().chain(rows.iter().map(String::as_str));
    lines.map(|line| format!("| {line} |\n")).collect::<Vec<_>>().concat()
}

/// What an ordinary client notices of harm.
pub struct Harmed {
    pub title: &'static str,
    /// With the harm and without.
    pub pair: Pair,
    /// While the same harm is done to another alppaca on the same core, if that was measured: what the machine itself makes
    /// of it.
    pub elsewhere: Vec<Sample>,
}

pub fn harms(harms: &[Harmed]) -> String {
    if harms.is_empty() {
        return String::new();
    }
    let row = |Harmed { title, pair, elsewhere }: &Harmed| {
        let ratio = |samples: &[Sample], index: usize| {
            let ratios = samples.iter().zip(&pair.other).map(|(one, idle)| one.latency[index] / idle.latency[index]);
            format!("×{:.2}", median(ratios))
        };
        let cell = |index: usize| {
            let of = |samples: &[Sample]| format!("{:.0}", median(samples.iter().map(|sample| sample.latency[index])));
            let control = if elsewhere.is_empty() {
                String::new()
            } else {
                format!("; elsewhere {} ({})", of(elsewhere), ratio(elsewhere, index))
            };
            format!("{} / {} ({}){control}", of(&pair.ours), of(&pair.other), ratio(&pair.ours, index))
        };
        format!("{title} | {} | {} | {}", cell(0), cell(1), errors(&pair.ours))
    };
    let rows: Vec<_> = harms.iter().map(row).collect();
    let header = "harm | p50 µs, with and without | p99 µs, with and without | errors";
    format!(
        "\n## An ordinary client beside harm\n\nOne client, with the pattern of the SDKs, beside clients of another user \
         that do harm, or with an upstream that does, and without, by turns. *Elsewhere*: while they do the same to another \
         alppaca on the same core, which is what the machine itself makes of it.\n\n{}",
        table(header, &rows)
    )
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
        let pair = Pair { ours: vec![sample(50); 3], other: vec![sample(100); 3] };
        assert!((pair.per_core() - 2.0).abs() < 1e-9);
        assert_eq!(cells(&pair).split(" | ").count(), columns(true).split(" | ").count());
    }
}
