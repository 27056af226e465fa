//! Roles for emergencies: no credentials before the alert has been recorded.

use std::{
    sync::{Arc, atomic::Ordering},
    time::Duration,
};

use http::{StatusCode, request::Parts};

use super::{
    alarm::Alarm,
    audit::{Record, place},
    client::Client,
    counters::Ending,
    respond::{Exchange, Reply, Server},
};
use crate::{
    identity::Identity,
    protocol::{self, Answer, Form, Mount, RETRY_AFTER},
    rules::Grant,
    text::printable,
};

/// An audit that takes longer to write is as good as broken: a person waits.
const PATIENCE: Duration = Duration::from_secs(2);

/// An id that no two alerts share.
fn alert_id() -> String {
    format!("{:012x}", fastrand::u64(..1 << 48))
}

impl Server {
    /// Gives a role that is for emergencies, if the request carries a reason, and the alert can be recorded and raised.
    pub(super) async fn emergency(
        &self,
        exchange: &Exchange<'_>,
        grant: &Grant,
        form: &Form,
        identity: Identity,
    ) -> Reply {
        let Exchange { current, mount, client, head } = *exchange;
        let user = Some(identity.name.as_str());
        let reason = match protocol::reason(&head.headers) {
            Ok(reason) => reason,
            Err(why) => {
                let answer = Answer::error(StatusCode::FORBIDDEN, &protocol::how_to_get(grant), user);
                return Reply::new(Ending::Denied, mount, answer).because(why).by(identity).about(grant.clone());
            }
        };
        let grant = grant.in_emergency(&alert_id());
        let alert = Alert { mount, grant: &grant, identity: &identity, client, head, reason: &reason };
        if let Err(why) = self.alert(&alert).await {
            let answer = Answer::unavailable("The alert cannot be recorded at the moment", user, RETRY_AFTER);
            return Reply::new(Ending::Unavailable, mount, answer).because(why).by(identity).about(grant);
        }
        self.counters().emergencies.fetch_add(1, Ordering::Relaxed);
        if let Some(alarm) = &current.alarm
            && let Err(why) = self.raise(alarm, &alert).await
        {
            let answer = Answer::unavailable("The alert cannot be raised at the moment", user, RETRY_AFTER);
            return Reply::new(Ending::Unavailable, mount, answer).because(why).by(identity).about(grant);
        }
        self.fetch(mount, grant, form, identity).await
    }

    /// Runs the program that tells people. An error says why nothing may be handed out.
    async fn raise(&self, alarm: &Alarm, alert: &Alert<'_>) -> Result<(), String> {
        let Err(why) = alarm.raise(&alert.variables()).await else { return Ok(()) };
        self.counters().alarms_failed.fetch_add(1, Ordering::Relaxed);
        let why = format!("emergency_alert: {why}");
        if !alarm.may_fail() {
            return Err(why);
        }
        tracing::error!("EMERGENCY {}: {why}; the role is given all the same (alert_failure)", alert.id());
        Ok(())
    }

    /// Logs the alert, and returns when the audit has it.
    async fn alert(&self, alert: &Alert<'_>) -> Result<(), String> {
        let Alert { mount, grant, identity, client, head, reason } = alert;
        tracing::error!(
            "EMERGENCY {}: {} ({}, from {}) takes {} by rule {:?}: {reason}",
            alert.id(),
            printable(&identity.name, 100),
            printable(&identity.proven_by, 100),
            place(&client.peer),
            grant.label(),
            grant.rule,
        );
        let path = printable(head.uri.path(), 500);
        let record = Record::new(Ending::HandedOut, &mount.prefix, client, &path, self.now()).by(identity);
        let line =
            serde_json::to_string(&record.about(grant, false).alert(reason)).map_err(|error| error.to_string())?;
        self.write_through(line).await
    }

    /// Returns when the audit has this record.
    pub(super) async fn write_through(&self, line: String) -> Result<(), String> {
        let Some(audit) = self.audit().map(Arc::clone) else { return Err("there is no audit_log".to_owned()) };
        let writing = tokio::task::spawn_blocking(move || audit.write_through(&line, PATIENCE));
        match writing.await {
            Ok(true) => Ok(()),
            Ok(false) => Err("the audit does not take the record".to_owned()),
            Err(_ended) => Err("the server is stopping".to_owned()),
        }
    }
}

/// A role, its caller, and the reason.
struct Alert<'a> {
    mount: &'a Mount,
    grant: &'a Grant,
    identity: &'a Identity,
    client: &'a Client,
    head: &'a Parts,
    reason: &'a str,
}

impl Alert<'_> {
    fn id(&self) -> &str {
        self.grant.emergency.as_deref().unwrap_or_default()
    }

    /// What it is about, for a program. A shell that puts them between quotation marks has one word each.
    fn variables(&self) -> Vec<(String, String)> {
        let Self { grant, identity, client, reason, .. } = self;
        let facts = [
            ("ID", self.id().to_owned()),
            ("IDENTITY", printable(&identity.name, 500)),
            ("PROVEN_BY", printable(&identity.proven_by, 100)),
            ("PEER", place(&client.peer)),
            ("RULE", printable(&grant.rule, 500)),
            ("ACCOUNT", grant.account.id.as_str().to_owned()),
            ("ROLE", grant.role.to_string()),
            ("REASON", (*reason).to_owned()),
        ];
        facts.into_iter().map(|(name, value)| (format!("EMERGENCY_{name}"), value)).collect()
    }
}
