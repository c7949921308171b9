//! WASI 0.2 with an empty context: no files, no network, no environment. What a guest prints goes
//! to its log, and its last line becomes a trap's reason.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::io::AsyncWrite;
use wasmtime::component::{Linker, Resource};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::bindings::io::poll;
use wasmtime_wasi::p2::bindings::sync::io::streams as sync_streams;
use wasmtime_wasi::p2::{DynOutputStream, DynPollable, OutputStream, Pollable, StreamError, StreamResult};
use wasmtime_wasi::{WasiCtx, WasiView};

use crate::guest::Guest;
use crate::host::log::cut;
use crate::kind::Lane;
use crate::outside::{Level, Outside};
use crate::rest::Rest;
use crate::seats::attribute;

/// The longest line that is kept.
const LINE_BYTES_MAX: usize = 8 * 1024;
/// What a guest may write in one go.
const WRITE_BYTES_MAX: usize = 1 << 20;
/// How lines begin that say less than those before them: parts of a message, notes on backtraces, and
/// how the runtime of JavaScript (StarlingMonkey) ends.
const ASIDES: [&str; 4] = [" ", "note: ", "Stack:", "Redirecting call to abort()"];
/// What the runtime of Python (componentize-py) panics with after it has told an exception.
const EXCEPTION_WAS_TOLD: &str = "Python function threw an unexpected exception";
/// Functions of WASI that wait, or that give something to wait for. `poll` and `pollable.block` are
/// not among them: every standard library links them, and without one of these all that a guest can
/// ask them for is its own output, which is always ready.
const WAITS: [&str; 12] = [
    "subscribe-instant",
    "subscribe-duration",
    "[method]input-stream.subscribe",
    "[method]input-stream.blocking-read",
    "[method]input-stream.blocking-skip",
    "[method]output-stream.splice",
    "[method]output-stream.blocking-splice",
    "[method]tcp-socket.subscribe",
    "[method]udp-socket.subscribe",
    "[method]incoming-datagram-stream.subscribe",
    "[method]outgoing-datagram-stream.subscribe",
    "[method]resolve-address-stream.subscribe",
];

/// The guest's output, cut into lines.
pub(crate) struct Lines {
    host: Mutex<Arc<dyn Outside>>,
    text: Mutex<Text>,
}

#[derive(Default)]
struct Text {
    open: String,
    last: String,
    /// The one before the last, while that is a panic's.
    before: String,
}

impl Text {
    /// Keeps the line that tells most: a panic's message is two lines, and the runtime of a language
    /// ends with less than the error that it ended for.
    fn keep(&mut self, line: String) {
        if self.last.contains("panicked at") && self.last.ends_with(':') {
            if line == EXCEPTION_WAS_TOLD && !self.before.is_empty() {
                self.last = std::mem::take(&mut self.before);
                return;
            }
            self.last.push(' ');
            self.last.push_str(&line);
            cut(&mut self.last, LINE_BYTES_MAX);
        } else if self.last.is_empty() || !ASIDES.iter().any(|aside| line.starts_with(aside)) {
            self.before = std::mem::replace(&mut self.last, line);
        }
    }
}

impl Lines {
    pub(crate) fn new(host: Arc<dyn Outside>) -> Arc<Self> {
        Arc::new(Self { host: Mutex::new(host), text: Mutex::default() })
    }

    /// What comes from now on is another actor's.
    pub(crate) fn turn_to(&self, host: &Arc<dyn Outside>) {
        let mut now = self.host.lock();
        if !Arc::ptr_eq(&now, host) {
            *now = host.clone();
            *self.text.lock() = Text::default();
        }
    }

    fn write(&self, bytes: &[u8]) {
        let mut text = self.text.lock();
        for piece in String::from_utf8_lossy(bytes).split_inclusive('\n') {
            let room = LINE_BYTES_MAX.saturating_sub(text.open.len());
            let mut piece_cut = piece.trim_end_matches('\n').to_owned();
            cut(&mut piece_cut, room);
            text.open.push_str(&piece_cut);
            if piece.ends_with('\n') {
                let line = std::mem::take(&mut text.open);
                if !line.trim().is_empty() {
                    self.host.lock().log(Level::Info, &line);
                    text.keep(line);
                }
            }
        }
    }

    /// A line that was logged, as the last one said.
    pub(crate) fn note(&self, line: &str) {
        self.text.lock().keep(line.to_owned());
    }

    /// What the guest said last, on one line.
    pub(crate) fn last(&self) -> String {
        let text = self.text.lock();
        if text.open.trim().is_empty() { text.last.clone() } else { text.open.clone() }
    }
}

struct Stdio(Arc<Lines>);

