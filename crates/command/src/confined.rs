//! A process that has confined itself, with what runs programs for it, and what is reported of that.

use crate::{
    Failure,
    confinement::{Confinement, State},
    environment, helper,
    logging::LogGuard,
    sandbox,
    source::process::{Program, helper::Started},
};

/// A process that is confined.
pub struct Confined {
    confinement: Confinement,
    state: State,
    /// What runs programs for it, if there are any.
    helper: Option<Started>,
}

impl Confined {
    /// Confines this process. There must be one thread, since others would not be confined. `programs` are those that it has
    /// to have run.
    pub fn new(confinement: Confinement, programs: impl FnOnce() -> Vec<Program>) -> Result<Self, Failure> {
        let locked = sandbox::lock_memory();
        let helper = confinement.needs_helper().then(|| helper::begin(programs())).transpose();
        let helper =
            helper.map_err(|error| Failure::runtime(format!("cannot start a helper for programs: {error}")))?;
        let state = confinement.apply(locked);
        Ok(Self { confinement, state, helper })
    }

    /// Logs what is in force, and has the helper run the programs from now on: the confinement as it is, and what is in force.
    pub fn begin(self, log: &LogGuard) -> Result<(Confinement, State), Failure> {
        let Self { confinement, state, helper } = self;
        notice!("sandbox: {state}");
        for line in confinement.explain() {
            tracing::info!("{line}");
        }
        for problem in &state.problems {
            tracing::error!("sandbox: {problem}");
        }
        for warning in confinement.warnings() {
            tracing::warn!("sandbox: {warning}");
        }
        for missing in &state.missing {
            tracing::warn!("sandbox: {missing} is not there, so it is not allowed; when it is, a restart is needed");
        }
        if let Some(helper) = helper {
            let flush = log.flusher();
            let is_restarted = environment::has_service_manager();
            helper.use_it(move || without_helper(is_restarted, &flush)).map_err(Failure::runtime)?;
        }
        Ok((confinement.as_applied(&state), state))
    }
}

/// Where a service manager starts both again, the daemon does not live on half. Nothing else can start a helper, since the
/// daemon may execute nothing: elsewhere all sources that need none go on.
fn without_helper(is_restarted: bool, flush: &impl Fn()) {
    if is_restarted {
        tracing::error!("the helper that runs the programs of sources has ended, and so does the daemon");
        flush();
        std::process::exit(1);
    }
    tracing::error!(
        "the helper that runs the programs of sources has ended: what they gave is served until it expires, and all else goes on. \
         Restart the daemon to have a helper again"
    );
}
