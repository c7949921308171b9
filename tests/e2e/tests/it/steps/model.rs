//! What trees must look like after each step, and after a step that was cut off.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use quark_e2e::DEADLINE;
use quark_silo::gateway::Service as _;
use serde_json::{Value, json};

use super::run::{Name, Run, short};

/// How often something is looked at.
const LOOK: Duration = Duration::from_millis(1);

/// One step that somebody asks for. A child's name is its parent's key, a dot, and what it is hired as.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Step {
    Hire(Name, Name),
    HireTemporary(Name, Name),
    Adopt(Name, Name),
    Dismiss(Name, Name),
    Stop(Name),
    /// The turn traps in which it is spawned.
    HireInVain(Name, Name),
    /// It fails, and is to be restarted.
    Crash(Name),
    /// It fails, and is to end for good.
    CrashForGood(Name),
}

/// Where an actor stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Place {
    /// Nobody's child; it may be called.
    Free,
    Child(Name),
    Stopped,
}

/// All actors of a scenario.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Model(pub(crate) BTreeMap<Name, Place>);

impl Step {
    const fn actors(self) -> [Name; 2] {
        match self {
            Self::Hire(parent, child)
            | Self::HireTemporary(parent, child)
            | Self::Adopt(parent, child)
            | Self::Dismiss(parent, child)
            | Self::HireInVain(parent, child) => [parent, child],
            Self::Stop(one) | Self::Crash(one) | Self::CrashForGood(one) => [one; 2],
        }
    }
}

impl Model {
    pub(crate) fn of(steps: impl Iterator<Item = Step>) -> Self {
        Self(steps.flat_map(Step::actors).map(|actor| (actor, Place::Free)).collect())
    }

    /// Of those that it knows somebody may be anything.
    pub(crate) fn known<'a>(actors: impl Iterator<Item = &'a Name>) -> Self {
        Self(actors.map(|actor| (*actor, Place::Free)).collect())
    }

    fn with(&self, actor: Name, place: Place) -> Self {
        let mut after = self.clone();
        after.0.insert(actor, place);
        after
    }

    /// All below it, then itself, in the order in which they are to end: names are in order of their start.
    fn ends(&self, actor: Name, order: &mut Vec<Name>) {
        let children = self.0.iter().filter(|(_, place)| **place == Place::Child(actor));
        children.rev().for_each(|(child, _)| self.ends(child, order));
        order.push(actor);
    }

    /// The models through which that step leads, from this one to that after it.
    pub(crate) fn through(&self, step: Step) -> Vec<Self> {
        let mut all = vec![self.clone()];
        match step {
            Step::Hire(parent, child) | Step::HireTemporary(parent, child) | Step::Adopt(parent, child) => {
                if self.0[child] != Place::Child(parent) {
                    all.push(self.with(child, Place::Free));
                    all.push(self.with(child, Place::Child(parent)));
                }
            }
            Step::HireInVain(_, child) => all.push(self.with(child, Place::Free)),
            Step::Dismiss(_, one) | Step::Stop(one) | Step::CrashForGood(one) => {
                let mut order = Vec::new();
                self.ends(one, &mut order);
                for actor in order {
                    let before = all[all.len() - 1].clone();
                    all.push(before.with(actor, Place::Stopped));
                }
            }
            Step::Crash(_) => {}
        }
        all
    }

    /// The one that is left when that step is done.
    pub(crate) fn after(&self, step: Step) -> Self {
        self.through(step).pop().unwrap_or_default()
    }

    /// As the rows have it.
    pub(crate) fn by_rows(&self, run: &Run) -> Self {
        let place = |actor: Name| {
            let row = run.standing(actor);
            let parent = row.parent.as_ref().map(short);
            let known = parent.and_then(|parent| self.0.keys().find(|name| **name == parent));
            match known.filter(|parent| run.children_by_rows(parent).iter().any(|child| child == actor)) {
                _ if row.stopped => Place::Stopped,
                Some(parent) => Place::Child(parent),
                None => Place::Free,
            }
        };
        Self(self.0.keys().map(|actor| (*actor, place(actor))).collect())
    }

    /// What a running silo says is what the rows say, and all that should answer do.
    pub(crate) async fn check(&self, run: &Run) {
        assert_eq!(self.by_rows(run), *self, "the rows");
        self.check_tree(run).await;
        for (actor, place) in &self.0 {
            let (kind, key) = actor.split_once('/').unwrap();
            let report = run.silo.inspect(kind, key).await.unwrap();
            let parent = report.parent.map(|parent| parent.rsplit('#').next().unwrap().to_owned());
            let expected = if let Place::Child(parent) = place { Some((*parent).to_owned()) } else { None };
            assert_eq!((parent, report.stopped), (expected, *place == Place::Stopped), "{actor}");
            let mut roster = run.call(actor, "roster", &json!([])).await;
            if run.store.is_over() && roster.as_ref().is_err_and(|failure| failure.code == "unknown-outcome") {
                // It stood behind the write that nobody knows of: that of a restart.
                roster = run.call(actor, "roster", &json!([])).await;
            }
            if *place == Place::Stopped {
                assert_eq!(roster.as_ref().unwrap_err().code, "stopped", "{actor}: {roster:?}");
                continue;
            }
            let Ok(mut roster) = roster else {
                let (tree, live) = (run.silo.tree(None, 100).await, run.silo.activations(None, 100));
                panic!("{actor}: {roster:?}; {tree:#?}; {live:#?}");
            };
            let roster: Vec<String> = serde_json::from_value(roster["ok"].take()).unwrap();
            let roster: Vec<String> = roster.into_iter().map(|key| format!("worker/{key}")).collect();
            assert_eq!(roster, run.children_by_rows(actor), "{actor}");
        }
        // Whoever was woken by that has seen to its children.
        self.check_tree(run).await;
        assert_eq!(self.by_rows(run), *self, "the rows");
    }

    async fn check_tree(&self, run: &Run) {
        let mut shown = run.tree().await;
        shown.retain(|(parent, _)| !parent.is_empty());
        shown.sort();
        let edge = |(child, place): (&Name, &Place)| match place {
            Place::Child(parent) => Some(((*parent).to_owned(), (*child).to_owned())),
            Place::Free | Place::Stopped => None,
        };
        let mut expected: Vec<(String, String)> = self.0.iter().filter_map(edge).collect();
        expected.sort();
        assert_eq!(shown, expected, "the tree");
    }
}

