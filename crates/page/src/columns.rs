//! How often what happened, as columns above one axis.

use std::time::Duration;

use jiff::Timestamp;

use crate::{
    html::{Html, Percent},
    timeline::Window,
    view::{Tone, clock_time},
};

/// Columns above one axis.
#[derive(Debug, Clone)]
pub struct Columns {
    /// What is to be seen, for those who do not see it.
    pub summary: String,
    /// From when to when.
    pub window: Window,
    /// How much time a column stands for.
    pub every: Duration,
    /// What is counted, from the bottom to the top.
    pub series: Vec<(&'static str, Tone)>,
    /// When each column begins, and how much it has of each.
    pub columns: Vec<(Timestamp, Vec<u64>)>,
}

/// How high the greatest column is.
const HEIGHT: u32 = 120;
/// So much is seen of the smallest number.
const LEAST: f64 = 2.0;

impl Columns {
    pub(crate) fn render(&self, html: &mut Html) {
        html.markup("<div class=\"columns\"><ul class=\"legend\">");
        for (name, tone) in &self.series {
            html.markup(
                "<li><svg aria-hidden=\"true\" width=\"14\" height=\"14\"><rect width=\"14\" height=\"14\" rx=\"2\"",
            );
            html.attribute("class", class(*tone)).markup("/></svg>").text(name).markup("</li>");
        }
        html.markup("</ul>\n<svg role=\"img\" width=\"100%\"").attribute("height", HEIGHT);
        html.attribute("aria-label", &self.summary).markup("><desc>").text(&self.summary).markup("</desc>");
        let most = self.columns.iter().map(|(_, counts)| counts.iter().sum()).max().unwrap_or_default();
        self.window.grid(html, HEIGHT);
        for (from, counts) in &self.columns {
            self.column(*from, counts, most, html);
        }
        html.markup("<text class=\"most\" x=\"0\" y=\"12\">")
            .text(format_args!("{most} at most"))
            .markup("</text></svg>\n");
        self.window.axis(html);
        html.markup("</div>\n");
    }

    fn column(&self, from: Timestamp, counts: &[u64], most: u64, html: &mut Html) {
        let to = from.checked_add(self.every).unwrap_or(from);
        let Some((left, width)) = self.window.extent(from, to) else { return };
        let mut bottom = f64::from(HEIGHT);
        for (count, (name, tone)) in counts.iter().zip(&self.series).filter(|(count, _)| **count > 0) {
            #[allow(clippy::cast_precision_loss, reason = "it becomes the height of a column")]
            let height = (f64::from(HEIGHT) * *count as f64 / most.max(1) as f64).max(LEAST).min(bottom);
            bottom -= height;
            html.markup("<rect").attribute("class", class(*tone)).attribute("x", Percent(left + width * 0.08));
            html.attribute("width", Percent(width * 0.84)).attribute("y", format_args!("{bottom:.1}"));
            html.attribute("height", format_args!("{height:.1}")).markup(">");
            html.element("title", format_args!("{} to {}: {count} {name}", clock_time(from, from), clock_time(to, to)));
            html.markup("</rect>");
        }
    }
}

fn class(tone: Tone) -> &'static str {
    match tone {
        Tone::Good => "valid",
        Tone::Quiet => "quiet",
        Tone::Warning => "refused",
        Tone::Bad => "without",
    }
}
