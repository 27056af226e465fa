//! A request and its answer.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use arc_swap::ArcSwap;

use crate::{
    admission::{Decision, Injection, Review, Skip, decide},
    clock::{BootTime, SharedClock},
    counters::{Counters, Failure},
    https::{Certificate, Report},
    open_metrics::Page,
};

/// From what it was compiled, if that is known.
const REVISION: Option<&str> = option_env!("ALPPACA_REVISION");

/// Whether a service account has a role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Known {
    /// It has.
    Has,
    /// It has not.
    HasNot,
    /// It asks for one that it cannot have.
    MayNot,
    /// That is not known yet: why.
    NotYet(String),
}

/// Which service accounts have roles.
pub trait Roles: Send + Sync {
    /// Whether this one has.
    fn of(&self, namespace: &str, account: &str) -> Known;

    /// Why that is not known of all accounts yet, if it is not.
    fn unready(&self) -> Option<String>;

    /// Adds what is to be shown of that.
    fn metrics(&self, page: &mut Page);
}

/// What follows from the configuration.
pub struct Rules {
    /// Who has a role.
    pub roles: Box<dyn Roles>,
    /// What is added to the pods of these.
    pub injection: Injection,
}

/// The webhook.
pub struct Webhook {
    rules: ArcSwap<Rules>,
    certificate: Arc<Certificate>,
    clock: SharedClock,
    pub(crate) counters: Counters,
    stopping: AtomicBool,
}

/// An answer: its status, its media type, its body.
pub(crate) type Answer = (http::StatusCode, &'static str, Vec<u8>);

impl Webhook {
    /// By these rules.
    pub fn new(rules: Rules, certificate: Arc<Certificate>, clock: SharedClock) -> Arc<Self> {
        let rules = ArcSwap::from_pointee(rules);
        Arc::new(Self { rules, certificate, clock, counters: Counters::default(), stopping: AtomicBool::new(false) })
    }

    /// From now on by these.
    pub fn replace(&self, rules: Rules) {
        self.rules.store(Arc::new(rules));
    }

    /// The certificate that it shows.
    pub fn certificate(&self) -> &Arc<Certificate> {
        &self.certificate
    }

    /// It is told to stop: nobody should ask it any more.
    pub(crate) fn stops(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn boot(&self) -> BootTime {
        self.clock.boot()
    }

    /// Answers a review, which began to arrive at `began`.
    pub(crate) fn review(&self, body: &[u8], began: BootTime) -> Answer {
        let review = match Review::read(body) {
            Ok(review) => review,
            Err(error) => return self.fail(Failure::Malformed, &error.to_string()),
        };
        let rules = self.rules.load();
        let known =
            review.skip().map_or_else(|| rules.roles.of(review.namespace(), review.service_account()), |_| Known::Has);
        let decision = match known {
            Known::Has => decide(&review, &rules.injection),
            Known::HasNot => Decision::Skip(Skip::NotAssociated),
            Known::MayNot => Decision::Skip(Skip::NotAllowed),
            Known::NotYet(why) => {
                return self.fail(Failure::NotReady, &format!("pod {}: {why}", review.shown()));
            }
        };
        self.counters.judged(&decision, self.clock.boot().since(began));
        let mark = if review.is_dry_run() { " (dry run)" } else { "" };
        tracing::info!("pod {} of {}{mark}: {decision}", review.shown(), review.shown_account());
        (http::StatusCode::OK, "application/json", review.answer(&decision))
    }

    /// There is no decision: the API server does what the `failurePolicy` says.
    pub(crate) fn fail(&self, failure: Failure, why: &str) -> Answer {
        self.counters.failed(failure);
        let status = match failure {
            Failure::Unknown => http::StatusCode::NOT_FOUND,
            Failure::Malformed => http::StatusCode::BAD_REQUEST,
            Failure::TooLarge => http::StatusCode::PAYLOAD_TOO_LARGE,
            Failure::TooSlow => http::StatusCode::REQUEST_TIMEOUT,
            Failure::Busy | Failure::NotReady => http::StatusCode::SERVICE_UNAVAILABLE,
        };
        tracing::warn!("no decision, so that the failurePolicy counts: {why}");
        (status, "text/plain", format!("{why}\n").into_bytes())
    }
}

impl Report for Webhook {
    fn metrics(&self) -> String {
        let mut page = Page::default();
        let labels = [("version", env!("CARGO_PKG_VERSION")), ("revision", REVISION.unwrap_or_default())];
        page.info("alppaca_webhook_build_info", "The program.").put(&labels, 1);
        let help = "When the certificate of the webhook ends.";
        let mut end = page.gauge("alppaca_webhook_certificate_expiration_timestamp_seconds", help);
        if let Some(at) = self.certificate.end() {
            end.put(&[], at.as_second());
        }
        let help = "Whether it is known which service accounts have roles.";
        page.gauge("alppaca_webhook_ready", help).put(&[], u8::from(self.unready().is_none()));
        self.rules.load().roles.metrics(&mut page);
        self.counters.render(&mut page);
        page.finish()
    }

    fn unready(&self) -> Option<String> {
        if self.stopping.load(Ordering::Relaxed) {
            return Some("the webhook stops".to_owned());
        }
        self.rules.load().roles.unready()
    }
}
