//! One live value for each actor of this instance.

use std::any::{Any, TypeId};
use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use crate::turn::{self, Mode, Saves};
#[cfg(not(test))]
use crate::wit::state as host;
use crate::{Actor, CallError, StateError, cell};

thread_local! {
    static SLOTS: RefCell<BTreeMap<(TypeId, String), Rc<dyn Any>>> = const { RefCell::new(BTreeMap::new()) };
}

/// Where one actor's state lives between its turns.
pub(crate) struct Slot<A> {
    key: String,
    value: RefCell<Value<A>>,
    /// The state as the host has it.
    saved: RefCell<Vec<u8>>,
    /// The cells' writes when it was saved.
    seen: Cell<u64>,
    /// The actor's resource has it.
    opened: Cell<bool>,
}

enum Value<A> {
    /// Not read yet, or dropped after it could not be saved.
    Absent,
    Here(Rc<A>),
    /// A `&mut self` turn has it; the address is kept, to know it again.
    Held(*const A),
}

/// Why a turn cannot have the state.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// Another turn of this actor waits in the middle of its work.
    Busy,
    Unreadable(String),
}

impl<A: Actor> Slot<A> {
    /// The slot of that actor; a new one is not read yet.
    pub(crate) fn find_or_make(key: &str) -> Rc<Self> {
        SLOTS
            .with_borrow(|slots| slots.get(&(TypeId::of::<A>(), key.to_owned())).cloned())
            .and_then(|slot| slot.downcast().ok())
            .unwrap_or_else(|| Self::make(key))
    }

    /// The slot for a resource that is constructed: the one that `activate` has just made, if there is
    /// that hook. One that another resource has is of an activation that is over, though what it had
    /// may not be dropped yet: its state may not be the actor's any more.
    pub(crate) fn open(key: &str) -> Rc<Self> {
        let mut slot = Self::find_or_make(key);
        if slot.opened.get() {
            slot = Self::make(key);
        }
        slot.opened.set(true);
        slot
    }

    /// The slot of an actor that wakes by its journal: the one of this very activation, or a new one.
    pub(crate) fn waking(key: &str) -> Rc<Self> {
        let slot = Self::find_or_make(key);
        if slot.opened.get() { Self::make(key) } else { slot }
    }

    /// Takes what it was from a snapshot.
    pub(crate) fn restore(&self, snapshot: &[u8]) -> Result<(), String> {
        let value = rmp_serde::from_slice(snapshot);
        let value = value.map_err(|error| format!("the snapshot of {} cannot be read: {error}", self.name()))?;
        drop(self.value.replace(Value::Here(Rc::new(value))));
        Ok(())
    }

    /// Changes it while it wakes, when no turn runs.
    pub(crate) fn change(&self, change: impl FnOnce(&mut A) -> Result<(), String>) -> Result<(), String> {
        let busy = || format!("a turn of {} has it", self.name());
        let mut value = self.hold().map_err(|_| busy())?;
        let changed = Rc::get_mut(&mut value).map_or_else(|| Err(busy()), change);
        *self.value.borrow_mut() = Value::Here(value);
        changed
    }

    /// All of it, for a snapshot.
    pub(crate) fn snapshot(&self) -> Result<Vec<u8>, String> {
        self.load().map(|value| encode(&*value)).map_err(|_| format!("a turn of {} has it", self.name()))
    }

    /// A new slot, in place of any other.
    pub(crate) fn make(key: &str) -> Rc<Self> {
        let slot = Rc::new(Self {
            key: key.to_owned(),
            value: RefCell::new(Value::Absent),
            saved: RefCell::default(),
            seen: Cell::new(0),
            opened: Cell::new(false),
        });
        let old = SLOTS.with_borrow_mut(|slots| slots.insert((TypeId::of::<A>(), key.to_owned()), slot.clone()));
        drop(old);
        slot
    }

    /// Forgets the actor, unless another slot has taken its place.
    pub(crate) fn forget(self: &Rc<Self>) {
        let key = (TypeId::of::<A>(), self.key.clone());
        let old = SLOTS.with_borrow_mut(|slots| {
            let mine = slots.get(&key).is_some_and(|slot| std::ptr::addr_eq(Rc::as_ptr(slot), Rc::as_ptr(self)));
            if mine { slots.remove(&key) } else { None }
        });
        drop(old);
    }

