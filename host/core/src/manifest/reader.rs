//! A TOML table read key by key: every value with its place, every key accounted for.

use std::fmt;
use std::ops::RangeInclusive;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ManifestError, Place, Problem};
use super::units::{parse_duration, parse_size, show_duration, show_size};
use super::{Isolation, MemoryProfile, Reentrancy};
use crate::journal::Keep;
use crate::supervision::{Strategy, Thousandths};

/// A TOML table while its keys are taken out one by one; what is left at the end is unknown.
pub(super) struct Section<'t, 'i> {
    pub(super) text: &'t str,
    path: String,
    entries: DeTable<'i>,
    known: Vec<&'static str>,
}

impl<'t, 'i> Section<'t, 'i> {
    pub(super) const fn new(text: &'t str, path: String, entries: DeTable<'i>) -> Self {
        let known = Vec::new();
        Self { text, path, entries, known }
    }

    pub(super) fn take(&mut self, key: &'static str) -> Option<Item<'t, 'i>> {
        self.known.push(key);
        let value = self.entries.remove(key)?;
        Some(Item::new(self.text, join(&self.path, key), value))
    }

    /// All entries, for tables whose keys are the author's own.
    pub(super) fn rest(self) -> impl Iterator<Item = Item<'t, 'i>> {
        let Self { text, path, entries, .. } = self;
        entries.into_iter().map(move |(key, value)| {
            let key = key.into_inner().into_owned();
            let path = join(&path, &key);
            Item { key, ..Item::new(text, path, value) }
        })
    }

    /// Takes a key that this version accepts with one value only.
    pub(super) fn refuse_unless(&mut self, key: &'static str, only: &Only) -> Result<(), ManifestError> {
        self.take(key).map_or(Ok(()), |item| item.refuse_unless(only))
    }

    pub(super) fn finish(self) -> Result<(), ManifestError> {
        let Some((key, _)) = self.entries.iter().next() else {
            return Ok(());
        };
        let hint = match nearest(key.get_ref(), &self.known) {
            Some(known) => format!("did you mean `{known}`?"),
            None => format!("there are: {}", self.known.join(", ")),
        };
        let problem = Problem::UnknownKey { key: format!("`{}`", join(&self.path, key.get_ref())), hint };
        let at = Some(Place::of(self.text, key.span().start));
        Err(ManifestError { at, problem })
    }
}

/// The path of a key; a key of any length and any characters stays one short line.
fn join(path: &str, key: &str) -> String {
    let key = cut(&key.escape_debug().to_string());
    if path.is_empty() { key } else { format!("{path}.{key}") }
}

/// One value with its place.
pub(super) struct Item<'t, 'i> {
    pub(super) text: &'t str,
    path: String,
    /// Its key where that is the author's own.
    pub(super) key: String,
    pub(super) at: usize,
    end: usize,
    pub(super) value: DeValue<'i>,
}

impl<'t, 'i> Item<'t, 'i> {
    pub(super) fn new(text: &'t str, path: String, value: Spanned<DeValue<'i>>) -> Self {
        let span = value.span();
        Self { text, path, key: String::new(), at: span.start, end: span.end, value: value.into_inner() }
    }

    pub(super) fn section(self) -> Result<Section<'t, 'i>, ManifestError> {
        if !self.value.is_table() {
            return Err(self.misfit("a table"));
        }
        let entries = if let DeValue::Table(entries) = self.value { entries } else { DeTable::new() };
        Ok(Section::new(self.text, self.path, entries))
    }

    pub(super) fn string(&self) -> Result<String, ManifestError> {
        let text = self.value.as_str().map(str::to_owned);
        text.ok_or_else(|| self.misfit("a string, in quotes"))
    }

    pub(super) fn name(&self) -> Result<String, ManifestError> {
        let name = self.value.as_str().filter(|name| !name.is_empty());
        let name = name.map(str::to_owned);
        name.ok_or_else(|| self.misfit("the kind's short name, for example \"counter\""))
    }

    pub(super) fn boolean(&self) -> Result<bool, ManifestError> {
        let yes = self.value.as_bool();
        yes.ok_or_else(|| self.misfit("true or false"))
    }

    fn integer(&self) -> Option<u64> {
        let integer = self.value.as_integer()?;
        u64::from_str_radix(integer.as_str(), integer.radix()).ok()
    }

    pub(super) fn count(&self, range: RangeInclusive<usize>) -> Result<usize, ManifestError> {
        let count = self.integer().and_then(|n| usize::try_from(n).ok());
        let count = count.filter(|n| range.contains(n));
        let (min, max) = (range.start(), range.end());
        count.ok_or_else(|| self.misfit(&format!("a whole number from {min} to {max}")))
    }

    pub(super) fn size(&self, range: RangeInclusive<u64>) -> Result<u64, ManifestError> {
        let bytes = self.value.as_str().and_then(parse_size).or_else(|| self.integer());
        bytes.filter(|n| range.contains(n)).ok_or_else(|| {
            let (min, max) = (show_size(*range.start()), show_size(*range.end()));
            let expected = format!("a size from {min} to {max}, as \"64MiB\", \"10KiB\" or bytes");
            self.misfit(&expected)
        })
    }

    pub(super) fn duration(&self, range: RangeInclusive<Duration>) -> Result<Duration, ManifestError> {
        let time = self.value.as_str().and_then(parse_duration);
        time.filter(|time| range.contains(time)).ok_or_else(|| {
            let (min, max) = (show_duration(*range.start()), show_duration(*range.end()));
            self.misfit(&format!("a time from {min} to {max}, as \"100ms\", \"5s\", \"10m\" or \"1h\""))
        })
    }

