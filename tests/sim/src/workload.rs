//! What a seed makes of a run: its sizes, its actors' methods, the messages between them.

use std::sync::Arc;
use std::time::Duration;

use quark_core::activation::{MailboxBounds, Message, Overlap, Returns};
use quark_core::envelope::{Chain, Head, Path, Tell, TellId};
use quark_core::id::{ActorId, Key, KindName};
use quark_core::supervision::{Backoff, RestartLimit, Supervision, Thousandths};
use quark_core::time::Time;

use crate::rng::Rng;
use crate::trace::{Seen, Source};

/// What every actor has before its first write.
pub(crate) const BALANCE: u64 = 1000;
/// The method that adds the amount which a tell brings.
pub(crate) const DEPOSIT: usize = 0;
/// Messages deeper in a chain than this send no more of their own.
const DEPTH_MAX: u8 = 3;

/// One step of a method.
#[derive(Clone, Debug)]
pub(crate) enum Op {
    /// Computes for this many microseconds.
    Work(u64),
    Write {
        pad: usize,
    },
    /// Adds what the message brought.
    Deposit,
    /// Takes from the own balance and tells the other to add it.
    Give {
        to: usize,
        amount: u64,
    },
    Tell {
        to: usize,
        method: usize,
    },
    Call {
        to: usize,
        method: usize,
        timeout: Duration,
    },
    Commit,
    Trap {
        percent: u64,
    },
    /// Returns `err`.
    Fail,
}

impl Op {
    const fn writes(&self) -> bool {
        matches!(self, Self::Write { .. } | Self::Deposit | Self::Give { .. })
    }
}

/// Sizes and speeds of one run.
#[derive(Debug)]
pub(crate) struct Workload {
    pub(crate) clients: usize,
    /// How long clients and faults go on; then all must drain.
    pub(crate) length: Duration,
    /// Between two requests of one client.
    pub(crate) gap: Duration,
    pub(crate) bounds: MailboxBounds,
    pub(crate) state_bytes_max: usize,
    /// What a message needs from one actor to another.
    pub(crate) hop: Duration,
    /// One step of the store takes up to this.
    pub(crate) store_latency: Duration,
    pub(crate) batch_max: usize,
    pub(crate) idle: Duration,
    /// Tells of one pair of actors under way.
    pub(crate) window: usize,
    /// An activation refuses to wake, in a hundred.
    pub(crate) refuses: u64,
    /// What becomes of actors that fail.
    pub(crate) supervision: Supervision,
    pub(crate) crashes: u64,
    /// Faults and operators' deeds in the whole run, crashes apart.
    pub(crate) faults: u64,
    /// A batch of the store fails, in a hundred.
    pub(crate) store_fails: u64,
    /// A tell is delivered twice, in a hundred.
    pub(crate) doubles: u64,
    ids: Vec<ActorId>,
    overlaps: Vec<Overlap>,
    methods: usize,
    programs: Vec<Vec<Op>>,
}

