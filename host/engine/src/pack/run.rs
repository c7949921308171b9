//! The concurrent lane: one event loop for all that runs in a pack.

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use wasmtime::AsContextMut as _;
use wasmtime::component::Accessor;

use super::desk::{Job, Reply, Work};
use super::{Body, Pack, Unseated};
use crate::cell::{self, Cell, Exports};
use crate::error::Trap;
use crate::guest::{Guest, Runs};
use crate::rest::noted;
use crate::seats::{Seats, attribute};

/// Seats that were left before what they had in the guest is dropped; with more, nothing begins until
/// all that runs has ended.
const LEFT_MAX: usize = 1024;

/// A job that runs.
pub(super) type Call<'a> = Pin<Box<dyn Future<Output = Result<(), (usize, Trap)>> + Send + 'a>>;

/// Whose fault it is that the instance is over, if it is known, and why.
type End = (Option<usize>, Trap);

impl Pack {
    /// Carries out jobs until there are none.
    pub(super) async fn run(self: Arc<Self>) {
        let mut body = self.body.clone().lock_owned().await;
        loop {
            if matches!(*body, Body::Fresh(_))
                && let Err(trap) = self.instantiate(&mut body).await
            {
                return self.over(&mut body, (None, trap));
            }
            let Body::Alive(cell, _) = &mut *body else { return };
            let passed = match self.pass(cell).await {
                Ok(passed) => passed,
                Err(error) => Err(culprit(cell, &error)),
            };
            let ended = match passed {
                Ok(()) => self.tidy_async(cell).await.map_err(|trap| (None, trap)),
                Err(end) => Err(end),
            };
            if let Err(end) = ended {
                return self.over(&mut body, end);
            }
            let mut desk = self.desk.lock();
            if desk.jobs.is_empty() && !desk.untidy() {
                desk.driven = false;
                return;
            }
        }
    }

    /// The first job is always an actor that wakes.
    async fn instantiate(&self, body: &mut Body) -> Result<(), Trap> {
        let first = self.desk.lock().jobs.pop_front();
        let Some(Job { work: Work::Sit(member, cause), reply, .. }) = first else { return Err(Trap::Unbegun) };
        let Body::Fresh(place) = std::mem::replace(body, Body::Over) else { return Err(Trap::Unbegun) };
        let seats = Seats::new(self.overlap);
        match Cell::new(&self.component, self.kind_at, member, Some(seats), true).await {
            Ok(mut cell) => {
                let guest = cell.store.data_mut();
                let seat = Some(guest.sit(None));
                guest.let_any_call(false);
                guest.rest.iter().for_each(|rest| drop(self.rest.set(rest.clone())));
                *body = Body::Alive(Box::new(cell), place);
                self.desk.lock().jobs.push_front(Job { seat, work: Work::Wake(cause), reply });
                Ok(())
            }
            Err(trap) => {
                reply.trapped(trap.clone());
                Err(trap)
            }
        }
    }

    /// Begins jobs and sees them end, until nothing runs and nothing waits.
    async fn pass(&self, cell: &mut Cell) -> wasmtime::Result<Result<(), End>> {
        let Cell { store, exports, .. } = cell;
        store.set_epoch_deadline(1);
        let pass = async |accessor: &Accessor<Guest>| {
            let mut calls: FuturesUnordered<Call<'_>> = FuturesUnordered::new();
            poll_fn(|cx| self.poll(accessor, exports, &mut calls, cx)).await
        };
        let rest = store.data().rest.clone();
        noted(rest, store.run_concurrent(pass)).await
    }

    fn poll<'a>(
        &'a self,
        accessor: &'a Accessor<Guest>,
        exports: &mut Exports,
        calls: &mut FuturesUnordered<Call<'a>>,
        cx: &mut Context<'_>,
    ) -> Poll<Result<(), End>> {
        self.awake.register(cx.waker());
        loop {
            if let Some((seat, why)) = self.desk.lock().take_doomed() {
                return Poll::Ready(Err((Some(seat), why)));
            }
            while let Some(job) = self.next_job() {
                let seat = job.seat;
                match self.begin(accessor, exports, job) {
                    Ok(call) => calls.extend(call),
                    Err(trap) => return Poll::Ready(Err((seat, trap))),
                }
            }
            match calls.poll_next_unpin(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Some(Ok(()))) => {}
                Poll::Ready(Some(Err((seat, trap)))) => return Poll::Ready(Err((Some(seat), trap))),
                Poll::Ready(None) => break,
            }
        }
        // What guests do after they have answered is let come to its end, as long as anybody sits there.
        if self.desk.lock().untidy() || accessor.with(|mut access| access.data_mut().is_deserted()) {
            return Poll::Ready(Ok(()));
        }
        accessor.poll_no_interesting_tasks(cx).map(Ok)
    }

    /// The next job, unless resources must be dropped first.
    fn next_job(&self) -> Option<Job> {
        let mut desk = self.desk.lock();
        if desk.left() >= LEFT_MAX { None } else { desk.jobs.pop_front() }
    }

    /// Drops what actors that have left had in the guest.
    async fn tidy_async(&self, cell: &mut Cell) -> Result<(), Trap> {
        let left = self.desk.lock().take_left();
        if left.is_empty() {
            return Ok(());
        }
        cell.store.data_mut().let_any_call(true);
        for (at, this) in left {
            cell.store.data_mut().leave(at);
            if let Some(this) = this {
                let dropped = this.resource_drop_async(&mut cell.store).await;
                dropped.map_err(|error| cell::trap(cell.store.data(), &error))?;
            }
        }
        cell.store.data_mut().let_any_call(false);
        Ok(())
    }

    /// The instance is over: answers all that ran in it and all that waited for it.
    fn over(&self, body: &mut Body, (seat, trap): End) {
        self.end(body);
        let (runs, jobs) = {
            let mut desk = self.desk.lock();
            (std::mem::take(&mut desk.runs), std::mem::take(&mut desk.jobs))
        };
        let only = runs.values().map(|runs| runs.seat).reduce(|one, other| if one == other { one } else { NOBODY });
        let seat = seat.or(only);
        for (_, runs) in runs {
            let mine = seat == Some(runs.seat);
            // Who was just waking wakes elsewhere.
            if !mine && matches!(runs.reply, Reply::Sat(..)) {
                let Reply::Sat(reply, cause) = runs.reply else { continue };
                let ghost = self.desk.lock().take_ghost(runs.seat);
                let unseated = ghost.map(|mut member| {
                    member.undo();
                    Unseated::Over(member, cause)
                });
                drop(reply.send(Err(unseated.unwrap_or(Unseated::Trap(Trap::Unbegun)))));
                continue;
            }
            runs.reply.trapped(if mine { trap.clone() } else { Trap::Neighbour(trap.to_string()) });
        }
        jobs.into_iter().for_each(|job| self.refuse(job));
    }
}

/// The seat of none of several.
const NOBODY: usize = usize::MAX;

/// Whose turn it was that trapped.
fn culprit(cell: &mut Cell, error: &wasmtime::Error) -> End {
    let found = attribute(&mut cell.store.as_context_mut()).is_ok();
    let guest = cell.store.data();
    let trap = cell::trap(guest, error);
    match &guest.member.replays {
        Some(doing) if found && guest.turn.runs == Runs::Replay => (guest.seat(), doing.named(trap)),
        _ => (guest.seat().filter(|_| found), trap),
    }
}
