//! An activation's durable values in memory, with what its turn has staged.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::journal::{JOURNAL, Journal, JournalWrite, Mark};
use crate::reminders::Own;

/// The longest name of a state value, in bytes.
pub const STATE_NAME_BYTES_MAX: usize = 256;
/// The most values that one actor may have.
pub const STATE_NAMES_MAX: usize = 1024;
/// What one value counts against the limit beside its name and bytes.
const VALUE_OVERHEAD: usize = 32;

/// The bytes of one value; cloned without a copy.
pub type Value = Arc<[u8]>;

/// One named value set, or deleted (`None`), by a commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The value's name.
    pub name: Arc<str>,
    /// What it is from now on.
    pub value: Option<Value>,
}

/// The name of the row in which a silo keeps an actor's [standing](crate::standing) among its values: it is
/// read by a claim and written by a commit as they are. No guest and no operator can name it, and it does not
/// count against the actor's limit.
pub const STANDING: &str = "\0standing";
/// How the names of the rows begin in which a silo keeps an actor's [answers](crate::answers), by key. They are as
/// that of the standing.
pub const ANSWERS: &str = "\0answer\0";

/// Whether that is the name of a row that is the silo's, and not a value of the actor's own.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    name == STANDING || name == JOURNAL || name.starts_with(ANSWERS)
}

/// Why a value was not staged. Nothing changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StageError {
    /// The actor's values would pass its limit of this many bytes.
    #[error("the state would pass its limit of {0} bytes")]
    TooLarge(u64),
    /// The name is one of the silo's ([`is_reserved`]).
    #[error("that name belongs to the silo")]
    Reserved,
}

/// The values as this activation's turns see them: committed ones, with changes that are staged
/// for the next commit point laid over them.
#[derive(Debug)]
pub struct State {
    values: BTreeMap<Arc<str>, Value>,
    /// What each changed name was at the last commit point.
    before: BTreeMap<Arc<str>, Option<Value>>,
    bytes: usize,
    bytes_max: usize,
    /// What it appended; most actors have none.
    journal: Option<Box<Journal>>,
    /// Of an actor that has none and stages none there is nothing.
    reminders: Option<Box<Own>>,
}

impl State {
    /// The state as loaded, without the rows that are the silo's, and with its limit in bytes.
    #[must_use]
    pub fn new(values: BTreeMap<Arc<str>, Value>, bytes_max: usize) -> Self {
        let bytes = values.iter().map(|(name, value)| size(name, value)).sum();
        Self { values, before: BTreeMap::new(), bytes, bytes_max, journal: None, reminders: None }
    }

    /// The same with a journal that has come so far.
    #[must_use]
    pub fn with_journal(mut self, mark: Mark) -> Self {
        self.journal = (mark != Mark::default()).then(|| Box::new(Journal::new(mark)));
        self
    }

    /// How far its journal has come.
    #[must_use]
    pub fn mark(&self) -> Mark {
        self.journal.as_ref().map_or_else(Mark::default, |journal| journal.mark())
    }

    /// Its journal, if it has one.
    pub fn journal(&mut self) -> Option<&mut Journal> {
        self.journal.as_deref_mut()
    }

    /// Its journal, which begins now if there is none.
    pub fn open_journal(&mut self) -> &mut Journal {
        self.journal.get_or_insert_default()
    }

    /// The same with the names of the actor's reminders.
    #[must_use]
    pub fn with_reminders(mut self, names: Vec<Arc<str>>) -> Self {
        self.reminders = (!names.is_empty()).then(|| Box::new(Own::new(names)));
        self
    }

    /// The actor's reminders, to be changed.
    pub fn reminders_mut(&mut self) -> &mut Own {
        self.reminders.get_or_insert_default()
    }

    /// The same if it has any, or stages any.
    pub fn reminders(&mut self) -> Option<&mut Own> {
        self.reminders.as_deref_mut()
    }

