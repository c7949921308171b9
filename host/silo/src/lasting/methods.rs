//! Which methods of an actor are long.

use std::sync::atomic::{AtomicU64, Ordering};

/// So many of those turns must be short in a row before the next one begins with a worker again: long ones may come
/// between others.
const LASTS_FOR: u64 = 8;

/// Bits of the count.
const COUNT: u32 = 4;
const METHODS: usize = (u64::BITS - COUNT) as usize;

/// Whose turns lasted lately, of one actor's methods: the next ones begin where such turns run. Quick methods of the
/// same actor stay with the workers.
#[derive(Default)]
pub(crate) struct LongMethods {
    /// A bit for each method, above how many of their turns may still be short. Some share a bit, and count as one.
    bits: AtomicU64,
}

impl LongMethods {
    /// Whether a turn of that method begins there.
    pub(crate) fn has(&self, method: usize) -> bool {
        self.bits.load(Ordering::Relaxed) & bit(method) != 0
    }

    /// A turn of that method is over.
    pub(crate) fn ended(&self, method: usize, lasted: bool) {
        let bits = self.bits.load(Ordering::Relaxed);
        let (methods, left) = (bits >> COUNT << COUNT, bits - (bits >> COUNT << COUNT));
        let bits = match (lasted, methods & bit(method) != 0) {
            (true, _) => methods | bit(method) | LASTS_FOR,
            (false, true) if left > 1 => methods | (left - 1),
            (false, true) => 0,
            (false, false) => return,
        };
        self.bits.store(bits, Ordering::Relaxed);
    }
}

const fn bit(method: usize) -> u64 {
    1 << (method % METHODS) << COUNT
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_method_is_long_until_its_turns_were_short_often_enough() {
        let methods = LongMethods::default();
        methods.ended(3, false);
        assert!(!methods.has(3));
        methods.ended(3, true);
        for _ in 0..100 {
            methods.ended(2, false);
        }
        assert!(methods.has(3) && !methods.has(2));
        for _ in 1..LASTS_FOR {
            methods.ended(3, false);
            assert!(methods.has(3));
        }
        methods.ended(3, false);
        assert!(!methods.has(3));
    }

    #[test]
    fn several_methods_are_long_at_once_whatever_their_numbers() {
        let methods = LongMethods::default();
        for method in [0, METHODS - 1, usize::MAX] {
            methods.ended(method, true);
            assert!(methods.has(method));
        }
        assert!(!methods.has(1));
    }
}
