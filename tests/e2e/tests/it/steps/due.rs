//! Reminders whose rows were there before the silo: of turns that failed too often, of kinds that nobody serves, of
//! very many actors, in a store that is slow.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use futures_util::FutureExt as _;
use quark_core::commit::{Commit, Write};
use quark_core::reminders::{Fired, Missed, Reminder, ReminderChange, ReminderId, Schedule, Stand, WINDOW_MAX};
use quark_e2e::DEADLINE;
use quark_silo::api::LettersWanted;
use quark_silo::gateway::Service as _;
use quark_silo::store::Store as _;
use quark_silo::store::memory::MemoryStore;
use serde_json::{Value, json};

use super::history::{DIGEST, OFTEN};
use super::on_a_large_stack;
use super::run::{Deployed, Flavour, Run, id};

const SERVED: Flavour = Flavour { sample: "digest", manifest: OFTEN };
const OTHER: Flavour = Flavour { sample: "ledger", manifest: "" };
const FAR: u64 = 3_600_000;
const LOOK: Duration = Duration::from_millis(1);

fn now_ms() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis()).unwrap()
}

/// The row of a reminder that an actor would have registered.
fn plant(rows: &MemoryStore, actor: &str, at: u64) {
    let actor = id(actor);
    let claim = rows.claim(&actor).now_or_never().unwrap().unwrap();
    let (reminder, etag) = (ReminderId { actor: actor.clone(), name: "due".into() }, claim.etag + 1);
    let (schedule, missed, payload) = (Schedule::Once(0), Missed::FireOnce, [].into());
    let row = Reminder { id: reminder, schedule, missed, payload, revision: etag, due: at, at, tries: 0 };
    let write = Write { reminders: vec![ReminderChange::Set(Box::new(row))], ..Write::default() };
    let commit = Commit { actor: actor.clone(), generation: claim.generation, etag, write };
    rows.commit(commit, Box::new(|outcome| _ = outcome.unwrap()));
    rows.release(&actor, claim.generation);
}

async fn eventually<T>(what: &str, mut look: impl AsyncFnMut() -> Option<T>) -> T {
    let end = Instant::now() + DEADLINE;
    loop {
        if let Some(found) = look().await {
            return found;
        }
        assert!(Instant::now() < end, "waited in vain until {what}");
        tokio::time::sleep(LOOK).await;
    }
}

impl Run {
    async fn register(&self, method: &str, arguments: &Value) {
        self.gets(DIGEST, method, arguments).await.unwrap();
    }

    /// Each of these actors has made the digest of its only reminder, once.
    async fn all_made(&self, actors: &[String]) {
        for actor in actors {
            let made = eventually("it is made", async || Some(self.made(actor).await).filter(|made| !made.is_empty()));
            assert_eq!(made.await.into_iter().collect::<Vec<_>>(), [("due".to_owned(), 1)], "{actor}");
            assert_eq!(self.reminders_by_rows(actor), []);
        }
    }

    fn held(&self) -> usize {
        let metrics = self.silo.metrics();
        let held = metrics.lines().find_map(|line| line.strip_prefix("quark_reminders_held "));
        held.unwrap().parse().unwrap()
    }

    fn letters(&self) -> Vec<(String, String)> {
        let wanted = LettersWanted { limit: 10, reason: Some("failed".into()), actor: None, after: None };
        let letters = self.silo.dead_letters(&wanted).unwrap().into_iter();
        letters.filter(|it| it.method == "on-reminder").map(|it| (it.to, it.detail)).collect()
    }
}

#[test]
fn the_tenth_turn_that_fails_is_a_dead_letter() {
    on_a_large_stack(|| {
        let (deployed, rows) = (Deployed::new(SERVED), Arc::new(MemoryStore::new()));
        let run = deployed.start(&rows);
        run.runtime.block_on(async {
            run.register("once", &json!(["fail", FAR])).await;
            run.register("every", &json!(["trap", FAR, "fire-once"])).await;
            run.register("once", &json!(["far", FAR])).await;
        });
        run.kill();
        let all = rows.reminders(&id(DIGEST)).now_or_never().unwrap().unwrap();
        let failing = all.iter().filter(|row| &*row.id.name != "far");
        for row in failing {
            // Nine turns of a minute.
            let to = Some(Stand { due: row.due, at: now_ms(), tries: 9 });
            let fired = Fired::new(Arc::new(row.clone()), to);
            rows.move_reminder(fired, Box::new(|outcome| assert_eq!(outcome, Ok(true))));
        }
        let run = deployed.start(&rows);
        let letters = run.runtime.block_on(eventually("both are dead letters", async || {
            Some(run.letters()).filter(|letters| letters.len() == 2)
        }));
        for (name, why) in [("fail", "it is out of ink"), ("trap", "it tore the page")] {
            let told = |(to, detail): &(String, String)| {
                to.ends_with(DIGEST) && detail.contains(&format!("reminder `{name}`: ")) && detail.contains(why)
            };
            assert!(letters.iter().any(told), "{name}: {letters:?}");
        }
        run.runtime.block_on(eventually("its rows have moved on", async || {
            let rows = run.reminders_by_rows(DIGEST);
            let trap = rows.iter().find(|row| &*row.id.name == "trap")?;
            let gone = rows.iter().all(|row| &*row.id.name != "fail");
            (gone && trap.tries == 0 && trap.at == trap.due && trap.due > now_ms()).then_some(())
        }));
        run.runtime.block_on(async {
            assert!(run.made(DIGEST).await.is_empty());
            let planned = run.gets(DIGEST, "planned", &json!([])).await.unwrap();
            assert_eq!(planned.as_array().unwrap().len(), 2, "the others are to come: {planned}");
        });
        run.kill();
    });
}

