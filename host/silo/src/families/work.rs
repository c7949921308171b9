//! Carries out what families are to do: ends children, starts them, stops them for good, fails their parent.

use std::sync::Arc;
use std::time::Duration;

use quark_core::envelope::{Chain, Head, Path};
use quark_core::error::CallError;
use quark_core::id::ActorId;
use quark_core::standing::Standing;
use quark_core::state::STANDING;
use quark_core::supervision::{Action, Directive, Supervision, Verdict};
use quark_core::time::Time;
use quark_engine::{Hook, Trap};
use tokio::sync::oneshot;

use super::{Gate, Next};
use crate::activation::Activation;
use crate::message::{Message, MethodRef, Notice, Work};
use crate::silo::Inner;
use crate::store::StoreError;

/// How long a child that is ended with others has until the next one is ended. It ends after its turn all the
/// same.
const HOLD_GRACE: Duration = Duration::from_secs(5);
/// How often it is looked at meanwhile.
const HOLD_LOOK: Duration = Duration::from_millis(1);
/// How long a parent has to decide; then its manifest's strategy rules.
const DECIDE_GRACE: Duration = Duration::from_secs(5);
/// How often a family's row is asked for while the store cannot be reached.
const READS_MAX: u32 = 5;
/// How often a child is tried to be stopped that is to end for good.
const STOPS_MAX: u32 = 5;

impl Inner {
    /// The policy of that actor's kind about failures.
    pub(crate) fn supervision_of(&self, id: &ActorId) -> Supervision {
        self.kinds.get(&id.kind).map(|served| served.kind().policy.supervision).unwrap_or_default()
    }

    /// What is kept of an actor: as it is in memory, or as its row has it. One that cannot be read is as none.
    pub(crate) async fn standing_of(&self, id: &ActorId) -> Result<Standing, StoreError> {
        if let Some(activation) = self.catalog.get(id)
            && let Some(standing) = activation.machine.lock().loaded_standing()
        {
            return Ok(standing.clone());
        }
        let snapshot = self.store.read(id).await?;
        let row = snapshot.as_ref().and_then(|snapshot| snapshot.values.get(STANDING));
        Ok(Standing::decode(row.map(|row| &**row)).unwrap_or_default())
    }

    /// A child failed, and is held down.
    pub(crate) fn child_failed(self: &Arc<Self>, parent: ActorId, child: ActorId, reason: String) {
        let silo = self.clone();
        self.spawn(async move {
            if !silo.is_family(&parent, &child).await {
                return silo.rules_itself(&child);
            }
            let directive = silo.directive(&parent, &child, &reason).await;
            silo.families.follows(&parent, silo.supervision_of(&parent));
            let now = silo.clock.now();
            if silo.families.failed(&parent, &child, directive, &reason, now) {
                silo.work(&parent);
                if matches!(silo.gate(&parent, &child), Gate::Cools(_)) {
                    // It was spawned anew while its parent failed too often, and failed after the others were told.
                    silo.go_on(&child);
                }
            } else {
                silo.rules_itself(&child);
            }
        });
    }

    /// A child asked to leave memory, and has.
    pub(crate) fn child_ended(self: &Arc<Self>, parent: ActorId, child: ActorId) {
        let silo = self.clone();
        self.spawn(async move {
            let is_family = silo.is_family(&parent, &child).await;
            silo.families.follows(&parent, silo.supervision_of(&parent));
            if !is_family || !silo.families.ended(&parent, &child, silo.clock.now()) {
                return;
            }
            // A message that woke it meanwhile said so before it was known to have ended.
            if silo.catalog.get(&child).is_some_and(|activation| !activation.is_asleep()) {
                silo.families.woke(&parent, &child);
            }
            silo.work(&parent);
        });
    }

