//! The silo as the gateway sees it.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures_util::future::BoxFuture;
use quark_core::activation::{Phase, Why};
use quark_core::commit::CommitError;
use quark_core::envelope::{Chain, Head, Path, Tell};
use quark_core::error::CallError;
use quark_core::id::{ActorId, Key, split_address};
use quark_core::standing::Standing;
use quark_core::state::{ANSWERS, STANDING, is_reserved};
use quark_core::time::Time;
use quark_engine::Schemas;
use quark_engine::values::{ArgumentError, Payload, call_errors, json, msgpack, wave};
use tokio::sync::oneshot;

use crate::activation::Activation;
use crate::api::{
    ActivationReport, ActorReport, CALL_TIMEOUT_MS_MAX, Contract, DeadLetter, DeployReport, DeployRequest, Failure,
    Format, Health, HeldReport, JournalPage, JournalState, KindContract, KindReport, LettersWanted, LiveReport, Moment,
    ReminderOperation, ReminderReports, Reply, Request, StateOperation, StateValue, TraceReport, TreeReport,
    TurnsWanted, UNAVAILABLE_NEXT, ValueReport, VersionReport, codes,
};
use crate::clock::Clock;
use crate::dead_letters::Reason;
use crate::dispatch::Outgoing;
use crate::gateway::Service;
use crate::journals::mark_of;
use crate::kinds::{Served, nearest};
use crate::message::{Message, MethodRef, Operate, Work, commit_failed};
use crate::metrics::Now;
use crate::room::thrashing_text;
use crate::silo::{Inner, Silo};
use crate::store::{StoreError, StoreHealth};
use crate::supervision::millis;

/// How long an operator's turn may wait for its place.
const OPERATE_TIMEOUT: std::time::Duration = std::time::Duration::from_secs(30);

pub(crate) fn unavailable(error: StoreError) -> Failure {
    match error {
        StoreError::Unavailable { retry_ms, .. } => {
            let mut failure = Failure::new("unavailable", error.to_string());
            failure.retry_after_ms = Some(retry_ms);
            failure.next(UNAVAILABLE_NEXT)
        }
        StoreError::Damaged(_) => Failure::new(codes::INTERNAL, error.to_string()),
    }
}

fn not_idempotent(method: &MethodRef) -> Failure {
    let (name, kind) = (method.name(), method.served.kind().name.short());
    let message = format!("`{name}` of `{kind}` remembers no answers, so an idempotency key means nothing to it");
    let failure = Failure::new(codes::NOT_IDEMPOTENT, message + "; nothing was done");
    if method.method().signature.is_tell() {
        return failure.next("leave the key out: a tell that was accepted is handled once");
    }
    if method.method().read_only {
        return failure.next("leave the key out: it writes nothing, so repeat it as often as you like");
    }
    failure.next(format!(
        "leave the key out, or write `[actor.methods.{name}]` with `idempotent = true` into its actor.toml and deploy"
    ))
}

fn bad_arguments(method: &MethodRef, error: &ArgumentError) -> Failure {
    let text = &method.method().text;
    let name = method.name();
    Failure::new(codes::BAD_ARGUMENTS, format!("the arguments of `{name}` do not fit: {error}"))
        .next(format!("it is `{name}: {text}`"))
}

impl Silo {
    fn actor(&self, kind: &str, key: &str) -> Result<(Arc<Served>, ActorId), Failure> {
        let served = self.0.kinds.find(kind)?;
        let key = Key::parse(key).map_err(|error| Failure::new(codes::BAD_KEY, error.to_string()))?;
        let id = ActorId { kind: served.kind().name.clone(), key };
        Ok((served, id))
    }

    fn check_running(&self) -> Result<(), Failure> {
        if self.0.is_stopping() {
            return Err(
                Failure::new(codes::STOPPING, "the silo is stopping; nothing was done").next("try again when it runs")
            );
        }
        Ok(())
    }

