//! The directory as replicas share it: two objects on one directory stand for two of them.

use std::{
    cell::Cell,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
};

use tempfile::TempDir;

use super::*;
use crate::approvals::{Answer, Person, Request, State, Word};

struct Place {
    directory: TempDir,
    now: Cell<Moment>,
}

impl Place {
    fn new() -> Self {
        let directory = TempDir::new().expect("a directory");
        fs::create_dir(directory.path().join("records")).expect("ours");
        fs::write(directory.path().join("key"), "0f".repeat(32) + "\n").expect("ours");
        let wall = "2026-11-23T10:00:00Z".parse().expect("a time");
        Self { directory, now: Cell::new(Moment { wall, boot: BootTime::ZERO }) }
    }

    fn records(&self) -> PathBuf {
        self.directory.path().join("records")
    }

    fn replica(&self) -> RecordFiles {
        let options = Options { directory: self.records(), key_file: self.directory.path().join("key") };
        RecordFiles::open(&options).expect("it opens")
    }

    fn now(&self) -> Moment {
        self.now.get()
    }

    fn pass(&self, time: Duration) {
        let Moment { wall, boot } = self.now();
        self.now.set(Moment { wall: wall + time, boot: boot + time });
    }

    fn request(&self) -> Request {
        Request {
            id: new_id().expect("random"),
            at: self.now().wall,
            by: person("alice"),
            rule: "r".to_owned(),
            account: "shop".to_owned(),
            role: "admin".to_owned(),
            arn: "arn:aws:iam::111111111111:role/admin".to_owned(),
            reason: "the reason".to_owned(),
        }
    }

    fn answer(&self, request: &Request, word: Word) -> Answer {
        let at = self.now().wall;
        let until = at + jiff::SignedDuration::from_hours(1);
        Answer { id: request.id.clone(), at, by: person("bob"), word, until, note: None }
    }
}

fn person(name: &str) -> Person {
    Person { name: name.to_owned(), names: vec![name.to_owned()], proven_by: "sso".to_owned() }
}

