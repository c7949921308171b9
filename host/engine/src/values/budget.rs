//! What decoded values may take of memory.

use wasmtime::component::Val;

/// The most memory that the values of one message may take: as much as wasmtime itself lifts out of
/// a guest in one call.
pub const MEMORY_MAX: usize = 128 * 1024 * 1024;

/// Counts down what decoded values take. One byte of input can become kilobytes of values (a record of
/// a hundred options, all `none`), so a bound on the input alone is none.
#[derive(Debug)]
pub(super) struct Budget(usize);

/// The values would take more than [`MEMORY_MAX`].
#[derive(Debug)]
pub(super) struct TooMuch;

impl Budget {
    pub(super) const fn new() -> Self {
        Self(MEMORY_MAX)
    }

    /// Takes that many bytes, before they are allocated.
    pub(super) fn charge(&mut self, bytes: usize) -> Result<(), TooMuch> {
        self.0 = self.0.checked_sub(bytes).ok_or(TooMuch)?;
        Ok(())
    }

    /// Takes what a value costs beside what it holds.
    pub(super) fn charge_vals(&mut self, count: usize) -> Result<(), TooMuch> {
        self.charge(count.saturating_mul(size_of::<Val>()))
    }

    /// Takes what a name costs: of a field, a case, a flag.
    pub(super) fn charge_name(&mut self, name: &str) -> Result<(), TooMuch> {
        self.charge(name.len() + size_of::<String>())
    }
}
