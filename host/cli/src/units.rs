//! Durations and sizes, as people write and read them.

use std::time::Duration;

use quark_core::time::moment_ms;
use quark_silo::api::Moment;

/// `500ms`, `5s`, `2m`, `1h`, `1d`.
pub(crate) fn duration(text: &str) -> Result<Duration, String> {
    let units = [("ms", 1), ("s", 1000), ("m", 60_000), ("h", 3_600_000), ("d", 86_400_000)];
    match number(text, &units) {
        Some(0) | None => Err("write a duration above zero such as 500ms, 5s, 2m, 1h or 1d".to_owned()),
        Some(ms) => Ok(Duration::from_millis(ms)),
    }
}

/// The same, and `200us`.
pub(crate) fn short_duration(text: &str) -> Result<Duration, String> {
    match number(text, &[("us", 1), ("µs", 1)]) {
        Some(us) if us > 0 => Ok(Duration::from_micros(us)),
        _ => duration(text).map_err(|_| "write a duration above zero such as 200us, 5ms, 2s or 1m".to_owned()),
    }
}

/// `42` (an event), `2026-11-26T08:00:00Z`, `5m` (so long ago).
pub(crate) fn moment(text: &str) -> Result<Moment, String> {
    if let Ok(sequence) = text.parse() {
        return Ok(Moment::Sequence(sequence));
    }
    let ago = |time: Duration| now_ms().saturating_sub(u64::try_from(time.as_millis()).unwrap_or(u64::MAX));
    let time = duration(text).ok().map(ago).or_else(|| moment_ms(text));
    time.map(Moment::Time).ok_or_else(|| {
        "write the number of an event, a time such as 2026-11-26T08:00:00Z, or how long ago such as 5m".to_owned()
    })
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

/// A short length of time for people, to two digits or three.
pub(crate) fn shown_ns(ns: u64) -> String {
    let tenths = |unit: u64, name: &str| format!("{}.{} {name}", ns / unit, ns % unit / (unit / 10));
    match ns {
        0 => "-".to_owned(),
        1..1_000 => format!("{ns} ns"),
        1_000..100_000 => tenths(1_000, "µs"),
        100_000..1_000_000 => format!("{} µs", ns / 1_000),
        1_000_000..100_000_000 => tenths(1_000_000, "ms"),
        _ => shown_ms(ns / 1_000_000),
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
        assert_eq!(duration("2d"), Ok(Duration::from_hours(48)));
        assert_eq!(duration("213503982334d"), Ok(Duration::from_millis(213_503_982_334 * 86_400_000)));
        let too_long = ["99999999999999999999s", "18446744073709551615h", "213503982335d"];
        for bad in ["", "5", "s", "d", "-1s", "1.5s", "0s", "0d"].into_iter().chain(too_long) {
            assert!(duration(bad).is_err_and(|error| error.contains("1d")), "{bad}");
        }
        assert!(duration("5us").is_err());
        for (text, us) in [("5us", 5), ("5µs", 5), ("5ms", 5_000), ("5s", 5_000_000)] {
            assert_eq!(short_duration(text), Ok(Duration::from_micros(us)));
        }
        for bad in ["", "0us", "us", "1.5us"] {
            assert!(short_duration(bad).is_err_and(|error| error.contains("200us")), "{bad}");
        }
        assert_eq!(bytes("4096"), Ok(4096));
        assert_eq!(bytes("64KiB"), Ok(64 << 10));
        assert_eq!(bytes("1B"), Ok(1));
        for bad in ["", "KiB", "1KB", "1.5MiB", "-1", "99999999TiB"] {
            assert!(bytes(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn moments_are_read() {
        assert_eq!(moment("7"), Ok(Moment::Sequence(7)));
        assert_eq!(moment("1970-01-01T00:00:01Z"), Ok(Moment::Time(1000)));
        assert!(matches!(moment("2d"), Ok(Moment::Time(at)) if now_ms() - at >= 172_800_000));
        assert!(matches!(moment("1h"), Ok(Moment::Time(at)) if now_ms() - at >= 3_600_000));
        for bad in ["", "-1", "now", "2026-11-26"] {
            assert!(moment(bad).is_err_and(|error| error.contains("how long ago")), "{bad}");
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
        let shown = [0, 999, 1_234, 123_456, 1_250_000, 123_456_789, 1_999_000_000].map(shown_ns);
        assert_eq!(shown, ["-", "999 ns", "1.2 µs", "123 µs", "1.2 ms", "123 ms", "1.9 s"]);
    }
}
