//! Where events and console output wait for their reader: bounded, with one wake-up per batch.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::PoisonError;
use std::time::SystemTime;

use seawall_kvm::monotonic;

use crate::event::console::ConsoleQueue;
use crate::event::{Event, EventKind};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Mutex, MutexGuard};

/// How many events wait at most. A reader that is slower loses the oldest, and is told which.
const EVENT_CAPACITY: usize = if cfg!(loom) { 2 } else { 4096 };

/// Called when there is something to read and the last batch was taken. Must not block: a vCPU calls it.
pub type Wake = Box<dyn Fn() + Send + Sync>;

/// The events and the console output of one virtual machine that nobody has read yet.
pub(crate) struct Outbox {
    queue: Mutex<Queue>,
    /// Behind a lock of its own: a guest that prints and one that loses pages do not wait for each other.
    console: Mutex<ConsoleQueue>,
    /// What the queue says of itself: a driver asks before each byte.
    console_busy: AtomicBool,
    wake: Wake,
    woken: AtomicBool,
}

#[derive(Debug, Default)]
struct Queue {
    events: VecDeque<Event>,
    next_seq: u64,
    lost: LostNumbers,
    totals: OutboxTotals,
}

impl Queue {
    fn keep(&mut self, seq: u64, kind: EventKind) {
        if self.events.len() == EVENT_CAPACITY {
            self.lose_oldest();
        }
        self.events.push_back(Event {
            seq,
            time: SystemTime::now(),
            monotonic: monotonic(),
            kind,
        });
    }

    #[cold]
    fn lose_oldest(&mut self) {
        if let Some(oldest) = self.events.pop_front() {
            self.totals.lost += 1;
            self.lost.add(oldest.seq);
        }
    }
}

/// The numbers of lost events that the reader was not told of, as ranges with gaps between: a number that was reserved for an
/// event that is kept later is not lost with those around it. There are no more gaps than events that wait, and vCPUs.
#[derive(Debug, Default)]
struct LostNumbers(BTreeMap<u64, u64>);

impl LostNumbers {
    fn add(&mut self, seq: u64) {
        let before = self.0.range(..seq).next_back().map(|(from, to)| (*from, *to));
        let from = before
            .filter(|(_, to)| to + 1 == seq)
            .map_or(seq, |(from, _)| from);
        let to = self.0.remove(&(seq + 1)).unwrap_or(seq);
        self.0.insert(from, to);
    }

    fn take(&mut self) -> BTreeMap<u64, u64> {
        std::mem::take(&mut self.0)
    }
}

/// How much passed through an outbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct OutboxTotals {
    /// Events handed to the reader.
    pub(crate) delivered: u64,
    /// Events dropped because the reader was too slow.
    pub(crate) lost: u64,
    /// Bytes of console output dropped because nobody read them, or because the guest did not wait for its transmitter.
    pub(crate) console_bytes_lost: u64,
}

