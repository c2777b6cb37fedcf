use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;

const IER: u8 = 1;
const FCR: u8 = 2;
const LCR: u8 = 3;
const MCR: u8 = 4;
const MSR: u8 = 6;

const MCR_OUT2: u8 = 1 << 3;
/// What the console keeps for its reader before the transmitter is busy, and what it falls to before that ends.
const CAPACITY: usize = 1 << 20;
const LOW_WATER: usize = CAPACITY / 2;

#[derive(Debug, Default)]
struct Edges(AtomicU64);

impl InterruptLine for Edges {
    fn raise(&self) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

/// A UART with what is at its other ends.
struct Bench {
    serial: Serial,
    outbox: Arc<Outbox>,
    edges: Arc<Edges>,
    wakes: Arc<AtomicU64>,
}

impl Bench {
    fn new() -> Self {
        let wakes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&wakes);
        let outbox = Arc::new(Outbox::new(Box::new(move || {
            counted.fetch_add(1, Ordering::SeqCst);
        })));
        let edges = Arc::new(Edges::default());
        let line: Arc<dyn InterruptLine> = Arc::<Edges>::clone(&edges);
        Self {
            serial: Serial::new(Arc::<Outbox>::clone(&outbox), Some(line)),
            outbox,
            edges,
            wakes,
        }
    }

    fn with_interrupts(enabled: u8) -> Self {
        let mut bench = Self::new();
        bench.set(IER, enabled);
        bench.edges();
        bench
    }

    fn get(&mut self, register: u8) -> u8 {
        self.serial.read(register.into(), 1)
    }

    fn set(&mut self, register: u8, value: u8) {
        self.serial.write(register.into(), &[value]);
    }

    /// Reads what there is, as a driver does: while DATA READY is set.
    fn received(&mut self) -> Vec<u8> {
        let mut received = Vec::new();
        while self.get(LSR) & LSR_DATA_READY != 0 {
            received.push(self.get(DATA));
            assert!(received.len() <= INPUT_CAPACITY + 64, "more than there can be");
        }
        received
    }

    fn take(&mut self, max: usize) -> Vec<u8> {
        let taken = self.outbox.take_console(max);
        self.serial.look();
        taken
    }

    /// Lets somebody read the console, and fills it until the transmitter is busy.
    fn fill(&mut self) {
        assert!(self.take(1).is_empty());
        self.outbox.push_console(&vec![b'.'; CAPACITY - 1]);
        self.set(DATA, b'!');
    }

    /// How many edges there were since this was last asked.
    fn edges(&self) -> u64 {
        self.edges.0.swap(0, Ordering::SeqCst)
    }

    fn wakes(&self) -> u64 {
        self.wakes.swap(0, Ordering::SeqCst)
    }
}

#[test]
fn received_data_is_an_interrupt_until_all_of_it_is_read() {
    let mut bench = Bench::with_interrupts(IER_RECEIVED_DATA);
    assert_eq!(bench.serial.input(b"ab"), 2);
    assert_eq!(bench.edges(), 1);
    for byte in [b'a', b'b'] {
        assert_eq!(bench.get(IIR), 0xc4, "also after it was read once");
        assert_eq!(bench.get(LSR), 0x61);
        assert_eq!(bench.get(DATA), byte);
    }
    assert_eq!((bench.get(IIR), bench.get(LSR)), (0xc1, 0x60));
    assert_eq!(bench.edges(), 0);
    bench.serial.input(b"c");
    assert_eq!(bench.edges(), 1, "what comes later is told again");
    bench.serial.input(b"d");
    assert_eq!(bench.edges(), 0, "the first one is still pending");
}

#[test]
fn an_interrupt_that_is_enabled_late_is_raised_then() {
    let mut bench = Bench::new();
    bench.serial.input(b"a");
    assert_eq!((bench.edges(), bench.get(IIR)), (0, 0xc1));
    bench.set(IER, IER_RECEIVED_DATA);
    assert_eq!((bench.edges(), bench.get(IIR)), (1, 0xc4));
    // As a driver does around what it transmits without interrupts.
    bench.set(IER, 0);
    assert_eq!(bench.get(IIR), 0xc1);
    bench.set(IER, IER_RECEIVED_DATA);
    assert_eq!((bench.edges(), bench.get(IIR)), (1, 0xc4));
}

