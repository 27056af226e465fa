//! The page in a real browser: it can be read by everybody, in every mode, and the browser finds nothing that its policy forbids.

use std::{
    sync::{Arc, mpsc},
    thread,
    time::Duration,
};

use alppaca::clock::SystemClock;
use alppaca_page::{
    Cell, Column, Door, Figure, Kind, Lane, PageServer, Part, Section, Span, Table, Timeline, Tone, View, Window,
};
use jiff::Timestamp;
use serde_json::json;

use super::{
    PAGE,
    chromium::{self, Chromium},
    page_of, page_with,
};
use crate::support::{Daemon, Ims, cannot, needs};
use alppaca::mock_ims::Behaviour;

const WHAT: &str = "status page: Chromium";

/// The code of axe, if that and a browser are there.
fn axe() -> Option<String> {
    if !["chromium", "chromedriver"].iter().all(|program| needs(WHAT, program)) {
        return None;
    }
    let code = chromium::axe();
    if code.is_none() {
        cannot(WHAT, "there is no axe-core");
    }
    code
}

#[test]
fn a_daemons_page_is_for_everybody() {
    let Some(axe) = axe() else { return };
    let uid = rustix::process::geteuid().as_raw();
    let policy = format!("policy: {{rules: [{{match: {{user: {uid}}}, everything: true}}]}}\n");
    let ims = Ims::start(Behaviour { roles: ["web", "backup"].map(str::to_owned).to_vec(), ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&(ims.config() + &policy + PAGE));
    for path in ["web", "backup", "other"] {
        daemon.get(&format!("/latest/meta-data/iam/security-credentials/{path}"));
    }
    let address = page_of(&daemon);
    page_with(address, "All 2 roles have valid credentials");
    page_with(address, "Users and addresses");
    let chromium = Chromium::start();
    chromium.is_for_everybody(&format!("http://{address}/?refresh=0"), &axe, "status");
    // It is read again by itself, which no script does.
    chromium.open(&format!("http://{address}/"));
    assert!(chromium.text().contains("read again every 30 seconds"), "{}", chromium.text());
    // The keyboard reaches the content at once, and what is focused is seen.
    let focused = chromium.script(
        "const link = document.querySelector('a.skip'); link.focus({focusVisible: true});\
         return [document.activeElement === link, link.getBoundingClientRect().left >= 0,\
         getComputedStyle(link).outlineStyle]",
    );
    assert_eq!(focused, json!([true, true, "solid"]));
}

#[test]
fn a_page_with_all_that_there_can_be_is_for_everybody() {
    let Some(axe) = axe() else { return };
    let (tell, told) = mpsc::channel();
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("a free port");
        tell.send(listener.local_addr().expect("bound")).expect("the test waits");
        let server = PageServer::new(Vec::new(), SystemClock::shared(), |now| troubled(now.wall));
        runtime.block_on(Arc::clone(&server).serve(Door::Tcp(listener))).expect("it serves");
    });
    let address = told.recv().expect("it starts");
    let chromium = Chromium::start();
    chromium.is_for_everybody(&format!("http://{address}/?refresh=0"), &axe, "status-troubled");
}

