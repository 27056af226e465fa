//! Files of variables, as Docker (`--env-file`), systemd (`EnvironmentFile=`) and shells write them.

use std::collections::BTreeMap;

/// What cannot be read. It quotes nothing: values may be secret.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("line {0}: NAME=value is expected here")]
pub struct EnvFileError(usize);

/// Reads the variables: one `NAME=value` a line, with `export` or without, the value in quotes or not; `#` begins a
/// comment line. The last of several counts.
pub fn parse(text: &str) -> Result<BTreeMap<String, String>, EnvFileError> {
    let mut variables = BTreeMap::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') || line.starts_with(';') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line).trim_start();
        let wrong = EnvFileError(number + 1);
        let (name, value) = line.split_once('=').ok_or(wrong)?;
        let legal = |c: char| c.is_ascii_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(legal) {
            return Err(wrong);
        }
        variables.insert(name.to_owned(), unquoted(value.trim()).to_owned());
    }
    Ok(variables)
}

/// Without the quotes around it. What stands between them is taken as it is.
fn unquoted(value: &str) -> &str {
    ['"', '\''].iter().find_map(|quote| value.strip_prefix(*quote)?.strip_suffix(*quote)).unwrap_or(value)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_docker_systemd_and_shells_are_read() {
        let text = "# comment\nA=1\nexport B='x y'\n\n C = \"{\"a\": \"1\"}\" \nD=\nA=2\nE=a=b\n";
        let text = text.replace(" C = ", " C=");
        let read = parse(&text).expect("legal");
        let expected = [("A", "2"), ("B", "x y"), ("C", "{\"a\": \"1\"}"), ("D", ""), ("E", "a=b")];
        assert_eq!(read, expected.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
    }

    #[test]
    fn what_is_no_variable_is_told_by_its_line() {
        for text in ["A=1\nhush", "A=1\n=hush", "A=1\nA B=hush"] {
            let said = parse(text).expect_err(text).to_string();
            assert!(said.starts_with("line 2: ") && !said.contains("hush"), "{said}");
        }
    }
}
