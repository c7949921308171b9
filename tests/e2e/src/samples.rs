//! The sample actors.

use std::fs;
use std::path::PathBuf;

/// A sample's component: `scripts/build-actors.sh` makes it.
///
/// # Panics
/// When it is not built.
#[must_use]
pub fn component(sample: &str) -> Vec<u8> {
    fs::read(component_path(sample)).unwrap_or_else(|error| panic!("the sample {sample} is not built: {error}"))
}

/// Where a sample's component is: under the target folder that this test was built in, or in
/// `QUARK_ACTORS`.
///
/// # Panics
/// When this test has no path.
#[must_use]
pub fn component_path(sample: &str) -> PathBuf {
    let folder = std::env::var_os("QUARK_ACTORS").map_or_else(
        || {
            let test = std::env::current_exe().unwrap();
            // target/PROFILE/deps/TEST
            test.ancestors().nth(3).unwrap().join("actors")
        },
        PathBuf::from,
    );
    folder.join(format!("{sample}.wasm"))
}
