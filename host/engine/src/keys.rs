//! What stands for a call where only its likeness counts.

use quark_core::id::ActorId;
use quark_core::idempotency::{Digest, IdempotencyKey};
use sha2::{Digest as _, Sha256};

use crate::kind::Signature;
use crate::values::{ArgumentError, Payload, msgpack};

/// Of a method and its arguments, by its types.
///
/// # Errors
/// When the arguments are not what the method takes.
pub fn digest(signature: &Signature, payload: &Payload) -> Result<Digest, ArgumentError> {
    let arguments = msgpack::encode_message(signature, payload)?;
    Ok(of(&[signature.name.as_bytes(), &arguments]))
}

/// The key of a call that a turn with that key makes: the same whenever the turn runs again, and that of no
/// other call.
#[must_use]
pub fn derived_key(key: &IdempotencyKey, caller: &ActorId, call: u32) -> IdempotencyKey {
    let (kind, actor) = (caller.kind.as_str().as_bytes(), caller.key.as_str().as_bytes());
    IdempotencyKey::derived(&of(&[kind, actor, key.as_str().as_bytes(), &call.to_le_bytes()]))
}

/// Each part behind its length, so that no two lists of parts are alike.
fn of(parts: &[&[u8]]) -> Digest {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update((part.len() as u64).to_le_bytes());
        hash.update(part);
    }
    hash.finalize().into()
}

#[cfg(test)]
mod tests {
    use quark_core::id::{Key, KindName};

    use super::*;

    #[test]
    fn each_call_of_each_caller_has_a_key_of_its_own() {
        let caller = |key: &str| ActorId { kind: KindName::new("t:t/t", "t"), key: Key::parse(key).unwrap() };
        let key = |text: &str| IdempotencyKey::parse(text).unwrap();
        let derived = derived_key(&key("k"), &caller("a"), 1);
        assert_eq!(derived, derived_key(&key("k"), &caller("a"), 1));
        for other in [
            derived_key(&key("k"), &caller("a"), 2),
            derived_key(&key("k"), &caller("b"), 1),
            derived_key(&key("l"), &caller("a"), 1),
            derived_key(&derived, &caller("a"), 1),
            derived_key(&key("ak"), &caller("a"), 1),
        ] {
            assert_ne!(derived, other);
        }
    }
}
