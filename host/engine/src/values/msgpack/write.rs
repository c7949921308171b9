//! Writes MessagePack by the type.

use bytes::Bytes;
use rmp::encode;
use wasmtime::component::Val;
use wasmtime::component::types::{Flags, Type};

use crate::values::ArgumentError;
use crate::values::types::describe;

pub(super) fn write(ty: &Type, val: &Val, blobs: &[Bytes], out: &mut Vec<u8>) -> Result<(), ArgumentError> {
    match (ty, val) {
        (Type::Bool, Val::Bool(yes)) => put(encode::write_bool(out, *yes)),
        (Type::S8, Val::S8(number)) => signed(*number, out),
        (Type::S16, Val::S16(number)) => signed(*number, out),
        (Type::S32, Val::S32(number)) => signed(*number, out),
        (Type::S64, Val::S64(number)) => signed(*number, out),
        (Type::U8, Val::U8(number)) => unsigned(*number, out),
        (Type::U16, Val::U16(number)) => unsigned(*number, out),
        (Type::U32, Val::U32(number)) => unsigned(*number, out),
        (Type::U64, Val::U64(number)) => unsigned(*number, out),
        (Type::Float32, Val::Float32(float)) => put(encode::write_f32(out, *float)),
        (Type::Float64, Val::Float64(float)) => put(encode::write_f64(out, *float)),
        (Type::Char, Val::Char(char)) => unsigned(u32::from(*char), out),
        (Type::String, Val::String(text)) => put(encode::write_str(out, text)),
        (Type::List(list), Val::List(vals)) => sequence(&list.ty(), vals, blobs, out),
        (Type::FixedLengthList(list), Val::FixedLengthList(vals)) if vals.len() == list.len() as usize => {
            sequence(&list.ty(), vals, blobs, out)
        }
        (Type::Map(map), Val::Map(entries)) => {
            put(encode::write_map_len(out, count(entries.len())?))?;
            let (key_ty, value_ty) = (map.key(), map.value());
            entries.iter().try_for_each(|(key, value)| {
                write(&key_ty, key, blobs, out)?;
                write(&value_ty, value, blobs, out)
            })
        }
        (Type::Record(record), Val::Record(fields)) if record.fields().len() == fields.len() => {
            put(encode::write_array_len(out, count(fields.len())?))?;
            let mut fields = record.fields().zip(fields);
            fields.try_for_each(|(field, (_, val))| write(&field.ty, val, blobs, out))
        }
        (Type::Tuple(tuple), Val::Tuple(vals)) if tuple.types().len() == vals.len() => {
            put(encode::write_array_len(out, count(vals.len())?))?;
            tuple.types().zip(vals).try_for_each(|(ty, val)| write(&ty, val, blobs, out))
        }
        (Type::Variant(variant), Val::Variant(name, payload)) => {
            let mut cases = variant.cases().enumerate();
            let (place, case) = cases.find(|(_, case)| case.name == name).ok_or_else(|| misfit(ty))?;
            write_case(place, case.ty, payload.as_deref(), blobs, out)
        }
        (Type::Enum(cases), Val::Enum(name)) => {
            let place = cases.names().position(|case| case == name).ok_or_else(|| misfit(ty))?;
            unsigned(count(place)?, out)
        }
        (Type::Option(_), Val::Option(None)) => put(encode::write_nil(out)),
        (Type::Option(option), Val::Option(Some(val))) => {
            let inner = option.ty();
            if matches!(inner, Type::Option(_)) {
                put(encode::write_array_len(out, 1))?;
            }
            write(&inner, val, blobs, out)
        }
        (Type::Result(result), Val::Result(Ok(val))) => write_case(0, result.ok(), val.as_deref(), blobs, out),
        (Type::Result(result), Val::Result(Err(val))) => write_case(1, result.err(), val.as_deref(), blobs, out),
        (Type::Flags(flags), Val::Flags(names)) => unsigned(bits(flags, names).ok_or_else(|| misfit(ty))?, out),
        (Type::Own(_), Val::U32(place)) => {
            let bytes = blobs.get(*place as usize).ok_or_else(|| misfit(ty))?;
            put(encode::write_bin(out, bytes))
        }
        _ => Err(misfit(ty)),
    }
}

fn sequence(ty: &Type, vals: &[Val], blobs: &[Bytes], out: &mut Vec<u8>) -> Result<(), ArgumentError> {
    let len = count(vals.len())?;
    if !matches!(ty, Type::U8) {
        put(encode::write_array_len(out, len))?;
        return vals.iter().try_for_each(|val| write(ty, val, blobs, out));
    }
    put(encode::write_bin_len(out, len))?;
    for val in vals {
        let Val::U8(byte) = val else { return Err(misfit(ty)) };
        out.push(*byte);
    }
    Ok(())
}

fn write_case(
    place: usize,
    ty: Option<Type>,
    payload: Option<&Val>,
    blobs: &[Bytes],
    out: &mut Vec<u8>,
) -> Result<(), ArgumentError> {
    put(encode::write_array_len(out, 1 + u32::from(payload.is_some())))?;
    unsigned(count(place)?, out)?;
    match (ty, payload) {
        (None, None) => Ok(()),
        (Some(ty), Some(val)) => write(&ty, val, blobs, out),
        (Some(ty), None) => Err(misfit(&ty)),
        (None, Some(_)) => Err(ArgumentError::new("a payload where the type has none")),
    }
}

/// One bit for each flag; none when there are more flags than the component model allows.
fn bits(flags: &Flags, names: &[String]) -> Option<u64> {
    let mut bits = 0;
    for name in names {
        let place = flags.names().position(|flag| flag == name)?;
        bits |= 1u64.checked_shl(u32::try_from(place).ok()?)?;
    }
    Some(bits)
}

fn signed(number: impl Into<i64>, out: &mut Vec<u8>) -> Result<(), ArgumentError> {
    put(encode::write_sint(out, number.into()))
}

fn unsigned(number: impl Into<u64>, out: &mut Vec<u8>) -> Result<(), ArgumentError> {
    put(encode::write_uint(out, number.into()))
}

fn count(len: usize) -> Result<u32, ArgumentError> {
    u32::try_from(len).map_err(|_| ArgumentError::new(format!("{len} elements are too many")))
}

fn misfit(ty: &Type) -> ArgumentError {
    ArgumentError { message: "the value is of another type".into(), expected: Some(describe(ty)), at: None }
}

/// A vector takes whatever is written; the writer's own error says only that it did not.
fn put<T, E>(written: Result<T, E>) -> Result<(), ArgumentError> {
    written.map(drop).map_err(|_| ArgumentError::new("the value could not be written"))
}
