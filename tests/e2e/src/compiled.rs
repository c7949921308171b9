//! Silos for components that take long to compile: what one test has compiled the others find.

use std::fs::{self, File};
use std::os::unix::fs::symlink;
use std::time::Duration;

use crate::client::Client;
use crate::samples::component_path;
use crate::silo::Silo;

/// How long a deploy may take: a whole runtime of a language is compiled, by a debug build.
const DEPLOY: Duration = Duration::from_secs(900);

impl Silo {
    /// One with samples deployed, whose compiled code is kept beside them for all tests. It must not
    /// be another version of Quark that wrote it, which the names of these files take care of.
    ///
    /// # Panics
    /// When a sample is not built or cannot be deployed.
    #[must_use]
    pub fn with_compiled(samples: &[&str]) -> Self {
        let shared = component_path("compiled").with_extension("");
        fs::create_dir_all(&shared).unwrap();
        let mut silo = Self::new();
        symlink(&shared, silo.data().join("compiled")).unwrap();
        silo.restart(&[]);
        let client = silo.client();
        let client = Client::waiting(&client.address, client.token, DEPLOY);
        // Tests run side by side: one compiles, the others wait and find it. The lock ends with the file.
        let lock = File::create(shared.join("lock")).unwrap();
        lock.lock().unwrap();
        for sample in samples {
            client.deploy(sample, "");
        }
        silo
    }
}