    async fn request(&self, request: Request) -> Result<Reply, Failure> {
        self.check_running()?;
        let (served, to) = self.actor(&request.kind, &request.key)?;
        let method = find_method(&served, &request.method)?;
        let signature = &method.method().signature;
        if request.tell && !signature.is_tell() {
            let name = method.name();
            return Err(Failure::new(codes::BAD_REQUEST, format!("`{name}` has a result, so it is no tell"))
                .next(format!("call it: quark call {}/{} {name}", served.kind().name.short(), request.key)));
        }
        if request.idempotency_key.is_some() && !method.method().idempotent {
            return Err(not_idempotent(&method));
        }
        let parsed = match request.format {
            Format::Json => json::from_json(&signature.params, &request.arguments),
            Format::Wave => wave::from_wave(&signature.params, &request.arguments),
        };
        let payload = parsed.map_err(|error| bad_arguments(&method, &error))?;
        let mut chain = Chain {
            request_id: request.request_id.unwrap_or_else(|| format!("{:016x}", rand::random::<u64>())),
            ..Chain::default()
        };
        for (name, value) in &request.headers {
            if !chain.set_header(name, value) {
                return Err(Failure::new(codes::BAD_REQUEST, "the headers for the call chain are over their limit"));
            }
        }
        if signature.is_tell() {
            return self.accept(to, &method, &payload, chain).await;
        }
        let call = Outgoing {
            path: Path::START,
            chain: Arc::new(chain),
            deadline: Time::NEVER,
            timeout: request.timeout_ms.map(|ms| std::time::Duration::from_millis(ms.min(CALL_TIMEOUT_MS_MAX))),
            key: request.idempotency_key,
        };
        let activation = self.0.activation(&to);
        let outcome = self.0.ask_from_outside(activation, call, method.clone(), payload).await?;
        let signature = &method.method().signature;
        let (Some(ty), Some(val)) = (&signature.result, outcome.vals.first()) else {
            return Err(Failure::new(codes::INTERNAL, "the answer has no value"));
        };
        let text = match request.format {
            Format::Json => json::to_json(ty, val, &outcome.blobs),
            Format::Wave => wave::to_wave(ty, val, &outcome.blobs),
        };
        Ok(if call_errors::is_err(val) { Reply::Err(text) } else { Reply::Ok(text) })
    }

    /// A tell from outside is durable before it is accepted.
    async fn accept(&self, to: ActorId, method: &MethodRef, payload: &Payload, chain: Chain) -> Result<Reply, Failure> {
        let arguments = msgpack::encode_message(&method.method().signature, payload)
            .map_err(|error| bad_arguments(method, &error))?;
        let limit = method.served.kind().policy.limits.arguments;
        if arguments.len() as u64 > limit {
            return Err(CallError::TooLarge(limit).into());
        }
        let tell = Tell { to, method: method.name().to_string(), arguments, chain };
        let (done, landed) = oneshot::channel();
        let silo = self.0.clone();
        let row = tell.clone();
        self.0.store.accept(
            tell,
            Box::new(move |outcome| {
                match &outcome {
                    Ok(id) => silo.outbox.sent(vec![(id.clone(), row)]),
                    Err(CommitError::Unknown) => silo.outbox.doubt(),
                    Err(_) => {}
                }
                drop(done.send(outcome));
            }),
        );
        match landed.await {
            Ok(Ok(id)) => Ok(Reply::Accepted(id.to_string())),
            Ok(Err(error)) => Err(commit_failed(error).into()),
            Err(_) => Err(Failure::new(codes::STOPPING, "the silo is stopping; the tell was not accepted")),
        }
    }

