//! `alppaca conformance`: how far an instance metadata service, of whatever kind, answers as EC2's.

mod cases;
mod probe;

use std::fmt::Write as _;

use http::uri::Uri;
use serde::Serialize;

use super::{
    Failure, Outcome,
    human::{Colour, Coloured},
    socket::NO_DAEMON,
    wire,
};
use cases::{CASES, Case, V1, V2_ONLY};
use probe::{Probe, Shortfall};

/// Arguments of `conformance`.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The numbers are those of the documentation (Conformance). Answers are not shown, so there is no
secret in what this prints.

Exit codes: 0 every case passes or concerns what the service does not have, 1 some differ, 3 no
service answers there.

Examples:
  alppaca conformance
  alppaca conformance http://localhost:1338 --v1
  alppaca conformance http://127.0.0.1:25772 --junit > conformance.xml")]
pub(super) struct Args {
    /// The service
    #[arg(default_value = "http://169.254.169.254", value_parser = url)]
    url: Uri,
    /// It also serves IMDSv1: requests without a token
    #[arg(long)]
    v1: bool,
    /// Only the case of this number; may be given several times
    #[arg(long = "case", value_name = "NUMBER")]
    cases: Vec<u8>,
    /// Print JSON
    #[arg(long, conflicts_with = "junit")]
    json: bool,
    /// Print XML for CI systems, in the form of `JUnit`
    #[arg(long)]
    junit: bool,
}

fn url(text: &str) -> Result<Uri, String> {
    let uri: Uri = text.parse().map_err(|error| format!("{error}"))?;
    match (uri.scheme_str(), uri.authority(), uri.path()) {
        (Some("http"), Some(_), "" | "/") => Ok(uri),
        _ => Err("the service is given as http://HOST[:PORT]".to_owned()),
    }
}

/// How a service differs.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Report<'a> {
    /// Where it is.
    url: String,
    /// Whether it was expected to answer without a token.
    v1: bool,
    /// The cases that were tried.
    cases: &'a [Row],
}

/// How one case went.
#[derive(Debug, Serialize)]
#[cfg_attr(test, derive(schemars::JsonSchema))]
struct Row {
    number: u8,
    what: &'static str,
    needed_by: &'static str,
    result: Verdict,
    /// Why it has not passed.
    #[serde(skip_serializing_if = "Option::is_none")]
    detail: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(test, derive(schemars::JsonSchema))]
enum Verdict {
    Passed,
    Differs,
    /// It is about something that the service does not have.
    Absent,
}

/// Tries the cases, and prints how they went.
pub(super) fn run(args: &Args) -> Outcome {
    let Some(authority) = args.url.authority() else { return Err(Failure::usage("the URL has no host")) };
    let wanted = |case: &&Case| args.cases.is_empty() || args.cases.contains(&case.number);
    let version = if args.v1 { &V1 } else { &V2_ONLY };
    let mut cases: Vec<&Case> = CASES.iter().chain([version]).filter(wanted).collect();
    cases.sort_by_key(|case| case.number);
    if cases.is_empty() {
        return Err(Failure::usage("there is no case of that number that any service could be asked for"));
    }
    if let Err(error) = wire::ask("GET", &format!("http://{authority}/"), &[]) {
        return Err(Failure { code: NO_DAEMON, message: format!("no service answers at http://{authority}: {error}") });
    }
    let probe = Probe::new(authority.clone());
    let rows: Vec<Row> = cases.into_iter().map(|case| row(case, &probe)).collect();
    if args.json {
        let report = Report { url: format!("http://{authority}"), v1: args.v1, cases: &rows };
        alppaca_command::println!("{}", serde_json::to_string_pretty(&report).map_err(Failure::runtime)?);
    } else if args.junit {
        alppaca_command::print!("{}", junit(&rows));
    } else {
        alppaca_command::print!("{}", text(&rows));
    }
    let differ = rows.iter().any(|row| row.result == Verdict::Differs);
    if differ { Err(Failure { code: 1, message: String::new() }) } else { Ok(()) }
}

fn row(case: &Case, probe: &Probe) -> Row {
    let (result, detail) = match (case.check)(probe) {
        Ok(()) => (Verdict::Passed, None),
        Err(Shortfall::Differs(why)) => (Verdict::Differs, Some(why)),
        Err(Shortfall::Absent(what)) => (Verdict::Absent, Some(what.to_owned())),
    };
    Row { number: case.number, what: case.what, needed_by: case.needed_by, result, detail }
}

fn count(rows: &[Row], result: Verdict) -> usize {
    rows.iter().filter(|row| row.result == result).count()
}

fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        let (colour, word) = match row.result {
            Verdict::Passed => (Colour::Green, "ok"),
            Verdict::Differs => (Colour::Red, "differs"),
            Verdict::Absent => (Colour::Dim, "absent"),
        };
        // Writing to a String cannot fail.
        let _infallible = writeln!(text, "{:>2} {}  {}", row.number, Coloured(colour, format!("{word:7}")), row.what);
        if let Some(detail) = &row.detail {
            let _infallible = writeln!(text, "            {detail}");
        }
        if row.result == Verdict::Differs {
            let _infallible = writeln!(text, "            needed by: {}", row.needed_by);
        }
    }
    let [passed, differ, absent] = [Verdict::Passed, Verdict::Differs, Verdict::Absent].map(|which| count(rows, which));
    let _infallible = writeln!(text, "\n{passed} passed, {differ} differ, {absent} absent");
    text
}

/// <https://github.com/testmoapp/junitxml>
fn junit(rows: &[Row]) -> String {
    let mut text = format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"alppaca conformance\" tests=\"{}\" failures=\"{}\" skipped=\"{}\">\n",
        rows.len(),
        count(rows, Verdict::Differs),
        count(rows, Verdict::Absent)
    );
    for row in rows {
        let detail = escape(row.detail.as_deref().unwrap_or_default());
        let inside = match row.result {
            Verdict::Passed => String::new(),
            Verdict::Differs => format!("<failure message=\"{detail}\">needed by: {}</failure>", escape(row.needed_by)),
            Verdict::Absent => format!("<skipped message=\"{detail}\"/>"),
        };
        let (number, what) = (row.number, escape(row.what));
        let _infallible = writeln!(text, "  <testcase classname=\"case {number}\" name=\"{what}\">{inside}</testcase>");
    }
    text + "</testsuite>\n"
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The numbers and what they stand for are one list, in the documentation.
    #[test]
    fn each_case_is_one_of_the_documentation() {
        let documented = include_str!("../../../docs/conformance.md");
        let mut numbers = Vec::new();
        for case in CASES.iter().chain([&V1, &V2_ONLY]) {
            assert!(documented.contains(&format!("\n| {} | ", case.number)), "{}", case.number);
            numbers.push(case.number);
        }
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), CASES.len() + 2, "no number twice");
    }

    #[test]
    fn the_schema_of_the_report_is_published() {
        crate::cli::schemas::compare::<Report>("conformance");
    }

    #[test]
    fn xml_stays_xml() {
        let row = Row {
            number: 1,
            what: "a < b",
            needed_by: "\"c\" & d",
            result: Verdict::Differs,
            detail: Some("<".into()),
        };
        let text = junit(&[row]);
        assert!(
            text.contains("name=\"a &lt; b\"><failure message=\"&lt;\">needed by: &quot;c&quot; &amp; d</failure>"),
            "{text}"
        );
        assert!(text.contains("tests=\"1\" failures=\"1\" skipped=\"0\""), "{text}");
    }
}
