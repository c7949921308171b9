//! The checkers: what must hold whatever happens. They see events and nothing else, and share no
//! code with the machines, the driver or the store that they judge.

use std::collections::{BTreeMap, BTreeSet};

use quark_core::activation::{CONTROL_MAX, MailboxBounds, Overlap, PENDING_BYTES_MAX, PENDING_COMMITS_MAX};
use quark_core::envelope::TellId;
use quark_core::time::Time;

use crate::rules::{Rule, Violation};
use crate::trace::{Applied, Ending, Event, Seen, Sent, Source};
use crate::workload::BALANCE;

type Verdict = Result<(), Violation>;

#[derive(Debug)]
struct Actor {
    overlap: Overlap,
    // As the store has it.
    owner: Option<u64>,
    newest: u64,
    etag: u64,
    stamp: u64,
    stamps: BTreeSet<u64>,
    balance: u64,
    handled: BTreeMap<Option<usize>, u64>,
    /// Handed to the store and not applied, with whose turns wrote it.
    submitted: BTreeMap<(u64, u64), Vec<u64>>,
    // Lost in a crash.
    token: bool,
    down: Option<Time>,
    runs: Vec<Run>,
    begun: BTreeMap<Source, u64>,
    /// Generation and bytes of each commit under way.
    pending: BTreeMap<u64, (u64, usize)>,
}

#[derive(Debug)]
struct Run {
    message: Option<u64>,
    waits: Option<u64>,
    /// It wrote since its last commit point.
    wrote: bool,
    reads: bool,
    /// An operator's, or the deactivate hook.
    alone: bool,
}

#[derive(Debug)]
struct Request {
    by: Source,
    to: usize,
    reads: bool,
    deadline: Time,
    parent: Option<u64>,
    open: bool,
    /// Something that it led to is durable.
    done: bool,
    /// It was answered with "nothing was done".
    denied: bool,
}

#[derive(Debug, Default)]
struct Fate {
    amount: u64,
    handled: bool,
    discarded: bool,
    dead_letter: bool,
}

impl Fate {
    const fn ended(&self) -> bool {
        self.handled || (self.discarded && self.dead_letter)
    }
}

/// A message that was let in and has not ended.
#[derive(Clone, Copy, Debug)]
struct Inside {
    to: usize,
    by: Source,
    /// An operator's.
    control: bool,
    /// A turn of its receiver waited for it when it came: it goes past the mailbox's bounds and order.
    returns: bool,
    size: usize,
}

impl Actor {
    fn new(overlap: Overlap) -> Self {
        Self {
            overlap,
            owner: None,
            newest: 0,
            etag: 0,
            stamp: 0,
            stamps: BTreeSet::from([0]),
            balance: BALANCE,
            handled: BTreeMap::new(),
            submitted: BTreeMap::new(),
            token: false,
            down: None,
            runs: Vec::new(),
            begun: BTreeMap::new(),
            pending: BTreeMap::new(),
        }
    }

    fn run_of(&mut self, message: u64) -> Option<&mut Run> {
        self.runs.iter_mut().find(|run| run.message == Some(message))
    }
}

/// Which turns may run at once, as its users are told.
trait IsFine {
    fn is_fine(&self, run: &Run, new: &Run) -> bool;
}

impl IsFine for Overlap {
    fn is_fine(&self, run: &Run, new: &Run) -> bool {
        !run.alone
            && !new.alone
            && match self {
                Self::None | Self::Nested | Self::Chain { reads: false } => false,
                Self::Reads | Self::Chain { reads: true } => run.reads && new.reads,
                Self::Full => true,
            }
    }
}

/// All that the checkers remember.
#[derive(Debug)]
pub(crate) struct Checks {
    bounds: MailboxBounds,
    actors: Vec<Actor>,
    requests: BTreeMap<u64, Request>,
    open: BTreeSet<(Time, u64)>,
    inside: BTreeMap<u64, Inside>,
    tells: BTreeMap<TellId, Fate>,
    jumped: Time,
}

impl Checks {
    pub(crate) fn new(overlaps: &[Overlap], bounds: MailboxBounds) -> Self {
        Self {
            bounds,
            actors: overlaps.iter().map(|&overlap| Actor::new(overlap)).collect(),
            requests: BTreeMap::new(),
            open: BTreeSet::new(),
            inside: BTreeMap::new(),
            tells: BTreeMap::new(),
            jumped: Time(0),
        }
    }

