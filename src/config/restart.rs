//! What a running daemon cannot change. Which keys these are is a column of the table of settings.

use std::net::SocketAddr;

use alppaca_settings::Keys;

use super::{Config, Loaded, settings::restart_keys};
use crate::{
    faces::{self, Section},
    webhook,
};

impl Loaded {
    /// Has the configuration keep what `started`, with which the daemon was started, has for the keys that only a restart
    /// changes. The keys that differ, but not those whose other default follows from another key.
    pub fn keep_until_restart(&mut self, started: &Self) -> Vec<String> {
        let written = |key: &String| key.contains('.') || self.written.contains(key) || started.written.contains(key);
        let config = &mut self.config;
        restart_keys().filter(|key| keep(config, &started.config, key) == Some(true) && written(key)).collect()
    }
}

/// Has `new` keep the value of a key; whether it had another one. `None` if a reload can change the key.
fn keep(new: &mut Config, started: &Config, key: &str) -> Option<bool> {
    let differs = |part: fn(&SocketAddr) -> String| !new.listen.iter().map(part).eq(started.listen.iter().map(part));
    Some(match key {
        // Three keys for one value, `listen` being the last of them in the table.
        "bind_ip" => differs(|address| address.ip().to_string()),
        "bind_port" => differs(|address| address.port().to_string()),
        "listen" => replace(&mut new.listen, &started.listen),
        "capture_listen" => replace(&mut new.capture_listen, &started.capture_listen),
        "max_connections" => replace(&mut new.limits.connections, &started.limits.connections),
        "header_timeout" => replace(&mut new.limits.header_timeout, &started.limits.header_timeout),
        "idle_timeout" => replace(&mut new.limits.idle_timeout, &started.limits.idle_timeout),
        "write_timeout" => replace(&mut new.limits.write_timeout, &started.limits.write_timeout),
        "log_format" => replace(&mut new.logging.format, &started.logging.format),
        "logging_handler" => replace(&mut new.logging.handler, &started.logging.handler),
        "audit_log" => replace(&mut new.audit_log, &started.audit_log),
        "audit_required" => replace(&mut new.audit_required, &started.audit_required),
        "user" => replace(&mut new.account.user, &started.account.user),
        "group" => replace(&mut new.account.group, &started.account.group),
        "sandbox" => replace(&mut new.sandbox.mode, &started.sandbox.mode),
        "sandbox_allow" => replace(&mut new.sandbox.allow, &started.sandbox.allow),
        "ready_wait" => replace(&mut new.ready_wait, &started.ready_wait),
        "run_dir" => replace(&mut new.run_dir, &started.run_dir),
        "admin_socket" => replace(&mut new.admin.socket, &started.admin.socket),
        "admin_group" => replace(&mut new.admin.group, &started.admin.group),
        "metrics_listen" => replace(&mut new.admin.metrics, &started.admin.metrics),
        "status_page" => {
            let comes_or_goes = new.status_page.is_some() != started.status_page.is_some();
            comes_or_goes && replace(&mut new.status_page, &started.status_page)
        }
        "traces_endpoint" => replace(&mut new.traces_endpoint, &started.traces_endpoint),
        "sign_in_notification" => replace(&mut new.sign_in_notification, &started.sign_in_notification),
        // The daemon has none of it; the webhook says so itself.
        _ if is_of_the_webhook(key) => false,
        _ => {
            let (section, nested) = key.split_once('.')?;
            // Kept as a whole, by the name of the section.
            if section == "sandbox_allow" {
                return Some(false);
            }
            if section == "status_page" {
                return new.status_page.as_mut().zip(started.status_page.as_ref()).map_or(
                    Some(false),
                    |(new, started)| {
                        Some(match nested {
                            "listen" => replace(&mut new.listen, &started.listen),
                            "hosts" => replace(&mut new.hosts, &started.hosts),
                            "beyond_loopback" => replace(&mut new.beyond_loopback, &started.beyond_loopback),
                            _ => return None,
                        })
                    },
                );
            }
            let (face, "listen") = (section, nested) else { return None };
            faces::ALL.iter().find(|entry| entry.section.key == face)?;
            let is_it = |section: &&Section| section.key() == face;
            let new = new.faces.iter_mut().find(|section| section.key() == face);
            replace_listeners(
                new.map(|section| &mut section.listen),
                started.faces.iter().find(is_it).map(|section| &section.listen),
            )
        }
    })
}

