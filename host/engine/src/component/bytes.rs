//! What was uploaded: whether it is whole, and what it says of itself.

use sha2::{Digest, Sha256};

use super::packages;
use crate::engine::Flavour;
use crate::error::AdmissionError;

/// The custom section in which a component carries its own manifest.
const MANIFEST_SECTION: &str = "quark:manifest";
/// The custom section in which it carries its interfaces as an encoded WIT package, for the comments.
const WIT_SECTION: &str = "quark:wit";

/// The most exports of a component: far more interfaces than it may have kinds.
const EXPORTS_MAX: usize = 1000;

/// SHA-256 of a component's bytes, hexadecimal: what deployments are known by.
#[must_use]
pub fn content_hash(bytes: &[u8]) -> String {
    Sha256::digest(bytes).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn check_magic(bytes: &[u8]) -> Result<(), AdmissionError> {
    if bytes.starts_with(b"\0asm") {
        return Ok(());
    }
    let start: String = bytes.iter().take(8).map(|byte| format!(" {byte:02x}")).collect();
    Err(AdmissionError::NotWasm(if bytes.is_empty() { "nothing, it is empty".into() } else { format!("bytes{start}") }))
}

pub(super) fn damaged(error: wasmparser::BinaryReaderError) -> AdmissionError {
    let (message, at) = (error.message(), error.offset());
    if message.starts_with("string size out of bounds") {
        return AdmissionError::TooMuch(format!("a name in it, at byte {at}, is longer than WebAssembly allows"));
    }
    AdmissionError::Damaged(format!("{} (at byte {at})", message.lines().next().unwrap_or_default()))
}

/// Makes a component of what was uploaded: a component stays as it is, a core module with WIT
/// metadata is wrapped.
pub(super) fn componentize(bytes: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, AdmissionError> {
    check_magic(bytes)?;
    if wasmparser::Parser::is_component(bytes) {
        return Ok(bytes.into());
    }
    let mut metadata = Vec::new();
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        if let wasmparser::Payload::CustomSection(section) = payload.map_err(damaged)? {
            metadata.extend(section.name().starts_with("component-type").then(|| section.data()));
        }
    }
    if metadata.is_empty() {
        return Err(AdmissionError::NoMetadata);
    }
    let encode = || {
        let encoder = wit_component::ComponentEncoder::default().validate(true);
        encoder.module(bytes).and_then(|mut encoder| encoder.encode())
    };
    metadata.into_iter().try_for_each(packages::check).map_err(AdmissionError::Encode)?;
    let encoded = packages::guarded(|| encode().map_err(|error| format!("{error:#}"))).and_then(|encoded| encoded);
    encoded.map(Into::into).map_err(AdmissionError::Encode)
}

/// Checks that it is whole and within bounds; what its functions are written as. Whatever needs the
/// component model's `async` counts as `async func`.
pub(super) fn validate(component: &[u8]) -> Result<Flavour, AdmissionError> {
    use wasmparser::{Validator, WasmFeatures};
    let exports = exports(component)?;
    if exports > EXPORTS_MAX {
        return Err(AdmissionError::TooMuch(format!("{exports} exports; at most {EXPORTS_MAX} are allowed")));
    }
    // Most are plain, and validated once.
    let features = WasmFeatures::all() - WasmFeatures::CM_ASYNC;
    if Validator::new_with_features(features).validate_all(component).is_ok() {
        return Ok(Flavour::Plain);
    }
    Validator::new_with_features(WasmFeatures::all()).validate_all(component).map_err(damaged)?;
    Ok(Flavour::Async)
}

/// How much a component exports itself, not those nested in it.
fn exports(component: &[u8]) -> Result<usize, AdmissionError> {
    use wasmparser::Payload;
    let (mut depth, mut exports) = (0, 0);
    for payload in wasmparser::Parser::new(0).parse_all(component) {
        #[expect(clippy::wildcard_enum_match_arm, reason = "only nesting and exports are looked at")]
        match payload.map_err(damaged)? {
            Payload::Version { .. } => depth += 1,
            Payload::End(_) => depth -= 1,
            Payload::ComponentExportSection(section) if depth == 1 => exports += section.count() as usize,
            _ => {}
        }
    }
    Ok(exports)
}

/// Bytes that its core modules bring into memory at their start, which each dense instance has a copy
/// of.
pub(super) fn data_bytes(component: &[u8]) -> u64 {
    let data = |payload| match payload {
        Ok(wasmparser::Payload::DataSection(section)) => (section.range().end - section.range().start) as u64,
        Ok(_) | Err(_) => 0,
    };
    wasmparser::Parser::new(0).parse_all(component).map(data).sum()
}

/// The manifest that a component carries, if it carries one.
///
/// # Errors
/// When the bytes are damaged.
pub fn embedded_manifest(bytes: &[u8]) -> Result<Option<String>, AdmissionError> {
    check_magic(bytes)?;
    Ok(section(bytes, MANIFEST_SECTION)?.map(|data| String::from_utf8_lossy(data).into_owned()))
}

/// The WIT with its comments that a component carries, if it carries one that can be read: comments
/// refuse nothing.
pub(super) fn embedded_wit(bytes: &[u8]) -> Option<wit_parser::Resolve> {
    let package = section(bytes, WIT_SECTION).ok()??;
    packages::check(package).ok()?;
    match packages::guarded(|| wit_component::decode(package)).ok()? {
        Ok(wit_component::DecodedWasm::WitPackage(resolve, _)) => Some(resolve),
        Ok(wit_component::DecodedWasm::Component(..)) | Err(_) => None,
    }
}

/// The last custom section of that name, wherever in it.
fn section<'a>(bytes: &'a [u8], name: &str) -> Result<Option<&'a [u8]>, AdmissionError> {
    let mut found = None;
    for payload in wasmparser::Parser::new(0).parse_all(bytes) {
        if let wasmparser::Payload::CustomSection(section) = payload.map_err(damaged)?
            && section.name() == name
        {
            found = Some(section.data());
        }
    }
    Ok(found)
}
