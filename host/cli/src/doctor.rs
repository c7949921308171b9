//! `quark doctor`: what this machine holds live, and what limits it.

use quark_silo::{Holds, Machine, Resource};

use crate::exit::{Done, Exit};
use crate::output::Output;
use crate::table::table;
use crate::units::shown_bytes;

/// Show how many actors this machine holds live, by memory profile and lane, what limits it, and
/// what raises the limit. No silo is needed.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  quark doctor\n  quark doctor --json")]
pub(crate) struct Doctor {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

impl Doctor {
    pub(crate) fn run(self, out: &mut Output<'_>) -> Done {
        let machine = Machine::look();
        if self.json {
            out.json(&serde_json::json!({ "machine": machine, "holds": machine.all() }));
        } else {
            show(&machine, out);
        }
        Ok(Exit::Done)
    }
}

fn show(machine: &Machine, out: &mut Output<'_>) {
    let Machine { mappings, memory, cgroup, address, .. } = machine;
    let group = cgroup.as_ref().map_or_else(String::new, |group| format!(" (bounded by {group})"));
    out.line(format_args!("mappings       {mappings} for a process (vm.max_map_count)"));
    out.line(format_args!("memory         {} free{group}", shown_bytes(*memory)));
    out.line(format_args!("address space  {}", shown_bytes(*address)));
    out.line("");
    let columns = [
        ("PROFILE", false),
        ("LANE", false),
        ("ROOM EACH", true),
        ("LIVE", true),
        ("LIMITED BY", false),
        ("BY MAPPINGS", true),
        ("BY MEMORY", true),
        ("BY ADDRESS SPACE", true),
    ];
    let holds = machine.all();
    let rows = holds.iter().map(|row| {
        vec![
            row.profile.to_owned(),
            row.lane.to_owned(),
            shown_bytes(row.room),
            row.live.to_string(),
            row.limited_by.name().to_owned(),
            row.by_mappings.map_or_else(|| "any".to_owned(), |live| live.to_string()),
            row.by_memory.to_string(),
            row.by_address_space.to_string(),
        ]
    });
    out.line(table(&columns, rows));
    out.line("");
    out.line("LIVE is for actors of one row alone, idle and with little memory of their own.");
    raises(&holds, out);
}

/// One line for each limit: the command that is enough for all its rows.
fn raises(holds: &[Holds], out: &mut Output<'_>) {
    for resource in [Resource::Mappings, Resource::Memory, Resource::AddressSpace, Resource::Default] {
        let limited = holds.iter().filter(|row| row.limited_by == resource);
        // Of commands that differ in their number alone, the largest comes last.
        if let Some(row) = limited.max_by_key(|row| (row.raise.len(), row.raise.as_str())) {
            out.line(format_args!("more {}: {}", resource.name(), row.raise));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_is_told_with_what_raises_it() {
        let machine =
            Machine { mappings: 65_530, memory: 8 << 30, cgroup: None, address: 1 << 46, address_bound: None };
        let mut bytes = Vec::new();
        show(&machine, &mut Output::new(&mut bytes, false));
        let text = String::from_utf8(bytes).unwrap();
        for profile in ["roomy", "dense"] {
            for lane in ["direct", "fiber", "concurrent"] {
                let row = text.lines().find(|line| line.starts_with(profile) && line.contains(lane));
                assert!(row.is_some(), "{profile} {lane} in {text}");
            }
        }
        assert!(text.contains("\nmore mappings: sudo sysctl -w vm.max_map_count="), "{text}");
        assert!(text.contains("\nmore memory: give the machine more memory\n"), "{text}");
    }
}
