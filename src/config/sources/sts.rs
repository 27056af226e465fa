//! `kind: sts`: how `AssumeRole` is called, for roles that name it in `via`.

use super::{Aws, Kind, SourceKind, aws};

pub(in crate::config) const KIND: Kind = Kind {
    word: "sts",
    settings: &aws::SETTINGS,
    read: |fields| Aws::read(fields).map(|aws| SourceKind::Sts(Box::new(aws))),
};
