//! Supervision trees, journals and reminders over a store that dies at every single write of a scenario: what was
//! acknowledged holds, what was cut off is whole or not there, and can be repeated.
//!
//! The silo runs in this process, on one thread, and is let go of without any end.

#![expect(clippy::print_stdout, reason = "a test that fails tells which run it was")]

mod dying;
mod keyed;
mod model;
mod run;
mod storm;
mod rivals;
mod history;
mod due;

use std::sync::Arc;

use quark_silo::store::memory::MemoryStore;

use self::dying::Fault;
use self::model::{Model, Step};
use self::run::{Deployed, Flavour, Name, Run};

/// The most writes that a scenario may take.
const WRITES_MAX: usize = 60;
/// How often a step is asked for again after a write that nobody knows of.
const REPEATS_MAX: usize = 3;
/// A guest needs a stack that test threads do not have.
pub(crate) const STACK_BYTES: usize = 16 << 20;

const FIBER: Flavour = Flavour { sample: "crew", manifest: "" };
const CONCURRENT: Flavour = Flavour { sample: "async/crew", manifest: "" };
const PACKED: Flavour = Flavour { sample: "async/crew", manifest: "[actor]\nisolation = { packed = 8 }\n" };

const CREW: Name = "crew/c";
const A: Name = "worker/c.a";
const AX: Name = "worker/c.a.x";
const AXZ: Name = "worker/c.a.x.z";
const AY: Name = "worker/c.a.y";
const B: Name = "worker/c.b";
const BX: Name = "worker/c.b.x";
const BXY: Name = "worker/c.b.x.y";
const OTHER: Name = "crew/d";
const OTHERS: Name = "worker/d.a";
/// A crew of two, and three levels below it.
const TREE: &[Step] =
    &[Step::Hire(CREW, A), Step::Hire(A, AX), Step::Hire(AX, AXZ), Step::Hire(A, AY), Step::Hire(CREW, B)];

/// Steps before the fault, and those among whose writes it comes.
struct Scenario {
    before: &'static [Step],
    steps: &'static [Step],
    /// What is done in place of a step that was cut off, or when all are done.
    instead: Option<Step>,
}

/// How far a run came.
struct Came {
    model: Model,
    /// The step that is next, or under way.
    at: usize,
}

/// Says which run it was, if that panics.
struct Shown(String);

impl Drop for Shown {
    fn drop(&mut self) {
        if std::thread::panicking() {
            println!("{}", self.0);
        }
    }
}

fn on_a_large_stack(test: impl FnOnce() + Send) {
    std::thread::scope(|scope| {
        let ran = std::thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, test).unwrap().join();
        ran.unwrap_or_else(|panic| std::panic::resume_unwind(panic));
    });
}

impl Scenario {
    const fn of(before: &'static [Step], steps: &'static [Step]) -> Self {
        Self { before, steps, instead: None }
    }

    fn check(&self) {
        on_a_large_stack(|| {
            // What the lanes have in common is not broken in all ways for each.
            self.check_flavour(FIBER, &Fault::ALL);
            self.check_flavour(CONCURRENT, &[Fault::Killed, Fault::DoubtAfter]);
            self.check_flavour(PACKED, &[Fault::Killed]);
        });
    }

    fn check_flavour(&self, flavour: Flavour, faults: &[Fault]) {
        let deployed = Deployed::new(flavour);
        for fault in faults {
            let mut writes = 0;
            while self.breaks(&deployed, writes, *fault, flavour) {
                writes += 1;
                assert!(writes < WRITES_MAX, "it never ends");
            }
            assert!(writes > 0, "nothing was written");
        }
    }

    /// One run. False when it is through before the fault came.
    fn breaks(&self, deployed: &Deployed, after: usize, fault: Fault, flavour: Flavour) -> bool {
        let shown = Shown(format!("{flavour:?}, {fault:?} after {after} writes"));
        let rows = Arc::new(MemoryStore::new());
        let run = deployed.start(&rows);
        let model = Model::of(self.before.iter().chain(self.steps).chain(&self.instead).copied());
        let mut came = Came { model, at: 0 };
        run.runtime.block_on(async {
            for step in self.before {
                run.take(*step).await.unwrap_or_else(|error| panic!("{step:?}: {error}"));
                came.model = came.model.after(*step);
            }
            came.model.check(&run).await;
        });
        run.store.arm(after, fault);
        let died = run.runtime.block_on(async {
            let all = async {
                self.go_on(&run, &mut came).await;
                came.model.check(&run).await;
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
                self.find(&run, &mut came);
            }
            came.model.check(&run).await;
            match self.instead {
                Some(step) => self.go_another_way(&run, &mut came, step).await,
                None => self.go_on(&run, &mut came).await,
            }
            came.model.check(&run).await;
        });
        run.kill();
        drop(shown);
        broken
    }

