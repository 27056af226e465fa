//! Trouble as running clients see it: none hangs, none fails where it would not on EC2, all recover.
#![allow(unreachable_pub, missing_docs, reason = "a test, in several files")]
#![allow(clippy::disallowed_methods, reason = "the clients' clocks are real")]

mod support;

#[path = "interop/trouble/dnat.rs"]
mod dnat;
#[path = "interop/rig/mod.rs"]
mod rig;
#[path = "interop/trouble/subject.rs"]
mod subject;

use std::collections::BTreeSet;

use alppaca::mock_ims::Answer;
use rig::{clock::decided, namespace::Namespace, tools::Tools};
use subject::with_each_client;

/// No client notices.
#[test]
fn a_restart_costs_nobody_a_token() {
    with_each_client(|subject| {
        subject.works("at first");
        subject.restart_daemon();
        subject.outlive_its_set();
        subject.works("after the restart");
        assert_eq!(subject.statuses(), BTreeSet::from([200]), "{}", subject.kind.name);
    });
}

/// A daemon that could not keep the key of its tokens: one 401 for a client that has a token, and all is well.
#[test]
fn a_restart_that_forgets_its_tokens_costs_one_401() {
    with_each_client(|subject| {
        subject.works("at first");
        subject.forget_tokens();
        subject.restart_daemon();
        subject.outlive_its_set();
        if subject.kind.keeps_dead_tokens {
            subject.fails("with a token that nobody knows");
            subject.start_again();
            subject.works("with a new token");
            return;
        }
        subject.works("after the restart");
        let refused = subject.refused_tokens();
        assert!(refused <= 1, "{}: {refused} answers with 401", subject.kind.name);
    });
}

/// While the upstream is down everything works until the credentials end; then calls fail, soon; and when
/// it is back they work again.
#[test]
fn an_outage_longer_than_a_life_is_survived() {
    with_each_client(|subject| {
        subject.works("at first");
        subject.break_upstream(|behaviour| {
            behaviour.list = Answer::Status(503);
            behaviour.document = Answer::Status(503);
        });
        subject.works("while the upstream is down and the set lives");
        subject.wait_until_it_ends(503);
        subject.fails("after the set has ended");
        subject.mend_upstream();
        subject.recovers();
    });
}

/// As above, with a role that the upstream takes away and gives back.
#[test]
fn a_withdrawn_role_ends_and_comes_back() {
    with_each_client(|subject| {
        subject.works("at first");
        subject.break_upstream(|behaviour| {
            behaviour.roles.clear();
            behaviour.headers = decided();
        });
        subject.wait_until_it_ends(404);
        subject.fails("without a role");
        subject.mend_upstream();
        subject.recovers();
    });
}

/// The rule stays when the daemon stops: whoever starts meanwhile is refused at once and does not hang.
#[test]
fn behind_the_dnat_rule_a_stopped_daemon_makes_nobody_wait() {
    let Some(tools) = Tools::find() else {
        support::skip("clients behind DNAT", "no ALPPACA_TEST_PYTHON; `cargo xtask test` makes one");
        return;
    };
    if !support::needs_root("clients behind DNAT") {
        return;
    }
    let namespace = Namespace::new(&[]);
    namespace.inside(|| dnat::a_stop_and_a_start(&tools));
}