/// A host in trouble of every kind.
#[allow(clippy::too_many_lines, reason = "it is a literal")]
fn troubled(now: Timestamp) -> View {
    let minutes = |minutes: u64| Duration::from_secs(60 * minutes);
    let span = |kind, from: u64, to: u64| Span {
        kind,
        from: now - minutes(from),
        to: now - minutes(to),
        about: "about it".to_owned(),
    };
    let ahead = |kind, from: u64, to: u64| Span {
        kind,
        from: now + minutes(from),
        to: now + minutes(to),
        about: "about it".to_owned(),
    };
    let came = |at: u64| span(Kind::Came, at, at);
    let lane = |name: &str, tone, state: &str, spans| Lane {
        name: name.to_owned(),
        state: (tone, state.to_owned()),
        summary: format!("{state}; as the table says"),
        spans,
    };
    let fresh = || {
        let sets = (0..8_u64).map(|index| span(Kind::Valid, 10 + 41 * (index + 1), 10 + 41 * index));
        let marks = (0..9_u64).map(|index| came(10 + 41 * index));
        let now = [span(Kind::Valid, 10, 0), ahead(Kind::Ahead, 0, 50), ahead(Kind::Window, 12, 50)];
        sets.chain(now).chain(marks).collect::<Vec<_>>()
    };
    let lanes = vec![
        lane(
            "database-backup",
            Tone::Bad,
            "expired",
            vec![
                span(Kind::Valid, 300, 75),
                span(Kind::Without, 75, 0),
                span(Kind::Failed, 140, 0),
                came(300),
                came(230),
            ],
        ),
        lane(
            "old-deployer",
            Tone::Bad,
            "denied",
            vec![span(Kind::Valid, 350, 160), span(Kind::Without, 160, 0), span(Kind::Refused, 200, 0), came(350)],
        ),
        lane(
            "reporting@123456789012",
            Tone::Warning,
            "stale",
            vec![
                span(Kind::Valid, 330, 0),
                ahead(Kind::Ahead, 0, 22),
                span(Kind::Window, 20, 0),
                span(Kind::Failed, 20, 0),
                came(330),
                came(210),
                came(60),
            ],
        ),
        lane("web", Tone::Good, "fresh", fresh()),
        lane("queue-worker", Tone::Good, "fresh", fresh()),
        lane("analytics", Tone::Quiet, "idle", Vec::new()),
    ];
    let words = |texts: &[&'static str]| texts.iter().map(|text| Column::Words(text)).collect::<Vec<_>>();
    let row = |name: &str, tone, state: &str, note: &str| {
        vec![
            Cell::new(name),
            Cell::state(tone, state).with_note(note),
            Cell::time(now + minutes(50), now).and_note("ASIA…MPLE"),
            Cell::time(now + minutes(12), now),
            Cell::new("ims"),
            Cell::time(now - minutes(2), now),
            Cell::new("9 set(s), 14 failed (15:10 to 16:53)"),
        ]
    };
    let error = "since 15:38; 16:53: AssumeRole of arn:aws:iam::123456789012:role/database-backup: dispatch failure: \
                 error sending request for https://sts.eu-central-1.amazonaws.com: connection timed out";
    let columns =
        words(&["Role", "State", "Valid until", "Next refresh", "Source", "Last asked for", "Last six hours"]);
    let roles = Table {
        caption: "Roles, those in trouble first",
        columns,
        rows: vec![
            row("database-backup", Tone::Bad, "expired", error),
            row("old-deployer", Tone::Bad, "denied", "since 14:13; 403: AccessDenied"),
            row("reporting@123456789012", Tone::Warning, "stale", "since 16:33; 16:53: status 503"),
            row("web", Tone::Good, "fresh", "since 11:02"),
            row("analytics", Tone::Quiet, "idle", ""),
        ],
    };
    let callers = Table {
        caption: "Requests since the start, by caller",
        columns: vec![Column::Words("Caller"), Column::Numbers("Requests"), Column::Numbers("Answered with 200")],
        rows: [("services (system accounts)", 18_234), ("users", 5120), ("containers", 311), ("root", 12)]
            .iter()
            .map(|(name, count)| vec![Cell::new(*name), Cell::count(*count, 18_234), Cell::number(*count)])
            .collect(),
    };
    let figure = |label, value: &str, note: &str| Figure { label, value: value.to_owned(), note: note.to_owned() };
    let sources = vec![
        lane(
            "ims",
            Tone::Good,
            "answers",
            vec![span(Kind::Answered, 360, 200), span(Kind::Failed, 200, 160), span(Kind::Answered, 160, 0)],
        ),
        lane("sts", Tone::Bad, "fails", vec![span(Kind::Answered, 300, 140), span(Kind::Failed, 140, 0)]),
    ];
    let window = Window::around(now);
    View {
        program: "alppaca",
        host: "web1.example.com".to_owned(),
        at: now,
        verdict: (Tone::Bad, "2 of 6 roles have no valid credentials".to_owned()),
        notices: vec![
            (Tone::Bad, "The audit cannot be written: no credentials are handed out.".to_owned()),
            (Tone::Warning, "This host's clock is 91 s ahead of that of the upstream.".to_owned()),
            (Tone::Quiet, "The sandbox is off.".to_owned()),
        ],
        figures: vec![
            figure("Roles", "6", "1 denied, 1 expired, 2 fresh, 1 idle, 1 stale"),
            figure("Next refresh", "17:05", "in 12 min: web"),
            figure("First to expire", "15:38", "now: database-backup"),
            figure("Requests answered", "23677", "with 200, since the start"),
            figure("Requests denied", "41", "since the start"),
            figure("Running for", "12 d 4 h", "process 4711"),
        ],
        sections: vec![
            Section {
                id: "roles",
                title: "Roles",
                parts: vec![Part::Timeline(Timeline { title: "Roles", window, lanes }), Part::Table(roles)],
            },
            Section {
                id: "sources",
                title: "Sources",
                parts: vec![Part::Timeline(Timeline { title: "Sources", window, lanes: sources })],
            },
            Section {
                id: "callers",
                title: "Callers and denials",
                parts: vec![Part::Table(callers), Part::Text("No request has been denied since the start.".to_owned())],
            },
            Section {
                id: "in-force",
                title: "What is in force",
                parts: vec![Part::Facts(vec![
                    ("Version", "alppaca 0.1.0".to_owned()),
                    ("Configuration", "5f0c1a2b3c4d5e6f, since 2026-11-15 12:40".to_owned()),
                    ("Sandbox", "enforce: files, ports and system calls".to_owned()),
                ])],
            },
        ],
    }
}
