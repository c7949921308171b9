//! `KIND/KEY` on the command line, and as a path.

use std::fmt::{self, Write as _};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use quark_core::id::split_address;

/// What stays as it is in one part of a path.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'~').remove(b'.');

/// An actor as a user names it: the kind short or full.
#[derive(Clone, Debug)]
pub(crate) struct Address {
    kind: String,
    key: String,
}

impl Address {
    /// Reads `KIND/KEY`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (kind, key) = split_address(text).map_err(|error| error.to_string())?;
        Ok(Self { kind: kind.to_owned(), key: key.as_str().to_owned() })
    }

    /// The kind as it was written.
    pub(crate) fn kind(&self) -> &str {
        &self.kind
    }

    /// The actor's path with more parts behind it.
    pub(crate) fn path(&self, more: &[&str]) -> String {
        self.path_below("/v1/actors", more)
    }

    /// The same where another list of actors begins.
    pub(crate) fn path_below(&self, list: &str, more: &[&str]) -> String {
        let mut path = list.to_owned();
        for part in [self.kind.as_str(), self.key.as_str()].iter().chain(more) {
            let _ = write!(path, "/{}", encoded(part));
        }
        path
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}

/// A name that is to be a part of a path: without it that would be another path.
pub(crate) fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("the name is empty".to_owned()) } else { Ok(text.to_owned()) }
}

/// One part of a path, or a value of a query. Dots alone would mean a folder to some readers.
pub(crate) fn encoded(part: &str) -> String {
    match part {
        "." => "%2E".to_owned(),
        ".." => "%2E%2E".to_owned(),
        part => utf8_percent_encode(part, KEPT).to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_become_paths() {
        let path = |text: &str, more: &[&str]| Address::parse(text).map(|address| address.path(more));
        assert_eq!(path("counter/alice", &["value"]).as_deref(), Ok("/v1/actors/counter/alice/value"));
        assert_eq!(
            path("s:c/cs#counter/a/b #%é", &["-", "state", "x y"]).as_deref(),
            Ok("/v1/actors/s%3Ac%2Fcs%23counter/a%2Fb%20%23%25%C3%A9/-/state/x%20y")
        );
        assert_eq!(path("c/..", &[]).as_deref(), Ok("/v1/actors/c/%2E%2E"));
        assert!(path("counter", &[]).is_err_and(|error| error.contains("KIND/KEY")));
    }
}
