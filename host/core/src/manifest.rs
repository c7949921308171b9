//! `actor.toml`: what a kind's author decides about its actors.
//!
//! The text becomes a list of typed settings, each checked against its range, and a kind's
//! [`Policy`] is the defaults with the settings that concern it laid over them. No key is ever
//! ignored: an unknown one is an error, and so is one whose feature this version lacks, unless it
//! states the default.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::de::{DeTable, DeValue};

use self::reader::{Item, Only, Section};
use self::units::{GIB, KIB, MIB};
use crate::journal::JournalPolicy;
use crate::supervision::Supervision;

pub use self::error::{ManifestError, Place, Problem};

mod error;
mod journal;
mod reader;
mod supervision;
mod units;

/// The longest manifest, in bytes.
pub const MANIFEST_BYTES_MAX: usize = 64 * 1024;

/// What is decided about the actors of one kind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// How long an actor stays in memory without a message.
    pub idle_timeout: Duration,
    /// Who may enter while a turn waits; none for what the component's toolchain can take.
    pub reentrancy: Option<Reentrancy>,
    /// How many actors share an instance.
    pub isolation: Isolation,
    /// Bounds of each actor's mailbox.
    pub mailbox: MailboxPolicy,
    /// What `context.config` reads.
    pub config: BTreeMap<String, String>,
    /// By method name; a method that is not here has the defaults.
    pub methods: BTreeMap<String, MethodPolicy>,
    /// How its instances lie in memory; none leaves it to the silo. All kinds of a component share it.
    pub memory_profile: Option<MemoryProfile>,
    /// What one actor may use.
    pub limits: Limits,
    /// What becomes of its actors when they fail.
    pub supervision: Supervision,
    /// What becomes of the events that they append.
    pub journal: JournalPolicy,
    /// Whether their turns are recorded for people, unless an operator says otherwise.
    pub trace: bool,
}

/// How instances lie in memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum MemoryProfile {
    /// Much room for each, woken fastest.
    Roomy,
    /// Little room for each, and as many as the machine can hold.
    Dense,
}

impl MemoryProfile {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Roomy, Self::Dense];

    /// As manifests and people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Roomy => "roomy",
            Self::Dense => "dense",
        }
    }

    /// The one of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|profile| profile.name() == name)
    }
}

/// Who may enter while a turn waits for its own call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reentrancy {
    /// Nobody: a call that returns to a waiting actor is `deadlock`.
    None,
    /// A call that the waiting turn itself caused.
    CallChain,
    /// Every message. Only in the concurrent lane.
    Full,
}

impl Reentrancy {
    /// As manifests and people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::CallChain => "call-chain",
            Self::Full => "full",
        }
    }
}

/// How actors of a kind are kept apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// Each has an instance of its own: a trap ends one actor.
    Actor,
    /// So many share an instance: a trap ends its memory for all of them. Not in the fiber lane.
    Packed(u32),
}

/// Bounds of a mailbox; a message over one of them is answered `overloaded`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MailboxPolicy {
    /// Messages that may wait.
    pub capacity: usize,
    /// Bytes that they may hold together.
    pub bytes: u64,
}

/// What is decided about one method.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MethodPolicy {
    /// It writes nothing; a write is refused.
    pub read_only: bool,
    /// The time within which a caller that names no deadline gets its answer.
    pub timeout: Option<Duration>,
}

