//! A silo that runs for a test.

use std::ffi::OsStr;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, mpsc};
use std::thread;

use tempfile::TempDir;

use crate::client::Client;
use crate::command::{Ran, quark, run};
use crate::wait::{DEADLINE, eventually};

/// A silo on a folder of its own. What is left of it is killed when it is dropped.
pub struct Silo {
    child: Option<Child>,
    folder: TempDir,
    address: String,
    log: Arc<Mutex<String>>,
}

impl Silo {
    /// Starts one with these arguments beside the address and the data folder, and waits until it
    /// is ready.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let mut silo = Self::new();
        silo.restart(arguments);
        silo
    }

    /// The same with samples deployed.
    #[must_use]
    pub fn with(samples: &[&str]) -> Self {
        let silo = Self::start(&[]);
        for sample in samples {
            silo.client().deploy(sample, "");
        }
        silo
    }

    /// One that does not run yet, with an empty data folder.
    ///
    /// # Panics
    /// When there is no folder to be had.
    #[must_use]
    pub fn new() -> Self {
        let folder = TempDir::new().unwrap();
        fs::create_dir(folder.path().join("data")).unwrap();
        Self { child: None, folder, address: String::new(), log: Arc::default() }
    }

    /// The data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The folder around it, for what a test writes.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// Its `HOST:PORT`.
    #[must_use]
    pub fn address(&self) -> &str {
        &self.address
    }

    /// Its process.
    ///
    /// # Panics
    /// When it does not run.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// What it logged until now.
    ///
    /// # Panics
    /// When whoever reads the log has panicked.
    #[must_use]
    pub fn log(&self) -> String {
        self.log.lock().unwrap().clone()
    }

    /// The command that starts it.
    #[must_use]
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = quark(&self.folder.path().join("config"));
        command.args(["silo", "--http", "127.0.0.1:0", "--data"]).arg(self.data()).args(arguments);
        command
    }

    /// Starts it, on the data that is there, and waits until it answers.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn restart(&mut self, arguments: &[&str]) {
        self.spawn(arguments);
        let client = self.client();
        eventually("the silo is ready", || client.try_send("GET", "/readyz", &[], &[]).filter(|it| it.status == 200));
    }

    /// Starts it, and waits until it listens.
    ///
    /// # Panics
    /// When it does not come up.
    pub fn spawn(&mut self, arguments: &[&str]) {
        assert!(self.child.is_none(), "it runs already");
        let mut command = self.command(arguments);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (say, said) = mpsc::channel();
        let stdout = BufReader::new(child.stdout.take().unwrap());
        thread::spawn(move || {
            for line in stdout.lines().map_while(Result::ok) {
                // The test may have heard enough.
                let _ = say.send(line);
            }
        });
        let (stderr, log) = (BufReader::new(child.stderr.take().unwrap()), self.log.clone());
        thread::spawn(move || {
            for line in stderr.lines().map_while(Result::ok) {
                let mut log = log.lock().unwrap();
                log.push_str(&line);
                log.push('\n');
            }
        });
        self.child = Some(child);
        let line = said.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("the silo did not start:\n{}", self.log()));
        let address = line.strip_prefix("listening on http://");
        address.unwrap_or_else(|| panic!("it said: {line}")).clone_into(&mut self.address);
    }

    /// `kill -9`.
    ///
    /// # Panics
    /// When it does not run.
    pub fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// SIGTERM, and nothing else.
    pub fn ask_to_stop(&self) {
        self.signal("TERM");
    }

    /// A signal, by its name without SIG.
    ///
    /// # Panics
    /// When it does not run.
    pub fn signal(&self, name: &str) {
        let kill = Command::new("sh").args(["-c", &format!("kill -{name} {}", self.pid())]).status().unwrap();
        assert!(kill.success());
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// When it does not end by the deadline.
    pub fn ended(&mut self) -> ExitStatus {
        let mut child = self.child.take().unwrap();
        let log = self.log.clone();
        let ended = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            eventually("the silo ends", || child.try_wait().unwrap())
        }));
        ended.unwrap_or_else(|_| {
            child.kill().unwrap();
            child.wait().unwrap();
            panic!("it did not stop:\n{}", log.lock().unwrap())
        })
    }

    /// SIGTERM, and its end.
    pub fn stop(&mut self) -> ExitStatus {
        self.ask_to_stop();
        self.ended()
    }

    /// `kill -9` and a start on the same data.
    pub fn crash(&mut self) {
        self.kill();
        self.restart(&[]);
    }

    /// A client with the admin token.
    ///
    /// # Panics
    /// When there is no token.
    #[must_use]
    pub fn client(&self) -> Client {
        let token = fs::read_to_string(self.data().join("admin-token")).unwrap();
        Client::new(&self.address, Some(token.trim().to_owned()))
    }

    /// A client as anybody has it.
    #[must_use]
    pub fn stranger(&self) -> Client {
        Client::new(&self.address, None)
    }

    /// Runs the command line against it.
    #[must_use]
    pub fn cli<S: AsRef<OsStr>>(&self, arguments: &[S]) -> Ran {
        let mut command = quark(&self.folder.path().join("config"));
        command.args(arguments).env("QUARK_URL", format!("http://{}", self.address));
        run(command)
    }
}

impl Default for Silo {
    fn default() -> Self {
        Self::new()
    }
}

impl Drop for Silo {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
        if thread::panicking() {
            let log = self.log.lock().map(|log| log.clone()).unwrap_or_default();
            let tail: Vec<&str> = log.lines().rev().take(20).collect();
            let lines: String = tail.iter().rev().map(|line| format!("  {line}\n")).collect();
            #[expect(clippy::print_stderr, reason = "the test failed: what the silo said may tell why")]
            {
                eprintln!("the silo's last lines:\n{lines}");
            }
        }
    }
}
