//! Standard output: a reader that went away is no error, anything else is.

use std::fmt::Display;
use std::io::{self, IsTerminal as _, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::thread::sleep;
use std::time::{Duration, Instant};

use quark_silo::api::Failure;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, fstat};
use rustix::io::Errno;
use serde::Serialize;

/// What a command prints.
pub(crate) struct Output<'a> {
    to: Box<dyn Write + 'a>,
    terminal: bool,
    /// Where it shows that the reader went away before anything is written to it.
    watched: Option<Box<dyn AsFd + 'a>>,
    failed: Option<io::Error>,
}

impl<'a> Output<'a> {
    pub(crate) fn stdout() -> Self {
        let stdout = io::stdout();
        let terminal = stdout.is_terminal();
        Self::new(io::BufWriter::new(stdout), terminal).watching(io::stdout())
    }

    pub(crate) fn new(to: impl Write + 'a, terminal: bool) -> Self {
        Self { to: Box::new(to), terminal, watched: None, failed: None }
    }

    /// The same; `end` is what it writes to, and is watched where it has a reader that can go away.
    fn watching(self, end: impl AsFd + 'a) -> Self {
        let kind = fstat(&end).map(|stat| FileType::from_raw_mode(stat.st_mode));
        let has_reader = matches!(kind, Ok(FileType::Fifo | FileType::Socket));
        Self { watched: has_reader.then(|| Box::new(end) as Box<dyn AsFd + 'a>), ..self }
    }

    /// Whether a person reads it.
    pub(crate) const fn is_terminal(&self) -> bool {
        self.terminal
    }

    pub(crate) fn line(&mut self, text: impl Display) {
        self.write(|to| writeln!(to, "{text}"));
    }

    /// A line that is out before anything else happens.
    pub(crate) fn said(&mut self, text: impl Display) {
        self.write(|to| writeln!(to, "{text}").and_then(|()| to.flush()));
    }

    pub(crate) fn bytes(&mut self, bytes: &[u8]) {
        self.write(|to| to.write_all(bytes));
    }

    /// One line of JSON; several on a terminal.
    pub(crate) fn json(&mut self, value: &impl Serialize) {
        let pretty = self.terminal;
        self.write(|to| {
            if pretty {
                serde_json::to_writer_pretty(&mut *to, value)?;
            } else {
                serde_json::to_writer(&mut *to, value)?;
            }
            writeln!(to)
        });
    }

    fn write(&mut self, write: impl FnOnce(&mut dyn Write) -> io::Result<()>) {
        if self.failed.is_none() {
            self.failed = write(&mut *self.to).err();
        }
    }

    /// Waits so long, or until the reader wants no more; says whether that is so.
    pub(crate) fn is_closed_after(&mut self, time: Duration) -> bool {
        match &self.watched {
            _ if self.failed.is_some() => {}
            Some(end) if is_left_within(end.as_fd(), time) => self.failed = Some(io::ErrorKind::BrokenPipe.into()),
            Some(_) => {}
            None => sleep(time),
        }
        self.failed.is_some()
    }

    /// Flushes, and says whether all of it went out or the reader wanted no more.
    pub(crate) fn finish(&mut self) -> Result<(), Failure> {
        self.write(|to| to.flush());
        match &self.failed {
            Some(error) if error.kind() != io::ErrorKind::BrokenPipe => {
                Err(Failure::new("output-failed", format!("cannot write the output: {error}")))
            }
            Some(_) | None => Ok(()),
        }
    }
}

/// Waits so long, or until nobody holds the other end any more; says whether that is so.
fn is_left_within(end: BorrowedFd<'_>, time: Duration) -> bool {
    let until = Instant::now() + time;
    loop {
        let left = until.saturating_duration_since(Instant::now());
        // Nothing is asked for: errors and the end are told all the same.
        let mut ends = [PollFd::from_borrowed_fd(end, PollFlags::empty())];
        match poll(&mut ends, Timespec::try_from(left).ok().as_ref()) {
            Ok(told) => return told > 0,
            Err(Errno::INTR) => {}
            Err(_) => {
                sleep(left);
                return false;
            }
        }
    }
}

/// As many characters of a text, with a sign where it goes on.
pub(crate) fn cut(text: &str, chars: usize) -> String {
    match text.char_indices().nth(chars) {
        Some((end, _)) => format!("{}...", &text[..end]),
        None => text.to_owned(),
    }
}

/// Text of somebody else's, without what would steer the terminal.
pub(crate) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        if steers(c) { plain.extend(c.escape_debug()) } else { plain.push(c) }
    }
    plain
}

/// Control characters, and those that break a line or turn the direction of what follows.
fn steers(c: char) -> bool {
    let turns = ['\u{61c}', '\u{200e}', '\u{200f}'];
    c.is_control() || turns.contains(&c) || matches!(c, '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// Whether text for people on this stream may have colours.
pub(crate) fn may_colour(stream: &impl io::IsTerminal) -> bool {
    stream.is_terminal() && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Broken(io::ErrorKind);

    impl Write for Broken {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(self.0.into())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn a_reader_that_left_is_no_error_and_a_full_disk_is() {
        let after = |kind| {
            let mut out = Output::new(Broken(kind), false);
            out.line("one");
            out.line("two");
            out.finish()
        };
        assert!(after(io::ErrorKind::BrokenPipe).is_ok());
        assert!(after(io::ErrorKind::StorageFull).is_err_and(|failure| failure.code == "output-failed"));
    }

    #[test]
    fn a_reader_that_leaves_ends_the_wait() {
        let (reader, writer) = io::pipe().unwrap();
        let mut out = Output::new(io::sink(), false).watching(writer);
        assert!(!out.is_closed_after(Duration::from_millis(1)));
        drop(reader);
        let began = Instant::now();
        assert!(out.is_closed_after(Duration::from_mins(1)) && began.elapsed() < Duration::from_secs(30));
        assert!(out.is_closed_after(Duration::from_mins(1)) && out.finish().is_ok());
        let (reader, writer) = std::os::unix::net::UnixStream::pair().unwrap();
        let mut out = Output::new(io::sink(), false).watching(writer);
        assert!(!out.is_closed_after(Duration::ZERO));
        drop(reader);
        assert!(out.is_closed_after(Duration::from_mins(1)));
        // A file has no reader.
        let file = std::fs::File::open("/dev/null").unwrap();
        assert!(Output::new(io::sink(), false).watching(file).watched.is_none());
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(plain("é \u{1b}[31mred\n"), "é \\u{1b}[31mred\\n");
        assert_eq!(plain("a\u{202e}b\u{2028}c\u{9b}"), "a\\u{202e}b\\u{2028}c\\u{9b}");
    }
}