/// What one actor may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of all its linear memories together; none for as much as its memory profile has room for.
    pub memory: Option<u64>,
    /// Time inside the guest in one turn; waits do not count.
    pub turn: Duration,
    /// Bytes of its durable state.
    pub state: u64,
    /// Bytes of one call's arguments.
    pub arguments: u64,
    /// Bytes of one call's result.
    pub result: u64,
    /// Elements of all its tables together.
    pub table_elements: usize,
    /// Handles of resources that it may hold at once.
    pub handles: usize,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            idle_timeout: Duration::from_mins(10),
            reentrancy: None,
            isolation: Isolation::Actor,
            mailbox: MailboxPolicy { capacity: 1024, bytes: MIB },
            config: BTreeMap::new(),
            methods: BTreeMap::new(),
            memory_profile: None,
            limits: Limits {
                memory: None,
                turn: Duration::from_secs(5),
                state: MIB,
                arguments: 16 * MIB,
                result: 16 * MIB,
                table_elements: 20_000,
                handles: 10_000,
            },
            supervision: Supervision::default(),
            journal: JournalPolicy::default(),
            trace: false,
        }
    }
}

/// A manifest, or several merged.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Manifest {
    /// Tables of all merged manifests; a later one wins key by key.
    tables: Vec<Table>,
}

/// One `[actor]` table.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Table {
    /// The short name of its kind; none for every kind of the component.
    kind: Option<String>,
    settings: Vec<Setting>,
}

/// One key that is set.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Setting {
    IdleTimeout(Duration),
    Reentrancy(Reentrancy),
    Isolation(Isolation),
    MailboxCapacity(usize),
    MailboxBytes(u64),
    Config(String, String),
    ReadOnly(String, bool),
    Timeout(String, Duration),
    Profile(MemoryProfile),
    Memory(u64),
    Turn(Duration),
    State(u64),
    Arguments(u64),
    Result(u64),
    TableElements(usize),
    Handles(usize),
    Supervision(supervision::Setting),
    Journal(journal::Setting),
    Trace(bool),
}

impl Manifest {
    /// Reads the text of an `actor.toml`: one table `[actor]`, or one `[[actor]]` with a `name`
    /// for each kind. A table without a name holds for every kind of its component.
    ///
    /// # Errors
    /// When the text is too long, is not TOML, or holds a key or value that cannot be accepted.
    pub fn parse(text: &str) -> Result<Self, ManifestError> {
        if text.len() > MANIFEST_BYTES_MAX {
            let problem = Problem::TooLong(text.len());
            return Err(ManifestError { at: None, problem });
        }
        let root = DeTable::parse(text).map_err(|error| {
            let problem = Problem::Syntax(error.message().to_owned());
            let at = error.span().map(|span| Place::of(text, span.start));
            ManifestError { at, problem }
        })?;
        let mut root = Section::new(text, String::new(), root.into_inner());
        let mut manifest = Self::default();
        if let Some(item) = root.take("actor") {
            manifest.read_actors(item)?;
        }
        root.finish()?;
        Ok(manifest)
    }

    fn read_actors(&mut self, item: Item<'_, '_>) -> Result<(), ManifestError> {
        let (text, at) = (item.text, item.at);
        let DeValue::Array(tables) = item.value else {
            self.tables.push(read_actor(item.section()?)?);
            return Ok(());
        };
        for table in tables {
            let at = Place::of(text, at.max(table.span().start));
            let item = Item::new(text, "actor".to_owned(), table);
            let table = read_actor(item.section()?)?;
            let problem = match &table.kind {
                None => Some(Problem::Unnamed),
                Some(kind) if self.kinds().any(|k| k == kind) => Some(Problem::Twice(kind.clone())),
                Some(_) => None,
            };
            if let Some(problem) = problem {
                let at = Some(at);
                return Err(ManifestError { at, problem });
            }
            self.tables.push(table);
        }
        Ok(())
    }

    /// What holds for the kind of that short name.
    #[must_use]
    pub fn for_kind(&self, short: &str) -> Policy {
        let mut policy = Policy::default();
        for table in &self.tables {
            if table.kind.as_deref().is_none_or(|kind| kind == short) {
                for setting in &table.settings {
                    setting.apply(&mut policy);
                }
            }
        }
        policy
    }

