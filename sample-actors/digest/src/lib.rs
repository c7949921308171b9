//! Sums up what it was told, at its times: reminders that survive the silo.

use std::cell::RefCell;
use std::time::Duration;

use quark_sdk::prelude::*;

quark_sdk::world!("digest-actor");

#[state]
struct Digest {
    entries: State<u32>,
    made: State<Vec<Made>>,
    tries: State<u32>,
    #[serde(skip)]
    woke: RefCell<String>,
}

/// A digest as it is stored.
#[state]
#[derive(Clone)]
struct Made {
    reminder: String,
    due: u64,
    payload: Vec<u8>,
    at: u64,
    entries: u32,
}

#[actor]
impl Digest {
    fn on_activate(&mut self, it: Activation) -> Result<(), String> {
        self.woke.replace(format!("{:?}", it.cause).to_lowercase());
        Ok(())
    }

    fn on_reminder(&self, firing: Firing) -> Result<(), String> {
        match firing.name.as_str() {
            "fail" => return Err("it is out of ink".to_owned()),
            "trap" => panic!("it tore the page"),
            "again" => reminders::register("again", &Schedule::Once(Duration::from_secs(3600)), Missed::Skip, b"anew")?,
            "stop" => reminders::unregister("stop"),
            _ => {}
        }
        let Firing { name: reminder, due, payload } = firing;
        let made = Made { reminder, due, payload, at: context::now(), entries: self.entries.get() };
        self.made.update(|all| all.push(made));
        self.entries.set(0);
        Ok(())
    }

    fn add(&self, _entry: String) -> Result<(), CallError> {
        self.entries.update(|entries| *entries += 1);
        Ok(())
    }

    fn once(&self, reminder: String, after_ms: u64) -> Result<(), CallError> {
        reminders::once(&reminder, Duration::from_millis(after_ms), b"once").map_err(CallError::Other)
    }

    fn every(&self, reminder: String, each_ms: u64, missed: String) -> Result<(), CallError> {
        let missed = match missed.as_str() {
            "fire-all" => Missed::FireAll,
            "skip" => Missed::Skip,
            _ => Missed::FireOnce,
        };
        let schedule = Schedule::Every(Duration::from_millis(each_ms));
        reminders::register(&reminder, &schedule, missed, b"every").map_err(CallError::Other)
    }

    fn at(&self, reminder: String, fields: String) -> Result<(), CallError> {
        reminders::cron(&reminder, &fields, b"cron").map_err(CallError::Other)
    }

    fn cancel(&self, reminder: String) -> Result<(), CallError> {
        reminders::unregister(&reminder);
        Ok(())
    }

    async fn planned(&self) -> Result<Vec<Planned>, CallError> {
        let all = reminders::registered().await.map_err(CallError::Other)?;
        Ok(all.into_iter().map(shown).collect())
    }

    fn many(&self, n: u32, after_ms: u64) -> Result<(), CallError> {
        (0..n).try_for_each(|n| {
            reminders::once(&n.to_string(), Duration::from_millis(after_ms), &[]).map_err(CallError::Other)
        })
    }

    fn undone(&self, reminder: String) -> Result<(), CallError> {
        reminders::once(&reminder, Duration::ZERO, &[]).map_err(CallError::Other)?;
        panic!("it changed its mind")
    }

    fn made(&self) -> Result<Vec<Summary>, CallError> {
        let summary = |it: Made| {
            let Made { reminder, due, payload, at, entries } = it;
            Summary { reminder, due, at, entries, payload }
        };
        Ok(self.made.get().into_iter().map(summary).collect())
    }

    fn woke(&self) -> Result<String, CallError> {
        Ok(self.woke.borrow().clone())
    }
}

fn shown(it: reminders::Reminder) -> Planned {
    Planned { reminder: it.name, next: it.next, missed: format!("{:?}", it.missed) }
}