    /// Whether that parent lists that child. Its family is in the table then.
    async fn is_family(&self, parent: &ActorId, child: &ActorId) -> bool {
        if self.families.knows(parent, child) {
            return true;
        }
        for _ in 0..READS_MAX {
            match self.family_of(parent, child).await {
                Ok(Some(row)) => {
                    self.families.loaded(parent, &row, self.supervision_of(parent));
                    return self.families.knows(parent, child);
                }
                Ok(None) | Err(StoreError::Damaged(_)) => return false,
                Err(StoreError::Unavailable { retry_ms, .. }) => {
                    tokio::time::sleep(Duration::from_millis(retry_ms)).await;
                }
            }
        }
        false
    }

    /// The row of a parent that lists that child, with those that are its own.
    async fn family_of(&self, parent: &ActorId, child: &ActorId) -> Result<Option<Standing>, StoreError> {
        let mut row = self.standing_of(parent).await?;
        if row.stopped || !row.lists(child) {
            return Ok(None);
        }
        let gone = self.no_children_any_more(parent, &row).await?;
        gone.iter().for_each(|child| row.unlist(child));
        Ok(Some(row))
    }

    /// Its row names a parent that does not list it: its own manifest rules.
    fn rules_itself(self: &Arc<Self>, id: &ActorId) {
        let now = self.clock.now();
        match self.supervised.judge(id, &self.supervision_of(id), now) {
            Verdict::Restart(at) if at > now => self.go_on_at(id.clone(), at),
            Verdict::Restart(_) | Verdict::CoolDown(_) => self.go_on(id),
        }
    }

    fn go_on_at(self: &Arc<Self>, id: ActorId, at: Time) {
        let silo = self.clone();
        self.spawn(async move {
            tokio::time::sleep_until(silo.clock.instant(at)).await;
            silo.go_on(&id);
        });
    }

    /// Its wait is over.
    pub(super) fn go_on(self: &Arc<Self>, id: &ActorId) {
        let Some(activation) = self.catalog.get(id) else { return };
        let token = activation.machine.lock().turns.go_on();
        if token {
            self.spawn(activation.run(None));
        }
    }

    /// Wakes it, and ends its wait if it has one.
    pub(crate) fn revive(self: &Arc<Self>, id: &ActorId) {
        // One that is full of notices is about to be woken by them.
        self.deliver_later(id, Message::notice(Work::Revive, Time::NEVER)).ok();
        self.go_on(id);
    }

    /// What the parent decides; without a word of it the strategy of its manifest.
    async fn directive(self: &Arc<Self>, parent: &ActorId, child: &ActorId, reason: &str) -> Directive {
        let Some(served) = self.kinds.get(&parent.kind) else { return Directive::Restart };
        let Some(at) = served.kind().hook(Hook::ChildFailed) else { return Directive::Restart };
        let now = self.clock.now();
        let (count, deadline) = (self.families.count(parent, now), now.after(DECIDE_GRACE));
        let payload = quark_engine::child_failed_arguments(parent, child, reason, count);
        let (reply, answer) = oneshot::channel();
        let notice = Work::Notice(Box::new(Notice { method: MethodRef { served, at }, payload, reply }));
        if self.deliver_later(parent, Message::notice(notice, deadline)).is_err() {
            return Directive::Restart;
        }
        let in_vain = self.families.asks(parent, child);
        let answer = async {
            tokio::select! {
                answer = answer => answer.ok(),
                () = in_vain.notified() => None,
                () = tokio::time::sleep_until(self.clock.instant(deadline)) => None,
            }
        };
        let decided = answer.await.and_then(Result::ok);
        decided.as_ref().and_then(quark_engine::directive).unwrap_or_else(|| {
            tracing::info!(%parent, %child, "on-child-failed did not decide: the manifest's strategy rules");
            Directive::Restart
        })
    }

    /// Ends the waits of that parent's children before their restarts.
    pub(crate) fn hurry(self: &Arc<Self>, parent: &ActorId) {
        self.families.hurry(parent, self.clock.now());
        self.work(parent);
    }

