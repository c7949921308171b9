//! Ledgers and digests over a store that dies at every single write: events that were acknowledged are there once,
//! a replay gives what was live, and every reminder is either to come or was handled.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::FutureExt as _;
use quark_core::commit::{Commit, Write};
use quark_core::journal::{Entry, JOURNAL, Mark};
use quark_core::reminders::Reminder;
use quark_core::state::Change;
use quark_e2e::DEADLINE;
use quark_silo::api::{Failure, ReminderOperation};
use quark_silo::gateway::Service as _;
use quark_silo::store::memory::MemoryStore;
use quark_silo::store::{PAGE_MAX, Store as _};
use serde_json::{Value, json};

use super::dying::Fault;
use super::run::{Deployed, Flavour, Name, Run, id};
use super::{REPEATS_MAX, Shown, WRITES_MAX, on_a_large_stack};

const LEDGER: Name = "ledger/a";
pub(crate) const DIGEST: Name = "digest/a";
/// So many events, and the next one has a snapshot taken.
const FEW: &str = "[actor.journal]\nsnapshot = { every = 3 }\n";
const PACKED: &str = "[actor]\nisolation = { packed = 4 }\n[actor.journal]\nsnapshot = { every = 3 }\n";
/// It may fail often, and is back at once.
pub(crate) const OFTEN: &str = "[actor.supervision]\nrestarts = { max = 1000, within = \"1m\" }\n\
    backoff = { min = \"1ms\", max = \"1ms\" }\n";
const PACKED_OFTEN: &str = "[actor]\nisolation = { packed = 4 }\n[actor.supervision]\n\
    restarts = { max = 1000, within = \"1m\" }\nbackoff = { min = \"1ms\", max = \"1ms\" }\n";
