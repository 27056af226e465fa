//! A directory as the identity methods see it, and the worker that asks it for them.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc as reply,
    },
    time::Duration,
};

use arc_swap::ArcSwapOption;
use tokio::{
    sync::{Notify, mpsc},
    task::JoinSet,
};

use crate::{
    clock::{self, BootTime, SharedClock},
    connection::{Connection, Search, SearchError},
    entry,
    filter::{having, person},
    identity::{self, Person, ssh::Keys},
    memory::{Known, Life, Memory},
    options::Options,
};

/// How many people are looked up at once.
const LOOKUPS: usize = 16;
/// How many requests may wait for that; each has a thread of its own.
const MAX_WAITING: usize = 128;
/// How many of them may be about the same person.
const MAX_WAITING_EACH: usize = 8;
/// The most groups of a person.
const MAX_GROUPS: usize = 1_000;
/// How long it may take to read all keys, in time-outs of one answer.
const KEY_PATIENCE: u32 = 24;
/// How soon keys are read again that could not be.
const RETRY: Duration = Duration::from_secs(5);

type Answer = Result<Person, String>;

/// Somebody is to be looked up.
struct Question {
    name: String,
    answer: reply::SyncSender<Answer>,
}

/// A directory. Questions are answered from what is known, or by its worker.
pub struct Directory {
    name: String,
    life: Life,
    patience: Duration,
    clock: SharedClock,
    memory: Mutex<Memory>,
    questions: mpsc::Sender<Question>,
    waiting: Mutex<HashMap<String, usize>>,
    /// Whether anybody needs the keys.
    wants_keys: AtomicBool,
    wanted: Notify,
    keys: ArcSwapOption<(Keys, BootTime)>,
}

impl Directory {
    /// A directory of this name, and what has to run for it. It knows what `before` was told, which asked the same.
    pub fn new(name: &str, options: &Options, clock: SharedClock, before: Option<&Self>) -> (Arc<Self>, Worker) {
        let life = Life { fresh: options.refresh, kept: options.keep.max(options.refresh) };
        let memory = before.map_or_else(|| Memory::new(life), |before| before.memory().living(life));
        let (questions, asked) = mpsc::channel(MAX_WAITING);
        let directory = Arc::new(Self {
            name: name.to_owned(),
            life,
            // For its place in the queue, both searches, and servers that do not answer.
            patience: options.timeout.saturating_mul(3 + u32::try_from(options.servers.len()).unwrap_or(u32::MAX - 3)),
            clock,
            memory: Mutex::new(memory),
            questions,
            waiting: Mutex::default(),
            wants_keys: AtomicBool::new(false),
            wanted: Notify::new(),
            keys: ArcSwapOption::new(before.and_then(|before| before.keys.load_full())),
        });
        let worker = Worker { directory: Arc::clone(&directory), options: Arc::new(options.clone()), asked };
        (directory, worker)
    }

    fn memory(&self) -> MutexGuard<'_, Memory> {
        self.memory.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn now(&self) -> BootTime {
        self.clock.now().boot
    }

    /// Asks the worker, if not too many wait already.
    fn ask(&self, name: &str) -> Answer {
        let _place = Place::take(&self.waiting, name).ok_or("too many requests wait for it")?;
        let (answer, answered) = reply::sync_channel(1);
        let question = Question { name: name.to_owned(), answer };
        self.questions.try_send(question).map_err(|_| "too many requests wait for it")?;
        answered.recv_timeout(self.patience).map_err(|_| "no answer in time")?
    }
}

impl identity::Directory for Directory {
    fn person(&self, name: &str) -> Result<Person, String> {
        let known = self.memory().get(name, self.now());
        let (answer, kept) = match known {
            Known::Now(person) => return Ok(person),
            Known::Failed(why) => (Err(why), None),
            Known::Before(kept) => (self.ask(name), kept),
        };
        match (answer, kept) {
            (Ok(person), _) => Ok(person),
            // What the directory answers about this person counts more than what is kept.
            (Err(_), Some(person)) if self.memory().is_failing() => Ok(person),
            (Err(why), _) => Err(format!("the directory {} does not say who {name:?} is: {why}", self.name)),
        }
    }

    fn want_keys(&self) {
        self.wants_keys.store(true, Ordering::Relaxed);
        self.wanted.notify_one();
    }

