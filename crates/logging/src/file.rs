//! Log files: plain, watched (logrotate), rotated by size, rotated by time.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::Duration,
};

use jiff::{Timestamp, ToSpan, ZonedDateTime, tz::TimeZone};

use super::sink::{Batch, Failure, Sink, write_most};
use crate::{
    clock::until,
    needs::{Need, Needs},
};

/// Readable for a group that watches logs, writable for us.
const MODE: u32 = 0o640;

/// When a new file is begun.
#[derive(Debug, Clone)]
pub(super) enum Rotation {
    /// Never, neither by us nor by another program.
    None,
    /// By another program (logrotate): the file is opened again when it was replaced.
    Watched,
    /// Before it would be `limit` bytes long. As in Python never if either is 0.
    Size { limit: u64, backups: u64 },
    /// At certain times. All old files are kept if `backups` is 0.
    Time { schedule: Daily, backups: u64 },
}

/// The `when` of a `TimedRotatingFileHandler`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum When {
    Every(Duration, &'static str),
    Midnight,
    /// 0 is Monday.
    Weekday(i8),
}

/// When a file is over, and what its old name gets as an ending.
#[derive(Debug, Clone)]
pub(super) struct Daily {
    when: When,
    interval: Duration,
    zone: TimeZone,
}

impl When {
    pub(super) fn parse(text: &str) -> Option<Self> {
        Some(match text.to_uppercase().as_str() {
            "S" => Self::Every(Duration::from_secs(1), "%Y-%m-%d_%H-%M-%S"),
            "M" => Self::Every(Duration::from_mins(1), "%Y-%m-%d_%H-%M"),
            "H" => Self::Every(Duration::from_hours(1), "%Y-%m-%d_%H"),
            "D" => Self::Every(Duration::from_hours(24), "%Y-%m-%d"),
            "MIDNIGHT" => Self::Midnight,
            text => {
                let day = text.strip_prefix('W')?.parse().ok().filter(|day| (0..=6).contains(day))?;
                Self::Weekday(day)
            }
        })
    }
}

impl Daily {
    pub(super) fn new(when: When, interval: u64, utc: bool) -> Option<Self> {
        let unit = match when {
            When::Every(unit, _) => unit,
            When::Midnight => Duration::from_hours(24),
            When::Weekday(_) => Duration::from_hours(7 * 24),
        };
        let interval = unit.checked_mul(u32::try_from(interval).ok()?)?;
        let sane = Duration::from_secs(1)..Duration::from_hours(10 * 366 * 24);
        let zone = if utc { TimeZone::UTC } else { TimeZone::system() };
        sane.contains(&interval).then_some(Self { when, interval, zone })
    }

    /// When a file that was begun at `start` is over.
    fn end(&self, start: Timestamp) -> Timestamp {
        let midnight = |start: ZonedDateTime| start.tomorrow().and_then(|day| day.start_of_day());
        let end = match self.when {
            When::Every(..) => return start + self.interval,
            When::Midnight => midnight(start.to_zoned_datetime(self.zone.clone())),
            When::Weekday(day) => {
                let today = start.to_zoned_datetime(self.zone.clone());
                let days = (day - today.weekday().to_monday_zero_offset()).rem_euclid(7);
                today.checked_add(i64::from(days).days()).and_then(midnight)
            }
        };
        // Only a clock near the year 9999 has no next midnight.
        end.map_or(start + self.interval, |end| end.timestamp())
    }

    /// What is added to the name of a file that was over at `end`: the time it began.
    fn suffix(&self, end: Timestamp) -> String {
        let format = match self.when {
            When::Every(_, format) => format,
            When::Midnight | When::Weekday(_) => "%Y-%m-%d",
        };
        (end - self.interval).to_zoned_datetime(self.zone.clone()).strftime(format).to_string()
    }
}

/// A log file.
pub(super) struct FileSink {
    path: PathBuf,
    rotation: Rotation,
    file: Option<File>,
    /// For a rotation by time.
    end: Option<Timestamp>,
}

impl FileSink {
    pub(super) fn new(path: PathBuf, rotation: Rotation) -> Self {
        Self { path, rotation, file: None, end: None }
    }

