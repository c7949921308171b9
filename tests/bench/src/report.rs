//! Rows, the table for people and the JSON for machines.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail};
use serde_json::{Value, json};

/// Every row that a run must have.
const ROWS: [&str; 79] = [
    "idle actor, direct lane (hot)",
    "idle actor, direct lane (counter)",
    "idle actor, fiber lane (hop)",
    "idle actor, fiber lane (relay)",
    "idle actor, dense, direct lane (hot)",
    "idle actor, dense, direct lane (counter)",
    "idle actor, dense, fiber lane (hop)",
    "idle actor, dense, fiber lane (relay)",
    "idle actor, dense, concurrent lane (counter)",
    "idle actor, packed (hot)",
    "idle actor, packed (counter)",
    "hot ask, direct lane (hot)",
    "hot ask, direct lane (counter)",
    "hot ask, fiber lane (hop)",
    "hot ask, fiber lane (relay)",
    "packed: hot ask, direct lane (hot)",
    "packed: hot ask, direct lane (counter)",
    "hot ask, each recorded, against none (hot)",
    "hot ask, ractor",
    "hot ask, tokio mpsc + oneshot",
    "hot ask, raw wasmtime call",
    "hot ask on 2 workers, direct lane (hot)",
    "hot ask on 2 workers, fiber lane (hop)",
    "hot ask on 2 workers, fiber lane (relay)",
    "100 in flight, direct lane (hot)",
    "100 in flight, fiber lane (hop)",
    "100 in flight, fiber lane (relay)",
    "100 in flight on 2 workers, direct lane (hot)",
    "100 in flight on 2 workers, fiber lane (hop)",
    "100 in flight on 2 workers, fiber lane (relay)",
    "nested ask (hop -> hot)",
    "nested ask with a commit (relay -> counter)",
    "nested ask (relay -> relay)",
    "nested ask, concurrent lane (hop -> hot)",
    "nested ask, concurrent lane (relay -> counter)",
    "re-entrant ask, relay -> relay -> the first",
    "activation: first call of a fresh key (hot)",
    "activation: first call, then out of memory (hot)",
    "activation: first call of a fresh key (counter)",
    "activation: first call, then out of memory (counter)",
    "activation on redb, 1 KiB of state (rogue)",
    "random ask, direct lane (hot, dense)",
    "packed: random ask, direct lane (hot)",
    "durable commits, one at a time",
    "durable commits, 100 concurrent",
    "spinners: neighbour's p99 (hot)",
    "spinners: neighbour's p99 (counter)",
    "spinners: neighbour's p99 (relay)",
    "spinners: neighbour's p99 (hot, callees in chains)",
    "spinners: neighbour's p99 (hot, timers)",
    "spinners: neighbour's p99 (hot, concurrent spinners)",
    "spinners: neighbour's p99 (hot, packed spinners)",
    "failure: a crash and the next answer (rogue)",
    "failure: neighbour's p99 while one kind crashes",
    "failure: crashes in a second meanwhile",
    "family: spawn of a child (crew, worker)",
    "family: a child's crash and its next answer",
    "roles: neighbour's p99 (a child that crashes)",
    "roles: neighbour's p99 (a child that spins)",
    "roles: neighbour's p99 (a parent that crashes)",
    "roles: neighbour's p99 (a parent whose on-child-failed spins)",
    "deadlock: a chain that comes back, to its answer",
    "pending timers: each one takes",
    "pending timers: CPU while none is due",
    "timer: start and stop, by a guest",
    "reminders: registered, 100 concurrent",
    "reminders: 100,000 due after a downtime",
    "reminders: 100,000 due, to the last",
    "reminders: neighbour's p99 meanwhile (hot)",
    "journal: commits of state, two events and a reminder",
    "journal: the same, 100 concurrent",
    "journal: events read",
    "journal: bytes read",
    "replay: 1,000 events, without a snapshot",
    "replay: 10,000 events, without a snapshot",
    "replay: 100,000 events, without a snapshot",
    "replay: waking by a snapshot of 100,000 events",
    "silo start to first reply, cached components",
    "silo start, of which the store's open",
];

/// What a row is to reach.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    RatioAtMost(f64),
    RatioAtLeast(f64),
    ValueAtMost(f64),
    ValueAtLeast(f64),
}

/// One line of the table. Made by [`Report::row`].
pub(crate) struct Row {
    name: String,
    value: f64,
    unit: &'static str,
    peer: Option<(String, f64)>,
    goal: Option<Goal>,
}

impl Row {
    /// What the value is divided by.
    pub(crate) fn against(&mut self, peer: &str, value: f64) -> &mut Self {
        self.peer = Some((peer.into(), value));
        self
    }

    pub(crate) fn goal(&mut self, goal: Goal) {
        self.goal = Some(goal);
    }

    fn ratio(&self) -> Option<f64> {
        self.peer.as_ref().map(|(_, peer)| self.value / peer)
    }

