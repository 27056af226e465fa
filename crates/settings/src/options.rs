//! Options declared together with the table of their keys: one entry per key says its place in the struct, its row of
//! the table, how it is read, and (by its type) how it is written.

use crate::{Fields, Setting};

/// Options as entries of a mapping. [`options!`](crate::options!) implements it; by hand it is written where one field
/// follows from several keys.
pub trait Keys: Rendered + Sized {
    /// The table of the keys.
    const SETTINGS: &'static [Setting];

    /// Reads them. All that is wrong is noted, and then there are none.
    fn read(fields: &mut Fields) -> Option<Self>;
}

/// What can be written as entries of a mapping.
pub trait Rendered {
    /// The keys that are set, with their values as YAML, secrets as `***`.
    fn render(&self) -> Vec<(&'static str, String)>;
}

/// Declares a struct and implements [`Keys`] for it. An entry is one of
///
/// - `field: Type = row => reader(arguments);` for a key. The row is a [`Setting`]; the reader is a method of [`Fields`],
///   which gets the key and then the arguments. The value is written by its type ([`AsYaml`](crate::render::AsYaml)),
///   or by `as function`, which returns `None` to leave the key out.
/// - `field: Type;` for several keys, which are those of the type ([`Keys`]).
///
/// After the struct, `before function;` is called with the [`Fields`] first, for what keys mean to each other
/// ([`exclude`](Fields::exclude), [`pair`](Fields::pair)), and `after function;` with what was read and the fields, to
/// check it.
#[macro_export]
macro_rules! options {
    (
        $(#[$attribute:meta])*
        $visibility:vis struct $name:ident { $(
            $(#[$about:meta])*
            $seen:vis $field:ident: $type:ty
                $(= $row:expr => $reader:ident($($argument:expr),* $(,)?) $(as $written:path)?)?;
        )* }
        $(before $before:path;)?
        $(after $after:path;)?
    ) => {
        $(#[$attribute])*
        $visibility struct $name { $($(#[$about])* $seen $field: $type,)* }

        impl $crate::options::Keys for $name {
            const SETTINGS: &'static [$crate::Setting] = {
                const PARTS: &[&[$crate::Setting]] = &[$($crate::options!(@rows $type $(, $row)?)),*];
                &$crate::table::join::<{ $crate::table::count(PARTS) }>(PARTS)
            };

            fn read(fields: &mut $crate::Fields) -> Option<Self> {
                $($before(fields);)?
                // Each is read before the first that is wrong ends it.
                $(let $field = $crate::options!(@read fields, $type $(, $row, $reader $(, $argument)*)?);)*
                let read = Self { $($field: $field?),* };
                $(let read = $after(read, fields)?;)?
                Some(read)
            }
        }

        impl $crate::options::Rendered for $name {
            fn render(&self) -> Vec<(&'static str, String)> {
                let mut all = Vec::new();
                $(all.extend($crate::options!(@render &self.$field $(, $row $(, $written)?)?));)*
                all
            }
        }
    };
    (@rows $type:ty) => { <$type as $crate::options::Keys>::SETTINGS };
    (@rows $type:ty, $row:expr) => { &[$row] };
    (@read $fields:ident, $type:ty) => { <$type as $crate::options::Keys>::read($fields) };
    (@read $fields:ident, $type:ty, $row:expr, $reader:ident $(, $argument:expr)*) => {
        $fields.$reader($row.key $(, $argument)*)
    };
    (@render $value:expr) => { $crate::options::Rendered::render($value) };
    (@render $value:expr, $row:expr) => { $crate::options!(@render $value, $row, $crate::render::AsYaml::as_yaml) };
    (@render $value:expr, $row:expr, $written:path) => { $written($value).map(|value| ($row.key, value)) };
}

#[cfg(test)]
mod tests;
