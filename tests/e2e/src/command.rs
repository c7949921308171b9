//! Running the `quark` command.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;

use crate::wait::eventually;

/// What a command did.
#[derive(Debug)]
pub struct Ran {
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// What it printed.
    pub stdout: String,
    /// What it said.
    pub stderr: String,
}

impl Ran {
    /// The same, checked for its exit code.
    ///
    /// # Panics
    /// When it is another one.
    #[track_caller]
    #[must_use]
    pub fn exits(self, code: i32) -> Self {
        assert_eq!(self.code, Some(code), "{self:#?}");
        self
    }

    /// What it printed, as JSON.
    ///
    /// # Panics
    /// When it is none.
    #[track_caller]
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:#?}"))
    }
}

/// The binary under test: `QUARK_BIN`, or the one of the profile that this test was built with.
fn binary() -> PathBuf {
    if let Some(given) = std::env::var_os("QUARK_BIN") {
        return given.into();
    }
    let test = std::env::current_exe().unwrap();
    // target/PROFILE/deps/TEST
    let built = test.parent().and_then(Path::parent).unwrap().join("quark");
    assert!(built.is_file(), "{} is not there: build quark-cli first, or name it in QUARK_BIN", built.display());
    built
}

/// A `quark` command that knows nothing of this user's own settings.
#[must_use]
pub fn quark(config: &Path) -> Command {
    let mut command = Command::new(binary());
    command.env("XDG_CONFIG_HOME", config).env("NO_COLOR", "1").stdin(Stdio::null());
    for name in ["QUARK_URL", "QUARK_TOKEN", "QUARK_LOG", "http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"] {
        command.env_remove(name);
    }
    command
}

/// Runs a command to its end.
///
/// # Panics
/// When it does not end by the deadline; it is killed then.
#[must_use]
pub fn run(mut command: Command) -> Ran {
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (stdout, stderr) = (read(child.stdout.take().unwrap()), read(child.stderr.take().unwrap()));
    let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        eventually("the command ends", || child.try_wait().unwrap())
    }));
    let status = ended.unwrap_or_else(|_| {
        child.kill().unwrap();
        child.wait().unwrap();
        panic!("the command hung: {command:?}")
    });
    Ran { code: status.code(), stdout: stdout.join().unwrap(), stderr: stderr.join().unwrap() }
}

fn read(mut from: impl Read + Send + 'static) -> thread::JoinHandle<String> {
    thread::spawn(move || {
        let mut bytes = Vec::new();
        from.read_to_end(&mut bytes).unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    })
}
