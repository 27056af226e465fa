//! What takes time to find out about a caller does not delay others: a name service that does not answer, and a user with
//! very many control groups.

mod support;

use std::{
    fs,
    os::unix::{fs::chown, process::CommandExt},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use alppaca::mock_ims::Behaviour;
use support::{
    Daemon, Ims, Over,
    cgroups::{Slice, command_in},
    needs, needs_root,
};
use tempfile::TempDir;

const LIST: &str = "/latest/meta-data/iam/security-credentials/";
/// Numbers without an account on this host.
const BY_NUMBER: u32 = 52_300;
const BY_NAME: u32 = 52_301;
const ATTACKER: u32 = 52_302;

/// Looks up no name that begins with `alp-slow` before a file is there.
const SLOW: &str = r#"
#define _GNU_SOURCE
#include <dlfcn.h>
#include <pwd.h>
#include <string.h>
#include <unistd.h>
int getpwnam_r(const char *name, struct passwd *entry, char *buffer, size_t size, struct passwd **found) {
    int (*next)(const char *, struct passwd *, char *, size_t, struct passwd **) = dlsym(RTLD_NEXT, "getpwnam_r");
    if (strncmp(name, "alp-slow", 8) == 0)
        while (access(GATE, F_OK) != 0) usleep(20000);
    return next(name, entry, buffer, size, found);
}
"#;

fn build(directory: &Path, gate: &Path) -> PathBuf {
    let (source, library) = (directory.join("slow.c"), directory.join("slow.so"));
    fs::write(&source, SLOW).expect("a file");
    let mut command = Command::new("cc");
    command.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source);
    let output = command.arg(format!("-DGATE=\"{}\"", gate.display())).arg("-ldl").output().expect("cc");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    library
}

/// The status that a user gets.
fn ask(uid: u32, daemon: &Daemon) -> String {
    let mut command = Command::new("curl");
    command.args(["-sS", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}"]);
    command.arg(format!("http://{}{LIST}", daemon.address())).uid(uid).gid(uid).current_dir("/");
    let output = command.output().expect("curl");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_name_service_that_does_not_answer_delays_no_user_who_is_named_by_number() {
    const WHAT: &str = "slow look-ups: name service";
    if !needs_root(WHAT) || !["cc", "curl"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let directory = TempDir::new().expect("a directory");
    let gate = directory.path().join("gate");
    let library = build(directory.path(), &gate);
    let ims = Ims::start(Behaviour { roles: vec!["web".into()], ..Behaviour::default() });
    let slow: Vec<String> =
        (0..8).map(|name| format!("  - {{match: {{user: alp-slow{name}}}, role: web}}\n")).collect();
    let config = format!(
        "{}policy:\n  rules:\n  - {{match: {{user: {BY_NUMBER}}}, role: web}}\n{}",
        ims.config(),
        slow.concat()
    );
    let start = || {
        let daemon = Daemon::start_with(&config, |command| {
            command.env("LD_PRELOAD", &library);
        });
        // It is ready, whatever is still being looked up.
        daemon.wait_for_log("1 fresh");
        assert_eq!(ask(BY_NUMBER, &daemon), "200", "{}", daemon.log());
        // Whether this is one of those users is not known yet: that is no refusal.
        assert_eq!(ask(BY_NAME, &daemon), "503", "{}", daemon.log());
        daemon
    };
    // Nothing waits for the name service at the end, either.
    assert_eq!(start().stop(), Some(0));
    let daemon = start();
    fs::write(&gate, "").expect("a file");
    for name in 0..8 {
        daemon.wait_for_log(&format!("policy: there is no user \"alp-slow{name}\" on this host"));
    }
    assert_eq!(ask(BY_NAME, &daemon), "404", "{}", daemon.log());
}

#[test]
fn a_user_with_very_many_control_groups_makes_only_the_own_look_ups_slow() {
    const WHAT: &str = "slow look-ups: control groups";
    const GROUPS: usize = 20_000;
    if !needs_root(WHAT) || !["curl", "setpriv"].iter().all(|program| needs(WHAT, program)) {
        return;
    }
    let Some(slice) = Slice::new(WHAT) else { return };
    // A subtree that is the user's own, as each user has one.
    let own = slice.group("user@52302.service");
    for group in 0..GROUPS {
        fs::create_dir(own.join(group.to_string())).expect("root may");
    }
    chown(&own, Some(ATTACKER), None).expect("root may");
    let ims = Ims::start(Behaviour { roles: vec!["web".into()], ..Behaviour::default() });
    let config = format!(
        "{}access_log: false\npolicy:\n  rules:\n  - {{match: {{unit: 'good*.service', slice: alptest*.slice}}, role: web}}\n",
        ims.config()
    );
    let daemon = Daemon::start(&config);
    daemon.wait_for_log(" fetched ");
    let url = format!("http://{}{LIST}", daemon.address());
    let over = AtomicBool::new(false);
    thread::scope(|scope| {
        let over_at_the_end = Over(&over);
        for attacker in 0..4 {
            let (own, url, over) = (&own, &url, &over);
            scope.spawn(move || {
                for group in (0..GROUPS).rev().skip(attacker).step_by(4).take(500) {
                    if over.load(Ordering::Relaxed) {
                        return;
                    }
                    let id = ATTACKER.to_string();
                    let mut command = command_in(&own.join(group.to_string()), "setpriv");
                    command.args(["--reuid", &id, "--regid", &id, "--clear-groups", "curl", "-s", "-m", "1", url]);
                    let _refused = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
                }
            });
        }
        for number in 0..8 {
            // A service that has just started.
            let unit = slice.group(&format!("good{number}.service"));
            let mut command = command_in(&unit, "curl");
            let output = command.args(["-sS", "-m", "20", "-w", " %{http_code}", &url]).output().expect("curl");
            assert_eq!(String::from_utf8_lossy(&output.stdout), "web 200", "{number}: {}", daemon.log());
        }
        drop(over_at_the_end);
    });
}