impl Workload {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let actors = rng.index(16) + 5;
        let methods = 4;
        let kind = KindName::new("sim:bank/accounts", "account");
        let key = |n: usize| Key::parse(&n.to_string()).expect("digits are a key");
        let huge = rng.chance(10);
        let overlap = |rng: &mut Rng| match rng.range(0, 19) {
            0..6 => Overlap::None,
            6..9 => Overlap::Reads,
            9..12 => Overlap::Full,
            12..16 => Overlap::Nested,
            n => Overlap::Chain { reads: n % 2 == 0 },
        };
        let overlaps: Vec<Overlap> = (0..actors).map(|_| overlap(rng)).collect();
        let mut programs = Vec::new();
        for overlap in &overlaps {
            programs.push(program(rng, actors, methods, &[Op::Deposit], huge));
            let mut any = program(rng, actors, methods, &[], huge);
            any.retain(|op| !matches!(overlap, Overlap::Reads | Overlap::Chain { reads: true }) || !op.writes());
            programs.push(any);
            let gives = Op::Give { to: rng.index(actors), amount: rng.range(1, 50) };
            programs.push(program(rng, actors, methods, &[gives], huge));
            programs.push(program(rng, actors, methods, &[Op::Write { pad: if huge { 60_000 } else { 0 } }], huge));
        }
        let millis = |rng: &mut Rng, most| Duration::from_millis(rng.range(1, most));
        let supervision = Supervision {
            restarts: RestartLimit { max: u32::try_from(rng.range(0, 8)).expect("few"), within: millis(rng, 300) },
            backoff: Backoff {
                min: millis(rng, 20),
                max: millis(rng, 100),
                factor: Thousandths(2000),
                jitter: Thousandths(500),
                reset_after: millis(rng, 300),
            },
            ..Supervision::default()
        };
        Self {
            clients: rng.index(4) + 1,
            length: Duration::from_millis(rng.range(100, 900)),
            gap: Duration::from_millis(rng.range(2, 60)),
            bounds: MailboxBounds { capacity: rng.index(8) + 2, bytes: rng.index(2000) + 300 },
            state_bytes_max: if huge { 400_000 } else { 2000 },
            hop: Duration::from_micros(rng.range(0, 20)),
            store_latency: Duration::from_micros(rng.range(50, 20_000)),
            batch_max: rng.index(32) + 1,
            idle: Duration::from_millis(rng.range(20, 300)),
            window: rng.index(4) + 1,
            supervision,
            refuses: if rng.chance(50) { rng.range(1, 20) } else { 0 },
            crashes: if rng.chance(60) { rng.range(1, 4) } else { 0 },
            faults: rng.range(0, 12),
            store_fails: if rng.chance(50) { rng.range(1, 20) } else { 0 },
            doubles: if rng.chance(30) { 30 } else { 0 },
            overlaps,
            ids: (0..actors).map(|n| ActorId { kind: kind.clone(), key: key(n) }).collect(),
            methods,
            programs,
        }
    }

    pub(crate) const fn actors(&self) -> usize {
        self.ids.len()
    }

    pub(crate) fn id(&self, actor: usize) -> &ActorId {
        &self.ids[actor]
    }

    pub(crate) fn overlap(&self, actor: usize) -> Overlap {
        self.overlaps[actor]
    }

    pub(crate) fn overlaps(&self) -> &[Overlap] {
        &self.overlaps
    }

    /// Whether calls of that method write nothing.
    pub(crate) fn reads(&self, actor: usize, method: usize) -> bool {
        !self.programs[actor * self.methods + method].iter().any(Op::writes)
    }

    /// The steps of a message's turn; deep ones send nothing.
    pub(crate) fn program(&self, message: &Msg) -> Vec<Op> {
        let program = &self.programs[message.to * self.methods + message.method];
        let sends = |op: &&Op| !matches!(op, Op::Give { .. } | Op::Tell { .. } | Op::Call { .. });
        match message.what {
            What::Control => vec![Op::Write { pad: 0 }],
            What::Call | What::Tell { .. } if message.depth < DEPTH_MAX => program.clone(),
            What::Call | What::Tell { .. } => program.iter().filter(sends).cloned().collect(),
        }
    }

    /// A method that clients may ask for: deposits would make money.
    pub(crate) fn any_method(&self, rng: &mut Rng) -> usize {
        rng.index(self.methods - 1) + 1
    }
}