    /// Does what is queued for that family, in a task of its own.
    pub(crate) fn work(self: &Arc<Self>, parent: &ActorId) {
        if self.families.begin_work(parent) {
            self.spawn(work(self.clone(), parent.clone()));
        }
    }

    /// Ends an actor's instance; messages to it wait. Of a family all below it end before it, the last first.
    async fn hold(self: &Arc<Self>, parent: &ActorId, child: ActorId) {
        // A stack of its own: how deep a tree is has no bound that this could rest on.
        let mut to_do = vec![(parent.clone(), child, false)];
        while let Some((parent, child, below_done)) = to_do.pop() {
            if below_done {
                let with_parent = !to_do.is_empty();
                let let_go = || self.families.lets_go(&parent, &child, with_parent);
                self.hold_one(&parent, &child, let_go).await;
                if self.families.goes_on(&parent, &child, with_parent) {
                    // Whoever let go of it, or spawned it anew, before it was held did not see it wait.
                    self.go_on(&child);
                }
                continue;
            }
            to_do.push((parent, child.clone(), true));
            for action in self.families.take_down(&child).into_iter().rev() {
                match action {
                    Action::Hold(below) => to_do.push((child.clone(), below, false)),
                    Action::Stop(below) => self.stop_for_good(below).await,
                    Action::Start(_) | Action::Escalate => {}
                }
            }
        }
    }

    /// The same of one alone, unless it has been let go of.
    async fn hold_one(self: &Arc<Self>, parent: &ActorId, child: &ActorId, let_go: impl Fn() -> bool) {
        let Some(activation) = self.catalog.get(child) else { return };
        let (lived, token) = activation.hold(Some(parent));
        if lived {
            self.families.lived(parent, child);
        }
        if token {
            self.spawn(activation.clone().run(None));
        }
        if lived {
            // A turn of it that waits for one that starts after it would wait for its own end.
            self.turn_back_below(parent);
        }
        let end = tokio::time::Instant::now() + HOLD_GRACE;
        while activation.is_to_wait() && !let_go() {
            if tokio::time::Instant::now() > end {
                tracing::warn!(%child, %parent, "it is to end with its siblings and does not: it ends after its turn");
                return;
            }
            tokio::time::sleep(HOLD_LOOK).await;
        }
        if matches!(self.gate(parent, child), Gate::Cools(_)) {
            // Whoever waits for it is told so.
            self.go_on(child);
        }
    }

    /// Stops a child that is to end for good, and goes on when that has lasted for [`HOLD_GRACE`].
    async fn stop_for_good(self: &Arc<Self>, child: ActorId) {
        let silo = self.clone();
        let stopping = self.spawn_joined(async move {
            for _ in 0..STOPS_MAX {
                let Err(error) = silo.stop_tree(&child, "its parent's rules end it").await else { return };
                if let Some(ms) = error.retry_after_ms() {
                    tokio::time::sleep(Duration::from_millis(ms)).await;
                } else {
                    tracing::warn!(%child, %error, "it was to be stopped for good");
                }
            }
            // It lives on, and nobody's child: its parent lists it until it is loaded anew.
            silo.go_on(&child);
        });
        drop(tokio::time::timeout(HOLD_GRACE, stopping).await);
    }