    /// Takes the steps that are left.
    async fn go_on(&self, run: &Run, came: &mut Came) {
        let mut repeats = 0;
        while let Some(step) = self.steps.get(came.at) {
            let Err(error) = run.take(*step).await else {
                came.model = came.model.after(*step);
                (came.at, repeats) = (came.at + 1, 0);
                continue;
            };
            repeats += 1;
            assert!(run.store.is_over() && repeats <= REPEATS_MAX, "{step:?}: {error}");
            self.find(run, came);
            came.model.check(run).await;
            if self.instead.is_some() {
                return;
            }
        }
    }

    /// One parent or the other has it.
    async fn go_another_way(&self, run: &Run, came: &mut Came, step: Step) {
        let taken = run.take(step).await;
        if came.model == came.model.after(self.steps[0]) {
            let error = taken.unwrap_err();
            assert!(error.contains("denied") && error.contains("is a child of"), "{error}");
        } else {
            assert_eq!(taken, Ok(()), "{step:?}");
            came.model = came.model.after(step);
        }
    }

    /// The step that is next was cut off: it is somewhere between its beginning and its end.
    fn find(&self, run: &Run, came: &mut Came) {
        let found = came.model.by_rows(run);
        match self.steps.get(came.at) {
            Some(step) => {
                let all = came.model.through(*step);
                assert!(all.contains(&found), "{step:?} was cut off:\n{found:#?}\nis none of {all:#?}");
            }
            None => assert_eq!(found, came.model, "all was done"),
        }
        came.model = found;
    }
}

#[test]
fn a_child_and_its_child_are_spawned() {
    Scenario::of(&[], &[Step::Hire(CREW, A), Step::Hire(A, AX), Step::Hire(CREW, B)]).check();
}

#[test]
fn one_that_was_stopped_is_spawned_again() {
    let before = &[Step::Hire(CREW, A), Step::Hire(A, AX), Step::Hire(CREW, B), Step::Dismiss(CREW, A)];
    Scenario::of(before, &[Step::Hire(CREW, A), Step::Hire(A, AX)]).check();
}

#[test]
fn a_parent_stops_a_child_with_children() {
    let steps = &[Step::Dismiss(CREW, A), Step::Dismiss(CREW, B)];
    Scenario::of(TREE, steps).check();
}

#[test]
fn an_operator_stops_a_parent() {
    Scenario::of(TREE, &[Step::Stop(AX), Step::Stop(CREW)]).check();
}

#[test]
fn a_parent_that_traps_has_not_spawned() {
    let steps = &[Step::HireInVain(CREW, B), Step::Hire(CREW, B)];
    Scenario::of(&[Step::Hire(CREW, A), Step::Hire(A, AX)], steps).check();
}

#[test]
fn a_child_that_fails_is_restarted_or_ends_for_good() {
    let before = &[Step::Hire(CREW, A), Step::HireTemporary(CREW, B), Step::Hire(B, BX), Step::HireTemporary(BX, BXY)];
    Scenario::of(before, &[Step::Crash(A), Step::CrashForGood(B), Step::HireTemporary(CREW, B)]).check();
}

/// Whoever was named as its parent and does not list it is no parent.
#[test]
fn another_parent_adopts_what_the_first_one_did_not_finish() {
    let scenario = Scenario::of(&[Step::Hire(OTHER, OTHERS)], &[Step::Hire(CREW, A)]);
    Scenario { instead: Some(Step::Adopt(OTHER, A)), ..scenario }.check();
}

#[test]
fn a_child_changes_hands() {
    let before = &[Step::Hire(CREW, A), Step::Hire(A, AX), Step::Hire(CREW, B)];
    let steps = &[Step::Dismiss(CREW, A), Step::Adopt(OTHER, A), Step::Stop(OTHER), Step::Hire(CREW, A)];
    Scenario::of(before, steps).check();
}