impl IsTerminal for Stdio {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Stdio {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Self(self.0.clone()))
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Stdio {
    async fn ready(&mut self) {}
}

impl OutputStream for Stdio {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.0.write(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(WRITE_BYTES_MAX)
    }
}

/// The empty context.
pub(crate) fn context(lines: &Arc<Lines>) -> WasiCtx {
    WasiCtx::builder()
        .stdout(Stdio(lines.clone()))
        .stderr(Stdio(lines.clone()))
        .allow_tcp(false)
        .allow_udp(false)
        .build()
}

/// Whether that function of WASI suspends its caller.
pub(crate) fn suspends(function: &str) -> bool {
    WAITS.contains(&function)
}

/// Defines WASI for components of that lane.
pub(crate) fn define(linker: &mut Linker<Guest>, lane: Lane) -> wasmtime::Result<()> {
    match lane {
        Lane::Fiber => wasmtime_wasi::p2::add_to_linker_async(linker),
        Lane::Concurrent => {
            wasmtime_wasi::p2::add_to_linker_async(linker)?;
            define_waits(linker)?;
            define_output(linker)
        }
        Lane::Direct => {
            wasmtime_wasi::p2::add_to_linker_sync(linker)?;
            define_poll(linker)?;
            define_output(linker)
        }
    }
}

/// The ready-made synchronous functions block their thread on a runtime of their own, which must not
/// happen on a worker. In the direct lane nothing but the output below can be polled.
fn define_poll(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.func_wrap(
        "[method]pollable.block",
        |_: wasmtime::StoreContextMut<'_, Guest>, (_,): (Resource<DynPollable>,)| Ok(()),
    )?;
    poll.func_wrap("poll", |_: wasmtime::StoreContextMut<'_, Guest>, (all,): (Vec<Resource<DynPollable>>,)| {
        Ok(((0u32..).take(all.len()).collect::<Vec<_>>(),))
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// All that waits in WASI, since nothing is behind the rest of it: noted, where turns may wait for several
/// things.
fn define_waits(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut poll = linker.instance("wasi:io/poll@0.2.12")?;
    poll.func_wrap_async("[method]pollable.block", |mut store, (it,): (Resource<DynPollable>,)| {
        Box::new(async move {
            let guest: &mut Guest = store.data_mut();
            let _under_way = guest.rest.as_ref().map(Rest::other);
            poll::HostPollable::block(&mut guest.table, it).await
        })
    })?;
    poll.func_wrap_async("poll", |mut store, (all,): (Vec<Resource<DynPollable>>,)| {
        Box::new(async move {
            let guest: &mut Guest = store.data_mut();
            let _under_way = guest.rest.as_ref().map(Rest::other);
            Ok((poll::Host::poll(&mut guest.table, all).await?,))
        })
    })?;
    linker.allow_shadowing(false);
    Ok(())
}

/// The only streams are those above, which never wait; each line is told as of the actor whose turn
/// it is.
fn define_output(linker: &mut Linker<Guest>) -> wasmtime::Result<()> {
    linker.allow_shadowing(true);
    let mut streams = linker.instance("wasi:io/streams@0.2.12")?;
    streams.func_wrap(
        "[method]output-stream.blocking-write-and-flush",
        |mut store: wasmtime::StoreContextMut<'_, Guest>, (stream, bytes): (Resource<DynOutputStream>, Vec<u8>)| {
            Ok((write_now(&mut store, &stream, bytes)?,))
        },
    )?;
    streams.func_wrap(
        "[method]output-stream.write",
        |mut store: wasmtime::StoreContextMut<'_, Guest>, (stream, bytes): (Resource<DynOutputStream>, Vec<u8>)| {
            Ok((write_now(&mut store, &stream, bytes)?,))
        },
    )?;
    streams.func_wrap(
        "[method]output-stream.blocking-flush",
        |mut store: wasmtime::StoreContextMut<'_, Guest>, (stream,): (Resource<DynOutputStream>,)| {
            store.data_mut().ctx().table.get_mut(&stream)?;
            Ok((Ok::<(), sync_streams::StreamError>(()),))
        },
    )?;
    streams.func_wrap(
        "[method]output-stream.blocking-write-zeroes-and-flush",
        |mut store: wasmtime::StoreContextMut<'_, Guest>, (stream, _len): (Resource<DynOutputStream>, u64)| {
            store.data_mut().ctx().table.get_mut(&stream)?;
            Ok((Ok::<(), sync_streams::StreamError>(()),))
        },
    )?;
    linker.allow_shadowing(false);
    Ok(())
}

fn write_now(
    store: &mut wasmtime::StoreContextMut<'_, Guest>,
    stream: &Resource<DynOutputStream>,
    bytes: Vec<u8>,
) -> wasmtime::Result<Result<(), sync_streams::StreamError>> {
    // What a guest says after its turn is of the actor that was shown last, of which it knows.
    drop(attribute(store));
    let guest = store.data_mut();
    guest.lines.turn_to(&guest.member.host);
    let stream = guest.table.get_mut(stream)?;
    match stream.write(bytes.into()) {
        Ok(()) => Ok(Ok(())),
        Err(StreamError::Closed) => Ok(Err(sync_streams::StreamError::Closed)),
        Err(StreamError::LastOperationFailed(error) | StreamError::Trap(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_kept(lines: &[&str], kept: &str) {
        let mut text = Text::default();
        lines.iter().for_each(|line| text.keep((*line).to_owned()));
        assert_eq!(text.last, kept);
    }

    #[test]
    fn the_last_line_is_the_one_that_tells() {
        let panic = ["thread '<unnamed>' panicked at src/lib.rs:7:9:", "no such thing", "  left: 1", "note: run with"];
        let told = "thread '<unnamed>' panicked at src/lib.rs:7:9: no such thing";
        check_kept(&panic, told);
        check_kept(&[&["before"], &panic[..]].concat(), told);
        check_kept(&[&panic[..], &["later"]].concat(), "later");
    }

    #[test]
    fn the_error_tells_more_than_the_end_of_its_runtime() {
        let end = ["thread '<unnamed>' (1) panicked at runtime/src/lib.rs:1:2:", EXCEPTION_WAS_TOLD, "note: run with"];
        let traceback = ["Traceback (most recent call last):", "  File \"a.py\", line 1, in f", "ValueError: boo"];
        check_kept(&[&traceback[..], &end].concat(), "ValueError: boo");
        let panic = "thread '<unnamed>' (1) panicked at runtime/src/lib.rs:1:2: ";
        check_kept(&end, &format!("{panic}{EXCEPTION_WAS_TOLD}"));
        let javascript =
            ["received `Error: boo`", "Stack:", "  f@a.js:1:2", "Redirecting call to abort() to mozalloc_abort"];
        check_kept(&javascript, "received `Error: boo`");
    }
}