    fn key_owners(&self, key: &[u8]) -> Result<Vec<String>, String> {
        let held = self.keys.load();
        let Some((keys, since)) = held.as_deref() else {
            return Err(format!("the keys of the directory {} are not known yet", self.name));
        };
        if self.now().since(*since) >= self.life.kept {
            return Err(format!("the directory {} has not been readable for too long (keep)", self.name));
        }
        Ok(keys.owners(key).to_vec())
    }
}

/// One of the places for those who wait.
struct Place<'a> {
    all: &'a Mutex<HashMap<String, usize>>,
    name: &'a str,
}

impl<'a> Place<'a> {
    fn take(all: &'a Mutex<HashMap<String, usize>>, name: &'a str) -> Option<Self> {
        let mut waiting = all.lock().unwrap_or_else(PoisonError::into_inner);
        let total: usize = waiting.values().sum();
        let own = waiting.get(name).copied().unwrap_or_default();
        if total >= MAX_WAITING || own >= MAX_WAITING_EACH {
            return None;
        }
        waiting.insert(name.to_owned(), own + 1);
        Some(Self { all, name })
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut waiting = self.all.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(own) = waiting.get_mut(self.name) {
            *own -= 1;
            if *own == 0 {
                waiting.remove(self.name);
            }
        }
    }
}

/// Asks the servers.
pub struct Worker {
    directory: Arc<Directory>,
    options: Arc<Options>,
    asked: mpsc::Receiver<Question>,
}

impl Worker {
    /// Answers questions and keeps the keys fresh, without an end.
    pub async fn run(mut self) {
        let people = Arc::new(Connection::new(Arc::clone(&self.options)));
        let mut tasks = JoinSet::new();
        tasks.spawn(keep_keys(Arc::clone(&self.directory), Arc::clone(&self.options)));
        loop {
            // The first one reads the keys.
            let is_full = tasks.len() > LOOKUPS;
            tokio::select! {
                question = self.asked.recv(), if !is_full => {
                    // There is always a directory that may ask.
                    let Some(question) = question else { return };
                    let (directory, options) = (Arc::clone(&self.directory), Arc::clone(&self.options));
                    tasks.spawn(answer(directory, options, Arc::clone(&people), question));
                }
                Some(ended) = tasks.join_next() => if let Err(error) = ended
                    && error.is_panic()
                {
                    std::panic::resume_unwind(error.into_panic());
                }
            }
        }
    }
}

async fn answer(directory: Arc<Directory>, options: Arc<Options>, connection: Arc<Connection>, question: Question) {
    let Question { name, answer } = question;
    // Another request may have had the same question.
    let known = directory.memory().get(&name, directory.now());
    let found = match known {
        Known::Now(person) => Ok(person),
        Known::Failed(why) => Err(why),
        Known::Before(_) => match look_up(&options, &connection, &name).await {
            Ok(person) => {
                directory.works();
                directory.memory().learn(&name, person.clone(), directory.now());
                Ok(person)
            }
            Err(Trouble::Directory(why)) => {
                directory.fails(&why);
                Err(why)
            }
            Err(Trouble::Person(why)) => {
                directory.works();
                Err(why)
            }
        },
    };
    // The request may have gone.
    let _heard = answer.try_send(found);
}

impl Directory {
    fn works(&self) {
        if self.memory().works() {
            notice!("directory {}: it answers again", self.name);
        }
    }

    fn fails(&self, why: &str) {
        let now = self.now();
        if self.memory().fails(why, now) {
            tracing::error!("directory {}: {why}; what is known counts for a while (keep)", self.name);
        }
    }
}

/// Why nobody is found.
enum Trouble {
    /// The directory does not work.
    Directory(String),
    /// Its answer about this person cannot be used.
    Person(String),
}