    /// The value of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.values.get(name)
    }

    /// All names with their values, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&Arc<str>, &Value)> {
        self.values.iter()
    }

    /// Bytes of all names and values, with a fixed cost for each.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Stages a value.
    ///
    /// # Errors
    /// When the name is too long or the silo's, or there would be too many values or bytes.
    pub fn set(&mut self, name: &str, value: Value) -> Result<(), StageError> {
        if name.len() > STATE_NAME_BYTES_MAX {
            return Err(StageError::TooLarge(STATE_NAME_BYTES_MAX as u64));
        }
        if is_reserved(name) {
            return Err(StageError::Reserved);
        }
        let old = self.values.get(name).map_or(0, |old| size(name, old));
        let bytes = self.bytes - old + size(name, &value);
        if bytes > self.bytes_max || (old == 0 && self.values.len() >= STATE_NAMES_MAX) {
            return Err(StageError::TooLarge(self.bytes_max as u64));
        }
        let name: Arc<str> = name.into();
        let old = self.values.insert(name.clone(), value);
        self.before.entry(name).or_insert(old);
        self.bytes = bytes;
        Ok(())
    }

    /// Stages a deletion; a name that is not there is no change.
    pub fn delete(&mut self, name: &str) {
        if let Some((name, old)) = self.values.remove_entry(name) {
            self.bytes -= size(&name, &old);
            self.before.entry(name).or_insert(Some(old));
        }
    }

    /// Whether something is staged.
    #[must_use]
    pub fn is_staged(&self) -> bool {
        !self.before.is_empty()
            || self.journal.as_ref().is_some_and(|journal| journal.is_staged())
            || self.reminders.as_ref().is_some_and(|own| own.is_staged())
    }

    /// Takes what is staged of values, for a commit.
    pub fn take_changes(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.before)
            .into_iter()
            .filter_map(|(name, before)| {
                let value = self.values.get(&name).cloned();
                (value != before).then_some(Change { name, value })
            })
            .collect()
    }

    /// Takes what is staged of the journal, for the same commit, with the change of its row.
    pub fn take_journal(&mut self) -> Option<(Box<JournalWrite>, Change)> {
        let (write, mark) = self.journal.as_mut()?.take()?;
        Some((write, Change { name: JOURNAL.into(), value: mark.encode() }))
    }

    /// Undoes all that is staged.
    pub fn undo(&mut self) {
        self.journal.iter_mut().for_each(|journal| journal.undo());
        self.reminders.iter_mut().for_each(|own| own.undo());
        for (name, before) in std::mem::take(&mut self.before) {
            if let Some(staged) = self.values.remove(&name) {
                self.bytes -= size(&name, &staged);
            }
            if let Some(value) = before {
                self.bytes += size(&name, &value);
                self.values.insert(name, value);
            }
        }
    }
}

fn size(name: &str, value: &[u8]) -> usize {
    name.len() + value.len() + VALUE_OVERHEAD
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> State {
        State::new(BTreeMap::from([("a".into(), Value::from(*b"one"))]), 200)
    }

    #[test]
    fn undo_restores_values_and_bytes() {
        let mut state = state();
        let bytes = state.bytes();
        state.set("a", Value::from(*b"changed")).unwrap();
        state.set("b", Value::from(*b"new")).unwrap();
        state.delete("a");
        state.undo();
        assert_eq!(state.get("a").map(|value| &value[..]), Some(&b"one"[..]));
        assert!(state.get("b").is_none());
        assert_eq!(state.bytes(), bytes);
        assert_eq!(state.take_changes(), []);
    }

    #[test]
    fn changes_are_taken_once_and_a_change_back_is_none() {
        let mut state = state();
        state.set("a", Value::from(*b"two")).unwrap();
        state.delete("missing");
        assert_eq!(state.take_changes(), [Change { name: "a".into(), value: Some(Value::from(*b"two")) }]);
        state.set("a", Value::from(*b"three")).unwrap();
        state.set("a", Value::from(*b"two")).unwrap();
        assert_eq!(state.take_changes(), []);
    }

    #[test]
    fn nobody_can_name_the_silos_rows() {
        let mut state = state();
        assert_eq!(state.set(JOURNAL, Value::from(*b"x")), Err(StageError::Reserved));
        state.delete(JOURNAL);
        assert_eq!(state.set(STANDING, Value::from(*b"x")), Err(StageError::Reserved));
        state.delete(STANDING);
        assert_eq!(state.set("\0answer\0key", Value::from(*b"x")), Err(StageError::Reserved));
        assert_eq!(state.take_changes(), []);
    }

    #[test]
    fn the_limit_refuses_and_keeps_what_was() {
        let mut state = state();
        assert_eq!(state.set("b", vec![0; 500].into()), Err(StageError::TooLarge(200)));
        assert!(state.get("b").is_none());
        assert_eq!(state.take_changes(), []);
        state.set("a", vec![0; 160].into()).unwrap();
        state.set("a", vec![0; 167].into()).unwrap();
        assert!(state.set("a", vec![0; 168].into()).is_err());
    }
}
