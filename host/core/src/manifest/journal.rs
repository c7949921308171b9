//! The section `[actor.journal]`.

use std::ops::RangeInclusive;

use super::error::ManifestError;
use super::reader::Section;
use super::units::{GIB, KIB};
use crate::journal::{JournalPolicy, Keep, REPLAY_EVENTS_MAX};

const EVERY: RangeInclusive<usize> = 1..=REPLAY_EVENTS_MAX as usize / 2;
const BYTES: RangeInclusive<u64> = KIB..=GIB;

/// One key that is set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Setting {
    Every(u64),
    Bytes(u64),
    Keep(Keep),
}

impl Setting {
    pub(super) const fn apply(self, to: &mut JournalPolicy) {
        match self {
            Self::Every(events) => to.every = events,
            Self::Bytes(bytes) => to.bytes = bytes,
            Self::Keep(keep) => to.keep = keep,
        }
    }
}

pub(super) fn read(mut section: Section<'_, '_>, add: &mut impl FnMut(Setting)) -> Result<(), ManifestError> {
    if let Some(item) = section.take("snapshot") {
        let mut snapshot = item.section()?;
        if let Some(item) = snapshot.take("every") {
            add(Setting::Every(item.count(EVERY)? as u64));
        }
        if let Some(item) = snapshot.take("bytes") {
            add(Setting::Bytes(item.size(BYTES)?));
        }
        snapshot.finish()?;
    }
    if let Some(item) = section.take("keep") {
        add(Setting::Keep(item.keep()?));
    }
    section.finish()
}
