//! Durations and sizes, as people write and read them.

use std::time::Duration;

/// `500ms`, `5s`, `2m`, `1h`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000)];
    match number(text, &units) {
        Some(0) | None => Err("write a duration above zero such as 500ms, 5s, 2m or 1h".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
    }
}

/// `4096`, `64KiB`, `256MiB`, `2GiB`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let units = [("KiB", 1 << 10), ("MiB", 1 << 20), ("GiB", 1 << 30), ("TiB", 1 << 40), ("B", 1), ("", 1)];
    number(text, &units).ok_or_else(|| "write a size such as 4096, 64KiB, 256MiB or 2GiB".to_owned())
}

/// A whole number with one of the units, in the smallest unit; the first that fits counts.
fn number(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let (digits, factor) = units.iter().find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, *factor)))?;
    let plain = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    if plain { digits.parse::<u64>().ok()?.checked_mul(factor) } else { None }
}

/// A size for people.
pub(crate) fn shown_bytes(bytes: u64) -> String {
    let units = [(1 << 40, "TiB"), (1 << 30, "GiB"), (1 << 20, "MiB"), (1 << 10, "KiB")];
    match units.into_iter().find(|(size, _)| bytes >= *size) {
        // One decimal is all that is shown, so the loss of precision is not.
        #[expect(clippy::cast_precision_loss, reason = "shown with one decimal")]
        Some((size, unit)) => format!("{:.1} {unit}", bytes as f64 / size as f64),
        None => format!("{bytes} B"),
    }
}

/// How long it is until that moment, milliseconds since 1970.
pub(crate) fn shown_until(at_ms: u64) -> String {
    match at_ms.saturating_sub(now_ms()) {
        0 => "now".to_owned(),
        left => format!("in {}", shown_ms(left)),
    }
}

/// A length of time for people.
pub(crate) fn shown_ms(ms: u64) -> String {
    match ms {
        0..1000 => format!("{ms} ms"),
        1000..60_000 => format!("{}.{} s", ms / 1000, ms % 1000 / 100),
        60_000..3_600_000 => format!("{} m {} s", ms / 60_000, ms % 60_000 / 1000),
        3_600_000..86_400_000 => format!("{} h {} m", ms / 3_600_000, ms % 3_600_000 / 60_000),
        _ => format!("{} d {} h", ms / 86_400_000, ms % 86_400_000 / 3_600_000),
    }
}

/// How long ago a time in milliseconds since 1970 was.
pub(crate) fn shown_ago(at_ms: u64) -> String {
    format!("{} ago", shown_ms(now_ms().saturating_sub(at_ms)))
}

fn now_ms() -> u64 {
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    u64::try_from(now.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_and_sizes_are_read() {
        assert_eq!(duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(duration("5s"), Ok(Duration::from_secs(5)));
        assert_eq!(duration("2m"), Ok(Duration::from_mins(2)));
        for bad in ["", "5", "s", "-1s", "1.5s", "0s", "99999999999999999999s", "18446744073709551615h"] {
            assert!(duration(bad).is_err(), "{bad}");
        }
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("64KiB"), Ok(64 << 10));
        assert_eq!(bytes("1B"), Ok(1));
        for bad in ["", "KiB", "1KB", "1.5MiB", "-1", "99999999TiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn sizes_and_times_are_shown() {
        assert_eq!(shown_bytes(1023), "1023 B");
        assert_eq!(shown_bytes(1536), "1.5 KiB");
        assert_eq!(shown_ms(999), "999 ms");
        assert_eq!(shown_ms(1999), "1.9 s");
        assert_eq!(shown_ms(61_000), "1 m 1 s");
        assert_eq!(shown_ms(3_660_000), "1 h 1 m");
        assert_eq!(shown_ms(90_000_000), "1 d 1 h");
    }
}