    async fn operate(
        &self,
        (kind, key, name): (&str, &str, &str),
        operation: StateOperation,
        if_match: Option<String>,
    ) -> Result<StateValue, Failure> {
        self.check_running()?;
        let (_, to) = self.actor(kind, key)?;
        let is_away = |activation: &Arc<Activation>| activation.machine.lock().turns.phase() == Phase::Down;
        if operation == StateOperation::Get && self.0.catalog.get(&to).as_ref().is_none_or(is_away) {
            let snapshot = self.0.store.read(&to).await.map_err(unavailable)?;
            let found = snapshot.filter(|_| !is_reserved(name)).and_then(|snapshot| {
                snapshot.values.get(name).map(|value| (value.to_vec(), snapshot.etag.to_string()))
            });
            return match found {
                Some((bytes, etag)) => Ok(StateValue { bytes: Some(bytes), etag: Some(etag) }),
                None => Err(Failure::new(codes::NOT_FOUND, format!("{to} has no state value `{name}`"))),
            };
        }
        let (reply, answer) = oneshot::channel();
        let now = self.0.clock.now();
        let deadline = now.after(OPERATE_TIMEOUT);
        let head = Head { teller: None, deadline, path: Path::START, chain: Arc::default(), keyed: None };
        let operate = Operate { name: name.into(), operation, if_match, reply };
        let message = Message::new(head, Work::Operate(Box::new(operate)), 0, None);
        self.0.deliver(&to, message, now)?;
        match tokio::time::timeout_at(self.0.clock.instant(deadline), answer).await {
            Ok(Ok(outcome)) => outcome,
            Ok(Err(_)) => Err(CallError::UnknownOutcome("the silo let go of the request".into()).into()),
            Err(_) => Err(CallError::DeadlineExceeded.into()),
        }
    }

    async fn report(&self, kind: &str, key: &str) -> Result<ActorReport, Failure> {
        let (served, id) = self.actor(kind, key)?;
        let snapshot = self.0.store.read(&id).await.map_err(unavailable)?;
        let activation = self.0.catalog.get(&id).map(|activation| live_report(&activation, &served, self.0.clock));
        let row = snapshot.as_ref().and_then(|snapshot| snapshot.values.get(STANDING));
        let stopped = Standing::decode(row.map(|row| &**row)).is_some_and(|standing| standing.stopped);
        let journal = mark_of(snapshot.as_ref());
        let state: Vec<ValueReport> = snapshot.as_ref().map_or_else(Vec::new, |snapshot| {
            let value = |(name, value): (&Arc<str>, &quark_core::state::Value)| ValueReport {
                name: name.to_string(),
                bytes: value.len() as u64,
            };
            snapshot.values.iter().filter(|(name, _)| !is_reserved(name)).map(value).collect()
        });
        let answers = snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.values.keys().filter(|name| name.starts_with(ANSWERS)).count() as u64);
        let parent = self.0.parent_of(&id).await.map_err(unavailable)?;
        Ok(ActorReport {
            answers,
            kind: id.kind.to_string(),
            key: id.key.to_string(),
            version: served.version,
            lane: served.component.lane.name().into(),
            activation,
            etag: snapshot.map(|snapshot| snapshot.etag.to_string()),
            state_bytes: state.iter().map(|value| value.bytes).sum(),
            state,
            state_limit: served.kind().policy.limits.state,
            last_failure: self.0.supervised.last_failure(&id),
            stopped,
            journal,
            held: self.held(&id, &served, parent.as_ref()),
            parent: parent.map(|parent| format!("{}/{}", parent.kind, parent.key)),
            reminders: self.0.store.reminders(&id).await.map_err(unavailable)?.len() as u64,
            children: self.0.standing_of(&id).await.map_err(unavailable)?.children.len() as u64,
        })
    }

    /// What keeps it from being started, for people.
    fn held(&self, id: &ActorId, served: &Served, parent: Option<&ActorId>) -> Option<HeldReport> {
        let now = self.0.clock.now();
        let Some((parent, known)) = parent.and_then(|parent| Some((parent, self.0.families.known(parent, id)?))) else {
            return self.0.supervised.held(id, &served.kind().policy.supervision, now);
        };
        let why = if known.held { "parent" } else { "backoff" };
        let down = known.down_until.filter(|_| !known.held);
        let left_ms = down.map_or(0, |until| millis(until.since(now)));
        let failures = self.0.families.count(parent, now).saturating_sub(1);
        (known.held || down.is_some()).then(|| HeldReport { why: why.into(), left_ms, failures })
    }

    /// Stops an actor, and all below it before it; or starts it. False when it was so already.
    async fn set_stopped(&self, kind: &str, key: &str, stop: bool) -> Result<bool, Failure> {
        let (_, id) = self.actor(kind, key)?;
        let before = self.report(kind, key).await?.stopped;
        if stop {
            self.check_running()?;
            self.0.stop_tree(&id, "an operator stopped it").await?;
        } else {
            self.operate((kind, key, ""), StateOperation::Start, None).await?;
            self.0.supervised.forgive(&id);
        }
        Ok(before != stop)
    }

    async fn put_to_sleep(&self, kind: &str, key: &str) -> Result<bool, Failure> {
        let (_, id) = self.actor(kind, key)?;
        self.0.supervised.forgive(&id);
        let Some(activation) = self.0.catalog.get(&id) else { return Ok(false) };
        let parent = activation.machine.lock().held_by();
        parent.iter().for_each(|parent| self.0.hurry(parent));
        if activation.machine.lock().turns.deactivate(Why::Requested) {
            activation.drive();
        }
        let end = tokio::time::Instant::now() + OPERATE_TIMEOUT;
        // Its hook may take a while; a message that waits may have woken it again.
        while self.0.catalog.get(&id).is_some_and(|now| Arc::ptr_eq(&now, &activation))
            && activation.machine.lock().turns.is_leaving()
        {
            if tokio::time::Instant::now() > end {
                return Err(Failure::new("deadline-exceeded", format!("{id} is still busy; it leaves after its turn")));
            }
            tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        }
        Ok(true)
    }

    fn list(&self, kind: Option<&str>, limit: usize) -> Result<Vec<ActivationReport>, Failure> {
        let kind = kind.map(|kind| self.0.kinds.find(kind)).transpose()?;
        let now = self.0.clock.now();
        let mut reports = Vec::new();
        self.0.catalog.for_each(|activation| {
            let wanted = kind.as_ref().is_none_or(|served| served.kind().name == activation.id.kind);
            if reports.len() < limit && wanted {
                let machine = activation.machine.lock();
                let turns = &machine.turns;
                reports.push(ActivationReport {
                    kind: activation.id.kind.to_string(),
                    key: activation.id.key.to_string(),
                    phase: phase_name(turns.phase()).into(),
                    waiting: turns.waiting().0 as u64,
                    idle_ms: idle_ms(activation, now),
                    turns: machine.counts().1,
                });
            }
        });
        reports.sort_by(|a, b| (&a.kind, &a.key).cmp(&(&b.kind, &b.key)));
        Ok(reports)
    }
}

