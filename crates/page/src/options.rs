//! The settings of the page.

use std::path::PathBuf;

use crate::{
    needs::{Need, Needs},
    settings::{Fields, Listen, Node, Problem, Setting, options, read},
};

options! {
    /// Where the page is, and under which names.
    #[derive(Debug, Clone, PartialEq, Eq)]
    pub struct Options {
        /// Where it is served.
        pub listen: Vec<Listen> = Setting::nested(
            "listen",
            "",
            "Where it is served: `address:port` or `unix:/path`, or a list of them. Required.",
        ).on_restart() => needed("a status page needs `listen`, such as 127.0.0.1:9311", places);
        /// The names under which it is shown.
        pub hosts: Vec<String> = Setting::nested(
            "hosts",
            "[]",
            "Host names under which it is shown, beside addresses and `localhost`: those of a reverse proxy in front of it. \
             Without them requests that a proxy has passed on are refused.",
        ).on_restart() => value(hosts);
        /// Whether other hosts may reach it.
        pub beyond_loopback: bool = Setting::nested(
            "beyond_loopback",
            "no",
            "`yes`: `listen` may have addresses that other hosts reach. Whoever reaches them reads the page, which has no \
             password and no TLS.",
        ).on_restart() => value(read::boolean);
    }
    after Options::check;
}

/// At least one place.
fn places(node: &Node) -> Result<Vec<Listen>, Problem> {
    read::filled_list(node, "the page would be nowhere", Listen::read)
}

fn hosts(node: &Node) -> Result<Vec<String>, Problem> {
    read::list(node, read::host_name)
}

impl Options {
    fn check(self, fields: &mut Fields) -> Option<Self> {
        let Some(far) = self.listen.iter().find(|listen| !listen.is_local()) else { return Some(self) };
        let place = fields.place("listen")?;
        if self.beyond_loopback {
            let message = format!(
                "every client that reaches {far} reads the status page: the names of roles, sources and callers, and their \
                 troubles. It has no password and no TLS"
            );
            fields.warnings.push(Problem::new(place, message));
            return Some(self);
        }
        let message = format!(
            "other hosts could read the status page at {far}, which has no password: listen at 127.0.0.1 or at a Unix socket, \
             or say that it is meant: `beyond_loopback: yes`"
        );
        fields.problems.push(Problem::new(place, message));
        None
    }

    /// The Unix sockets.
    pub fn sockets(&self) -> impl Iterator<Item = PathBuf> + '_ {
        self.listen.iter().filter_map(|listen| listen.socket().map(Into::into))
    }

    /// Adds what the process needs of the system, beside the sockets that it has when it is confined.
    pub fn needs(&self, needs: &mut Needs) {
        for socket in self.sockets() {
            if let Some(directory) = socket.parent() {
                needs.add(Need::Write(directory.to_owned()), "status_page");
            }
        }
    }
}

/// What a person opens in a browser, or what else to do with a place.
pub fn urls(places: &[Listen]) -> Vec<String> {
    let url = |place: &Listen| match place {
        Listen::Tcp(address) => format!("http://{address}/"),
        Listen::Unix(_) => place.to_string(),
    };
    places.iter().map(url).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{Keys, load};

    fn read(text: &str) -> Result<(Options, String), String> {
        let tree = load::tree(vec![("a.yaml".into(), text.to_owned())]).expect("YAML");
        let mut fields = Fields::of_document(tree, Options::SETTINGS);
        fields.refuse_unknown();
        let options = Options::read(&mut fields);
        let told = |problems: &[Problem]| problems.iter().map(ToString::to_string).collect::<String>();
        options.map(|options| (options, told(&fields.warnings))).ok_or_else(|| told(&fields.problems))
    }

    #[test]
    fn it_is_for_this_host_unless_it_is_said_that_others_are_meant() {
        let (options, warnings) = read("listen: ['127.0.0.1:1', '[::1]:1', 'unix:/run/x.sock']").expect("legal");
        assert_eq!((options.listen.len(), warnings.as_str()), (3, ""));
        assert_eq!(options.sockets().collect::<Vec<_>>(), [PathBuf::from("/run/x.sock")]);
        assert_eq!(urls(&options.listen), ["http://127.0.0.1:1/", "http://[::1]:1/", "unix:/run/x.sock"]);
        for far in ["0.0.0.0:9311", "'[::]:9311'", "192.0.2.1:9311", "'[::ffff:192.0.2.1]:1'"] {
            let problem = read(&format!("listen: {far}")).expect_err(far);
            assert!(problem.contains("a.yaml:1:1") && problem.contains("`beyond_loopback: yes`"), "{problem}");
            let (_, warning) = read(&format!("listen: {far}\nbeyond_loopback: yes")).expect(far);
            assert!(warning.contains("has no password"), "{warning}");
        }
        for (text, problem) in [
            ("hosts: x", "such as 127.0.0.1:9311"),
            ("listen: []", "nowhere"),
            ("listen: 9311", "address:port"),
            ("listen: 127.0.0.1:1\nhosts: 'a b'", "a host name"),
        ] {
            let problems = read(text).expect_err(text);
            assert!(problems.contains(problem), "{problems}");
        }
    }
}
