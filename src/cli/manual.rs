//! The manual page of the configuration, `alppaca.yaml(5)`, made from the tables of settings (pure).

use std::fmt::Write as _;

use crate::config::{SECTIONS, SETTINGS, Setting, Topic};

const BEFORE: &str = r#".TH alppaca.yaml 5 "" "alppaca" "File formats"
.SH NAME
alppaca.yaml \- the configuration of alppaca
.SH SYNOPSIS
\fI/etc/alppaca/*.yaml\fR
.SH DESCRIPTION
alppaca reads one YAML file, or a directory whose \fI*.yaml\fR are merged in alphabetical order: mappings merge deeply,
lists append, later single values win. By default that is \fI/etc/alppaca\fR; \fB\-c\fR \fIPATH\fR names another.
.PP
\fBalppaca check\fR reports every mistake with file, line and column, and prints the effective configuration with secrets as
\fB***\fR.
.PP
Times are written as \fB500ms\fR, \fB10s\fR, \fB5m\fR, \fB1h\fR, \fB2d\fR, or in seconds. Booleans are \fBtrue\fR,
\fByes\fR, \fBon\fR and their opposites. A key without a value counts as absent. Unknown keys are errors.
.SH EXAMPLES
The smallest configuration names an upstream:
.PP
.nf
ims_host: ims.example.com
.fi
"#;

const AFTER: &str = "\
.SH SEE ALSO
\\fBalppaca\\fR(1), \\fBalppacad\\fR(8)
";

/// The page, in roff.
pub(super) fn configuration() -> String {
    let mut page = BEFORE.to_owned();
    for (topic, title) in Topic::ALL {
        let settings = SETTINGS.iter().filter(|setting| setting.topic == topic);
        section(&mut page, title, settings);
    }
    for nested in SECTIONS.iter() {
        let title = format!("BELOW {}", nested.path.replace('`', ""));
        section(&mut page, &title, nested.settings.iter());
    }
    page + AFTER
}

fn section<'a>(page: &mut String, title: &str, settings: impl Iterator<Item = &'a Setting>) {
    // Writing to a String cannot fail.
    let _infallible = writeln!(page, ".SH \"{}\"", escape(title));
    for setting @ Setting { key, default, meaning, .. } in settings {
        let default = if default.is_empty() { String::new() } else { format!(" (default: {})", escape(default)) };
        let effect = prose(&crate::config::effect(setting));
        let (key, meaning) = (escape(key), prose(meaning));
        let _infallible = writeln!(page, ".TP\n\\fB{key}\\fR{default}\n{meaning} Takes effect on {effect}.");
    }
}

/// Markdown as roff: code is bold, and a link is its text.
fn prose(markdown: &str) -> String {
    let parts = markdown.split('`').enumerate();
    let roff = parts.map(|(number, part)| match number % 2 {
        0 => escape(&without_links(part)),
        _ => format!("\\fB{}\\fR", escape(part)),
    });
    roff.collect()
}

fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| part.split_once(')').map_or(part, |(_target, after)| after));
    std::iter::once(first).chain(rest).collect::<String>().replace('[', "")
}

/// Text that means nothing to roff.
fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    // A line that begins with one of these would be a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_in_the_page() {
        let page = configuration();
        for setting in SETTINGS.iter().chain(SECTIONS.iter().flat_map(|section| section.settings)) {
            assert!(page.contains(&format!("\\fB{}\\fR", escape(setting.key))), "{}", setting.key);
        }
    }

    #[test]
    fn markdown_becomes_roff() {
        let text = prose("`a-b`: see [below](#x) and [Policy](policy.md). C:\\x");
        assert_eq!(text, "\\fBa\\-b\\fR: see below and Policy. C:\\ex");
        assert_eq!(prose(".hidden"), "\\&.hidden");
    }
}
