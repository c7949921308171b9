//! Memories and stacks of dense instances, side by side in two large mappings.
//!
//! Linux gives a process some 65,000 mappings, and every change of protection inside one splits it.
//! So memories take none: their mapping can be read and written from end to end, and what keeps a
//! guest in its slot is the code compiled for it, which compares every address with the memory's
//! length (no reservation and no guard are promised to the compiler, so nothing is left to faults).
//! A stack takes two, since host code runs on it too: itself, and the guard below it.
#![expect(unsafe_code, reason = "wasmtime takes memory and stacks from its embedder by unsafe traits")]

use std::ffi::c_void;
use std::io;
use std::ops::Range;
use std::ptr::NonNull;
use std::sync::Arc;

use parking_lot::Mutex;
use rustix::mm::{Advice, MapFlags, MprotectFlags, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};
use wasmtime::{LinearMemory, MemoryCreator, MemoryType, StackCreator, StackMemory};

/// Bytes below a stack that end the process rather than let it overrun; a multiple of all page sizes.
const GUARD_BYTES: usize = 64 * 1024;
/// Bytes at a stack's top that stay resident for the next one.
const STACK_WARM_BYTES: usize = 16 * 1024;
/// Free stacks that keep their guard, which is two mappings: most come and go.
pub(crate) const STACKS_WARM_MAX: usize = 256;
/// What a guest's instance fails with when no slot is free.
pub(crate) const FULL: &str = "all slots of the dense profile are taken";

/// Slots of one size in one mapping.
struct Slab {
    base: NonNull<c_void>,
    slot_bytes: usize,
    slots: usize,
    free: Mutex<Free>,
}

#[derive(Default)]
struct Free {
    /// All from here on have never been used.
    fresh: usize,
    used: Vec<u32>,
    /// Free stacks with their guard in place.
    warm: Vec<u32>,
}

// SAFETY: it is address space; who may touch what of it is settled by slots.
unsafe impl Send for Slab {}
// SAFETY: as above.
unsafe impl Sync for Slab {}

impl Slab {
    fn new(slot_bytes: usize, slots: usize) -> io::Result<Arc<Self>> {
        let bytes = slot_bytes.checked_mul(slots).ok_or(io::ErrorKind::OutOfMemory)?;
        let flags = MapFlags::PRIVATE | MapFlags::NORESERVE;
        // SAFETY: a new mapping where the kernel likes; it replaces none.
        let base = unsafe { mmap_anonymous(std::ptr::null_mut(), bytes, ProtFlags::READ | ProtFlags::WRITE, flags)? };
        let base = NonNull::new(base).ok_or(io::ErrorKind::OutOfMemory)?;
        let slab = Self { base, slot_bytes, slots, free: Mutex::default() };
        // A huge page would make the first touch of a slot resident for its neighbours too. Kernels
        // without huge pages do not know the advice.
        // SAFETY: the whole of the mapping above.
        let _ = unsafe { madvise(base.as_ptr(), bytes, Advice::LinuxNoHugepage) };
        Ok(Arc::new(slab))
    }

    /// A free slot, and whether it is a warm one.
    fn take(&self) -> Option<(u32, bool)> {
        let mut free = self.free.lock();
        if let Some(warm) = free.warm.pop() {
            return Some((warm, true));
        }
        if let Some(used) = free.used.pop() {
            return Some((used, false));
        }
        let fresh = u32::try_from(free.fresh).ok().filter(|_| free.fresh < self.slots)?;
        free.fresh += 1;
        Some((fresh, false))
    }

    fn address(&self, slot: u32) -> *mut u8 {
        self.base.as_ptr().cast::<u8>().wrapping_add(self.slot_bytes * slot as usize)
    }
}

impl Drop for Slab {
    fn drop(&mut self) {
        // SAFETY: every slot holds the slab, so none is left.
        let _ = unsafe { munmap(self.base.as_ptr(), self.slot_bytes * self.slots) };
    }
}

/// Makes memories of an engine.
pub(crate) struct Memories(Arc<Slab>);

impl Memories {
    pub(crate) fn new(slot_bytes: usize, slots: usize) -> io::Result<Self> {
        Ok(Self(Slab::new(slot_bytes, slots)?))
    }
}

// SAFETY: a memory is the only one in its slot, zero at first, and never moves. Promises of reserved
// bytes and guards, which it does not keep, are refused.
unsafe impl MemoryCreator for Memories {
    fn new_memory(
        &self,
        ty: MemoryType,
        minimum: usize,
        _maximum: Option<usize>,
        reserved: Option<usize>,
        guard: usize,
    ) -> Result<Box<dyn LinearMemory>, String> {
        if reserved.is_some_and(|bytes| bytes > 0) || guard > 0 || ty.is_shared() {
            return Err("a dense memory has no reservation, no guard, and is not shared".into());
        }
        if minimum > self.0.slot_bytes {
            return Err(format!("a memory of {minimum} bytes does not fit a slot of {}", self.0.slot_bytes));
        }
        let (slot, _) = self.0.take().ok_or(FULL)?;
        Ok(Box::new(Memory { slab: self.0.clone(), slot, bytes: minimum }))
    }
}