    pub(super) fn thousandths(&self, range: RangeInclusive<Thousandths>) -> Result<Thousandths, ManifestError> {
        let number = self.number().map(|number| (number * 1000.0).round()).filter(|number| *number >= 0.0);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and has a range")]
        let number = number.map(|number| Thousandths(number as u32));
        number.filter(|number| range.contains(number)).ok_or_else(|| {
            let (min, max) = (f64::from(range.start().0) / 1000.0, f64::from(range.end().0) / 1000.0);
            self.misfit(&format!("a number from {min} to {max}"))
        })
    }

    fn number(&self) -> Option<f64> {
        let float = self.value.as_float().map(|float| float.as_str());
        float.or_else(|| self.value.as_integer().map(|integer| integer.as_str()))?.parse().ok()
    }

    pub(super) fn reentrancy(&self) -> Result<Reentrancy, ManifestError> {
        match self.value.as_str() {
            Some("none") => Ok(Reentrancy::None),
            Some("call-chain") => Ok(Reentrancy::CallChain),
            Some("full") => Ok(Reentrancy::Full),
            _ => Err(self.misfit("\"none\", \"call-chain\" or \"full\"")),
        }
    }

    pub(super) fn isolation(self, packed: RangeInclusive<usize>) -> Result<Isolation, ManifestError> {
        if self.value.as_str() == Some("actor") {
            return Ok(Isolation::Actor);
        }
        if !self.value.is_table() {
            return Err(self.misfit("\"actor\" or { packed = N }"));
        }
        let none = self.misfit("{ packed = N }");
        let mut section = self.section()?;
        let packed = section.take("packed").map(|item| item.count(packed)).transpose()?;
        section.finish()?;
        packed.map(|packed| Isolation::Packed(u32::try_from(packed).unwrap_or(u32::MAX))).ok_or(none)
    }

    pub(super) fn memory_profile(&self) -> Result<MemoryProfile, ManifestError> {
        let profile = self.value.as_str().and_then(MemoryProfile::parse);
        profile.ok_or_else(|| self.misfit("\"roomy\" or \"dense\""))
    }

    pub(super) fn strategy(&self) -> Result<Strategy, ManifestError> {
        let strategy = self.value.as_str().and_then(Strategy::parse);
        strategy.ok_or_else(|| self.misfit("\"one-for-one\", \"all-for-one\" or \"rest-for-one\""))
    }

    pub(super) fn keep(&self) -> Result<Keep, ManifestError> {
        let keep = [Keep::All, Keep::SinceSnapshot].into_iter().find(|keep| self.value.as_str() == Some(keep.name()));
        keep.ok_or_else(|| self.misfit("\"all\" or \"since-snapshot\""))
    }

    pub(super) fn refuse_unless(self, only: &Only) -> Result<(), ManifestError> {
        let (value, default) = (&self.value, only.to_string());
        let holds = match only {
            Only::Text(text) => value.as_str() == Some(text),
            Only::Number(number) => self.number() == Some(*number),
            Only::Nothing => value.as_array().is_some_and(|array| array.is_empty()),
            Only::Table(keys) if value.is_table() => {
                let mut section = self.section()?;
                for (key, only) in *keys {
                    section.refuse_unless(key, only)?;
                }
                return section.finish();
            }
            Only::Table(_) => false,
        };
        if holds { Ok(()) } else { Err(self.unsupported(&default)) }
    }

    fn unsupported(&self, default: &str) -> ManifestError {
        self.error(Problem::Unsupported { key: self.path.clone(), given: self.given(), default: default.to_owned() })
    }

    fn misfit(&self, expected: &str) -> ManifestError {
        self.error(Problem::Value { key: self.path.clone(), given: self.given(), expected: expected.to_owned() })
    }

    fn error(&self, problem: Problem) -> ManifestError {
        let at = Some(Place::of(self.text, self.at));
        ManifestError { at, problem }
    }

    /// The value as written.
    fn given(&self) -> String {
        let text = self.text.get(self.at..self.end).unwrap_or_default();
        let line: Vec<&str> = text.split_whitespace().collect();
        cut(&line.join(" "))
    }
}

fn cut(text: &str) -> String {
    match text.char_indices().nth(GIVEN_CHARS_MAX) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// The known key that a typing error most likely meant.
fn nearest<'k>(key: &str, known: &[&'k str]) -> Option<&'k str> {
    if key.len() > 64 {
        return None;
    }
    let key = key.to_lowercase().replace('_', "-");
    if let Some(known) = known.iter().find(|known| key.starts_with(**known)) {
        return Some(known);
    }
    let key: Vec<char> = key.chars().collect();
    let distances = known.iter().map(|known| (distance(&key, known), *known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= known.len() / 3 + 1 && distance < known.len()).then_some(known)
}

/// Levenshtein's distance.
fn distance(a: &[char], b: &str) -> usize {
    let mut row: Vec<usize> = (0..=a.len()).collect();
    for (i, b) in b.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, a) in a.iter().enumerate() {
            let change = diagonal + usize::from(*a != b);
            diagonal = row[j + 1];
            row[j + 1] = change.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[a.len()]
}

/// The only value that this version accepts for a key: the default of a feature to come.
pub(super) enum Only {
    Text(&'static str),
    Number(f64),
    /// An empty array.
    Nothing,
    Table(&'static [(&'static str, Self)]),
}

impl fmt::Display for Only {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Number(number) => write!(f, "{number}"),
            Self::Nothing => f.write_str("[]"),
            Self::Table(_) => f.write_str("a table of its defaults"),
        }
    }
}

/// How much of a wrong value an error shows.
const GIVEN_CHARS_MAX: usize = 60;
