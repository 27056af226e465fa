//! Directories and what is in them.

use alppaca::mock_ims::Behaviour;

use crate::{
    LIST, get, rig,
    support::{Daemon, Ims},
};

pub(crate) fn the_root_lists_the_versions() {
    for address in rig().both() {
        let body = get(address, "/").body;
        assert!(body.lines().any(|line| line == "latest") && body.starts_with("1.0\n2007-01-19\n"), "{body}");
        assert!(!body.ends_with('\n'));
        for version in body.lines() {
            assert_eq!(get(address, &format!("/{version}/meta-data/")).status, 200, "{version}");
        }
    }
}

pub(crate) fn the_listing_is_the_role_without_newline() {
    for address in rig().both() {
        let response = get(address, LIST);
        assert_eq!((response.status, &*response.body), (200, "test_role"));
    }
}

pub(crate) fn no_final_slash_is_needed() {
    for address in rig().both() {
        let response = get(address, LIST.trim_end_matches('/'));
        assert_eq!((response.status, &*response.body), (200, "test_role"));
    }
}

pub(crate) fn the_listing_is_one_line_always() {
    let roles = vec!["second".to_owned(), "first".to_owned(), "third".to_owned()];
    let ims = Ims::start(Behaviour { roles, ..Behaviour::default() });
    let daemon = Daemon::with_credentials(&ims.config());
    for path in [LIST, LIST.trim_end_matches('/')] {
        assert_eq!(get(daemon.address(), path).body, "second");
    }
    // Unless it is wanted otherwise.
    let daemon = Daemon::with_credentials(&format!("{}list_roles: all\n", ims.config()));
    assert_eq!(get(daemon.address(), LIST).body, "second\nfirst\nthird");
}

pub(crate) fn double_slashes_are_one() {
    for address in rig().both() {
        for path in ["//latest///meta-data/", "//latest/meta-data//iam//security-credentials//test_role"] {
            assert_eq!(get(address, path).status, 200, "{path}");
        }
    }
}

pub(crate) fn directories_need_no_final_slash() {
    for address in rig().both() {
        for path in ["/latest/meta-data", "/latest", "/2021-03-23/meta-data", "/latest/dynamic"] {
            let with_slash = get(address, &format!("{path}/")).body;
            let response = get(address, path);
            assert_eq!((response.status, response.body), (200, with_slash), "{path}");
        }
    }
}

pub(crate) fn queries_do_not_count() {
    for address in rig().both() {
        for path in ["/latest/meta-data?x=1", "/latest/meta-data/iam/security-credentials/test_role?/../x"] {
            assert_eq!(get(address, path).status, 200, "{path}");
        }
    }
}
