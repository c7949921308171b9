//! Beats while it is in memory: timers that start, stop, replace and count.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::hint::black_box;
use std::time::Duration;

use quark_sdk::prelude::*;

quark_sdk::world!("metronome-actor");

/// How long a beat of `slow` takes.
const SLOW_MS: u64 = 50;
const LATER: Duration = Duration::from_secs(3600);

#[state]
struct Metronome {
    total: State<u64>,
    #[serde(skip)]
    beats: RefCell<BTreeMap<String, Beats>>,
}

#[derive(Default)]
struct Beats {
    count: u64,
    payload: Vec<u8>,
    runs: bool,
    overlapped: bool,
}

#[actor]
impl Metronome {
    fn on_timer(&self, name: String, payload: Vec<u8>) -> Result<(), String> {
        let count = self.with(&name, |beats| {
            beats.overlapped |= std::mem::replace(&mut beats.runs, true);
            beats.count += 1;
            beats.payload.clone_from(&payload);
            beats.count
        });
        self.total.update(|total| *total += 1);
        let outcome = match name.as_str() {
            "fail" => Err("it lost the beat".to_owned()),
            "trap" => panic!("it broke its string"),
            "slow" => {
                let end = context::now().saturating_add(SLOW_MS);
                while context::now() < end {
                    for n in 0..10_000 {
                        black_box(n);
                    }
                }
                Ok(())
            }
            "three" if count == 3 => {
                timers::stop(&name);
                Ok(())
            }
            "again" => {
                timers::once(&name, Duration::from_millis(1), &payload);
                Ok(())
            }
            _ => Ok(()),
        };
        self.with(&name, |beats| beats.runs = false);
        outcome
    }

    fn start(&self, timer: String, after_ms: u64, every_ms: Option<u64>, payload: Vec<u8>) -> Result<(), CallError> {
        timers::start(&timer, Duration::from_millis(after_ms), every_ms.map(Duration::from_millis), &payload);
        Ok(())
    }

    fn stop(&self, timer: String) -> Result<bool, CallError> {
        Ok(timers::stop(&timer))
    }

    fn beats(&self) -> Result<Vec<Beat>, CallError> {
        let beat = |(timer, beats): (&String, &Beats)| Beat {
            timer: timer.clone(),
            beats: beats.count,
            payload: beats.payload.clone(),
            overlapped: beats.overlapped,
        };
        Ok(self.beats.borrow().iter().map(beat).collect())
    }

    fn start_many(&self, n: u32) -> Result<(), CallError> {
        (0..n).for_each(|n| timers::once(&n.to_string(), LATER, &[]));
        Ok(())
    }

    fn start_and_stop(&self, n: u32) -> Result<(), CallError> {
        for _ in 0..n {
            timers::once("x", LATER, &[]);
            timers::stop("x");
        }
        Ok(())
    }

    fn total(&self) -> Result<u64, CallError> {
        Ok(self.total.get())
    }
}

impl Metronome {
    fn with<R>(&self, timer: &str, change: impl FnOnce(&mut Beats) -> R) -> R {
        change(self.beats.borrow_mut().entry(timer.to_owned()).or_default())
    }
}
