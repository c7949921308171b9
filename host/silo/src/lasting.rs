//! Turns that last: they go on in threads of their own, which the kernel runs where no worker wants to.
//!
//! A guest gives its thread back at each tick, but with more long turns than workers everybody else would wait
//! for their ticks. So what has run for a tick leaves the workers until it ends or waits for something, and a
//! worker that has something to do takes the processor from it, mostly at once. Linux's scheduler does the rest: busy
//! processors give these threads the share that their nice value stands for. Idle ones are used in full, but for one
//! while there are short turns as well.

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};
use std::time::Instant;

use metrics::Counter;
use quark_engine::GaveBack;
use tokio::runtime::{Handle, Runtime};

use crate::activation::never_inline;
use crate::dispatch::LetGo;
use crate::run::WORKER_STACK_BYTES;

/// For so long after a short turn one processor is left to others like it.
const LEFT_FREE_MS: u64 = 1_000;

/// How nice its threads are: the kernel gives one a tenth of what a worker gets that wants the same processor.
/// With less, turns that others wait for would hardly end on a busy machine.
const NICE: i32 = 10;

/// Why work leaves the workers.
const LONG: GaveBack = GaveBack::AtTick { long: true };

/// So many of those turns must be short in a row before the next one begins with a worker again: long ones may come
/// between others.
const LASTS_FOR: u64 = 8;

/// Bits of the count.
const COUNT: u32 = 4;
const METHODS: usize = (u64::BITS - COUNT) as usize;

/// Whose turns lasted lately, of one actor's methods: the next ones begin where such turns run. Quick methods of the
/// same actor stay with the workers.
#[derive(Default)]
pub(crate) struct LongMethods {
    /// A bit for each method, above how many of their turns may still be short. Some share a bit, and count as one.
    bits: AtomicU64,
}

impl LongMethods {
    /// Whether a turn of that method begins there.
    pub(crate) fn has(&self, method: usize) -> bool {
        self.bits.load(Ordering::Relaxed) & bit(method) != 0
    }

    /// A turn of that method is over.
    pub(crate) fn ended(&self, method: usize, lasted: bool) {
        let bits = self.bits.load(Ordering::Relaxed);
        let (methods, left) = (bits >> COUNT << COUNT, bits - (bits >> COUNT << COUNT));
        let bits = match (lasted, methods & bit(method) != 0) {
            (true, _) => methods | bit(method) | LASTS_FOR,
            (false, true) if left > 1 => methods | (left - 1),
            (false, true) => 0,
            (false, false) => return,
        };
        self.bits.store(bits, Ordering::Relaxed);
    }
}

const fn bit(method: usize) -> u64 {
    1 << (method % METHODS) << COUNT
}

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
    /// None when there are fewer workers than processors, or only one.
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
        let runtime = threads.last.as_ref().filter(|_| inside.last).unwrap_or(&threads.most);
        At::Long(LetGo(runtime.spawn(slices(work, inside))))
    }

    /// A turn begins that should be a short one.
    pub(crate) fn note_short(&self, now: Instant) {
        if self.gate.inside.load(Ordering::Relaxed) > 0 {
            self.gate.last_short.store(self.gate.at(now), Ordering::Relaxed);
        }
    }
}

/// Which of those that last runs in the last thread.
struct Gate {
    /// What lasts now.
    inside: AtomicUsize,
    /// The threads but the last.
    most: AtomicUsize,
    /// The last thread has something to do, or there is none.
    taken: AtomicBool,
    since: Instant,
    /// When the last short turn began: milliseconds from then, and `LEFT_FREE_MS`. 0 when there was none.
    last_short: AtomicU64,
}

impl Gate {
    fn new() -> Self {
        Self {
            inside: AtomicUsize::new(0),
            most: AtomicUsize::new(usize::MAX),
            taken: AtomicBool::new(true),
            since: Instant::now(),
            last_short: AtomicU64::new(0),
        }
    }

    fn at(&self, now: Instant) -> u64 {
        let ms = now.saturating_duration_since(self.since).as_millis();
        u64::try_from(ms).unwrap_or(u64::MAX).saturating_add(LEFT_FREE_MS)
    }

    /// Whether there was no short turn lately.
    fn is_quiet(&self) -> bool {
        self.at(Instant::now()) >= self.last_short.load(Ordering::Relaxed).saturating_add(LEFT_FREE_MS)
    }
}

/// Work that lasts.
struct Inside {
    gate: Arc<Gate>,
    /// It has the last thread.
    last: bool,
}

impl Inside {
    fn enter(gate: &Arc<Gate>) -> Self {
        gate.inside.fetch_add(1, Ordering::Relaxed);
        let last = gate.is_quiet() && !gate.taken.swap(true, Ordering::Relaxed);
        Self { gate: gate.clone(), last }
    }

    /// Whether it should go on in another thread.
    fn moves(&self) -> bool {
        let gate = &self.gate;
        if self.last {
            return !gate.is_quiet();
        }
        !gate.taken.load(Ordering::Relaxed)
            && gate.inside.load(Ordering::Relaxed) > gate.most.load(Ordering::Relaxed)
            && gate.is_quiet()
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.gate.inside.fetch_sub(1, Ordering::Relaxed);
        if self.last {
            self.gate.taken.store(false, Ordering::Relaxed);
        }
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
    let most = if has_last { processors - 1 } else { workers };
    let threads = some(most).and_then(|most| {
        let last = if has_last { Some(some(1)?) } else { None };
        Ok(Threads { most, last })
    });
    gate.most.store(most, Ordering::Relaxed);
    gate.taken.store(!has_last || threads.is_err(), Ordering::Relaxed);
    threads.inspect_err(|error| tracing::warn!(%error, "no threads for long turns")).ok()
}

fn some(threads: usize) -> std::io::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(threads)
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
        .build()
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
    fn a_method_is_long_until_its_turns_were_short_often_enough() {
        let methods = LongMethods::default();
        methods.ended(3, false);
        assert!(!methods.has(3));
        methods.ended(3, true);
        for _ in 0..100 {
            methods.ended(2, false);
        }
        assert!(methods.has(3) && !methods.has(2));
        for _ in 1..LASTS_FOR {
            methods.ended(3, false);
            assert!(methods.has(3));
        }
        methods.ended(3, false);
        assert!(!methods.has(3));
    }

    #[test]
    fn one_of_those_that_last_has_the_last_thread_while_there_are_no_short_turns() {
        let gate = Arc::new(Gate::new());
        assert!(!Inside::enter(&gate).last, "there is none before the threads are");
        gate.most.store(1, Ordering::Relaxed);
        gate.taken.store(false, Ordering::Relaxed);
        let (first, second) = (Inside::enter(&gate), Inside::enter(&gate));
        assert!(first.last && !first.moves() && !second.last && !second.moves());
        drop(first);
        assert!(!second.moves(), "it is alone, so it runs");
        let third = Inside::enter(&gate);
        assert!(third.last);
        gate.last_short.store(gate.at(Instant::now()), Ordering::Relaxed);
        assert!(third.moves() && !Inside::enter(&gate).last);
        drop(third);
        let fourth = Inside::enter(&gate);
        assert!(!fourth.last && !second.moves());
        gate.last_short.store(0, Ordering::Relaxed);
        assert!(second.moves(), "the last thread is free, and there is more than one for the others");
    }

    #[test]
    fn several_methods_are_long_at_once_whatever_their_numbers() {
        let methods = LongMethods::default();
        for method in [0, METHODS - 1, usize::MAX] {
            methods.ended(method, true);
            assert!(methods.has(method));
        }
        assert!(!methods.has(1));
    }
}
