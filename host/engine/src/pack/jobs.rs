//! Jobs of a pack as they are given and answered.

use std::collections::VecDeque;

use wasmtime::component::ResourceAny;

use super::desk::{Job, Reply, Turned, Work};
use super::{Pack, Unseated};
use crate::error::Trap;

impl Pack {
    /// Gives the pack something to do, and somebody to do it.
    pub(super) fn ask(&self, seat: Option<usize>, work: Work, reply: Reply) {
        let mut desk = self.desk.lock();
        let job = Job { seat, work, reply };
        if desk.over {
            drop(desk);
            return self.refuse(job);
        }
        desk.jobs.push_back(job);
        let driven = std::mem::replace(&mut desk.driven, true);
        drop(desk);
        if driven {
            self.awake.wake();
        } else if let Some(me) = self.me.upgrade() {
            (self.background)(Box::pin(me.run()));
        }
    }

    /// A seat is given up.
    pub(super) fn leave(&self, at: usize, this: ResourceAny) {
        self.desk.lock().leave(at, this);
        self.awake.wake();
    }

    /// What runs for that seat must end now, if anything does.
    pub(super) fn doom(&self, at: usize, why: Trap) {
        let mut desk = self.desk.lock();
        if desk.runs.values().any(|runs| runs.seat == at) {
            desk.doomed = Some((at, why));
        }
        // What has not begun must not begin later: the seat may be another actor's by then.
        let of_seat = |job: &Job| job.seat == Some(at);
        let (unbegun, rest): (VecDeque<Job>, VecDeque<Job>) =
            std::mem::take(&mut desk.jobs).into_iter().partition(of_seat);
        desk.jobs = rest;
        drop(desk);
        self.awake.wake();
        unbegun.into_iter().for_each(|job| self.refuse(job));
    }

    /// Answers a job that cannot begin, since the instance is over.
    pub(super) fn refuse(&self, job: Job) {
        match (job.work, job.reply) {
            (Work::Sit(member, cause), Reply::Sat(reply, _)) => drop(reply.send(Err(Unseated::Over(member, cause)))),
            (_, Reply::Turned(turn, done)) => done(Turned::Unbegun(turn)),
            (Work::Look(name), Reply::Looked(reply)) => {
                let looked = job.seat.map(|at| self.desk.lock().look(at, &name));
                drop(reply.send(looked.unwrap_or_default()));
            }
            (Work::Leave(_), Reply::Left(reply)) => {
                drop(reply.send(job.seat.and_then(|at| self.desk.lock().take_ghost(at))));
            }
            (_, reply) => reply.trapped(Trap::Unbegun),
        }
    }
}