    pub(crate) fn observe(&mut self, now: Time, event: &Event) -> Verdict {
        if *event == Event::Jump {
            self.jumped = now;
        }
        if let Some(&(deadline, request)) = self.open.first()
            && now > deadline.max(self.jumped)
        {
            return broken(Rule::Deadline, format!("request {request} has no answer at {now:?}"));
        }
        match event {
            Event::Boot(_)
            | Event::Jump
            | Event::Paused(_)
            | Event::Calm
            | Event::Failing(_)
            | Event::Cools(_)
            | Event::Scanned { .. } => Ok(()),
            Event::Retry { .. } | Event::Gone(_) | Event::FoundGone(_) | Event::Returned { .. } => Ok(()),
            Event::Crash => self.crash(),
            Event::Stopped => self.stopped(),
            &Event::Asked { request, by, to, reads, deadline, parent } => {
                self.open.insert((deadline, request));
                let asked = Request { by, to, reads, deadline, parent, open: true, done: false, denied: false };
                self.requests.insert(request, asked);
                Ok(())
            }
            Event::Answered { request, ending, seen } => {
                self.visible(*seen)?;
                self.answered(*request, ending)
            }
            Event::Broke { request } => self.answered(*request, &Ending::Error("broken", true)),
            &Event::Arrived { seen, .. } => self.visible(seen),
            &Event::Admitted { message, by, to, control, waiting, bytes, size } => {
                let returns = self.returns(message, to);
                self.inside.insert(message, Inside { to, by, control, returns, size });
                check(!self.cycle(message, false), Rule::Deadlock, || format!("message {message} waits for itself"))?;
                let returning = self.inside.values().filter(|it| it.to == to && it.returns);
                let (returning, past) = returning.fold((0, 0), |(count, bytes), it| (count + 1, bytes + it.size));
                let bytes = bytes.saturating_sub(past);
                let count = waiting <= self.bounds.capacity + CONTROL_MAX + returning;
                check(count, Rule::Bounds, || format!("{waiting} messages wait for {to}"))?;
                let room = bytes <= self.bounds.bytes.max(size);
                check(room, Rule::Bounds, || format!("{bytes} bytes wait for {to}"))
            }
            &Event::Entered { message, by, to } => {
                self.inside.insert(message, Inside { to, by, control: false, returns: false, size: 0 });
                check(!self.cycle(message, false), Rule::Deadlock, || format!("message {message} waits for itself"))?;
                self.activation(&Event::Token(to))
            }
            Event::Deadlock { message, by, to, path } => {
                check(leads(path, *by, *to), Rule::Deadlock, || format!("`{path}` does not lead from {by} to {to}"))?;
                check(self.cycle(*message, true), Rule::Deadlock, || {
                    format!("message {message} waits for nobody: {path}")
                })
            }
            Event::Out { message, how } => {
                let known = self.inside.remove(message).is_some();
                check(known, Rule::Ends, || format!("message {message} ended twice, now `{how}`"))
            }
            Event::DeadLetter { id, .. } => {
                self.tells.entry(id.clone()).or_default().dead_letter = true;
                Ok(())
            }
            &Event::Unclaimed(actor) => {
                let left = self.inside.iter().find(|(_, it)| it.to == actor);
                check(left.is_none(), Rule::Ends, || format!("{actor} cannot be claimed and {left:?} waits on"))
            }
            &Event::Down { actor, until } => {
                self.actors[actor].down = Some(until);
                Ok(())
            }
            &Event::Lifted(actor) => {
                self.actors[actor].down = None;
                Ok(())
            }
            &Event::Loading(actor) if self.is_down(actor, now) => {
                broken(Rule::Restart, format!("{actor} is loaded before its wait is over"))
            }
            &Event::Loading(actor) => {
                self.actors[actor].down = None;
                self.activation(event)
            }
            Event::Token(_) | Event::TokenBack { .. } | Event::Loaded { .. } => self.activation(event),
            Event::Began { .. } | Event::Waits { .. } | Event::Ended { .. } => self.activation(event),
            Event::Wrote { .. } | Event::Reached { .. } => self.activation(event),
            Event::Submitted { .. } | Event::Landed { .. } => self.activation(event),
            Event::Recovered { .. } | Event::Claimed { .. } | Event::Released { .. } => self.store(event),
            Event::Applied(_) | Event::Accepted(_) | Event::Discarded(_) => self.store(event),
        }
    }

