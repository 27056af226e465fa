//! Clocks that are apart. Which of both is wrong cannot be known, so it is the server's that is off here.

use jiff::{SignedDuration, Timestamp};

use crate::{
    assert_found, doctor, findings,
    server::{document_of, healthy, serve},
};

/// A server whose clock is so far ahead.
fn server(ahead: SignedDuration) -> String {
    let address = serve(move |line| {
        let now = Timestamp::now() + ahead;
        let (status, headers, body) = healthy(line);
        let body = if body.starts_with('{') { document_of(now) } else { body };
        (status, format!("{headers}Date: {}\r\n", now.strftime("%a, %d %b %Y %H:%M:%S GMT")), body)
    });
    format!("http://{address}")
}

fn found(variable: &str, url: &str) -> (Option<i32>, Vec<String>) {
    findings(&doctor("/no/daemon.sock".as_ref(), &[(variable, url)]))
}

#[test]
fn clocks_that_are_apart_are_found() {
    let future = "problem clock the credentials were made in the future: this host's clock is behind";
    for (minutes, apart, made_in_the_future) in [(10, "10m", true), (-10, "10m", false), (5, "5m", true)] {
        let (code, lines) = found("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server(SignedDuration::from_mins(minutes)));
        assert_eq!(code, Some(1), "{minutes}: {lines:#?}");
        assert_found(
            &lines,
            "problem clock this clock and the server's are ",
            " apart; AWS refuses signatures that are 5",
        );
        // A second may have passed.
        let seconds = format!("{}m", apart.trim_end_matches('m').parse::<u8>().expect("a number") - 1);
        assert!(lines.iter().any(|line| line.contains(apart) || line.contains(&seconds)), "{lines:#?}");
        assert_eq!(lines.iter().any(|line| line.starts_with(future)), made_in_the_future, "{minutes}: {lines:#?}");
    }
    let (_, lines) =
        found("AWS_CONTAINER_CREDENTIALS_FULL_URI", &format!("{}/x", server(SignedDuration::from_hours(2))));
    assert_found(&lines, "problem clock this clock and the server's are ", "set the clock, for example with chrony");
}

#[test]
fn clocks_that_are_a_little_apart_are_nobodys_fault() {
    for minutes in [3, -3] {
        let (code, lines) = found("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server(SignedDuration::from_mins(minutes)));
        assert_eq!(code, Some(0), "{minutes}: {lines:#?}");
    }
}

#[test]
fn a_clock_that_is_ahead_makes_credentials_look_expired() {
    let (code, lines) = found("AWS_EC2_METADATA_SERVICE_ENDPOINT", &server(SignedDuration::from_hours(-2)));
    assert_eq!(code, Some(1));
    assert_found(&lines, "problem fresh role web: ASIAEXAMPLE expired ", "");
    assert_found(&lines, "problem clock this clock and the server's are ", "");
}
