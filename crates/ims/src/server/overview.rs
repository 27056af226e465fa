//! What is on the status page of the server: what the metrics count, and, where that is wanted, who asked. No secrets.

mod sts;

use std::{collections::BTreeMap, time::Duration};

use jiff::Timestamp;

use super::{
    counters::{Ending, WORDS},
    respond::Server,
    seen::{Event, Seen},
};
use crate::{
    approvals::State,
    clock::Moment,
    open_metrics::Recent,
    page::{Cell, Column, Columns, Figure, Part, Section, Table, Tone, View, Window, clock_time, duration, moment},
    sts::Health,
    text::{printable, redact},
};

/// So many are in a table.
const ROWS: usize = 200;

/// What the columns show.
struct Series {
    label: &'static str,
    name: &'static str,
    tone: Tone,
    endings: &'static [Ending],
}

static SERIES: [Series; 4] = [
    Series { label: "Handed out", name: "handed out", tone: Tone::Good, endings: &[Ending::HandedOut] },
    Series {
        label: "Other answers",
        name: "answered",
        tone: Tone::Quiet,
        endings: &[Ending::Answered, Ending::Unknown],
    },
    Series { label: "Denied", name: "denied", tone: Tone::Warning, endings: &[Ending::Denied, Ending::Unproven] },
    Series { label: "Unavailable", name: "unavailable", tone: Tone::Bad, endings: &[Ending::Unavailable] },
];

impl Server {
    /// From now on it is remembered what the page shows: with the names of `callers`, or without.
    pub fn remember(&self, callers: bool) {
        self.seen.get_or_init(|| Seen::new(callers));
    }

    fn seen(&self) -> Option<&Seen> {
        self.seen.get()
    }

    /// What a person sees at the moment `now`.
    pub fn overview(&self, host: &str, now: Moment) -> View {
        let health = self.sts.health();
        View {
            program: "alppaca-ims",
            host: host.to_owned(),
            at: now.wall,
            verdict: self.verdict(&health),
            notices: self.notices(&health, now.wall),
            figures: self.figures(&health),
            sections: vec![
                self.decisions_section(now.wall),
                self.callers_section(now.wall),
                self.approvals_section(now),
                self.sts_section(&health, now.wall),
                self.in_force_section(now.wall),
            ],
        }
    }

    fn verdict(&self, health: &Health) -> (Tone, String) {
        let broken = health.regions.iter().filter(|(_, region)| region.trouble.is_some()).count();
        match (self.unready(), broken) {
            (Some(_), _) => (Tone::Bad, "No new credentials can be handed out".to_owned()),
            (None, 0) => (Tone::Good, "Credentials can be handed out".to_owned()),
            (None, broken) => {
                (Tone::Warning, format!("{broken} of {} regions of STS cannot be used", health.regions.len()))
            }
        }
    }

    fn notices(&self, health: &Health, now: Timestamp) -> Vec<(Tone, String)> {
        let mut notices = Vec::new();
        if let Some(why) = self.unready() {
            notices.push((Tone::Bad, format!("{}.", safe(&why))));
        }
        for (region, report) in &health.regions {
            if let Some(why) = &report.trouble {
                notices.push((Tone::Warning, format!("{region}: {}", safe(why))));
            }
        }
        let (_, since, failed) = self.shown().in_force.shown();
        if failed {
            let since = clock_time(since, now);
            let text =
                format!("The last reload was refused; the configuration of {since} stays in force. The log says why.");
            notices.push((Tone::Warning, text));
        }
        notices
    }

    fn figures(&self, health: &Health) -> Vec<Figure> {
        let figure = |label, value: String, note: &str| Figure { label, value, note: note.to_owned() };
        let total = |endings: &[Ending]| endings.iter().map(|ending| self.counters().total(*ending)).sum::<u64>();
        let counts = health.counts;
        let asked = counts.fresh + counts.older + counts.waited + counts.turned_away;
        let from_cache = (100 * (counts.fresh + counts.older)).checked_div(asked);
        let own = health.signer_left.map(|left| duration(Duration::from_secs(left)));
        let of_series = |series: &Series| figure(series.label, total(series.endings).to_string(), "since the start");
        let mut figures: Vec<_> = SERIES.iter().map(of_series).collect();
        figures.push(figure(
            "From the cache",
            from_cache.map_or_else(|| "–".to_owned(), |part| format!("{part} %")),
            &format!("{} set(s) are remembered", health.sets),
        ));
        figures.push(figure("Own credentials", own.unwrap_or_else(|| "none".to_owned()), "valid for that long"));
        figures
    }

