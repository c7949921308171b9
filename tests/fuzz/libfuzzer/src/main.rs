//! libFuzzer around one target of `quark-fuzz`; the environment says which.
#![no_main]

use std::collections::BTreeSet;
use std::panic::{self, PanicHookInfo};
use std::sync::{Mutex, OnceLock};

use libfuzzer_sys::{fuzz_mutator, fuzz_target, fuzzer_mutate};
use quark_fuzz::{Mutations, Target};

/// The variable that names the target.
const TARGET: &str = "QUARK_FUZZ_TARGET";
/// The target whose inputs are text of nested parts, and which runs on this thread alone.
const ADMISSION: &str = "component";

static CHOSEN: OnceLock<(String, Target)> = OnceLock::new();

fn chosen() -> &'static (String, Target) {
    CHOSEN.get_or_init(|| {
        let name = std::env::var(TARGET).unwrap_or_default();
        let Some(target) = quark_fuzz::target(&name) else {
            panic!("{TARGET}={name} is none of {}", quark_fuzz::names())
        };
        if name == ADMISSION {
            // Admission catches the panics of the library that reads WIT; libFuzzer's own hook would
            // end the process before. What it does not catch ends the process still, behind the target.
            panic::set_hook(Box::new(show_once));
        }
        (name, target)
    })
}

/// Prints the panics of each place in the code once: those that are caught come thousands of times.
fn show_once(panic: &PanicHookInfo<'_>) {
    static SHOWN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());
    let place = panic.location().map(ToString::to_string).unwrap_or_default();
    if SHOWN.lock().is_ok_and(|mut shown| shown.insert(place)) {
        eprintln!("{panic}");
    }
}

fuzz_target!(|data: &[u8]| {
    let (_, target) = chosen();
    target(data);
});

fuzz_mutator!(|data: &mut [u8], size: usize, max_size: usize, seed: u32| {
    if chosen().0 != ADMISSION || seed % 2 == 0 {
        return fuzzer_mutate(data, size, max_size);
    }
    let corpus = [data[..size].to_vec()];
    let mut changed = Mutations::of(&corpus, seed.into()).of_nested(&data[..size]);
    changed.truncate(max_size);
    data[..changed.len()].copy_from_slice(&changed);
    changed.len()
});