#[test]
fn what_one_replica_writes_the_others_read_and_only_one_answers() {
    let place = Place::new();
    let (one, two) = (place.replica(), place.replica());
    let request = place.request();
    one.add(&request).expect("written");
    let state = |replica: &RecordFiles| {
        let ledger = replica.read(place.now(), Duration::ZERO).expect("readable");
        assert_eq!(ledger.faults, []);
        ledger.entries[&request.id].state(place.now().wall)
    };
    assert_eq!((state(&one), state(&two)), (State::Open, State::Open));
    two.add(&place.answer(&request, Word::Approved)).expect("written");
    let late = one.add(&place.answer(&request, Word::Refused));
    assert!(matches!(late, Err(FilesError::Exists)), "{late:?}");
    assert_eq!((state(&one), state(&two)), (State::Approved, State::Approved));
    one.revoke(&place.answer(&request, Word::Revoked)).expect("written");
    assert_eq!((state(&two), state(&place.replica())), (State::Revoked, State::Revoked));
    // Where it was revoked it stays so, whatever is put in its place meanwhile.
    fs::remove_file(place.records().join(format!("{}.answer", request.id.as_str()))).expect("there");
    two.add(&place.answer(&request, Word::Approved)).expect("written");
    let put_back = one.read(place.now(), Duration::ZERO).expect("readable");
    assert_eq!((put_back.entries[&request.id].state(place.now().wall), put_back.faults.len()), (State::Revoked, 1));
    // Two files, that nobody else reads.
    let files: Vec<_> = fs::read_dir(place.records()).expect("ours").flatten().collect();
    assert_eq!(files.len(), 2);
    for file in files {
        assert_eq!(file.metadata().expect("there").permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn what_was_read_is_believed_for_a_second_and_no_longer() {
    let place = Place::new();
    let (one, two) = (place.replica(), place.replica());
    let seen = || one.read(place.now(), RECENT).expect("readable").entries.len();
    assert_eq!(seen(), 0);
    two.add(&place.request()).expect("written");
    assert_eq!(seen(), 0);
    place.pass(RECENT);
    assert!(one.recent(place.now(), RECENT).is_none());
    assert_eq!(seen(), 1);
    one.add(&place.request()).expect("written");
    assert_eq!(seen(), 2, "its own is seen at once");
}

#[test]
fn what_is_no_record_is_reported_and_neither_followed_nor_waited_for() {
    let place = Place::new();
    let replica = place.replica();
    let request = place.request();
    replica.add(&request).expect("written");
    let path = |name: &str| place.records().join(name);
    symlink(path(&request.file_name()), path("0000000000000001.request")).expect("ours");
    let made = std::process::Command::new("mkfifo").arg(path("0000000000000002.request")).status();
    assert!(made.expect("mkfifo").success());
    fs::create_dir(path("0000000000000003.answer")).expect("ours");
    fs::write(path("0000000000000004.answer"), vec![b'x'; MAX_FILE + 1]).expect("ours");
    fs::write(path(".new-5"), "unfinished").expect("ours");
    let ledger = replica.read(place.now(), Duration::ZERO).expect("readable");
    assert_eq!((ledger.entries.len(), ledger.faults.len()), (1, 4), "{ledger:?}");
    replica.read(place.now(), Duration::ZERO).expect("readable");
    let mut page = Page::default();
    replica.render(&mut page);
    let metrics = page.finish();
    assert!(metrics.contains("alppaca_ims_approval_files_ignored_total 4\n"), "each once: {metrics}");
}

#[tokio::test]
async fn a_file_system_that_does_not_answer_holds_one_thread_and_no_client() {
    let place = Place::new();
    let replica = Arc::new(place.replica());
    let (hang, until) = std::sync::mpsc::channel::<()>();
    let hanging = replica.apart(move |_| {
        // An error says that the test is over.
        let _over = until.recv();
        Ok(())
    });
    let reads =
        || replica.apart(|replica| replica.read(Moment { wall: Timestamp::UNIX_EPOCH, boot: BootTime::ZERO }, RECENT));
    let (hung, read) = tokio::join!(hanging, reads());
    assert!(hung.is_err_and(|error| error.to_string().contains("does not answer")));
    assert!(read.is_err() && replica.recent(place.now(), RECENT).is_none(), "and what is in memory is not locked");
    drop(hang);
    assert!(reads().await.is_ok(), "it goes on when it answers");
}

#[test]
fn old_records_and_what_a_crash_left_are_removed() {
    let place = Place::new();
    let replica = place.replica();
    let (old, new) = (place.request(), place.request());
    replica.add(&old).expect("written");
    replica.add(&place.answer(&old, Word::Refused)).expect("written");
    fs::write(place.records().join(".new-0"), "unfinished").expect("ours");
    place.pass(Duration::from_hours(25));
    replica.add(&Request { at: place.now().wall, ..new.clone() }).expect("written");
    let ledger = replica.read(place.now(), Duration::ZERO).expect("readable");
    replica.clean(&ledger, place.now().wall);
    let left =
        || fs::read_dir(place.records()).expect("ours").flatten().map(|file| file.file_name()).collect::<Vec<_>>();
    assert_eq!(
        replica.read(place.now(), Duration::ZERO).expect("readable").entries.keys().collect::<Vec<_>>(),
        [&new.id]
    );
    replica.clean(&Ledger::default(), Timestamp::MAX);
    assert_eq!(left(), [std::ffi::OsString::from(new.file_name())]);
}

#[test]
fn without_a_key_or_a_directory_there_is_a_clear_word() {
    let place = Place::new();
    let options = Options { directory: place.records(), key_file: place.directory.path().join("key") };
    for text in ["", "0f", &"0f".repeat(33), &"zz".repeat(32)] {
        fs::write(&options.key_file, text).expect("ours");
        let error = RecordFiles::open(&options).expect_err("no key").to_string();
        assert!(error.contains("openssl rand -hex 32") && !error.contains("0f0f"), "{error}");
    }
    fs::write(&options.key_file, "0f".repeat(32)).expect("ours");
    // Another key, as after a reload: what the old one signed does not count.
    let replica = place.replica();
    replica.add(&place.request()).expect("written");
    let faults = || replica.read(place.now(), Duration::ZERO).expect("readable").faults.len();
    assert_eq!(faults(), 0);
    fs::write(&options.key_file, "f0".repeat(32)).expect("ours");
    replica.reload().expect("a key");
    assert_eq!(faults(), 1);
    let gone = Options { directory: place.records().join("gone"), ..options };
    let error = RecordFiles::open(&gone).expect_err("no directory").to_string();
    assert!(error.starts_with("approvals: /") && error.contains("gone: No such file"), "{error}");
}