impl Outbox {
    /// Makes an empty outbox.
    #[must_use]
    pub(crate) fn new(wake: Wake) -> Self {
        Self {
            queue: Mutex::default(),
            console: Mutex::default(),
            console_busy: AtomicBool::new(false),
            wake,
            woken: AtomicBool::new(false),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes a number for an event that is kept later, by [`Self::push_reserved`].
    pub(crate) fn reserve(&self) -> u64 {
        let mut queue = self.lock();
        queue.next_seq += 1;
        queue.next_seq
    }

    /// Keeps an event whose number was taken before.
    pub(crate) fn push_reserved(&self, seq: u64, kind: EventKind) {
        self.lock().keep(seq, kind);
        self.wake();
    }

    /// Numbers and keeps an event, and returns its number; where there is no room, the oldest goes.
    pub(crate) fn push(&self, kind: EventKind) -> u64 {
        let seq = {
            let mut queue = self.lock();
            // Numbered under the lock, so that the order of numbers is the order of events.
            queue.next_seq += 1;
            let seq = queue.next_seq;
            queue.keep(seq, kind);
            seq
        };
        self.wake();
        seq
    }

    fn console(&self) -> MutexGuard<'_, ConsoleQueue> {
        self.console.lock().unwrap_or_else(PoisonError::into_inner)
    }

    #[inline(always)]
    fn change_console<T>(&self, change: impl FnOnce(&mut ConsoleQueue) -> T) -> (T, bool) {
        let mut console = self.console();
        let changed = change(&mut console);
        let busy = console.is_busy();
        self.console_busy.store(busy, Ordering::SeqCst);
        (changed, busy)
    }

    /// Keeps console output, and wakes its reader where that waits for some. Returns whether so much of it waits now that the
    /// guest is to send no more.
    #[inline(always)]
    pub(crate) fn push_console(&self, bytes: &[u8]) -> bool {
        let (waited_for, busy) = self.change_console(|console| console.push(bytes));
        if waited_for {
            self.wake();
        }
        busy
    }

    /// Whether so much console output waits for its reader that the guest is to send no more.
    #[must_use]
    pub(crate) fn console_is_busy(&self) -> bool {
        self.console_busy.load(Ordering::SeqCst)
    }

    /// Takes up to `max` bytes of console output. From the first time on somebody reads the console, and the guest has to
    /// wait where too much of it waits; a reader that finds nothing is woken when there is something.
    pub(crate) fn take_console(&self, max: usize) -> Vec<u8> {
        self.listen();
        self.change_console(|console| console.take(max)).0
    }

    /// Says that nobody reads the console any more.
    pub(crate) fn release_console(&self) {
        self.change_console(ConsoleQueue::release);
    }

    /// Wakes the reader, if it was not woken since it last took something.
    pub(crate) fn wake(&self) {
        if !self.woken.swap(true, Ordering::SeqCst) {
            (self.wake)();
        }
    }

    /// From here on what comes wakes the reader again.
    fn listen(&self) {
        // A store would do; the model takes only one after the other what reads and writes at once.
        self.woken.swap(false, Ordering::SeqCst);
    }

    /// Takes all events. What comes after the beginning of this call wakes the reader again.
    pub(crate) fn take_events(&self) -> Vec<Event> {
        self.take_events_up_to(usize::MAX)
    }

    /// Takes the oldest `max` events, and says which were lost before them. What comes after the beginning of this call wakes
    /// the reader again; what is left does not.
    pub(crate) fn take_events_up_to(&self, max: usize) -> Vec<Event> {
        self.listen();
        let mut queue = self.lock();
        let lost = queue.lost.take();
        let taken = queue.events.len().min(max);
        let mut events = Vec::with_capacity(lost.len() + taken);
        events.extend(lost.into_iter().map(|(from_seq, to_seq)| Event {
            seq: to_seq,
            time: SystemTime::now(),
            monotonic: monotonic(),
            kind: EventKind::EventsLost { from_seq, to_seq },
        }));
        queue.totals.delivered += taken as u64;
        events.extend(queue.events.drain(..taken));
        events
    }

    /// How much passed through so far.
    #[must_use]
    pub(crate) fn totals(&self) -> OutboxTotals {
        let totals = self.lock().totals;
        OutboxTotals {
            console_bytes_lost: self.console().lost(),
            ..totals
        }
    }
}

impl fmt::Debug for Outbox {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Outbox")
            .field("queue", &self.queue)
            .field("console", &self.console)
            .field("woken", &self.woken)
            .finish_non_exhaustive()
    }
}

#[cfg(all(test, loom))]
pub(super) mod models;

