//! When what was, as lanes below one axis. The drawing has no width of its own: all that is horizontal is in per cent.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    clock::until,
    html::{Html, Percent},
    view::{Tone, clock_time},
};

/// Lanes below one axis.
#[derive(Debug, Clone)]
pub struct Timeline {
    /// What it shows.
    pub title: &'static str,
    /// From when to when.
    pub window: Window,
    /// The lanes.
    pub lanes: Vec<Lane>,
}

/// What is shown of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Window {
    /// Its beginning.
    pub from: Timestamp,
    /// The present.
    pub now: Timestamp,
    /// Its end.
    pub to: Timestamp,
}

/// One role, or one source.
#[derive(Debug, Clone)]
pub struct Lane {
    /// Its name.
    pub name: String,
    /// How it is now.
    pub state: (Tone, String),
    /// What is to be seen, for those who do not see it.
    pub summary: String,
    /// What it is drawn of; a later one is drawn over an earlier one.
    pub spans: Vec<Span>,
}

/// A piece of time.
#[derive(Debug, Clone)]
pub struct Span {
    /// Of what.
    pub kind: Kind,
    /// When it began.
    pub from: Timestamp,
    /// When it ended.
    pub to: Timestamp,
    /// What it is about.
    pub about: String,
}

/// What a piece of time can be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// A valid set was held.
    Valid,
    /// The set that is held will be valid.
    Ahead,
    /// The next set is fetched in this time.
    Window,
    /// There was no valid set.
    Without,
    /// It answered.
    Answered,
    /// Attempts failed.
    Failed,
    /// They were refused.
    Refused,
    /// A set came: a moment.
    Came,
}

impl Kind {
    const ALL: [Self; 8] = [
        Self::Valid,
        Self::Ahead,
        Self::Window,
        Self::Without,
        Self::Answered,
        Self::Failed,
        Self::Refused,
        Self::Came,
    ];

    fn class(self) -> &'static str {
        match self {
            Self::Valid => "valid",
            Self::Ahead => "ahead",
            Self::Window => "window",
            Self::Without => "without",
            Self::Answered => "answered",
            Self::Failed => "failed",
            Self::Refused => "refused",
            Self::Came => "came",
        }
    }

    fn legend(self) -> &'static str {
        match self {
            Self::Valid => "valid set",
            Self::Ahead => "valid from now on",
            Self::Window => "when the next set is fetched",
            Self::Without => "no valid set",
            Self::Answered => "answers",
            Self::Failed => "attempts fail",
            Self::Refused => "refused",
            Self::Came => "set fetched",
        }
    }

    /// Top and height.
    fn place(self) -> (u32, u32) {
        match self {
            Self::Valid | Self::Ahead | Self::Without | Self::Answered => (6, 12),
            Self::Window => (8, 8),
            Self::Failed | Self::Refused => (21, 5),
            Self::Came => (12, 0),
        }
    }
}

/// How high a lane is.
const LANE: u32 = 30;
/// So much is seen of the shortest time.
const LEAST: f64 = 0.4;

impl Window {
    /// The last six hours, and the next two.
    pub fn around(now: Timestamp) -> Self {
        let to = now.checked_add(Duration::from_hours(2)).unwrap_or(now);
        Self { to, ..Self::before(now) }
    }

    /// The last six hours.
    pub fn before(now: Timestamp) -> Self {
        Self { from: now.checked_sub(Duration::from_hours(6)).unwrap_or(now), now, to: now }
    }

    /// Where a time is, in per cent; none if it is not in the window.
    fn position(&self, time: Timestamp) -> Option<f64> {
        (self.from..=self.to).contains(&time).then(|| self.clamped(time))
    }

    fn clamped(&self, time: Timestamp) -> f64 {
        let whole = until(self.to, self.from).as_secs_f64().max(1.0);
        (100.0 * until(time, self.from).as_secs_f64() / whole).clamp(0.0, 100.0)
    }

    /// Left edge and width of a piece of time; none if nothing of it is in the window.
    pub(crate) fn extent(&self, from: Timestamp, to: Timestamp) -> Option<(f64, f64)> {
        if to < self.from || from > self.to || to < from {
            return None;
        }
        let (left, right) = (self.clamped(from), self.clamped(to));
        let left = left.min(100.0 - LEAST);
        Some((left, (right - left).max(LEAST)))
    }

    /// The hours as lines of a drawing.
    pub(crate) fn grid(&self, html: &mut Html, height: u32) {
        for at in self.hours().filter_map(|hour| self.position(hour)) {
            line(html, "grid", at, 0, height);
        }
    }

    /// The hours and the present, in words.
    pub(crate) fn axis(&self, html: &mut Html) {
        let now = self.clamped(self.now);
        html.markup("<div class=\"axis\" aria-hidden=\"true\"><svg width=\"100%\" height=\"34\">");
        for hour in self.hours() {
            let Some(at) = self.position(hour) else { continue };
            line(html, "grid", at, 28, 34);
            // Its text would be cut off at the edge, or be crossed by the present.
            if (2.5..=97.5).contains(&at) && (at - now).abs() > 3.0 {
                let odd = hour.as_second().div_euclid(3600) % 2 != 0;
                html.markup("<text y=\"24\"").attribute("x", Percent(at));
                html.attribute("class", if odd { "odd" } else { "even" }).markup(">");
                html.text(clock_time(hour, hour)).markup("</text>");
            }
        }
        html.markup("<text y=\"10\"").attribute("class", if now > 95.0 { "now end" } else { "now" });
        html.attribute("x", Percent(now)).markup(">").text(format_args!("now {}", clock_time(self.now, self.now)));
        html.markup("</text>");
        line(html, "now", now, 13, 34);
        html.markup("</svg></div>\n");
    }

