//! What one runtime has reported, and what to ask it next: the decisions of the watcher, without any waiting.
//!
//! Whatever may have changed is asked for again, and an answer counts only if nothing has happened to the container
//! since the question. An end or a lost address takes effect immediately.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap, HashSet, hash_map::Entry as Place},
    net::IpAddr,
    sync::Arc,
};

use super::{
    facts::{Container, ContainerFacts, ContainerId},
    hold::{Keeper, Unheld},
    index::{Sought, Table},
    messages::{self, Condition, Event, Inspected, Listed},
};

/// The number of negative answers that are kept.
const MAX_ABSENT: usize = 4096;

/// A question to the runtime: what is this container, as of this generation?
pub(super) type Question = (ContainerId, u64);

/// What to report to the observer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// It runs, or is about to.
    Appeared(Box<ContainerFacts>),
    /// It does not, any more.
    Gone(ContainerId),
}

/// All that one runtime has said.
#[derive(Debug, Default)]
pub(super) struct ContainerStates {
    known: BTreeMap<ContainerId, Entry>,
    generation: u64,
    absent: HashSet<Sought>,
    /// Addresses that only a host name tied to a container.
    named: HashMap<IpAddr, ContainerId>,
    /// The label in which a container states an address that the runtime does not know.
    address_label: Option<String>,
    /// Takes hold of their first processes.
    keeper: Keeper,
}

#[derive(Debug)]
struct Entry {
    generation: u64,
    state: State,
    /// Whether the observer was notified that it appeared.
    told: bool,
}

#[derive(Debug)]
enum State {
    /// Nothing is known but that there is, or was, such a container.
    Asked,
    Coming(Box<ContainerFacts>),
    Running(Arc<Container>),
}

impl ContainerStates {
    /// No containers yet. This label is trusted for addresses that the runtime assigned to no container.
    pub(super) fn new(address_label: Option<String>, keeper: Keeper) -> Self {
        Self { address_label, keeper, ..Self::default() }
    }

    /// Takes an event, and returns what to ask because of it. `None` stands for everything: ask for the list.
    pub(super) fn happened(&mut self, event: &Event) -> Option<Question> {
        // It may have to do with what was not there.
        self.absent.clear();
        match event {
            Event::Changed(id) => Some(self.ask(id)),
            Event::Lost(id) => {
                if let Some(entry) = self.known.get_mut(id) {
                    entry.state = State::Asked;
                }
                self.named.retain(|_, owner| owner != id);
                Some(self.ask(id))
            }
            Event::Unclear => None,
        }
    }

    /// What is to be asked now that the list of all running containers is known.
    pub(super) fn listed(&mut self, listed: &[Listed]) -> Vec<Question> {
        // Podman's list shows the addresses of the network's owner for its guests; they are not compared.
        let is_known = |entry: &Entry, addresses: &BTreeSet<IpAddr>| match &entry.state {
            State::Asked => false,
            State::Coming(_) => addresses.is_empty(),
            State::Running(container) => {
                let facts = container.facts();
                facts.guest || facts.addresses.iter().copied().collect::<BTreeSet<_>>() == *addresses
            }
        };
        let running: HashMap<&ContainerId, &BTreeSet<IpAddr>> =
            listed.iter().map(|listed| (&listed.id, &listed.addresses)).collect();
        let new = running
            .iter()
            .filter(|(id, addresses)| !self.known.get(**id).is_some_and(|entry| is_known(entry, addresses)))
            .map(|(id, _)| (*id).clone());
        let missing = self.known.keys().filter(|id| !running.contains_key(*id)).cloned();
        let ids: Vec<ContainerId> = new.chain(missing).collect();
        ids.iter().map(|id| self.ask(id)).collect()
    }

    /// Everything that is known has to be asked for again: events may have been missed.
    pub(super) fn doubt(&mut self) {
        self.named.clear();
        self.absent.clear();
        for entry in self.known.values_mut() {
            entry.state = State::Asked;
        }
    }

