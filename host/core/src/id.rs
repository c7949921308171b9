//! Names of things: kinds, keys, actors.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The longest key, in bytes of UTF-8.
pub const KEY_BYTES_MAX: usize = 512;
/// The longest kind name, in bytes of UTF-8.
pub const KIND_BYTES_MAX: usize = 512;

/// Why a text does not name an actor. Nothing was done.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text has no `/` between kind and key.
    #[error("`{0}` does not name an actor: write KIND/KEY, for example counter/alice")]
    NoSlash(String),
    /// The kind part is empty.
    #[error("the kind is empty: write KIND/KEY, for example counter/alice")]
    EmptyKind,
    /// The kind part is over [`KIND_BYTES_MAX`].
    #[error("the kind is {0} bytes long; at most {KIND_BYTES_MAX} are allowed")]
    KindTooLong(usize),
    /// The key part is empty.
    #[error("the key is empty: a key is 1 to {KEY_BYTES_MAX} bytes of UTF-8")]
    EmptyKey,
    /// The key part is over [`KEY_BYTES_MAX`].
    #[error("the key is {0} bytes long; at most {KEY_BYTES_MAX} are allowed")]
    KeyTooLong(usize),
}

/// The full name of a kind: the interface without its version, then the resource,
/// for example `sample:counter/counters#counter`.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct KindName(Arc<str>);

impl KindName {
    /// A kind from its interface (without version) and its resource.
    #[must_use]
    pub fn new(interface: &str, resource: &str) -> Self {
        Self(format!("{interface}#{resource}").into())
    }

    /// A kind from its full name.
    ///
    /// # Errors
    /// When the name is empty or over [`KIND_BYTES_MAX`].
    pub fn parse(name: &str) -> Result<Self, IdError> {
        match name.len() {
            0 => Err(IdError::EmptyKind),
            1..=KIND_BYTES_MAX => Ok(Self(name.into())),
            long => Err(IdError::KindTooLong(long)),
        }
    }

    /// The full name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The resource's name alone: `counter`.
    #[must_use]
    pub fn short(&self) -> &str {
        self.0.rsplit('#').next().unwrap_or(&self.0)
    }
}

/// What tells the actors of one kind apart: 1 to [`KEY_BYTES_MAX`] bytes of UTF-8.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Key(Arc<str>);

impl Key {
    /// A key from its text.
    ///
    /// # Errors
    /// When the text is empty or too long.
    pub fn parse(key: &str) -> Result<Self, IdError> {
        match key.len() {
            0 => Err(IdError::EmptyKey),
            1..=KEY_BYTES_MAX => Ok(Self(key.into())),
            long => Err(IdError::KeyTooLong(long)),
        }
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

macro_rules! text {
    ($name:ident) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&*self.0, f)
            }
        }

        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
                to.serialize_str(&self.0)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
                let text = String::deserialize(from)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }
    };
}
text!(KindName);
text!(Key);

/// Names one actor for ever, awake or not.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ActorId {
    /// What it is.
    pub kind: KindName,
    /// Which one it is.
    pub key: Key,
}

impl fmt::Display for ActorId {
    /// Prints the short form, `counter/alice`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind.short(), self.key)
    }
}

impl fmt::Debug for ActorId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.kind, self.key)
    }
}

/// Splits `KIND/KEY` into the kind as written (short or full) and the key: after `#name/` if there
/// is a `#` before a `/` that follows it, else at the first `/`.
///
/// # Errors
/// When either part is missing or too long.
pub fn split_address(text: &str) -> Result<(&str, Key), IdError> {
    // Only a full name has a `:` before its first `/`; its kind ends behind the `#`. A `#` in the
    // key of a short name (`counter/a#b/c`) must not decide.
    let first = text.find('/').unwrap_or(text.len());
    let from = if text[..first].contains(':') { text.find('#').unwrap_or(0) } else { 0 };
    let Some(slash) = text[from..].find('/').map(|at| at + from) else {
        return Err(IdError::NoSlash(text.chars().take(80).collect()));
    };
    let (kind, key) = (&text[..slash], &text[slash + 1..]);
    match kind.len() {
        0 => Err(IdError::EmptyKind),
        1..=KIND_BYTES_MAX => Ok((kind, Key::parse(key)?)),
        long => Err(IdError::KindTooLong(long)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expect: Result<(&str, &str), IdError>) {
        let got = split_address(text);
        let got = got.as_ref().map(|(kind, key)| (*kind, key.as_str())).map_err(Clone::clone);
        assert_eq!(got, expect);
    }

    #[test]
    fn addresses_split_where_the_kind_ends() {
        check("counter/alice", Ok(("counter", "alice")));
        check("counter/a/b", Ok(("counter", "a/b")));
        check("counter/a#b/c", Ok(("counter", "a#b/c")));
        check("counter/urn:x/y#b/c", Ok(("counter", "urn:x/y#b/c")));
        check("s:c/cs#counter/alice", Ok(("s:c/cs#counter", "alice")));
        check("s:c/cs#counter/a#b/c", Ok(("s:c/cs#counter", "a#b/c")));
        check("counter/50% off", Ok(("counter", "50% off")));
        check("counter", Err(IdError::NoSlash("counter".into())));
        check("counter/", Err(IdError::EmptyKey));
        check("/alice", Err(IdError::EmptyKind));
        check(&format!("c/{}", "k".repeat(513)), Err(IdError::KeyTooLong(513)));
    }
}
