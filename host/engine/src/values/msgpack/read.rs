//! Reads MessagePack by the type.

use bytes::Bytes;
use rmp::decode;
use wasmtime::component::Val;
use wasmtime::component::types::{Flags, Record, Type};

use crate::values::budget::{Budget, MEMORY_MAX, TooMuch};
use crate::values::types::describe;
use crate::values::{ArgumentError, Place};

type Read<T> = Result<T, ArgumentError>;

/// Bytes that values are read out of. Lengths in them are claims: nothing is allocated that the bytes
/// behind do not cover, and nothing beyond the budget.
pub(super) struct Input<'b> {
    rest: &'b [u8],
    /// Where the bytes end, counted from the message's start.
    end: usize,
    budget: Budget,
    blobs: Vec<Bytes>,
}

impl<'b> Input<'b> {
    /// The bytes, and how many of the message stand before them.
    pub(super) const fn new(bytes: &'b [u8], before: usize) -> Self {
        Self { rest: bytes, end: before + bytes.len(), budget: Budget::new(), blobs: Vec::new() }
    }

    /// The blobs; all bytes must be read.
    pub(super) fn finish(self) -> Read<Vec<Bytes>> {
        if self.rest.is_empty() {
            return Ok(self.blobs);
        }
        let at = Some(self.place());
        Err(ArgumentError { message: "there are bytes behind the last value".into(), expected: None, at })
    }

    pub(super) fn val(&mut self, ty: &Type) -> Read<Val> {
        self.charge(|budget| budget.charge_vals(1), ty)?;
        match ty {
            Type::Bool => self.get(ty, decode::read_bool).map(Val::Bool),
            Type::S8 => self.get(ty, decode::read_int).map(Val::S8),
            Type::U8 => self.get(ty, decode::read_int).map(Val::U8),
            Type::S16 => self.get(ty, decode::read_int).map(Val::S16),
            Type::U16 => self.get(ty, decode::read_int).map(Val::U16),
            Type::S32 => self.get(ty, decode::read_int).map(Val::S32),
            Type::U32 => self.get(ty, decode::read_int).map(Val::U32),
            Type::S64 => self.get(ty, decode::read_int).map(Val::S64),
            Type::U64 => self.get(ty, decode::read_int).map(Val::U64),
            Type::Float32 => self.get(ty, decode::read_f32).map(Val::Float32),
            Type::Float64 => self.get(ty, decode::read_f64).map(Val::Float64),
            Type::Char => {
                let code: u32 = self.get(ty, decode::read_int)?;
                char::from_u32(code).map(Val::Char).ok_or_else(|| self.misfit(ty))
            }
            Type::String => self.string(ty).map(Val::String),
            Type::List(list) => self.sequence(&list.ty(), ty).map(Val::List),
            Type::FixedLengthList(list) => {
                let vals = self.sequence(&list.ty(), ty)?;
                if vals.len() != list.len() as usize {
                    return Err(self.misfit(ty));
                }
                Ok(Val::FixedLengthList(vals))
            }
            Type::Map(map) => {
                let len = self.get(ty, decode::read_map_len)?;
                let (key, value) = (map.key(), map.value());
                let len = self.claim(len, 2, ty)?;
                (0..len).map(|_| Ok((self.val(&key)?, self.val(&value)?))).collect::<Read<_>>().map(Val::Map)
            }
            Type::Record(record) => self.record(record, ty),
            Type::Tuple(tuple) => {
                self.array_of(tuple.types().len(), ty)?;
                tuple.types().map(|ty| self.val(&ty)).collect::<Read<_>>().map(Val::Tuple)
            }
            Type::Variant(variant) => {
                let (place, payload) = self.case(ty)?;
                let case = variant.cases().nth(place).ok_or_else(|| self.misfit(ty))?;
                self.charge(|budget| budget.charge_name(case.name), ty)?;
                Ok(Val::Variant(case.name.to_owned(), self.payload(case.ty, payload, ty)?))
            }
            Type::Enum(cases) => {
                let place: usize = self.get(ty, decode::read_int)?;
                let name = cases.names().nth(place).ok_or_else(|| self.misfit(ty))?;
                self.charge(|budget| budget.charge_name(name), ty)?;
                Ok(Val::Enum(name.to_owned()))
            }
            Type::Option(option) => self.option(&option.ty(), ty),
            Type::Result(result) => match self.case(ty)? {
                (0, payload) => Ok(Val::Result(Ok(self.payload(result.ok(), payload, ty)?))),
                (1, payload) => Ok(Val::Result(Err(self.payload(result.err(), payload, ty)?))),
                _ => Err(self.misfit(ty)),
            },
            Type::Flags(flags) => self.flags(flags, ty),
            Type::Own(_) => self.blob(ty),
            Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => Err(self.misfit(ty)),
        }
    }

    fn string(&mut self, ty: &Type) -> Read<String> {
        let len = self.get(ty, decode::read_str_len)?;
        let bytes = self.take(len, ty)?;
        self.charge(|budget| budget.charge(bytes.len()), ty)?;
        let text = std::str::from_utf8(bytes).map_err(|_| self.misfit(ty))?;
        Ok(text.to_owned())
    }

