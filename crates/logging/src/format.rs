//! Python's %-style log formats, `%(asctime)s`, `%(levelname)-8s`, `%(msecs)03d` …, and JSON.
//!
//! <https://docs.python.org/3/library/logging.html#logrecord-attributes>

mod json;

use std::fmt::Write;

use jiff::{Timestamp, tz::TimeZone};

use super::{fields::Fields, level::Level};

/// No field is wider: a typing error must not make lines of megabytes.
const MAX_WIDTH: usize = 1000;

/// One event, as the formats see it.
#[derive(Debug, Clone, Copy)]
pub struct Record<'a> {
    /// When.
    pub created: Timestamp,
    /// When the log was set up.
    pub started: Timestamp,
    /// How important.
    pub level: Level,
    /// Which logger: the target of the event.
    pub name: &'a str,
    /// What.
    pub message: &'a str,
    /// What it says beside that.
    pub fields: Fields<'a>,
    /// The thread's name.
    pub thread: &'a str,
    /// The source file, as far as known.
    pub path: &'a str,
    /// Its line.
    pub line: u32,
}

/// A parsed format.
#[derive(Debug, Clone, PartialEq)]
pub struct Format(Shape);

#[derive(Debug, Clone, PartialEq)]
enum Shape {
    /// Python's.
    Parts(Vec<Part>),
    /// An object of JSON.
    Json,
}

/// The word for JSON.
const JSON: &str = "json";

impl Default for Format {
    /// One that writes nothing.
    fn default() -> Self {
        Self(Shape::Parts(Vec::new()))
    }
}

#[derive(Debug, Clone, PartialEq)]
enum Part {
    Text(String),
    Field(Field),
}

#[derive(Debug, Clone, PartialEq)]
struct Field {
    attribute: Attribute,
    conversion: Conversion,
    left: bool,
    zero: bool,
    plus: bool,
    space: bool,
    width: usize,
    precision: Option<usize>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Conversion {
    Text,
    Integer,
    Float,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Attribute {
    AscTime,
    Created,
    FileName,
    FuncName,
    LevelName,
    LevelNo,
    LineNo,
    Message,
    Module,
    Msecs,
    Name,
    PathName,
    Process,
    ProcessName,
    RelativeCreated,
    Thread,
    ThreadName,
}

const ATTRIBUTES: [(&str, Attribute); 17] = [
    ("asctime", Attribute::AscTime),
    ("created", Attribute::Created),
    ("filename", Attribute::FileName),
    ("funcName", Attribute::FuncName),
    ("levelname", Attribute::LevelName),
    ("levelno", Attribute::LevelNo),
    ("lineno", Attribute::LineNo),
    ("message", Attribute::Message),
    ("module", Attribute::Module),
    ("msecs", Attribute::Msecs),
    ("name", Attribute::Name),
    ("pathname", Attribute::PathName),
    ("process", Attribute::Process),
    ("processName", Attribute::ProcessName),
    ("relativeCreated", Attribute::RelativeCreated),
    ("thread", Attribute::Thread),
    ("threadName", Attribute::ThreadName),
];

/// What is wrong with a format. Positions count characters from 1.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FormatError {
    /// A `%` without a field behind it.
    #[error("position {0}: a % begins a field such as %(message)s; a % itself is written %%")]
    Stray(usize),
    /// A field without an end.
    #[error("position {0}: this field does not end; it should look like %(message)s")]
    Unfinished(usize),
    /// No such attribute.
    #[error("position {position}: there is no attribute {name:?}; there are {}", known())]
    Unknown {
        /// Where.
        position: usize,
        /// Its name.
        name: String,
    },
    /// A conversion that Python would refuse, or that is not supported.
    #[error("position {position}: %({name}) cannot be written as {conversion:?}; use {}", if *numeric { "s, d or f" } else { "s" })]
    Conversion {
        /// Where.
        position: usize,
        /// The attribute.
        name: String,
        /// The letter.
        conversion: char,
        /// Whether it is a number.
        numeric: bool,
    },
    /// A width or precision beyond all need.
    #[error("position {0}: a width or precision of more than {MAX_WIDTH}")]
    TooWide(usize),
}

fn known() -> String {
    ATTRIBUTES.map(|(name, _)| name).join(", ")
}

impl Attribute {
    fn is_number(self) -> bool {
        use Attribute::{Created, LevelNo, LineNo, Msecs, Process, RelativeCreated, Thread};
        matches!(self, Created | LevelNo | LineNo | Msecs | Process | RelativeCreated | Thread)
    }
}

impl Format {
    /// Reads a format.
    pub fn parse(text: &str) -> Result<Self, FormatError> {
        if text == JSON {
            return Ok(Self(Shape::Json));
        }
        let characters: Vec<char> = text.chars().collect();
        let mut parts = Vec::new();
        let mut plain = String::new();
        let mut at = 0;
        while let Some(character) = characters.get(at) {
            match (character, characters.get(at + 1)) {
                ('%', Some('%')) => {
                    plain.push('%');
                    at += 2;
                }
                ('%', Some('(')) => {
                    if !plain.is_empty() {
                        parts.push(Part::Text(std::mem::take(&mut plain)));
                    }
                    let (field, next) = field(&characters, at)?;
                    parts.push(Part::Field(field));
                    at = next;
                }
                ('%', _) => return Err(FormatError::Stray(at + 1)),
                (character, _) => {
                    plain.push(*character);
                    at += 1;
                }
            }
        }
        if !plain.is_empty() {
            parts.push(Part::Text(plain));
        }
        Ok(Self(Shape::Parts(parts)))
    }

