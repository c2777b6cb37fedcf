//! A 16550A UART between the guest's driver and whoever is at the other end of the line: the console's reader, or the monitor.
//!
//! vm-superio keeps the registers and loops back. What it models without time and flow control is here:
//!
//! - a transmitter that is busy while the other end does not keep up;
//! - a receiver that keeps its input until the guest wants it;
//! - interrupts that last as long as their cause, so that a driver that leaves some of the input is told of the rest;
//! - an end to each interrupt: a line that is infinitely fast has the next byte there, and room for another, before the
//!   driver has looked, and it would never leave its handler.
//!
//! Register and bit names are those of the PC16550D's data sheet.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;

use vm_superio::Trigger;
use vm_superio::serial::{NoEvents, SerialState};

use crate::devices::InterruptLine;
use crate::event::Outbox;

/// The other end of a UART's line. It is called with the UART locked, by the thread of a vCPU: it must not wait.
pub(crate) trait SerialPeer: Send + Sync {
    /// Takes a byte of output. Returns whether the guest is to wait before it sends more.
    fn take_output(&self, byte: u8) -> bool;

    /// Whether the guest is to wait before it sends more.
    fn is_busy(&self) -> bool;

    /// There is room again for input of which only a part was taken.
    fn room_for_input(&self);
}

impl SerialPeer for Outbox {
    fn take_output(&self, byte: u8) -> bool {
        self.push_console(&[byte])
    }

    fn is_busy(&self) -> bool {
        self.console_is_busy()
    }

    fn room_for_input(&self) {
        self.wake();
    }
}

/// The eight byte-wide registers of a 16550.
const REGISTERS: u64 = 8;

/// RBR when read, THR when written; a divisor latch where DLAB is set.
pub(super) const DATA: u8 = 0;
const IIR: u8 = 2;
pub(super) const LSR: u8 = 5;

const IER_RECEIVED_DATA: u8 = 1 << 0;
const IER_TRANSMITTER_EMPTY: u8 = 1 << 1;

const IIR_NONE: u8 = 0b0001;
const IIR_TRANSMITTER_EMPTY: u8 = 0b0010;
const IIR_RECEIVED_DATA: u8 = 0b0100;
const IIR_FIFOS_ENABLED: u8 = 0b11 << 6;

const LCR_DLAB: u8 = 1 << 7;

const MCR_DTR: u8 = 1 << 0;
const MCR_RTS: u8 = 1 << 1;
const MCR_LOOP: u8 = 1 << 4;

const LSR_DATA_READY: u8 = 1 << 0;
const LSR_THRE: u8 = 1 << 5;
const LSR_TEMT: u8 = 1 << 6;

/// How many bytes of input wait for the guest. More is not better: what the guest has taken in is replaced a little later,
/// and that leaves a guest with one vCPU the time to do something with it. Linux's driver takes as many at once.
const INPUT_CAPACITY: usize = 256;
/// How often a guest without a receive interrupt looks at LSR before it is taken to wait for input. A driver that sets the
/// UART up looks once, and then reads RBR to throw away what is there.
const POLLS: u8 = 2;

/// A 16550A. Accesses that are not one byte wide do not reach its registers, as on hardware with a byte lane.
pub(crate) struct Serial {
    uart: vm_superio::Serial<NoTrigger, NoEvents, io::Sink>,
    /// Its registers since they last changed: it hands out copies, with a buffer.
    state: SerialState,
    peer: Arc<dyn SerialPeer>,
    /// Absent where there is no interrupt controller.
    interrupt: Option<Arc<dyn InterruptLine>>,
    input: VecDeque<u8>,
    /// Somebody has more input than there was room for.
    more_input: bool,
    /// How often the guest has looked at LSR since it last set a register.
    polls: u8,
    /// Whether the transmitter takes output.
    ready: bool,
    /// The transmitter has become empty since the guest was last told so.
    emptied: bool,
    /// The interrupts that are pending, as in IER.
    pending: u8,
    /// Those that the driver has dealt with since IIR last said that there is nothing more. If they are pending again, IIR
    /// says so after it has said that once.
    handled: u8,
}

/// The interrupts are raised from here.
struct NoTrigger;

impl Trigger for NoTrigger {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl Serial {
    pub(crate) fn new(peer: Arc<dyn SerialPeer>, interrupt: Option<Arc<dyn InterruptLine>>) -> Self {
        Self {
            uart: vm_superio::Serial::new(NoTrigger, io::sink()),
            state: SerialState::default(),
            peer,
            interrupt,
            input: VecDeque::with_capacity(INPUT_CAPACITY),
            more_input: false,
            polls: 0,
            ready: true,
            emptied: false,
            pending: 0,
            handled: 0,
        }
    }

    /// Sets the registers to what they are before a driver uses them. The input stays.
    pub(crate) fn reset(&mut self) {
        let fresh = Self::new(Arc::clone(&self.peer), self.interrupt.clone());
        *self = Self {
            input: std::mem::take(&mut self.input),
            more_input: self.more_input,
            ..fresh
        };
    }

    pub(crate) fn read(&mut self, offset: u64, len: u8) -> u8 {
        let Some(register) = register(offset, len.into()) else {
            return 0;
        };
        let value = match register {
            DATA if !self.divisor_latch() => self.receive(),
            IIR => self.identify_interrupt(),
            LSR => {
                if let Some(status) = self.polled_line_status() {
                    return status;
                }
                self.polls += 1;
                self.line_status()
            }
            _ => self.read_uart(register),
        };
        self.look();
        value
    }

