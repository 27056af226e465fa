use std::time::Duration;

use jiff::Timestamp;
use proptest::prelude::*;

use super::*;
use crate::{
    columns::Columns,
    timeline::{Kind, Lane, Span, Timeline, Window},
    view::{Cell, Column, Table, Tone},
};

/// A page on which everything is that there can be, and `text` is everything that comes from elsewhere.
fn view(text: &str) -> View {
    let now: Timestamp = "2026-11-27T16:30:00Z".parse().expect("a time");
    let (of, window) = (|| text.to_owned(), Window::around(now));
    let kinds = [
        Kind::Valid,
        Kind::Ahead,
        Kind::Window,
        Kind::Without,
        Kind::Answered,
        Kind::Failed,
        Kind::Refused,
        Kind::Came,
    ];
    let span = |kind| Span { kind, from: now - Duration::from_mins(30), to: now, about: of() };
    let state = |tone| (tone, of());
    let lane = Lane { name: of(), state: state(Tone::Good), summary: of(), spans: kinds.map(span).to_vec() };
    let cell = Cell { text: of(), tone: Some(Tone::Bad), share: Some(0.5), note: of() };
    let table = Table {
        caption: "Caption",
        columns: vec![Column::Words("Role"), Column::Numbers("Number")],
        rows: vec![vec![Cell::new(text), cell]],
    };
    let tones = [Tone::Good, Tone::Quiet, Tone::Warning, Tone::Bad];
    let columns = Columns {
        summary: of(),
        window,
        every: Duration::from_mins(10),
        series: tones.map(|tone| ("series", tone)).to_vec(),
        columns: vec![(now - Duration::from_mins(20), vec![10, 1, 0, 3])],
    };
    let parts = vec![
        Part::Text(of()),
        Part::Timeline(Timeline { title: "Title", window, lanes: vec![lane] }),
        Part::Columns(columns),
        Part::Table(table),
        Part::Facts(vec![("Label", of())]),
    ];
    View {
        program: "alppaca",
        host: of(),
        at: now,
        verdict: state(Tone::Warning),
        notices: vec![state(Tone::Bad), state(Tone::Quiet)],
        figures: vec![Figure { label: "Label", value: of(), note: of() }],
        sections: vec![Section { id: "roles", title: "Roles", parts }],
    }
}

/// The tags of a page with the names of their attributes: what a browser makes of it, without any text.
fn skeleton(page: &str) -> Vec<String> {
    let mut tags = Vec::new();
    for tag in page.split('<').skip(1) {
        let mut quoted = false;
        let mut bare = String::new();
        for character in tag.chars() {
            match character {
                '"' => quoted = !quoted,
                '>' if !quoted => break,
                other if !quoted => bare.push(other),
                _ => {}
            }
        }
        assert!(!quoted, "an attribute does not end: {tag}");
        tags.push(bare);
    }
    tags
}

#[test]
fn the_page_is_complete_in_itself() {
    let page = view("web").render(Wanted::Refreshing);
    for part in [
        "<html lang=\"en\">",
        "<title>web – alppaca on web</title>",
        "<h1 class=\"warning\">",
        "<main id=\"content\">",
        "<section aria-labelledby=\"roles\"><h2 id=\"roles\">Roles</h2>",
        "role=\"img\"",
        "aria-label=\"web: web\"",
        "class=\"refused\"",
        "<a href=\"/?refresh=0\">",
        "<footer>",
    ] {
        assert!(page.contains(part), "{part}: {page}");
    }
    assert!(!page.contains("http"), "{page}");
    for tag in skeleton(&page) {
        let mut words = tag.trim_end_matches('/').split_ascii_whitespace();
        let name = words.next().unwrap_or_default();
        assert!(!["/script", "script", "form", "img", "link", "iframe", "object", "base"].contains(&name), "{tag}");
        assert!(!words.any(|attribute| attribute.starts_with("on") || attribute.starts_with("style=")), "{tag}");
    }
    assert!(view("web").render(Wanted::Still).contains("<a href=\"/\">"));
}

proptest! {
    /// No text becomes a tag or an attribute, whatever is in it.
    #[test]
    fn nothing_foreign_becomes_markup(
        text in proptest::collection::vec(
            prop_oneof![
                any::<char>().prop_map(|character| character.to_string()),
                prop::sample::select(vec!["<", ">", "\"", "'", "&", "&lt;", "</", "<!--", "-->", "]]>", "/>", "=", "`"])
                    .prop_map(str::to_owned),
                prop::sample::select(vec!["<script>", "</style>", "</title>", "\" onload=\"", "' x='", "javascript:"])
                    .prop_map(str::to_owned),
            ],
            // Where there is no text, there is a dash.
            1..20,
        )
    ) {
        let text = text.concat();
        let [page, plain] = [&*text, "x"].map(|text| skeleton(&view(text).render(Wanted::Still)));
        prop_assert!(page == plain, "{text}: {page:?}");
    }
}
