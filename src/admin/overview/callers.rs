//! Who was served, and who was denied.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::{Admin, ROWS};
use crate::{
    caller::Owner,
    http::{CallerClass, Denial, Seen, Served, Who},
    page::{Cell, Column, Part, Section, Table},
    text::printable,
};

impl Admin {
    pub(super) fn callers_section(&self, now: Timestamp) -> Section {
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
        let mut parts = if by_protocol.is_empty() {
            vec![Part::Text("Nobody has asked since the start.".to_owned())]
        } else {
            vec![
                counted("Requests since the start, by caller", "Caller", class),
                counted("Requests since the start, by protocol", "Protocol", by_protocol.into_iter().collect()),
                denied,
            ]
        };
        parts.extend(self.seen_parts(now));
        Section { id: "callers", title: "Callers and denials", parts }
    }

    /// Who got credentials, and who was denied something.
    fn seen_parts(&self, now: Timestamp) -> Vec<Part> {
        let callers = self.counters.seen().map(Seen::callers).unwrap_or_default();
        let (pods, others): (Vec<_>, Vec<_>) = callers.into_iter().partition(|(who, _)| matches!(who, Who::Pod { .. }));
        let name = |uid| self.gatekeeper.user_name(uid);
        let tables = [
            ("Users and addresses, those that asked last first; since the start", "Caller", others),
            ("Pods, those that asked last first; since the start", "Pod", pods),
        ];
        let filled = tables.into_iter().filter(|(.., callers)| !callers.is_empty());
        filled.flat_map(|(caption, what, callers)| served(caption, what, &callers, name, now)).collect()
    }
}

fn served(
    caption: &'static str,
    what: &'static str,
    callers: &[(Who, Served)],
    name: impl Fn(u32) -> Option<Box<str>>,
    now: Timestamp,
) -> Vec<Part> {
    let row = |(who, served): &(Who, Served)| {
        let why = served.why.map(reason).unwrap_or_default();
        vec![
            of_caller(who, &name),
            Cell::time(served.last, now),
            Cell::number(served.handed_out),
            Cell::number(served.denied).with_note(why),
        ]
    };
    let columns = vec![
        Column::Words(what),
        Column::Words("Last seen"),
        Column::Numbers("Got credentials"),
        Column::Numbers("Denied"),
    ];
    let rows = callers.iter().take(ROWS).map(row).collect();
    let mut parts = vec![Part::Table(Table { caption, columns, rows })];
    if callers.len() > ROWS {
        parts.push(Part::Text(format!("The table has {ROWS} of {} that are remembered.", callers.len())));
    }
    parts
}

fn of_caller(who: &Who, name: impl Fn(u32) -> Option<Box<str>>) -> Cell {
    let text = |text: &str| printable(text, 120);
    match who {
        Who::Owner(Owner::User(uid)) => match name(*uid) {
            Some(name) => Cell::new(text(&name)).with_note(format!("user {uid}")),
            None => Cell::new(format!("user {uid}")),
        },
        Who::Owner(Owner::Address(address)) => Cell::new(address.to_string()),
        Who::Owner(Owner::Nobody) => Cell::new("not known").with_note("users are looked up with a policy or an audit"),
        Who::Pod { namespace, service_account, name } => {
            let pod = name.as_deref().map(|name| format!("pod {}", text(name)));
            Cell::new(format!("{}/{}", text(namespace), text(service_account))).with_note(pod.unwrap_or_default())
        }
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn callers_have_their_names_and_what_is_foreign_is_made_safe() {
        let now: Timestamp = "2026-11-28T08:00:00Z".parse().expect("a time");
        let served_to = |who| (who, Served { handed_out: 2, denied: 1, why: Some(Denial::Policy), last: now });
        let pod = Who::Pod { namespace: "prod".into(), service_account: "w\neb".into(), name: Some("web-0".into()) };
        let callers = [
            served_to(Who::Owner(Owner::User(33))),
            served_to(Who::Owner(Owner::User(34))),
            served_to(Who::Owner(Owner::Nobody)),
            served_to(Who::Owner(Owner::Address("192.0.2.7".parse().expect("an address")))),
            served_to(pod),
        ];
        let parts = served("", "", &callers, |uid| (uid == 33).then(|| "www-data".into()), now);
        let [Part::Table(table)] = &*parts else { panic!("{parts:?}") };
        let names: Vec<_> = table.rows.iter().map(|row| (row[0].text.as_str(), row[0].note.as_str())).collect();
        assert_eq!(names[..2], [("www-data", "user 33"), ("user 34", "")]);
        assert_eq!((names[2].0, names[3]), ("not known", ("192.0.2.7", "")));
        assert!(names[4].0.starts_with("prod/w") && !names[4].0.contains('\n'), "{names:?}");
        assert_eq!(names[4].1, "pod web-0");
        assert_eq!((&*table.rows[0][3].text, &*table.rows[0][3].note), ("1", reason(Denial::Policy)));
        let many: Vec<_> = (0..300).map(|uid| served_to(Who::Owner(Owner::User(uid)))).collect();
        let parts = served("", "", &many, |_| None, now);
        assert!(matches!(&*parts, [Part::Table(table), Part::Text(_)] if table.rows.len() == ROWS), "{parts:?}");
    }
}
