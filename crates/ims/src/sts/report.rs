//! What is reported about STS: health, and metrics as text.

use std::fmt::Write;

use super::{Counts, RegionReport, Sts};
use crate::clock::{Moment, until};

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
            signer: own.as_ref().and_then(|own| own.arn.clone()),
            signer_left: own.map(|own| until(own.credentials.expiration, now.wall).as_secs()),
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

    /// Appends the metrics, as `OpenMetrics` has them.
    pub fn render(&self, text: &mut String, now: Moment) {
        let health = self.health();
        let mut put = |line: std::fmt::Arguments| {
            // Writing to a text cannot fail.
            let _ = text.write_fmt(line);
        };
        put(format_args!(
            "# TYPE alppaca_ims_sts_calls counter\n# HELP alppaca_ims_sts_calls Calls of AssumeRole by region and end.\n"
        ));
        for (region, RegionReport { tally, .. }) in &health.regions {
            let ends = [
                ("made", tally.made),
                ("refused", tally.refused),
                ("throttled", tally.throttled),
                ("failed", tally.failed),
            ];
            for (end, count) in ends {
                put(format_args!("alppaca_ims_sts_calls_total{{region=\"{region}\",end=\"{end}\"}} {count}\n"));
            }
        }
        put(format_args!(
            "# TYPE alppaca_ims_sts_rate gauge\n# HELP alppaca_ims_sts_rate Calls that may begin in a second.\n"
        ));
        for (region, report) in &health.regions {
            let rate = if report.trouble.is_some() { 0.0 } else { report.rate };
            put(format_args!("alppaca_ims_sts_rate{{region=\"{region}\"}} {rate:.1}\n"));
        }
        put(format_args!(
            "# TYPE alppaca_ims_sets counter\n# HELP alppaca_ims_sets What requests for credentials got from the cache.\n"
        ));
        let counts = health.counts;
        let got = [
            ("fresh", counts.fresh),
            ("older", counts.older),
            ("waited", counts.waited),
            ("turned_away", counts.turned_away),
        ];
        for (word, count) in got {
            put(format_args!("alppaca_ims_sets_total{{got=\"{word}\"}} {count}\n"));
        }
        let gauges = [
            ("alppaca_ims_sets_remembered", "Sets that are remembered.", health.sets),
            ("alppaca_ims_sts_waiting", "Calls of AssumeRole that wait for their turn.", health.waiting),
            ("alppaca_ims_sts_up", "Whether credentials can be made.", usize::from(health.trouble.is_none())),
        ];
        for (name, help, value) in gauges {
            put(format_args!("# TYPE {name} gauge\n# HELP {name} {help}\n{name} {value}\n"));
        }
        if let Some(end) = self.signer.get().map(|own| until(own.credentials.expiration, now.wall).as_secs()) {
            let name = "alppaca_ims_signer_remaining_seconds";
            let help = "How long the server's own credentials are valid.";
            put(format_args!("# TYPE {name} gauge\n# HELP {name} {help}\n{name} {end}\n"));
        }
    }
}