    /// Appends a record to `line`, without a line end.
    pub fn render(&self, record: &Record, line: &mut String) {
        let Shape::Parts(parts) = &self.0 else { return json::render(record, line) };
        for part in parts {
            match part {
                Part::Text(text) => line.push_str(text),
                Part::Field(field) => field.render(record, line),
            }
        }
    }
}

/// The field that begins at `start` and the position behind it.
fn field(characters: &[char], start: usize) -> Result<(Field, usize), FormatError> {
    let position = start + 1;
    let unfinished = || FormatError::Unfinished(position);
    let name_start = start + 2;
    let length = characters.iter().skip(name_start).position(|c| *c == ')').ok_or_else(unfinished)?;
    let name: String = characters.iter().skip(name_start).take(length).collect();
    let found = ATTRIBUTES.iter().find(|(known, _)| *known == name);
    let Some((_, attribute)) = found else { return Err(FormatError::Unknown { position, name }) };
    let mut at = name_start + length + 1;
    let mut field = Field {
        attribute: *attribute,
        conversion: Conversion::Text,
        left: false,
        zero: false,
        plus: false,
        space: false,
        width: 0,
        precision: None,
    };
    while let Some(flag) = characters.get(at) {
        match flag {
            '-' => field.left = true,
            '0' => field.zero = true,
            '+' => field.plus = true,
            ' ' => field.space = true,
            '#' => {}
            _ => break,
        }
        at += 1;
    }
    let number = |at: &mut usize| {
        let digits: String = characters.iter().skip(*at).take_while(|c| c.is_ascii_digit()).collect();
        *at += digits.len();
        match digits.parse().unwrap_or(if digits.is_empty() { 0 } else { usize::MAX }) {
            width if width > MAX_WIDTH => Err(FormatError::TooWide(position)),
            width => Ok(width),
        }
    };
    field.width = number(&mut at)?;
    if characters.get(at) == Some(&'.') {
        at += 1;
        field.precision = Some(number(&mut at)?);
    }
    let conversion = *characters.get(at).ok_or_else(unfinished)?;
    field.conversion = match conversion {
        's' => Conversion::Text,
        'd' | 'i' | 'u' if attribute.is_number() => Conversion::Integer,
        'f' | 'F' if attribute.is_number() => Conversion::Float,
        _ => return Err(FormatError::Conversion { position, name, conversion, numeric: attribute.is_number() }),
    };
    Ok((field, at + 1))
}

impl Field {
    fn render(&self, record: &Record, line: &mut String) {
        let start = line.len();
        // Writing to a String cannot fail.
        let _infallible = match self.conversion {
            Conversion::Text => self.attribute.write(record, line),
            Conversion::Integer => {
                let number = self.attribute.number(record);
                #[allow(clippy::cast_possible_truncation, reason = "Python's %d truncates")]
                let whole = number.trunc() as i64;
                write!(line, "{}{whole:0>1$}", self.sign(number), self.precision.unwrap_or(0))
            }
            Conversion::Float => {
                let number = self.attribute.number(record);
                write!(line, "{}{number:.*}", self.sign(number), self.precision.unwrap_or(6))
            }
        };
        if let (Conversion::Text, Some(precision)) = (self.conversion, self.precision)
            && let Some((cut, _)) = line[start..].char_indices().nth(precision)
        {
            line.truncate(start + cut);
        }
        if self.width == 0 {
            return;
        }
        let missing = self.width.saturating_sub(line[start..].chars().count());
        if self.left {
            line.extend(std::iter::repeat_n(' ', missing));
        } else if missing > 0 {
            let zero = self.zero && self.conversion != Conversion::Text;
            let sign = usize::from(zero && line[start..].starts_with(['+', ' ', '-']));
            line.insert_str(start + sign, &if zero { "0" } else { " " }.repeat(missing));
        }
    }

