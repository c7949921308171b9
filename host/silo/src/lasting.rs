//! Turns that last: they go on in threads of their own, which the kernel runs where no worker wants to.
//!
//! A guest gives its thread back at each tick, but with more long turns than workers everybody else would wait
//! for their ticks. So what has run for a tick leaves the workers until it ends or waits for something, and a
//! worker that has something to do takes the processor from it, mostly at once. Linux's scheduler does the rest: busy
//! processors give these threads the share that their nice value stands for. Idle ones are used in full, but for one
//! while there are short turns as well.

use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use metrics::Counter;
use quark_engine::GaveBack;
use tokio::runtime::{Handle, Runtime};

use crate::activation::never_inline;
use crate::dispatch::LetGo;
use crate::run::WORKER_STACK_BYTES;

use self::gate::{Gate, Inside};
pub(crate) use self::methods::LongMethods;

mod gate;
mod methods;

/// How nice its threads are: the kernel gives one a tenth of what a worker gets that wants the same processor.
/// With less, turns that others wait for would hardly end on a busy machine.
const NICE: i32 = 10;

/// Why work leaves the workers.
const LONG: GaveBack = GaveBack::AtTick { long: true };

/// What may last.
type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The threads; there are none before something lasts.
pub(crate) struct LongTurns {
    threads: OnceLock<Option<Threads>>,
    gate: Arc<Gate>,
    /// How often something left the workers.
    left: Counter,
}

/// Nice threads alone do not do: now and then the kernel lets one go on for up to a tick of its own, some
/// milliseconds, though a worker wakes. Nobody waits so for a processor on which nothing runs: so one thread has a
/// runtime of its own, which rests while there are short turns.
struct Threads {
    most: Runtime,
    /// None when there are fewer workers than processors, or only one; or the machine gives no more threads.
    last: Option<Runtime>,
}

impl LongTurns {
    pub(crate) fn new(left: Counter) -> Self {
        Self { threads: OnceLock::new(), gate: Arc::new(Gate::new()), left }
    }

    /// When the machine gives no threads all stays with the workers.
    fn begin<T: Send + 'static>(&self, work: Work<T>) -> At<T> {
        let at = self.go_on(work);
        if matches!(at, At::Long(_)) {
            self.left.increment(1);
        }
        at
    }

    fn go_on<T: Send + 'static>(&self, work: Work<T>) -> At<T> {
        let Some(threads) = self.threads.get_or_init(|| start(&self.gate)) else { return At::Worker(work) };
        let inside = Inside::enter(&self.gate);
        let runtime = threads.last.as_ref().filter(|_| inside.has_last()).unwrap_or(&threads.most);
        At::Long(LetGo(runtime.spawn(slices(work, inside))))
    }

    /// A turn begins that should be a short one.
    pub(crate) fn note_short(&self, now: Instant) {
        self.gate.note_short(now);
    }
}

impl Drop for LongTurns {
    fn drop(&mut self) {
        // The last to hold a silo may be one of these threads, or a task, which must not wait for them.
        if let Some(threads) = self.threads.take().flatten() {
            threads.most.shutdown_background();
            threads.last.into_iter().for_each(Runtime::shutdown_background);
        }
    }
}

fn start(gate: &Gate) -> Option<Threads> {
    let workers = Handle::current().metrics().num_workers();
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let has_last = processors > 1 && workers >= processors;
    let threads = if has_last { processors - 1 } else { workers };
    let no_threads = |error: &io::Error| tracing::warn!(%error, "fewer threads for long turns, or none");
    let most = some(threads, WORKER_STACK_BYTES).inspect_err(no_threads).ok()?;
    let last = has_last.then(|| some(1, WORKER_STACK_BYTES).inspect_err(no_threads).ok()).flatten();
    gate.open(threads, last.is_some());
    Some(Threads { most, last })
}

fn some(threads: usize, stack_bytes: usize) -> io::Result<Runtime> {
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder
        .worker_threads(threads)
        .thread_name("quark-long")
        .thread_stack_size(stack_bytes)
        .on_thread_start(|| {
            // Turns of others would be held up with the one that calls them.
            never_inline();
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::warn!(%error, "long turns have the same priority as others");
            }
        })
        .enable_time();
    // It panics where the system refuses it a thread.
    catch_unwind(AssertUnwindSafe(|| builder.build())).unwrap_or_else(|_| Err(io::Error::other("no more threads")))
}