    /// The state, read if it was not yet.
    pub(crate) fn load(&self) -> Result<Rc<A>, Refusal> {
        match &*self.value.borrow() {
            Value::Here(value) => return Ok(Rc::clone(value)),
            Value::Held(_) => return Err(Refusal::Busy),
            Value::Absent => {}
        }
        let stored = if is_stored::<A>() { host::get(A::STATE) } else { None };
        let value = match stored {
            None => A::default(),
            Some(bytes) => rmp_serde::from_slice(&bytes).map_err(|error| {
                Refusal::Unreadable(format!("the state `{}` of {} cannot be read: {error}", A::STATE, self.name()))
            })?,
        };
        // What differs from this was changed by a turn, also if the stored form is an older one.
        *self.saved.borrow_mut() = encode(&value);
        self.seen.set(cell::writes());
        let value = Rc::new(value);
        *self.value.borrow_mut() = Value::Here(Rc::clone(&value));
        Ok(value)
    }
}

quark_sdk_macros::either! {
    impl<A: Actor> Slot<A> {
        /// Runs a `&self` turn.
        pub(crate) async fn shared<R>(self: &Rc<Self>, body: impl AsyncFnOnce(&A) -> R, refuse: Refuse<R>) -> R {
            let value = match self.load() {
                Ok(value) => value,
                Err(refusal) => return self.refused(refusal, refuse),
            };
            turn::run(self.clone(), Mode::Shared, async || {
                let (result, saved) = turn::saving(|| self.save_of(&value), async || body(&value).await).await;
                match saved {
                    Ok(()) => result,
                    Err(error) => refuse(turn::call_error(error)),
                }
            })
            .await
        }

        /// Runs a `&mut self` turn.
        pub(crate) async fn exclusive<R>(self: &Rc<Self>, body: impl AsyncFnOnce(&mut A) -> R, refuse: Refuse<R>) -> R {
            let mut value = match self.hold() {
                Ok(value) => value,
                Err(refusal) => return self.refused(refusal, refuse),
            };
            let Some(state) = Rc::get_mut(&mut value) else {
                *self.value.borrow_mut() = Value::Here(value);
                return self.refused(Refusal::Busy, refuse);
            };
            let result = turn::run(self.clone(), Mode::Exclusive, async || body(state).await).await;
            let saved = self.stage(&value);
            *self.value.borrow_mut() = Value::Here(value);
            match saved {
                Ok(()) => result,
                Err(error) => {
                    self.lose();
                    refuse(turn::call_error(error))
                }
            }
        }
    }
}

impl<A: Actor> Slot<A> {
    fn hold(&self) -> Result<Rc<A>, Refusal> {
        let value = self.load()?;
        *self.value.borrow_mut() = Value::Held(Rc::as_ptr(&value));
        Ok(value)
    }

    fn refused<R>(&self, refusal: Refusal, refuse: Refuse<R>) -> R {
        match refusal {
            Refusal::Busy => {
                refuse(CallError::Deadlock(format!("{} waits in the middle of another turn", self.name())))
            }
            Refusal::Unreadable(text) => refuse(CallError::Failed(text)),
        }
    }

    /// Stages what a `&self` turn changed of the value that it works on.
    fn save_of(&self, mine: &Rc<A>) -> Result<(), StateError> {
        let is_here = matches!(&*self.value.borrow(), Value::Here(value) if Rc::ptr_eq(value, mine));
        if !is_here {
            let text = "another turn of this actor changed what could not be stored, and so all of it was undone";
            return Err(StateError::Unavailable(text.into()));
        }
        if self.seen.get() == cell::writes() {
            return Ok(());
        }
        self.stage(mine).inspect_err(|_| self.lose())
    }

    /// Changes could not be staged: the next turn starts from what the host has.
    fn lose(&self) {
        let old = self.value.replace(Value::Absent);
        drop(old);
    }

    fn stage(&self, value: &A) -> Result<(), StateError> {
        if !is_stored::<A>() {
            self.seen.set(cell::writes());
            return Ok(());
        }
        let bytes = encode(value);
        if bytes != *self.saved.borrow() {
            host::set(A::STATE, &bytes)?;
            *self.saved.borrow_mut() = bytes;
        }
        self.seen.set(cell::writes());
        Ok(())
    }
}

