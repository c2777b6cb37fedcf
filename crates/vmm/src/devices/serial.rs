//! The console: a 16550A UART whose transmitter is the outbox.

use std::convert::Infallible;
use std::fmt;
use std::io;
use std::sync::Arc;

use vm_superio::Trigger;
use vm_superio::serial::NoEvents;

use crate::devices::InterruptLine;
use crate::event::Outbox;

/// The eight byte-wide registers of a 16550.
const REGISTERS: u64 = 8;

/// A 16550A. Accesses that are not one byte wide do not reach its registers, as on hardware with a byte lane.
pub(super) struct Serial {
    uart: vm_superio::Serial<Interrupt, NoEvents, Transmitter>,
    outbox: Arc<Outbox>,
    interrupt: Option<Arc<dyn InterruptLine>>,
}

/// Absent where there is no interrupt controller.
struct Interrupt(Option<Arc<dyn InterruptLine>>);

impl Trigger for Interrupt {
    type E = Infallible;

    fn trigger(&self) -> Result<(), Infallible> {
        if let Some(line) = &self.0 {
            line.raise();
        }
        Ok(())
    }
}

struct Transmitter(Arc<Outbox>);

impl io::Write for Transmitter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.push_console(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Serial {
    pub(super) fn new(outbox: Arc<Outbox>, interrupt: Option<Arc<dyn InterruptLine>>) -> Self {
        Self {
            uart: vm_superio::Serial::new(Interrupt(interrupt.clone()), Transmitter(Arc::clone(&outbox))),
            outbox,
            interrupt,
        }
    }

    pub(super) fn reset(&mut self) {
        *self = Self::new(Arc::clone(&self.outbox), self.interrupt.clone());
    }

    pub(super) fn read(&mut self, offset: u64, len: u8) -> u8 {
        match u8::try_from(offset) {
            Ok(register) if len == 1 && offset < REGISTERS => self.uart.read(register),
            _ => 0,
        }
    }

    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        if let (Ok(register), [byte]) = (u8::try_from(offset), data)
            && offset < REGISTERS
        {
            // Neither the interrupt nor the transmitter can fail.
            let written = self.uart.write(register, *byte);
            debug_assert!(written.is_ok(), "the outbox takes every byte");
        }
    }

    /// Hands input to the receiver; returns how many bytes its FIFO had room for.
    pub(super) fn input(&mut self, input: &[u8]) -> usize {
        let room = self.uart.fifo_capacity().min(input.len());
        self.uart.enqueue_raw_bytes(&input[..room]).unwrap_or(0)
    }
}

impl fmt::Debug for Serial {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Serial").finish_non_exhaustive()
    }
}
