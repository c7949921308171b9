//! JSON, by the type.
//!
//! | type                  | JSON                                                                    |
//! |-----------------------|-------------------------------------------------------------------------|
//! | bool                  | `true`, `false`                                                         |
//! | integers              | number, exact; `u64` and `s64` are read from decimal strings too        |
//! | f32, f64              | number; `"NaN"`, `"Infinity"`, `"-Infinity"`                            |
//! | char                  | string of one character                                                 |
//! | string                | string                                                                  |
//! | list, tuple           | array                                                                   |
//! | map                   | object if keys are strings, else array of `[key, value]`                |
//! | record                | object; an option field that is left out is none                        |
//! | variant               | `"case"`, or `{"case": payload}`                                        |
//! | enum                  | `"case"`                                                                |
//! | flags                 | array of the names that are set                                         |
//! | option                | `null` or the value; inside another option, the value as `{"some": value}` |
//! | result                | `{"ok": value}`, `{"err": value}`; `null` where there is no value       |
//! | blob                  | string of base64                                                        |
//!
//! It is read straight from the text: numbers never pass through floats, every mistake has its
//! place, and a value nests no deeper than its type, whatever the text holds.

use std::fmt::Write;

use bytes::Bytes;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use super::errors::Step;
use super::text::{Text, describe_params};
use super::{ArgumentError, Payload, base64};

mod read;

/// Reads a JSON array of arguments; an empty text is no arguments.
///
/// # Errors
/// When the text is not exactly the arguments of these parameters.
pub fn from_json(params: &[(String, Type)], text: &str) -> Result<Payload, ArgumentError> {
    let mut text = Text::new(text);
    text.skip_white();
    let mut vals = Vec::new();
    if !text.rest().is_empty() || !params.is_empty() {
        text.array(
            || format!("an array of the arguments {}", describe_params(params)),
            |text| {
                let Some((name, ty)) = params.get(vals.len()) else {
                    let message = format!("found {} after the last argument", text.found());
                    return Err(text.fail(text.at(), &message, &describe_params(params)));
                };
                vals.push(text.json(ty).map_err(|error| error.within(Step::Name(name.clone())))?);
                Ok(())
            },
        )?;
    }
    if let Some((name, _)) = params.get(vals.len()) {
        let message = format!("argument `{name}` is missing");
        return Err(text.fail(text.at().saturating_sub(1), &message, &describe_params(params)));
    }
    text.skip_white();
    if !text.rest().is_empty() {
        let message = format!("found {} behind the arguments", text.found());
        return Err(text.fail(text.at(), &message, "the end of the text"));
    }
    Ok(Payload { vals: vals.into(), blobs: text.blobs })
}

/// Writes a value.
#[must_use]
pub fn to_json(ty: &Type, val: &Val, blobs: &[Bytes]) -> String {
    let mut out = String::new();
    write(ty, val, blobs, &mut out);
    out
}