    /// What has to be asked to find these without the list.
    pub(super) fn seek(&mut self, sought: &BTreeSet<Sought>) -> Vec<Question> {
        let ids = sought.iter().filter_map(|sought| match sought {
            Sought::Id(id) => Some(id.clone()),
            Sought::Address(_) => None,
        });
        // A container whose end was not reported is asked for again, too, whatever it was sought by.
        let ended = self.known.iter().filter(|(_, entry)| match &entry.state {
            State::Running(container) => !container.is_alive(),
            State::Asked | State::Coming(_) => false,
        });
        let ids: BTreeSet<ContainerId> = ids.chain(ended.map(|(id, _)| id.clone())).collect();
        ids.iter().map(|id| self.ask(id)).collect()
    }

    fn ask(&mut self, id: &ContainerId) -> Question {
        self.generation += 1;
        let generation = self.generation;
        let new = || Entry { generation, state: State::Asked, told: false };
        self.known.entry(id.clone()).or_insert_with(new).generation = generation;
        (id.clone(), generation)
    }

    /// Whether an answer to this question would still count.
    pub(super) fn is_current(&self, (id, generation): &Question) -> bool {
        self.known.get(id).is_some_and(|entry| entry.generation == *generation)
    }

    /// The runtime has answered; `None` says that there is no such container.
    pub(super) fn answered(&mut self, question: &Question, answer: Option<Inspected>) -> Option<Change> {
        if !self.is_current(question) {
            return None;
        }
        let (id, _) = question;
        let entry = self.known.get_mut(id)?;
        let facts = match answer {
            // The runtime answers with what it was asked for; another one's facts would be a trap.
            Some(Inspected { facts, condition: Condition::Running | Condition::Coming }) if facts.id == *id => facts,
            _ => {
                let told = entry.told;
                self.known.remove(id);
                self.named.retain(|_, owner| owner != id);
                return told.then(|| Change::Gone(id.clone()));
            }
        };
        let news = !entry.told;
        entry.told = true;
        let change = news.then(|| Change::Appeared(Box::new(facts.clone())));
        match &entry.state {
            State::Running(container) if *container.facts() == facts && container.unheld().is_none() => {}
            _ if facts.pid.is_some() => {
                let hold = self.keeper.take(&facts);
                entry.state = State::Running(Arc::new(Container::held(facts, hold)));
            }
            _ => entry.state = State::Coming(Box::new(facts)),
        }
        change
    }

    /// Why the first process of one that runs is not held onto; `None` if it is.
    pub(super) fn unheld(&self, id: &ContainerId) -> Option<Unheld> {
        match &self.known.get(id)?.state {
            State::Running(container) => container.unheld(),
            State::Asked | State::Coming(_) => None,
        }
    }

    /// The runtime was asked for all of these; what is still not known does not exist.
    pub(super) fn settle(&mut self, sought: BTreeSet<Sought>) {
        let table = self.table();
        for sought in sought {
            let found = match &sought {
                Sought::Address(address) => table.addresses.contains_key(address),
                Sought::Id(id) => table.ids.contains_key(id),
            };
            if !found && self.absent.len() < MAX_ABSENT {
                self.absent.insert(sought);
            }
        }
    }

    /// Forgets what was not there, so that the next look-up seeks it again.
    pub(super) fn forget_absent(&mut self) {
        self.absent.clear();
    }

    /// Forgets what host names resolved to, since that may have changed.
    pub(super) fn forget_names(&mut self) {
        self.named.clear();
    }

    /// How many run.
    pub(super) fn running(&self) -> usize {
        self.known.values().filter(|entry| matches!(entry.state, State::Running(_))).count()
    }

    /// Ties an address to the only running container whose host name `matches`.
    pub(super) fn name(&mut self, address: IpAddr, matches: impl Fn(&str) -> bool) {
        let mut matching = self.known.iter().filter(|(_, entry)| match &entry.state {
            State::Running(container) => matches(&container.facts().host_name),
            State::Asked | State::Coming(_) => false,
        });
        if let (Some((id, _)), None) = (matching.next(), matching.next()) {
            self.named.insert(address, id.clone());
        }
    }

