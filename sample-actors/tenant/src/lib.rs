//! Actors that may share an instance: what each has for itself, and how one hurts the others.

use std::cell::{Cell, RefCell};
use std::hint::black_box;

use quark_sdk::prelude::*;

quark_sdk::world!("tenant-actor");

thread_local! {
    // What the actors of this instance have together.
    static INSTANCE: u64 = context::random(8).into_iter().fold(0, |number, byte| number << 8 | u64::from(byte));
    static ACTORS: Cell<u32> = const { Cell::new(0) };
    static HOARDED_MIB: Cell<u32> = const { Cell::new(0) };
    static MET: Cell<u32> = const { Cell::new(0) };
}

#[state]
struct Tenant {
    total: State<u64>,
    #[serde(skip)]
    pings: Cell<u64>,
    #[serde(skip)]
    woken: RefCell<(String, u64)>,
    #[serde(skip)]
    _lives: Lives,
}

#[actor]
impl Tenant {
    fn on_activate(&mut self, it: Activation) -> Result<(), String> {
        self.woken.replace((format!("{:?}", it.cause).to_lowercase(), it.generation));
        Ok(())
    }

    fn add(&self, by: u64) -> Result<u64, CallError> {
        self.total.update(|total| *total += by);
        Ok(self.total.get())
    }

    fn total(&self) -> Result<u64, CallError> {
        Ok(self.total.get())
    }

    fn note(&self) {
        self.total.update(|total| *total += 1);
    }

    fn ping(&self) -> Result<u64, CallError> {
        self.pings.set(self.pings.get() + 1);
        Ok(self.pings.get())
    }

    fn look(&self) -> Result<Home, CallError> {
        let (cause, generation) = self.woken.borrow().clone();
        let instance = INSTANCE.with(|number| *number);
        Ok(Home { instance, actors: ACTORS.get(), memory: memory_bytes(), cause, generation })
    }

    fn say(&self, line: String) -> Result<(), CallError> {
        info!("{line}");
        Ok(())
    }

    fn leave(&self) -> Result<Home, CallError> {
        context::deactivate_soon();
        self.look()
    }

    fn trap(&self, message: String) -> Result<(), CallError> {
        panic!("{message}")
    }

    fn add_then_trap(&self, by: u64) -> Result<(), CallError> {
        self.total.update(|total| *total += by);
        panic!("added for nothing")
    }

    fn spin(&self) -> Result<(), CallError> {
        let mut n = 0_u64;
        loop {
            n = black_box(n.wrapping_add(1));
        }
    }

    fn hoard(&self, mib: u32) -> Result<u32, CallError> {
        for _ in 0..mib {
            std::mem::forget(black_box(vec![1_u8; 1 << 20]));
            HOARDED_MIB.set(HOARDED_MIB.get() + 1);
        }
        Ok(HOARDED_MIB.get())
    }

    async fn add_and_meet(&self, by: u64, n: u32) -> Result<u64, CallError> {
        self.total.update(|total| *total += by);
        MET.set(MET.get() + 1);
        while MET.get() < n {
            pause().await;
        }
        Ok(self.total.get())
    }

    fn met(&self) -> Result<u32, CallError> {
        Ok(MET.get())
    }
}

/// Counts the values that live.
struct Lives;

impl Default for Lives {
    fn default() -> Self {
        ACTORS.set(ACTORS.get() + 1);
        Self
    }
}

impl Drop for Lives {
    fn drop(&mut self) {
        ACTORS.set(ACTORS.get() - 1);
    }
}

/// Lets other turns of this instance go on.
#[cfg(feature = "async")]
async fn pause() {
    let mut paused = false;
    std::future::poll_fn(|context| {
        if std::mem::replace(&mut paused, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await
}

/// A plain turn ends before the next begins.
#[cfg(not(feature = "async"))]
fn pause() {
    black_box(());
}

#[cfg(target_arch = "wasm32")]
fn memory_bytes() -> u64 {
    core::arch::wasm32::memory_size::<0>() as u64 * 65_536
}

#[cfg(not(target_arch = "wasm32"))]
fn memory_bytes() -> u64 {
    0
}
