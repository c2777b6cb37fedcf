//! Console output on its way to its reader.

use std::collections::VecDeque;

/// How many bytes wait before the guest's transmitter is busy; and where nobody reads, how many are kept.
const CAPACITY: usize = 1 << 20;
/// How few bytes wait when a transmitter that was busy is ready again.
const LOW_WATER: usize = CAPACITY / 2;
/// How many bytes are kept of a guest that sends although its transmitter is busy.
const LIMIT: usize = 2 * CAPACITY;

/// The console output of one virtual machine that nobody has taken yet.
///
/// From its reader's first look on nothing that the guest may send is lost: the transmitter is busy in time. Where nobody
/// reads it never is, and the oldest bytes go.
#[derive(Debug, Default)]
pub(super) struct ConsoleQueue {
    bytes: VecDeque<u8>,
    reader: Reader,
    busy: bool,
    lost: u64,
}

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Reader {
    /// Nobody ever did, or nobody does any more.
    #[default]
    Nobody,
    /// Somebody who has something to do before looking again.
    Occupied,
    /// Somebody who found nothing and is to be told when there is something.
    Waiting,
}

impl ConsoleQueue {
    /// Keeps output. Returns whether the reader is to be told.
    #[inline]
    pub(super) fn push(&mut self, bytes: &[u8]) -> bool {
        if self.reader == Reader::Nobody {
            self.append(bytes);
            self.drop_oldest();
            return false;
        }
        let room = bytes.len().min(LIMIT - self.bytes.len());
        self.append(&bytes[..room]);
        self.lost += (bytes.len() - room) as u64;
        self.busy |= self.bytes.len() >= CAPACITY;
        std::mem::replace(&mut self.reader, Reader::Occupied) == Reader::Waiting
    }

    /// Takes the oldest output, up to `max` bytes of it.
    pub(super) fn take(&mut self, max: usize) -> Vec<u8> {
        let count = self.bytes.len().min(max);
        let (front, back) = self.bytes.as_slices();
        let in_front = count.min(front.len());
        let taken = [&front[..in_front], &back[..count - in_front]].concat();
        self.bytes.drain(..count);
        self.busy &= self.bytes.len() > LOW_WATER;
        self.reader = if taken.is_empty() {
            Reader::Waiting
        } else {
            Reader::Occupied
        };
        taken
    }

    /// Forgets the reader.
    pub(super) fn release(&mut self) {
        self.reader = Reader::Nobody;
        self.busy = false;
        self.drop_oldest();
    }

    /// Whether a guest that waits for its transmitter has to wait.
    pub(super) const fn is_busy(&self) -> bool {
        self.busy
    }

    /// How many bytes were dropped.
    pub(super) const fn lost(&self) -> u64 {
        self.lost
    }

    /// A guest sends byte by byte.
    fn append(&mut self, bytes: &[u8]) {
        match bytes {
            [byte] => self.bytes.push_back(*byte),
            _ => self.bytes.extend(bytes),
        }
    }

    fn drop_oldest(&mut self) {
        let surplus = self.bytes.len().saturating_sub(CAPACITY);
        if surplus > 0 {
            self.bytes.drain(..surplus);
            self.lost += surplus as u64;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A queue whose reader has found nothing.
    fn read() -> ConsoleQueue {
        let mut queue = ConsoleQueue::default();
        assert_eq!(queue.take(1), b"");
        queue
    }

    #[test]
    fn where_nobody_reads_the_oldest_go_and_the_guest_never_waits() {
        let mut queue = ConsoleQueue::default();
        queue.push(&vec![b'a'; CAPACITY]);
        assert!(!queue.push(b"bc"), "nobody is to be told");
        assert_eq!((queue.is_busy(), queue.lost()), (false, 2));
        let console = queue.take(2 * CAPACITY);
        assert_eq!(console.len(), CAPACITY);
        assert_eq!(&console[CAPACITY - 3..], b"abc");
    }

    #[test]
    fn a_reader_that_found_nothing_is_told_once() {
        let mut queue = read();
        assert!(queue.push(b"a"));
        assert!(!queue.push(b"b"), "it has not looked since");
        assert_eq!(queue.take(1), b"a");
        assert!(!queue.push(b"c"), "it comes again by itself");
        assert_eq!(queue.take(9), b"bc");
        assert_eq!(queue.take(9), b"");
        assert!(queue.push(b"d"));
    }

    #[test]
    fn the_transmitter_is_busy_from_the_capacity_down_to_the_low_water_mark() {
        let mut queue = read();
        queue.push(&vec![b'a'; CAPACITY - 1]);
        assert!(!queue.is_busy());
        queue.push(b"a");
        assert!(queue.is_busy());
        assert_eq!(
            queue.take(CAPACITY - LOW_WATER - 1).len(),
            CAPACITY - LOW_WATER - 1
        );
        assert!(queue.is_busy(), "one byte above the mark");
        assert_eq!(queue.take(1).len(), 1);
        assert!(!queue.is_busy());
        queue.push(b"a");
        assert!(!queue.is_busy(), "it may send up to the capacity again");
        assert_eq!(queue.lost(), 0);
    }

    #[test]
    fn who_sends_all_the_same_is_heard_up_to_the_limit_and_the_newest_go() {
        let mut queue = read();
        queue.push(&vec![b'a'; LIMIT - 1]);
        queue.push(b"bcd");
        assert_eq!(queue.lost(), 2);
        let console = queue.take(2 * LIMIT);
        assert_eq!(console.len(), LIMIT);
        assert_eq!(&console[LIMIT - 2..], b"ab");
    }

    #[test]
    fn output_is_taken_in_order_and_once() {
        let mut queue = read();
        let mut numbers = (0..=u8::MAX).cycle();
        let (mut pushed, mut taken) = (Vec::new(), Vec::new());
        for round in 0..1000 {
            let bytes: Vec<u8> = numbers.by_ref().take(round % 97).collect();
            queue.push(&bytes);
            pushed.extend(bytes);
            taken.extend(queue.take(round % 89));
        }
        taken.extend(queue.take(CAPACITY));
        assert!(taken == pushed);
    }

    #[test]
    fn a_reader_that_leaves_lets_the_guest_go_on() {
        let mut queue = read();
        queue.push(&vec![b'a'; CAPACITY + 5]);
        queue.release();
        assert_eq!((queue.is_busy(), queue.lost()), (false, 5));
        assert!(!queue.push(b"b"));
        assert_eq!(queue.lost(), 6);
    }
}