    /// What readers are to see.
    pub(super) fn table(&self) -> Table {
        let mut table = Table { live: true, absent: self.absent.clone(), ..Table::default() };
        for (id, entry) in &self.known {
            let (container, addresses) = match &entry.state {
                State::Asked => (None, [].as_slice()),
                State::Coming(facts) => (None, facts.addresses.as_slice()),
                State::Running(container) => (Some(container), container.facts().addresses.as_slice()),
            };
            table.ids.insert(id.clone(), container.cloned());
            for address in addresses {
                match table.addresses.entry(*address) {
                    Place::Vacant(place) => _ = place.insert(container.cloned()),
                    // Two claim it: it is neither's.
                    Place::Occupied(mut place) => _ = place.insert(None),
                }
            }
        }
        self.add_claimed(&mut table);
        for (address, id) in &self.named {
            if let (Place::Vacant(place), Some(Some(container))) = (table.addresses.entry(*address), table.ids.get(id))
            {
                place.insert(Some(Arc::clone(container)));
            }
        }
        table
    }

    /// Adds what labels say. It takes nothing away from whom the runtime gave an address.
    fn add_claimed(&self, table: &mut Table) {
        let Some(label) = &self.address_label else { return };
        let mut claims: BTreeMap<IpAddr, Option<&Arc<Container>>> = BTreeMap::new();
        for entry in self.known.values() {
            let State::Running(container) = &entry.state else { continue };
            if let Some(address) = messages::claimed(&container.facts().labels, label) {
                // Two claim it: it is neither's.
                claims.entry(address).and_modify(|claim| *claim = None).or_insert(Some(container));
            }
        }
        for (address, claim) in claims {
            table.addresses.entry(address).or_insert_with(|| claim.cloned());
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{super::tests::facts, *};

    fn id(digit: char) -> ContainerId {
        facts(digit, "").id
    }

    fn running(digit: char, address: &str, second: u8) -> Inspected {
        let started_at = format!("2026-11-24T10:00:{second:02}Z").parse().ok();
        // No process of that number can exist, so none is taken hold of.
        let facts = ContainerFacts { started_at, pid: Some(i32::MAX), ..facts(digit, address) };
        Inspected { facts, condition: Condition::Running }
    }

    fn owner(states: &ContainerStates, address: &str) -> Option<ContainerId> {
        let address = address.parse().expect("an address");
        states.table().addresses.get(&address).cloned().flatten().map(|container| container.facts().id.clone())
    }

    #[test]
    fn a_container_has_its_address_from_its_start_to_its_end() {
        let mut states = ContainerStates::default();
        let question = states.happened(&Event::Changed(id('a'))).expect("asked");
        let change = states.answered(&question, Some(running('a', "172.17.0.2", 0)));
        assert!(matches!(change, Some(Change::Appeared(facts)) if facts.id == id('a')));
        assert_eq!(owner(&states, "172.17.0.2"), Some(id('a')));
        let question = states.happened(&Event::Lost(id('a'))).expect("asked");
        assert_eq!(owner(&states, "172.17.0.2"), None, "immediately, without an answer");
        assert_eq!(states.answered(&question, None), Some(Change::Gone(id('a'))));
        assert!(states.table().ids.is_empty());
    }

    #[test]
    fn an_answer_that_was_overtaken_by_an_event_does_not_count() {
        let mut states = ContainerStates::default();
        let before = states.happened(&Event::Changed(id('a'))).expect("asked");
        let after = states.happened(&Event::Lost(id('a'))).expect("asked");
        assert_eq!(states.answered(&before, Some(running('a', "172.17.0.2", 0))), None);
        assert_eq!(owner(&states, "172.17.0.2"), None);
        // It was started again meanwhile.
        states.answered(&after, Some(running('a', "172.17.0.3", 1)));
        assert_eq!(owner(&states, "172.17.0.3"), Some(id('a')));
    }

    #[test]
    fn an_address_changes_hands_only_over_nobody() {
        let mut states = ContainerStates::default();
        let a = states.happened(&Event::Changed(id('a'))).expect("asked");
        states.answered(&a, Some(running('a', "172.17.0.2", 0)));
        let b = states.happened(&Event::Changed(id('b'))).expect("asked");
        // The event of a's end is late.
        states.answered(&b, Some(running('b', "172.17.0.2", 1)));
        assert_eq!(owner(&states, "172.17.0.2"), None);
        states.happened(&Event::Lost(id('a')));
        assert_eq!(owner(&states, "172.17.0.2"), Some(id('b')));
    }

    #[test]
    fn a_container_that_is_being_started_is_waited_for() {
        let mut states = ContainerStates::default();
        let question = states.happened(&Event::Changed(id('a'))).expect("asked");
        let facts = ContainerFacts { pid: None, started_at: None, ..facts('a', "172.17.0.2") };
        let change = states.answered(&question, Some(Inspected { facts, condition: Condition::Coming }));
        assert!(matches!(change, Some(Change::Appeared(_))), "its role is fetched meanwhile");
        let address = "172.17.0.2".parse().expect("an address");
        assert!(matches!(states.table().addresses.get(&address), Some(None)));
        let question = states.happened(&Event::Changed(id('a'))).expect("asked");
        assert_eq!(states.answered(&question, Some(running('a', "172.17.0.2", 0))), None, "told once");
        assert_eq!(owner(&states, "172.17.0.2"), Some(id('a')));
    }

    #[test]
    fn a_list_asks_for_what_is_new_different_or_missing() {
        let mut states = ContainerStates::default();
        for (digit, address) in [('a', "172.17.0.2"), ('b', "172.17.0.3"), ('c', "172.17.0.4")] {
            let question = states.happened(&Event::Changed(id(digit))).expect("asked");
            states.answered(&question, Some(running(digit, address, 0)));
        }
        let listed = |digit: char, address: &str| Listed {
            id: id(digit),
            addresses: [address.parse().expect("an address")].into(),
        };
        let list = [listed('a', "172.17.0.2"), listed('b', "172.17.0.9"), listed('d', "172.17.0.5")];
        let mut asked: Vec<ContainerId> = states.listed(&list).into_iter().map(|(id, _)| id).collect();
        asked.sort();
        assert_eq!(asked, [id('b'), id('c'), id('d')]);
    }

    #[test]
    fn after_a_gap_nothing_is_believed_until_it_is_said_again() {
        let mut states = ContainerStates::default();
        let question = states.happened(&Event::Changed(id('a'))).expect("asked");
        states.answered(&question, Some(running('a', "172.17.0.2", 0)));
        states.doubt();
        assert_eq!(owner(&states, "172.17.0.2"), None);
        let asked = states.listed(&[]);
        assert_eq!(states.answered(&asked[0], None), Some(Change::Gone(id('a'))));
    }

    #[test]
    fn what_was_sought_in_vain_is_absent_until_something_happens() {
        let mut states = ContainerStates::default();
        let sought = Sought::Address("172.17.0.2".parse().expect("an address"));
        states.settle([sought.clone()].into());
        assert!(states.table().absent.contains(&sought));
        states.happened(&Event::Changed(id('a')));
        assert!(!states.table().absent.contains(&sought));
    }

    #[test]
    fn a_host_name_ties_an_address_to_one_container_or_to_none() {
        let mut states = ContainerStates::default();
        for digit in ['a', 'b'] {
            let question = states.happened(&Event::Changed(id(digit))).expect("asked");
            states.answered(&question, Some(running(digit, "", 0)));
        }
        let address = "10.9.9.9".parse().expect("an address");
        states.name(address, |_host| true);
        assert_eq!(owner(&states, "10.9.9.9"), None);
        states.name(address, |host| host == "host-b");
        assert_eq!(owner(&states, "10.9.9.9"), Some(id('b')));
        states.happened(&Event::Lost(id('b')));
        assert_eq!(owner(&states, "10.9.9.9"), None);
    }

    #[test]
    fn a_label_takes_no_address_from_whom_the_runtime_gave_it() {
        let start = |states: &mut ContainerStates, digit: char, address: &str, label: &str| {
            let question = states.happened(&Event::Changed(id(digit))).expect("asked");
            let mut answer = running(digit, address, 0);
            answer.facts.labels.insert("ip".into(), label.into());
            states.answered(&question, Some(answer));
        };
        let mut states = ContainerStates::new(Some("ip".into()), Keeper::default());
        start(&mut states, 'a', "172.17.0.2", "10.42.0.2/16");
        start(&mut states, 'b', "172.17.0.3", "172.17.0.2");
        assert_eq!(owner(&states, "172.17.0.2"), Some(id('a')));
        assert_eq!(owner(&states, "10.42.0.2"), Some(id('a')));
        start(&mut states, 'c', "172.17.0.4", "10.42.0.2");
        assert_eq!(owner(&states, "10.42.0.2"), None, "two claim it");
        let mut states = ContainerStates::default();
        start(&mut states, 'a', "172.17.0.2", "10.42.0.2/16");
        assert_eq!(owner(&states, "10.42.0.2"), None, "labels count only if configured");
    }

    #[test]
    fn an_answer_about_another_container_is_no_answer() {
        let mut states = ContainerStates::default();
        let question = states.happened(&Event::Changed(id('a'))).expect("asked");
        assert_eq!(states.answered(&question, Some(running('b', "172.17.0.2", 0))), None);
        assert!(states.table().ids.is_empty() && states.table().addresses.is_empty());
    }

    /// A runtime as it really is, with three containers that share two addresses, and answers that take their time.
    #[derive(Debug, Clone)]
    enum Step {
        Start(usize, usize),
        Stop(usize),
        Deliver,
        Answer(usize),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            (0..3_usize, 0..2_usize).prop_map(|(container, address)| Step::Start(container, address)),
            (0..3_usize).prop_map(Step::Stop),
            Just(Step::Deliver),
            (0..4_usize).prop_map(Step::Answer),
        ];
        proptest::collection::vec(step, 0..60)
    }

    proptest! {
        #[test]
        fn an_address_never_belongs_to_one_whose_end_was_told(steps in steps()) {
            let digits = ['a', 'b', 'c'];
            let addresses = ["172.17.0.2", "172.17.0.3"];
            let mut truth: [Option<(usize, u8)>; 3] = [None; 3];
            let mut states = ContainerStates::default();
            let (mut events, mut questions, mut second) = (std::collections::VecDeque::new(), Vec::new(), 0_u8);
            // The end of each life, as far as it was reported.
            let mut told_end: HashSet<(usize, u8)> = HashSet::new();
            let deliver = |states: &mut ContainerStates, questions: &mut Vec<_>, told: &mut HashSet<_>, event: Option<(Event, Option<(usize, u8)>)>| {
                if let Some((event, end)) = event {
                    told.extend(end);
                    questions.extend(states.happened(&event));
                }
            };
            for step in steps.into_iter().chain([(); 200].map(|()| Step::Deliver)).chain([(); 200].map(|()| Step::Answer(0))) {
                match step {
                    // A runtime gives an address to one at a time.
                    Step::Start(container, address)
                        if truth[container].is_none()
                            && truth.iter().flatten().all(|(taken, _)| *taken != address) =>
                    {
                        second = (second + 1) % 60;
                        truth[container] = Some((address, second));
                        events.push_back((Event::Changed(id(digits[container])), None));
                    }
                    Step::Stop(container) => {
                        if let Some((_, life)) = truth[container].take() {
                            events.push_back((Event::Lost(id(digits[container])), Some((container, life))));
                        }
                    }
                    Step::Deliver => deliver(&mut states, &mut questions, &mut told_end, events.pop_front()),
                    Step::Answer(which) if which < questions.len() => {
                        let question: Question = questions.remove(which);
                        let container = digits.iter().position(|digit| id(*digit) == question.0).expect("one of ours");
                        let answer = truth[container].map(|(address, life)| running(digits[container], addresses[address], life));
                        states.answered(&question, answer);
                    }
                    _ => {}
                }
                for container in states.table().addresses.values().flatten() {
                    let number = digits.iter().position(|digit| id(*digit) == container.facts().id).expect("one of ours");
                    let life = container.facts().started_at.expect("started").to_string()[17..19].parse().expect("seconds");
                    prop_assert!(!told_end.contains(&(number, life)));
                }
            }
            // In the end all is known.
            for (container, life) in truth.iter().enumerate() {
                if let Some((address, _)) = life {
                    prop_assert_eq!(owner(&states, addresses[*address]), Some(id(digits[container])));
                }
            }
        }
    }
}