    fn sign(&self, number: f64) -> &'static str {
        match number {
            number if number < 0.0 => "",
            _ if self.plus => "+",
            _ if self.space => " ",
            _ => "",
        }
    }
}

/// How many milliseconds of its second have passed.
fn milliseconds(moment: Timestamp) -> i32 {
    moment.subsec_millisecond()
}

impl Attribute {
    #[allow(clippy::cast_precision_loss, reason = "Python has floats here")]
    fn number(self, record: &Record) -> f64 {
        match self {
            Self::Created => record.created.as_microsecond() as f64 / 1e6,
            Self::LevelNo => f64::from(record.level.number()),
            Self::LineNo => f64::from(record.line),
            Self::Msecs => f64::from(milliseconds(record.created)),
            Self::Process => f64::from(std::process::id()),
            Self::RelativeCreated => (record.created.as_microsecond() - record.started.as_microsecond()) as f64 / 1e3,
            // Its only use is to distinguish threads.
            Self::Thread => rustix::thread::gettid().as_raw_nonzero().get().into(),
            _ => 0.0,
        }
    }

    fn write(self, record: &Record, line: &mut String) -> std::fmt::Result {
        let file = || record.path.rsplit('/').next().unwrap_or(record.path);
        match self {
            Self::AscTime => write_asctime(record.created, line),
            Self::FileName => line.write_str(file()),
            Self::Module => line.write_str(file().strip_suffix(".rs").unwrap_or(file())),
            Self::FuncName => line.write_str(record.name),
            Self::LevelName => line.write_str(record.level.name()),
            Self::Message => line.write_str(record.message),
            Self::Name => line.write_str(record.name),
            Self::PathName => line.write_str(record.path),
            Self::ProcessName => line.write_str("MainProcess"),
            Self::ThreadName => line.write_str(record.thread),
            Self::Created | Self::Msecs | Self::RelativeCreated => write!(line, "{:?}", self.number(record)),
            Self::LevelNo | Self::LineNo | Self::Process | Self::Thread => write!(line, "{}", self.number(record)),
        }
    }
}

/// Local time as Python writes it: `2026-11-23 10:00:00,123`. The text of a second is kept: request
/// logs write many lines in each.
fn write_asctime(moment: Timestamp, line: &mut String) -> std::fmt::Result {
    thread_local! {
        static SECOND: std::cell::RefCell<(i64, String)> = const { std::cell::RefCell::new((i64::MIN, String::new())) };
    }
    SECOND.with_borrow_mut(|(second, text)| {
        if *second != moment.as_second() {
            *second = moment.as_second();
            *text = moment.to_zoned_datetime(TimeZone::system()).strftime("%Y-%m-%d %H:%M:%S").to_string();
        }
        write!(line, "{text},{:03}", milliseconds(moment))
    })
}

#[cfg(test)]
mod tests;
