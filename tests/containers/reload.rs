//! `containers:` changed while the daemon runs, with a real Docker.

use std::{
    fs,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    thread,
};

use crate::{
    Host, RULES, arn_key,
    docker::Docker,
    document,
    place::{Container, Runtime, get, in_network_of},
    support::Over,
};

impl Host<Docker> {
    /// Has the daemon read another section `containers`; it says `part` of that.
    fn reload(&self, containers: &str, part: &str) {
        let file = self.daemon.directory.path().join("alppaca.yaml");
        let text = fs::read_to_string(&file).expect("readable");
        let (before, rest) = text.split_once("containers:\n").expect("the section");
        let after = rest.split_once("run_dir:").expect("what follows").1;
        fs::write(&file, format!("{before}containers:\n{containers}run_dir:{after}")).expect("written");
        let count = self.daemon.log().matches(part).count();
        self.daemon.hang_up();
        self.daemon.wait_for_count(part, count + 1);
    }

    fn section(&self, rules: &str) -> String {
        format!("  source: base\n  sockets: {}\n  {rules}", self.runtime.socket().display())
    }
}

const READ_AGAIN: &str = "the configuration has been reloaded";

#[test]
fn other_settings_are_in_force_at_once_and_who_keeps_its_role_misses_nothing() {
    if !Docker::possible("containers: reload") {
        return;
    }
    let host = Host::<Docker>::start(RULES);
    let stays = host.runtime.idle("stays", &["-e", "IAM_ROLE=app-stays"]);
    let goes = host.runtime.idle("goes", &["-e", "IAM_ROLE=app-goes"]);
    let other = host.runtime.idle("other", &["-e", "OTHER_ROLE=app-other"]);
    let key = |container: &Container<'_, Docker>| container.key();
    assert_eq!((key(&stays), key(&goes)), (Ok(arn_key("app_stays")), Ok(arn_key("app_goes"))));
    assert_eq!(key(&other), Err(404));

    let (over, answers) = (AtomicBool::new(false), AtomicUsize::new(0));
    thread::scope(|scope| {
        let pid = &stays.pid;
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                let (status, body) = get(in_network_of(pid), &document("app-stays"));
                assert_eq!(status, 200, "{body}");
                assert!(body.contains(&arn_key("app_stays")), "{body}");
                answers.fetch_add(1, Ordering::Relaxed);
            }
        });
        let _over = Over(&over);
        for _ in 0..5 {
            // What is allowed, what is asked for, and what those get who ask for nothing.
            let less = RULES
                .replace("role/app-*", "role/app-stays")
                .replace("allow: [", "default_role: app-default\n  allow: [");
            host.reload(&host.section(&less), READ_AGAIN);
            assert_eq!((key(&goes), key(&other)), (Err(404), Ok(arn_key("app_default"))));
            host.reload(
                &host.section(&RULES.replace("[Env:IAM_ROLE, ", "[Env:OTHER_ROLE, Env:IAM_ROLE, ")),
                READ_AGAIN,
            );
            assert_eq!((key(&goes), key(&other)), (Ok(arn_key("app_goes")), Ok(arn_key("app_other"))));
        }
    });
    assert!(answers.into_inner() > 10, "somebody asked meanwhile");
    let mut calls = host.sts.calls();
    // Nothing about its source was different.
    assert_eq!(calls.iter().filter(|key| **key == arn_key("app_stays")).count(), 1, "{calls:?}");
    calls.sort();
    calls.dedup();
    let fetched = ["app_default", "app_goes", "app_other", "app_stays"].map(arn_key);
    assert_eq!(calls, fetched);
    assert!(!host.daemon.log().contains("cannot be fetched"), "{}", host.daemon.log());

    // Events are heard as before.
    let late = host.runtime.idle("late", &["-e", "OTHER_ROLE=app-late"]);
    assert_eq!(key(&late), Ok(arn_key("app_late")));
    late.remove();
}

#[test]
fn a_mistake_changes_nothing_and_sockets_may_come_and_go() {
    if !Docker::possible("containers: mistakes in a reload") {
        return;
    }
    let host = Host::<Docker>::start(RULES);
    let container = host.runtime.idle("stays", &["-e", "IAM_ROLE=app-stays"]);
    let served = || container.key() == Ok(arn_key("app_stays"));
    assert!(served());
    let wrong = "is wrong; nothing has been changed";
    host.reload("  allow: [nothing]\n", wrong);
    assert!(served());
    let mapping = host.daemon.directory.path().join("mapping.json");
    let mapped = host.section(&format!("{RULES}  mapping_file: {}\n", mapping.display()));
    fs::write(&mapping, "{\"172.30.0.2\": \"app-a\", \"172.30.0.3\": 7}").expect("written");
    host.reload(&mapped, wrong);
    assert!(host.daemon.log().contains("mapping.json: the role of 172.30.0.3"), "{}", host.daemon.log());
    assert!(served());

    let address = host.runtime.run(&["inspect", "--format", "{{.NetworkSettings.IPAddress}}", "stays"]);
    fs::write(&mapping, format!("{{\"{address}\": \"app-mapped\"}}")).expect("written");
    host.reload(&mapped, READ_AGAIN);
    assert_eq!(container.key(), Ok(arn_key("app_mapped")));
    // Another source for the same role: waited for, never refused.
    let file = host.daemon.directory.path().join("alppaca.yaml");
    let text = fs::read_to_string(&file).expect("readable");
    fs::write(&file, text.replace("  base:", "  soil:")).expect("written");
    host.reload(&mapped.replace("source: base", "source: soil"), READ_AGAIN);
    assert_eq!(container.key(), Ok(arn_key("app_mapped")));
    let text = fs::read_to_string(&file).expect("readable");
    fs::write(&file, text.replace("  soil:", "  base:")).expect("written");
    // Another socket, at which nothing answers: no container is identified.
    host.reload("  source: base\n  sockets: /nonexistent\n  allow: ['*']\n", READ_AGAIN);
    assert_eq!(container.get(&document("app-stays")).0, 503);
    // Without the section nobody looks for containers: there are the listed roles for all.
    let text = fs::read_to_string(&file).expect("readable");
    let (before, rest) = text.split_once("containers:\n").expect("the section");
    let after = rest.split_once("run_dir:").expect("what follows").1;
    fs::write(&file, format!("{before}roles: {{plain: {{source: base}}}}\nrun_dir:{after}")).expect("written");
    host.daemon.hang_up();
    host.daemon.wait_for_count(READ_AGAIN, 4);
    assert_eq!(container.get(&document("app-stays")).0, 404);
    assert_eq!(container.key(), Ok("AKIAX".to_owned()));
    fs::write(
        &file,
        text.replace("/nonexistent", &host.runtime.socket().display().to_string())
            .replace("allow: ['*']", RULES.trim_end()),
    )
    .expect("written");
    host.daemon.hang_up();
    host.daemon.wait_for_count(READ_AGAIN, 5);
    assert!(served());
}
