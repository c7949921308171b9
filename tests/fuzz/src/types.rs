//! Component types out of a line of text in prefix notation, so that a corpus can be read: `LOs` is a
//! list of options of strings.
//!
//! | letters           | type                                            |
//! |-------------------|-------------------------------------------------|
//! | `b c s B`         | bool, char, string, blob                        |
//! | `i j k l u v w x` | s8 to s64, u8 to u64                            |
//! | `f g`             | f32, f64                                        |
//! | `L O`             | list, option; a type follows                    |
//! | `A`               | list of fixed length; a count and a type follow |
//! | `M`               | map; the key's type and the value's follow      |
//! | `R T`             | record, tuple; a count and that many types      |
//! | `V X`             | variant, result (no count): types, or `-`       |
//! | `E G`             | enum, flags; a count                            |
//!
//! Any bytes are a line: what is no letter stands for one, and where the line ends is a bool.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt::Write as _;
use std::rc::Rc;
use std::sync::LazyLock;

use wasmtime::component::Component;
use wasmtime::component::types::{ComponentItem, Type};
use wasmtime::{Config, Engine};

/// The parameters of a method.
pub(crate) type Params = Rc<Vec<(String, Type)>>;

/// The most parameters.
const PARAMS_MAX: usize = 4;
/// Types in types.
const DEPTH_MAX: usize = 8;
/// All types together.
const TYPES_MAX: usize = 40;
/// Fields, cases, flags.
const PARTS_MAX: usize = 9;
/// Lines whose types are kept; making them anew takes longer than all else.
const KEPT_MAX: usize = 2000;
/// Names that mean something in one of the formats, and others.
const NAMES: [&str; PARTS_MAX] = ["some", "x", "none", "a-b", "ok", "true", "err", "nan", "inf"];
const LETTERS: &[u8] = b"bcsBijkluvwxfgLOAMRTVXEG";

/// The parameters that a line stands for.
pub(crate) fn params(line: &[u8]) -> Params {
    thread_local! {
        static KEPT: RefCell<HashMap<Vec<u8>, Params>> = RefCell::default();
    }
    KEPT.with_borrow_mut(|kept| {
        if let Some(params) = kept.get(line) {
            return params.clone();
        }
        if kept.len() >= KEPT_MAX {
            kept.clear();
        }
        let params = Rc::new(compile(&Writer::write(line)));
        kept.insert(line.to_vec(), params.clone());
        params
    })
}

static ENGINE: LazyLock<Engine> = LazyLock::new(|| {
    let mut config = Config::new();
    config.wasm_component_model_map(true).wasm_component_model_fixed_length_lists(true);
    Engine::new(&config).expect("this machine runs wasmtime")
});

/// A component that only imports a function has types, and nothing to compile.
fn compile(wat: &str) -> Vec<(String, Type)> {
    let bytes = wat::parse_str(wat).unwrap_or_else(|error| panic!("{error}\n{wat}"));
    let component = Component::new(&ENGINE, bytes).unwrap_or_else(|error| panic!("{error:#}\n{wat}"));
    let import = component.component_type().get_import(&ENGINE, "takes").map(|import| import.ty);
    let Some(ComponentItem::ComponentFunc(function)) = import else { panic!("it imports a function: {wat}") };
    function.params().map(|(name, ty)| (name.to_owned(), ty)).collect()
}

/// Writes types as a component's text has them.
struct Writer<'l> {
    line: std::slice::Iter<'l, u8>,
    /// Types that must have names: `(type ...) (import ...)`.
    named: String,
    names: usize,
    types: usize,
}

impl<'l> Writer<'l> {
    fn write(line: &'l [u8]) -> String {
        let mut writer = Self { line: line.iter(), named: String::new(), names: 0, types: 0 };
        let mut params = String::new();
        for at in 0..PARAMS_MAX {
            if writer.line.len() == 0 && at > 0 {
                break;
            }
            let ty = writer.ty(0);
            let _ = write!(params, " (param \"p{at}\" {ty})");
        }
        format!(
            "(component (import \"blob\" (type $blob (sub resource)))\n{}(import \"takes\" (func{params})))",
            writer.named
        )
    }

    fn byte(&mut self) -> u8 {
        self.line.next().copied().unwrap_or(b'b')
    }

    fn letter(&mut self) -> u8 {
        let byte = self.byte();
        if LETTERS.contains(&byte) { byte } else { LETTERS[usize::from(byte) % LETTERS.len()] }
    }

    /// 1 to [`PARTS_MAX`]; a digit means itself.
    fn count(&mut self) -> usize {
        let byte = self.byte();
        usize::from(byte.wrapping_sub(b'1')) % PARTS_MAX + 1
    }

    fn ty(&mut self, depth: usize) -> String {
        self.types += 1;
        let letter = self.letter();
        if let Some(plain) = plain(letter) {
            return plain.into();
        }
        if depth >= DEPTH_MAX || self.types >= TYPES_MAX {
            return "bool".into();
        }
        let depth = depth + 1;
        match letter {
            b'L' => format!("(list {})", self.ty(depth)),
            b'O' => format!("(option {})", self.ty(depth)),
            b'A' => {
                let count = self.count();
                format!("(list {} {count})", self.ty(depth))
            }
            b'M' => {
                let key = self.letter();
                // Keys are what can be compared.
                let key = plain(key).filter(|_| !b"Bfg".contains(&key)).unwrap_or("string");
                format!("(map {key} {})", self.ty(depth))
            }
            b'T' => {
                let count = self.count();
                let types: Vec<String> = (0..count).map(|_| self.ty(depth)).collect();
                format!("(tuple {})", types.join(" "))
            }
            b'X' => {
                let ok = self.payload(depth);
                let err = self.payload(depth).map(|err| format!(" (error {err})"));
                format!("(result {}{})", ok.unwrap_or_default(), err.unwrap_or_default())
            }
            b'R' => {
                let count = self.count();
                let fields = (0..count).map(|at| format!(" (field \"{}\" {})", NAMES[at], self.ty(depth)));
                let fields: String = fields.collect();
                self.name(&format!("record{fields}"))
            }
            b'V' => {
                let count = self.count();
                let cases = (0..count)
                    .map(|at| format!(" (case \"{}\" {})", NAMES[at], self.payload(depth).unwrap_or_default()));
                let cases: String = cases.collect();
                self.name(&format!("variant{cases}"))
            }
            other => {
                let form = if other == b'E' { "enum" } else { "flags" };
                let count = self.count();
                let names: Vec<String> = NAMES[..count].iter().map(|name| format!("\"{name}\"")).collect();
                self.name(&format!("{form} {}", names.join(" ")))
            }
        }
    }

    fn payload(&mut self, depth: usize) -> Option<String> {
        if self.line.as_slice().first() == Some(&b'-') {
            self.line.next();
            return None;
        }
        Some(self.ty(depth))
    }

    fn name(&mut self, definition: &str) -> String {
        let at = self.names;
        self.names += 1;
        let _ = writeln!(self.named, "(type $d{at} ({definition}))\n(import \"t{at}\" (type $t{at} (eq $d{at})))");
        format!("$t{at}")
    }
}

fn plain(letter: u8) -> Option<&'static str> {
    Some(match letter {
        b'b' => "bool",
        b'c' => "char",
        b's' => "string",
        b'B' => "(own $blob)",
        b'i' => "s8",
        b'j' => "s16",
        b'k' => "s32",
        b'l' => "s64",
        b'u' => "u8",
        b'v' => "u16",
        b'w' => "u32",
        b'x' => "u64",
        b'f' => "f32",
        b'g' => "f64",
        _ => return None,
    })
}