    /// The whole hours.
    fn hours(&self) -> impl Iterator<Item = Timestamp> + use<> {
        let (first, last) = (self.from.as_second().div_euclid(3600) + 1, self.to.as_second().div_euclid(3600));
        (first..=last).filter_map(|hour| Timestamp::from_second(hour * 3600).ok())
    }
}

impl Timeline {
    pub(crate) fn render(&self, html: &mut Html) {
        html.markup("<div class=\"timeline\">");
        self.legend(html);
        self.window.axis(html);
        html.markup("<ul class=\"lanes\"").attribute("aria-label", self.title).markup(">\n");
        for lane in &self.lanes {
            self.lane(lane, html);
        }
        html.markup("</ul></div>\n");
    }

    fn legend(&self, html: &mut Html) {
        html.markup("<ul class=\"legend\">");
        for kind in Kind::ALL {
            if !self.lanes.iter().flat_map(|lane| &lane.spans).any(|span| span.kind == kind) {
                continue;
            }
            html.markup("<li><svg aria-hidden=\"true\" width=\"24\" height=\"14\">");
            let class = kind.class();
            match kind {
                Kind::Came => html.markup("<circle cx=\"12\" cy=\"7\" r=\"4\"").attribute("class", class).markup("/>"),
                _ => {
                    let (top, height) = match kind.place() {
                        (_, height @ ..=5) => (5, height),
                        (_, height) => ((14 - height) / 2, height),
                    };
                    html.markup("<rect width=\"24\" rx=\"2\"").attribute("class", class).attribute("y", top);
                    html.attribute("height", height).markup("/>")
                }
            };
            html.markup("</svg>").text(kind.legend()).markup("</li>");
        }
        html.markup("</ul>\n");
    }

    fn lane(&self, lane: &Lane, html: &mut Html) {
        let (tone, state) = &lane.state;
        html.markup("<li><div class=\"name\"><b>").text(&lane.name).markup("</b> ");
        tone.chip(html, state);
        html.markup("</div><svg role=\"img\" width=\"100%\"").attribute("height", LANE);
        html.attribute("aria-label", format_args!("{}: {}", lane.name, lane.summary)).markup(">");
        html.markup("<desc>").text(&lane.summary).markup("</desc>");
        self.window.grid(html, LANE);
        for span in &lane.spans {
            self.span(span, html);
        }
        line(html, "now", self.window.clamped(self.window.now), 0, LANE);
        html.markup("</svg></li>\n");
    }

    fn span(&self, span: &Span, html: &mut Html) {
        let (class, (top, height)) = (span.kind.class(), span.kind.place());
        if span.kind == Kind::Came {
            let Some(at) = self.window.position(span.from) else { return };
            html.markup("<circle r=\"4\"").attribute("class", class).attribute("cx", Percent(at));
            html.attribute("cy", top).markup(">").element("title", &span.about).markup("</circle>");
            return;
        }
        let Some((left, width)) = self.window.extent(span.from, span.to) else { return };
        html.markup("<rect rx=\"2\"").attribute("class", class).attribute("x", Percent(left));
        html.attribute("width", Percent(width)).attribute("y", top).attribute("height", height).markup(">");
        html.element("title", &span.about).markup("</rect>");
    }
}

fn line(html: &mut Html, class: &'static str, at: f64, top: u32, bottom: u32) {
    html.markup("<line").attribute("class", class).attribute("x1", Percent(at)).attribute("x2", Percent(at));
    html.attribute("y1", top).attribute("y2", bottom).markup("/>");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn window() -> Window {
        Window::around("2026-11-27T16:30:00Z".parse().expect("a time"))
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).expect("in range")
    }

    /// So much time of a window is a hundredth of it.
    fn hundredth(window: &Window) -> Duration {
        until(window.to, window.from) / 100
    }

    #[test]
    fn the_present_is_at_three_quarters_and_each_whole_hour_has_a_line() {
        let window = window();
        assert_eq!(window.position(window.now), Some(75.0));
        assert_eq!((window.position(window.from), window.position(window.to)), (Some(0.0), Some(100.0)));
        let hours: Vec<_> = window.hours().map(|hour| hour.strftime("%H").to_string()).collect();
        assert_eq!(hours, ["11", "12", "13", "14", "15", "16", "17", "18"]);
        let an_hour = window.from + hundredth(&window) * 25;
        assert_eq!(window.extent(window.from, an_hour), Some((0.0, 25.0)));
        assert_eq!(window.extent(at(0), at(1)), None);
        assert_eq!(window.extent(at(0), window.to), Some((0.0, 100.0)));
        assert_eq!(window.extent(window.now, window.now), Some((75.0, LEAST)));
        assert_eq!(window.extent(window.now, window.from), None, "it ends before it begins");
    }

    proptest! {
        /// Whatever the clock has shown, nothing is drawn beside the drawing.
        #[test]
        fn all_of_it_is_inside(from in 0_i64..4_000_000_000, length in -10_i64..100_000) {
            if let Some((left, width)) = window().extent(at(from), at(from.saturating_add(length).max(0))) {
                prop_assert!((0.0..=100.0).contains(&left) && width >= LEAST && left + width <= 100.0 + LEAST, "{left} {width}");
            }
        }
    }
}
