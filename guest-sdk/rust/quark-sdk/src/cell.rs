//! A field that `&self` methods can change.

use std::cell::{Cell, RefCell};
use std::fmt;
use std::rc::Rc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

thread_local! {
    static WRITES: Cell<u64> = const { Cell::new(0) };
    static UPDATES: Cell<u32> = const { Cell::new(0) };
}

/// How many writes all cells have seen. A turn in which it stands still changed no cell.
pub(crate) fn writes() -> u64 {
    WRITES.get()
}

/// Whether a closure given to [`State::update`] is running.
pub(crate) fn updating() -> bool {
    UPDATES.get() > 0
}

/// A field of the state that a `&self` method can change.
///
/// No operation keeps a borrow, so none ever panics, however calls nest: `get` and `with` see the
/// value as of that moment, `set` replaces it, and `update` works on a copy and puts it in place
/// at its end. Actors cannot be called from inside `update`: the call is refused, since a turn that
/// entered meanwhile would lose its write.
pub struct State<T>(RefCell<Rc<T>>);

impl<T> State<T> {
    /// A cell with a first value.
    pub fn new(value: T) -> Self {
        Self(RefCell::new(Rc::new(value)))
    }

    /// Reads the value in place.
    pub fn with<R>(&self, read: impl FnOnce(&T) -> R) -> R {
        let value = Rc::clone(&self.0.borrow());
        read(&value)
    }

    /// Replaces the value.
    pub fn set(&self, value: T) {
        let old = self.0.replace(Rc::new(value));
        WRITES.set(WRITES.get() + 1);
        drop(old);
    }

    /// A copy of the value.
    pub fn get(&self) -> T
    where
        T: Clone,
    {
        self.with(T::clone)
    }

    /// The value, leaving the default. With `set` it changes what is too big to copy.
    pub fn take(&self) -> T
    where
        T: Clone + Default,
    {
        let value = self.0.replace(Rc::default());
        WRITES.set(WRITES.get() + 1);
        Rc::unwrap_or_clone(value)
    }

    /// Changes a copy of the value and puts it in place.
    pub fn update<R>(&self, change: impl FnOnce(&mut T) -> R) -> R
    where
        T: Clone,
    {
        struct Updating;
        impl Drop for Updating {
            fn drop(&mut self) {
                UPDATES.set(UPDATES.get() - 1);
            }
        }
        let mut value = self.get();
        UPDATES.set(UPDATES.get() + 1);
        let updating = Updating;
        let result = change(&mut value);
        drop(updating);
        self.set(value);
        result
    }
}

impl<T: Default> Default for State<T> {
    fn default() -> Self {
        Self::new(T::default())
    }
}

impl<T: fmt::Debug> fmt::Debug for State<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.with(|value| value.fmt(f))
    }
}

impl<T: Serialize> Serialize for State<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        self.with(|value| value.serialize(serializer))
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for State<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        T::deserialize(deserializer).map(Self::new)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nested_use_never_panics() {
        let cell = State::new(vec![1]);
        cell.with(|outer| {
            cell.set(vec![2]);
            cell.update(|v| v.push(3));
            assert_eq!(*outer, [1]);
        });
        assert_eq!(cell.get(), [2, 3]);
        cell.update(|outer| {
            assert_eq!(cell.get(), [2, 3]);
            cell.update(|inner| inner.push(9));
            assert_eq!(cell.take(), [2, 3, 9]);
            outer.push(4);
        });
        assert_eq!(cell.get(), [2, 3, 4], "the outer update is the last to write");
    }

    #[test]
    fn a_value_whose_drop_uses_the_cell_does_not_panic() {
        thread_local!(static CELL: State<Option<Probe>> = State::new(Some(Probe)));
        #[derive(Clone)]
        struct Probe;
        impl Drop for Probe {
            fn drop(&mut self) {
                let _ = CELL.try_with(|cell| cell.with(Option::is_some));
            }
        }
        CELL.with(|cell| cell.set(None));
    }

    #[test]
    fn writes_are_counted_and_reads_are_not() {
        let cell = State::new(1);
        let before = writes();
        assert_eq!(cell.get(), 1);
        assert_eq!(writes(), before);
        cell.update(|n| *n += 1);
        assert_ne!(writes(), before);
        assert!(!updating());
    }
}
