//! Sizes and times as people write them.

use std::time::Duration;

/// `10ms`, `5s`, `10m`, `1h`, `2d`: a whole number and a unit.
pub(super) fn parse_duration(text: &str) -> Option<Duration> {
    let (number, unit) = split_unit(text)?;
    let unit_ms = DURATION_UNITS.iter().find(|(name, _)| *name == unit)?.1;
    Some(Duration::from_millis(number.checked_mul(unit_ms)?))
}

/// `10B`, `1KiB`, `64MiB`, `4GiB`: a whole number and a unit.
pub(super) fn parse_size(text: &str) -> Option<u64> {
    let (number, unit) = split_unit(text)?;
    let bytes = SIZE_UNITS.iter().find(|(name, _)| *name == unit)?.1;
    number.checked_mul(bytes)
}

fn split_unit(text: &str) -> Option<(u64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    Some((number.parse().ok()?, unit.trim_start_matches(' ')))
}

pub(super) fn show_duration(time: Duration) -> String {
    let ms = u64::try_from(time.as_millis()).unwrap_or(u64::MAX);
    show(ms, DURATION_UNITS)
}

pub(super) fn show_size(bytes: u64) -> String {
    show(bytes, SIZE_UNITS)
}

/// In the largest unit that leaves a whole number.
fn show(number: u64, units: &[(&str, u64)]) -> String {
    let mut units = units.iter().rev();
    match units.find(|(_, unit)| number >= *unit && number.is_multiple_of(*unit)) {
        Some((name, unit)) => format!("{}{name}", number / unit),
        None => number.to_string(),
    }
}

pub(super) const KIB: u64 = 1024;
pub(super) const MIB: u64 = 1024 * KIB;
pub(super) const GIB: u64 = 1024 * MIB;

const SIZE_UNITS: &[(&str, u64)] = &[("B", 1), ("KiB", KIB), ("MiB", MIB), ("GiB", GIB)];
const DURATION_UNITS: &[(&str, u64)] = &[("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
