//! What a write's outcome sets free: outputs of turns, tells for the relay, the next turn.

use quark_core::activation::Turn;
use quark_core::commit::CommitError;
use quark_core::envelope::{Tell, TellId};
use quark_core::error::CallError;

use crate::Mutation;
use crate::context::Context;
use crate::relay::Failure;
use crate::silo::Silo;
use crate::store::Outcome;
use crate::trace::{Ending, Event, Seen};

/// What leaves a turn through its machine's gate.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Out {
    /// The answer; `progressed` when the turn's earlier commit points make "nothing was done" a lie.
    Reply { message: u64, ending: Ending, seen: Seen, progressed: bool },
    /// The suspended turn may go on.
    Resume(Turn),
    /// A tell's end, or the deactivate hook's.
    Done(Option<u64>),
}

/// A commit handed to the store: what its outcome means to the relay.
#[derive(Debug)]
pub(crate) struct Underway {
    pub(crate) etag: u64,
    pub(crate) handled: Option<TellId>,
    pub(crate) tells: Vec<(TellId, Tell)>,
}

impl Silo {
    pub(crate) fn done(&mut self, cx: &mut Context, outcome: Outcome) {
        match outcome {
            Outcome::Commit { actor, etag, result } => self.landed(cx, actor, etag, result),
            Outcome::Accept { request, tell, result } => match result {
                Ok(id) => {
                    self.relay.add(cx, id, tell);
                    self.send_answer(cx, request, Ending::Answer(true), None);
                }
                Err(error) => {
                    if error == CommitError::Unknown && !cx.mistake(Mutation::TrustDoubt) {
                        self.relay.rescan(cx);
                    }
                    self.send_answer(cx, request, (&told(error, false)).into(), None);
                }
            },
            Outcome::Discard { id, result: Ok(()) } => self.relay.over(cx, &id),
            Outcome::Discard { id, result: Err(_) } => self.relay.not_discarded(cx, &id),
        }
    }

    fn landed(&mut self, cx: &mut Context, actor: usize, etag: u64, outcome: Result<(), CommitError>) {
        cx.log(Event::Landed { actor, etag, outcome: outcome.map_or_else(name, |()| "ok") });
        let Some(activation) = &mut self.catalog[actor] else { return };
        let landed = activation.turns.landed(etag, outcome);
        // First the commit's own rows, whatever becomes of its output.
        if let Some(at) = activation.underway.iter().position(|commit| commit.etag == etag)
            && let Some(commit) = activation.underway.remove(at)
        {
            self.account(cx, commit, outcome);
        }
        for out in landed.released {
            self.release(cx, actor, out);
        }
        for (out, error) in landed.failed {
            self.fail(cx, actor, out, error);
        }
        if let Err(error) = outcome {
            self.give_up(cx, actor, error);
        }
        if landed.token && !cx.mistake(Mutation::IgnoreGrants) {
            cx.log(Event::Token(actor));
            self.drive(cx, actor);
        } else if self.catalog[actor].as_ref().is_some_and(|activation| activation.turns.overlaps()) {
            // There may be room for a turn that waited for it.
            self.drive(cx, actor);
        }
    }

    fn account(&mut self, cx: &mut Context, commit: Underway, outcome: Result<(), CommitError>) {
        let doubt = matches!(outcome, Err(CommitError::Unknown | CommitError::Conflict));
        match (outcome, commit.handled) {
            (_, None) => {}
            (Ok(()), Some(id)) => self.relay.over(cx, &id),
            (Err(_), Some(id)) => {
                let failure =
                    if doubt && !cx.mistake(Mutation::TrustDoubt) { Failure::Doubt } else { Failure::Passing };
                self.relay.failed(cx, &id, None, failure);
            }
        }
        if outcome.is_ok() {
            for (id, tell) in commit.tells {
                self.relay.add(cx, id, tell);
            }
        } else if doubt && !commit.tells.is_empty() && !cx.mistake(Mutation::TrustDoubt) {
            self.relay.rescan(cx);
        }
    }

    /// An output leaves.
    pub(crate) fn release(&mut self, cx: &mut Context, actor: usize, out: Out) {
        match out {
            Out::Reply { message, ending, seen, progressed: _ } => {
                cx.log(Event::Out { message, how: "replied" });
                self.send_answer(cx, message, ending, seen);
            }
            Out::Resume(turn) => self.wake(cx, actor, turn, Ok(())),
            Out::Done(Some(message)) => cx.log(Event::Out { message, how: "done" }),
            Out::Done(None) => {}
        }
    }

    /// An output that will never leave.
    pub(crate) fn fail(&mut self, cx: &mut Context, actor: usize, out: Out, error: CommitError) {
        match out {
            Out::Reply { .. } if cx.mistake(Mutation::DropFailed) => {}
            Out::Reply { message, progressed, .. } => {
                let progressed = progressed && !cx.mistake(Mutation::DenyAll);
                cx.log(Event::Out { message, how: "commit failed" });
                self.send_answer(cx, message, (&told(error, progressed)).into(), None);
            }
            Out::Resume(turn) => self.wake(cx, actor, turn, Err(error)),
            Out::Done(Some(message)) => cx.log(Event::Out { message, how: "commit failed" }),
            Out::Done(None) => {}
        }
    }
}

impl Silo {
    /// An output that waited for overlapping turns, which took the instance along.
    pub(crate) fn undone(&self, cx: &mut Context, out: Out) {
        match out {
            Out::Reply { message, .. } => {
                cx.log(Event::Out { message, how: "undone" });
                self.send_answer(cx, message, (&CallError::Failed("undone".into())).into(), None);
            }
            Out::Done(Some(message)) => cx.log(Event::Out { message, how: "undone" }),
            // Its turn died with the instance.
            Out::Resume(_) | Out::Done(None) => {}
        }
    }
}

/// What a caller is told of a commit that did not land.
pub(crate) fn told(error: CommitError, progressed: bool) -> CallError {
    match error {
        CommitError::Unknown => CallError::UnknownOutcome(error.to_string()),
        _ if progressed => CallError::Failed(error.to_string()),
        CommitError::Unavailable { retry_ms } => CallError::Unavailable(retry_ms),
        CommitError::Fenced | CommitError::Conflict => CallError::Unreachable(error.to_string()),
    }
}

const fn name(error: CommitError) -> &'static str {
    match error {
        CommitError::Fenced => "fenced",
        CommitError::Conflict => "conflict",
        CommitError::Unavailable { .. } => "unavailable",
        CommitError::Unknown => "unknown",
    }
}
