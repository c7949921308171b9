//! `quark:actor/timers`: turns that the actor gives itself, while its instance lives.

use std::time::Duration;

use quark_core::timers::NewTimer;

use crate::bindings::quark::actor::timers;
use crate::guest::{Guest, LOOKS_BACK};
use crate::kind::Hook;

impl timers::Host for Guest {
    /// `start` has no result, so what cannot be started ends the turn.
    fn start(&mut self, name: String, after: u64, every: Option<u64>, payload: Vec<u8>) -> wasmtime::Result<()> {
        if self.kind().hook(Hook::Timer).is_none() {
            return Err(wasmtime::Error::msg(
                "its component exports no `quark:actor/timer-target@0.1.0`, so a timer would call nobody: add `export \
                 quark:actor/timer-target@0.1.0;` to its world and write its `on-timer`",
            ));
        }
        if self.looks_back() {
            return Err(wasmtime::Error::msg(LOOKS_BACK));
        }
        let (after, every) = (Duration::from_millis(after), every.map(Duration::from_millis));
        let timer = NewTimer { name: &name, after, every, payload: &payload };
        let started = self.member.host.start_timer(self.turn.turn, timer);
        started.map_err(|refusal| wasmtime::Error::msg(refusal.to_string()))
    }

    fn stop(&mut self, name: String) -> wasmtime::Result<bool> {
        Ok(self.member.host.stop_timer(&name))
    }
}
