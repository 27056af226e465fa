//! What came of the calls to STS: of each region, now and in the last hours.

use jiff::Timestamp;

use super::{Server, by_hour, safe};
use crate::{
    open_metrics::Recent,
    page::{Cell, Column, Columns, Part, Section, Table, Tone, Window, clock_time, duration},
    sts::{ENDS, Health, History, RegionReport},
};

/// So many regions have a drawing, in the order of the configuration.
const DRAWN: usize = 8;
/// What the ends of calls are like.
const TONES: [Tone; ENDS.len()] = [Tone::Good, Tone::Quiet, Tone::Warning, Tone::Bad];

impl Server {
    pub(super) fn sts_section(&self, health: &Health, now: Timestamp) -> Section {
        let row = |(index, (name, report)): (usize, &(String, RegionReport))| {
            let (tone, state) = match &report.trouble {
                Some(_) => (Tone::Bad, "fails"),
                None => (Tone::Good, "in use"),
            };
            let tally = report.tally;
            let counts = [tally.made, tally.refused, tally.throttled, tally.failed];
            let mean = self.sts.mean_latency(index).map(duration).unwrap_or_default();
            let head = [
                Cell::new(name),
                Cell::state(tone, state).with_note(report.trouble.as_deref().map(safe).unwrap_or_default()),
                Cell::new(format!("{:.0}", report.rate)),
            ];
            head.into_iter().chain(counts.map(|count| Cell::new(count.to_string()))).chain([Cell::new(mean)]).collect()
        };
        let columns = vec![
            Column::Words("Region"),
            Column::Words("State"),
            Column::Numbers("Calls a second"),
            Column::Numbers("Made"),
            Column::Numbers("Refused"),
            Column::Numbers("Throttled"),
            Column::Numbers("Failed"),
            Column::Words("Latency"),
        ];
        let rows = health.regions.iter().enumerate().map(row).collect();
        let caption = "Regions: the quota that is left now, and what came of calls since the start";
        let counts = health.counts;
        let cache = format!(
            "{} fresh, {} older, {} waited for a call, {} turned away",
            counts.fresh, counts.older, counts.waited, counts.turned_away
        );
        let facts = vec![
            ("Requests for credentials", cache),
            ("Sets that are remembered", health.sets.to_string()),
            ("Calls that wait", health.waiting.to_string()),
            ("Signed by", health.signer.clone().unwrap_or_else(|| "not known yet".to_owned())),
        ];
        let mut parts = vec![Part::Table(Table { caption, columns, rows })];
        parts.extend(history(&self.sts.history(now), now));
        parts.push(Part::Facts(facts));
        Section { id: "sts", title: "STS", parts }
    }
}

/// The last hours of each region that was called in them.
fn history(regions: &[(String, History)], now: Timestamp) -> Vec<Part> {
    let called: Vec<_> = regions.iter().filter(|(_, pieces)| !pieces.is_empty()).collect();
    if called.is_empty() {
        return vec![Part::Text("No region has been called in the last six hours.".to_owned())];
    }
    let (mut parts, mut rows) = (Vec::new(), Vec::new());
    for (index, (region, pieces)) in called.iter().enumerate() {
        let pieces: Vec<_> = pieces.iter().map(|(from, counts)| (*from, counts.to_vec())).collect();
        let hours = by_hour(&pieces);
        let row = |(hour, counts): &(Timestamp, Vec<u64>)| {
            let counts = counts.iter().map(|count| Cell::number(*count));
            [Cell::new(region), Cell::new(clock_time(*hour, now))].into_iter().chain(counts).collect::<Vec<_>>()
        };
        rows.extend(hours.iter().map(row));
        if index < DRAWN {
            let sum = |end| hours.iter().filter_map(|(_, counts)| counts.get(end)).sum::<u64>();
            let sums: Vec<_> = ENDS.iter().enumerate().map(|(end, name)| format!("{} {name}", sum(end))).collect();
            parts.push(Part::Text(format!("{region}, calls in pieces of ten minutes:")));
            parts.push(Part::Columns(Columns {
                summary: format!("Calls to {region} in the last six hours: {}", sums.join(", ")),
                window: Window::before(now),
                every: Recent::<0>::EVERY,
                series: ENDS.into_iter().zip(TONES).collect(),
                columns: pieces,
            }));
        }
    }
    let columns = ["Region", "Hour"].map(Column::Words).into_iter();
    let columns = columns.chain(["Made", "Refused", "Throttled", "Failed"].map(Column::Numbers)).collect();
    parts.push(Part::Table(Table {
        caption: "Calls of the last hours by region, since when each hour began",
        columns,
        rows,
    }));
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_region_that_was_called_has_its_hours() {
        let at = |text: &str| text.parse::<Timestamp>().expect("a time");
        let now = at("2026-11-28T08:05:00Z");
        let pieces = vec![(at("2026-11-28T07:40:00Z"), [3, 0, 2, 0]), (at("2026-11-28T08:00:00Z"), [1, 0, 0, 4])];
        let parts = history(&[("eu-west-1".into(), pieces), ("us-east-1".into(), Vec::new())], now);
        let [Part::Text(title), Part::Columns(drawn), Part::Table(table)] = &*parts else { panic!("{parts:?}") };
        assert!(title.starts_with("eu-west-1"), "{title}");
        assert_eq!(drawn.summary, "Calls to eu-west-1 in the last six hours: 4 made, 0 refused, 2 throttled, 4 failed");
        let rows: Vec<Vec<_>> =
            table.rows.iter().map(|row| row.iter().map(|cell| cell.text.as_str()).collect()).collect();
        assert_eq!(rows, [["eu-west-1", "08:00", "1", "0", "0", "4"], ["eu-west-1", "07:00", "3", "0", "2", "0"]]);
        assert!(matches!(&*history(&[("eu-west-1".into(), Vec::new())], now), [Part::Text(_)]));
    }
}