fn program(rng: &mut Rng, actors: usize, methods: usize, first: &[Op], huge: bool) -> Vec<Op> {
    let mut ops = first.to_vec();
    for _ in 0..rng.index(5) {
        let to = rng.index(actors);
        ops.push(match rng.range(0, 99) {
            0..20 => Op::Work(rng.range(1, 3000)),
            20..45 => Op::Write { pad: rng.index(if huge { 100_000 } else { 400 }) },
            45..60 => Op::Give { to, amount: rng.range(1, 50) },
            60..68 => Op::Tell { to, method: rng.index(methods - 1) + 1 },
            68..85 => {
                let timeout = Duration::from_millis(rng.range(1, 400));
                Op::Call { to, method: rng.index(methods - 1) + 1, timeout }
            }
            85..91 => Op::Commit,
            91..94 => Op::Trap { percent: if rng.chance(20) { 100 } else { 30 } },
            94..96 => Op::Fail,
            _ => Op::Work(rng.range(5_000, 60_000)),
        });
    }
    ops
}

/// The number of an actor of a [`Workload`].
pub(crate) fn index(actor: &ActorId) -> usize {
    actor.key.as_str().parse().expect("keys are numbers")
}

/// What kind of message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum What {
    Call,
    /// An operator's.
    Control,
    /// `epoch` is the relay's attempt.
    Tell {
        id: TellId,
        epoch: u64,
    },
}

/// A message on its way to an actor.
#[derive(Clone, Debug)]
pub(crate) struct Msg {
    pub(crate) id: u64,
    pub(crate) to: usize,
    pub(crate) head: Head,
    pub(crate) source: Source,
    pub(crate) method: usize,
    /// Its method writes nothing.
    pub(crate) reads: bool,
    pub(crate) amount: u64,
    pub(crate) depth: u8,
    /// Its sender's state at the time.
    pub(crate) seen: Seen,
    pub(crate) size: usize,
    /// A tell's turn has begun: from now on only its own end decides.
    pub(crate) begun: bool,
    pub(crate) what: What,
}

impl Message for Msg {
    fn deadline(&self) -> Time {
        self.head.deadline
    }
    fn bytes(&self) -> usize {
        self.size
    }
    fn is_control(&self) -> bool {
        self.what == What::Control
    }
    fn is_tell(&self) -> bool {
        matches!(self.what, What::Tell { .. })
    }
    fn is_read_only(&self) -> bool {
        self.reads
    }
    fn returns_to(&self, actor: &ActorId) -> Option<Returns> {
        let frame = self.head.path.find(actor)?;
        Some(Returns { generation: frame.generation, turn: frame.turn, call: frame.call })
    }
}

/// A tell with what the simulation must know of it in its arguments.
pub(crate) fn tell(to: &ActorId, method: usize, amount: u64, depth: u8, stamp: u64) -> Tell {
    let mut arguments = vec![depth, u8::try_from(method).expect("few methods")];
    arguments.extend(amount.to_le_bytes());
    arguments.extend(stamp.to_le_bytes());
    Tell { to: to.clone(), method: "m".into(), arguments, chain: Chain::default() }
}

/// What the tell adds to its receiver's balance.
pub(crate) fn amount(tell: &Tell) -> u64 {
    number(&tell.arguments[2..10])
}

/// The message that delivers a tell.
pub(crate) fn delivery(message: u64, id: &TellId, tell: &Tell, epoch: u64) -> Msg {
    let from = id.from.as_ref().map(index);
    let head = Head { teller: id.from.clone(), deadline: Time::NEVER, path: Path::START, chain: chain(), keyed: None };
    Msg {
        id: message,
        to: index(&tell.to),
        head,
        source: from.map_or(Source::Client(0), Source::Actor),
        method: tell.arguments[1].into(),
        reads: false,
        amount: amount(tell),
        depth: tell.arguments[0],
        seen: from.map(|from| (from, number(&tell.arguments[10..18]))),
        size: tell.bytes(),
        begun: false,
        what: What::Tell { id: id.clone(), epoch },
    }
}

pub(crate) fn chain() -> Arc<Chain> {
    Arc::new(Chain::default())
}

/// A number from the bytes of a state value or an argument.
pub(crate) fn number(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("eight bytes"))
}