impl<A: Actor> Saves for Slot<A> {
    fn save(&self) -> Result<(), StateError> {
        let value = match &*self.value.borrow() {
            Value::Here(value) if self.seen.get() != cell::writes() => Rc::clone(value),
            Value::Here(_) | Value::Absent | Value::Held(_) => return Ok(()),
        };
        self.stage(&value)
    }

    fn save_held(&self, held: &dyn Any) -> Option<Result<(), StateError>> {
        let held = held.downcast_ref::<A>()?;
        let mine = matches!(*self.value.borrow(), Value::Held(address) if std::ptr::eq(address, held));
        mine.then(|| self.stage(held))
    }

    fn name(&self) -> String {
        let path = std::any::type_name::<A>();
        format!("{}/{}", path.rsplit("::").next().unwrap_or(path), self.key)
    }
}

/// How a method says that its turn cannot be; it traps where its result has no room for that.
pub(crate) type Refuse<R> = fn(CallError) -> R;

/// Whether it is a value of the actor's state.
fn is_stored<A: Actor>() -> bool {
    size_of::<A>() > 0 && !A::JOURNALED
}

fn encode<A: Actor>(value: &A) -> Vec<u8> {
    match rmp_serde::to_vec_named(value) {
        Ok(bytes) => bytes,
        Err(error) => panic!("the state `{}` cannot be encoded: {error}", A::STATE),
    }
}

#[cfg(test)]
mod host {
    //! A host of one actor, which counts writes and can refuse them.

    use std::cell::{Cell, RefCell};

    use crate::StateError;

    thread_local! {
        pub(super) static STORED: RefCell<Option<Vec<u8>>> = const { RefCell::new(None) };
        pub(super) static SETS: Cell<u32> = const { Cell::new(0) };
        pub(super) static LIMIT: Cell<usize> = const { Cell::new(usize::MAX) };
    }

    pub(super) fn get(_name: &str) -> Option<Vec<u8>> {
        STORED.with_borrow(Clone::clone)
    }

    pub(super) fn set(_name: &str, bytes: &[u8]) -> Result<(), StateError> {
        if bytes.len() > LIMIT.get() {
            return Err(StateError::TooLarge(LIMIT.get() as u64));
        }
        SETS.set(SETS.get() + 1);
        STORED.set(Some(bytes.to_vec()));
        Ok(())
    }
}

#[cfg(all(test, not(feature = "async")))]
mod tests {
    use super::*;
    use crate::State;
    use crate::turn::before_call;

    type Answer = Result<u64, CallError>;

    #[derive(Default, serde::Serialize, serde::Deserialize)]
    #[serde(default)]
    struct Tally {
        count: u64,
        shared: State<u64>,
        text: String,
    }

    impl Actor for Tally {
        const EXCLUSIVE: bool = true;
        const HOOKS: bool = false;
    }

    fn refuse(error: CallError) -> Answer {
        Err(error)
    }

    fn add(slot: &Rc<Slot<Tally>>, by: u64) -> Answer {
        slot.exclusive(
            |it| {
                it.count += by;
                Ok(it.count)
            },
            refuse,
        )
    }

    fn sets() -> u32 {
        host::SETS.get()
    }

    #[test]
    fn state_is_saved_only_when_it_changed() {
        let slot = Slot::<Tally>::make("a");
        assert_eq!(add(&slot, 0).ok(), Some(0));
        assert_eq!(sets(), 0, "a default that stays is not written");
        assert_eq!(add(&slot, 2).ok(), Some(2));
        assert_eq!(add(&slot, 0).ok(), Some(2));
        assert_eq!(slot.shared(|it| Ok(it.count), refuse).ok(), Some(2));
        assert_eq!(sets(), 1);
        slot.forget();
        let again = Slot::<Tally>::find_or_make("a");
        assert_eq!(add(&again, 1).ok(), Some(3), "read back from the host");
    }

