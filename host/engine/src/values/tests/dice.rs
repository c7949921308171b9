//! Values of any type, made of random bytes; where the bytes are used up, the smallest ones.

use bytes::Bytes;
use wasmtime::component::Val;
use wasmtime::component::types::Type;

/// Bytes that choose.
pub(super) struct Dice<'b> {
    bytes: &'b [u8],
    pub(super) blobs: Vec<Bytes>,
}

impl<'b> Dice<'b> {
    pub(super) const fn new(bytes: &'b [u8]) -> Self {
        Self { bytes, blobs: Vec::new() }
    }

    fn byte(&mut self) -> u8 {
        let Some((byte, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *byte
    }

    pub(super) fn below(&mut self, end: usize) -> usize {
        let number = usize::from(self.byte()) | usize::from(self.byte()) << 8;
        number % end.max(1)
    }

    /// Mostly the ends of what integers and floats hold.
    fn bits(&mut self) -> u64 {
        const ENDS: &[u64] = &[0, 1, 2, 0x7f, 0x80, 0xff, 0x7fff, 0x8000, 0xffff, 1 << 31, u64::MAX];
        const WIDE: &[u64] = &[1 << 53, (1 << 53) + 1, 1 << 63, u64::MAX >> 1, 0xffff_ffff];
        match self.below(3) {
            0 => ENDS[self.below(ENDS.len())],
            1 => WIDE[self.below(WIDE.len())],
            _ => u64::from_le_bytes(std::array::from_fn(|_| self.byte())),
        }
    }

    fn float(&mut self) -> f64 {
        const SOME: &[f64] = &[0.0, -0.0, 1.0, 0.1, -2.5, 1e21, 1e-7, f64::MAX, f64::MIN_POSITIVE, 5e-324];
        const ODD: &[f64] = &[f64::NAN, f64::INFINITY, f64::NEG_INFINITY];
        match self.below(3) {
            0 => SOME[self.below(SOME.len())],
            1 => ODD[self.below(ODD.len())],
            _ => f64::from_bits(self.bits()),
        }
    }

    fn char(&mut self) -> char {
        const SOME: &str = "ab \"'\\\0\n\r\t\u{7f}\u{85}\u{2028}\u{feff}é🦀{}[](),:/%`$u\u{d7ff}\u{e000}\u{10ffff}";
        let count = SOME.chars().count();
        SOME.chars().nth(self.below(count)).unwrap()
    }

    #[expect(clippy::cast_possible_truncation, reason = "any bits will do")]
    pub(super) fn val(&mut self, ty: &Type) -> Val {
        match ty {
            Type::Bool => Val::Bool(self.below(2) == 1),
            Type::S8 => Val::S8(self.bits() as i8),
            Type::U8 => Val::U8(self.bits() as u8),
            Type::S16 => Val::S16(self.bits() as i16),
            Type::U16 => Val::U16(self.bits() as u16),
            Type::S32 => Val::S32(self.bits() as i32),
            Type::U32 => Val::U32(self.bits() as u32),
            Type::S64 => Val::S64(self.bits() as i64),
            Type::U64 => Val::U64(self.bits()),
            Type::Float32 => Val::Float32(self.float() as f32),
            Type::Float64 => Val::Float64(self.float()),
            Type::Char => Val::Char(self.char()),
            Type::String => Val::String(self.many(|dice| dice.char()).into_iter().collect()),
            Type::List(list) => Val::List(self.many(|dice| dice.val(&list.ty()))),
            Type::FixedLengthList(list) => {
                Val::FixedLengthList((0..list.len()).map(|_| self.val(&list.ty())).collect())
            }
            Type::Map(map) => Val::Map(self.many(|dice| (dice.val(&map.key()), dice.val(&map.value())))),
            Type::Record(record) => {
                Val::Record(record.fields().map(|field| (field.name.to_owned(), self.val(&field.ty))).collect())
            }
            Type::Tuple(tuple) => Val::Tuple(tuple.types().map(|ty| self.val(&ty)).collect()),
            Type::Variant(variant) => {
                let case = variant.cases().nth(self.below(variant.cases().len())).unwrap();
                Val::Variant(case.name.to_owned(), self.boxed(case.ty))
            }
            Type::Enum(cases) => Val::Enum(cases.names().nth(self.below(cases.names().len())).unwrap().to_owned()),
            Type::Option(option) => {
                let there = self.below(3) > 0;
                Val::Option(self.boxed(there.then(|| option.ty())))
            }
            Type::Result(result) if self.below(2) == 0 => Val::Result(Ok(self.boxed(result.ok()))),
            Type::Result(result) => Val::Result(Err(self.boxed(result.err()))),
            Type::Flags(flags) => {
                let names = flags.names().filter(|_| self.below(2) == 1).map(str::to_owned);
                Val::Flags(names.collect())
            }
            Type::Own(_) => {
                let bytes = self.many(Self::byte);
                self.blobs.push(bytes.into());
                Val::U32(u32::try_from(self.blobs.len() - 1).unwrap())
            }
            Type::Borrow(_) | Type::Future(_) | Type::Stream(_) | Type::ErrorContext => unreachable!("not sent"),
        }
    }

    fn many<T>(&mut self, mut each: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let count = self.below(6);
        (0..count).map(|_| each(self)).collect()
    }

    fn boxed(&mut self, ty: Option<Type>) -> Option<Box<Val>> {
        ty.map(|ty| Box::new(self.val(&ty)))
    }
}
