//! What Linux's 8250 driver does to the UART, access by access.

use super::*;

impl Bench {
    fn clear_fifos(&mut self) {
        for value in [0x01, 0x07, 0x00] {
            self.set(FCR, value);
        }
    }

    /// Reads what a driver reads to clear whatever may be pending.
    fn clear_interrupts(&mut self) {
        for register in [LSR, DATA, IIR, MSR] {
            self.get(register);
        }
    }
}

#[test]
fn input_is_kept_from_a_driver_that_sets_the_uart_up() {
    let mut bench = Bench::new();
    assert_eq!(bench.serial.input(b"root\n"), 5);
    // What Linux 7.3 does when its tty is opened, after it has printed for a while without interrupts.
    for byte in b"Linux" {
        assert_ne!(bench.get(LSR) & LSR_THRE, 0);
        bench.set(DATA, *byte);
    }
    bench.clear_fifos();
    bench.clear_interrupts();
    assert_ne!(bench.get(LSR), 0xff);
    assert_ne!(bench.get(LSR) & LSR_THRE, 0);
    for _ in 0..2 {
        bench.set(IER, IER_TRANSMITTER_EMPTY);
        assert_eq!(bench.get(IIR), 0xc2);
        bench.set(IER, 0);
    }
    bench.set(LCR, 0x03);
    bench.set(MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    bench.set(IER, IER_TRANSMITTER_EMPTY);
    assert_eq!((bench.get(LSR), bench.get(IIR)), (0x60, 0xc2));
    bench.set(IER, 0);
    bench.clear_interrupts();
    bench.edges();
    bench.set(IER, 0b0101);
    assert_eq!(bench.edges(), 1);
    assert_eq!(bench.received(), b"root\n");
    // And when it is closed.
    bench.serial.input(b"next");
    bench.set(IER, 0);
    bench.set(MCR, 0);
    bench.clear_fifos();
    bench.get(DATA);
    bench.set(MCR, MCR_DTR | MCR_RTS | MCR_OUT2);
    bench.set(IER, 0b0101);
    assert_eq!(bench.received(), b"next");
}

/// A driver that does what Linux's does on an interrupt, and a program that echoes what it reads.
struct Echo {
    bench: Bench,
    interrupted: bool,
    enabled: u8,
    to_send: VecDeque<u8>,
}

impl Echo {
    /// Handles an edge, if there was one. Gives up after some passes, as Linux does after 512.
    fn handle_interrupt(&mut self, passes: u32) {
        self.interrupted |= self.bench.edges() > 0;
        if !std::mem::take(&mut self.interrupted) {
            return;
        }
        for _ in 0..passes {
            if self.bench.get(IIR) & 1 != 0 {
                return;
            }
            let mut status = self.bench.get(LSR);
            for _ in 0..256 {
                if status & LSR_DATA_READY == 0 {
                    break;
                }
                let byte = self.bench.get(DATA);
                self.to_send.push_back(byte);
                status = self.bench.get(LSR);
            }
            if status & LSR_THRE != 0 && self.enabled & IER_TRANSMITTER_EMPTY != 0 {
                for byte in self.to_send.drain(..self.to_send.len().min(16)) {
                    self.bench.set(DATA, byte);
                }
                if self.to_send.is_empty() {
                    self.enable(IER_RECEIVED_DATA);
                }
            }
        }
    }

    /// What a program's write() does: it has the driver send.
    fn start_sending(&mut self) {
        if !self.to_send.is_empty() && self.enabled & IER_TRANSMITTER_EMPTY == 0 {
            self.enable(IER_RECEIVED_DATA | IER_TRANSMITTER_EMPTY);
        }
    }

    fn enable(&mut self, interrupts: u8) {
        self.enabled = interrupts;
        self.bench.set(IER, interrupts);
    }
}

#[test]
fn a_guest_that_acts_on_interrupts_alone_echoes_everything() {
    let input: Vec<u8> = (0..=250).cycle().take(100_000).collect();
    for seed in 1..=20 {
        let mut guest = Echo {
            bench: Bench::new(),
            interrupted: false,
            enabled: 0,
            to_send: VecDeque::new(),
        };
        // The transmitter gets busy in the middle.
        let before = CAPACITY - 50_000;
        guest.bench.take(1);
        guest.bench.outbox.push_console(&vec![b'.'; before]);
        guest.enable(IER_RECEIVED_DATA);
        let mut random = seed;
        let mut busy = 0;
        let (mut typed, mut console) = (0, Vec::new());
        for _ in 0..200_000 {
            // Numerical Recipes' linear congruential generator.
            random = u32::wrapping_add(u32::wrapping_mul(random, 1_664_525), 1_013_904_223);
            match (random >> 16) % 16 {
                0..4 => {
                    let end = input.len().min(typed + (random >> 20) as usize % 400);
                    typed += guest.bench.serial.input(&input[typed..end]);
                }
                4..8 => guest.handle_interrupt(1 + (random >> 24) % 4),
                8..15 => guest.start_sending(),
                _ if guest.bench.outbox.console_is_busy() => {
                    busy += 1;
                    console.extend(guest.bench.take(60_000));
                }
                _ => {}
            }
            if typed == input.len() && guest.to_send.is_empty() && guest.bench.serial.input.is_empty() {
                break;
            }
        }
        console.extend(guest.bench.take(2 * CAPACITY));
        assert!(busy > 0, "seed {seed}: the transmitter was never busy");
        assert_eq!(console.len(), before + input.len(), "seed {seed}");
        assert!(console[before..] == input, "seed {seed}");
    }
}