    #[test]
    fn an_error_commits_like_an_answer() {
        let slot = Slot::<Tally>::make("a");
        let answer: Answer = slot.exclusive(
            |it| {
                it.count = 7;
                Err(CallError::Stopped)
            },
            refuse,
        );
        assert!(matches!(answer, Err(CallError::Stopped)));
        assert_eq!(sets(), 1);
    }

    #[test]
    fn a_cell_is_saved_before_a_call_and_at_the_end() {
        let slot = Slot::<Tally>::make("a");
        let answer = slot.shared(
            |it| {
                it.shared.update(|n| *n += 1);
                before_call()?;
                assert_eq!(sets(), 1);
                before_call()?;
                assert_eq!(sets(), 1, "nothing changed since");
                it.shared.set(5);
                Ok(it.shared.get())
            },
            refuse,
        );
        assert_eq!(answer.ok(), Some(5));
        assert_eq!(sets(), 2);
    }

    #[test]
    fn an_exclusive_turn_calls_through_call_only() {
        let slot = Slot::<Tally>::make("a");
        let answer = slot.exclusive(
            |it| {
                it.count = 1;
                assert!(matches!(before_call(), Err(CallError::Denied(_))));
                it.call(|| {
                    before_call()?;
                    assert_eq!(sets(), 1);
                    Ok::<_, CallError>(())
                })?;
                assert!(matches!(before_call(), Err(CallError::Denied(_))));
                let other = Tally::default();
                assert!(matches!(other.call(before_call), Err(CallError::Denied(_))), "not the actor's own state");
                Ok(it.count)
            },
            refuse,
        );
        assert_eq!(answer.ok(), Some(1));
        assert_eq!(sets(), 1);
    }

    #[test]
    fn a_call_inside_an_update_is_refused() {
        let slot = Slot::<Tally>::make("a");
        let answer = slot.shared(|it| it.shared.update(|_| before_call()).map(|()| 0), refuse);
        assert!(matches!(answer, Err(CallError::Denied(_))));
        assert!(before_call().is_ok(), "no turn, nothing to save");
    }

    #[test]
    fn turns_that_nest_do_not_panic() {
        let slot = Slot::<Tally>::make("a");
        let answer = slot.shared(
            |it| {
                it.shared.set(1);
                let nested = slot.shared(
                    |it| {
                        it.shared.update(|n| *n += 10);
                        Ok(it.shared.get())
                    },
                    refuse,
                )?;
                assert!(matches!(add(&slot, 1), Err(CallError::Deadlock(_))));
                Ok(nested + it.shared.get())
            },
            refuse,
        );
        assert_eq!(answer.ok(), Some(22));
        let answer = slot.exclusive(
            |it| {
                it.call(|| {
                    assert!(matches!(add(&slot, 1), Err(CallError::Deadlock(_))));
                    slot.shared(|it| Ok(it.count), refuse)
                })
            },
            refuse,
        );
        assert!(matches!(answer, Err(CallError::Deadlock(_))));
        assert_eq!(add(&slot, 1).ok(), Some(1));
    }

    #[test]
    fn a_state_that_cannot_be_saved_is_forgotten() {
        let slot = Slot::<Tally>::make("a");
        assert_eq!(add(&slot, 1).ok(), Some(1));
        host::LIMIT.set(64);
        let answer = slot.exclusive(
            |it| {
                it.text = "x".repeat(100);
                it.count = 9;
                Ok(0)
            },
            refuse,
        );
        assert!(matches!(answer, Err(CallError::TooLarge(64))));
        assert_eq!(add(&slot, 1).ok(), Some(2));
    }

    #[test]
    fn actors_of_one_instance_are_kept_apart_by_key() {
        let (a, b) = (Slot::<Tally>::find_or_make("a"), Slot::<Tally>::find_or_make("b"));
        assert_eq!(add(&a, 1).ok(), Some(1));
        assert!(!Rc::ptr_eq(&a, &b));
        assert!(Rc::ptr_eq(&a, &Slot::find_or_make("a")));
        let newer = Slot::<Tally>::make("a");
        a.forget();
        assert!(Rc::ptr_eq(&newer, &Slot::find_or_make("a")), "the old one does not take the new one along");
    }

