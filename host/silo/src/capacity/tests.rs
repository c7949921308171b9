//! Machines, and what they hold.

use super::*;

const GIB: u64 = 1 << 30;

fn machine(mappings: u64, memory: u64) -> Machine {
    Machine { mappings, memory, cgroup: None, address: 1 << 46, address_bound: None }
}

#[test]
fn what_runs_out_first_is_the_limit() {
    let usual = machine(65_530, 16 * GIB);
    let roomy = usual.holds(MemoryProfile::Roomy, Lane::Direct);
    let Cost { mappings, slot_mappings, .. } = cost(MemoryProfile::Roomy, Lane::Direct);
    assert_eq!(roomy.limited_by, Resource::Mappings);
    assert_eq!(roomy.live, (65_530 - MAPPINGS_RESERVED) / (mappings + slot_mappings));

    let dense = usual.holds(MemoryProfile::Dense, Lane::Direct);
    assert_eq!((dense.limited_by, dense.by_mappings), (Resource::Memory, None), "memories take no mapping");
    assert!((500_000..2_000_000).contains(&dense.live), "{dense:?}");
    assert_eq!(dense.raise, "give the machine more memory");

    let stacks = usual.holds(MemoryProfile::Dense, Lane::Fiber);
    assert_eq!((stacks.limited_by, stacks.live), (Resource::Mappings, (65_530 - MAPPINGS_RESERVED) / 2));

    let raised = machine(10_000_000, 64 * GIB).holds(MemoryProfile::Roomy, Lane::Direct);
    assert_eq!((raised.limited_by, raised.live), (Resource::Default, 100_000));

    let bounded = Machine { address: 8 * GIB, address_bound: Some(AddressBound::Ulimit), ..usual };
    let bounded = bounded.holds(MemoryProfile::Roomy, Lane::Fiber);
    assert_eq!(bounded.limited_by, Resource::AddressSpace);
    assert!(bounded.raise.contains("ulimit -v unlimited"), "{bounded:?}");

    let grouped = Machine { cgroup: Some("/sys/fs/cgroup/silo/memory.max".into()), ..machine(65_530, GIB / 4) };
    let grouped = grouped.holds(MemoryProfile::Dense, Lane::Direct);
    assert_eq!(grouped.raise, "echo max | sudo tee /sys/fs/cgroup/silo/memory.max");
}

#[test]
fn the_command_that_raises_a_limit_is_enough() {
    for lane in LANES {
        for profile in MemoryProfile::ALL {
            let before = machine(65_530, 2 * GIB).holds(profile, lane);
            if before.limited_by == Resource::Mappings {
                let mappings = before.raise.rsplit('=').next().unwrap().parse().unwrap();
                let after = machine(mappings, 2 * GIB).holds(profile, lane);
                assert_ne!(after.limited_by, Resource::Mappings, "{before:?}, then {after:?}");
            }
        }
    }
}

#[test]
fn more_than_the_machine_holds_is_refused_with_the_command() {
    let usual = machine(65_530, 16 * GIB);
    let error = budget(&usual, MemoryProfile::Roomy, Some(100_000)).unwrap_err().to_string();
    assert!(error.contains("cannot hold 100000 live actors in the roomy profile"), "{error}");
    let mappings = error.split("vm.max_map_count=").nth(1).unwrap().split('`').next().unwrap().parse().unwrap();
    assert!(error.contains("sudo sysctl -w") && error.contains("--memory-profile dense"), "{error}");
    assert!(budget(&machine(mappings, 16 * GIB), MemoryProfile::Roomy, Some(100_000)).is_ok());
    assert!(budget(&usual, MemoryProfile::Dense, Some(100_000)).is_ok());
    let error = budget(&usual, MemoryProfile::Dense, Some(100_000_000)).unwrap_err().to_string();
    assert!(error.contains("its memory ends there"), "{error}");
}

#[test]
fn pools_together_fit_the_mappings() {
    for (mappings, memory) in [(65_530, 16 * GIB), (65_530, GIB), (262_144, 64 * GIB), (5_000_000, 16 * GIB)] {
        for asked in [None, Some(100), Some(5_000)] {
            let budget = budget(&machine(mappings, memory), MemoryProfile::Roomy, asked).unwrap();
            let [roomy, concurrent, dense] = budget.slots.map(u64::from);
            let fixed = 2 * (roomy + concurrent);
            assert!(fixed < budget.mappings, "{budget:?}");
            assert!(asked.is_none_or(|asked| [roomy, concurrent, dense].iter().all(|it| *it <= u64::from(asked))));
        }
    }
    // A machine with nothing to give still serves a few.
    let poor = budget(&machine(0, 0), MemoryProfile::Dense, None).unwrap();
    assert_eq!(poor.slots, [16; 3]);
}
