//! Makes 169.254.169.254:80 reach the daemon. The changes are planned as a list of commands,
//! which `print` shows and `apply` runs: they are the same.

mod bridges;
mod foreign;
mod iptables;
mod nftables;
mod plan;
mod probe;
mod run;
mod way;

pub use bridges::{ALL as ALL_BRIDGES, BridgeError, Bridges};
pub use foreign::{Redirection, foreign_redirections};
pub use plan::{Command, IMDS, Mode, REPAIR, RULE_ORDER, Settings, Tool, WEAK_REDIRECTION};
pub use probe::{Answerer, who_answers};
pub use run::{
    CaptureError, Host, applied, apply, apply_bridges, bridges_applied, remove, remove_bridges, unit_is_active,
};
pub use way::{Way, is_lost, is_unroutable};
