//! What a test needs of the machine, and what it says if that is not there. Tests of other crates include this file.

#![allow(dead_code, reason = "not every test uses all of it")]

use std::io::Write;

/// Whether `program` is here. If not, the test `what` is told as skipped; where it could have been
/// installed (CI), that is a failure.
#[allow(clippy::disallowed_methods, reason = "the environment says where skipped tests are told")]
pub fn needs(what: &str, program: &str) -> bool {
    let here =
        ["/usr/bin", "/usr/sbin", "/bin", "/sbin"].iter().any(|dir| std::path::Path::new(dir).join(program).exists());
    here || skip(what, &format!("there is no {program}"))
}

/// Whether we are root; see [`needs`].
pub fn needs_root(what: &str) -> bool {
    rustix::process::geteuid().is_root() || skip(what, "it needs root")
}

/// Tells the test `what` as skipped; where that could have been mended (CI), it is a failure.
#[allow(clippy::disallowed_methods, reason = "the environment says whether this is CI")]
pub fn skip(what: &str, why: &str) -> bool {
    assert!(std::env::var_os("CI").is_none(), "{what}: {why}, and this machine could have had it");
    cannot(what, why)
}

/// Tells the test `what` as skipped, because this machine cannot run it whatever is installed.
#[allow(clippy::disallowed_methods, reason = "the environment says where skipped tests are told")]
#[allow(clippy::print_stderr, reason = "a test that cannot run says so")]
pub fn cannot(what: &str, why: &str) -> bool {
    if let Some(file) = std::env::var_os("ALPPACA_TEST_SKIPPED") {
        let mut file = std::fs::File::options().append(true).open(file).expect("the file for skipped tests");
        writeln!(file, "{what}: {why}").expect("a line");
    }
    eprintln!("skipped: {what}: {why}");
    false
}