    fn decisions_section(&self, now: Timestamp) -> Section {
        let Some(seen) = self.seen() else {
            return Section { id: "decisions", title: "Decisions", parts: Vec::new() };
        };
        let of_series = |counts: &[u64; WORDS.len()]| -> Vec<u64> {
            let sum = |endings: &[Ending]| endings.iter().filter_map(|ending| counts.get(*ending as usize)).sum();
            SERIES.iter().map(|series| sum(series.endings)).collect()
        };
        let pieces: Vec<_> = seen.pieces(now).iter().map(|(from, counts)| (*from, of_series(counts))).collect();
        let mut parts = Vec::new();
        if pieces.is_empty() {
            parts.push(Part::Text("Nobody has asked in the last six hours.".to_owned()));
        } else {
            let hours = by_hour(&pieces);
            let sum = |index| hours.iter().filter_map(|(_, counts): &(_, Vec<u64>)| counts.get(index)).sum::<u64>();
            let sums: Vec<_> =
                SERIES.iter().enumerate().map(|(index, series)| format!("{} {}", sum(index), series.name)).collect();
            parts.push(Part::Columns(Columns {
                summary: format!("Requests of the last six hours in pieces of ten minutes: {}", sums.join(", ")),
                window: Window::before(now),
                every: Recent::<0>::EVERY,
                series: SERIES.iter().map(|series| (series.name, series.tone)).collect(),
                columns: pieces,
            }));
            parts.push(Part::Table(hours_table(&hours, now)));
        }
        parts.push(rules_part(seen));
        Section { id: "decisions", title: "Decisions", parts }
    }

    fn callers_section(&self, now: Timestamp) -> Section {
        let mut parts = Vec::new();
        match self.seen().filter(|seen| seen.has_callers()) {
            None => parts.push(Part::Text(
                "Who asks is not remembered: names of people are personal data. status_page.callers says that it is wanted."
                    .to_owned(),
            )),
            Some(seen) => {
                let callers = seen.callers();
                let row = |(name, caller): &(Box<str>, super::seen::Caller)| {
                    vec![
                        Cell::new(&**name),
                        Cell::new(caller.method),
                        Cell::new(moment(caller.last, now)),
                        Cell::new(caller.handed_out.to_string()),
                        Cell::new(caller.denied.to_string()),
                    ]
                };
                if callers.is_empty() {
                    parts.push(Part::Text("Nobody has proved an identity since the start.".to_owned()));
                } else {
                    parts.push(Part::Table(Table {
                        caption: "Hosts and people, those that asked last first",
                        columns: vec![
                            Column::Words("Name"),
                            Column::Words("Proof"),
                            Column::Words("Last seen"),
                            Column::Numbers("Handed out"),
                            Column::Numbers("Denied"),
                        ],
                        rows: callers.iter().take(ROWS).map(row).collect(),
                    }));
                }
                if callers.len() > ROWS {
                    parts.push(Part::Text(format!("The table has {ROWS} of {} that are remembered.", callers.len())));
                }
                parts.extend(events("The last refusals", "Why", &seen.refusals(), now));
            }
        }
        Section { id: "callers", title: "Hosts and people", parts }
    }

    fn approvals_section(&self, now: Moment) -> Section {
        let mut parts = Vec::new();
        let names = self.seen().is_some_and(Seen::has_callers);
        if let Some(files) = &self.current().approvals {
            // What requests have read: the page itself reads no records.
            match files.recent(now, Duration::MAX) {
                None => parts.push(Part::Text("No request has looked at the approvals since the start.".to_owned())),
                Some(ledger) => {
                    let standing = |state| ledger.entries.values().filter(move |entry| entry.state(now.wall) == state);
                    let row = |entry: &crate::approvals::Entry| {
                        let state = entry.state(now.wall);
                        let request = &entry.request;
                        let tone = if state == State::Open { Tone::Warning } else { Tone::Good };
                        vec![
                            Cell::new(format!("{}/{}", request.account, request.role)),
                            Cell::state(tone, state.as_str()),
                            Cell::new(moment(entry.end(), now.wall)),
                            Cell::new(&request.rule),
                            Cell::new(if names { request.by.name.as_str() } else { "" }),
                        ]
                    };
                    let rows: Vec<_> =
                        standing(State::Approved).chain(standing(State::Open)).take(ROWS).map(row).collect();
                    if rows.is_empty() {
                        parts.push(Part::Text("No approval is in force, and none is asked for.".to_owned()));
                    } else {
                        let columns = ["Role", "State", "Until", "Rule", "For"].map(Column::Words).to_vec();
                        parts.push(Part::Table(Table { caption: "Approvals in force and asked for", columns, rows }));
                    }
                }
            }
        } else {
            parts.push(Part::Text("No role needs an approval.".to_owned()));
        }
        match self.seen().map(Seen::emergencies).unwrap_or_default() {
            none if none.is_empty() => parts.push(Part::Text("No emergency since the start.".to_owned())),
            some => parts.extend(events("The last emergencies", "Role", &some, now.wall)),
        }
        Section { id: "approvals", title: "Approvals and emergencies", parts }
    }

