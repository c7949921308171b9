//! Counts. The count is the actor's durable state.

use quark_sdk::prelude::*;

quark_sdk::world!("counter-actor");

#[state]
struct Counter {
    count: u64,
}

#[actor]
impl Counter {
    fn increment(&mut self, by: u64) -> Result<u64, CounterError> {
        self.count = self.count.checked_add(by).ok_or(CounterError::Overflow)?;
        Ok(self.count)
    }

    fn value(&self) -> Result<u64, CounterError> {
        Ok(self.count)
    }

    fn reset(&mut self) {
        self.count = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_until_it_is_full() {
        let mut counter = Counter::default();
        assert!(matches!(counter.increment(5), Ok(5)));
        assert!(matches!(counter.increment(u64::MAX), Err(CounterError::Overflow)));
        assert!(matches!(counter.value(), Ok(5)));
    }
}