fn find_method(served: &Arc<Served>, name: &str) -> Result<MethodRef, Failure> {
    Inner::method(served, name).map_err(|_| {
        let kind = served.kind();
        let names = || kind.methods.iter().map(|method| &*method.signature.name);
        let near = nearest(name, names());
        let failure = Failure::new(codes::NO_SUCH_METHOD, format!("`{}` has no method `{name}`", kind.name.short()));
        if near.is_empty() {
            let all: Vec<&str> = names().take(20).collect();
            failure.next(format!("it has {}", all.join(", ")))
        } else {
            failure.next(format!("did you mean {}?", near.join(" or ")))
        }
    })
}

fn idle_ms(activation: &Activation, now: Time) -> u64 {
    now.0.saturating_sub(activation.last_used.load(Ordering::Relaxed)) / 1_000_000
}

fn live_report(activation: &Activation, served: &Served, clock: Clock) -> LiveReport {
    let machine = activation.machine.lock();
    let turns = &machine.turns;
    let (waiting, waiting_bytes) = turns.waiting();
    let mailbox = &served.kind().policy.mailbox;
    LiveReport {
        phase: phase_name(turns.phase()).into(),
        generation: turns.loaded_as().map_or(0, |(generation, _)| generation),
        waiting: waiting as u64,
        waiting_bytes: waiting_bytes as u64,
        mailbox_capacity: mailbox.capacity as u64,
        mailbox_bytes: mailbox.bytes,
        commits: turns.commits() as u64,
        turns: machine.counts().1,
        idle_ms: idle_ms(activation, clock.now()),
        running: turns.running().is_some(),
    }
}

pub(crate) const fn phase_name(phase: Phase) -> &'static str {
    match phase {
        Phase::Asleep => "asleep",
        Phase::Loading => "loading",
        Phase::Awake => "awake",
        Phase::Leaving => "leaving",
        Phase::Down => "down",
        Phase::Draining | Phase::Gone => "draining",
    }
}

