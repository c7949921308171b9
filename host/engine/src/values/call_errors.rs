//! The place that a method's result has for the failure of the call itself.
//!
//! The result's error type is `call-error` of the contract, of this version or of another, or it is
//! a variant with a case `call` that holds one. Types are known by structure only: a `call-error`
//! is a variant with the case `other(string)`, all of whose cases the contract has.

use quark_core::error::CallError;
use wasmtime::component::Val;
use wasmtime::component::types::{Type, Variant};

/// Whether the result has such a place.
#[must_use]
pub fn has_room(result: &Type) -> bool {
    Room::of(result).is_some()
}

/// The failure as a value of that type, if it has a place for it. A case that the type lacks
/// becomes `other`, with the failure's text.
#[must_use]
pub fn fill(result: &Type, error: &CallError) -> Option<Val> {
    Some(Room::of(result)?.hold(error))
}

/// The callee's own answer, as its caller may see it: the failure of a call that the callee made,
/// passed on by it, becomes `downstream`, so that nobody takes it for the callee's own fate.
#[must_use]
pub fn downstream(result: &Type, val: Val) -> Val {
    let Some(room) = Room::of(result) else { return val };
    match room.held(&val) {
        None | Some(CallError::Downstream(_)) => val,
        Some(error) => room.hold(&CallError::Downstream(error.to_string())),
    }
}

/// Whether the answer is an error of the method's own.
#[must_use]
pub const fn is_err(val: &Val) -> bool {
    matches!(val, Val::Result(Err(_)))
}

/// Where in a result a call's failure goes.
struct Room {
    call_error: Variant,
    /// In the case `call` of the method's own error type.
    in_case: bool,
}

impl Room {
    fn of(result: &Type) -> Option<Self> {
        let Type::Result(result) = result else { return None };
        let Some(Type::Variant(error)) = result.err() else { return None };
        if is_call_error(&error) {
            return Some(Self { call_error: error, in_case: false });
        }
        let call = error.cases().find(|case| case.name == CALL)?;
        let Some(Type::Variant(call_error)) = call.ty else { return None };
        is_call_error(&call_error).then_some(Self { call_error, in_case: true })
    }

    fn hold(&self, error: &CallError) -> Val {
        let has = |name: &str| self.call_error.cases().any(|case| case.name == name);
        let val = if has(error.code()) {
            write(error)
        } else if let CallError::Downstream(text) = error {
            write(&CallError::Other(text.clone()))
        } else if let CallError::KeyReused(text) = error {
            write(&CallError::Incompatible(text.clone()))
        } else {
            write(&CallError::Other(error.to_string()))
        };
        let val = if self.in_case { Val::Variant(CALL.to_owned(), Some(Box::new(val))) } else { val };
        Val::Result(Err(Some(Box::new(val))))
    }

    fn held(&self, val: &Val) -> Option<CallError> {
        let Val::Result(Err(Some(error))) = val else { return None };
        if !self.in_case {
            return read(error);
        }
        let Val::Variant(name, Some(call_error)) = &**error else { return None };
        if name == CALL { read(call_error) } else { None }
    }
}

const CALL: &str = "call";

fn is_call_error(variant: &Variant) -> bool {
    let mut has_other = false;
    for case in variant.cases() {
        let content = match case.ty {
            None => None,
            Some(Type::String) => Some(Val::String(String::new())),
            Some(Type::U64) => Some(Val::U64(0)),
            Some(_) => return false,
        };
        match parse(case.name, content.as_ref()) {
            None => return false,
            Some(CallError::Other(_)) => has_other = true,
            Some(_) => {}
        }
    }
    has_other
}

fn write(error: &CallError) -> Val {
    let content = match error {
        CallError::DeadlineExceeded | CallError::Cancelled | CallError::Stopped => None,
        CallError::UnknownOutcome(text)
        | CallError::Failed(text)
        | CallError::Downstream(text)
        | CallError::Unreachable(text)
        | CallError::Incompatible(text)
        | CallError::Deadlock(text)
        | CallError::Denied(text)
        | CallError::KeyReused(text)
        | CallError::Other(text) => Some(Val::String(text.clone())),
        CallError::CoolsDown { .. } => Some(Val::String(error.to_string())),
        CallError::Overloaded(number) | CallError::Unavailable(number) | CallError::TooLarge(number) => {
            Some(Val::U64(*number))
        }
    };
    Val::Variant(error.code().to_owned(), content.map(Box::new))
}

fn read(val: &Val) -> Option<CallError> {
    let Val::Variant(name, content) = val else { return None };
    parse(name, content.as_deref())
}

/// The case of the contract with that name, if it holds such a thing.
fn parse(name: &str, content: Option<&Val>) -> Option<CallError> {
    let error = match (name, content) {
        ("deadline-exceeded", None) => CallError::DeadlineExceeded,
        ("unknown-outcome", Some(Val::String(text))) => CallError::UnknownOutcome(text.clone()),
        ("cancelled", None) => CallError::Cancelled,
        ("failed", Some(Val::String(text))) => CallError::Failed(text.clone()),
        ("downstream", Some(Val::String(text))) => CallError::Downstream(text.clone()),
        ("unreachable", Some(Val::String(text))) => CallError::Unreachable(text.clone()),
        ("stopped", None) => CallError::Stopped,
        ("overloaded", Some(Val::U64(ms))) => CallError::Overloaded(*ms),
        ("unavailable", Some(Val::U64(ms))) => CallError::Unavailable(*ms),
        ("too-large", Some(Val::U64(bytes))) => CallError::TooLarge(*bytes),
        ("incompatible", Some(Val::String(text))) => CallError::Incompatible(text.clone()),
        ("deadlock", Some(Val::String(text))) => CallError::Deadlock(text.clone()),
        ("denied", Some(Val::String(text))) => CallError::Denied(text.clone()),
        ("other", Some(Val::String(text))) => CallError::Other(text.clone()),
        _ => return None,
    };
    Some(error)
}
