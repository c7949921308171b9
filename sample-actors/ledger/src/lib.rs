//! An account that keeps what happened to it, and is what that made of it.

use quark_sdk::prelude::*;
use serde::{Deserialize, Serialize};

quark_sdk::world!("ledger-actor");

/// How long an event takes by the setting `slow`.
const SLOW_MS: u64 = 1_100;

/// No state of its own is stored: this comes back from the newest snapshot and the events after it.
#[state]
struct Ledger {
    balance: u64,
    lines: u64,
    digest: u64,
}

#[derive(Serialize, Deserialize)]
enum Event {
    Deposited { amount: u64, note: String },
    Withdrawn { amount: u64, note: String },
}

impl Journaled for Ledger {
    type Event = Event;

    fn apply(&mut self, event: &Event) -> Result<(), String> {
        let (name, note, balance) = match event {
            Event::Deposited { amount, note } => ("Deposited", note, self.balance.checked_add(*amount)),
            Event::Withdrawn { amount, note } => ("Withdrawn", note, self.balance.checked_sub(*amount)),
        };
        if context::config("refuse").as_deref() == Some(name) {
            return Err("its settings refuse that".to_owned());
        }
        if context::config("break").as_deref() == Some(name) {
            panic!("its settings break it");
        }
        if context::config("slow").as_deref() == Some(name) {
            let end = context::now().saturating_add(SLOW_MS);
            while context::now() < end {}
        }
        if context::config("tell").as_deref() == Some(name) {
            let other = ActorId { key: "other".to_owned(), ..context::me() };
            quark_sdk::tell(&other, "gift", "[]").map_err(|error| format!("{error:?}"))?;
        }
        self.balance = balance.ok_or("there is no such balance")?;
        self.lines += 1;
        for byte in note.bytes().chain(self.balance.to_le_bytes()) {
            self.digest = (self.digest ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
        }
        Ok(())
    }
}

#[actor]
impl Ledger {
    fn deposit(&mut self, amount: u64, note: String) -> Result<u64, LedgerError> {
        self.record(&Event::Deposited { amount, note })?;
        Ok(self.balance)
    }

    fn withdraw(&mut self, amount: u64, note: String) -> Result<u64, LedgerError> {
        if amount > self.balance {
            return Err(LedgerError::NotEnough(self.balance));
        }
        self.record(&Event::Withdrawn { amount, note })?;
        Ok(self.balance)
    }

    fn deposit_often(&mut self, times: u32) -> Result<u64, LedgerError> {
        for _ in 0..times {
            self.record(&Event::Deposited { amount: 1, note: String::new() })?;
        }
        Ok(self.balance)
    }

    fn deposit_and_break(&mut self, amount: u64) -> Result<u64, LedgerError> {
        self.record(&Event::Deposited { amount, note: "never".to_owned() })?;
        panic!("it broke, so nothing was deposited");
    }

    fn sum(&self) -> Result<Sum, LedgerError> {
        Ok(Sum { balance: self.balance, lines: self.lines, digest: self.digest })
    }

    async fn audit(&self, first: u64, limit: u32) -> Result<Vec<Line>, LedgerError> {
        let mut lines = Vec::new();
        for entry in journal::read(first, limit).await? {
            let (amount, note) = match journal::decode(&entry).map_err(StateError::Unavailable)? {
                Event::Deposited { amount, note } => (amount as i64, note),
                Event::Withdrawn { amount, note } => (-(amount as i64), note),
            };
            lines.push(Line { number: entry.sequence, at: entry.at, note, amount });
        }
        Ok(lines)
    }

    fn gift(&mut self) {
        let event = Event::Deposited { amount: 1, note: "gift".to_owned() };
        if let Err(error) = self.record(&event) {
            warn!("a gift is lost: {error:?}");
        }
    }

    fn close_books(&self) -> Result<(), LedgerError> {
        journal::snapshot_soon();
        Ok(())
    }
}
