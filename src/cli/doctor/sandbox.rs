//! What confines the daemon, or would.

use super::Finding;
use crate::{admin::Status, cli::status::confined, confinement::Kernel};

const RULE: &str = "sandbox";

/// Judges what the daemon says of its sandbox or, without one, what this kernel can do for it.
pub(super) fn judge(daemon: Option<&Status>) -> Finding {
    let Some(sandbox) = daemon.and_then(|status| status.sandbox.as_ref()) else {
        let kernel = Kernel::here();
        let message = format!("sandbox: a daemon on this kernel has {kernel}");
        let complete = kernel.landlock.is_some() && kernel.seccomp;
        return if complete {
            Finding::good(RULE, message)
        } else {
            Finding::note(RULE, message, "nothing, if this kernel cannot: the daemon works without")
        };
    };
    let message = format!("sandbox of the daemon: {}", confined(sandbox));
    match sandbox.mode.as_str() {
        "enforce" if sandbox.lacking.is_empty() => Finding::good(RULE, message),
        "enforce" => {
            let message = format!("{message}; this kernel does not restrict {}", sandbox.lacking.join(", "));
            Finding::note(RULE, message, "a newer kernel, with `landlock` among its `lsm=`; the daemon works without")
        }
        _ => Finding::note(RULE, message, "`sandbox: enforce`, and restart alppaca"),
    }
}
