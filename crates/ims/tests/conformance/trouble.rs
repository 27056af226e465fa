//! What goes wrong on the server's side.

use crate::{LIST, Rig, is_decided, support::client::Answer};

#[track_caller]
fn is_trouble(answer: &Answer) {
    assert_eq!((answer.status, is_decided(answer)), (503, false), "{answer:?}");
    assert!(answer.header("retry-after").is_some_and(|seconds| seconds.parse::<u32>().is_ok_and(|s| s > 0)));
    for key in ["status", "error", "exception", "message", "traceback"] {
        assert!(answer.body.contains(&format!("\"{key}\": ")), "{answer:?}");
    }
}

pub(crate) fn a_refusal_of_sts_is_503(rig: &Rig) {
    rig.sts.change(|script| script.roles.clear());
    is_trouble(&rig.host("web1.example.com", &format!("{LIST}web")));
    is_trouble(&rig.alice("/account/demo/readonly"));
}

pub(crate) fn the_list_asks_no_sts(rig: &Rig) {
    rig.sts.change(|script| script.down.push("*".to_owned()));
    let list = rig.host("web1.example.com", LIST);
    assert_eq!((list.status, list.body.as_str(), is_decided(&list)), (200, "web", true), "{list:?}");
    assert_eq!(rig.alice("/account").status, 200);
}

pub(crate) fn an_sts_that_is_down_is_503(rig: &Rig) {
    rig.sts.change(|script| script.down.push("*".to_owned()));
    is_trouble(&rig.alice("/account/demo/readonly/credentials"));
}

pub(crate) fn no_console_leaves_the_document(rig: &Rig) {
    rig.federation.breaks();
    let document = rig.alice("/account/demo/readonly");
    assert!(document.status == 200 && !document.body.contains("ConsoleUrl"), "{document:?}");
    is_trouble(&rig.alice("/account/demo/readonly/consoleurl"));
}
