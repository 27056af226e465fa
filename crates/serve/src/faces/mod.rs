//! The faces: the protocols that programs on this host speak. Each is a pure function from a request to an answer.

mod common;
pub mod ecs;
mod held;
pub mod imds;
pub mod pod_identity;
mod section;
mod view;

pub use common::{Common, Shared};
pub use held::Standing;
pub use section::{Entry, OpenError, Opened, Opening, Options, Remote, Section, Work, open_address};
pub use view::View;

use crate::http::Face;

/// The faces that are there if they have a section, in the order of the documentation. IMDS is always there.
pub static ALL: &[&Entry] = &[&ecs::ENTRY, &pod_identity::ENTRY];

/// All protocols, in the order of the metrics.
pub fn protocols() -> Vec<&'static dyn Face> {
    [imds::FACE].into_iter().chain(ALL.iter().map(|entry| entry.face)).chain([ecs::EXEC]).collect()
}

#[cfg(test)]
mod tests {
    use std::{collections::HashSet, fs, path::Path};

    use super::*;

    #[test]
    fn every_folder_with_a_section_is_in_the_list() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/faces");
        let faces = fs::read_dir(folder).expect("a folder").filter(|entry| {
            let options = entry.as_ref().expect("an entry").path().join("options.rs");
            fs::read_to_string(options).is_ok_and(|code| code.contains("static ENTRY: Entry"))
        });
        assert_eq!(faces.count(), ALL.len());
        let keys: HashSet<_> = ALL.iter().map(|entry| entry.section.key).collect();
        let names: HashSet<_> = protocols().iter().map(|face| face.name()).collect();
        assert_eq!((keys.len(), names.len()), (ALL.len(), protocols().len()));
        assert!(ALL.iter().all(|entry| entry.settings.iter().any(|setting| setting.key == "listen")));
    }
}
