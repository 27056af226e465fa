//! Tells the person of a user's own daemon, by a program that shows desktop notifications, when a sign-in has ended and cannot
//! be renewed.

use std::collections::HashMap;

use crate::{
    sign_in::{Report, SignIns},
    source::process::Program,
};

/// For ever, if there is a `program`, which is run once for each loss, with a title and a text.
pub(super) async fn follow(sign_ins: SignIns, program: Option<Program>) {
    let Some(program) = program else { return };
    let mut needed = HashMap::new();
    loop {
        let changed = sign_ins.changed();
        let (lost, now) = lost(&needed, sign_ins.reports());
        needed = now;
        if !lost.is_empty()
            && let Err(error) = show(&program, text(&lost, &needed)).await
        {
            tracing::warn!("no desktop notification (sign_in_notification): {} {error}", program.command[0]);
        }
        changed.await;
    }
}

async fn show(program: &Program, text: String) -> Result<(), String> {
    let mut program = program.clone();
    program.command.push("Sign-in needed".to_owned());
    program.command.push(text);
    program.run().await.map(drop)
}

/// What to do about each of them: `login` by itself finds the only one that needs it.
fn text(lost: &[String], needed: &HashMap<String, bool>) -> String {
    let several = needed.values().filter(|needed| **needed).count() > 1;
    let line = |source: &String| {
        let named = if several { format!(" {source}") } else { String::new() };
        format!("{source}: run alppaca login{named}")
    };
    lost.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The sign-ins that have ended since it was looked at last, but not by the person, and which ones need a person now. One
/// that was not there before has not ended.
fn lost(needed: &HashMap<String, bool>, reports: Vec<(String, Report)>) -> (Vec<String>, HashMap<String, bool>) {
    let is_lost = |(name, report): &&(String, Report)| {
        report.needed.is_some() && !report.signed_out && needed.get(name) == Some(&false)
    };
    let lost = reports.iter().filter(is_lost).map(|(name, _)| name.clone()).collect();
    (lost, reports.into_iter().map(|(name, report)| (name, report.needed.is_some())).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(needed: bool, signed_out: bool) -> Report {
        Report {
            kind: "oidc",
            issuer: "https://login".to_owned(),
            redirect_url: None,
            key: None,
            person: None,
            renewed: false,
            needed: needed.then(|| "it has ended".to_owned()),
            signed_out,
            problem: None,
        }
    }

    #[test]
    fn each_loss_is_told_once_and_nothing_else() {
        let mut before = HashMap::new();
        for (step, (needed, signed_out), told) in [
            ("the daemon starts", (true, false), false),
            ("somebody signs in", (false, false), false),
            ("it is renewed", (false, false), false),
            ("it ends", (true, false), true),
            ("something else changes", (true, false), false),
            ("somebody signs in again", (false, false), false),
            ("and out", (true, true), false),
            ("and in", (false, false), false),
            ("it ends once more", (true, false), true),
        ] {
            let (lost, now) = lost(&before, vec![("work".to_owned(), report(needed, signed_out))]);
            assert_eq!(lost, if told { vec!["work"] } else { vec![] }, "{step}");
            before = now;
        }
        let both = vec![("lab".to_owned(), report(true, false)), ("work".to_owned(), report(true, false))];
        before = [("lab".to_owned(), false), ("work".to_owned(), false)].into();
        let (lost, needed) = lost(&before, both);
        assert_eq!(text(&lost, &needed), "lab: run alppaca login lab\nwork: run alppaca login work");
        // Another one waits for a person already.
        assert_eq!(text(&lost[..1], &needed), "lab: run alppaca login lab");
        assert_eq!(text(&lost[..1], &[("lab".to_owned(), true)].into()), "lab: run alppaca login");
    }
}