const FAR: u64 = 3_600_000;
/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// One step that somebody asks for, or waits for.
#[derive(Clone, Copy, Debug)]
enum Step {
    Deposit(&'static str),
    /// So many deposits in one turn.
    Often(u32),
    /// A deposit whose turn traps.
    InVain,
    /// Has a snapshot taken.
    Close,
    Sleep(Name),
    /// A reminder that is due at once.
    Once(&'static str),
    /// The same, of a name at which its turns fail.
    Fails(&'static str),
    /// One that is due much later, again and again.
    Every(&'static str),
    /// An operator has it fire.
    Fire(&'static str),
    /// Its digest is made.
    Comes(&'static str),
    /// Its turn has failed.
    HasFailed(&'static str),
    Cancel(&'static str),
}

/// What is known of a reminder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Known {
    /// To come, or handled once.
    Once,
    Failing,
    /// It was handled that often.
    Every {
        least: usize,
        most: usize,
    },
    Gone,
}

/// What was acknowledged.
#[derive(Debug, Default)]
struct Past {
    notes: Vec<&'static str>,
    reminders: BTreeMap<&'static str, Known>,
}

impl Run {
    /// What a method's `ok` has.
    pub(crate) async fn gets(&self, actor: &str, method: &str, arguments: &Value) -> Result<Value, String> {
        let mut answer = self.call(actor, method, arguments).await.map_err(|failure| format!("{failure:?}"))?;
        if answer.get("ok").is_none() { Err(answer.to_string()) } else { Ok(answer["ok"].take()) }
    }

    /// The answer as soon as there is one: the fault may have ended the activation that was asked.
    async fn asks(&self, actor: &str, method: &str) -> Value {
        let end = Instant::now() + DEADLINE;
        loop {
            match self.gets(actor, method, &json!([])).await {
                Ok(value) => return value,
                Err(error) => assert!(self.store.is_over() && Instant::now() < end, "{actor} {method}: {error}"),
            }
            tokio::time::sleep(LOOK).await;
        }
    }

    fn events(&self) -> Vec<Entry> {
        self.rows.journal(&id(LEDGER), 1, PAGE_MAX).now_or_never().unwrap().unwrap()
    }

    pub(crate) fn reminders_by_rows(&self, actor: &str) -> Vec<Reminder> {
        self.rows.reminders(&id(actor)).now_or_never().unwrap().unwrap()
    }

    fn reminder(&self, name: &str) -> Option<Reminder> {
        self.reminders_by_rows(DIGEST).into_iter().find(|row| *row.id.name == *name)
    }

    /// How many digests were made for each reminder.
    pub(crate) async fn made(&self, actor: &str) -> BTreeMap<String, usize> {
        let mut count = BTreeMap::new();
        for one in self.asks(actor, "made").await.as_array().unwrap() {
            *count.entry(one["reminder"].as_str().unwrap().to_owned()).or_default() += 1;
        }
        count
    }

    async fn comes(&self, what: Step, came: impl AsyncFn() -> bool) {
        let end = Instant::now() + DEADLINE;
        while !came().await {
            assert!(Instant::now() < end, "{what:?} never happens");
            tokio::time::sleep(LOOK).await;
        }
    }
}

fn note(entry: &Entry) -> String {
    let payload: Value = serde_json::from_slice(&entry.event.payload).unwrap();
    payload["Deposited"]["note"].as_str().unwrap().to_owned()
}

impl Past {
    /// Asks for a step; with its answer it is done.
    async fn take(&mut self, run: &Run, step: Step) -> Result<(), String> {
        let call = async |actor, method, arguments: Value| run.gets(actor, method, &arguments).await.map(drop);
        let shown = |failure: Failure| format!("{failure:?}");
        match step {
            Step::Deposit(note) => call(LEDGER, "deposit", json!([1, note])).await?,
            Step::Often(times) => call(LEDGER, "deposit-often", json!([times])).await?,
            Step::InVain => match call(LEDGER, "deposit-and-break", json!([1])).await {
                Err(failure) if failure.contains("it broke") => {}
                other => return other,
            },
            Step::Close => call(LEDGER, "close-books", json!([])).await?,
            Step::Sleep(actor) => {
                let (kind, key) = actor.split_once('/').unwrap();
                run.silo.deactivate(kind, key).await.map_err(shown)?;
            }
            Step::Once(name) | Step::Fails(name) => call(DIGEST, "once", json!([name, 0])).await?,
            Step::Every(name) => call(DIGEST, "every", json!([name, FAR, "fire-once"])).await?,
            Step::Fire(name) => {
                let Some(Known::Every { most, .. }) = self.reminders.get_mut(name) else { panic!("{name} is unknown") };
                *most += 1;
                let fired = run.silo.reminder(DIGEST.split_once('/').unwrap(), name, ReminderOperation::Fire);
                fired.await.map_err(shown)?;
            }
            Step::Comes(name) => {
                let least = if let Some(Known::Every { least, .. }) = self.reminders.get(name) { *least } else { 0 };
                run.comes(step, async || run.made(DIGEST).await.get(name).is_some_and(|made| *made > least)).await;
            }
            Step::HasFailed(name) => {
                run.comes(step, async || run.reminder(name).is_none_or(|row| row.tries > 0)).await;
            }
            Step::Cancel(name) => call(DIGEST, "cancel", json!([name])).await?,
        }
        self.is_done(step);
        Ok(())
    }

    fn is_done(&mut self, step: Step) {
        match step {
            Step::Deposit(note) => self.notes.push(note),
            Step::Often(times) => self.notes.extend((0..times).map(|_| "")),
            Step::Once(name) => drop(self.reminders.insert(name, Known::Once)),
            Step::Fails(name) => drop(self.reminders.insert(name, Known::Failing)),
            Step::Every(name) => drop(self.reminders.insert(name, Known::Every { least: 0, most: 0 })),
            Step::Comes(name) => {
                if let Some(Known::Every { least, .. }) = self.reminders.get_mut(name) {
                    *least += 1;
                }
            }
            Step::Cancel(name) => drop(self.reminders.insert(name, Known::Gone)),
            Step::InVain | Step::Close | Step::Sleep(_) | Step::Fire(_) | Step::HasFailed(_) => {}
        }
    }

    /// Whether a step that was cut off has happened, by the rows.
    async fn has_happened(&self, run: &Run, step: Step) -> bool {
        match step {
            Step::Deposit(wanted) => run.events().iter().any(|entry| note(entry) == wanted),
            Step::Often(times) => {
                let more = run.events().len() - self.notes.len();
                assert!(more == 0 || more == times as usize, "a part of a turn is there");
                more > 0
            }
            // Its row first: when that is gone, the digest is made.
            Step::Once(name) => run.reminder(name).is_some() || run.made(DIGEST).await.contains_key(name),
            Step::Fails(name) | Step::Every(name) => run.reminder(name).is_some(),
            Step::Cancel(name) => run.reminder(name).is_none(),
            // They can be repeated.
            Step::InVain | Step::Close | Step::Sleep(_) | Step::Fire(_) | Step::Comes(_) | Step::HasFailed(_) => false,
        }
    }

    async fn check(&self, run: &Run) {
        self.check_ledger(run).await;
        self.check_digest(run).await;
    }

    async fn check_ledger(&self, run: &Run) {
        let events = run.events();
        let mut digest = 0_u64;
        for (entry, (expected, number)) in events.iter().zip(self.notes.iter().zip(1_u64..)) {
            assert_eq!((entry.sequence, note(entry).as_str()), (number, *expected));
            // As the sample does it.
            for byte in expected.bytes().chain(number.to_le_bytes()) {
                digest = (digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
            }
        }
        let count = self.notes.len();
        assert_eq!(events.len(), count);
        let sum = json!({ "balance": count, "lines": count, "digest": digest });
        assert_eq!(run.asks(LEDGER, "sum").await, sum);
        let (kind, key) = LEDGER.split_once('/').unwrap();
        run.silo.deactivate(kind, key).await.unwrap();
        assert_eq!(run.asks(LEDGER, "sum").await, sum, "a replay gives another");
        let report = run.silo.inspect(kind, key).await.unwrap().journal;
        let last = report.as_ref().map_or(0, |journal| journal.last);
        assert_eq!(usize::try_from(last).unwrap(), count, "{report:?}");
    }

    async fn check_digest(&self, run: &Run) {
        let end = Instant::now() + DEADLINE;
        let (rows, made, planned) = loop {
            let rows = run.reminders_by_rows(DIGEST);
            let (made, planned) = (run.made(DIGEST).await, run.asks(DIGEST, "planned").await);
            if rows == run.reminders_by_rows(DIGEST) {
                break (rows, made, planned);
            }
            assert!(Instant::now() < end, "its rows change all the time");
        };
        let names: BTreeSet<&str> = rows.iter().map(|row| &*row.id.name).collect();
        let planned: BTreeSet<&str> =
            planned.as_array().unwrap().iter().map(|one| one["reminder"].as_str().unwrap()).collect();
        assert_eq!(planned, names, "it sees other rows");
        for (name, known) in &self.reminders {
            let (row, made) = (names.contains(name), made.get(*name).copied().unwrap_or(0));
            let holds = match known {
                Known::Once => usize::from(row) + made == 1,
                Known::Failing => row && made == 0,
                Known::Every { least, most } => row && (*least..=*most).contains(&made),
                Known::Gone => !row && made == 0,
            };
            assert!(holds, "{name} is {known:?}, has a row: {row}, was made {made} times");
        }
        assert!(names.iter().all(|name| self.reminders.contains_key(name)), "{names:?}");
        // Both orders of the rows say the same.
        let due = run.rows.due(None, PAGE_MAX).now_or_never().unwrap().unwrap();
        let mut due: Vec<_> = due.into_iter().map(|row| row.id).collect();
        due.sort();
        let now: Vec<_> = run.reminders_by_rows(DIGEST).into_iter().map(|row| row.id).collect();
        assert_eq!(due, now);
    }

    /// Takes the steps that are left.
    async fn go_on(&mut self, run: &Run, steps: &[Step], at: &mut usize) {
        let mut repeats = 0;
        while let Some(step) = steps.get(*at) {
            let Err(error) = self.take(run, *step).await else {
                (*at, repeats) = (*at + 1, 0);
                continue;
            };
            repeats += 1;
            assert!(run.store.is_over() && repeats <= REPEATS_MAX, "{step:?}: {error}");
            self.find(run, steps, at).await;
            self.check(run).await;
        }
    }

    /// The step that is next was cut off.
    async fn find(&mut self, run: &Run, steps: &[Step], at: &mut usize) {
        if let Some(step) = steps.get(*at)
            && self.has_happened(run, *step).await
        {
            self.is_done(*step);
            *at += 1;
        }
    }
}

/// One run. False when it is through before the fault came.
fn breaks(deployed: &Deployed, steps: &[Step], after: usize, fault: Fault, shown: &str) -> bool {
    let shown = Shown(format!("{shown}, {fault:?} after {after} writes"));
    let rows = Arc::new(MemoryStore::new());
    let run = deployed.start(&rows);
    let (mut past, mut at) = (Past::default(), 0);
    run.store.arm(after, fault);
    let died = run.runtime.block_on(async {
        let all = async {
            past.go_on(&run, steps, &mut at).await;
            past.check(&run).await;
        };
        tokio::pin!(all);
        tokio::select! {
            biased;
            () = run.store.died() => true,
            () = &mut all => false,
        }
    });
    // Else it would come when nobody looks for it any more.
    run.store.disarm();
    let broken = run.store.is_over();
    let run = if died { run.restart(deployed) } else { run };
    run.runtime.block_on(async {
        if died {
            past.find(&run, steps, &mut at).await;
            past.check(&run).await;
        }
        past.go_on(&run, steps, &mut at).await;
        past.check(&run).await;
    });
    // And as it is found after a start.
    let run = run.restart(deployed);
    run.runtime.block_on(past.check(&run));
    run.kill();
    drop(shown);
    broken
}

fn check(steps: &[Step]) {
    let flavours = [
        (["ledger", "digest"], [FEW, OFTEN], &Fault::ALL[..]),
        (["async/ledger", "async/digest"], [FEW, OFTEN], &[Fault::DoubtAfter]),
        (["async/ledger", "async/digest"], [PACKED, PACKED_OFTEN], &[Fault::Killed]),
    ];
    on_a_large_stack(|| {
        for (samples, manifests, faults) in flavours {
            let both = [0, 1].map(|at| Flavour { sample: samples[at], manifest: manifests[at] });
            let deployed = Deployed::of(&both);
            for fault in faults {
                let mut writes = 0;
                while breaks(&deployed, steps, writes, *fault, &format!("{both:?}")) {
                    writes += 1;
                    assert!(writes < WRITES_MAX, "it never ends");
                }
                assert!(writes > 0, "nothing was written");
            }
        }
    });
}

#[test]
fn events_are_there_once_and_a_replay_gives_what_was_live() {
    check(&[
        Step::Deposit("one"),
        Step::Deposit("two"),
        Step::Often(4),
        Step::InVain,
        Step::Deposit("three"),
        Step::Sleep(LEDGER),
        Step::Close,
        Step::Deposit("four"),
        Step::Deposit("five"),
    ]);
}

#[test]
fn reminders_are_to_come_or_were_handled() {
    check(&[
        Step::Once("soon"),
        Step::Comes("soon"),
        Step::Every("often"),
        Step::Sleep(DIGEST),
        Step::Fire("often"),
        Step::Comes("often"),
        Step::Fails("fail"),
        Step::HasFailed("fail"),
        Step::Once("too"),
        Step::Cancel("fail"),
        Step::Comes("too"),
    ]);
}

#[test]
fn a_journal_that_is_too_long_or_unreadable_is_refused() {
    let mark = Mark { last: 1_000_001, last_at_ms: 1, ..Mark::default() };
    let newer: Arc<[u8]> = (*b"\x09 a later version's").into();
    for (row, says) in
        [(mark.encode(), "1000001 events of its journal have no snapshot"), (Some(newer), "later version of Quark")]
    {
        on_a_large_stack(|| {
            let rows = Arc::new(MemoryStore::new());
            let claim = rows.claim(&id(LEDGER)).now_or_never().unwrap().unwrap();
            let changes = vec![Change { name: JOURNAL.into(), value: row.clone() }];
            let write = Write { changes, ..Write::default() };
            let commit = Commit { actor: id(LEDGER), generation: claim.generation, etag: 1, write };
            rows.commit(commit, Box::new(|outcome| _ = outcome.unwrap()));
            let run = Deployed::new(Flavour { sample: "ledger", manifest: "" }).start(&rows);
            run.runtime.block_on(async {
                for (method, arguments) in [("sum", json!([])), ("deposit", json!([1, "x"]))] {
                    let failure = run.call(LEDGER, method, &arguments).await.unwrap_err();
                    assert!(failure.code == "failed" && failure.message.contains(says), "{failure:?}");
                }
            });
            let found = rows.read(&id(LEDGER)).now_or_never().unwrap().unwrap().unwrap();
            assert_eq!((found.etag, found.values.get(JOURNAL)), (1, row.as_ref()), "nothing was changed");
            run.kill();
        });
    }
}
