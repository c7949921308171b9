//! Why a text or some bytes are not the values that a method takes.

use std::fmt;

/// An argument, or all of them, cannot be read or written. Nothing was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ArgumentError {
    /// What is wrong, in one line.
    pub message: String,
    /// What would fit: mostly a type, as WIT writes it.
    pub expected: Option<String>,
    /// Where, if it has a place in the text or the bytes. Boxed, so that what is right pays little
    /// for what could have been wrong.
    pub at: Option<Box<Place>>,
}

impl ArgumentError {
    /// Something is wrong with all of it.
    #[must_use]
    pub fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), expected: None, at: None }
    }

    /// The same within something larger: called from the inside to the outside.
    pub(super) fn within(mut self, step: Step) -> Self {
        if let Some(at) = &mut self.at {
            at.path.push(step);
        }
        self
    }
}

impl fmt::Display for ArgumentError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if let Some(expected) = &self.expected {
            write!(f, "; expected {expected}")?;
        }
        if let Some(at) = &self.at {
            write!(f, "; at {at}")?;
            if !at.excerpt.is_empty() {
                write!(f, "\n{}", at.excerpt)?;
            }
        }
        Ok(())
    }
}

impl std::error::Error for ArgumentError {}

/// A place in a text or in bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Place {
    /// The offset, counted from 0.
    pub byte: usize,
    /// In a text, two lines: what stands around the place, and a caret under it.
    pub excerpt: String,
    /// From the innermost value out to the argument.
    pub(super) path: Vec<Step>,
}

/// From a value to one in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// An argument, a field, or a case with a payload.
    Name(String),
    /// An element.
    Index(usize),
    /// What stands under a key of a map.
    Key(String),
}

/// `order.items[3].name, byte 27`
impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (depth, step) in self.path.iter().rev().enumerate() {
            match step {
                Step::Name(name) if depth == 0 => f.write_str(name)?,
                Step::Name(name) => write!(f, ".{name}")?,
                Step::Index(at) => write!(f, "[{at}]")?,
                Step::Key(key) => write!(f, "[{}]", show(key))?,
            }
        }
        write!(f, "{}byte {}", if self.path.is_empty() { "" } else { ", " }, self.byte)
    }
}

impl Place {
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let byte = text.floor_char_boundary(byte);
        let (before, after) = text.split_at(byte);
        let before: Vec<char> = before.chars().rev().take(EXCERPT_CHARS).collect();
        let visible = |c: char| if c.is_control() { ' ' } else { c };
        let mut excerpt: String = before.iter().rev().copied().map(visible).collect();
        excerpt.extend(after.chars().take(EXCERPT_CHARS).map(visible));
        excerpt.push('\n');
        excerpt.push_str(&" ".repeat(before.len()));
        excerpt.push('^');
        Self { byte, excerpt, path: Vec::new() }
    }
}

/// A word as an error shows it.
pub(super) fn show(word: &str) -> String {
    let cut = word.char_indices().nth(WORD_CHARS_MAX).map(|(at, _)| at);
    match cut {
        Some(at) => format!("`{}...`", word[..at].escape_debug()),
        None => format!("`{}`", word.escape_debug()),
    }
}

/// The known name that a typing error most likely meant.
pub(super) fn nearest(name: &str, known: &[String]) -> Option<String> {
    if name.len() > NEAREST_BYTES_MAX {
        return None;
    }
    let known = known.iter().filter(|known| known.len() <= NEAREST_BYTES_MAX);
    let distances = known.map(|known| (strsim::osa_distance(name, known), known));
    let (distance, known) = distances.min_by_key(|(distance, _)| *distance)?;
    (distance <= known.len() / 3 + 1 && distance < known.len()).then(|| known.clone())
}

/// How much of a wrong word an error shows.
const WORD_CHARS_MAX: usize = 40;
/// How much of the text an error shows on each side of its place.
const EXCERPT_CHARS: usize = 32;
/// Longer names are no typing errors.
const NEAREST_BYTES_MAX: usize = 128;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_caret_stands_under_the_place() {
        assert_eq!(Place::of("[1, x]", 4).excerpt, "[1, x]\n    ^");
        assert_eq!(Place::of("", 0).excerpt, "\n^");
        assert_eq!(Place::of("é\nx", 99).excerpt, "é x\n   ^");
        let long = "é".repeat(1000);
        assert_eq!(Place::of(&long, 1000).excerpt.chars().count(), 32 + 32 + 1 + 32 + 1);
    }

    #[test]
    fn only_what_is_near_is_a_guess() {
        let known = ["increment".to_owned(), "value".to_owned()];
        assert_eq!(nearest("incrment", &known).as_deref(), Some("increment"));
        assert_eq!(nearest("vlaue", &known).as_deref(), Some("value"));
        assert_eq!(nearest("x", &known), None);
    }
}
