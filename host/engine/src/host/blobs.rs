//! `quark:actor/blobs`: bytes by handle.

use bytes::Bytes;
use wasmtime::component::Resource;

use crate::bindings::quark::actor::blobs;
use crate::guest::Guest;

/// The bytes behind a guest's handle; cloned without a copy.
#[derive(Clone, Debug)]
#[expect(unreachable_pub, reason = "the generated bindings name it in public places")]
pub struct Blob(pub(crate) Bytes);

/// The most bytes that one `read` copies into the guest.
const READ_BYTES_MAX: u64 = 64 << 20;

impl blobs::Host for Guest {}

impl blobs::HostBlob for Guest {
    fn new(&mut self, bytes: Vec<u8>) -> wasmtime::Result<Resource<Blob>> {
        Ok(self.table.push(Blob(bytes.into()))?)
    }

    fn size(&mut self, this: Resource<Blob>) -> wasmtime::Result<u64> {
        Ok(self.table.get(&this)?.0.len() as u64)
    }

    /// What there is of the range: less than `len` at the end, nothing behind it.
    fn read(&mut self, this: Resource<Blob>, offset: u64, len: u64) -> wasmtime::Result<Vec<u8>> {
        let bytes = &self.table.get(&this)?.0;
        let start = usize::try_from(offset).unwrap_or(usize::MAX).min(bytes.len());
        let len = usize::try_from(len.min(READ_BYTES_MAX)).unwrap_or(usize::MAX);
        let end = start.saturating_add(len).min(bytes.len());
        Ok(bytes.slice(start..end).to_vec())
    }

    fn drop(&mut self, this: Resource<Blob>) -> wasmtime::Result<()> {
        self.table.delete(this)?;
        Ok(())
    }
}
