//! HTML made of constant markup and of escaped text. Nothing that comes from elsewhere becomes a tag or an attribute: there is
//! no way to put it there.

use std::fmt::{self, Display};

use crate::text::page::escaped;

/// A piece of a page.
#[derive(Debug, Default)]
pub(crate) struct Html(String);

impl Html {
    /// Markup of ours.
    pub(crate) fn markup(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text of anybody.
    pub(crate) fn text(&mut self, text: impl Display) -> &mut Self {
        self.0.push_str(&escaped(&text.to_string()));
        self
    }

    /// An attribute of the tag that is being written.
    pub(crate) fn attribute(&mut self, name: &'static str, value: impl Display) -> &mut Self {
        self.markup(" ").markup(name).markup("=\"").text(value).markup("\"")
    }

    /// An element that has but text in it.
    pub(crate) fn element(&mut self, tag: &'static str, text: impl Display) -> &mut Self {
        self.markup("<").markup(tag).markup(">").text(text).markup("</").markup(tag).markup(">")
    }

    pub(crate) fn finish(self) -> String {
        self.0
    }
}

/// A part of a whole, for coordinates.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Percent(pub(crate) f64);

impl Display for Percent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.2}%", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_foreign_is_text() {
        let mut html = Html::default();
        html.markup("<p").attribute("title", "\"><script>").markup(">").text("<b>&'").markup("</p>");
        html.element("b", Percent(100.0 / 3.0));
        let expected = "<p title=\"&quot;&gt;&lt;script&gt;\">&lt;b&gt;&amp;&#39;</p><b>33.33%</b>";
        assert_eq!(html.finish(), expected);
    }
}
