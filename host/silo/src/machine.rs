//! What this process can have of its machine, as the kernel tells.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use crate::capacity::{AddressBound, Machine};

/// Where the kernel does not tell: Linux's own defaults, and a small machine.
const MAPPINGS: u64 = 65_530;
const MEMORY: u64 = 1 << 30;
/// What a processor gives to programs, halved for what else is in it.
const ADDRESS: u64 = 1 << 46;

impl Machine {
    /// Asks the kernel.
    #[must_use]
    pub fn look() -> Self {
        let mappings = number("/proc/sys/vm/max_map_count").unwrap_or(MAPPINGS);
        let (memory, cgroup) = memory_left();
        let (address, address_bound) = address_space();
        Self { mappings, memory, cgroup, address, address_bound }
    }
}

/// How few bytes of memory may be left before actors make room for others, of that many at the start.
const FLOOR: (u64, u64) = (256 << 20, 8);
/// How many instances are made between two looks at the memory: some megabytes.
const LOOK_EVERY: u32 = 256;

/// Whether memory runs out, whatever was reckoned: actors may take much more than an idle one.
pub(crate) struct Pressure {
    floor: u64,
    made: AtomicU32,
    is_high: AtomicBool,
}

impl Pressure {
    pub(crate) fn of(machine: &Machine) -> Self {
        let (floor, part) = FLOOR;
        let floor = floor.min(machine.memory / part);
        Self { floor, made: AtomicU32::new(0), is_high: AtomicBool::new(false) }
    }

    /// Asked before each instance; looks at each 256th.
    pub(crate) fn is_high(&self) -> bool {
        if self.made.fetch_add(1, Ordering::Relaxed).is_multiple_of(LOOK_EVERY) {
            self.is_high.store(memory_left().0 < self.floor, Ordering::Relaxed);
        }
        self.is_high.load(Ordering::Relaxed)
    }
}

/// Bytes of memory that can still be had, and the control group's file if that is what bounds them.
fn memory_left() -> (u64, Option<String>) {
    let free = field("/proc/meminfo", "MemAvailable:").map_or(MEMORY, |kib| kib << 10);
    match cgroup_room() {
        Some((room, group)) if room < free => (room, Some(group.display().to_string())),
        Some(_) | None => (free, None),
    }
}

fn number(path: impl AsRef<Path>) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

/// The number behind a name.
fn field(path: impl AsRef<Path>, name: &str) -> Option<u64> {
    let text = fs::read_to_string(path).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The files of a control group, of version 2 or 1 of the kernel's interface.
struct Cgroups {
    root: &'static str,
    /// What stands before its path in `/proc/self/cgroup`, behind the number.
    controller: &'static str,
    most: &'static str,
    now: &'static str,
    /// Memory of files that can be dropped: it counts as left.
    dropped: &'static str,
}

const CGROUPS: [Cgroups; 2] = [
    Cgroups {
        root: "/sys/fs/cgroup",
        controller: "::",
        most: "memory.max",
        now: "memory.current",
        dropped: "inactive_file ",
    },
    Cgroups {
        root: "/sys/fs/cgroup/memory",
        controller: ":memory:",
        most: "memory.limit_in_bytes",
        now: "memory.usage_in_bytes",
        dropped: "total_inactive_file ",
    },
];

/// The least that a control group of this process has left, and the file that bounds it.
fn cgroup_room() -> Option<(u64, PathBuf)> {
    let groups = fs::read_to_string("/proc/self/cgroup").ok()?;
    CGROUPS.iter().filter_map(|of| of.room(&groups)).min()
}

impl Cgroups {
    fn room(&self, groups: &str) -> Option<(u64, PathBuf)> {
        let own = groups.lines().find_map(|line| Some(line.split_once(self.controller)?.1))?;
        let root = Path::new(self.root);
        let group = root.join(own.trim_start_matches('/'));
        let all = group.ancestors().take_while(|group| group.starts_with(root));
        let room = |group: &Path| {
            // "max" is no number, and no bound.
            let (most, now) = (number(group.join(self.most))?, number(group.join(self.now))?);
            let dropped = field(group.join("memory.stat"), self.dropped).unwrap_or(0);
            Some((most.saturating_sub(now.saturating_sub(dropped)), group.join(self.most)))
        };
        all.filter_map(room).min()
    }
}

fn address_space() -> (u64, Option<AddressBound>) {
    let used = field("/proc/self/status", "VmSize:").map_or(0, |kib| kib << 10);
    let limits = ["Max address space", "Max data size"].map(|name| field("/proc/self/limits", name));
    let mut least = (ADDRESS, None);
    for limit in limits.into_iter().flatten() {
        least = least.min_by(limit.saturating_sub(used), AddressBound::Ulimit);
    }
    if number("/proc/sys/vm/overcommit_memory") == Some(2) {
        let most = field("/proc/meminfo", "CommitLimit:").unwrap_or(0);
        let now = field("/proc/meminfo", "Committed_AS:").unwrap_or(0);
        least = least.min_by(most.saturating_sub(now) << 10, AddressBound::Overcommit);
    }
    least
}

trait Least {
    fn min_by(self, bytes: u64, bound: AddressBound) -> Self;
}

impl Least for (u64, Option<AddressBound>) {
    fn min_by(self, bytes: u64, bound: AddressBound) -> Self {
        if bytes < self.0 { (bytes, Some(bound)) } else { self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_that_is_there_is_no_pressure() {
        let machine = Machine::look();
        assert!(!Pressure::of(&machine).is_high());
        let most = Pressure { floor: u64::MAX, ..Pressure::of(&machine) };
        assert!(most.is_high() && most.is_high(), "it is remembered between two looks");
    }

    #[test]
    fn the_machine_tells() {
        let machine = Machine::look();
        assert!(machine.mappings >= 1000 && machine.memory >= 1 << 20 && machine.address >= 1 << 30, "{machine:?}");
    }
}
