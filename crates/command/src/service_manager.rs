//! The life of a daemon: what the service manager is told, and an end at a panic.

use std::{sync::mpsc, thread, time::Duration};

use sd_notify::NotifyState;

/// How long the end of a daemon that panicked waits for its log.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// Has a panic in any thread end the process, after it is in the log: without that thread, roles would not be renewed, names
/// not looked up or records not written, and nothing would say so.
pub fn end_at_panics(flush: impl Fn() + Clone + Send + Sync + 'static) {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        usual(panic);
        let text = panic.to_string().replace('\n', " ");
        let (flush, (tell, told)) = (flush.clone(), mpsc::channel());
        // By another thread: this one may hold what the log needs.
        let said = thread::Builder::new().spawn(move || {
            tracing::error!("it stops because of a bug in it, please report it: {text}");
            flush();
            tell.send(())
        });
        if said.is_ok() {
            // It ends in either case.
            let _late = told.recv_timeout(LAST_WORDS);
        }
        std::process::abort();
    }));
}

/// Does nothing where no service manager listens.
pub fn notify(states: &[NotifyState]) {
    if let Err(error) = sd_notify::notify(states) {
        tracing::warn!("cannot notify the service manager: {error}");
    }
}
