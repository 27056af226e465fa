//! The page as HTML.

use crate::{
    gate::Wanted,
    html::Html,
    style::STYLE,
    view::{Figure, Part, Section, View},
};

/// How often the page is read again.
pub(crate) const REFRESH_SECONDS: u32 = 30;

/// Patterns for what is drawn: each sign differs from the others by its form, too.
const PATTERNS: &str = "<svg class=\"patterns\" aria-hidden=\"true\" width=\"0\" height=\"0\"><defs>\
<pattern id=\"rising\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(45)\">\
<rect class=\"ground\" width=\"6\" height=\"6\"/><rect class=\"ink\" width=\"2.5\" height=\"6\"/></pattern>\
<pattern id=\"falling\" width=\"6\" height=\"6\" patternUnits=\"userSpaceOnUse\" patternTransform=\"rotate(-45)\">\
<rect class=\"ground\" width=\"6\" height=\"6\"/><rect class=\"ink\" width=\"2.5\" height=\"6\"/></pattern>\
<pattern id=\"dotted\" width=\"5\" height=\"5\" patternUnits=\"userSpaceOnUse\">\
<rect class=\"ink\" width=\"3\" height=\"5\"/></pattern>\
</defs></svg>\n";

impl View {
    pub(crate) fn render(&self, wanted: Wanted) -> String {
        let mut html = Html::default();
        let (tone, verdict) = &self.verdict;
        html.markup("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n");
        html.markup("<meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n");
        html.markup("<meta name=\"color-scheme\" content=\"light dark\">\n<title>");
        html.text(format_args!("{verdict} – {} on {}", self.program, self.host));
        html.markup("</title>\n<style>").markup(STYLE).markup("</style>\n</head>\n<body>\n");
        html.markup("<a class=\"skip\" href=\"#content\">Skip to the content</a>\n").markup(PATTERNS);
        let (class, sign) = tone.signs();
        html.markup("<header><p class=\"whose\"><b>").markup(self.program).markup("</b> on <b>").text(&self.host);
        html.markup("</b></p>\n<h1").attribute("class", class).markup("><span class=\"sign\" aria-hidden=\"true\">");
        html.markup(sign).markup("</span> ").text(verdict).markup("</h1>\n");
        self.bar(wanted, &mut html);
        html.markup("</header>\n<main id=\"content\">\n");
        if !self.notices.is_empty() {
            html.markup("<ul class=\"notices\">\n");
            for (tone, text) in &self.notices {
                let (class, sign) = tone.signs();
                html.markup("<li").attribute("class", class).markup("><span aria-hidden=\"true\">").markup(sign);
                html.markup("</span> <span>").text(text).markup("</span></li>\n");
            }
            html.markup("</ul>\n");
        }
        if !self.figures.is_empty() {
            html.markup("<dl class=\"figures\">\n");
            self.figures.iter().for_each(|figure| figure.render(&mut html));
            html.markup("</dl>\n");
        }
        self.sections.iter().for_each(|section| section.render(&mut html));
        html.markup(
            "</main>\n<footer><p>Times are in UTC. There are no secrets on this page, and it can change nothing.",
        );
        html.markup("</p></footer>\n</body>\n</html>\n");
        html.finish()
    }

    /// When it was made, how to have it stay, and what is on it.
    fn bar(&self, wanted: Wanted, html: &mut Html) {
        html.markup("<p class=\"made\">As of <time").attribute("datetime", self.at).markup(">");
        html.text(self.at.strftime("%Y-%m-%d %H:%M:%S")).markup("</time> UTC");
        match wanted {
            Wanted::Refreshing => html
                .markup(", read again every ")
                .text(REFRESH_SECONDS)
                .markup(" seconds. <a href=\"/?refresh=0\">Stop that</a></p>\n"),
            Wanted::Still => html.markup(". <a href=\"/\">Read it again by itself</a></p>\n"),
        };
        html.markup("<nav aria-label=\"On this page\"><ul>");
        for section in &self.sections {
            html.markup("<li><a").attribute("href", format_args!("#{}", section.id)).markup(">");
            html.text(section.title).markup("</a></li>");
        }
        html.markup("</ul></nav>\n");
    }
}

impl Figure {
    fn render(&self, html: &mut Html) {
        html.markup("<div>").element("dt", self.label).element("dd", &self.value);
        if !self.note.is_empty() {
            html.markup("<dd class=\"note\">").text(&self.note).markup("</dd>");
        }
        html.markup("</div>\n");
    }
}

impl Section {
    fn render(&self, html: &mut Html) {
        html.markup("<section")
            .attribute("aria-labelledby", self.id)
            .markup("><h2")
            .attribute("id", self.id)
            .markup(">");
        html.text(self.title).markup("</h2>\n");
        for part in &self.parts {
            match part {
                Part::Text(text) => {
                    html.element("p", text).markup("\n");
                }
                Part::Timeline(timeline) => timeline.render(html),
                Part::Columns(columns) => columns.render(html),
                Part::Table(table) => table.render(html),
                Part::Facts(facts) => {
                    html.markup("<dl class=\"facts\">\n");
                    for (label, text) in facts {
                        html.markup("<div>").element("dt", label).element("dd", text).markup("</div>\n");
                    }
                    html.markup("</dl>\n");
                }
            }
        }
        html.markup("</section>\n");
    }
}

#[cfg(test)]
mod tests;
