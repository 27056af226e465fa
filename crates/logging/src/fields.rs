//! The named facts of an event beside its message: `role`, `source`, `caller_uid` …

/// The fields of an event, in the order in which it has them. Copied around as the text in which they are collected: a line
/// for each, `name=text` or `name:number`, without control characters in it.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fields<'a>(&'a str);

/// A field.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Field<'a> {
    /// Its name, in lower case.
    pub name: &'a str,
    /// What it says.
    pub value: &'a str,
    /// Whether that is a number.
    pub is_number: bool,
}

impl<'a> Fields<'a> {
    /// Those that were collected in `text`.
    pub const fn of(text: &'a str) -> Self {
        Self(text)
    }

    /// Each.
    pub fn iter(self) -> impl Iterator<Item = Field<'a>> {
        self.0.lines().filter_map(|line| {
            let (name, rest) = line.split_at(line.find(['=', ':'])?);
            Some(Field { name, value: rest.get(1..)?, is_number: rest.starts_with(':') })
        })
    }
}
