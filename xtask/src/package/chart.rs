//! The Helm chart, as `helm package` makes it, but of the same bytes each time.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::{Release, formats, work};
use crate::shell;

/// The name of the chart, and of the folder in the archive.
const NAME: &str = "alppaca";
/// Where the numbers of the chart and of the program stand.
const DESCRIPTION: &str = "Chart.yaml";

/// Packs the chart, with the version of the workspace.
pub(super) fn make(release: &Release) -> Result<String> {
    pack(&shell::root().join("packaging/helm").join(NAME), release)
}

fn pack(chart: &Path, release: &Release) -> Result<String> {
    let folder = work("chart", release)?;
    for file in formats::entries(chart)? {
        let copy = folder.join(NAME).join(&file);
        fs::create_dir_all(copy.parent().context("it is in a folder")?)?;
        let text = fs::read_to_string(chart.join(&file)).with_context(|| file.display().to_string())?;
        let is_description = file == Path::new(DESCRIPTION);
        fs::write(copy, if is_description { numbered(&text, &release.version)? } else { text })?;
    }
    let made = release.out.join(format!("{NAME}-{}.tgz", release.version));
    // Whatever the file system keeps of modes.
    formats::archive(&folder, NAME, &["--mode=0644"], &made, release)?;
    formats::name(&made)
}

/// The description with this version of both.
fn numbered(text: &str, version: &str) -> Result<String> {
    let keys = ["version: ", "appVersion: "];
    let key = |line: &str| keys.into_iter().find(|key| line.starts_with(key));
    ensure!(text.lines().filter_map(key).eq(keys), "{DESCRIPTION} has other keys than {keys:?}");
    let line = |line: &str| key(line).map_or_else(|| format!("{line}\n"), |key| format!("{key}{version}\n"));
    Ok(text.lines().map(line).collect())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::path::PathBuf;
    use std::process::Command;

    use tempfile::TempDir;

    use super::*;

    fn release(folder: &TempDir) -> Release {
        let out = folder.path().to_owned();
        Release { out, version: "7.8.9".to_owned(), epoch: "1764288000".to_owned(), revision: None }
    }

    fn packed(change: impl FnOnce(&Path)) -> (TempDir, PathBuf) {
        let folder = TempDir::new().expect("a folder");
        let chart = folder.path().join("elsewhere");
        let original = shell::root().join("packaging/helm").join(NAME);
        shell::run(Command::new("cp").arg("-r").arg(original).arg(&chart)).expect("a copy");
        change(&chart);
        let name = pack(&chart, &release(&folder)).expect("a chart");
        assert_eq!(name, "alppaca-7.8.9.tgz");
        let made = folder.path().join(name);
        (folder, made)
    }

    #[test]
    fn the_chart_is_packed_with_the_version_of_the_program_and_the_same_bytes() {
        let (_first, one) = packed(|_| {});
        let (_second, other) = packed(|chart| {
            fs::set_permissions(chart.join("values.yaml"), fs::Permissions::from_mode(0o600)).expect("ours");
            shell::run(Command::new("touch").args(["-d", "@0"]).arg(chart.join("Chart.yaml"))).expect("touched");
        });
        assert_eq!(fs::read(&one).expect("read"), fs::read(&other).expect("read"));
        let tar =
            |arguments: &[&str]| shell::output(Command::new("tar").args(arguments).arg("-f").arg(&one)).expect("tar");
        let list = tar(&["-tz"]);
        assert!(list.lines().all(|name| name.starts_with("alppaca/")), "{list}");
        for file in ["Chart.yaml", "values.schema.json", "templates/_helpers.tpl"] {
            assert!(list.lines().any(|name| name == format!("alppaca/{file}")), "{file}: {list}");
        }
        let text = shell::output(Command::new("tar").arg("-xzOf").arg(&one).arg("alppaca/Chart.yaml")).expect("tar");
        assert!(text.contains("\nversion: 7.8.9\nappVersion: 7.8.9\n"), "{text}");
        assert!(text.contains("\nkubeVersion: "), "{text}");
    }

    #[test]
    fn a_description_without_these_keys_is_no_chart_of_a_release() {
        assert!(numbered("name: alppaca\nversion: 1\n", "2").is_err());
        assert_eq!(numbered("version: 1\nappVersion: 1\n", "2").expect("both"), "version: 2\nappVersion: 2\n");
    }
}
