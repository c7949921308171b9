//! What can be wrong with a manifest, and where.

use std::fmt;

use super::MANIFEST_BYTES_MAX;

/// Why a manifest was not accepted. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ManifestError {
    /// Where, if the problem has a place.
    pub at: Option<Place>,
    /// What is wrong.
    pub problem: Problem,
}

impl fmt::Display for ManifestError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.at {
            Some(at) => write!(f, "manifest, {at}: {}", self.problem),
            None => write!(f, "manifest: {}", self.problem),
        }
    }
}

impl std::error::Error for ManifestError {}

/// A place in a text; both count from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The line.
    pub line: usize,
    /// The character in that line.
    pub column: usize,
}

impl Place {
    pub(super) fn of(text: &str, byte: usize) -> Self {
        let before = text.get(..byte).unwrap_or(text);
        let line = before.rsplit('\n').next().unwrap_or(before);
        Self { line: before.matches('\n').count() + 1, column: line.chars().count() + 1 }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "line {}, column {}", self.line, self.column)
    }
}

/// What is wrong with a manifest.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Problem {
    /// More bytes than [`MANIFEST_BYTES_MAX`].
    #[error("{0} bytes; at most {MANIFEST_BYTES_MAX} are allowed")]
    TooLong(usize),
    /// Not TOML.
    #[error("not valid TOML: {0}")]
    Syntax(String),
    /// A key that does not exist.
    #[error("unknown key {key}; {hint}")]
    UnknownKey {
        /// With its table.
        key: String,
        /// The nearest key, or all of them.
        hint: String,
    },
    /// A key whose feature is not there yet.
    #[error("{key} = {given} is not supported by this version; leave the key out or write {default}")]
    Unsupported {
        /// With its table.
        key: String,
        /// The value as written, cut.
        given: String,
        /// The value that is accepted.
        default: String,
    },
    /// Not a value that the key can have.
    #[error("{key} = {given} does not fit: write {expected}")]
    Value {
        /// With its table.
        key: String,
        /// The value as written, cut.
        given: String,
        /// What fits, with the allowed range.
        expected: String,
    },
    /// One of several tables has no name.
    #[error("each [[actor]] needs a `name`, the short name of its kind")]
    Unnamed,
    /// Two tables have the same name.
    #[error("two [[actor]] tables are named {0:?}")]
    Twice(String),
}
