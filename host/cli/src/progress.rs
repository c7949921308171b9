//! A sign of life on a terminal, for work that takes a while.

use std::io::{self, IsTerminal as _, Write as _};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Work that is done sooner shows nothing.
const PATIENCE: Duration = Duration::from_millis(400);
const FRAME: Duration = Duration::from_millis(100);
const FRAMES: [char; 4] = ['|', '/', '-', '\\'];

/// Turns until it is dropped.
pub(crate) struct Progress {
    /// Never sent on: its end is the message.
    alive: Option<Sender<()>>,
    turning: Option<JoinHandle<()>>,
}

impl Progress {
    pub(crate) fn start(what: String) -> Self {
        if !io::stderr().is_terminal() {
            return Self { alive: None, turning: None };
        }
        let (alive, ended) = channel::<()>();
        let turning = std::thread::spawn(move || {
            let began = Instant::now();
            let mut wait = PATIENCE;
            let mut shown = false;
            for frame in FRAMES.iter().cycle() {
                if ended.recv_timeout(wait) != Err(RecvTimeoutError::Timeout) {
                    break;
                }
                let seconds = began.elapsed().as_secs();
                shown = write!(io::stderr(), "\r\x1b[K{frame} {what} ({seconds} s)").is_ok();
                wait = FRAME;
            }
            if shown {
                let _ = write!(io::stderr(), "\r\x1b[K");
            }
        });
        Self { alive: Some(alive), turning: Some(turning) }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        drop(self.alive.take());
        if let Some(turning) = self.turning.take() {
            let _ = turning.join();
        }
    }
}