#[test]
fn an_empty_transmitter_is_told_once_each_time_it_becomes_empty() {
    let mut bench = Bench::with_interrupts(0);
    bench.set(IER, IER_TRANSMITTER_EMPTY);
    assert_eq!(bench.edges(), 1);
    assert_eq!(
        (bench.get(IIR), bench.get(IIR)),
        (0xc2, 0xc1),
        "reading IIR ends it"
    );
    for byte in b"sixteen bytes ok" {
        bench.set(DATA, *byte);
    }
    assert_eq!(bench.edges(), 1);
    assert_eq!((bench.get(IIR), bench.get(IIR)), (0xc2, 0xc1));
    bench.edges();
    assert_eq!(bench.take(100), b"sixteen bytes ok");
    bench.set(IER, IER_TRANSMITTER_EMPTY);
    assert_eq!(
        (bench.edges(), bench.get(IIR)),
        (0, 0xc1),
        "it was enabled before"
    );
    // Linux tests for a UART that does not do this, and polls it from then on.
    bench.set(IER, 0);
    bench.set(IER, IER_TRANSMITTER_EMPTY);
    assert_eq!((bench.edges(), bench.get(IIR)), (1, 0xc2));
}

#[test]
fn received_data_is_identified_first_and_the_transmitter_after_it() {
    let mut bench = Bench::with_interrupts(IER_RECEIVED_DATA | IER_TRANSMITTER_EMPTY);
    bench.serial.input(b"a");
    assert_eq!(
        bench.edges(),
        1,
        "one more, although the transmitter's is pending"
    );
    assert_eq!(bench.get(IIR), 0xc4);
    assert_eq!(bench.edges(), 1, "for the one that IIR did not name");
    assert_eq!(bench.get(DATA), b'a');
    assert_eq!(
        bench.get(IIR),
        0xc2,
        "it was not ended by an IIR that named another"
    );
    assert_eq!(bench.get(IIR), 0xc1);
}

#[test]
fn a_transmitter_is_busy_while_its_reader_does_not_keep_up() {
    let mut bench = Bench::with_interrupts(IER_TRANSMITTER_EMPTY);
    bench.fill();
    assert_eq!((bench.get(LSR), bench.get(IIR)), (0x00, 0xc1));
    bench.edges();
    assert_eq!(
        bench.take(CAPACITY - LOW_WATER - 1).len(),
        CAPACITY - LOW_WATER - 1
    );
    assert_eq!((bench.edges(), bench.get(LSR)), (0, 0x00), "above the mark");
    assert_eq!(bench.take(1).len(), 1);
    assert_eq!(bench.edges(), 1);
    assert_eq!((bench.get(IIR), bench.get(LSR)), (0xc2, 0x60));
}

#[test]
fn a_busy_transmitter_is_told_of_also_where_its_interrupt_was_acknowledged_before() {
    let mut bench = Bench::with_interrupts(IER_TRANSMITTER_EMPTY);
    assert!(bench.take(1).is_empty());
    bench.outbox.push_console(&vec![b'.'; CAPACITY - 1]);
    // One vCPU has the interrupt, another fills the console before the first looks at LSR.
    assert_eq!(bench.get(IIR), 0xc2);
    bench.outbox.push_console(b"!");
    assert_eq!(bench.get(LSR) & LSR_THRE, LSR_THRE, "as of the last access");
    assert_eq!(bench.get(LSR) & LSR_THRE, 0);
    assert_eq!(bench.get(IIR), 0xc1);
    bench.take(CAPACITY);
    assert_eq!((bench.edges(), bench.get(IIR)), (1, 0xc2));
}

#[test]
fn a_reader_that_leaves_makes_the_transmitter_ready() {
    let mut bench = Bench::with_interrupts(IER_TRANSMITTER_EMPTY);
    bench.fill();
    bench.edges();
    bench.outbox.release_console();
    bench.serial.look();
    assert_eq!((bench.edges(), bench.get(LSR)), (1, 0x60));
}