    /// Whether it has to wait. An operator's message ends that.
    fn is_down(&self, actor: usize, now: Time) -> bool {
        let waits = self.actors[actor].down.is_some_and(|until| now < until);
        waits && !self.inside.values().any(|it| it.to == actor && it.control)
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "it is given the events that it knows")]
    fn activation(&mut self, event: &Event) -> Verdict {
        match *event {
            Event::Wrote { actor, message } | Event::Reached { actor, message } => {
                let wrote = matches!(event, Event::Wrote { .. });
                self.innermost(actor, message)?;
                match self.actors[actor].runs.iter_mut().find(|run| run.message == message) {
                    Some(run) => {
                        run.wrote = wrote;
                        Ok(())
                    }
                    None => broken(Rule::OneTurn, format!("{actor}: no turn of {message:?} runs")),
                }
            }
            Event::Token(actor) => {
                let had = std::mem::replace(&mut self.actors[actor].token, true);
                check(!had, Rule::Token, || format!("{actor} has two drivers"))
            }
            Event::TokenBack { actor, .. } => {
                let idle = self.actors[actor].runs.is_empty();
                check(idle, Rule::Token, || format!("{actor} has a turn and no driver"))?;
                self.actors[actor].token = false;
                Ok(())
            }
            Event::Loading(actor) => {
                let free = self.actors[actor].token && self.actors[actor].pending.is_empty();
                check(free, Rule::Token, || format!("{actor} is loaded without the token or before its commits end"))
            }
            Event::Loaded { actor, etag, stamp, .. } => {
                self.actors[actor].begun.clear();
                let known = etag <= self.actors[actor].etag && self.actors[actor].stamps.contains(&stamp);
                check(known, Rule::Durable, || format!("{actor} woke with what never was"))
            }
            Event::Began { actor, message, .. } => self.began(actor, message),
            Event::Waits { actor, message, request } => match self.actors[actor].run_of(message) {
                Some(run) => {
                    run.waits = Some(request);
                    Ok(())
                }
                None => broken(Rule::OneTurn, format!("{actor} waits for {request} without a turn")),
            },
            Event::Ended { actor, message, how } => {
                if how == "returned" {
                    self.innermost(actor, message)?;
                }
                let runs = &mut self.actors[actor].runs;
                let before = runs.len();
                runs.retain(|run| run.message != message);
                let ran = runs.len() < before;
                check(ran, Rule::OneTurn, || format!("{actor} ended a turn that does not run: {how}"))
            }
            Event::Submitted { actor, generation, etag, bytes, commits, ref messages } => {
                let it = &mut self.actors[actor];
                let amid = it.runs.iter().find(|run| run.wrote);
                check(amid.is_none(), Rule::Group, || format!("{actor}: commit {etag} amid the writes of {amid:?}"))?;
                it.submitted.insert((generation, etag), messages.clone());
                it.pending.insert(etag, (generation, bytes));
                check(commits <= PENDING_COMMITS_MAX, Rule::Bounds, || format!("{actor}: {commits} commits under way"))
            }
            Event::Landed { actor, etag, outcome } => {
                let it = &mut self.actors[actor];
                let Some((generation, _)) = it.pending.remove(&etag) else {
                    return broken(Rule::Ends, format!("{actor}: commit {etag} ended twice"));
                };
                let there = it.submitted.remove(&(generation, etag)).is_none();
                check(outcome != "ok" || there, Rule::Durable, || format!("{actor}: commit {etag} is not there"))
            }
            _ => Ok(()),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "it is given the events that it knows")]
    fn store(&mut self, event: &Event) -> Verdict {
        match event {
            &Event::Recovered { actor, etag, stamp } => {
                let it = &mut self.actors[actor];
                it.owner = None;
                let same = (it.etag, it.stamp) == (etag, stamp);
                check(same, Rule::Durable, || format!("{actor} was at {} and is at {etag}", it.etag))
            }
            &Event::Claimed { actor, generation, etag, stamp } => {
                let it = &mut self.actors[actor];
                check(generation > it.newest, Rule::Linear, || format!("{actor}: generation {generation} again"))?;
                (it.owner, it.newest) = (Some(generation), generation);
                let same = (it.etag, it.stamp) == (etag, stamp);
                check(same, Rule::Durable, || format!("{actor} is at {} and a claim gave {etag}", it.etag))
            }
            &Event::Released { actor, generation } => {
                let owner = &mut self.actors[actor].owner;
                *owner = owner.filter(|&owner| owner != generation);
                Ok(())
            }
            Event::Applied(applied) => self.applied(applied),
            Event::Accepted(sent) => self.sent(sent),
            Event::Discarded(id) => {
                let fate = self.tells.entry(id.clone()).or_default();
                check(!fate.handled, Rule::Once, || format!("tell {id} was handled and is a dead letter"))?;
                fate.discarded = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }

    /// What somebody else learned of an actor's state must be durable.
    fn visible(&self, seen: Seen) -> Verdict {
        let Some((actor, stamp)) = seen else { return Ok(()) };
        let durable = self.actors[actor].stamps.contains(&stamp);
        check(durable, Rule::VisibleBeforeDurable, || format!("{actor}'s write {stamp} was seen and is not durable"))
    }

    fn answered(&mut self, id: u64, ending: &Ending) -> Verdict {
        let Some(request) = self.requests.get_mut(&id) else {
            return broken(Rule::Ends, format!("nobody asked {id}"));
        };
        check(request.open, Rule::Ends, || format!("request {id} was answered twice"))?;
        request.open = false;
        request.denied = matches!(ending, Ending::Error(_, false));
        self.open.remove(&(request.deadline, id));
        let lie = request.denied && request.done;
        if let Source::Actor(caller) = request.by {
            let runs = &mut self.actors[caller].runs;
            runs.iter_mut().filter(|run| run.waits == Some(id)).for_each(|run| run.waits = None);
        }
        check(!lie, Rule::Honest, || format!("request {id} was done and answered {ending:?}"))
    }

    /// Turns that nest go on one at a time: the innermost.
    fn innermost(&self, actor: usize, message: Option<u64>) -> Verdict {
        let Actor { overlap, runs, .. } = &self.actors[actor];
        let fine = *overlap != Overlap::Nested || runs.last().is_none_or(|run| run.message == message);
        check(fine, Rule::OneTurn, || format!("{actor}: {message:?} goes on below {:?}", runs.last()))
    }

    /// Whether a turn of that actor waits for the message.
    fn returns(&self, message: u64, to: usize) -> bool {
        let Actor { runs, .. } = &self.actors[to];
        runs.iter().any(|run| self.waits_on(run, message))
    }

    fn began(&mut self, actor: usize, message: Option<u64>) -> Verdict {
        let waited = |run: Option<&Run>| {
            let pair = run.zip(message);
            pair.is_some_and(|(run, message)| self.waits_on(run, message))
        };
        let runs = &self.actors[actor].runs;
        let returns = match self.actors[actor].overlap {
            Overlap::Nested => waited(runs.last()),
            Overlap::Chain { .. } => runs.iter().any(|run| waited(Some(run))),
            Overlap::None | Overlap::Reads | Overlap::Full => false,
        };
        let past = message.and_then(|message| self.inside.get(&message)).is_some_and(|it| it.returns);
        let it = &mut self.actors[actor];
        check(it.token, Rule::Token, || format!("{actor} has a turn and no driver"))?;
        let request = message.and_then(|message| self.requests.get(&message));
        let control = message.is_none_or(|message| self.inside.get(&message).is_some_and(|it| it.control));
        let new = Run {
            message,
            waits: None,
            wrote: false,
            reads: request.is_some_and(|request| request.reads),
            alone: control,
        };
        let alone = new.alone || it.runs.iter().any(|run| run.alone);
        let fits = returns && !alone || it.runs.iter().all(|run| it.overlap.is_fine(run, &new));
        check(fits, Rule::OneTurn, || format!("{actor}, {:?}: {new:?} beside {:?}", it.overlap, it.runs))?;
        it.runs.push(new);
        let bytes: usize = it.pending.values().map(|(_, bytes)| bytes).sum();
        let room = past || it.pending.len() < PENDING_COMMITS_MAX && bytes < PENDING_BYTES_MAX;
        check(room, Rule::Bounds, || format!("{actor} began with {} commits, {bytes} bytes", it.pending.len()))?;
        let Some(message) = message else { return Ok(()) };
        let Some(&Inside { by, control, .. }) = self.inside.get(&message) else {
            return broken(Rule::Ends, format!("message {message} runs and was not let in"));
        };
        let last = if control || past { None } else { it.begun.insert(by, message) };
        check(last.is_none_or(|last| last < message), Rule::Order, || format!("{message} after {last:?} of {by:?}"))
    }

    fn applied(&mut self, applied: &Applied) -> Verdict {
        let &Applied { actor, generation, etag, stamp, halves, balance, .. } = applied;
        let it = &mut self.actors[actor];
        let next = etag == it.etag + 1 && Some(generation) == it.owner;
        check(next, Rule::Linear, || {
            format!("{actor}: {etag} of {generation} after {} while {:?} owns it", it.etag, it.owner)
        })?;
        check(halves.0 == halves.1, Rule::Torn, || format!("{actor} has halves {halves:?}"))?;
        let before = std::mem::replace(&mut it.balance, balance);
        (it.etag, it.stamp) = (etag, stamp);
        it.stamps.insert(stamp);
        for message in it.submitted.remove(&(generation, etag)).unwrap_or_default() {
            let mut message = Some(message);
            while let Some((id, request)) = message.and_then(|id| Some((id, self.requests.get_mut(&id)?))) {
                check(!request.denied, Rule::Honest, || format!("request {id} was denied and then done"))?;
                request.done = true;
                message = request.parent;
            }
        }
        let sent: u64 = applied.tells.iter().map(|tell| tell.amount).sum();
        for tell in &applied.tells {
            self.sent(tell)?;
        }
        let got = applied.handled.as_ref().map_or(Ok(0), |id| self.handled(actor, id))?;
        check(before + got == balance + sent, Rule::Sum, || {
            format!("{actor} had {before}, got {got}, sent {sent} and has {balance}")
        })
    }

    fn sent(&mut self, sent: &Sent) -> Verdict {
        let fate = Fate { amount: sent.amount, ..Fate::default() };
        let old = self.tells.insert(sent.id.clone(), fate);
        check(old.is_none(), Rule::Once, || format!("two tells are called {}", sent.id))
    }

    fn handled(&mut self, by: usize, id: &TellId) -> Result<u64, Violation> {
        let Some(fate) = self.tells.get_mut(id) else {
            return Err(Violation { rule: Rule::Once, text: format!("tell {id} was handled and never sent") });
        };
        check(!fate.handled, Rule::Once, || format!("tell {id} was handled twice"))?;
        check(!fate.discarded, Rule::Once, || format!("tell {id} was handled and is a dead letter"))?;
        fate.handled = true;
        let from = id.from.as_ref().map(crate::workload::index);
        let last = self.actors[by].handled.insert(from, id.sequence);
        check(last.is_none_or(|last| last < id.sequence), Rule::Order, || format!("tell {id} came after {last:?}"))?;
        Ok(fate.amount)
    }

    /// Whether the turn that sent this message waits for itself: from a turn of the receiver that it
    /// must wait for, along the calls that turns wait for now, back to the sender. A turn between them
    /// that an overlapping one took along has an answer on its way: `doubt` is the answer for that.
    fn cycle(&self, message: u64, doubt: bool) -> bool {
        let Some(request) = self.requests.get(&message) else { return false };
        let Request { by: Source::Actor(_), to, open: true, reads, .. } = request else { return false };
        let new = Run { message: Some(message), waits: None, wrote: false, reads: *reads, alone: false };
        let Actor { overlap, runs, .. } = &self.actors[*to];
        let blocks = |run: &Run| !overlap.is_fine(run, &new) && !overlap.lets_return();
        runs.iter().any(|run| blocks(run) && self.leads_to(run, message, doubt, self.actors.len()))
    }

    fn leads_to(&self, run: &Run, message: u64, doubt: bool, depth: usize) -> bool {
        let Some(request) = run.waits else { return false };
        if request == message {
            return true;
        }
        // A path is never longer than that.
        let Some(depth) = depth.checked_sub(1) else { return false };
        let Actor { overlap, runs, .. } = &self.actors[self.requests[&request].to];
        let next = runs.iter().find(|run| run.message == Some(request));
        match next {
            Some(next) => self.leads_to(next, message, doubt, depth),
            None if !doubt => false,
            None if !self.inside.contains_key(&request) => true,
            // It waits in a mailbox, for the turns there.
            None => runs.iter().any(|run| {
                let reads = self.requests[&request].reads;
                let new = Run { message: Some(request), waits: None, wrote: false, reads, alone: false };
                !overlap.is_fine(run, &new) && self.leads_to(run, message, doubt, depth)
            }),
        }
    }

    /// Whether the turn waits for that message, along the turns that run. One of those between them may
    /// have ended a moment ago, with its answer on the way.
    fn waits_on(&self, run: &Run, message: u64) -> bool {
        let mut waits = run.waits;
        for _ in 0..PATH_MAX {
            match waits {
                None => return false,
                Some(request) if request == message || !self.inside.contains_key(&request) => return true,
                Some(request) => {
                    let runs = &self.actors[self.requests[&request].to].runs;
                    waits = runs.iter().find(|run| run.message == Some(request)).and_then(|run| run.waits);
                }
            }
        }
        false
    }

    /// Memory is lost, and with it the questions of actors to each other.
    fn crash(&mut self) -> Verdict {
        self.inside.clear();
        for actor in &mut self.actors {
            actor.owner = None;
            actor.submitted.clear();
            actor.token = false;
            actor.down = None;
            actor.runs.clear();
            actor.pending.clear();
        }
        for (&id, request) in &mut self.requests {
            if request.open && matches!(request.by, Source::Actor(_)) {
                request.open = false;
                self.open.remove(&(request.deadline, id));
            }
        }
        Ok(())
    }

    /// A silo that stopped by itself has answered everybody.
    fn stopped(&mut self) -> Verdict {
        check(self.open.is_empty(), Rule::Ends, || format!("stopped with {:?} unanswered", self.open))?;
        check(self.inside.is_empty(), Rule::Ends, || format!("stopped with {:?} waiting", self.inside))?;
        self.crash()
    }

    pub(crate) fn finish(&self) -> Verdict {
        check(self.inside.is_empty(), Rule::Liveness, || format!("messages wait for ever: {:?}", self.inside))?;
        check(self.open.is_empty(), Rule::Liveness, || format!("callers wait for ever: {:?}", self.open))?;
        let busy = self.actors.iter().position(|it| it.token || !it.runs.is_empty() || !it.pending.is_empty());
        check(busy.is_none(), Rule::Liveness, || format!("actor {busy:?} never came to rest"))?;
        let lost = self.tells.iter().find(|(_, fate)| !fate.ended());
        check(lost.is_none(), Rule::Lost, || format!("a tell was lost: {lost:?}"))?;
        let dead: u64 = self.tells.values().filter(|fate| fate.discarded).map(|fate| fate.amount).sum();
        let sum = self.actors.iter().map(|it| it.balance).sum::<u64>() + dead;
        check(sum == BALANCE * self.actors.len() as u64, Rule::Sum, || format!("all have {sum} together"))
    }
}

/// Messages go no deeper.
const PATH_MAX: usize = 16;

/// Whether the path passes the receiver and the sender and ends at the receiver.
fn leads(path: &str, by: usize, to: usize) -> bool {
    let at = |hop: Option<&&str>, actor: usize| hop.is_some_and(|hop| hop.contains(&format!("/{actor}.")));
    let hops: Vec<&str> = path.split(" -> ").collect();
    let waiting = hops.iter().position(|hop| at(Some(hop), to));
    let distinct = waiting.is_some_and(|waiting| waiting + 1 < hops.len());
    distinct && at(hops.last(), to) && at(hops.iter().nth_back(1), by)
}

fn check(holds: bool, rule: Rule, text: impl FnOnce() -> String) -> Verdict {
    if holds { Ok(()) } else { broken(rule, text()) }
}

fn broken(rule: Rule, text: String) -> Verdict {
    Err(Violation { rule, text })
}
