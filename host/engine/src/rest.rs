//! Whether all turns of an instance wait, and for what: in the concurrent lane a turn goes on when any of
//! its calls ends, or of itself.
//!
//! An event loop that has nothing to do is polled again only when something wakes it: the end of what
//! waits outside of it. All that does is counted here: calls one by one, everything else together.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Wake, Waker};

use futures_util::task::AtomicWaker;
use parking_lot::Mutex;
use quark_core::activation::Turn;

/// It runs, or will soon.
const AWAKE: u8 = 0;
/// It is being polled, and nothing woke it since that began.
const POLLED: u8 = 1;
/// It had nothing more to do, and nothing woke it since.
const RESTS: u8 = 2;

/// What the turns of one instance wait for.
#[derive(Debug, Default)]
pub struct Rest {
    state: AtomicU8,
    /// Whoever polls the event loop.
    outer: AtomicWaker,
    waits: Mutex<Waits>,
}

#[derive(Debug, Default)]
struct Waits {
    /// As turn and call.
    calls: Vec<(u64, u32)>,
    /// All that is no call.
    others: u32,
}

impl Rest {
    /// The calls whose ends alone can let the instance go on, as turn and call of that turn; none while it
    /// runs, or waits for anything else.
    #[must_use]
    pub fn calls(&self) -> Option<Vec<(u64, u32)>> {
        let waits = self.waits.lock();
        let rests = self.state.load(Ordering::SeqCst) == RESTS && waits.others == 0;
        rests.then(|| waits.calls.clone())
    }

    /// That call of that turn is under way for as long as the answer lives.
    pub(crate) fn call(self: &Arc<Self>, turn: Turn, call: u32) -> UnderWay {
        let call = (turn.number, call);
        self.waits.lock().calls.push(call);
        UnderWay { rest: self.clone(), call: Some(call) }
    }

    /// The same of something that is no call.
    pub(crate) fn other(self: &Arc<Self>) -> UnderWay {
        self.waits.lock().others += 1;
        UnderWay { rest: self.clone(), call: None }
    }
}

impl Wake for Rest {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.state.store(AWAKE, Ordering::SeqCst);
        self.outer.wake();
    }
}

/// Something that an instance waits for.
#[must_use]
pub(crate) struct UnderWay {
    rest: Arc<Rest>,
    call: Option<(u64, u32)>,
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut waits = self.rest.waits.lock();
        match self.call {
            None => waits.others -= 1,
            Some(call) => {
                if let Some(at) = waits.calls.iter().position(|it| *it == call) {
                    waits.calls.swap_remove(at);
                }
            }
        }
    }
}

/// Runs an event loop, and notes when it rests.
pub(crate) async fn noted<F: Future>(rest: Option<Arc<Rest>>, event_loop: F) -> F::Output {
    let Some(rest) = rest else { return event_loop.await };
    let mut event_loop = pin!(event_loop);
    let waker = Waker::from(rest.clone());
    poll_fn(|cx| {
        rest.outer.register(cx.waker());
        rest.state.store(POLLED, Ordering::SeqCst);
        let polled = event_loop.as_mut().poll(&mut Context::from_waker(&waker));
        let rests = if polled.is_pending() { RESTS } else { AWAKE };
        // Not if it was woken meanwhile.
        let _ = rest.state.compare_exchange(POLLED, rests, Ordering::SeqCst, Ordering::SeqCst);
        polled
    })
    .await
}