    fn bin(&mut self, ty: &Type) -> Read<&'b [u8]> {
        let len = self.get(ty, decode::read_bin_len)?;
        self.take(len, ty)
    }

    fn sequence(&mut self, element: &Type, ty: &Type) -> Read<Vec<Val>> {
        if matches!(element, Type::U8) {
            let bytes = self.bin(ty)?;
            self.charge(|budget| budget.charge_vals(bytes.len()), ty)?;
            return Ok(bytes.iter().copied().map(Val::U8).collect());
        }
        let len = self.get(ty, decode::read_array_len)?;
        let len = self.claim(len, 1, ty)?;
        (0..len).map(|_| self.val(element)).collect()
    }

    fn record(&mut self, record: &Record, ty: &Type) -> Read<Val> {
        self.array_of(record.fields().len(), ty)?;
        let mut fields = Vec::with_capacity(record.fields().len());
        for field in record.fields() {
            self.charge(|budget| budget.charge_name(field.name), ty)?;
            fields.push((field.name.to_owned(), self.val(&field.ty)?));
        }
        Ok(Val::Record(fields))
    }

    fn option(&mut self, inner: &Type, ty: &Type) -> Read<Val> {
        if self.rest.first() == Some(&rmp::Marker::Null.to_u8()) {
            self.take(1, ty)?;
            return Ok(Val::Option(None));
        }
        if matches!(inner, Type::Option(_)) {
            self.array_of(1, ty)?;
        }
        Ok(Val::Option(Some(Box::new(self.val(inner)?))))
    }

    fn flags(&mut self, flags: &Flags, ty: &Type) -> Read<Val> {
        let bits: u64 = self.get(ty, decode::read_int)?;
        if bits.checked_shr(u32::try_from(flags.names().len()).unwrap_or(u32::MAX)).unwrap_or(0) != 0 {
            return Err(self.misfit(ty));
        }
        let set = flags.names().enumerate().filter(|(place, _)| *place < 64 && bits >> place & 1 == 1);
        let set: Vec<String> = set.map(|(_, name)| name.to_owned()).collect();
        set.iter().try_for_each(|name| self.charge(|budget| budget.charge_name(name), ty))?;
        Ok(Val::Flags(set))
    }

    fn blob(&mut self, ty: &Type) -> Read<Val> {
        let bytes = self.bin(ty)?;
        self.charge(|budget| budget.charge(bytes.len()), ty)?;
        let place = u32::try_from(self.blobs.len()).map_err(|_| self.misfit(ty))?;
        self.blobs.push(Bytes::copy_from_slice(bytes));
        Ok(Val::U32(place))
    }

    /// A case's index, and whether a payload follows.
    fn case(&mut self, ty: &Type) -> Read<(usize, bool)> {
        let len = self.get(ty, decode::read_array_len)?;
        if len != 1 && len != 2 {
            return Err(self.misfit(ty));
        }
        Ok((self.get(ty, decode::read_int)?, len == 2))
    }

    fn payload(&mut self, payload: Option<Type>, there: bool, ty: &Type) -> Read<Option<Box<Val>>> {
        match payload {
            Some(payload) if there => Ok(Some(Box::new(self.val(&payload)?))),
            None if !there => Ok(None),
            Some(_) | None => Err(self.misfit(ty)),
        }
    }

    /// An array of exactly that many elements.
    fn array_of(&mut self, expected: usize, ty: &Type) -> Read<()> {
        let len = self.get(ty, decode::read_array_len)?;
        let len = self.claim(len, 1, ty)?;
        if len == expected { Ok(()) } else { Err(self.misfit(ty)) }
    }

    /// A number of elements that the bytes behind can hold: each takes at least that many.
    fn claim(&self, len: u32, bytes_each: usize, ty: &Type) -> Read<usize> {
        let len = usize::try_from(len).ok().filter(|len| *len <= self.rest.len() / bytes_each);
        len.ok_or_else(|| self.fail("the bytes end before the value does", ty))
    }

    fn take(&mut self, len: u32, ty: &Type) -> Read<&'b [u8]> {
        let (bytes, rest) = self.rest.split_at(self.claim(len, 1, ty)?);
        self.rest = rest;
        Ok(bytes)
    }

    fn get<T, E>(&mut self, ty: &Type, read: impl FnOnce(&mut &'b [u8]) -> Result<T, E>) -> Read<T> {
        let mut rest = self.rest;
        let value = read(&mut rest).map_err(|_| self.misfit(ty))?;
        self.rest = rest;
        Ok(value)
    }

    fn charge(&mut self, charge: impl FnOnce(&mut Budget) -> Result<(), TooMuch>, ty: &Type) -> Read<()> {
        charge(&mut self.budget)
            .map_err(|TooMuch| self.fail(&format!("the values take more than {MEMORY_MAX} bytes of memory"), ty))
    }

    fn misfit(&self, ty: &Type) -> ArgumentError {
        self.fail("the bytes are not a value of the type", ty)
    }

    fn fail(&self, message: &str, ty: &Type) -> ArgumentError {
        ArgumentError { message: message.into(), expected: Some(describe(ty)), at: Some(self.place()) }
    }

    fn place(&self) -> Box<Place> {
        Box::new(Place { byte: self.end - self.rest.len(), ..Place::default() })
    }
}