/// What became of work in these threads; and whether it took more than one slice.
enum Slice<T> {
    Ended(T, bool),
    /// It waits for something, which is no work.
    Waits(Work<T>, bool),
    /// It goes on in another thread.
    Moves(Work<T>),
}

/// Work that goes on in the other threads while it lasts. Only tasks may poll it. Dropped, it ends with the slice that
/// runs.
pub(crate) struct Lasting<T> {
    long: Arc<LongTurns>,
    at: At<T>,
    lasted: bool,
}

enum At<T> {
    Worker(Work<T>),
    Long(LetGo<Slice<T>>),
    Over,
}

impl<T: Send + 'static> Lasting<T> {
    /// It begins in those threads when it `lasts`, as far as anybody knows.
    pub(crate) fn new(long: &Arc<LongTurns>, work: Work<T>, lasts: bool) -> Self {
        let at = if lasts { long.begin(work) } else { At::Worker(work) };
        Self { long: long.clone(), at, lasted: false }
    }

    /// The same for one whose poll just now ended so.
    pub(crate) fn after_a_poll(long: &Arc<LongTurns>, work: Work<T>) -> Self {
        let lasts = quark_engine::gave_back() == LONG;
        Self { lasted: lasts, ..Self::new(long, work, lasts) }
    }

    /// Whether it has run for longer than a slice so far.
    pub(crate) const fn lasted(&self) -> bool {
        self.lasted
    }

    /// Goes on. None when the silo is over.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Option<T>> {
        loop {
            match std::mem::replace(&mut self.at, At::Over) {
                At::Over => return Poll::Ready(None),
                At::Worker(mut work) => {
                    self.at = match poll_slice(&mut work, cx) {
                        Ok(done) => return Poll::Ready(Some(done)),
                        Err(LONG) => {
                            self.lasted = true;
                            self.long.begin(work)
                        }
                        Err(_) => At::Worker(work),
                    };
                    if matches!(self.at, At::Worker(_)) {
                        return Poll::Pending;
                    }
                }
                At::Long(mut slices) => match Pin::new(&mut slices.0).poll(cx) {
                    Poll::Pending => {
                        self.at = At::Long(slices);
                        return Poll::Pending;
                    }
                    Poll::Ready(Ok(Slice::Ended(done, lasted))) => {
                        self.lasted |= lasted;
                        return Poll::Ready(Some(done));
                    }
                    Poll::Ready(Ok(Slice::Waits(work, lasted))) => {
                        self.lasted |= lasted;
                        self.at = At::Worker(work);
                    }
                    Poll::Ready(Ok(Slice::Moves(work))) => {
                        self.lasted = true;
                        self.at = self.long.go_on(work);
                    }
                    Poll::Ready(Err(error)) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
                    Poll::Ready(Err(_)) => return Poll::Ready(None),
                },
            }
        }
    }

    /// Its end.
    pub(crate) async fn end(&mut self) -> Option<T> {
        std::future::poll_fn(|cx| self.poll(cx)).await
    }

    /// Drops the work, wherever it is: when this has ended it runs no more.
    pub(crate) async fn give_up(self) {
        if let At::Long(mut slices) = self.at {
            slices.0.abort();
            drop((&mut slices.0).await);
        }
    }
}

/// Its result; or why it has none yet.
fn poll_slice<T>(work: &mut Work<T>, cx: &mut Context<'_>) -> Result<T, GaveBack> {
    // What others on this thread left.
    let _before = quark_engine::gave_back();
    match work.as_mut().poll(cx) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => Err(quark_engine::gave_back()),
    }
}

/// Polls the work until it ends, or waits for something else than its next slice.
async fn slices<T>(mut work: Work<T>, inside: Inside) -> Slice<T> {
    let mut lasted = false;
    loop {
        match std::future::poll_fn(|cx| Poll::Ready(poll_slice(&mut work, cx))).await {
            Ok(done) => return Slice::Ended(done, lasted),
            // The first tick may pass early in a slice; a worker would only take the rest of a long turn.
            Err(GaveBack::AtTick { long }) => lasted |= long,
            Err(GaveBack::ToWait) => return Slice::Waits(work, lasted),
        }
        if lasted && inside.moves() {
            return Slice::Moves(work);
        }
        tokio::task::yield_now().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_system_that_refuses_threads_is_an_error() {
        // No system has room for such a stack.
        assert!(some(2, 1 << 60).is_err());
        let two = some(2, WORKER_STACK_BYTES).unwrap();
        assert_eq!(two.metrics().num_workers(), 2);
        two.shutdown_background();
    }
}