struct Memory {
    slab: Arc<Slab>,
    slot: u32,
    bytes: usize,
}

// SAFETY: the slot can be read and written as a whole, and beyond `bytes` nobody has touched it.
unsafe impl LinearMemory for Memory {
    fn byte_size(&self) -> usize {
        self.bytes
    }

    fn byte_capacity(&self) -> usize {
        self.slab.slot_bytes
    }

    fn grow_to(&mut self, bytes: usize) -> wasmtime::Result<()> {
        if bytes > self.slab.slot_bytes {
            return Err(wasmtime::Error::msg("a dense memory cannot outgrow its slot"));
        }
        self.bytes = bytes;
        Ok(())
    }

    fn as_ptr(&self) -> *mut u8 {
        self.slab.address(self.slot)
    }
}

impl Drop for Memory {
    fn drop(&mut self) {
        // SAFETY: what this memory used of its slot, and nobody uses any more.
        let zeroed = unsafe { madvise(self.as_ptr().cast(), self.bytes, Advice::LinuxDontNeed) };
        // A slot that may still hold somebody's bytes is given to nobody.
        if zeroed.is_ok() {
            self.slab.free.lock().used.push(self.slot);
        }
    }
}

/// Makes stacks of an engine.
pub(crate) struct Stacks {
    slab: Arc<Slab>,
    stack_bytes: usize,
}

impl Stacks {
    pub(crate) fn new(stack_bytes: usize, stacks: usize) -> io::Result<Self> {
        Ok(Self { slab: Slab::new(GUARD_BYTES + stack_bytes, stacks)?, stack_bytes })
    }
}

// SAFETY: a stack is the only one in its slot, with a guard below it while it lives.
unsafe impl StackCreator for Stacks {
    fn new_stack(&self, bytes: usize, zeroed: bool) -> wasmtime::Result<Box<dyn StackMemory>> {
        if bytes != self.stack_bytes || zeroed {
            return Err(wasmtime::Error::msg("dense stacks have one size, and are not zeroed"));
        }
        let (slot, warm) = self.slab.take().ok_or_else(|| wasmtime::Error::msg(FULL))?;
        if !warm && let Err(error) = guard(&self.slab, slot, MprotectFlags::empty()) {
            self.slab.free.lock().used.push(slot);
            return Err(wasmtime::Error::msg(format!("no guard below a stack: {error}")));
        }
        Ok(Box::new(Stack { slab: self.slab.clone(), slot }))
    }
}

struct Stack {
    slab: Arc<Slab>,
    slot: u32,
}

/// Says who may touch the guard of a slot.
fn guard(slab: &Slab, slot: u32, flags: MprotectFlags) -> rustix::io::Result<()> {
    // SAFETY: nothing is ever kept there.
    unsafe { mprotect(slab.address(slot).cast(), GUARD_BYTES, flags) }
}

impl Stack {
    fn bottom(&self) -> *mut u8 {
        self.slab.address(self.slot)
    }
}

// SAFETY: the range is this stack's own; all sizes are multiples of a page.
unsafe impl StackMemory for Stack {
    fn top(&self) -> *mut u8 {
        self.bottom().wrapping_add(self.slab.slot_bytes)
    }

    fn range(&self) -> Range<usize> {
        self.bottom().addr() + GUARD_BYTES..self.top().addr()
    }

    fn guard_range(&self) -> Range<*mut u8> {
        self.bottom()..self.bottom().wrapping_add(GUARD_BYTES)
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        let cold = self.slab.slot_bytes - GUARD_BYTES - STACK_WARM_BYTES;
        // SAFETY: of this stack, on which nothing runs any more. What stays resident is only memory.
        let _ = unsafe { madvise(self.bottom().wrapping_add(GUARD_BYTES).cast(), cold, Advice::LinuxDontNeed) };
        let mut free = self.slab.free.lock();
        if free.warm.len() < STACKS_WARM_MAX {
            return free.warm.push(self.slot);
        }
        drop(free);
        // SAFETY: as above.
        let _ = unsafe {
            let top = self.top().wrapping_sub(STACK_WARM_BYTES);
            madvise(top.cast(), STACK_WARM_BYTES, Advice::LinuxDontNeed)
        };
        // Where this fails the guard stays, and its two mappings are taken a little longer.
        let _ = guard(&self.slab, self.slot, MprotectFlags::READ | MprotectFlags::WRITE);
        self.slab.free.lock().used.push(self.slot);
    }
}