#[test]
fn reminders_of_kinds_that_nobody_serves_wait_and_hinder_nobody() {
    // More than a page, and all before those that are served.
    const UNSERVED: u64 = 3_000;
    on_a_large_stack(|| {
        let (before, served) = (Deployed::new(OTHER), Deployed::of(&[OTHER, SERVED]));
        let (rows, now) = (Arc::new(MemoryStore::new()), now_ms());
        let actors: Vec<String> = (0..20).map(|n| format!("digest/{n}")).collect();
        for n in 0..UNSERVED {
            plant(&rows, &format!("gone:gone/gones#gone/{n}"), now - UNSERVED + n - 1_000);
        }
        actors.iter().for_each(|actor| plant(&rows, actor, now - 500));
        let run = before.start(&rows);
        run.runtime.block_on(async {
            eventually("all rows were read", async || (run.store.pages() > 3 && run.held() == 0).then_some(())).await;
            let pages = run.store.pages();
            for n in 1..=50 {
                assert_eq!(run.gets("ledger/a", "deposit", &json!([1, "x"])).await.unwrap(), json!(n));
            }
            assert_eq!(run.store.pages(), pages, "nobody reads on and on");
            let shown = run.silo.reminders(None, 10_000).await.unwrap().reminders;
            assert_eq!(shown.len(), usize::try_from(UNSERVED).unwrap() + actors.len());
            assert!(shown.iter().all(|row| row.tries == 0), "it does not count against them");
        });
        // Those whose kind is deployed fire, in time.
        let run = {
            run.kill();
            served.start(&rows)
        };
        run.runtime.block_on(async {
            run.all_made(&actors).await;
            let shown = run.silo.reminders(None, 10_000).await.unwrap().reminders;
            assert_eq!(shown.len(), usize::try_from(UNSERVED).unwrap());
        });
        run.kill();
    });
}

#[test]
fn a_hundred_thousand_reminders_are_not_held_in_memory() {
    const REMINDERS: usize = 100_000;
    on_a_large_stack(|| {
        let (rows, now) = (Arc::new(MemoryStore::new()), now_ms());
        (0..REMINDERS).for_each(|n| plant(&rows, &format!("digest/far-{n}"), now + FAR + n as u64));
        let actors: Vec<String> = (0..100).map(|n| format!("digest/{n}")).collect();
        actors.iter().for_each(|actor| plant(&rows, actor, now - 500));
        let run = Deployed::new(SERVED).start(&rows);
        run.runtime.block_on(async {
            run.all_made(&actors).await;
            let held = run.held();
            assert!((1..=WINDOW_MAX).contains(&held), "{held} are held");
            // One that comes first though it is registered last.
            run.register("once", &json!(["due", 0])).await;
            run.all_made(&[DIGEST.to_owned()]).await;
            let page = run.silo.reminders(None, 10).await.unwrap();
            assert!(page.truncated && page.reminders.len() == 10);
        });
        run.kill();
    });
}

#[test]
fn a_slow_store_delays_reminders_and_loses_none() {
    on_a_large_stack(|| {
        let (rows, now) = (Arc::new(MemoryStore::new()), now_ms());
        let actors: Vec<String> = (0..30).map(|n| format!("digest/{n}")).collect();
        actors.iter().for_each(|actor| plant(&rows, actor, now + 100));
        let run = Deployed::new(SERVED).start(&rows);
        run.store.slow_down(Duration::from_millis(30));
        run.runtime.block_on(async {
            for n in 0..5 {
                run.register("once", &json!([format!("r{n}"), 0])).await;
            }
            run.all_made(&actors).await;
            let made = eventually("these too", async || Some(run.made(DIGEST).await).filter(|made| made.len() == 5));
            assert!(made.await.values().all(|made| *made == 1));
        });
        let names: BTreeSet<_> = run.reminders_by_rows(DIGEST).into_iter().map(|row| row.id.name).collect();
        assert!(names.is_empty(), "{names:?}");
        run.kill();
    });
}
