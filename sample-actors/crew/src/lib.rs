//! A supervised tree that fails in every way: crews by their strategy, workers that can have workers.

use std::hint::black_box;

use quark_sdk::prelude::*;
use quark_sdk::{Cause, Kind};

quark_sdk::world!("crew-actor");

/// Most entries of each list that grows.
const KEPT: usize = 100;

#[state]
struct Crew {
    starts: State<u64>,
    terminated: State<Vec<String>>,
}

#[actor]
impl Crew {
    fn on_activate(&mut self) -> Result<(), String> {
        self.starts.update(|starts| *starts += 1);
        Ok(())
    }

    fn on_terminated(&self, target: ActorId, reason: String) {
        self.terminated.update(|all| keep(all, format!("{}: {reason}", target.key)));
        match context::config("mourns").as_deref() {
            Some("trap") => panic!("the crew cannot go on"),
            Some("spin") => loop {
                black_box(0);
            },
            _ => {}
        }
    }

    async fn hire(&self, name: String, lifetime: Lifetime) -> Result<(), CallError> {
        children::spawn(&worker(&name), lifetime).await
    }

    async fn adopt(&self, actor: ActorId, lifetime: Lifetime) -> Result<(), CallError> {
        children::spawn(&actor, lifetime).await
    }

    async fn dismiss(&self, name: String) -> Result<(), CallError> {
        children::stop(&worker(&name)).await
    }

    fn roster(&self) -> Result<Vec<String>, CallError> {
        Ok(roster())
    }

    async fn work_all(&self, n: u64) -> Result<u64, CallError> {
        let mut sum = 0;
        for child in children::all().into_iter().filter(|child| child.kind == Worker::KIND) {
            sum += workers::Worker::new(&child.key).work(n).await?;
        }
        Ok(sum)
    }

    async fn watch(&self, name: String) -> Result<(), CallError> {
        children::watch(&worker(&name)).await
    }

    fn unwatch(&self, name: String) -> Result<(), CallError> {
        children::unwatch(&worker(&name));
        Ok(())
    }

    fn terminated(&self) -> Result<Vec<String>, CallError> {
        Ok(self.terminated.get())
    }

    fn starts(&self) -> Result<u64, CallError> {
        Ok(self.starts.get())
    }

    fn crash(&self) -> Result<(), CallError> {
        panic!("the crew mutinied")
    }

    async fn hire_and_crash(&self, name: String) -> Result<(), CallError> {
        children::spawn(&worker(&name), Lifetime::Permanent).await?;
        panic!("the crew mutinied over {name}")
    }
}

#[state]
struct Worker {
    total: State<u64>,
    starts: State<u64>,
    causes: State<Vec<String>>,
    refuses: State<bool>,
}

#[actor]
impl Worker {
    async fn on_activate(&mut self, it: Activation) -> Result<(), String> {
        if self.refuses.get() {
            return Err(format!("{} refuses to work", it.me.key));
        }
        self.starts.update(|starts| *starts += 1);
        self.causes.update(|all| keep(all, named(it.cause).into()));
        if context::config("reports").is_some()
            && let Some((crew, _)) = it.me.key.rsplit_once('.')
        {
            let roster = self.call(async || crews::Crew::new(crew).roster().await).await;
            self.causes.update(|all| keep(all, format!("{roster:?}")));
        }
        Ok(())
    }

    fn work(&self, n: u64) -> Result<u64, CallError> {
        self.total.update(|total| *total += n);
        Ok(self.total.get())
    }

    fn total(&self) -> Result<u64, CallError> {
        Ok(self.total.get())
    }

    fn starts(&self) -> Result<u64, CallError> {
        Ok(self.starts.get())
    }

    fn causes(&self) -> Result<Vec<String>, CallError> {
        Ok(self.causes.get())
    }

    fn crash(&self) -> Result<(), CallError> {
        panic!("the worker fell")
    }

    fn resign(&self) -> Result<(), CallError> {
        context::deactivate_soon();
        Ok(())
    }

    fn refuse(&self, on: bool) -> Result<(), CallError> {
        self.refuses.set(on);
        Ok(())
    }

    fn busy(&self, ms: u64) -> Result<(), CallError> {
        let end = context::now().saturating_add(ms);
        while context::now() < end {
            for n in 0..10_000 {
                black_box(n);
            }
        }
        Ok(())
    }

    async fn hire(&self, name: String, lifetime: Lifetime) -> Result<(), CallError> {
        children::spawn(&worker(&name), lifetime).await
    }

    fn roster(&self) -> Result<Vec<String>, CallError> {
        Ok(roster())
    }
}

/// The worker with that name of the actor whose turn this is.
fn worker(name: &str) -> ActorId {
    ActorId::of::<Worker>(format!("{}.{name}", context::key()))
}

fn roster() -> Vec<String> {
    children::all().into_iter().map(|child| child.key).collect()
}

fn keep(all: &mut Vec<String>, one: String) {
    if all.len() == KEPT {
        all.remove(0);
    }
    all.push(one);
}

fn named(cause: Cause) -> &'static str {
    match cause {
        Cause::Message => "message",
        Cause::Reminder => "reminder",
        Cause::Event => "event",
        Cause::Spawn => "spawn",
        Cause::Restart => "restart",
        Cause::Upgrade => "upgrade",
    }
}
