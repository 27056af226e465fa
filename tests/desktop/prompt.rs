//! `prompt`: one line, always at once.

use std::path::Path;

use rustix::process::{Pid, Signal, kill_process};

use crate::{ALPPACA, Answer, Behaviour, Command, Ims, alppaca, stdout, with_credentials, with_roles};

#[test]
fn the_role_and_the_time_that_is_left_are_one_line() {
    let ims = with_roles(&["web", "db"]);
    let daemon = with_credentials(&ims.config(), 2);
    let line = || stdout(&alppaca(&daemon.socket(), &["prompt"]));
    assert!(line().starts_with("web 59m\n") || line().starts_with("web 1h\n"), "{}", line());
    assert!(alppaca(&daemon.socket(), &["use", "db"]).status.success());
    assert!(line().starts_with("db "), "{}", line());
}

#[test]
fn why_a_role_has_no_credentials_is_said() {
    let ims = Ims::start(Behaviour { document: Answer::Status(403), ..Behaviour::default() });
    let daemon = crate::Daemon::start(&ims.config());
    daemon.wait_for_log("role test_role: cannot fetch");
    let line = || stdout(&alppaca(&daemon.socket(), &["prompt"]));
    while line() != "test_role denied\n" {
        assert!(["", "test_role warming\n", "test_role denied\n"].contains(&&*line()), "{}", line());
    }
}

#[test]
fn without_a_daemon_or_with_one_that_hangs_there_is_nothing_and_no_error() {
    let output = alppaca(Path::new("/nonexistent"), &["prompt"]);
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
    let ims = with_roles(&["web"]);
    let daemon = with_credentials(&ims.config(), 1);
    let pid = Pid::from_raw(daemon.pid().try_into().expect("a number")).expect("not 0");
    kill_process(pid, Signal::STOP).expect("it runs");
    // That it ends at all is the proof: the daemon answers nothing.
    let mut child = Command::new(ALPPACA);
    child.arg("prompt").env("ALPPACA_SOCKET", daemon.socket());
    let output = child.output().expect("it runs");
    kill_process(pid, Signal::CONT).expect("it runs");
    assert!(output.status.success() && output.stdout.is_empty() && output.stderr.is_empty(), "{output:?}");
}
