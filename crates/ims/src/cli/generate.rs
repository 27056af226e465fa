//! `alppaca-ims generate`: shell completions and the manual pages.

use std::io::Write;

use alppaca_command::{
    Failure, Outcome,
    generate::{What, generate},
};

use crate::{
    settings::reference,
    site::{SECTIONS, SETTINGS, schema},
};

/// Arguments of `generate`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  alppaca-ims generate man > alppaca-ims.8
  alppaca-ims generate man --of alppaca-ims.yaml > alppaca-ims.yaml.5
  alppaca-ims generate schema > alppaca-ims.schema.json
  alppaca-ims generate bash > /etc/bash_completion.d/alppaca-ims")]
pub(super) struct Args {
    /// What to print
    #[arg(value_enum)]
    what: What,
    /// The program, or the configuration (which has a manual page and a schema)
    #[arg(long = "of", value_enum, value_name = "NAME", default_value_t = Subject::Program)]
    subject: Subject,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
enum Subject {
    #[value(name = "alppaca-ims")]
    Program,
    #[value(name = "alppaca-ims.yaml")]
    Configuration,
}

/// What the command line does not say of itself.
const FILES: &str = r".SH FILES
.TP
\fI/etc/alppaca-ims/*.yaml\fR
The configuration, merged in alphabetical order. Every setting is in \fBalppaca-ims.yaml\fR(5).
.SH SEE ALSO
\fBalppaca-ims.yaml\fR(5), \fBalppaca\fR(1)
";

const BEFORE: &str = r#".TH alppaca-ims.yaml 5 "" "alppaca-ims" "File formats"
.SH NAME
alppaca-ims.yaml \- the configuration of alppaca-ims
.SH SYNOPSIS
\fI/etc/alppaca-ims/*.yaml\fR
.SH DESCRIPTION
alppaca-ims reads one YAML file, or a directory whose \fI*.yaml\fR are merged in alphabetical order: mappings merge deeply,
lists append, later single values win. By default that is \fI/etc/alppaca-ims\fR; \fB\-c\fR \fIPATH\fR names another.
.PP
\fBalppaca-ims check\fR reports every mistake with file, line and column.
.PP
Times are written as \fB500ms\fR, \fB10s\fR, \fB5m\fR, \fB1h\fR, \fB2d\fR, or in seconds. Booleans are \fBtrue\fR,
\fByes\fR, \fBon\fR and their opposites. A key without a value counts as absent. Unknown keys are errors.
"#;

const AFTER: &str = "\
.SH SEE ALSO
\\fBalppaca\\-ims\\fR(8)
";

/// Prints it.
pub(super) fn run(args: &Args, command: clap::Command) -> Outcome {
    let text = match (args.subject, args.what) {
        (Subject::Program, what) | (Subject::Configuration, what @ What::Schema) => {
            generate(what, command, ("8", FILES), schema).map_err(Failure::runtime)?
        }
        (Subject::Configuration, What::Man) => {
            [BEFORE, &reference::roff(&SETTINGS, &SECTIONS), AFTER].concat().into_bytes()
        }
        (Subject::Configuration, _) => {
            let message =
                "alppaca-ims.yaml has a manual page and a schema only: alppaca-ims generate man --of alppaca-ims.yaml";
            return Err(Failure::usage(message));
        }
    };
    anstream::stdout().write_all(&text).map_err(|error| Failure::runtime(format!("cannot write: {error}")))
}