fn write(ty: &Type, val: &Val, blobs: &[Bytes], out: &mut String) {
    match (ty, val) {
        (Type::Own(_), Val::U32(place)) => {
            let bytes = blobs.get(*place as usize).map(|bytes| base64::encode(bytes));
            string(&bytes.unwrap_or_default(), out);
        }
        (Type::List(list), Val::List(vals)) => {
            let ty = list.ty();
            entries("[]", vals, out, |val, out| write(&ty, val, blobs, out));
        }
        (Type::FixedLengthList(list), Val::FixedLengthList(vals)) => {
            let ty = list.ty();
            entries("[]", vals, out, |val, out| write(&ty, val, blobs, out));
        }
        (Type::Map(map), Val::Map(pairs)) => {
            let (key_ty, value_ty) = (map.key(), map.value());
            let (brackets, close) = if key_ty == Type::String { ("{}", "") } else { ("[]", "]") };
            entries(brackets, pairs, out, |(key, value), out| {
                out.push_str(if close.is_empty() { "" } else { "[" });
                write(&key_ty, key, blobs, out);
                out.push(if close.is_empty() { ':' } else { ',' });
                write(&value_ty, value, blobs, out);
                out.push_str(close);
            });
        }
        (Type::Record(record), Val::Record(fields)) => {
            entries("{}", record.fields().zip(fields), out, |(field, (_, val)), out| {
                string(field.name, out);
                out.push(':');
                write(&field.ty, val, blobs, out);
            });
        }
        (Type::Tuple(tuple), Val::Tuple(vals)) => {
            entries("[]", tuple.types().zip(vals), out, |(ty, val), out| write(&ty, val, blobs, out));
        }
        (Type::Variant(variant), Val::Variant(name, payload)) => {
            match (variant.cases().find(|case| case.name == name).and_then(|case| case.ty), payload) {
                (Some(ty), Some(val)) => single(name, Some(&ty), Some(val), blobs, out),
                _ => string(name, out),
            }
        }
        (Type::Enum(_), Val::Enum(name)) => string(name, out),
        (Type::Option(option), Val::Option(Some(val))) => {
            let inner = option.ty();
            if matches!(inner, Type::Option(_)) {
                single("some", Some(&inner), Some(val), blobs, out);
            } else {
                write(&inner, val, blobs, out);
            }
        }
        (Type::Result(result), Val::Result(Ok(val))) => {
            single("ok", result.ok().as_ref(), val.as_deref(), blobs, out);
        }
        (Type::Result(result), Val::Result(Err(val))) => {
            single("err", result.err().as_ref(), val.as_deref(), blobs, out);
        }
        (Type::Flags(_), Val::Flags(names)) => entries("[]", names, out, |name, out| string(name, out)),
        (Type::Char, Val::Char(char)) => string(char.encode_utf8(&mut [0; 4]), out),
        (Type::String, Val::String(text)) => string(text, out),
        (Type::Float32, Val::Float32(float)) => number(format_args!("{float:?}"), f64::from(*float), out),
        (Type::Float64, Val::Float64(float)) => number(format_args!("{float:?}"), *float, out),
        (_, Val::Bool(_) | Val::S8(_) | Val::S16(_) | Val::S32(_) | Val::S64(_)) => scalar(val, out),
        (_, Val::U8(_) | Val::U16(_) | Val::U32(_) | Val::U64(_)) => scalar(val, out),
        _ => out.push_str("null"),
    }
}

fn entries<T>(
    brackets: &str,
    entries: impl IntoIterator<Item = T>,
    out: &mut String,
    mut each: impl FnMut(T, &mut String),
) {
    out.push_str(&brackets[..1]);
    for (at, entry) in entries.into_iter().enumerate() {
        if at > 0 {
            out.push(',');
        }
        each(entry, out);
    }
    out.push_str(&brackets[1..]);
}

/// An object with one entry.
fn single(name: &str, ty: Option<&Type>, val: Option<&Val>, blobs: &[Bytes], out: &mut String) {
    out.push('{');
    string(name, out);
    out.push(':');
    match (ty, val) {
        (Some(ty), Some(val)) => write(ty, val, blobs, out),
        _ => out.push_str("null"),
    }
    out.push('}');
}

fn string(text: &str, out: &mut String) {
    // Text always has a form in JSON, so there is no failure to pass on.
    out.push_str(&serde_json::to_string(text).unwrap_or_default());
}

/// Whole numbers and booleans are the same in WAVE.
fn scalar(val: &Val, out: &mut String) {
    out.push_str(&val.to_wave().unwrap_or_default());
}

fn number(shown: std::fmt::Arguments<'_>, float: f64, out: &mut String) {
    if float.is_finite() {
        let _ = write!(out, "{shown}");
    } else if float.is_nan() {
        out.push_str("\"NaN\"");
    } else {
        out.push_str(if float > 0.0 { "\"Infinity\"" } else { "\"-Infinity\"" });
    }
}

#[cfg(test)]
mod tests;
