//! The manual page of the configuration, `alppaca.yaml(5)`, made from the tables of settings (pure).

use alppaca_settings::reference;

use crate::config::{SECTIONS, SETTINGS};

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
    [BEFORE, &reference::roff(&SETTINGS, &SECTIONS), AFTER].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_setting_is_in_the_page() {
        let page = configuration();
        for setting in SETTINGS.iter().chain(SECTIONS.iter().flat_map(|section| section.settings)) {
            assert!(page.contains(&format!("\\fB{}\\fR", reference::escape(setting.key))), "{}", setting.key);
        }
    }
}
