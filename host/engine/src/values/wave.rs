//! WAVE, the text form of component values: what a method takes between its parentheses.
//!
//! By the type, straight from the text: a value can nest no deeper than its type. Beside WAVE's own
//! forms, a blob is a string of base64 and a map is a list of `(key, value)`.

use std::fmt::{Display, LowerExp};

use bytes::Bytes;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

use super::errors::Step;
use super::text::{Text, describe_params};
use super::{ArgumentError, Payload, base64};

mod read;

/// Reads arguments, separated by commas: `5` or `[{name: "n"}], {write}`.
///
/// # Errors
/// When the text is not exactly the arguments of these parameters.
pub fn from_wave(params: &[(String, Type)], text: &str) -> Result<Payload, ArgumentError> {
    let mut text = Text::new(text);
    let mut vals = Vec::new();
    for (place, (name, ty)) in params.iter().enumerate() {
        text.skip_space();
        if text.rest().is_empty() {
            let message = format!("argument `{name}` is missing");
            return Err(text.fail(text.at(), &message, &describe_params(params)));
        }
        vals.push(text.wave(ty).map_err(|error| error.within(Step::Name(name.clone())))?);
        text.skip_space();
        if !text.eat(",") && place + 1 < params.len() && !text.rest().is_empty() {
            let message = format!("found {} after argument `{name}`", text.found());
            return Err(text.fail(text.at(), &message, "a comma and the next argument"));
        }
    }
    text.skip_space();
    if !text.rest().is_empty() {
        let message = format!("found {} after the last argument", text.found());
        return Err(text.fail(text.at(), &message, &describe_params(params)));
    }
    Ok(Payload { vals: vals.into(), blobs: text.blobs })
}

/// Writes a value.
#[must_use]
pub fn to_wave(ty: &Type, val: &Val, blobs: &[Bytes]) -> String {
    let mut out = String::new();
    write(ty, val, blobs, &mut out);
    out
}

fn write(ty: &Type, val: &Val, blobs: &[Bytes], out: &mut String) {
    match (ty, val) {
        (Type::Own(_), Val::U32(place)) => {
            let bytes = blobs.get(*place as usize).map(|bytes| base64::encode(bytes));
            out.push('"');
            out.push_str(&bytes.unwrap_or_default());
            out.push('"');
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
            entries("[]", pairs, out, |(key, value), out| {
                let pair = [(&key_ty, key), (&value_ty, value)];
                entries("()", pair, out, |(ty, val), out| write(ty, val, blobs, out));
            });
        }
        (Type::Record(record), Val::Record(fields)) => {
            let fields = record.fields().zip(fields).filter(|(_, (_, val))| !matches!(val, Val::Option(None)));
            let start = out.len();
            entries("{}", fields, out, |(field, (_, val)), out| {
                out.push_str(field.name);
                out.push_str(": ");
                write(&field.ty, val, blobs, out);
            });
            if out[start..] == *"{}" {
                out.insert(start + 1, ':');
            }
        }
        (Type::Tuple(tuple), Val::Tuple(vals)) => {
            entries("()", tuple.types().zip(vals), out, |(ty, val), out| write(&ty, val, blobs, out));
        }
        (Type::Variant(variant), Val::Variant(name, payload)) => {
            label(name, out);
            let case = variant.cases().find(|case| case.name == name).and_then(|case| case.ty);
            write_payload(case, payload.as_deref(), blobs, out);
        }
        (Type::Enum(_), Val::Enum(name)) => label(name, out),
        (Type::Option(_), Val::Option(None)) => out.push_str("none"),
        (Type::Option(option), Val::Option(Some(val))) => {
            out.push_str("some");
            write_payload(Some(option.ty()), Some(val), blobs, out);
        }
        (Type::Result(result), Val::Result(val)) => {
            let (name, ty, val) = match val {
                Ok(val) => ("ok", result.ok(), val),
                Err(val) => ("err", result.err(), val),
            };
            out.push_str(name);
            write_payload(ty, val.as_deref(), blobs, out);
        }
        (Type::Flags(_), Val::Flags(names)) => entries("{}", names, out, |name, out| out.push_str(name)),
        (Type::Float32, Val::Float32(float)) => out.push_str(&number(*float, float.is_nan())),
        (Type::Float64, Val::Float64(float)) => out.push_str(&number(*float, float.is_nan())),
        (_, Val::Bool(_) | Val::Char(_) | Val::String(_)) => out.push_str(&val.to_wave().unwrap_or_default()),
        (_, Val::S8(_) | Val::S16(_) | Val::S32(_) | Val::S64(_)) => out.push_str(&val.to_wave().unwrap_or_default()),
        (_, Val::U8(_) | Val::U16(_) | Val::U32(_) | Val::U64(_)) => out.push_str(&val.to_wave().unwrap_or_default()),
        _ => out.push('?'),
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
            out.push_str(", ");
        }
        each(entry, out);
    }
    out.push_str(&brackets[1..]);
}

fn write_payload(ty: Option<Type>, val: Option<&Val>, blobs: &[Bytes], out: &mut String) {
    if let (Some(ty), Some(val)) = (ty, val) {
        out.push('(');
        write(&ty, val, blobs, out);
        out.push(')');
    }
}

/// A case's name; one that is also a keyword carries a `%`.
fn label(name: &str, out: &mut String) {
    if matches!(name, "true" | "false" | "some" | "none" | "ok" | "err" | "inf" | "nan") {
        out.push('%');
    }
    out.push_str(name);
}

/// In full while that is short, else with an exponent.
fn number(float: impl Display + LowerExp, nan: bool) -> String {
    let plain = if nan { "nan".to_owned() } else { float.to_string() };
    if plain.len() > PLAIN_FLOAT_CHARS_MAX { format!("{float:e}") } else { plain }
}

/// Longer floats are written with an exponent.
const PLAIN_FLOAT_CHARS_MAX: usize = 24;

#[cfg(test)]
mod tests;