    #[test]
    fn an_actor_that_comes_back_reads_its_state_anew() {
        let old = Slot::<Tally>::open("a");
        assert_eq!(add(&old, 5).ok(), Some(5));
        host::STORED.set(None);
        let new = Slot::<Tally>::open("a");
        assert_eq!(add(&new, 1).ok(), Some(1), "the old one is not dropped yet");
        old.forget();
        assert!(Rc::ptr_eq(&new, &Slot::find_or_make("a")));
        // What `activate` made is the resource's.
        let woken = Slot::<Tally>::make("a");
        assert!(Rc::ptr_eq(&woken, &Slot::open("a")));
    }

    #[test]
    fn state_that_is_not_ours_is_refused() {
        host::STORED.set(Some(b"\xc1".to_vec()));
        let slot = Slot::<Tally>::make("a");
        assert!(matches!(add(&slot, 1), Err(CallError::Failed(text)) if text.contains("Tally/a")));
    }
}

#[cfg(all(test, feature = "async"))]
mod async_tests {
    use std::future::poll_fn;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::State;

    type Answer = Result<u64, CallError>;

    #[derive(Default, serde::Serialize, serde::Deserialize)]
    struct Tally {
        count: State<u64>,
    }

    impl Actor for Tally {
        const EXCLUSIVE: bool = false;
        const HOOKS: bool = false;
    }

    fn refuse(error: CallError) -> Answer {
        Err(error)
    }

    /// Waits once.
    async fn pause() {
        let mut paused = false;
        poll_fn(|_| if std::mem::replace(&mut paused, true) { Poll::Ready(()) } else { Poll::Pending }).await
    }

    /// Runs a turn up to where it waits.
    fn poll<R>(turn: Pin<&mut impl Future<Output = R>>) -> Option<R> {
        match turn.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(result) => Some(result),
            Poll::Pending => None,
        }
    }

    fn answer(turn: Pin<&mut impl Future<Output = Answer>>) -> Answer {
        poll(turn).unwrap_or_else(|| panic!("it waits"))
    }

    /// Adds, waits, adds.
    async fn around(slot: &Rc<Slot<Tally>>, by: u64) -> Answer {
        let body = async |it: &Tally| {
            it.count.update(|count| *count += by);
            pause().await;
            it.count.update(|count| *count += by);
            Ok(it.count.get())
        };
        slot.shared(body, refuse).await
    }

    async fn count(slot: &Rc<Slot<Tally>>, waits: bool) -> Answer {
        let body = async |it: &Tally| {
            if waits {
                pause().await;
            }
            Ok(it.count.get())
        };
        slot.shared(body, refuse).await
    }

    #[test]
    fn what_a_turn_changed_is_staged_by_itself_before_others_run() {
        let slot = Slot::<Tally>::make("a");
        let mut one = pin!(around(&slot, 1));
        assert!(poll(one.as_mut()).is_none());
        assert_eq!(host::SETS.get(), 1);
        let reader = answer(pin!(count(&slot, false)));
        assert_eq!((reader.ok(), host::SETS.get()), (Some(1), 1), "a reader writes nothing for others");
        let mut two = pin!(around(&slot, 10));
        assert!(poll(two.as_mut()).is_none());
        assert_eq!(answer(one).ok(), Some(12));
        assert_eq!(answer(two).ok(), Some(22));
        assert_eq!(host::SETS.get(), 4);
    }

    #[test]
    fn changes_that_cannot_be_staged_are_seen_by_nobody_else() {
        let slot = Slot::<Tally>::make("a");
        let (mut reader, mut writer) = (pin!(count(&slot, true)), pin!(around(&slot, 300)));
        assert!(poll(reader.as_mut()).is_none());
        host::LIMIT.set(8);
        assert!(poll(writer.as_mut()).is_none());
        // Whoever began before rests on what is undone; whoever comes now does not.
        assert!(matches!(answer(reader), Err(CallError::Other(text)) if text.contains("another turn")));
        assert_eq!(answer(pin!(count(&slot, false))).ok(), Some(0));
        host::LIMIT.set(usize::MAX);
        assert!(matches!(answer(writer), Err(CallError::TooLarge(8))));
        assert_eq!(answer(pin!(count(&slot, false))).ok(), Some(0));
        assert_eq!(host::SETS.get(), 0);
    }
}
