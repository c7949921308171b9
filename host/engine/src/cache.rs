//! Compiled components on disk, by content and engine configuration.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::component::content_hash;
use crate::engine::Engine;
use crate::error::AdmissionError;

/// Bytes of the checksum at the end of each file.
const SUM_BYTES: usize = 32;

/// Where compiled components are kept. Losing it costs compile time and nothing else.
#[derive(Clone, Debug)]
pub struct Cache {
    folder: Option<PathBuf>,
}

impl Cache {
    /// A cache in that folder, which is made when needed. Whoever can write there can run code as
    /// this process: it must belong to the silo alone.
    #[must_use]
    pub fn at(folder: &Path) -> Self {
        Self { folder: Some(folder.into()) }
    }

    /// No cache: every component is compiled anew.
    #[must_use]
    pub const fn none() -> Self {
        Self { folder: None }
    }

    /// The compiled component, and whether it came from the cache.
    pub(crate) fn compile(
        &self,
        engine: &Engine,
        bytes: &[u8],
    ) -> Result<(wasmtime::component::Component, bool), AdmissionError> {
        let file = self
            .folder
            .as_ref()
            .map(|folder| folder.join(format!("{}-{}.cwasm", content_hash(bytes), engine.compatibility())));
        if let Some(component) = file.as_deref().and_then(|file| load(engine, file)) {
            return Ok((component, true));
        }
        let component = wasmtime::component::Component::from_binary(&engine.wasmtime, bytes)
            .map_err(|error| AdmissionError::Compile(format!("{error:#}")))?;
        if let Some(file) = file {
            // A full disk only means that the next start compiles again.
            if let Err(error) = save(&component, &file) {
                tracing::warn!(file = %file.display(), %error, "a compiled component was not cached");
            }
        }
        Ok((component, false))
    }
}

fn load(engine: &Engine, file: &Path) -> Option<wasmtime::component::Component> {
    let bytes = fs::read(file).ok()?;
    let (code, sum) = bytes.split_at_checked(bytes.len().checked_sub(SUM_BYTES)?)?;
    if Sha256::digest(code)[..] != *sum {
        tracing::warn!(file = %file.display(), "a cached component is damaged; compiling it anew");
        return None;
    }
    // SAFETY: the file is in the silo's own folder, was written by `save`, and is whole by its sum;
    // wasmtime checks that it is of this version and configuration.
    #[expect(unsafe_code, reason = "loading precompiled code has no safe form")]
    let component = unsafe { wasmtime::component::Component::deserialize(&engine.wasmtime, code) };
    component.ok()
}

fn save(component: &wasmtime::component::Component, file: &Path) -> Result<(), String> {
    let code = component.serialize().map_err(|error| format!("{error:#}"))?;
    let write = || -> std::io::Result<()> {
        if let Some(folder) = file.parent() {
            fs::create_dir_all(folder)?;
        }
        let half = file.with_extension(format!("{}.half", std::process::id()));
        let mut out = fs::File::create(&half)?;
        out.write_all(&code)?;
        out.write_all(&Sha256::digest(&code))?;
        out.sync_all()?;
        fs::rename(&half, file)
    };
    write().map_err(|error| error.to_string())
}
