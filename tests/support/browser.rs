//! A browser: curl with its cookies.

#![allow(dead_code, unreachable_pub, missing_docs, reason = "each test file uses its own part")]

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

/// A browser with its cookies.
pub struct Browser(pub PathBuf);

impl Browser {
    /// GET without a form, POST with one. Redirections are followed.
    pub fn open(&self, url: &str, form: &[(String, String)]) -> String {
        let mut command = Command::new("curl");
        command.args(["--silent", "--show-error", "--location", "--noproxy", "*", "--max-time", "30"]);
        command.arg("--cookie").arg(&self.0).arg("--cookie-jar").arg(&self.0);
        for (name, value) in form {
            command.arg("--data-urlencode").arg(format!("{name}={value}"));
        }
        let output = command.arg(url).stdin(Stdio::null()).output().expect("curl");
        assert!(output.status.success(), "{url}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).expect("text")
    }

    /// Sends the form of a page, with its hidden values and these.
    pub fn submit(&self, page: &str, values: &[(&str, &str)]) -> String {
        let form = page.split_once("<form").unwrap_or_else(|| panic!("no form: {page}")).1;
        let hidden = form.split("<input type=\"hidden\"").skip(1);
        let hidden = hidden.map(|input| (attribute(input, "name"), attribute(input, "value")));
        let values = values.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        self.open(&attribute(form, "action"), &hidden.chain(values).collect::<Vec<_>>())
    }
}

/// The first value of an attribute.
pub fn attribute(html: &str, name: &str) -> String {
    let rest = html.split_once(&format!("{name}=\"")).unwrap_or_else(|| panic!("no {name}: {html}")).1;
    rest.split_once('"').expect("its end").0.to_owned()
}