/// Whether it is a key of the webhook that only its restart changes.
fn is_of_the_webhook(key: &str) -> bool {
    let own = key.strip_prefix(webhook::SECTION.key).and_then(|rest| rest.strip_prefix('.'));
    own.is_some_and(|own| {
        webhook::Options::SETTINGS.iter().any(|setting| setting.key == own && setting.needs_restart())
    })
}

fn replace<T: Clone + PartialEq>(new: &mut T, started: &T) -> bool {
    let differs = new != started;
    new.clone_from(started);
    differs
}

/// The same for the listeners of a section, which may come or go.
fn replace_listeners(new: Option<&mut Vec<SocketAddr>>, started: Option<&Vec<SocketAddr>>) -> bool {
    match (new, started) {
        (Some(new), started) => replace(new, &started.cloned().unwrap_or_default()),
        (None, started) => started.is_some(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{SECTIONS, SETTINGS, parse};

    fn loaded(text: &str) -> Loaded {
        parse(vec![("a.yaml".into(), format!("ims_host: x\n{text}"))]).expect(text)
    }

    /// The keys that are named where the daemon was started with the one and is told the other.
    fn named(started: &str, new: &str) -> String {
        let (started, mut new) = (loaded(started), loaded(new));
        let named = new.keep_until_restart(&started);
        named.join(", ")
    }

    #[test]
    fn the_table_says_of_each_key_whether_a_reload_changes_it() {
        let config =
            loaded("container: {}\nstatus_page: {listen: '127.0.0.1:1'}\npod_identity: {issuer: 'https://x', jwks_file: /k, associations: [{role: r}]}")
                .config;
        let nested = SECTIONS
            .iter()
            .flat_map(|section| section.settings.iter().map(|setting| format!("{}.{}", section.path, setting.key)));
        for key in SETTINGS.iter().map(|setting| setting.key.to_owned()).chain(nested) {
            let kept = keep(&mut config.clone(), &config, &key);
            assert_eq!(kept.is_some(), restart_keys().any(|restart| restart == key), "{key}");
        }
    }

    #[test]
    fn exactly_the_keys_that_were_changed_are_named() {
        for (started, new, expected) in [
            ("", "", ""),
            ("", "bind_port: 1", "bind_port"),
            ("bind_port: 1\nbind_ip: 127.0.0.1", "bind_port: 2\nbind_ip: 127.0.0.1", "bind_port"),
            ("bind_ip: 127.0.0.2", "", "bind_ip"),
            ("listen: ['127.0.0.1:1']", "listen: ['127.0.0.2:2']", "listen"),
            ("bind_port: 1", "listen: ['127.0.0.1:2']", "bind_port, listen"),
            ("bind_port: 1", "listen: ['127.0.0.1:1']", ""),
            ("", "run_dir: /elsewhere", "run_dir"),
            ("", "admin_socket: off\nimds_v1: false", "admin_socket"),
            ("admin_socket: /a\nrun_dir: /r", "admin_socket: /a", "run_dir"),
            ("", "metrics_listen: 127.0.0.1:1", "metrics_listen"),
            ("", "status_page: {listen: '127.0.0.1:1'}", "status_page"),
            (
                "status_page: {listen: '127.0.0.1:1'}",
                "status_page: {listen: '127.0.0.1:1', hosts: x}",
                "status_page.hosts",
            ),
            ("", "capture_listen: none", "capture_listen"),
            ("", "sandbox_allow: {connect: 1}", "sandbox_allow"),
            ("", "container: {}", "container.listen"),
            ("container: {}", "", "container.listen"),
            ("container: {}", "container: {token_overlap: 1s}", ""),
        ] {
            assert_eq!(named(started, new), expected, "{started:?} -> {new:?}");
        }
    }
}
