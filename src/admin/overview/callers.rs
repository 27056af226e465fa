//! Who was served, and who was denied.

use std::collections::BTreeMap;

use super::Admin;
use crate::{
    http::{CallerClass, Denial},
    page::{Cell, Column, Part, Section, Table},
};

impl Admin {
    pub(super) fn callers_section(&self) -> Section {
        let mut by_class = BTreeMap::<&str, (u64, u64)>::new();
        let mut by_protocol = BTreeMap::<String, (u64, u64)>::new();
        for answered in self.counters.answers().filter(|answered| answered.count > 0) {
            let good = if answered.status == 200 { answered.count } else { 0 };
            let protocol = match answered.protocol {
                ["", _] => "no HTTP".to_owned(),
                [face, version] => format!("{face} {version}").trim_end().to_owned(),
            };
            for (all, successful) in
                [by_class.entry(of_class(answered.caller)).or_default(), by_protocol.entry(protocol).or_default()]
            {
                *all += answered.count;
                *successful += good;
            }
        }
        let class = by_class.into_iter().map(|(class, counts)| (class.to_owned(), counts)).collect();
        let denials: Vec<_> = self.counters.denials().filter(|(_, count)| *count > 0).collect();
        let most = denials.iter().map(|(_, count)| *count).max().unwrap_or_default();
        let rows = |(denial, count): &(Denial, u64)| vec![Cell::new(reason(*denial)), Cell::count(*count, most)];
        let rows: Vec<_> = denials.iter().map(rows).collect();
        let denied = if rows.is_empty() {
            Part::Text("No request has been denied since the start.".to_owned())
        } else {
            let columns = vec![Column::Words("Why"), Column::Numbers("Requests")];
            Part::Table(Table { caption: "Denied requests since the start", columns, rows })
        };
        let parts = if by_protocol.is_empty() {
            vec![Part::Text("Nobody has asked since the start.".to_owned())]
        } else {
            vec![
                counted("Requests since the start, by caller", "Caller", class),
                counted("Requests since the start, by protocol", "Protocol", by_protocol.into_iter().collect()),
                denied,
            ]
        };
        Section { id: "callers", title: "Callers and denials", parts }
    }
}

fn counted(caption: &'static str, what: &'static str, mut counts: Vec<(String, (u64, u64))>) -> Part {
    counts.sort_by_key(|(_, (all, _))| std::cmp::Reverse(*all));
    let most = counts.iter().map(|(_, (all, _))| *all).max().unwrap_or_default();
    let row =
        |(name, (all, good)): (String, (u64, u64))| vec![Cell::new(name), Cell::count(all, most), Cell::number(good)];
    let columns = vec![Column::Words(what), Column::Numbers("Requests"), Column::Numbers("Answered with 200")];
    Part::Table(Table { caption, columns, rows: counts.into_iter().map(row).collect() })
}

fn of_class(class: CallerClass) -> &'static str {
    match class {
        CallerClass::Root => "root",
        CallerClass::System => "services (system accounts)",
        CallerClass::User => "users",
        CallerClass::Local => "programs of this host",
        CallerClass::Container => "containers",
        CallerClass::Remote => "other hosts",
        CallerClass::Unknown => "programs whose user is unknown",
    }
}

fn reason(denial: Denial) -> &'static str {
    match denial {
        Denial::Forwarded => "passed on by a proxy (X-Forwarded-For)",
        Denial::WebPage => "sent by a web page",
        Denial::Host => "a Host that may be a rebound name",
        Denial::NoToken => "no token",
        Denial::BadToken => "an unknown, expired or foreign token",
        Denial::Refused => "the upstream refuses the role",
        Denial::Policy => "the policy does not grant it",
        Denial::Unidentified => "the caller cannot be identified",
    }
}