    fn in_force_section(&self, now: Timestamp) -> Section {
        let (hash, since, _) = self.shown().in_force.shown();
        let audit = match self.audit() {
            Some(audit) => {
                let lost = audit.lost().load(std::sync::atomic::Ordering::Relaxed);
                format!("on, {lost} record(s) lost")
            }
            None => "off".to_owned(),
        };
        let end = self.shown().certificate_end();
        let facts = vec![
            ("Version", format!("alppaca-ims {}", env!("CARGO_PKG_VERSION"))),
            ("Started", clock_time(self.shown().started(), now)),
            ("Configuration", format!("{hash}, since {}", clock_time(since, now))),
            (
                "Certificate",
                end.map_or_else(|| "none: plain HTTP".to_owned(), |end| format!("ends {}", moment(end, now))),
            ),
            ("Audit", audit),
            ("Sandbox", self.confined().map_or_else(|| "none".to_owned(), ToString::to_string)),
        ];
        Section { id: "in-force", title: "What is in force", parts: vec![Part::Facts(facts)] }
    }
}

/// What there was in each hour, the last one first.
fn by_hour(pieces: &[(Timestamp, Vec<u64>)]) -> Vec<(Timestamp, Vec<u64>)> {
    let mut hours = BTreeMap::<Timestamp, Vec<u64>>::new();
    for (from, counts) in pieces {
        let second = from.as_second();
        let hour = Timestamp::from_second(second - second.rem_euclid(3600)).unwrap_or(*from);
        let sums = hours.entry(hour).or_insert_with(|| vec![0; counts.len()]);
        sums.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
    }
    hours.into_iter().rev().collect()
}

fn hours_table(hours: &[(Timestamp, Vec<u64>)], now: Timestamp) -> Table {
    let names = SERIES.iter().map(|series| Column::Numbers(series.label));
    let row = |(hour, counts): &(Timestamp, Vec<u64>)| {
        let counts = counts.iter().map(|count| Cell::new(count.to_string()));
        std::iter::once(Cell::new(clock_time(*hour, now))).chain(counts).collect()
    };
    Table {
        caption: "Requests by the hour, since when it began",
        columns: std::iter::once(Column::Words("Hour")).chain(names).collect(),
        rows: hours.iter().map(row).collect(),
    }
}

fn rules_part(seen: &Seen) -> Part {
    let mut rules = seen.rules();
    if rules.is_empty() {
        return Part::Text("No rule has given credentials since the start.".to_owned());
    }
    rules.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let most = rules.first().map_or(0, |(_, count)| *count);
    let rows =
        rules.iter().take(ROWS).map(|(rule, count)| vec![Cell::new(&**rule), Cell::count(*count, most)]).collect();
    let columns = vec![Column::Words("Rule"), Column::Numbers("Handed out")];
    Part::Table(Table { caption: "What each rule has given since the start", columns, rows })
}

fn events(caption: &'static str, what: &'static str, events: &[Event], now: Timestamp) -> Option<Part> {
    let row = |event: &Event| {
        let who = event.who.as_deref().unwrap_or_default();
        vec![Cell::new(moment(event.at, now)), Cell::new(safe(&event.what)), Cell::new(who)]
    };
    let columns = vec![Column::Words("When"), Column::Words(what), Column::Words("Who")];
    (!events.is_empty()).then(|| Part::Table(Table { caption, columns, rows: events.iter().map(row).collect() }))
}

/// Text of elsewhere, fit for a page.
fn safe(text: &str) -> String {
    printable(&redact(text), 240)
}
