//! Tables. On a narrow screen each row stands as a block of its own, with the headings of the columns in it; then only the
//! roles that are written here say that it is a table.

use crate::{
    html::{Html, Percent},
    view::{Cell, Column, Table, Tone},
};

impl Table {
    pub(crate) fn render(&self, html: &mut Html) {
        html.markup("<table role=\"table\">").element("caption", self.caption);
        html.markup("<thead role=\"rowgroup\"><tr role=\"row\">");
        for column in &self.columns {
            html.markup("<th role=\"columnheader\" scope=\"col\"").attribute("class", column.class()).markup(">");
            html.text(column.title()).markup("</th>");
        }
        html.markup("</tr></thead>\n<tbody role=\"rowgroup\">\n");
        for row in &self.rows {
            html.markup("<tr role=\"row\">");
            for (index, (cell, column)) in row.iter().zip(&self.columns).enumerate() {
                cell.render(*column, index == 0, html);
            }
            html.markup("</tr>\n");
        }
        html.markup("</tbody></table>\n");
    }
}

impl Column {
    fn title(self) -> &'static str {
        match self {
            Self::Words(title) | Self::Numbers(title) => title,
        }
    }

    fn class(self) -> &'static str {
        match self {
            Self::Words(_) => "words",
            Self::Numbers(_) => "numbers",
        }
    }
}

impl Cell {
    fn render(&self, column: Column, names_row: bool, html: &mut Html) {
        html.markup(if names_row { "<th role=\"rowheader\" scope=\"row\"" } else { "<td role=\"cell\"" });
        html.attribute("class", column.class()).attribute("data-label", column.title()).markup("><div>");
        match self.tone {
            Some(tone) => tone.chip(html, &self.text),
            None if self.text.is_empty() => {
                html.markup("<span class=\"none\">–</span>");
            }
            None => {
                html.text(&self.text);
            }
        }
        if let Some(share) = self.share {
            html.markup(
                "<svg class=\"bar\" aria-hidden=\"true\" width=\"100%\" height=\"6\"><rect height=\"6\" rx=\"2\"",
            );
            html.attribute("width", Percent(100.0 * share.clamp(0.0, 1.0))).markup("/></svg>");
        }
        if !self.note.is_empty() {
            html.markup("<div class=\"note\">").text(&self.note).markup("</div>");
        }
        html.markup(if names_row { "</div></th>" } else { "</div></td>" });
    }
}

impl Tone {
    /// Its name in the style, and a sign that tells it without its colour.
    pub(crate) fn signs(self) -> (&'static str, &'static str) {
        match self {
            Self::Good => ("good", "✓"),
            Self::Quiet => ("quiet", "○"),
            Self::Warning => ("warning", "▲"),
            Self::Bad => ("bad", "✕"),
        }
    }

    /// A word in a frame.
    pub(crate) fn chip(self, html: &mut Html, text: &str) {
        let (class, sign) = self.signs();
        html.markup("<span").attribute("class", format_args!("chip {class}")).markup("><span aria-hidden=\"true\">");
        html.markup(sign).markup("</span> ").text(text).markup("</span>");
    }
}
