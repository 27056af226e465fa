//! What is measured: our daemon in front of the mock IMS, and nginx with the same bodies.

use std::fmt::Write;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use super::http::{self, LIST, TOKEN};
use super::process::{LOAD_CORE, Process, SERVER_CORE};
use crate::shell::which;

pub const ROLE: &str = "test_role";
const READY: Duration = Duration::from_secs(10);

/// A running server and where it listens.
pub struct Server {
    pub process: Process,
    pub address: SocketAddr,
}

/// Where programs and temporary files are.
pub struct Place {
    pub alppaca: PathBuf,
    pub folder: PathBuf,
}

impl Place {
    /// The built-in mock upstream, on the core of the load: it idles while we measure.
    pub fn mock(&self, roles: usize) -> Result<Server> {
        self.mock_at((Ipv4Addr::LOCALHOST, 0).into(), &["--roles", &roles.to_string()])
    }

    /// The same at this address, with further arguments.
    pub fn mock_at(&self, address: SocketAddr, more: &[&str]) -> Result<Server> {
        let address = address.to_string();
        let mut arguments = vec!["mock-ims", "--bind", &address, "--lifetime", "12h"];
        arguments.extend(more);
        let log = self.folder.join("mock.log");
        let mut process = Process::start(LOAD_CORE, &self.alppaca, &arguments, Stdio::piped(), &log)?;
        let mut lines = BufReader::new(process.stdout().context("a pipe")?).lines();
        let address = lines
            .by_ref()
            .map_while(Result::ok)
            .find_map(|line| address_in(&line))
            .with_context(|| format!("mock-ims printed no address; see {}", log.display()))?;
        // Whatever else it prints must not fill the pipe.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(drop));
        Ok(Server { process, address })
    }

    /// Our daemon, not yet ready.
    pub fn daemon(&self, name: &str, ims: SocketAddr, refresh: &str, access_log: bool) -> Result<Server> {
        self.daemon_with(name, ims, refresh, access_log, "")
    }

    /// The same with more configuration.
    fn daemon_with(&self, name: &str, ims: SocketAddr, refresh: &str, access_log: bool, more: &str) -> Result<Server> {
        let address = free_address()?;
        let log = self.folder.join(format!("{name}-requests.log"));
        let config = format!(
            "ims_protocol: http\nims_host: {}\nims_port: {}\nbind_ip: {}\nbind_port: {}\n\
             access_log: {access_log}\nlog_level: info\nrefresh_interval: {refresh}\nmax_connections: 8192\n\
             logging_handler: {{module: logging, class: FileHandler, args: [\"{}\"]}}\nrun_dir: {}\n{more}",
            ims.ip(),
            ims.port(),
            address.ip(),
            address.port(),
            log.display(),
            self.folder.join(format!("{name}-run")).display()
        );
        let file = self.folder.join(format!("{name}.yaml"));
        fs::write(&file, config)?;
        let errors = self.folder.join(format!("{name}.log"));
        let arguments = ["run", "-c", &file.to_string_lossy()];
        let process = Process::start(SERVER_CORE, &self.alppaca, &arguments, Stdio::null(), &errors)?;
        Ok(Server { process, address })
    }

    /// The admin socket of the daemon of that name.
    pub fn socket(&self, name: &str) -> PathBuf {
        self.folder.join(format!("{name}-run/alppaca.sock"))
    }

    /// Our daemon, once it serves the role.
    pub fn ready_daemon(&self, name: &str, ims: SocketAddr, refresh: &str, access_log: bool) -> Result<Server> {
        self.ready_with(name, ims, refresh, access_log, "")
    }

    /// The same with more configuration.
    pub fn ready_with(
        &self,
        name: &str,
        ims: SocketAddr,
        refresh: &str,
        access_log: bool,
        more: &str,
    ) -> Result<Server> {
        let server = self.daemon_with(name, ims, refresh, access_log, more)?;
        http::wait_for(server.address, &format!("{LIST}{ROLE}"), READY)
            .with_context(|| format!("alppaca is not ready; see {}/{name}*.log", self.folder.display()))?;
        Ok(server)
    }

    /// nginx with one worker and the three answers, byte for byte ours.
    pub fn nginx(&self, name: &str, like: SocketAddr, access_log: bool) -> Result<Server> {
        let address = free_address()?;
        let folder = self.folder.join(name);
        fs::create_dir_all(&folder)?;
        let document = http::get(like, &format!("{LIST}{ROLE}"))?;
        let list = http::get(like, LIST)?;
        let token = http::token_header(like)?;
        let token = token.rsplit(' ').next().context("a token")?;
        let config = nginx_config(
            &folder,
            address,
            access_log,
            &[(TOKEN, token), (LIST, &list), (&format!("{LIST}{ROLE}"), &document)],
        )?;
        let file = folder.join("nginx.conf");
        fs::write(&file, config)?;
        let program = which("nginx").context("nginx is not installed")?;
        let errors = folder.join("error.log");
        let arguments = ["-c", &file.to_string_lossy(), "-e", &errors.to_string_lossy()];
        let mut process = Process::start(SERVER_CORE, &program, &arguments, Stdio::null(), &errors)?;
        process.measure_child().with_context(|| format!("nginx does not start; see {}", errors.display()))?;
        let served = http::wait_for(address, &format!("{LIST}{ROLE}"), READY)?;
        ensure!(served == document, "nginx does not serve the same document");
        Ok(Server { process, address })
    }
}

fn nginx_config(folder: &Path, address: SocketAddr, access_log: bool, bodies: &[(&str, &str)]) -> Result<String> {
    let folder = folder.display();
    let log = if access_log { format!("{folder}/access.log combined") } else { "off".to_owned() };
    let mut locations = String::new();
    for (path, body) in bodies {
        ensure!(body.len() < 3800, "nginx cannot return a literal of {} bytes", body.len());
        ensure!(!body.contains(['\'', '\\', '$']), "the body of {path} cannot be a literal of nginx");
        writeln!(locations, "location = {path} {{ return 200 '{body}'; }}")?;
    }
    let scratch: String = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|kind| format!("{kind}_temp_path {folder}/{kind};\n"))
        .concat();
    Ok(format!(
        "daemon off; worker_processes 1; worker_rlimit_nofile 20000; pid {folder}/pid; error_log {folder}/error.log;\n\
         events {{ worker_connections 16384; }}\n\
         http {{ access_log {log}; default_type text/plain; keepalive_requests 1000000000;\n{scratch}\
         server {{ listen {address};\n{locations}}} }}\n"
    ))
}

fn address_in(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://")?;
    let end = rest.find(|c: char| !c.is_ascii_digit() && c != '.' && c != ':').unwrap_or(rest.len());
    rest[..end].trim_end_matches(['.', ':']).parse().ok()
}

fn free_address() -> Result<SocketAddr> {
    // The port is free again when the listener goes; nobody else takes ports this fast.
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_address_is_found_in_a_sentence() {
        let line = "The mock IMS listens on http://127.0.0.1:4711/latest/ now.";
        assert_eq!(address_in(line), Some(SocketAddr::from(([127, 0, 0, 1], 4711))));
        assert_eq!(address_in("http://127.0.0.1:80."), Some(SocketAddr::from(([127, 0, 0, 1], 80))));
        assert_eq!(address_in("nothing"), None);
    }
}
