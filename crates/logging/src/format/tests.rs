//! The formats, compared with Python's own `logging`.

use std::process::Command;

use proptest::prelude::*;

use super::*;

const RECORD: Record<'_> = Record {
    created: Timestamp::UNIX_EPOCH,
    started: Timestamp::UNIX_EPOCH,
    level: Level::Warning,
    name: "alppaca.access",
    message: "hello wörld",
    fields: Fields::of(""),
    thread: "MainThread",
    path: "/src/serve/listener.rs",
    line: 42,
};

fn render(format: &str, record: &Record) -> String {
    let mut line = String::new();
    Format::parse(format).unwrap_or_else(|error| panic!("{format}: {error}")).render(record, &mut line);
    line
}

#[test]
fn lines_are_those_that_python_writes() {
    let formats = [
        "alppaca: [%(levelname)s] %(message)s",
        "%(asctime)s [%(levelname)s] %(message)s",
        "%(levelname)-10s|%(levelname)10s|%(levelname).3s|%(levelname)-6.2s|",
        "%(name)s %(levelno)s %(levelno)d %(levelno)5d %(levelno)05d %(levelno)-5d| %(levelno)+d %(levelno) d",
        "%(lineno)d %(filename)s %(pathname)s",
        "%(msecs)03d %(msecs)d %(msecs)s %(msecs)f",
        "%(created)f %(created).3f %(created)15.2f|%(created)d",
        "%(threadName)s %(processName)s 100%% %%(x)",
        "%(message)20s|%(message)-20s|%(message).4s|%(message)020s",
        "%(levelno)+06d|%(levelno).4d|%(levelno)8.3f|%(levelno)-8.3f|%(levelno)08.2f",
    ];
    let record = Record { created: "2026-11-23T10:00:00.123456Z".parse().expect("a timestamp"), ..RECORD };
    let script = r"
import json, logging, sys
formats, created = json.load(sys.stdin)
out = []
for f in formats:
    r = logging.LogRecord('alppaca.access', logging.WARNING, '/src/serve/listener.rs', 42, 'hello wörld', (), None)
    r.created, r.msecs = created, 123.0
    out.append(logging.Formatter(f).format(r))
json.dump(out, sys.stdout)";
    let python = option_env!("ALPPACA_TEST_PYTHON").unwrap_or("python3");
    let mut child = Command::new(python)
        .args(["-c", script])
        .env("PYTHONIOENCODING", "utf-8")
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3 is needed by this test; `cargo xtask test` installs it");
    let question = serde_json::to_vec(&(formats, 1_795_428_000.123_456_f64)).expect("JSON");
    std::io::Write::write_all(&mut child.stdin.take().expect("piped"), &question).expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let expected: Vec<String> = serde_json::from_slice(&output.stdout).expect("JSON");
    for (format, expected) in formats.iter().zip(expected) {
        assert_eq!(render(format, &record), expected, "{format}");
    }
}

#[test]
fn mistakes_are_told_with_their_position() {
    for (format, message) in [
        ("100% of", "position 4: a % begins a field such as %(message)s; a % itself is written %%"),
        ("%(message)", "position 1: this field does not end; it should look like %(message)s"),
        ("ab %(message", "position 4: this field does not end; it should look like %(message)s"),
        ("%(message)d", "position 1: %(message) cannot be written as 'd'; use s"),
        ("%(lineno)x", "position 1: %(lineno) cannot be written as 'x'; use s, d or f"),
        ("%(lineno)99999999999999999999d", "position 1: a width or precision of more than 1000"),
    ] {
        assert_eq!(Format::parse(format).map_err(|error| error.to_string()), Err(message.to_owned()), "{format}");
    }
    let unknown = Format::parse("%(massage)s").expect_err("unknown").to_string();
    assert!(unknown.starts_with("position 1: there is no attribute \"massage\"; there are asctime, "), "{unknown}");
}

proptest! {
    #[test]
    fn no_text_makes_it_panic(text in ".{0,60}") {
        if let Ok(format) = Format::parse(&text) {
            format.render(&RECORD, &mut String::new());
        }
    }

    #[test]
    fn no_field_makes_it_panic(flags in "[-0+ #]{0,3}", width in 0_u32..1200, precision in 0_u32..1200, letter in "[sdfx]", attribute in 0..ATTRIBUTES.len()) {
        let text = format!("%({}){flags}{width}.{precision}{letter}", ATTRIBUTES[attribute].0);
        if let Ok(format) = Format::parse(&text) {
            format.render(&RECORD, &mut String::new());
        }
    }
}

#[test]
fn json_is_a_line_with_the_fields_of_the_event() {
    let record = Record {
        created: "2026-11-23T10:00:00.5Z".parse().expect("a timestamp"),
        level: Level::Notice,
        message: "role \"a\\b\": wörld",
        fields: Fields::of("role=a=b:c\ncaller_uid:1000\n"),
        ..RECORD
    };
    let expected = concat!(
        r#"{"time":"2026-11-23T10:00:00.500000Z","level":"notice","logger":"alppaca.access","#,
        r#""message":"role \"a\\b\": wörld","role":"a=b:c","caller_uid":1000}"#
    );
    assert_eq!(render("json", &record), expected);
    let read: serde_json::Value = serde_json::from_str(expected).expect("JSON");
    assert_eq!(read["message"], record.message);
}