    /// The short names of kinds that have a table of their own; a name may come twice after a
    /// merge.
    pub fn kinds(&self) -> impl Iterator<Item = &str> {
        self.tables.iter().filter_map(|table| table.kind.as_deref())
    }

    /// The memory profiles that its tables name; the one that wins most comes last.
    pub fn memory_profiles(&self) -> impl Iterator<Item = MemoryProfile> {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only one setting is looked for")]
        let profile = |setting: &Setting| match setting {
            Setting::Profile(profile) => Some(*profile),
            _ => None,
        };
        self.tables.iter().flat_map(|table| &table.settings).filter_map(profile)
    }

    /// What came with the component, with what was given beside it laid over: given wins, key by
    /// key.
    #[must_use]
    pub fn merge(embedded: Self, given: Self) -> Self {
        let mut tables = embedded.tables;
        tables.extend(given.tables);
        Self { tables }
    }
}

impl Setting {
    fn apply(&self, policy: &mut Policy) {
        match self {
            Self::IdleTimeout(time) => policy.idle_timeout = *time,
            Self::Reentrancy(who) => policy.reentrancy = Some(*who),
            Self::Isolation(isolation) => policy.isolation = *isolation,
            Self::MailboxCapacity(count) => policy.mailbox.capacity = *count,
            Self::MailboxBytes(bytes) => policy.mailbox.bytes = *bytes,
            Self::Config(key, value) => {
                policy.config.insert(key.clone(), value.clone());
            }
            Self::ReadOnly(name, yes) => method(policy, name).read_only = *yes,
            Self::Timeout(name, time) => method(policy, name).timeout = Some(*time),
            Self::Profile(profile) => policy.memory_profile = Some(*profile),
            Self::Memory(bytes) => policy.limits.memory = Some(*bytes),
            Self::Turn(time) => policy.limits.turn = *time,
            Self::State(bytes) => policy.limits.state = *bytes,
            Self::Arguments(bytes) => policy.limits.arguments = *bytes,
            Self::Result(bytes) => policy.limits.result = *bytes,
            Self::TableElements(count) => policy.limits.table_elements = *count,
            Self::Handles(count) => policy.limits.handles = *count,
            Self::Supervision(setting) => setting.apply(&mut policy.supervision),
            Self::Journal(setting) => setting.apply(&mut policy.journal),
            Self::Trace(yes) => policy.trace = *yes,
        }
    }
}

fn method<'p>(policy: &'p mut Policy, name: &str) -> &'p mut MethodPolicy {
    policy.methods.entry(name.to_owned()).or_default()
}

fn read_actor(mut actor: Section<'_, '_>) -> Result<Table, ManifestError> {
    let mut settings = Vec::new();
    let kind = match actor.take("name") {
        Some(item) => Some(item.name()?),
        None => None,
    };
    if let Some(item) = actor.take("idle-timeout") {
        settings.push(Setting::IdleTimeout(item.duration(IDLE_TIMEOUT)?));
    }
    if let Some(item) = actor.take("reentrancy") {
        settings.push(Setting::Reentrancy(item.reentrancy()?));
    }
    if let Some(item) = actor.take("isolation") {
        settings.push(Setting::Isolation(item.isolation(PACKED)?));
    }
    if let Some(item) = actor.take("memory-profile") {
        settings.push(Setting::Profile(item.memory_profile()?));
    }
    if let Some(item) = actor.take("trace") {
        settings.push(Setting::Trace(item.boolean()?));
    }
    if let Some(item) = actor.take("mailbox") {
        let mut mailbox = item.section()?;
        if let Some(item) = mailbox.take("capacity") {
            settings.push(Setting::MailboxCapacity(item.count(MAILBOX_CAPACITY)?));
        }
        if let Some(item) = mailbox.take("bytes") {
            settings.push(Setting::MailboxBytes(item.size(MAILBOX_BYTES)?));
        }
        mailbox.refuse_unless("overflow", &Only::Text("reject"))?;
        mailbox.finish()?;
    }
    if let Some(item) = actor.take("config") {
        for item in item.section()?.rest() {
            let value = item.string()?;
            settings.push(Setting::Config(item.key, value));
        }
    }
    if let Some(item) = actor.take("methods") {
        for item in item.section()?.rest() {
            read_method(item, &mut settings)?;
        }
    }
    if let Some(item) = actor.take("limits") {
        read_limits(item.section()?, &mut settings)?;
    }
    if let Some(item) = actor.take("supervision") {
        supervision::read(item.section()?, &mut |setting| settings.push(Setting::Supervision(setting)))?;
    }
    if let Some(item) = actor.take("journal") {
        journal::read(item.section()?, &mut |setting| settings.push(Setting::Journal(setting)))?;
    }
    for (key, default) in NOT_YET {
        actor.refuse_unless(key, default)?;
    }
    actor.finish()?;
    Ok(Table { kind, settings })
}

