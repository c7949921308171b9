//! `quark:actor/log`.

use crate::bindings::quark::actor::log;
use crate::guest::Guest;

/// The longest message that one line keeps.
const MESSAGE_BYTES_MAX: usize = 8 * 1024;
/// The most fields that one line keeps.
const FIELDS_MAX: usize = 32;

/// How much a line matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// Every step.
    Trace,
    /// For whoever looks for a mistake.
    Debug,
    /// The ordinary course.
    Info,
    /// Deserves a look.
    Warn,
    /// Something failed.
    Error,
}

impl log::Host for Guest {
    fn log(&mut self, level: log::Level, mut message: String, fields: Vec<(String, String)>) -> wasmtime::Result<()> {
        let level = match level {
            log::Level::Trace => Level::Trace,
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        cut(&mut message, MESSAGE_BYTES_MAX);
        for (name, value) in fields.into_iter().take(FIELDS_MAX) {
            message.push_str(&format!(" {name}={value:?}"));
            cut(&mut message, MESSAGE_BYTES_MAX);
        }
        // Where there is no stderr, a panic's message comes this way just before the trap.
        if level == Level::Error {
            self.lines.note(&message);
        }
        self.member.host.log(level, &message);
        Ok(())
    }
}

/// Shortens a text to at most that many bytes, at a character's edge.
pub(crate) fn cut(text: &mut String, bytes: usize) {
    if text.len() > bytes {
        let end = (0..=bytes).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
        text.truncate(end);
    }
}
