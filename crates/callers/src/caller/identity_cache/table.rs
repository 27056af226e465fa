//! The results of look-ups, by key: read without a lock.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
};

use arc_swap::ArcSwap;

use super::Known;

/// One table.
#[derive(Debug)]
pub(super) struct Table<K, T> {
    entries: ArcSwap<Entries<K, T>>,
    /// Held while it is replaced.
    writing: Mutex<()>,
}

type Entries<K, T> = HashMap<K, Arc<Entry<T>>>;

#[derive(Debug)]
struct Entry<T> {
    known: Known<T>,
    /// Whether it was asked for since the last refresh.
    used: AtomicBool,
}

impl<K, T> Default for Table<K, T> {
    fn default() -> Self {
        Self { entries: ArcSwap::default(), writing: Mutex::default() }
    }
}

impl<K: Copy + Eq + Hash, T: Clone> Table<K, T> {
    /// What is known; `None` if it has to be found out.
    pub(super) fn get(&self, key: &K) -> Option<Known<T>> {
        let entries = self.entries.load();
        let entry = entries.get(key)?;
        entry.used.store(true, Ordering::Relaxed);
        Some(entry.known.clone())
    }

    /// The same without a mark that it was asked for.
    pub(super) fn peek(&self, key: &K) -> Option<Known<T>> {
        self.entries.load().get(key).map(|entry| entry.known.clone())
    }

    /// All keys.
    pub(super) fn keys(&self) -> Vec<K> {
        self.entries.load().keys().copied().collect()
    }

    /// Adds what was found out. If there would be more than `most`, only what is to `stay` is kept of the rest.
    pub(super) fn extend(
        &self,
        found: impl IntoIterator<Item = (K, Known<T>)>,
        most: usize,
        stay: impl Fn(&Known<T>) -> bool,
    ) {
        self.replace(|entries| {
            for (key, known) in found {
                if entries.len() >= most && !entries.contains_key(&key) {
                    entries.retain(|_, entry| stay(&entry.known));
                    if entries.len() >= most {
                        entries.clear();
                    }
                }
                let used = entries.get(&key).is_none_or(|entry| entry.used.load(Ordering::Relaxed));
                entries.insert(key, Arc::new(Entry { known, used: used.into() }));
            }
        });
    }

    /// Forgets what was not asked for since the last call.
    pub(super) fn forget_unused(&self) {
        self.replace(|entries| entries.retain(|_, entry| entry.used.swap(false, Ordering::Relaxed)));
    }

    /// Forgets what could not be found out. Whether there was any.
    pub(super) fn forget_unknown(&self) -> bool {
        self.replace(|entries| {
            let before = entries.len();
            entries.retain(|_, entry| !matches!(entry.known, Known::Unknown));
            entries.len() < before
        })
    }

    fn replace<R>(&self, change: impl FnOnce(&mut Entries<K, T>) -> R) -> R {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let mut entries = HashMap::clone(&self.entries.load());
        let result = change(&mut entries);
        self.entries.store(Arc::new(entries));
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_not_asked_for_is_forgotten_and_the_number_is_bounded() {
        let table = Table::default();
        table.extend([(1, Known::Yes(1)), (2, Known::Unknown), (3, Known::Yes(3))], 10, |_| true);
        assert!(table.forget_unknown() && !table.forget_unknown());
        table.forget_unused();
        assert_eq!((table.get(&1), table.get(&2)), (Some(Known::Yes(1)), None));
        // What is looked up again is not asked for by that.
        table.extend([(3, Known::Yes(3))], 10, |_| true);
        table.forget_unused();
        assert_eq!(table.keys(), [1], "the third was not asked for");
        let own = |known: &Known<i32>| matches!(known, Known::Yes(number) if *number < 10);
        table.extend((100..200).map(|key| (key, Known::Yes(key))), 20, own);
        assert!(table.keys().len() <= 20 && table.peek(&1).is_some() && table.peek(&199).is_some());
    }
}