    /// Opened for appending: after a copytruncate we go on at the new end.
    fn opened(&mut self) -> io::Result<&mut File> {
        if self.file.is_none() {
            self.file = Some(OpenOptions::new().append(true).create(true).mode(MODE).open(&self.path)?);
        }
        self.file.as_mut().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Whether the name still belongs to the file that is open.
    fn is_still_there(&self) -> bool {
        let same = |file: &File| {
            let (open, named) = (file.metadata()?, fs::metadata(&self.path)?);
            Ok::<_, io::Error>((open.dev(), open.ino()) == (named.dev(), named.ino()))
        };
        self.file.as_ref().is_some_and(|file| same(file).unwrap_or(false))
    }

    /// Appends whole records. Nothing is left of one that was begun when the disk was full: the next one would be
    /// written behind it on the same line.
    fn append(&mut self, batch: &Batch) -> Result<(), Failure> {
        let file = self.opened()?;
        let (bytes, result) = write_most(file, &batch.bytes);
        result.map_err(|error| {
            let (written, whole) = batch.whole(bytes);
            let torn = (bytes - whole) as u64;
            let cut = |length: u64| length.checked_sub(torn).map_or(Ok(()), |length| file.set_len(length));
            if torn > 0
                && let Err(also) = file.metadata().and_then(|metadata| cut(metadata.len()))
            {
                let error = io::Error::other(format!("{error}; the last line is not whole: {also}"));
                return Failure { written, error };
            }
            Failure { written, error }
        })
    }

    fn write_by_size(&mut self, batch: &Batch, limit: u64, backups: u64) -> Result<(), Failure> {
        for (written, record) in batch.records().enumerate() {
            let begun = self.begin_by_size(record.len() as u64, limit, backups);
            let mut one = Batch::default();
            one.push_bytes(record);
            begun
                .map_err(Failure::from)
                .and_then(|()| self.append(&one))
                .map_err(|failure| Failure { written, ..failure })?;
        }
        Ok(())
    }

    fn begin_by_size(&mut self, more: u64, limit: u64, backups: u64) -> io::Result<()> {
        let length = self.opened()?.metadata()?.len();
        if length > 0 && length + more >= limit {
            self.file = None;
            for number in (1..backups).rev() {
                rename(&numbered(&self.path, number), &numbered(&self.path, number + 1))?;
            }
            rename(&self.path, &numbered(&self.path, 1))?;
        }
        Ok(())
    }

    fn rotate_by_time(&mut self, schedule: &Daily, backups: u64, now: Timestamp) -> io::Result<()> {
        let end = match self.end {
            Some(end) => end,
            // A file of an earlier run is over when it would have been then.
            None => {
                let begun = fs::metadata(&self.path).and_then(|metadata| metadata.modified());
                let begun = begun.ok().and_then(|time| Timestamp::try_from(time).ok()).unwrap_or(now);
                schedule.end(begun)
            }
        };
        self.end = Some(end);
        if until(end, now) > Duration::ZERO {
            return Ok(());
        }
        self.file = None;
        rename(&self.path, &with_ending(&self.path, &schedule.suffix(end)))?;
        let mut next = schedule.end(end);
        if next <= now {
            next = schedule.end(now);
        }
        self.end = Some(next);
        if backups > 0 { delete_old(&self.path, backups, schedule.suffix(end).len()) } else { Ok(()) }
    }
}

fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(ending);
    name.into()
}

fn numbered(path: &Path, number: u64) -> PathBuf {
    with_ending(path, &number.to_string())
}

/// Renames; a file that is not there is none to rename.
fn rename(from: &Path, to: &Path) -> io::Result<()> {
    match fs::rename(from, to) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        renamed => renamed,
    }
}

/// Deletes the oldest files that only differ from `path` by an ending like ours.
fn delete_old(path: &Path, backups: u64, length: usize) -> io::Result<()> {
    let directory = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let Some(name) = path.file_name().and_then(|name| name.to_str()) else { return Ok(()) };
    let mut old: Vec<PathBuf> = Vec::new();
    for entry in fs::read_dir(directory)? {
        let entry = entry?;
        let file_name = entry.file_name();
        let ending = file_name.to_str().and_then(|file| file.strip_prefix(name)?.strip_prefix('.'));
        let ours =
            |ending: &str| ending.len() == length && ending.bytes().all(|b| b.is_ascii_digit() || b"-_".contains(&b));
        if ending.is_some_and(ours) {
            old.push(entry.path());
        }
    }
    old.sort();
    let surplus = old.len().saturating_sub(usize::try_from(backups).unwrap_or(usize::MAX));
    old.iter().take(surplus).try_for_each(fs::remove_file)
}

impl Sink for FileSink {
    fn open(&mut self) -> io::Result<()> {
        self.opened().map(|_file| ())
    }

    fn write(&mut self, batch: &Batch, now: Timestamp) -> Result<(), Failure> {
        match self.rotation.clone() {
            Rotation::None => {}
            Rotation::Watched if !self.is_still_there() => self.file = None,
            Rotation::Watched => {}
            Rotation::Size { limit, backups } if limit > 0 && backups > 0 => {
                return self.write_by_size(batch, limit, backups);
            }
            Rotation::Size { .. } => {}
            Rotation::Time { schedule, backups } => self.rotate_by_time(&schedule, backups, now)?,
        }
        self.append(batch)
    }

