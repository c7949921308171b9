//! One flavour for a component: all of it plain `func`, or all of it `async func`.

use crate::component::{Journaled, Lifecycle};
use crate::error::AdmissionError;
use crate::imports::Imports;
use crate::kind::{Hooks, Kind};

/// Refuses a component that mixes both: a plain `func` cannot wait for an `async func`, and a turn
/// that waits in a plain one holds up all others of its instance. Tells that it imports never wait,
/// and may be either.
pub(super) fn check(
    kinds: &[Kind],
    (lifecycle, journaled): (Option<&Lifecycle>, Option<&Journaled>),
    hooks: &Hooks,
    imports: &Imports,
) -> Result<(), AdmissionError> {
    let (mut plain, mut asynchronous) = (None, None);
    let mut note = |name: &dyn Fn() -> String, is_async: bool| {
        let place = if is_async { &mut asynchronous } else { &mut plain };
        if place.is_none() {
            *place = Some(name());
        }
    };
    for kind in kinds {
        for method in &kind.methods {
            let name = &method.signature.name;
            note(&|| format!("its `{}.{name}`", kind.name.short()), method.signature.is_async);
        }
    }
    let journaled = journaled.into_iter().flat_map(|journaled| journaled.flavours);
    for (name, is_async) in lifecycle.into_iter().flat_map(|lifecycle| lifecycle.flavours).chain(journaled) {
        note(&|| format!("its hook `{name}`"), is_async);
    }
    for hook in hooks.iter().flatten() {
        note(&|| format!("its hook `{}`", hook.signature.name), hook.signature.is_async);
    }
    for (name, is_async) in &imports.waits {
        note(&|| format!("the imported `{name}`"), *is_async);
    }
    for kind in imports.kinds.values().flatten() {
        for method in kind.methods.iter().filter(|method| !method.is_tell()) {
            note(&|| format!("the imported `{}.{}`", kind.name.short(), method.name), method.is_async);
        }
    }
    match (plain, asynchronous) {
        (Some(plain), Some(asynchronous)) => Err(AdmissionError::Mixed { plain, asynchronous }),
        _ => Ok(()),
    }
}