#[cfg(all(test, not(loom)))]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::AtomicU64;

    use super::*;
    use crate::vm::VmState;

    fn outbox() -> (Outbox, Arc<AtomicU64>) {
        let wakes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&wakes);
        (
            Outbox::new(Box::new(move || {
                counted.fetch_add(1, Ordering::SeqCst);
            })),
            wakes,
        )
    }

    const EVENT: EventKind = EventKind::StateChanged {
        from: VmState::Created,
        to: VmState::Running,
    };

    #[test]
    fn a_batch_wakes_the_reader_once() {
        let (outbox, wakes) = outbox();
        for _ in 0..10 {
            outbox.push(EVENT);
        }
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        assert_eq!(outbox.take_events().len(), 10);
        outbox.push(EVENT);
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
    }

    #[test]
    fn lost_events_are_counted_and_named() {
        let (outbox, _) = outbox();
        let produced = EVENT_CAPACITY as u64 + 5;
        for _ in 0..produced {
            outbox.push(EVENT);
        }
        let events = outbox.take_events();
        assert_eq!(
            events[0].kind,
            EventKind::EventsLost {
                from_seq: 1,
                to_seq: 5
            }
        );
        assert_eq!(events[0].seq, 5);
        let numbers: Vec<u64> = events[1..].iter().map(|event| event.seq).collect();
        assert_eq!(numbers, (6..=produced).collect::<Vec<_>>());
        let totals = outbox.totals();
        assert_eq!(totals.delivered + totals.lost, produced);
        assert_eq!(totals.lost, 5);
    }

    #[test]
    fn a_number_that_is_reserved_is_not_lost_with_those_around_it() {
        let (outbox, _) = outbox();
        let lost = |events: &[Event]| -> Vec<(u64, u64)> {
            let ranges = events.iter().filter_map(|event| match event.kind {
                EventKind::EventsLost { from_seq, to_seq } => Some((from_seq, to_seq)),
                _ => None,
            });
            ranges.collect()
        };
        let capacity = EVENT_CAPACITY as u64;
        outbox.push(EVENT);
        let reserved = outbox.reserve();
        for _ in 0..capacity + 2 {
            outbox.push(EVENT);
        }
        outbox.push_reserved(reserved, EVENT);
        let events = outbox.take_events();
        assert_eq!(lost(&events), [(1, 1), (3, 5)]);
        assert_eq!(events.last().map(|event| event.seq), Some(reserved));
        let totals = outbox.totals();
        assert_eq!((totals.delivered, totals.lost), (capacity, 4));
        // Lost after those around it, it is told with them.
        outbox.push(EVENT);
        let reserved = outbox.reserve();
        for _ in 0..capacity {
            outbox.push(EVENT);
        }
        outbox.push_reserved(reserved, EVENT);
        for _ in 0..capacity {
            outbox.push(EVENT);
        }
        let events = outbox.take_events();
        assert_eq!(lost(&events), [(capacity + 5, capacity * 2 + 6)]);
        assert_eq!(outbox.totals().lost, 4 + capacity + 2);
    }

    #[test]
    fn a_reader_takes_as_much_as_it_wants_and_is_woken_by_what_is_new() {
        let (outbox, wakes) = outbox();
        for _ in 0..EVENT_CAPACITY + 2 {
            outbox.push(EVENT);
        }
        let numbers = |events: Vec<Event>| -> Vec<u64> { events.iter().map(|event| event.seq).collect() };
        // The loss of 1 and 2, and what comes after it.
        assert_eq!(numbers(outbox.take_events_up_to(2)), [2, 3, 4]);
        assert_eq!(numbers(outbox.take_events_up_to(1)), [5]);
        assert_eq!(wakes.load(Ordering::SeqCst), 1, "nothing is new");
        outbox.push(EVENT);
        assert_eq!(wakes.load(Ordering::SeqCst), 2);
        assert_eq!(outbox.take_events().len(), EVENT_CAPACITY - 2);
    }

    #[test]
    fn console_output_wakes_a_reader_that_waits_for_some() {
        let (outbox, wakes) = outbox();
        outbox.push_console(b"a");
        assert_eq!(wakes.load(Ordering::SeqCst), 0, "nobody reads");
        assert_eq!(outbox.take_console(10), b"a");
        outbox.push_console(b"b");
        assert_eq!(wakes.load(Ordering::SeqCst), 0, "it looks again by itself");
        assert_eq!(outbox.take_console(10), b"b");
        assert_eq!(outbox.take_console(10), b"");
        outbox.push_console(b"c");
        outbox.push_console(b"d");
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        assert_eq!(outbox.take_console(10), b"cd");
    }

    #[test]
    fn an_event_that_woke_the_reader_wakes_it_for_the_console_too() {
        let (outbox, wakes) = outbox();
        assert_eq!(outbox.take_console(1), b"");
        outbox.push(EVENT);
        outbox.push_console(b"a");
        assert_eq!(wakes.load(Ordering::SeqCst), 1);
        assert_eq!((outbox.take_events().len(), outbox.take_console(1).len()), (1, 1));
    }

    #[test]
    fn lost_console_output_is_among_the_totals() {
        let (outbox, _) = outbox();
        outbox.push_console(&vec![b'a'; (1 << 20) + 2]);
        assert_eq!(outbox.totals().console_bytes_lost, 2);
    }
}
