//! Decides about each failure of its children, or does not come to a decision.

use std::hint::black_box;

use quark_sdk::prelude::*;

quark_sdk::world!("foreman-actor");

/// Most entries of each list that grows.
const KEPT: usize = 100;

#[state]
struct Foreman {
    mode: State<Option<Mode>>,
    failures: State<Vec<Failure>>,
    gone: State<Vec<String>>,
}

#[actor]
impl Foreman {
    fn on_child_failed(&self, failure: Failure) -> Directive {
        self.failures.update(|all| keep(all, failure));
        match self.mode.get().unwrap_or(Mode::Restart) {
            Mode::Resume => Directive::Resume,
            Mode::Restart => Directive::Restart,
            Mode::Stop => Directive::Stop,
            Mode::Escalate => Directive::Escalate,
            Mode::Spin => loop {
                black_box(0);
            },
            Mode::Trap => panic!("the foreman lost his head"),
        }
    }

    fn on_terminated(&self, target: ActorId) {
        self.gone.update(|all| keep(all, target.key));
    }

    async fn take(&self, name: String, lifetime: Lifetime) -> Result<(), CallError> {
        let worker = ActorId::of::<workers::Worker>(format!("{}.{name}", context::key()));
        children::spawn(&worker, lifetime).await?;
        children::watch(&worker).await
    }

    fn roster(&self) -> Result<Vec<String>, CallError> {
        Ok(children::all().into_iter().map(|child| child.key).collect())
    }

    fn decide(&self, mode: Mode) -> Result<(), CallError> {
        self.mode.set(Some(mode));
        Ok(())
    }

    fn failures(&self) -> Result<Vec<Failed>, CallError> {
        let told = |it: Failure| Failed { child: it.child, reason: it.reason, count: it.count };
        Ok(self.failures.get().into_iter().map(told).collect())
    }

    fn gone(&self) -> Result<Vec<String>, CallError> {
        Ok(self.gone.get())
    }
}

fn keep<T>(all: &mut Vec<T>, one: T) {
    if all.len() == KEPT {
        all.remove(0);
    }
    all.push(one);
}
