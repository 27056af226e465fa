//! The settings of the status page.

use crate::{
    page,
    settings::{Setting, options, read},
};

options! {
    /// Where it is, and whether it names anybody.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct StatusPage {
        /// Where it is.
        pub page: page::Options;
        /// Whether it has hosts and people by name.
        pub callers: bool = Setting::nested(
            "callers",
            "no",
            "`yes`: the page has the names of the hosts and people that asked, when they did, and what was refused to them. \
             Those of people are personal data. They are remembered in memory only, the last 500.",
        ).on_restart() => value(read::boolean);
    }
}
