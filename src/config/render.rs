//! The effective configuration as YAML, which reads back as the same, but for the secrets.

use std::fmt::Write;

use super::{Config, SETTINGS, containers, files, policy};
use crate::faces::Section;
use alppaca_settings::{
    read::render_duration,
    render::{block, entries, list, quoted},
};

impl Config {
    /// Writes it, in the order of the documentation, with secrets as `***`.
    pub fn render(&self) -> String {
        let mut text = String::new();
        for setting in SETTINGS.iter() {
            if let Some(value) = self.value_of(setting.key) {
                // Writing to a String cannot fail.
                let _infallible = writeln!(text, "{}: {value}", setting.key);
            }
        }
        text
    }

    /// The value of a key as YAML; `None` where there is none, or where another key stands for it.
    fn value_of(&self, key: &str) -> Option<String> {
        let path = |path: &std::path::Path| quoted(&path.to_string_lossy());
        Some(match key {
            "listen" => list(self.listen.iter().map(|address| quoted(&address.to_string()))),
            "capture_listen" => self.capture_listen.map_or("none".to_owned(), |address| quoted(&address.to_string())),
            "policy" => policy::render(self.policy.as_ref()?),
            "audit_log" => self.audit_log.as_ref()?.render(),
            "audit_required" => self.audit_required.to_string(),
            "sign_in_notification" => self.sign_in_notification.to_string(),
            "containers" => containers::render(self.containers.as_ref()?),
            "webhook" => entries(self.webhook.as_ref()?),
            "files" => files::render(&self.files)?,
            "max_connections" => self.limits.connections.to_string(),
            "header_timeout" => render_duration(self.limits.header_timeout),
            "idle_timeout" => render_duration(self.limits.idle_timeout),
            "write_timeout" => render_duration(self.limits.write_timeout),
            "refresh_interval" => render_duration(self.refresh.interval),
            "withdrawal_grace" => render_duration(self.refresh.withdrawal_grace?),
            "log_level" | "log_format" | "logging_handler" | "access_log" => return self.logging.render(key),
            "user" => quoted(self.account.user.as_ref()?),
            "group" => quoted(self.account.group.as_ref()?),
            "sandbox" | "sandbox_allow" => return self.sandbox.render(key),
            "ready_wait" => render_duration(self.ready_wait),
            "run_dir" => path(&self.run_dir),
            "admin_socket" => self.admin.socket.as_deref().map_or_else(|| super::admin::OFF.to_owned(), path),
            "metrics_listen" => quoted(&self.admin.metrics?.to_string()),
            "status_page" => entries(self.status_page.as_ref()?),
            "traces_endpoint" => quoted(self.traces_endpoint.as_ref()?),
            "admin_group" => quoted(self.admin.group.as_ref()?),
            "assume_role" => quoted(self.upstreams.assume_role.as_ref()?.as_str()),
            "aws_proxy_host" => quoted(&self.upstreams.aws_proxy.as_ref()?.0),
            "aws_proxy_port" => self.upstreams.aws_proxy.as_ref()?.1.to_string(),
            "aws_region" => quoted(&self.upstreams.sts.region),
            "sources" => {
                let named = self.upstreams.sources.iter().skip(usize::from(self.upstreams.ims.is_some()));
                block(named.map(|source| (&*source.name, source.render())))?
            }
            "roles" => block(self.upstreams.roles.iter().map(|role| (role.name.as_str(), role.render())))?,
            _ => {
                return self
                    .upstreams
                    .ims
                    .as_ref()
                    .and_then(|ims| ims.render_flat(key))
                    .or_else(|| self.face_value(key));
            }
        })
    }

    fn face_value(&self, key: &str) -> Option<String> {
        let section = || self.faces.iter().find(|section| section.key() == key).map(Section::render);
        self.common.render(key).or_else(|| self.imds.render(key)).or_else(section)
    }
}
