//! The language of settings: YAML with places, tables of keys, readers that say what is wrong and where, and values as
//! YAML again. Each room reads its own settings with it.

mod comparable;
pub mod fields;
mod listen;
pub mod load;
pub mod merge;
mod named_files;
pub mod options;
pub mod problem;
pub mod read;
pub mod reference;
pub mod render;
pub mod schema;
mod shape;
pub mod table;
pub mod url;
pub mod words;
pub mod yaml;

pub use comparable::Comparable;
pub use fields::{Fields, OneKind};
pub use listen::Listen;
pub use named_files::{Content, NamedFile, NamedFiles};
pub use options::{Keys, Rendered};
pub use problem::{ConfigErrors, Problem};
pub use shape::Shape;
pub use table::{Section, Setting, TakesEffect, Topic};
pub use yaml::{Node, Value};
