//! Turns that last: they go on in threads of their own, which the kernel runs where no worker wants to.
//!
//! A guest gives its thread back at each tick, but with more long turns than workers everybody else would wait
//! for their ticks. So what has run for a tick leaves the workers until it ends or waits for something, and a
//! worker that has something to do takes the processor from it, mostly at once. Linux's scheduler does the rest: idle
//! processors are used in full, and busy ones give these threads the share that their nice value stands for.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use metrics::Counter;
use tokio::runtime::{Handle, Runtime};

use crate::activation::never_inline;
use crate::dispatch::LetGo;
use crate::run::WORKER_STACK_BYTES;

/// How nice its threads are: the kernel gives one a tenth of what a worker gets that wants the same processor.
/// With less, turns that others wait for would hardly end on a busy machine.
const NICE: i32 = 10;

/// What may last.
type Work<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The threads; there are none before something lasts. As many as there are workers.
pub(crate) struct LongTurns {
    runtime: OnceLock<Option<Runtime>>,
    /// How often something left the workers.
    left: Counter,
}

impl LongTurns {
    pub(crate) const fn new(left: Counter) -> Self {
        Self { runtime: OnceLock::new(), left }
    }

    /// When the machine gives no threads all stays with the workers.
    fn go_on<T: Send + 'static>(&self, work: Work<T>) -> At<T> {
        match self.runtime.get_or_init(start) {
            Some(runtime) => {
                self.left.increment(1);
                At::Long(LetGo(runtime.spawn(slices(work))))
            }
            None => At::Worker(work),
        }
    }
}

impl Drop for LongTurns {
    fn drop(&mut self) {
        // The last to hold a silo may be one of these threads, or a task, which must not wait for them.
        self.runtime.take().flatten().into_iter().for_each(Runtime::shutdown_background);
    }
}

fn start() -> Option<Runtime> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(Handle::current().metrics().num_workers())
        .thread_name("quark-long")
        .thread_stack_size(WORKER_STACK_BYTES)
        .on_thread_start(|| {
            // Turns of others would be held up with the one that calls them.
            never_inline();
            if let Err(error) = rustix::process::setpriority_process(None, NICE) {
                tracing::warn!(%error, "long turns have the same priority as others");
            }
        })
        .enable_time()
        .build();
    runtime.inspect_err(|error| tracing::warn!(%error, "no threads for long turns")).ok()
}

/// What became of work in these threads; and whether it took more than one slice.
enum Slice<T> {
    Ended(T, bool),
    /// It waits for something, which is no work.
    Waits(Work<T>, bool),
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
        let at = if lasts { long.go_on(work) } else { At::Worker(work) };
        Self { long: long.clone(), at, lasted: false }
    }

    /// The same for one whose poll just now ended so.
    pub(crate) fn after_a_poll(long: &Arc<LongTurns>, work: Work<T>) -> Self {
        let lasts = quark_engine::lasts();
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
                        Err(true) => {
                            self.lasted = true;
                            self.long.go_on(work)
                        }
                        Err(false) => At::Worker(work),
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

/// Its result; or whether it has more to do, and waits for nothing.
fn poll_slice<T>(work: &mut Work<T>, cx: &mut Context<'_>) -> Result<T, bool> {
    // What others on this thread left.
    let _before = quark_engine::lasts();
    match work.as_mut().poll(cx) {
        Poll::Ready(done) => Ok(done),
        Poll::Pending => Err(quark_engine::lasts()),
    }
}

/// Polls the work until it ends, or waits for something else than its next slice.
async fn slices<T>(work: Work<T>) -> Slice<T> {
    let (mut work, mut lasted) = (Some(work), false);
    std::future::poll_fn(|cx| {
        let Some(slice) = &mut work else { return Poll::Pending };
        match poll_slice(slice, cx) {
            Ok(done) => Poll::Ready(Slice::Ended(done, lasted)),
            Err(true) => {
                lasted = true;
                Poll::Pending
            }
            Err(false) => work.take().map_or(Poll::Pending, |work| Poll::Ready(Slice::Waits(work, lasted))),
        }
    })
    .await
}
