//! The reference of the settings, made from their tables: for the documentation (Markdown) and the manual page (roff).

use std::fmt::Write as _;

use crate::{Section, Setting, TakesEffect, Topic};

/// When a new value of a setting is in force: `reload`, `restart`, or for a section both.
pub fn effect(setting: &Setting, sections: &[Section]) -> String {
    let below: Vec<String> = match setting.topic {
        Topic::Nested => Vec::new(),
        _ => {
            let section = sections.iter().filter(|section| section.path == setting.key);
            let only = section.flat_map(|section| section.settings).filter(|setting| setting.needs_restart());
            only.map(|setting| format!("`{}`", setting.key)).collect()
        }
    };
    match setting.takes_effect {
        TakesEffect::OnRestart => "restart".to_owned(),
        TakesEffect::OnReload if below.is_empty() => "reload".to_owned(),
        TakesEffect::OnReload => format!("reload; {}: restart", below.join(", ")),
    }
}

/// Tables of all settings, each under its topic or section.
pub fn markdown(settings: &[Setting], sections: &[Section]) -> String {
    let row = |setting: &Setting| {
        let default = if setting.default.is_empty() { String::new() } else { format!("`{}`", setting.default) };
        format!("| `{}` | {default} | {} | {} |\n", setting.key, setting.meaning, effect(setting, sections))
    };
    let table = |title: &str, rows: String| {
        format!("\n## {title}\n\n| key | default | meaning | takes effect on |\n|---|---|---|---|\n{rows}")
    };
    let topic = |(topic, title): (Topic, &str)| {
        let rows: String = settings.iter().filter(|setting| setting.topic == topic).map(row).collect();
        if rows.is_empty() { String::new() } else { table(title, rows) }
    };
    let nested = sections.iter().map(|section| {
        let rows = section.settings.iter().map(row).collect();
        table(&format!("`{}`", section.path), rows)
    });
    format!("{}{}\n", Topic::ALL.map(topic).concat(), nested.collect::<String>())
}

/// The sections of a manual page with all settings.
pub fn roff(settings: &[Setting], sections: &[Section]) -> String {
    let mut page = String::new();
    let mut put = |title: &str, settings: &mut dyn Iterator<Item = &Setting>| {
        let mut settings = settings.peekable();
        if settings.peek().is_none() {
            return;
        }
        // Writing to a String cannot fail.
        let _infallible = writeln!(page, ".SH \"{}\"", escape(title));
        for setting @ Setting { key, default, meaning, .. } in settings {
            let default = if default.is_empty() { String::new() } else { format!(" (default: {})", escape(default)) };
            let effect = prose(&effect(setting, sections));
            let (key, meaning) = (escape(key), prose(meaning));
            let _infallible = writeln!(page, ".TP\n\\fB{key}\\fR{default}\n{meaning} Takes effect on {effect}.");
        }
    };
    for (topic, title) in Topic::ALL {
        put(title, &mut settings.iter().filter(|setting| setting.topic == topic));
    }
    for nested in sections {
        put(&format!("BELOW {}", nested.path.replace('`', "")), &mut nested.settings.iter());
    }
    page
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

/// Markdown as a plain text, but for the marks of code.
pub(crate) fn plain(markdown: &str) -> String {
    let parts = markdown.split('`').enumerate();
    parts.map(|(number, part)| if number % 2 == 0 { without_links(part) } else { format!("`{part}`") }).collect()
}

fn without_links(text: &str) -> String {
    let mut parts = text.split("](");
    let first = parts.next().unwrap_or_default();
    let rest = parts.map(|part| part.split_once(')').map_or(part, |(_target, after)| after));
    std::iter::once(first).chain(rest).collect::<String>().replace('[', "")
}

/// Text that means nothing to roff.
pub fn escape(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-").replace('"', "\\(dq");
    // A line that begins with one of these would be a request.
    if text.starts_with(['.', '\'']) { format!("\\&{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn markdown_becomes_roff() {
        let text = prose("`a-b`: see [below](#x) and [Policy](policy.md). C:\\x");
        assert_eq!(text, "\\fBa\\-b\\fR: see below and Policy. C:\\ex");
        assert_eq!(prose(".hidden"), "\\&.hidden");
    }
}