impl Service for Silo {
    fn call(&self, request: Request) -> BoxFuture<'_, Result<Reply, Failure>> {
        Box::pin(self.request(request))
    }

    fn deploy(&self, request: DeployRequest) -> BoxFuture<'_, Result<DeployReport, Failure>> {
        Box::pin(async move {
            self.check_running()?;
            self.0.deploy(request).await
        })
    }

    fn kinds(&self) -> Vec<KindReport> {
        let mut live = std::collections::HashMap::new();
        self.0.catalog.for_each(|activation| *live.entry(activation.id.kind.clone()).or_insert(0) += 1);
        let report = |served: &Arc<Served>| {
            let kind = served.kind();
            let report = self.0.kind_report(served, live.get(&kind.name).copied().unwrap_or(0));
            KindReport { wit: kind.wit.to_string(), ..report }
        };
        self.0.kinds.all().iter().map(report).collect()
    }

    fn deployed(&self) -> u64 {
        self.0.kinds.version()
    }

    fn contract(&self) -> Contract {
        let mut schemas = Schemas::default();
        let all = self.0.kinds.all();
        let is_only = |name: &str| all.iter().filter(|served| served.kind().name.short() == name).count() == 1;
        let kinds = all.iter().map(|served| {
            let kind = served.kind();
            let short = kind.name.short();
            let name = if is_only(short) { short } else { kind.name.as_str() }.to_owned();
            let (docs, methods) = schemas.kind(&served.component, kind);
            KindContract { name, docs, methods }
        });
        let kinds = kinds.collect();
        Contract { kinds, schemas: schemas.named() }
    }

    fn versions<'a>(&'a self, kind: Option<&'a str>) -> BoxFuture<'a, Result<Vec<VersionReport>, Failure>> {
        Box::pin(self.0.versions(kind))
    }

    fn activations(&self, kind: Option<&str>, limit: usize) -> Result<Vec<ActivationReport>, Failure> {
        self.list(kind, limit)
    }

    fn inspect(&self, kind: &str, key: &str) -> BoxFuture<'_, Result<ActorReport, Failure>> {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        Box::pin(async move { self.report(&kind, &key).await })
    }

    fn state(
        &self,
        kind: &str,
        key: &str,
        name: &str,
        operation: StateOperation,
        if_match: Option<String>,
    ) -> BoxFuture<'_, Result<StateValue, Failure>> {
        let (kind, key, name) = (kind.to_owned(), key.to_owned(), name.to_owned());
        Box::pin(async move { self.operate((&kind, &key, &name), operation, if_match).await })
    }

    fn journal<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        first: u64,
        limit: usize,
    ) -> BoxFuture<'a, Result<JournalPage, Failure>> {
        Box::pin(async move {
            let (_, id) = self.actor(kind, key)?;
            self.0.journal(&id, first, limit).await.map_err(unavailable)
        })
    }

    fn journal_at<'a>(
        &'a self,
        kind: &'a str,
        key: &'a str,
        moment: Moment,
    ) -> BoxFuture<'a, Result<JournalState, Failure>> {
        Box::pin(async move {
            self.check_running()?;
            let (served, id) = self.actor(kind, key)?;
            self.0.journal_at(&served, &id, moment).await
        })
    }

    fn deactivate(&self, kind: &str, key: &str) -> BoxFuture<'_, Result<bool, Failure>> {
        let (kind, key) = (kind.to_owned(), key.to_owned());
        Box::pin(async move { self.put_to_sleep(&kind, &key).await })
    }

    fn set_stopped<'a>(&'a self, kind: &'a str, key: &'a str, stop: bool) -> BoxFuture<'a, Result<bool, Failure>> {
        Box::pin(Self::set_stopped(self, kind, key, stop))
    }

    fn tree<'a>(
        &'a self,
        root: Option<(&'a str, &'a str)>,
        limit: usize,
    ) -> BoxFuture<'a, Result<TreeReport, Failure>> {
        Box::pin(async move {
            let root = root.map(|(kind, key)| self.actor(kind, key)).transpose()?;
            self.0.tree(root.map(|(_, id)| id), limit).await.map_err(unavailable)
        })
    }

    fn reminders<'a>(
        &'a self,
        of: Option<(&'a str, &'a str)>,
        limit: usize,
    ) -> BoxFuture<'a, Result<ReminderReports, Failure>> {
        Box::pin(async move {
            let of = of.map(|(kind, key)| self.actor(kind, key)).transpose()?;
            self.0.list_reminders(of.as_ref().map(|(_, id)| id), limit).await.map_err(unavailable)
        })
    }

    fn reminder<'a>(
        &'a self,
        (kind, key): (&'a str, &'a str),
        name: &'a str,
        operation: ReminderOperation,
    ) -> BoxFuture<'a, Result<(), Failure>> {
        Box::pin(async move {
            self.check_running()?;
            let (_, id) = self.actor(kind, key)?;
            self.0.operate_reminder(&id, name, operation).await
        })
    }

    fn dead_letters(&self, wanted: &LettersWanted) -> Result<Vec<DeadLetter>, Failure> {
        if let Some(Err(error)) = wanted.actor.as_deref().map(split_address) {
            return Err(Failure::new(codes::BAD_REQUEST, error.to_string()).next("write it like counter/alice"));
        }
        let names = Reason::ALL.map(Reason::name);
        match wanted.reason.as_deref().filter(|reason| !names.contains(reason)) {
            None => Ok(self.0.dead_letters.newest(wanted)),
            Some(reason) => Err(Failure::new(codes::BAD_REQUEST, format!("no dead letter has the reason `{reason}`"))
                .next(format!("ask for one of {}", names.join(", ")))),
        }
    }

    fn trace(&self, wanted: &TurnsWanted) -> Result<TraceReport, Failure> {
        let silo = &self.0;
        let report = match (&wanted.kind, &wanted.key) {
            (None, _) => silo.traces.look(|_| true, wanted),
            (Some(kind), None) => {
                let served = silo.kinds.find(kind)?;
                silo.traces.look(|id| id.kind == served.kind().name, wanted)
            }
            (Some(kind), Some(key)) => {
                let (_, actor) = self.actor(kind, key)?;
                silo.traces.look(|id| *id == actor, wanted)
            }
        };
        let traced = silo.kinds.all().into_iter().filter(|served| served.is_traced());
        Ok(TraceReport { kinds: traced.map(|served| served.kind().name.to_string()).collect(), ..report })
    }

    fn set_traced(&self, kind: &str, yes: bool) -> Result<String, Failure> {
        let served = self.0.kinds.find(kind)?;
        let name = &served.kind().name;
        self.0.kinds.set_traced(name, yes);
        tracing::info!(kind = %name, yes, "an operator said whether turns are recorded");
        Ok(name.to_string())
    }

    fn health(&self) -> Health {
        let silo = &self.0;
        let mut problems = silo.deploys.broken.lock().clone();
        let mut ready = true;
        if silo.is_stopping() {
            ready = false;
            problems.push("the silo is stopping".into());
        }
        if let StoreHealth::ReadOnly(reason) = silo.store.health() {
            ready = false;
            problems.push(format!("the store takes no writes: {reason}"));
        }
        if let Some(window) = silo.thrash.thrashes(silo.clock.now()) {
            problems.push(thrashing_text(window.rewoken));
        }
        Health {
            ready,
            problems,
            version: env!("CARGO_PKG_VERSION").into(),
            live: silo.catalog.live() as u64,
            capacity: silo.capacity(),
        }
    }

    fn metrics(&self) -> String {
        let silo = &self.0;
        // Before those that live: one that goes meanwhile is missed once, never counted twice.
        let (mut calls, mut turns) = silo.metrics.of_gone();
        silo.catalog.for_each(|activation| {
            let (more_calls, more_turns) = activation.machine.lock().counts();
            (calls, turns) = (calls + more_calls, turns + more_turns);
        });
        silo.metrics.render(Now {
            calls,
            turns,
            live: silo.catalog.live(),
            activations: silo.catalog.len(),
            capacity: usize::try_from(silo.capacity()).unwrap_or(usize::MAX),
            tells: silo.outbox.held(),
            timers: silo.timers.len(),
            reminders: silo.reminders.held(),
            families: silo.families.at_work(),
            waits_skipped: silo.waits.lock().skipped(),
            thrashing: silo.thrash.thrashes(silo.clock.now()).is_some(),
            dead: Reason::ALL.map(|reason| (reason, silo.dead_letters.count(reason))).into(),
        })
    }
}
