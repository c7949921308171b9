//! Memory and tables of one instance.

use wasmtime::ResourceLimiter;

/// Refuses growth over an instance's limits, and remembers that it did: a guest that cannot grow
/// usually traps a moment later, and then the limit is the reason worth telling.
#[derive(Debug)]
pub(crate) struct Limiter {
    memory_max: usize,
    memory: usize,
    elements_max: usize,
    elements: usize,
    pub(crate) refused: Option<String>,
}

/// Core instances, memories and tables in one Store.
const PARTS_MAX: usize = 64;

impl Limiter {
    pub(crate) const fn new(memory_max: usize, elements_max: usize) -> Self {
        Self { memory_max, memory: 0, elements_max, elements: 0, refused: None }
    }
}

impl ResourceLimiter for Limiter {
    fn memory_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let all = self.memory - current.min(self.memory) + desired;
        if all > self.memory_max {
            self.refused = Some(format!("its memory limit of {} bytes refused {all}", self.memory_max));
            return Ok(false);
        }
        self.memory = all;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _max: Option<usize>) -> wasmtime::Result<bool> {
        let all = self.elements - current.min(self.elements) + desired;
        if all > self.elements_max {
            self.refused = Some(format!("its limit of {} table elements refused {all}", self.elements_max));
            return Ok(false);
        }
        self.elements = all;
        Ok(true)
    }

    fn instances(&self) -> usize {
        PARTS_MAX
    }

    fn tables(&self) -> usize {
        PARTS_MAX
    }

    fn memories(&self) -> usize {
        PARTS_MAX
    }
}