    fn name(&self) -> String {
        self.path.display().to_string()
    }

    fn needs(&self, needs: &mut Needs) {
        let path = self.path.clone();
        let need = match &self.rotation {
            Rotation::Size { limit: 0, .. } | Rotation::Size { backups: 0, .. } | Rotation::None => Need::Append(path),
            Rotation::Watched => Need::Follow(path),
            Rotation::Size { .. } | Rotation::Time { .. } => Need::Rotate(path),
        };
        needs.add(need, "the file");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn batch(records: &[&str]) -> Batch {
        let mut batch = Batch::default();
        for record in records {
            batch.push(record);
        }
        batch
    }

    fn moment(text: &str) -> Timestamp {
        text.parse().expect("a timestamp")
    }

    fn texts(directory: &Path) -> Vec<(String, String)> {
        let mut files: Vec<_> = fs::read_dir(directory)
            .expect("a directory")
            .map(|entry| entry.expect("an entry").path())
            .map(|path| {
                (
                    path.file_name().expect("a name").to_string_lossy().into_owned(),
                    fs::read_to_string(path).expect("text"),
                )
            })
            .collect();
        files.sort();
        files
    }

    #[test]
    fn a_file_grows_up_to_its_limit_and_old_ones_are_numbered() {
        let directory = tempfile::tempdir().expect("a directory");
        let mut sink = FileSink::new(directory.path().join("log"), Rotation::Size { limit: 10, backups: 2 });
        for record in ["first\n", "2nd\n", "third\n", "fourth\n", "fifth\n"] {
            sink.write(&batch(&[record]), Timestamp::UNIX_EPOCH).expect("writable");
        }
        let expected = [("log", "fifth\n"), ("log.1", "fourth\n"), ("log.2", "third\n")];
        assert_eq!(texts(directory.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }

    #[test]
    fn a_file_is_over_at_midnight_and_only_some_are_kept() {
        let directory = tempfile::tempdir().expect("a directory");
        let schedule = Daily::new(When::Midnight, 1, true).expect("legal");
        let mut sink = FileSink::new(directory.path().join("log"), Rotation::Time { schedule, backups: 2 });
        for day in ["2026-11-20", "2026-11-21", "2026-11-22", "2026-11-23"] {
            for hour in ["01", "23"] {
                let record = format!("{day} {hour}\n");
                sink.write(&batch(&[&record]), moment(&format!("{day}T{hour}:00:00Z"))).expect("writable");
            }
        }
        let names: Vec<_> = texts(directory.path()).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["log", "log.2026-11-21", "log.2026-11-22"]);
    }

    #[test]
    fn endings_and_ends_are_pythons() {
        let start = moment("2026-11-23T10:30:15Z");
        for (when, interval, end, suffix) in [
            ("S", 30, "2026-11-23T10:30:45Z", "2026-11-23_10-30-15"),
            ("m", 5, "2026-11-23T10:35:15Z", "2026-11-23_10-30"),
            ("h", 1, "2026-11-23T11:30:15Z", "2026-11-23_10"),
            ("D", 1, "2026-11-24T10:30:15Z", "2026-11-23"),
            ("midnight", 1, "2026-11-24T00:00:00Z", "2026-11-23"),
            ("W0", 1, "2026-11-24T00:00:00Z", "2026-11-17"),
            ("W6", 1, "2026-11-30T00:00:00Z", "2026-11-23"),
        ] {
            let schedule = Daily::new(When::parse(when).expect("known"), interval, true).expect("legal");
            assert_eq!(schedule.end(start), moment(end), "{when}");
            assert_eq!(schedule.suffix(moment(end)), suffix, "{when}");
        }
        assert!(When::parse("W7").is_none() && When::parse("x").is_none());
        assert!(Daily::new(When::Midnight, 0, true).is_none());
    }

    #[test]
    fn a_watched_file_is_followed_through_rename_and_truncation() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("log");
        let mut sink = FileSink::new(path.clone(), Rotation::Watched);
        let mut write = |record: &str| sink.write(&batch(&[record]), Timestamp::UNIX_EPOCH).expect("writable");
        write("one\n");
        fs::rename(&path, directory.path().join("log.1")).expect("renamed");
        write("two\n");
        fs::write(&path, "").expect("truncated");
        write("three\n");
        let expected = [("log", "three\n"), ("log.1", "one\n")];
        assert_eq!(texts(directory.path()), expected.map(|(name, text)| (name.to_owned(), text.to_owned())));
    }
}
