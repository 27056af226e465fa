//! Metrics as text, and what they are counted in.
//!
//! <https://github.com/prometheus/OpenMetrics/blob/main/specification/OpenMetrics.md>

mod histogram;
mod in_force;
mod recent;

use std::fmt::{Display, Write};

pub use histogram::Histogram;
pub use in_force::InForce;
pub use recent::Recent;

/// The media type.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// A name and a value.
pub type Label<'a> = (&'a str, &'a str);

/// A page of metrics.
#[derive(Debug, Default)]
pub struct Page(String);

/// One metric on a page, with its samples. The specification wants those of a metric in a row.
#[derive(Debug)]
pub struct Family<'a> {
    page: &'a mut Page,
    name: &'static str,
}

impl Page {
    /// A metric that only grows; its `name` ends with `_total`.
    pub fn counter(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "_total", "counter", help)
    }

    /// A metric that goes up and down.
    pub fn gauge(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "", "gauge", help)
    }

    /// A metric whose labels are the message; its `name` ends with `_info`, its value is 1.
    pub fn info(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "_info", "info", help)
    }

    /// A metric of which one sample is 1: that whose label of this `name` has the state that there is.
    pub fn states(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "", "stateset", help)
    }

    /// How long something took; its `name` ends with `_seconds`.
    pub fn histogram(&mut self, name: &'static str, help: &str) -> Family<'_> {
        self.family(name, "", "histogram", help)
    }

    /// The text.
    pub fn finish(mut self) -> String {
        self.0.push_str("# EOF\n");
        self.0
    }

    fn family(&mut self, name: &'static str, suffix: &str, kind: &str, help: &str) -> Family<'_> {
        let family = name.strip_suffix(suffix).unwrap_or(name);
        self.line(format_args!("# TYPE {family} {kind}"));
        if family.ends_with("_seconds") {
            self.line(format_args!("# UNIT {family} seconds"));
        }
        self.line(format_args!("# HELP {family} {help}"));
        Family { page: self, name }
    }

    fn line(&mut self, line: std::fmt::Arguments<'_>) {
        // Writing to a String cannot fail.
        let _infallible = writeln!(self.0, "{line}");
    }
}

impl Family<'_> {
    /// A sample.
    pub fn put(&mut self, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        self.sample("", labels, value)
    }

    /// What a histogram has counted.
    pub fn put_histogram(&mut self, labels: &[Label<'_>], histogram: &Histogram) -> &mut Self {
        let mut all = 0;
        for (bound, count) in histogram.buckets() {
            all += count;
            // `Debug`: as the specification wants it, a whole number has a point, too.
            let bound = bound.map_or_else(|| "+Inf".to_owned(), |bound| format!("{:?}", bound.as_secs_f64()));
            self.sample("_bucket", &[labels, &[("le", &bound)]].concat(), all);
        }
        self.sample("_count", labels, all).sample("_sum", labels, histogram.sum().as_secs_f64())
    }

    fn sample(&mut self, suffix: &str, labels: &[Label<'_>], value: impl Display) -> &mut Self {
        let text = labels.iter().map(|(name, value)| format!("{name}=\"{}\"", escaped(value))).collect::<Vec<_>>();
        let labels = if text.is_empty() { String::new() } else { format!("{{{}}}", text.join(",")) };
        self.page.line(format_args!("{}{suffix}{labels} {value}", self.name));
        self
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_page_is_what_the_specification_shows() {
        const BOUNDS: &[Duration] = &[Duration::from_millis(5), Duration::from_secs(1)];
        let mut page = Page::default();
        page.counter("calls_total", "Calls.").put(&[("to", "a\"b\\c\nd"), ("from", "x")], 3);
        page.info("build_info", "It.").put(&[("version", "1")], 1);
        page.gauge("end_seconds", "When.").put(&[], 7).put(&[("a", "b")], -1);
        let histogram = Histogram::new(BOUNDS);
        for milliseconds in [1, 5, 6, 2000] {
            histogram.observe(Duration::from_millis(milliseconds));
        }
        page.histogram("took_seconds", "Time.").put_histogram(&[("of", "x")], &histogram);
        let text = "# TYPE calls counter\n# HELP calls Calls.\ncalls_total{to=\"a\\\"b\\\\c\\nd\",from=\"x\"} 3\n\
                    # TYPE build info\n# HELP build It.\nbuild_info{version=\"1\"} 1\n\
                    # TYPE end_seconds gauge\n# UNIT end_seconds seconds\n# HELP end_seconds When.\nend_seconds 7\n\
                    end_seconds{a=\"b\"} -1\n\
                    # TYPE took_seconds histogram\n# UNIT took_seconds seconds\n# HELP took_seconds Time.\n\
                    took_seconds_bucket{of=\"x\",le=\"0.005\"} 2\ntook_seconds_bucket{of=\"x\",le=\"1.0\"} 3\n\
                    took_seconds_bucket{of=\"x\",le=\"+Inf\"} 4\ntook_seconds_count{of=\"x\"} 4\n\
                    took_seconds_sum{of=\"x\"} 2.012\n# EOF\n";
        assert_eq!(page.finish(), text);
    }
}
