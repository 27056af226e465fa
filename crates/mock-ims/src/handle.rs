//! The handle by which tests watch and control a running mock IMS.

use std::{
    collections::{HashMap, VecDeque},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::broadcast;

use super::{Behaviour, Issued};

/// The number of issued documents and of different paths that are kept, of 1 KB each.
const MEMORY: usize = 4_000;

/// A request that a mock IMS got.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Request {
    /// `GET`, as a rule.
    pub method: String,
    /// The path with its escapes, or the absolute URL if a proxy's client sent one.
    pub target: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
}

impl Request {
    /// The first value of the header `name` (lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// Watches a mock IMS and changes what it does.
#[derive(Debug, Clone)]
pub struct Handle(pub(super) Arc<Shared>);

impl Handle {
    /// From the next request on it does this.
    pub fn set(&self, behaviour: Behaviour) {
        *lock(&self.0.behaviour) = behaviour;
    }

    /// Changes a part of what it does from the next request on.
    pub fn update(&self, change: impl FnOnce(&mut Behaviour)) {
        change(&mut lock(&self.0.behaviour));
    }

    /// How often `target` (a path with its escapes) was asked for.
    pub fn calls(&self, target: &str) -> usize {
        lock(&self.0.calls).get(target).copied().unwrap_or(0)
    }

    /// How many connections were accepted.
    pub fn connections(&self) -> usize {
        self.0.connections.load(Ordering::Relaxed)
    }

    /// The most recent requests (at least a thousand), oldest first.
    pub fn requests(&self) -> Vec<Request> {
        lock(&self.0.requests).iter().cloned().collect()
    }

    /// Each request from now on, as it comes in.
    pub fn watch(&self) -> broadcast::Receiver<Request> {
        self.0.watchers.subscribe()
    }

    /// The most recently issued sets (at least a thousand), oldest first. Being issued does not mean
    /// that a client got it: an answer may have broken off.
    pub fn issued(&self) -> Vec<Issued> {
        lock(&self.0.issued).iter().cloned().collect()
    }

    /// The issued set with this access key id.
    pub fn issued_with(&self, access_key_id: &str) -> Option<Issued> {
        lock(&self.0.issued).iter().rev().find(|issued| issued.access_key_id == access_key_id).cloned()
    }
}

/// The state behind a [`Handle`].
#[derive(Debug)]
pub(super) struct Shared {
    behaviour: Mutex<Behaviour>,
    calls: Mutex<HashMap<String, usize>>,
    requests: Mutex<VecDeque<Request>>,
    issued: Mutex<VecDeque<Issued>>,
    connections: AtomicUsize,
    watchers: broadcast::Sender<Request>,
}

impl Shared {
    pub(super) fn new(behaviour: Behaviour) -> Self {
        Self {
            behaviour: Mutex::new(behaviour),
            calls: Mutex::default(),
            requests: Mutex::default(),
            issued: Mutex::default(),
            connections: AtomicUsize::new(0),
            watchers: broadcast::Sender::new(256),
        }
    }

    pub(super) fn behaviour(&self) -> Behaviour {
        lock(&self.behaviour).clone()
    }

    pub(super) fn count_connection(&self) {
        self.connections.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn note_request(&self, request: Request) {
        let mut calls = lock(&self.calls);
        if calls.len() < MEMORY || calls.contains_key(&request.target) {
            *calls.entry(request.target.clone()).or_default() += 1;
        }
        drop(calls);
        // It is no error that there are no watchers.
        let _ = self.watchers.send(request.clone());
        remember(&self.requests, request);
    }

    pub(super) fn note_issued(&self, issued: &Issued) {
        remember(&self.issued, issued.clone());
    }
}

fn remember<T>(memory: &Mutex<VecDeque<T>>, new: T) {
    let mut memory = lock(memory);
    if memory.len() == MEMORY {
        memory.pop_front();
    }
    memory.push_back(new);
}

/// Each critical section leaves consistent data behind, so poison means nothing here.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
