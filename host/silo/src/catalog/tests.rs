//! Places, and what they are short of.

use quark_core::manifest::MemoryProfile;
use quark_engine::{Lane, cost};

use super::*;

fn share(profile: MemoryProfile, lane: Lane) -> Share {
    Share::of(profile, lane, cost(profile, lane))
}

fn catalog(mappings: u64, memory: u64) -> Catalog {
    Catalog::new(Budget { instances: 1_000, slots: [50, 20, 500], mappings, memory })
}

/// Takes places until one is refused.
fn take(catalog: &Catalog, share: Share) -> (Vec<Place>, Short) {
    let mut places = Vec::new();
    loop {
        match catalog.take_place(share) {
            Ok(place) => places.push(place),
            Err(short) => return (places, short),
        }
    }
}

#[test]
fn each_profile_and_lane_takes_its_own_share() {
    let roomy = share(MemoryProfile::Roomy, Lane::Fiber);
    let direct = share(MemoryProfile::Dense, Lane::Direct);
    let fiber = share(MemoryProfile::Dense, Lane::Fiber);
    let catalog = catalog(300, 1 << 40);
    catalog.engines_take(100);
    // 50 slots; each takes 4 of the 200 mappings that the engine leaves.
    let (places, short) = take(&catalog, roomy);
    assert_eq!((places.len(), short), (50, Short::Slots(Pool::Roomy)));
    assert_eq!(catalog.take_place(fiber).err(), Some(Short::Mappings));
    let (dense, short) = take(&catalog, direct);
    assert_eq!((dense.len(), short), (500, Short::Slots(Pool::Dense)), "these take no mappings");
    assert!(short.is_eased_by(fiber) && !short.is_eased_by(roomy));
    assert!(Short::Mappings.is_eased_by(roomy) && !Short::Mappings.is_eased_by(direct));
    drop((dense, places));
    assert_eq!(catalog.live(), 0);
    let (fibers, short) = take(&catalog, fiber);
    assert_eq!((fibers.len(), short), (100, Short::Mappings));
    assert!(!catalog.has_mappings(1));
    drop(fibers);
    assert!(catalog.has_mappings(200) && !catalog.has_mappings(201));
    assert_eq!((catalog.holds(roomy), catalog.holds(fiber), catalog.holds(direct)), (50, 100, 500));
}

#[test]
fn memory_ends_too_and_a_few_are_always_held() {
    let direct = share(MemoryProfile::Dense, Lane::Direct);
    let (places, short) = take(&catalog(0, 100 * direct.memory), direct);
    assert_eq!((places.len(), short), (100, Short::Memory));
    let roomy = share(MemoryProfile::Roomy, Lane::Direct);
    let (places, short) = take(&catalog(0, 0), roomy);
    assert_eq!((places.len() as u64, short), (INSTANCES_MIN, Short::Mappings));
}
