//! Calls actors of other kinds: `?` turns each error into the relay's own.

use std::time::Duration;

use quark_sdk::log::Level;
use quark_sdk::prelude::*;

quark_sdk::world!("relay-actor");

#[state]
struct Relay;

#[actor]
impl Relay {
    async fn increment_on(&self, key: String, by: u64) -> Result<u64, RelayError> {
        Ok(counters::Counter::new(&key).increment(by).await?)
    }

    async fn reset_on(&self, key: String) -> Result<(), RelayError> {
        counters::Counter::new(&key).reset().await;
        Ok(())
    }

    async fn trap_on(&self, key: String) -> Result<(), RelayError> {
        Ok(rogues::Rogue::new(&key).trap("asked to").await?)
    }

    async fn spin_on(&self, key: String, ms: u64, timeout_ms: u64) -> Result<(), RelayError> {
        context::set_timeout(Duration::from_millis(timeout_ms));
        Ok(rogues::Rogue::new(&key).spin_for(ms).await?)
    }

    async fn chain(&self, keys: Vec<String>) -> Result<u32, CallError> {
        match keys.split_first() {
            None => Ok(0),
            Some((next, rest)) => Ok(1 + relays::Relay::new(next).chain(rest).await?),
        }
    }

    async fn chain_after(&self, gate: String, keys: Vec<String>) -> Result<u32, CallError> {
        rogues::Rogue::new(&gate).ping().await?;
        self.chain(keys).await
    }

    async fn until_cancelled(&self, keys: Vec<String>, ms: u64) -> Result<bool, CallError> {
        if let Some((next, rest)) = keys.split_first() {
            return relays::Relay::new(next).until_cancelled(rest, ms).await;
        }
        let end = context::now().saturating_add(ms);
        while context::now() < end {
            if context::cancelled() {
                quark_sdk::log::log(Level::Info, "the caller gave up", &[]);
                return Ok(true);
            }
        }
        Ok(false)
    }

    async fn time_left(&self, keys: Vec<String>) -> Result<Vec<u64>, CallError> {
        let left = context::deadline().map_or(u64::MAX, |deadline| deadline.saturating_sub(context::now()));
        let mut all = vec![left];
        if let Some((next, rest)) = keys.split_first() {
            context::set_timeout(Duration::from_millis(left / 2));
            all.extend(relays::Relay::new(next).time_left(rest).await?);
        }
        Ok(all)
    }

    async fn header_on(&self, key: String, name: String, value: String) -> Result<Option<String>, RelayError> {
        context::set_header(&name, &value);
        Ok(relays::Relay::new(&key).header(&name).await?)
    }

    async fn keys(&self, others: Vec<String>) -> Result<Vec<Option<String>>, CallError> {
        let mut keys = vec![context::idempotency_key()];
        if let Some((next, rest)) = others.split_first() {
            keys.extend(relays::Relay::new(next).keys(rest).await?);
        }
        Ok(keys)
    }

    fn header(&self, name: String) -> Result<Option<String>, CallError> {
        Ok(context::header(&name))
    }
}
