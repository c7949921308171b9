//! Tests of `call_errors`.

use quark_core::error::CallError;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use super::support::ty;
use crate::values::call_errors::{downstream, fill, has_room, is_err};

fn every_error() -> Vec<CallError> {
    let text = || "why".to_owned();
    vec![
        CallError::DeadlineExceeded,
        CallError::UnknownOutcome(text()),
        CallError::Cancelled,
        CallError::Failed(text()),
        CallError::Downstream(text()),
        CallError::Unreachable(text()),
        CallError::Stopped,
        CallError::Overloaded(7),
        CallError::Unavailable(7),
        CallError::TooLarge(7),
        CallError::Incompatible(text()),
        CallError::Deadlock(text()),
        CallError::Denied(text()),
        CallError::Other(text()),
    ]
}

/// Two error types of methods and an older contract's call error.
const TYPES: &str = "
    variant mine { not-found, call(call-error) }
    variant old { other(string), failed(string), stopped, overloaded(u64) }
    variant mine-old { call(old) }
    variant foreign { other(string), failed(u32) }
    variant more { other(string), lost }
    variant no-other { failed(string) }
    variant stranger { call(string) }
";

fn case(name: &str, content: Option<Val>) -> Val {
    Val::Variant(name.to_owned(), content.map(Box::new))
}

fn err(val: Val) -> Val {
    Val::Result(Err(Some(Box::new(val))))
}

fn text(text: &str) -> Option<Val> {
    Some(Val::String(text.to_owned()))
}

#[test]
fn a_place_for_call_errors_is_known_by_its_cases() {
    for (wit, room) in [
        ("result<u8, call-error>", true),
        ("result<_, call-error>", true),
        ("result<u8, mine>", true),
        ("result<u8, old>", true),
        ("result<u8, mine-old>", true),
        ("result<u8, foreign>", false),
        ("result<u8, more>", false),
        ("result<u8, no-other>", false),
        ("result<u8, stranger>", false),
        ("result<u8, string>", false),
        ("result<call-error>", false),
        ("result", false),
        ("call-error", false),
        ("u8", false),
    ] {
        let ty = ty(TYPES, wit);
        assert_eq!(has_room(&ty), room, "{wit}");
        assert_eq!(fill(&ty, &CallError::Stopped).is_some(), room, "{wit}");
    }
}

#[test]
fn every_case_of_the_contract_has_its_own_case() {
    let (direct, inside) = (ty(TYPES, "result<u8, call-error>"), ty(TYPES, "result<u8, mine>"));
    let Type::Result(result) = &direct else { panic!() };
    let Some(Type::Variant(contract)) = result.err() else { panic!() };
    let names: Vec<&str> = contract.cases().map(|case| case.name).collect();
    assert_eq!(names, every_error().iter().map(CallError::code).collect::<Vec<_>>());
    for (error, case_ty) in every_error().iter().zip(contract.cases()) {
        let content = match case_ty.ty {
            None => None,
            Some(Type::U64) => Some(Val::U64(7)),
            Some(_) => text("why"),
        };
        let val = case(error.code(), content);
        assert_eq!(fill(&direct, error), Some(err(val.clone())));
        assert_eq!(fill(&inside, error), Some(err(case("call", Some(val)))));
    }
}

#[test]
fn a_cool_down_is_a_failure_to_actors() {
    let cools = CallError::CoolsDown { retry_ms: 7, reason: "boom".into() };
    let told = fill(&ty(TYPES, "result<u8, call-error>"), &cools);
    assert_eq!(told, Some(err(case("failed", text(&cools.to_string())))));
}

#[test]
fn a_case_that_the_type_lacks_becomes_other() {
    let old = ty(TYPES, "result<u8, old>");
    assert_eq!(fill(&old, &CallError::Stopped), Some(err(case("stopped", None))));
    let denied = CallError::Denied("no".into());
    assert_eq!(fill(&old, &denied), Some(err(case("other", text(&denied.to_string())))));
    let inside = ty(TYPES, "result<u8, mine-old>");
    let expected = err(case("call", Some(case("other", text(&denied.to_string())))));
    assert_eq!(fill(&inside, &denied), Some(expected));
}

#[test]
fn what_the_callee_passes_on_is_downstream() {
    let (direct, inside) = (ty(TYPES, "result<u8, call-error>"), ty(TYPES, "result<u8, mine>"));
    for error in every_error() {
        let expected =
            if let CallError::Downstream(_) = error { error.clone() } else { CallError::Downstream(error.to_string()) };
        for ty in [&direct, &inside] {
            let passed_on = downstream(ty, fill(ty, &error).unwrap());
            assert_eq!(Some(&passed_on), fill(ty, &expected).as_ref());
            assert_eq!(downstream(ty, passed_on.clone()), passed_on);
        }
    }
    let old = ty(TYPES, "result<u8, old>");
    let passed_on = downstream(&old, err(case("stopped", None)));
    assert_eq!(passed_on, err(case("other", text(&CallError::Stopped.to_string()))));
    assert_eq!(downstream(&old, passed_on.clone()), passed_on);
}

#[test]
fn all_other_answers_stay_as_they_are() {
    for (wit, val) in [
        ("result<u8, mine>", err(case("not-found", None))),
        ("result<u8, mine>", Val::Result(Ok(Some(Box::new(Val::U8(1)))))),
        ("result<u8, call-error>", Val::Result(Ok(Some(Box::new(Val::U8(1)))))),
        ("result<u8, stranger>", err(case("call", text("mine")))),
        ("result<u8, string>", err(Val::String("mine".into()))),
        ("u8", Val::U8(1)),
    ] {
        assert_eq!(downstream(&ty(TYPES, wit), val.clone()), val, "{wit}");
    }
}

#[test]
fn only_an_err_is_an_error() {
    assert!(is_err(&err(Val::U8(1))) && is_err(&Val::Result(Err(None))));
    assert!(!is_err(&Val::Result(Ok(None))) && !is_err(&Val::U8(1)));
}
