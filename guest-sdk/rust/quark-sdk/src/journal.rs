//! Events that an actor appends, and actors that are what their events made of them.
//!
//! An actor whose world exports `quark:actor/journaled` implements [`Journaled`]. It changes only in
//! [`Journaled::apply`]; a method decides, and then [records](Journaled::record) what was decided:
//!
//! ```ignore
//! #[derive(Serialize, Deserialize)]
//! enum Event {
//!     Deposited { amount: u64 },
//! }
//!
//! impl Journaled for Account {
//!     type Event = Event;
//!
//!     fn apply(&mut self, event: &Event) -> Result<(), String> {
//!         match event {
//!             Event::Deposited { amount } => self.balance += amount,
//!         }
//!         Ok(())
//!     }
//! }
//! ```
//!
//! Its struct is not stored as state: when the actor wakes, it comes from the newest snapshot, which is
//! the struct itself, and the events after it. An actor that does not export `journaled` may
//! [append](append) all the same, beside its state: that is an audit.

use serde::Serialize;
use serde::de::DeserializeOwned;

pub use crate::wit::journal::{Entry, Event, append, read, snapshot_soon};
use crate::{Actor, StateError};

/// What the payload of an event is that this SDK writes.
const JSON: &str = "application/json";

/// An actor that wakes by its journal.
pub trait Journaled: Actor {
    /// All that may happen to it: an `enum`, stored as JSON. The name of the variant is the event's. What is
    /// renamed or gets new fields must still read the old events (`#[serde(alias, default)]`).
    type Event: Serialize + DeserializeOwned;

    /// What the event does: the same whenever it is run, so nothing but the event and what is there decides.
    /// It can neither call nor tell anybody.
    ///
    /// # Errors
    /// When it cannot be; then the actor does not wake.
    fn apply(&mut self, event: &Self::Event) -> Result<(), String>;

    /// Appends the event, which commits with the turn, and applies it. Answers its number.
    ///
    /// # Errors
    /// Those of [`append`]; nothing has changed then.
    ///
    /// # Panics
    /// When the event cannot be applied: an event that the actor could not wake by must not be kept.
    fn record(&mut self, event: &Self::Event) -> Result<u64, StateError> {
        let sequence = append(&encode(event))?;
        if let Err(error) = self.apply(event) {
            panic!("event {sequence} cannot be applied: {error}");
        }
        Ok(sequence)
    }
}

/// An event as this SDK writes it: JSON, with the variant's name.
///
/// # Panics
/// When it has no JSON.
#[must_use]
pub fn encode<E: Serialize>(event: &E) -> Event {
    let json = serde_json::to_value(event).unwrap_or_else(|error| panic!("the event has no JSON: {error}"));
    let variant = json.as_object().filter(|fields| fields.len() == 1).and_then(|fields| fields.keys().next());
    let name = json.as_str().or_else(|| variant.map(String::as_str)).unwrap_or("event").to_owned();
    Event { name, content_type: JSON.to_owned(), payload: json.to_string().into_bytes() }
}

/// The event as it was given to [`encode`].
///
/// # Errors
/// When it is another one.
pub fn decode<E: DeserializeOwned>(entry: &Entry) -> Result<E, String> {
    let Entry { sequence, event, .. } = entry;
    serde_json::from_slice(&event.payload)
        .map_err(|error| format!("event {sequence} (`{}`) cannot be read: {error}", event.name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq, serde::Serialize, serde::Deserialize)]
    enum Moved {
        Up { by: u64 },
        Home,
    }

    #[test]
    fn events_come_back_and_have_their_variants_names() {
        for (event, name) in [(Moved::Up { by: u64::MAX }, "Up"), (Moved::Home, "Home")] {
            let written = encode(&event);
            assert_eq!((written.name.as_str(), written.content_type.as_str()), (name, JSON));
            let mut entry = Entry { sequence: 4, at: 0, event: written };
            assert_eq!(decode::<Moved>(&entry), Ok(event));
            entry.event.payload.pop();
            let error = decode::<Moved>(&entry).expect_err("it is cut off");
            assert!(error.starts_with(&format!("event 4 (`{name}`) cannot be read")), "{error}");
        }
    }
}
