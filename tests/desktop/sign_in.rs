//! Signing in and out is for the daemon's own account and root.

use std::{path::Path, process::Output};

use crate::{
    Daemon, as_user, public_place, stderr, stdout,
    support::{needs, needs_root},
};

const OTHER: u32 = 52_130;
const REFUSAL: &str = "sign-ins are for the daemon's own account and root";

fn curl(socket: &Path, method: &str, path: &str) -> Output {
    let mut command = as_user(OTHER, "curl");
    command.args(["-s", "-m", "10", "-w", "%{http_code}", "-X", method, "-d", "{\"method\":\"device\"}"]);
    command.arg("--unix-socket").arg(socket).arg(format!("http://alppaca{path}")).output().expect("curl runs")
}

#[test]
fn the_daemon_of_a_host_has_no_desktop_for_notifications() {
    let directory = tempfile::tempdir().expect("a directory");
    let config = directory.path().join("alppaca.yaml");
    std::fs::write(&config, "ims_host: x\nlisten: 127.0.0.1:0\nsign_in_notification: yes\n").expect("a file");
    let mut command = crate::Command::new(crate::ALPPACA);
    command.args(["run", "-c"]).arg(&config).env_remove("XDG_RUNTIME_DIR");
    let refused = |command: &mut crate::Command| {
        let output = command.output().expect("it runs");
        assert_eq!(output.status.code(), Some(2), "{output:?}");
        let said = stderr(&output);
        assert!(said.contains("sign_in_notification: this daemon has no desktop") && said.contains("--user"), "{said}");
    };
    refused(&mut command);
    // `su` leaves the variable as it is.
    if needs_root("desktop: the session of another user") {
        let session = directory.path().join("session");
        std::fs::create_dir(&session).expect("ours");
        std::os::unix::fs::chown(&session, Some(OTHER), Some(OTHER)).expect("root");
        refused(command.env("XDG_RUNTIME_DIR", &session));
    }
}

#[test]
fn another_user_can_neither_sign_in_nor_out_nor_see_who_has() {
    const WHAT: &str = "desktop: sign-in by another user";
    if !needs_root(WHAT) || !needs(WHAT, "curl") {
        return;
    }
    let (place, binary) = public_place();
    let run = place.path().join("run");
    let _daemon = Daemon::start(&format!(
        "sources:\n  work:\n    kind: site\n    url: https://127.0.0.1:9\n    \
         sign_in: {{kind: oidc, issuer: 'https://127.0.0.1:9', client_id: alppaca}}\nrun_dir: {}\n",
        run.display()
    ));
    let socket = run.join("alppaca.sock");
    for arguments in [&["login"][..], &["login", "--device"], &["whoami"], &["logout"], &["logout", "work"]] {
        let output = as_user(OTHER, &binary).args(arguments).env("ALPPACA_SOCKET", &socket).output().expect("it runs");
        assert_eq!(output.status.code(), Some(4), "{arguments:?}: {output:?}");
        assert!(stderr(&output).contains(REFUSAL) && output.stdout.is_empty(), "{arguments:?}: {output:?}");
    }
    for (method, path) in [
        ("GET", "/v1/sign-in"),
        ("POST", "/v1/sign-in"),
        ("GET", "/v1/sign-in/1"),
        ("GET", "/v1/sign-in/1/end"),
        ("POST", "/v1/sign-in/1"),
        ("POST", "/v1/sign-out"),
    ] {
        let answer = stdout(&curl(&socket, method, path));
        assert!(answer.contains(REFUSAL) && answer.ends_with("403"), "{method} {path}: {answer}");
    }
    // The daemon's own account is told.
    let own = crate::alppaca(&socket, &["whoami"]);
    assert!(own.status.code() == Some(1) && stdout(&own).starts_with("work: sign-in needed"), "{own:?}");
}