    /// All its children are held: it fails itself.
    async fn escalate(self: &Arc<Self>, id: &ActorId) {
        let reason = format!("what its children did reached it: {}", self.families.last_failure(id));
        let trap = Trap::Failed(reason.clone());
        self.metrics.escalations.increment(1);
        self.report_failure(id, "(children)", &trap);
        // A turn of it that waits for one of them would wait for its own end.
        self.turn_back_below(id);
        if let Some(above) = self.families.above(id) {
            self.supervised.remember(id, &trap);
            self.hold_one(&above, id, || false).await;
            return self.child_failed(above, id.clone(), reason);
        }
        let activation = self.catalog.get(id);
        if let Some(activation) = &activation
            && activation.hold(None).1
        {
            self.spawn(activation.clone().run(None));
        }
        match self.supervised.failed(id, &trap, &self.supervision_of(id), self.clock.now()) {
            Some(Verdict::CoolDown(until)) => {
                self.families.cool(id, until, &reason);
                // Those that wait for it, or for one below it, are told when it would be loaded for them.
                self.go_on(id);
                self.families.down_below(id).iter().for_each(|below| self.go_on(below));
            }
            Some(Verdict::Restart(at)) => {
                let (silo, id) = (self.clone(), id.clone());
                self.spawn(async move {
                    tokio::time::sleep_until(silo.clock.instant(at)).await;
                    silo.revive(&id);
                });
            }
            None => self.revive(id),
        }
    }

    /// Answers calls to that actor that would wait for themselves, if it is down: those of turns that must end
    /// before it starts. Whoever puts it down does this, and whoever has sent it one, so that no call slips through.
    pub(crate) fn turn_back(self: &Arc<Self>, activation: &Activation) {
        let id = &activation.id;
        let back = {
            let mut machine = activation.machine.lock();
            let Some(parent) = machine.held_by() else { return };
            machine.turns.take_calls_where(|message| self.families.waits_for(&message.head.path, &parent, id))
        };
        for message in back {
            self.metrics.deadlocks.increment(1);
            let path = message.head.path.describe(id, message.method());
            let error = CallError::Deadlock(format!("{path}, which starts only when a turn of this path has ended"));
            self.answer_all(vec![message], &error);
        }
    }

    /// The same for all below that actor that are down.
    fn turn_back_below(self: &Arc<Self>, parent: &ActorId) {
        for id in self.families.down_below(parent) {
            self.catalog.get(&id).iter().for_each(|activation| self.turn_back(activation));
        }
    }

    /// Wakes parents whose children wait for them and that nothing holds back: after a cool-down, or when the
    /// store could not be reached.
    pub(crate) fn wake_parents(self: &Arc<Self>) {
        let now = self.clock.now();
        for parent in self.families.waited_for() {
            if self.kinds.get(&parent.kind).is_none() {
                // Nobody can wake it any more.
                self.families.up(&parent);
                self.work(&parent);
                continue;
            }
            let above = self.families.above(&parent);
            let free = above.is_none_or(|above| matches!(self.families.gate(&above, &parent, now), Gate::Free));
            let asleep = || self.catalog.get(&parent).is_none_or(|activation| activation.is_asleep());
            if free && self.supervised.verdict(&parent, now).is_none() && asleep() {
                self.revive(&parent);
            }
        }
    }
}

/// A family's task.
async fn work(silo: Arc<Inner>, parent: ActorId) {
    loop {
        let now = silo.clock.now();
        match silo.families.next(&parent, now) {
            Next::Done => return,
            Next::Wait(due, changed) => {
                drop(tokio::time::timeout_at(silo.clock.instant(due), changed.notified()).await);
            }
            Next::Do(Action::Hold(child)) => silo.hold(&parent, child).await,
            Next::Do(Action::Start(child)) => {
                silo.metrics.child_restarts.increment(1);
                if silo.families.take_lived(&parent, &child) {
                    silo.revive(&child);
                } else {
                    silo.go_on(&child);
                }
            }
            Next::Do(Action::Stop(child)) => silo.stop_for_good(child).await,
            Next::Do(Action::Escalate) => silo.escalate(&parent).await,
        }
        if silo.is_stopped() {
            return;
        }
    }
}

impl Message {
    /// One of the silo's own, which begins a chain.
    pub(crate) fn notice(work: Work, deadline: Time) -> Self {
        let chain = Chain { request_id: format!("{:032x}", rand::random::<u128>()), ..Chain::default() };
        let head = Head { teller: None, deadline, path: Path::START, chain: Arc::new(chain), keyed: None };
        Self::new(head, work, 0, None)
    }
}
