//! The key by which a repeat of a call is known.

use std::fmt;
use std::sync::Arc;

/// The longest idempotency key, in bytes.
pub const IDEMPOTENCY_KEY_BYTES_MAX: usize = 200;
/// How the keys begin that Quark derives; nobody else may give such a one.
const DERIVED: char = '~';

/// A fixed-length stand-in for a method and its arguments: equal ones mean the same call.
pub type Digest = [u8; 32];

/// Names one call of one actor, however often it is repeated: 1 to [`IDEMPOTENCY_KEY_BYTES_MAX`] visible ASCII
/// characters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct IdempotencyKey(Arc<str>);

/// Why a text is no idempotency key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadKey {
    /// It has no characters.
    #[error("an idempotency key is not empty")]
    Empty,
    /// It has too many.
    #[error("an idempotency key has at most {IDEMPOTENCY_KEY_BYTES_MAX} characters, this one has {0} bytes")]
    TooLong(usize),
    /// It has others than visible ASCII.
    #[error("an idempotency key has visible ASCII characters only, and no spaces")]
    Characters,
    /// It begins as those that Quark derives.
    #[error("an idempotency key that begins with `{DERIVED}` is one that Quark derives for the calls of a turn")]
    Derived,
}

impl IdempotencyKey {
    /// The key that a client wrote.
    ///
    /// # Errors
    /// When it is none.
    pub fn parse(text: &str) -> Result<Self, BadKey> {
        match text.len() {
            0 => Err(BadKey::Empty),
            1..=IDEMPOTENCY_KEY_BYTES_MAX if !text.bytes().all(|byte| byte.is_ascii_graphic()) => {
                Err(BadKey::Characters)
            }
            1..=IDEMPOTENCY_KEY_BYTES_MAX if text.starts_with(DERIVED) => Err(BadKey::Derived),
            1..=IDEMPOTENCY_KEY_BYTES_MAX => Ok(Self(text.into())),
            bytes => Err(BadKey::TooLong(bytes)),
        }
    }

    /// The key of a call that a turn with a key makes, by a digest of who makes it, for which key, and the how
    /// manieth call of that turn it is.
    #[must_use]
    pub fn derived(digest: &Digest) -> Self {
        let mut text = String::with_capacity(1 + 2 * digest.len());
        text.push(DERIVED);
        for byte in digest {
            for digit in [byte >> 4, byte & 0xf] {
                text.extend(char::from_digit(digit.into(), 16));
            }
        }
        Self(text.into())
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The same, shared.
    pub(crate) const fn text(&self) -> &Arc<str> {
        &self.0
    }
}

impl fmt::Display for IdempotencyKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What makes a call one that has its effect once.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keyed {
    /// The same for each repeat.
    pub key: IdempotencyKey,
    /// Of the method and its arguments: a repeat has the same.
    pub digest: Digest,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_bounded_and_visible() {
        let longest = "k".repeat(IDEMPOTENCY_KEY_BYTES_MAX);
        for good in ["a", "8e03978e-40d5-43dd-bc93-6894a57f9324", "a/b:c~\"d\"", &longest] {
            assert_eq!(IdempotencyKey::parse(good).unwrap().as_str(), good);
        }
        for (bad, why) in [
            ("", BadKey::Empty),
            ("a b", BadKey::Characters),
            ("é", BadKey::Characters),
            ("a\n", BadKey::Characters),
            ("~a", BadKey::Derived),
        ] {
            assert_eq!(IdempotencyKey::parse(bad), Err(why), "{bad:?}");
        }
        assert_eq!(IdempotencyKey::parse(&(longest + "k")), Err(BadKey::TooLong(IDEMPOTENCY_KEY_BYTES_MAX + 1)));
    }

    #[test]
    fn a_derived_key_is_nobody_elses() {
        let mut digest = [0; 32];
        digest[1] = 0xa7;
        let derived = IdempotencyKey::derived(&digest);
        assert!(derived.as_str().starts_with("~00a7000") && derived.as_str().len() == 65, "{derived}");
        assert_eq!(IdempotencyKey::parse(derived.as_str()), Err(BadKey::Derived));
    }
}