impl Run {
    /// Asks for that step until it is done, or says why it is not.
    pub(crate) async fn take(&self, step: Step) -> Result<(), String> {
        match step {
            Step::Hire(parent, child) => self.family(parent, "hire", &json!([hired(child), "permanent"])).await,
            Step::HireTemporary(parent, child) => {
                self.family(parent, "hire", &json!([hired(child), "temporary"])).await
            }
            Step::Adopt(parent, child) => {
                let actor =
                    json!({"kind": super::run::id(child).kind.as_str(), "key": child.split_once('/').unwrap().1});
                self.family(parent, "adopt", &json!([actor, "permanent"])).await
            }
            Step::Dismiss(parent, child) => {
                let answer = self.family(parent, "dismiss", &json!([hired(child)])).await;
                // It was cut off when it was done.
                let done = |error: &String| error.contains("is no child") && self.standing(child).stopped;
                answer.or_else(|error| if done(&error) { Ok(()) } else { Err(error) })
            }
            Step::Stop(actor) => {
                let (kind, key) = actor.split_once('/').unwrap();
                self.silo.set_stopped(kind, key, true).await.map(drop).map_err(|failure| format!("{failure:?}"))
            }
            Step::HireInVain(parent, child) => {
                self.trap(parent, "hire-and-crash", &json!([hired(child)]), "the crew mutinied over").await
            }
            Step::Crash(actor) => {
                self.trap(actor, "crash", &json!([]), "the worker fell").await?;
                self.family(actor, "total", &json!([])).await
            }
            // It was cut off when it was done.
            Step::CrashForGood(actor) if self.standing(actor).stopped => Ok(()),
            Step::CrashForGood(actor) => {
                self.trap(actor, "crash", &json!([]), "the worker fell").await?;
                let end = Instant::now() + DEADLINE;
                while !self.standing(actor).stopped {
                    assert!(Instant::now() < end, "{actor} is to end for good and does not");
                    tokio::time::sleep(LOOK).await;
                }
                Ok(())
            }
        }
    }

    async fn family(&self, actor: Name, method: &str, arguments: &Value) -> Result<(), String> {
        match self.call(actor, method, arguments).await {
            Ok(answer) if answer.get("ok").is_some() => Ok(()),
            Ok(answer) => Err(answer.to_string()),
            Err(failure) => Err(format!("{failure:?}")),
        }
    }

    async fn trap(&self, actor: Name, method: &str, arguments: &Value, reason: &str) -> Result<(), String> {
        match self.call(actor, method, arguments).await {
            Err(failure) if failure.code == "failed" && failure.message.contains(reason) => Ok(()),
            other => Err(format!("{other:?}")),
        }
    }
}

fn hired(child: Name) -> &'static str {
    child.rsplit('.').next().unwrap()
}
