//! Who may enter while a turn waits: what the manifest says, else what the toolchain can take.

use std::sync::Arc;

use quark_core::manifest::Reentrancy;

use super::Component;
use super::toolchain::Toolchain;
use crate::error::AdmissionError;
use crate::imports::Imports;
use crate::kind::{Kind, Lane};
use crate::probe;

/// Decides for each kind. True when a throw-away instance must tell.
pub(super) fn choose(kinds: &mut [Kind], toolchain: Toolchain, imports: &Imports) -> Result<bool, AdmissionError> {
    let nests = imports.lane == Lane::Fiber;
    let mut doubted = false;
    for kind in kinds {
        let says = kind.policy.reentrancy;
        if let (true, Some(Reentrancy::CallChain), Toolchain::CannotNest(reason)) = (nests, says, toolchain) {
            return Err(AdmissionError::Returns { kind: kind.name.short().into(), reason });
        }
        let (who, reason) = match (says, toolchain) {
            (Some(who), _) => (who, "its manifest says so"),
            (None, _) if !imports.ask_others() => (Reentrancy::CallChain, "it waits for no other actor"),
            (None, _) if !nests => (Reentrancy::CallChain, "its functions are `async func`"),
            (None, Toolchain::Nests(reason)) => (Reentrancy::CallChain, reason),
            (None, Toolchain::CannotNest(reason)) => (Reentrancy::None, reason),
            (None, Toolchain::Unknown) => {
                doubted = true;
                (Reentrancy::CallChain, "its toolchain is not known, and it passed the trial")
            }
        };
        (kind.reentrancy, kind.reentrancy_reason) = (who, reason.into());
    }
    Ok(doubted)
}

/// Tries whether a component of an unknown toolchain can be called while it waits; if not, none may
/// enter it.
pub(super) fn try_out(component: &mut Arc<Component>) {
    let Err(reason) = probe::nests(component) else { return };
    // No instance lives any more.
    let Some(component) = Arc::get_mut(component) else { return };
    for kind in component.kinds.iter_mut().filter(|kind| kind.policy.reentrancy.is_none()) {
        kind.reentrancy = Reentrancy::None;
        kind.reentrancy_reason = format!("its toolchain is not known, and {reason}");
    }
}
