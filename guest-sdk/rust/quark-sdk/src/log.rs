//! Lines for the silo's log, which adds the actor, the turn and the time: [`crate::debug!`],
//! [`crate::info!`], [`crate::warn!`], [`crate::error!`], with the arguments of `format!`.

pub use crate::wit::log::Level;

/// A line with fields that tools can search for.
pub fn log(level: Level, message: &str, fields: &[(&str, &str)]) {
    let fields: Vec<_> = fields.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    crate::wit::log::log(level, message, &fields);
}

/// Logs a line at level debug.
#[macro_export]
macro_rules! debug {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Debug, &::std::format!($($message)+), &[]) };
}

/// Logs a line at level info.
#[macro_export]
macro_rules! info {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Info, &::std::format!($($message)+), &[]) };
}

/// Logs a line at level warn.
#[macro_export]
macro_rules! warn {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Warn, &::std::format!($($message)+), &[]) };
}

/// Logs a line at level error.
#[macro_export]
macro_rules! error {
    ($($message:tt)+) => { $crate::log::log($crate::log::Level::Error, &::std::format!($($message)+), &[]) };
}