    fn goal_text(&self) -> String {
        match self.goal {
            None => String::new(),
            Some(Goal::RatioAtMost(most)) => format!("<= {most}"),
            Some(Goal::RatioAtLeast(least)) => format!(">= {least}"),
            Some(Goal::ValueAtMost(most)) => format!("<= {most} {}", self.unit),
            Some(Goal::ValueAtLeast(least)) => format!(">= {least} {}", self.unit),
        }
    }

    fn met(&self) -> Option<bool> {
        match self.goal? {
            Goal::RatioAtMost(most) => Some(self.ratio()? <= most),
            Goal::RatioAtLeast(least) => Some(self.ratio()? >= least),
            Goal::ValueAtMost(most) => Some(self.value <= most),
            Goal::ValueAtLeast(least) => Some(self.value >= least),
        }
    }

    fn cells(&self) -> [String; 7] {
        let peer = self.peer.as_ref();
        [
            self.name.clone(),
            number(self.value),
            self.unit.into(),
            peer.map(|(name, value)| format!("{name} {}", number(*value))).unwrap_or_default(),
            self.ratio().map(number).unwrap_or_default(),
            self.goal_text(),
            self.met().map_or("", |met| if met { "yes" } else { "NO" }).into(),
        ]
    }

    fn json(&self) -> Value {
        json!({
            "name": self.name,
            "value": self.value,
            "unit": self.unit,
            "peer": self.peer.as_ref().map(|(name, value)| json!({ "name": name, "value": value })),
            "ratio": self.ratio(),
            "goal": self.goal_text(),
            "met": self.met(),
        })
    }
}

/// Three digits that count.
fn number(value: f64) -> String {
    match value.abs() {
        v if v >= 100.0 => format!("{value:.0}"),
        v if v >= 10.0 => format!("{value:.1}"),
        _ => format!("{value:.2}"),
    }
}

/// The rows of one run.
pub(crate) struct Report {
    smoke: bool,
    load_before: String,
    rows: Vec<Row>,
}

impl Report {
    pub(crate) fn new(smoke: bool) -> Self {
        Self { smoke, load_before: load(), rows: Vec::new() }
    }

    /// Adds a row.
    pub(crate) fn row(&mut self, name: impl Into<String>, value: f64, unit: &'static str) -> &mut Row {
        let at = self.rows.len();
        self.rows.push(Row { name: name.into(), value, unit, peer: None, goal: None });
        &mut self.rows[at]
    }

    /// The table for people.
    pub(crate) fn table(&self) -> String {
        let head = ["row", "value", "unit", "floor or peer", "ratio", "goal", "met"].map(String::from);
        let lines: Vec<[String; 7]> = std::iter::once(head).chain(self.rows.iter().map(Row::cells)).collect();
        let mut widths = [0; 7];
        for line in &lines {
            for (width, cell) in widths.iter_mut().zip(line) {
                *width = (*width).max(cell.chars().count());
            }
        }
        let mut text = format!("load at the start {}, at the end {}\n", self.load_before, load());
        for line in &lines {
            for (at, (cell, width)) in line.iter().zip(widths).enumerate() {
                // Numbers stand to the right.
                let written = if at == 1 || at == 4 {
                    write!(text, "{cell:>width$}  ")
                } else {
                    write!(text, "{cell:<width$}  ")
                };
                written.ok();
            }
            text.truncate(text.trim_end().len());
            text.push('\n');
        }
        text
    }

    /// Writes the JSON twice: under its time, and as the newest.
    pub(crate) fn save(&self) -> Result<PathBuf> {
        let folder = folder()?;
        let time = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let rows: Vec<Value> = self.rows.iter().map(Row::json).collect();
        let all = json!({ "unix_time": time, "load_before": self.load_before, "load_after": load(), "rows": rows });
        let text = serde_json::to_string_pretty(&all)?;
        let file = folder.join(format!("{time}.json"));
        std::fs::write(&file, &text).with_context(|| format!("cannot write {}", file.display()))?;
        std::fs::write(folder.join("latest.json"), &text)?;
        Ok(file)
    }

    /// Every row must be there, with a number.
    pub(crate) fn check(&self) -> Result<()> {
        let there = |name: &str| self.rows.iter().any(|row| row.name == name && row.value.is_finite());
        let missing: Vec<&str> = ROWS.into_iter().filter(|name| !there(name)).collect();
        if !missing.is_empty() {
            bail!("rows are missing: {}", missing.join("; "));
        }
        if self.smoke {
            eprintln!("quark-bench: all {} rows are there; a smoke run's numbers say nothing", ROWS.len());
        }
        Ok(())
    }
}

/// `target/bench` of the workspace.
pub(crate) fn folder() -> Result<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| workspace.join("target"), PathBuf::from);
    let folder = target.join("bench");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    Ok(folder)
}

/// The machine's load over one, five and fifteen minutes.
fn load() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split(' ').take(3).collect::<Vec<_>>().join(" ")
}