/// Asks for a person, and the groups. Nobody has no groups.
async fn look_up(options: &Options, connection: &Connection, name: &str) -> Result<Person, Trouble> {
    let search = Search {
        base: &options.people_base,
        filter: person(&options.people_filter, &options.name_attribute, name),
        attributes: entry::of_person(options),
        max: 1,
        paged: false,
        time: options.timeout,
    };
    let found = connection.search(&search).await.map_err(|error| match error {
        SearchError::TooMany(_) => Trouble::Person("several people have this name".to_owned()),
        SearchError::Failed(why) => Trouble::Directory(why),
    })?;
    // Directories find names in any case, with any blanks. Only the exact one is this person.
    let Some(found) = found.first().filter(|found| entry::name(found, options) == Some(name)) else {
        return Ok(entry::nobody(options));
    };
    let mut person = entry::person(found, options);
    if options.member_of_attribute.is_none() {
        let search = Search {
            base: &options.groups_base.0,
            filter: options.groups_filter.fill(name, &found.dn),
            attributes: entry::of_group(options),
            max: MAX_GROUPS,
            paged: false,
            time: options.timeout,
        };
        let groups = connection.search(&search).await.map_err(|error| match error {
            SearchError::TooMany(most) => Trouble::Person(format!("this person has more than {most} groups")),
            SearchError::Failed(why) => Trouble::Directory(why),
        })?;
        for group in &groups {
            entry::add(&mut person, group, options);
        }
    }
    Ok(person)
}

/// Reads all keys again and again, as soon as somebody needs them.
async fn keep_keys(directory: Arc<Directory>, options: Arc<Options>) {
    // Of its own: a server keeps one place in a list of pages for each connection.
    let connection = Connection::new(Arc::clone(&options));
    let mut told = None;
    while !directory.wants_keys.load(Ordering::Relaxed) {
        directory.wanted.notified().await;
    }
    loop {
        let began = directory.now();
        let read = read_keys(&options, &connection).await;
        let (wait, problem) = match read {
            Ok((keys, unusable)) => {
                directory.keys.store(Some(Arc::new((keys, began))));
                let example = unusable.first();
                let problem =
                    example.map(|example| format!("{} SSH keys cannot be used, such as {example}", unusable.len()));
                (options.refresh, problem)
            }
            Err(why) => (
                RETRY.min(options.refresh),
                Some(format!("SSH keys: {why}; those that are known count for a while (keep)")),
            ),
        };
        if let Some(problem) = problem.as_ref().filter(|problem| told.as_ref() != Some(*problem)) {
            tracing::error!("directory {}: {problem}", directory.name);
        }
        if problem.is_none() && told.is_some() {
            notice!("directory {}: its SSH keys are fine again", directory.name);
        }
        told = problem;
        clock::sleep(wait).await;
    }
}

/// The keys of all people, and what is wrong with those that cannot be used.
async fn read_keys(options: &Options, connection: &Connection) -> Result<(Keys, Vec<String>), String> {
    let search = Search {
        base: &options.people_base,
        filter: having(&options.people_filter, &options.ssh_key_attribute),
        attributes: vec![options.name_attribute.clone(), options.ssh_key_attribute.clone()],
        max: options.max_people,
        paged: true,
        time: options.timeout * KEY_PATIENCE,
    };
    let found = connection.search(&search).await.map_err(|error| match error {
        SearchError::TooMany(max) => format!("more than {max} people have SSH keys (max_people)"),
        SearchError::Failed(why) => why,
    })?;
    let (mut keys, mut unusable) = (Keys::default(), Vec::new());
    for person in &found {
        let Some(name) = entry::name(person, options) else { continue };
        for key in entry::keys(person, options) {
            if let Err(why) = keys.add(name, key) {
                unusable.push(format!("one of {name:?}: {why}"));
            }
        }
    }
    Ok((keys, unusable))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{clock::SystemClock, identity::Directory as _, options::tests::options};

    #[test]
    fn what_was_said_before_is_known_to_a_directory_that_asks_the_same() {
        let open = |more: &str, before: Option<&Directory>| {
            Directory::new("corp", &options(more), SystemClock::shared(), before).0
        };
        let first = open("keep: 10m", None);
        let person = Person { groups: vec!["ops".to_owned()], ..Person::default() };
        first.memory().learn("alice", person.clone(), first.now());
        assert!(first.key_owners(b"key").is_err(), "no keys are known yet");
        first.keys.store(Some(Arc::new((Keys::default(), first.now()))));
        let second = open("keep: 20m", Some(&first));
        drop(first);
        assert_eq!(second.person("alice"), Ok(person));
        assert_eq!(second.key_owners(b"key"), Ok(Vec::new()));
    }
}