fn read_method(item: Item<'_, '_>, settings: &mut Vec<Setting>) -> Result<(), ManifestError> {
    let name = item.key.clone();
    let mut method = item.section()?;
    if let Some(item) = method.take("read-only") {
        settings.push(Setting::ReadOnly(name.clone(), item.boolean()?));
    }
    if let Some(item) = method.take("timeout") {
        settings.push(Setting::Timeout(name, item.duration(METHOD_TIMEOUT)?));
    }
    method.refuse_unless("idempotent", &Only::Bool(false))?;
    method.finish()
}

fn read_limits(mut limits: Section<'_, '_>, settings: &mut Vec<Setting>) -> Result<(), ManifestError> {
    if let Some(item) = limits.take("memory") {
        settings.push(Setting::Memory(item.size(MEMORY)?));
    }
    if let Some(item) = limits.take("turn") {
        settings.push(Setting::Turn(item.duration(TURN)?));
    }
    if let Some(item) = limits.take("state") {
        settings.push(Setting::State(item.size(STATE)?));
    }
    if let Some(item) = limits.take("arguments") {
        settings.push(Setting::Arguments(item.size(MESSAGE)?));
    }
    if let Some(item) = limits.take("result") {
        settings.push(Setting::Result(item.size(MESSAGE)?));
    }
    if let Some(item) = limits.take("table-elements") {
        settings.push(Setting::TableElements(item.count(TABLE_ELEMENTS)?));
    }
    if let Some(item) = limits.take("handles") {
        settings.push(Setting::Handles(item.count(HANDLES)?));
    }
    limits.finish()
}

const IDLE_TIMEOUT: RangeInclusive<Duration> = Duration::from_secs(1)..=Duration::from_hours(720);
const METHOD_TIMEOUT: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_hours(24);
const TURN: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_mins(10);
const PACKED: RangeInclusive<usize> = 1..=10_000;
const MAILBOX_CAPACITY: RangeInclusive<usize> = 1..=1_000_000;
const MAILBOX_BYTES: RangeInclusive<u64> = KIB..=GIB;
const MEMORY: RangeInclusive<u64> = 64 * KIB..=4 * GIB;
const STATE: RangeInclusive<u64> = KIB..=256 * MIB;
const MESSAGE: RangeInclusive<u64> = KIB..=256 * MIB;
const TABLE_ELEMENTS: RangeInclusive<usize> = 1..=1_000_000;
const HANDLES: RangeInclusive<usize> = 1..=1_000_000;

/// Keys of features that this version does not have.
const NOT_YET: &[(&str, Only)] = &[
    ("placement", Only::Text("hash")),
    ("implicit-streams", Only::Nothing),
    ("store", Only::Text("default")),
    ("events", Only::Table(&[("retries", Only::Number(5.0))])),
    ("grants", Only::Table(&[("http", Only::Nothing), ("secrets", Only::Nothing), ("kinds", Only::Nothing)])),
];

#[cfg(test)]
mod tests;