#[test]
fn what_a_guest_sends_to_a_busy_transmitter_is_kept() {
    let mut bench = Bench::new();
    bench.fill();
    bench.set(DATA, b'?');
    let console = bench.take(2 * CAPACITY);
    assert_eq!(&console[CAPACITY - 1..], b"!?");
}

#[test]
fn a_guest_that_polls_receives() {
    let mut bench = Bench::new();
    bench.serial.input(b"ab");
    assert_eq!((bench.get(LSR), bench.get(LSR)), (0x60, 0x61));
    bench.set(DATA, b'.');
    assert_eq!(bench.received(), b"ab");
    bench.serial.input(b"c");
    assert_eq!(bench.get(LSR), 0x61, "it goes on polling");
    assert_eq!(bench.edges(), 0);
}

#[test]
fn a_guest_that_lowers_rts_is_sent_nothing_until_it_raises_it() {
    let mut bench = Bench::with_interrupts(IER_RECEIVED_DATA);
    bench.set(MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    bench.serial.input(b"ab");
    assert_eq!((bench.edges(), bench.get(DATA)), (1, b'a'));
    bench.set(MCR, MCR_DTR | MCR_OUT2);
    bench.serial.input(b"c");
    assert_eq!((bench.get(LSR), bench.get(IIR), bench.get(DATA)), (0x60, 0xc1, 0));
    assert_eq!(bench.edges(), 0);
    bench.set(MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    assert_eq!(bench.edges(), 1);
    assert_eq!(bench.received(), b"bc");
}

#[test]
fn what_is_looped_back_is_not_mixed_with_what_was_typed() {
    let mut bench = Bench::with_interrupts(IER_RECEIVED_DATA);
    bench.serial.input(b"typed");
    assert_eq!(bench.get(DATA), b't');
    bench.set(MCR, MCR_LOOP | MCR_RTS | MCR_OUT2);
    assert_eq!((bench.get(LSR), bench.get(IIR)), (0x60, 0xc1));
    assert_eq!(
        bench.get(MSR) & 0xf0,
        0x90,
        "CTS and DCD, as Linux looks for them"
    );
    bench.edges();
    bench.serial.input(b" later");
    assert_eq!(bench.edges(), 0);
    bench.set(DATA, b'L');
    assert_eq!((bench.edges(), bench.get(IIR)), (1, 0xc4));
    assert_eq!(bench.received(), b"L");
    assert!(bench.take(10).is_empty(), "it did not leave the UART");
    bench.set(DATA, b'2');
    bench.set(MCR, MCR_OUT2);
    assert_eq!(bench.edges(), 1);
    assert_eq!(bench.received(), b"2yped later", "what was looped back first");
}

#[test]
fn a_busy_transmitter_loops_back() {
    let mut bench = Bench::with_interrupts(0);
    bench.fill();
    bench.set(MCR, MCR_LOOP);
    assert_eq!(bench.get(LSR), 0x60);
    bench.set(DATA, b'L');
    assert_eq!(bench.received(), b"L");
    bench.set(MCR, 0);
    assert_eq!(bench.get(LSR), 0x00);
}

#[test]
fn input_beyond_the_room_is_asked_for_when_the_guest_has_taken_everything() {
    let mut bench = Bench::with_interrupts(IER_RECEIVED_DATA);
    let input: Vec<u8> = (0..=u8::MAX).cycle().take(INPUT_CAPACITY + 10).collect();
    assert_eq!(bench.serial.input(&input), INPUT_CAPACITY);
    assert_eq!(bench.serial.input(&input[INPUT_CAPACITY..]), 0);
    assert_eq!(bench.serial.input(b""), 0, "and nobody wants less for that");
    for byte in &input[..INPUT_CAPACITY - 1] {
        assert_eq!(bench.get(DATA), *byte);
    }
    assert_eq!(
        (bench.wakes(), bench.serial.input_room(), bench.serial.input(b"x")),
        (0, 0, 0)
    );
    assert_eq!(bench.get(DATA), input[INPUT_CAPACITY - 1]);
    assert_eq!((bench.wakes(), bench.serial.input_room()), (1, INPUT_CAPACITY));
    bench.outbox.take_events();
    assert_eq!(bench.serial.input(&input[INPUT_CAPACITY..]), 10);
    assert_eq!(bench.edges(), 2);
    assert_eq!(bench.received(), &input[INPUT_CAPACITY..]);
    assert_eq!(bench.wakes(), 0, "nobody has more");
}

#[test]
fn the_divisor_latch_hides_the_data_and_the_interrupts() {
    let mut bench = Bench::with_interrupts(IER_RECEIVED_DATA);
    bench.serial.input(b"a");
    bench.set(LCR, LCR_DLAB);
    bench.set(DATA, 0x0d);
    bench.set(IER, 0x00);
    assert_eq!((bench.get(DATA), bench.get(IER)), (0x0d, 0x00));
    bench.set(LCR, 0x03);
    assert_eq!(bench.get(IER), IER_RECEIVED_DATA);
    assert_eq!(bench.received(), b"a");
    assert!(bench.take(10).is_empty());
}

#[test]
fn a_reset_keeps_what_was_typed_and_nothing_else() {
    let mut bench = Bench::with_interrupts(IER_RECEIVED_DATA);
    bench.set(MCR, MCR_LOOP);
    bench.set(DATA, b'L');
    let input = vec![b't'; INPUT_CAPACITY + 1];
    bench.serial.input(&input);
    bench.edges();
    bench.serial.reset();
    assert_eq!((bench.get(IER), bench.get(MCR)), (0, MCR_OUT2));
    assert_eq!(bench.edges(), 0);
    bench.set(IER, IER_RECEIVED_DATA);
    assert_eq!(bench.edges(), 1);
    assert_eq!(bench.received(), &input[..INPUT_CAPACITY]);
    assert_eq!(bench.wakes(), 1, "somebody has more");
}

#[test]
fn a_handler_comes_to_an_end_although_there_is_always_more() {
    let mut bench = Bench::with_interrupts(0);
    bench.set(IER, IER_RECEIVED_DATA | IER_TRANSMITTER_EMPTY);
    bench.serial.input(b"first");
    for round in 0..3 {
        assert!(bench.edges() > 0, "round {round}");
        let mut passes = 0;
        loop {
            match bench.get(IIR) {
                0xc1 => break,
                0xc2 => bench.set(DATA, b'.'),
                _ => assert!(!bench.received().is_empty()),
            }
            passes += 1;
            assert!(passes <= 2, "it goes on for ever");
            // The other side is faster than the driver.
            bench.serial.input(b"more");
        }
        assert_eq!(passes, 2, "each cause once");
    }
    assert_eq!(bench.take(10), b"...");
}

#[test]
fn a_driver_that_does_not_ask_until_there_is_nothing_more_is_interrupted_once_for_nothing() {
    let mut bench = Bench::with_interrupts(IER_RECEIVED_DATA);
    bench.serial.input(b"a");
    assert_eq!((bench.edges(), bench.get(IIR), bench.get(DATA)), (1, 0xc4, b'a'));
    bench.serial.input(b"b");
    assert_eq!((bench.edges(), bench.get(IIR)), (1, 0xc1));
    assert_eq!((bench.edges(), bench.get(IIR), bench.get(DATA)), (1, 0xc4, b'b'));
    // Also where the transmitter's interrupt hides that of the input, and there is nothing to send.
    bench.set(IER, IER_RECEIVED_DATA | IER_TRANSMITTER_EMPTY);
    bench.serial.input(b"c");
    assert_eq!((bench.edges(), bench.get(IIR)), (2, 0xc2));
    assert_eq!((bench.edges(), bench.get(IIR)), (1, 0xc1));
    assert_eq!((bench.edges(), bench.get(IIR), bench.get(DATA)), (1, 0xc4, b'c'));
    // One that never asks is interrupted all the same.
    bench.serial.input(b"d");
    assert_eq!((bench.edges(), bench.get(LSR), bench.get(DATA)), (1, 0x61, b'd'));
}

mod arbitrary;
mod driver;
