//! Hostile on purpose: what a silo must survive.

#![expect(clippy::print_stdout, reason = "flooding it is the point")]

use std::cell::Cell;
use std::hint::black_box;
use std::time::Duration;

use quark_sdk::log::Level;
use quark_sdk::prelude::*;

quark_sdk::world!("rogue-actor");

#[state]
struct Rogue {
    text: State<String>,
    #[serde(skip)]
    pings: Cell<u64>,
    #[serde(skip)]
    hoarded_mib: Cell<u32>,
}

#[actor]
impl Rogue {
    fn on_activate(&mut self, it: Activation) -> Result<(), String> {
        match it.me.key.as_str() {
            key if key.starts_with("refuse-") => Err(format!("{key} will not wake")),
            key if key.starts_with("trap-activate-") => panic!("{key} trapped while waking"),
            key if key.starts_with("spin-activate-") => spin(),
            key if key.starts_with("slow-activate-") => {
                sleep(Duration::from_millis(500));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_deactivate(&mut self, _: Deactivation) -> Result<(), String> {
        match context::key() {
            key if key.starts_with("spin-deactivate-") => spin(),
            key if key.starts_with("wait-deactivate-") => {
                sleep(Duration::from_secs(60));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn on_timer(&self, name: String) -> Result<(), String> {
        match name.as_str() {
            "spin" => spin(),
            "trap" => panic!("trapped by a timer"),
            "fail" => Err("failed by a timer".into()),
            _ => {
                self.pings.set(self.pings.get() + 1);
                Ok(())
            }
        }
    }

    fn start_timer(
        &self,
        name: String,
        after_ms: u64,
        every_ms: Option<u64>,
        payload_bytes: u64,
    ) -> Result<(), CallError> {
        let every = every_ms.map(Duration::from_millis);
        timers::start(&name, Duration::from_millis(after_ms), every, text_of(payload_bytes).as_bytes());
        Ok(())
    }

    fn ping(&self) -> Result<u64, CallError> {
        self.pings.set(self.pings.get() + 1);
        Ok(self.pings.get())
    }

    fn spin(&self) -> Result<(), CallError> {
        spin()
    }

    fn spin_for(&self, ms: u64) -> Result<(), CallError> {
        let end = context::now().saturating_add(ms);
        while context::now() < end {
            for n in 0..10_000 {
                black_box(n);
            }
        }
        Ok(())
    }

    fn sleep(&self, ms: u64) -> Result<(), CallError> {
        sleep(Duration::from_millis(ms));
        Ok(())
    }

    fn trap(&self, message: String) -> Result<(), CallError> {
        panic!("{message}")
    }

    fn abort(&self) -> Result<(), CallError> {
        std::process::abort()
    }

    fn recurse(&self) -> Result<u64, CallError> {
        Ok(deeper(1))
    }

    fn hoard(&self, mib: u32) -> Result<u32, CallError> {
        for _ in 0..mib {
            std::mem::forget(black_box(vec![1_u8; 1 << 20]));
            self.hoarded_mib.set(self.hoarded_mib.get() + 1);
        }
        Ok(self.hoarded_mib.get())
    }

    fn many_handles(&self, n: u32) -> Result<u32, CallError> {
        for _ in 0..n {
            std::mem::forget(Blob::new(b"kept"));
        }
        Ok(n)
    }

    fn huge_result(&self, bytes: u64) -> Result<String, CallError> {
        Ok(text_of(bytes))
    }

    fn huge_state(&self, bytes: u64) -> Result<(), CallError> {
        self.text.set(text_of(bytes));
        Ok(())
    }

    async fn flood_calls(&self, n: u32, victim: String) -> Result<u32, CallError> {
        let victim = victims::Victim::new(&victim);
        let mut answered = 0;
        for _ in 0..n {
            answered += u32::from(victim.hit().await.is_ok());
        }
        Ok(answered)
    }

    async fn flood_tells(&self, n: u32, victim: String) -> Result<(), CallError> {
        let victim = victims::Victim::new(&victim);
        for _ in 0..n {
            victim.poke().await;
        }
        Ok(())
    }

    fn flood_logs(&self, n: u32) -> Result<(), CallError> {
        for line in 0..n {
            quark_sdk::log::log(Level::Info, "a flood", &[("line", &line.to_string())]);
        }
        Ok(())
    }

    fn flood_stdout(&self, n: u32) -> Result<(), CallError> {
        for line in 0..n {
            println!("a flood, line {line}");
        }
        Ok(())
    }

    fn stored(&self) -> Result<String, CallError> {
        Ok(self.text.get())
    }

    fn store(&self, text: String) -> Result<(), CallError> {
        self.text.set(text);
        Ok(())
    }

    fn store_then_err(&self, text: String) -> Result<(), CallError> {
        self.text.set(text);
        Err(CallError::Other("stored all the same".into()))
    }

    fn store_then_trap(&self, text: String) -> Result<(), CallError> {
        self.text.set(text);
        panic!("stored for nothing")
    }

    async fn commit_then_trap(&self, first: String, second: String) -> Result<(), CallError> {
        self.text.set(first);
        quark_sdk::commit().await.map_err(|error| CallError::Other(error.to_string()))?;
        self.text.set(second);
        panic!("stored one of two")
    }

    async fn tell_then_trap(&self, victim: String) -> Result<(), CallError> {
        victims::Victim::new(&victim).poke().await;
        panic!("told nobody")
    }
}

#[state]
struct Victim {
    #[serde(skip)]
    hits: u64,
}

#[actor]
impl Victim {
    fn hit(&mut self) -> Result<u64, CallError> {
        self.hits += 1;
        Ok(self.hits)
    }

    fn poke(&mut self) {
        self.hits += 1;
    }

    fn hits(&self) -> Result<u64, CallError> {
        Ok(self.hits)
    }
}

/// Suspends the turn.
fn sleep(wait: Duration) {
    monotonic_clock::subscribe_duration(wait.as_nanos().try_into().unwrap_or(u64::MAX)).block();
}

fn spin() -> ! {
    let mut n = 0_u64;
    loop {
        n = black_box(n.wrapping_add(1));
    }
}

#[expect(unconditional_recursion, reason = "it is to exhaust the stack")]
fn deeper(depth: u64) -> u64 {
    let frame = black_box([depth; 16]);
    deeper(depth + 1) + black_box(frame)[3]
}

fn text_of(bytes: u64) -> String {
    "x".repeat(bytes.try_into().unwrap_or(usize::MAX))
}