    pub(crate) fn write(&mut self, offset: u64, data: &[u8]) {
        let (Some(register), [byte]) = (register(offset, data.len()), data) else {
            return;
        };
        if register == DATA && !self.divisor_latch() {
            self.emptied = true;
            if !self.loops_back() {
                let busy = self.peer.take_output(*byte);
                self.look_at(busy);
                return;
            }
        } else {
            self.polls = 0;
        }
        let before = self.state.interrupt_enable;
        let written = self.uart.write(register, *byte);
        debug_assert!(written.is_ok(), "neither the trigger nor the sink fails");
        self.state = self.uart.state();
        let enabled = self.state.interrupt_enable & !before;
        self.emptied |= enabled & IER_TRANSMITTER_EMPTY != 0;
        self.handled &= !enabled;
        self.look();
    }

    /// Hands input to the receiver; returns how many bytes it had room for. Where that is not all, the other end is told when
    /// there is room again.
    pub(crate) fn input(&mut self, input: &[u8]) -> usize {
        let taken = input.len().min(self.input_room());
        self.input.extend(&input[..taken]);
        self.more_input |= taken < input.len();
        self.look();
        taken
    }

    /// For how many bytes of input there is room: where there was too little, for none until the guest has taken everything.
    pub(crate) fn input_room(&self) -> usize {
        if self.more_input {
            0
        } else {
            INPUT_CAPACITY - self.input.len()
        }
    }

    /// Throws away the input that the guest has not read.
    pub(crate) fn drop_input(&mut self) {
        self.input.clear();
        self.more_input = false;
        self.look();
    }

    /// Looks whether something has begun that the guest is to be told of, and tells it.
    pub(crate) fn look(&mut self) {
        self.look_at(self.peer.is_busy());
    }

    /// The same, where the other end has just said whether it is busy.
    fn look_at(&mut self, busy: bool) {
        let ready = !busy;
        self.emptied |= ready && !self.ready;
        self.ready = ready;
        let pending = self.pending_interrupts();
        // An edge for each, so that the guest hears of what begins while it handles something else.
        if pending & !self.pending != 0
            && let Some(interrupt) = &self.interrupt
        {
            interrupt.raise();
        }
        self.pending = pending;
    }

    fn read_uart(&mut self, register: u8) -> u8 {
        let value = self.uart.read(register);
        self.state = self.uart.state();
        value
    }

    fn receive(&mut self) -> u8 {
        // What was looped back went in first.
        if self.state.line_status & LSR_DATA_READY != 0 || !self.receives() {
            return self.read_uart(DATA);
        }
        let byte = self.input.pop_front().unwrap_or(0);
        if self.input.is_empty() {
            self.handled |= IER_RECEIVED_DATA;
            if std::mem::take(&mut self.more_input) {
                self.peer.room_for_input();
            }
        }
        byte
    }

    fn identify_interrupt(&mut self) -> u8 {
        let identified = self.pending_interrupts() & !self.handled;
        let identity = if identified & IER_RECEIVED_DATA != 0 {
            self.pending &= IER_RECEIVED_DATA;
            IIR_RECEIVED_DATA
        } else if identified & IER_TRANSMITTER_EMPTY != 0 {
            self.pending &= IER_TRANSMITTER_EMPTY;
            self.emptied = false;
            self.handled |= IER_TRANSMITTER_EMPTY;
            IIR_TRANSMITTER_EMPTY
        } else {
            self.pending = 0;
            self.handled = 0;
            IIR_NONE
        };
        // What else is pending is told by an edge of its own, for a driver that leaves its handler now.
        IIR_FIFOS_ENABLED | identity
    }

    fn line_status(&self) -> u8 {
        let mut status = 0;
        if self.transmits() {
            status |= LSR_THRE | LSR_TEMT;
        }
        if self.has_data() {
            status |= LSR_DATA_READY;
        }
        status
    }

    /// What LSR reads, where the guest is known to poll: a look begins nothing that it could be told of.
    pub(crate) fn polled_line_status(&self) -> Option<u8> {
        (self.polls >= POLLS).then(|| self.line_status())
    }

    /// Whether a byte for the transmitter changes nothing here as long as the other end is not busy: it is noted already that
    /// the transmitter has become empty.
    pub(crate) const fn transmits_in_silence(&self) -> bool {
        self.emptied && self.ready && !self.divisor_latch() && !self.loops_back()
    }

    fn pending_interrupts(&self) -> u8 {
        let mut causes = 0;
        if self.has_data() {
            causes |= IER_RECEIVED_DATA;
        }
        if self.emptied && self.transmits() {
            causes |= IER_TRANSMITTER_EMPTY;
        }
        causes & self.state.interrupt_enable
    }

    fn has_data(&self) -> bool {
        self.state.line_status & LSR_DATA_READY != 0 || !self.input.is_empty() && self.receives()
    }

    fn transmits(&self) -> bool {
        self.ready || self.loops_back()
    }

    /// Whether the guest wants input: it is interrupted by it or polls for it, and has not asked the other side to wait
    /// (RTS) or cut it off (LOOP).
    fn receives(&self) -> bool {
        let listens = self.state.interrupt_enable & IER_RECEIVED_DATA != 0 || self.polls >= POLLS;
        let waits = self.state.modem_control & (MCR_DTR | MCR_RTS) == MCR_DTR;
        listens && !waits && !self.loops_back()
    }

    const fn divisor_latch(&self) -> bool {
        self.state.line_control & LCR_DLAB != 0
    }

    const fn loops_back(&self) -> bool {
        self.state.modem_control & MCR_LOOP != 0
    }
}

fn register(offset: u64, len: usize) -> Option<u8> {
    u8::try_from(offset)
        .ok()
        .filter(|_| len == 1 && offset < REGISTERS)
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serial").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
