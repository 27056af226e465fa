//! What is reported about STS: health, and metrics as text.

use std::time::Duration;

use jiff::Timestamp;

use super::{Counts, ENDS, History, RegionReport, Sts};
use crate::open_metrics::Page;

/// How STS is doing.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// Why no credentials can be made, if they cannot.
    pub trouble: Option<String>,
    /// Whose credentials sign the calls, as AWS says.
    pub signer: Option<String>,
    /// Until when the server's own credentials are valid, in seconds from now.
    pub signer_left: Option<u64>,
    /// Each region.
    pub regions: Vec<(String, RegionReport)>,
    /// What clients got.
    pub counts: Counts,
    /// How many sets are remembered.
    pub sets: usize,
    /// How many calls wait for their turn.
    pub waiting: usize,
}

impl Sts {
    /// How STS is doing.
    pub fn health(&self) -> Health {
        let own = self.signer.get();
        let now = self.clock.now();
        let state = self.state();
        let (sets, waiting) = state.desk.sizes();
        let regions = state.desk.regions().into_iter().enumerate();
        Health {
            trouble: state.desk.down().map(|why| why.to_string()),
            signer: own.as_ref().and_then(|own| own.arn().map(str::to_owned)),
            signer_left: own.map(|own| own.left(now).as_secs()),
            regions: regions.map(|(index, region)| (self.regions.name(index).to_owned(), region)).collect(),
            counts: state.desk.counts(),
            sets,
            waiting,
        }
    }

    /// Why no credentials can be made at the moment, if they cannot. Those that are there are still handed out.
    pub fn unready(&self) -> Option<String> {
        self.state().desk.down().map(|why| why.to_string())
    }

    /// What came of the calls to each region in the last hours.
    pub fn history(&self, now: Timestamp) -> Vec<(String, History)> {
        let history = self.state().desk.history(now).into_iter().enumerate();
        history.map(|(index, pieces)| (self.regions.name(index).to_owned(), pieces)).collect()
    }

    /// How long calls took on the average in the region with that number, if there were any.
    pub fn mean_latency(&self, region: usize) -> Option<Duration> {
        let took = self.regions.took(region)?;
        let count: u64 = took.buckets().map(|(_, count)| count).sum();
        took.sum().checked_div(u32::try_from(count).ok()?)
    }

    /// Appends the metrics.
    pub fn render(&self, page: &mut Page) {
        let health = self.health();
        let mut calls = page.counter("alppaca_ims_sts_calls_total", "Calls of AssumeRole by region and end.");
        for (region, RegionReport { tally, .. }) in &health.regions {
            for (end, count) in ENDS.into_iter().zip([tally.made, tally.refused, tally.throttled, tally.failed]) {
                calls.put(&[("region", region), ("end", end)], count);
            }
        }
        let help = "How long calls of AssumeRole took.";
        let mut took = page.histogram("alppaca_ims_sts_call_duration_seconds", help);
        for (index, (region, _)) in health.regions.iter().enumerate() {
            if let Some(histogram) = self.regions.took(index) {
                took.put_histogram(&[("region", region)], histogram);
            }
        }
        let mut rates = page.gauge("alppaca_ims_sts_rate", "Calls that may begin in a second.");
        for (region, report) in &health.regions {
            let rate = if report.trouble.is_some() { 0.0 } else { report.rate };
            rates.put(&[("region", region)], format_args!("{rate:.1}"));
        }
        let mut sets = page.counter("alppaca_ims_sets_total", "What requests for credentials got from the cache.");
        let counts = health.counts;
        for (word, count) in [
            ("fresh", counts.fresh),
            ("older", counts.older),
            ("waited", counts.waited),
            ("turned_away", counts.turned_away),
        ] {
            sets.put(&[("got", word)], count);
        }
        for (name, help, value) in [
            ("alppaca_ims_sets_remembered", "Sets that are remembered.", health.sets),
            ("alppaca_ims_sts_waiting", "Calls of AssumeRole that wait for their turn.", health.waiting),
            ("alppaca_ims_sts_up", "Whether credentials can be made.", usize::from(health.trouble.is_none())),
        ] {
            page.gauge(name, help).put(&[], value);
        }
        let help = "When the server's own credentials end; absent while it has none.";
        let mut end = page.gauge("alppaca_ims_signer_expiration_timestamp_seconds", help);
        if let Some(own) = self.signer.get() {
            end.put(&[], own.credentials.expiration.as_second());
        }
    }
}
