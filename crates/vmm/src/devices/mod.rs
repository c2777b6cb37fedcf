//! What lies in the guest-physical address space beside RAM.

mod serial;

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use crate::event::Outbox;
use crate::memory_layout::{SERIAL_BASE, SERIAL_SIZE};
use serial::Serial;

/// An interrupt of a device, on an edge.
pub(crate) trait InterruptLine: Send + Sync + fmt::Debug {
    /// Raises it. Never waits.
    fn raise(&self);
}

/// The devices of one virtual machine, shared by its vCPUs.
#[derive(Debug)]
pub(crate) struct Bus {
    serial: Mutex<Serial>,
}

impl Bus {
    /// Without an interrupt the guest polls.
    pub(crate) fn new(outbox: Arc<Outbox>, interrupt: Option<Arc<dyn InterruptLine>>) -> Self {
        Self {
            serial: Mutex::new(Serial::new(outbox, interrupt)),
        }
    }

    /// Brings every device back to what it was before the guest used it. What was typed stays.
    pub(crate) fn reset(&self) {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner).reset();
    }

    /// Answers a load, little-endian; `None` where no device is.
    pub(crate) fn read(&self, gpa: u64, len: u8) -> Option<[u8; 8]> {
        let offset = serial_offset(gpa)?;
        let mut data = [0; 8];
        data[0] = self
            .serial
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .read(offset, len);
        Some(data)
    }

    /// Takes a store; `None` where no device is.
    pub(crate) fn write(&self, gpa: u64, data: &[u8]) -> Option<()> {
        let offset = serial_offset(gpa)?;
        self.serial
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .write(offset, data);
        Some(())
    }

    /// Hands input to the console; returns how many bytes it took.
    pub(crate) fn console_input(&self, input: &[u8]) -> usize {
        self.serial
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .input(input)
    }
}

fn serial_offset(gpa: u64) -> Option<u64> {
    gpa.checked_sub(SERIAL_BASE)
        .filter(|offset| *offset < SERIAL_SIZE)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bus() -> (Bus, Arc<Outbox>) {
        let outbox = Arc::new(Outbox::new(Box::new(|| {})));
        (Bus::new(Arc::clone(&outbox), None), outbox)
    }

    #[test]
    fn what_the_guest_transmits_reaches_the_console() {
        let (bus, outbox) = bus();
        for byte in b"hi" {
            assert_eq!(bus.write(SERIAL_BASE, &[*byte]), Some(()));
        }
        assert_eq!(outbox.take_console(), b"hi");
    }

    #[test]
    fn the_guest_reads_what_was_typed() {
        const DATA_READY: u8 = 1;
        let (bus, _) = bus();
        assert_eq!(bus.console_input(b"x"), 1);
        assert_eq!(
            bus.read(SERIAL_BASE + 5, 1)
                .map(|line_status| line_status[0] & DATA_READY),
            Some(DATA_READY)
        );
        assert_eq!(bus.read(SERIAL_BASE, 1).map(|data| data[0]), Some(b'x'));
    }

    #[test]
    fn only_byte_accesses_reach_a_register() {
        let (bus, outbox) = bus();
        assert_eq!(bus.write(SERIAL_BASE, b"abcd"), Some(()), "claimed, and ignored");
        assert_eq!(bus.read(SERIAL_BASE + 5, 4), Some([0; 8]));
        assert_eq!(
            bus.read(SERIAL_BASE + 8, 1),
            Some([0; 8]),
            "beyond the eight registers"
        );
        assert!(outbox.take_console().is_empty());
    }

    #[test]
    fn an_address_beside_the_devices_is_claimed_by_nobody() {
        let (bus, _) = bus();
        for gpa in [0, SERIAL_BASE - 1, SERIAL_BASE + SERIAL_SIZE, u64::MAX] {
            assert_eq!(bus.read(gpa, 8), None);
            assert_eq!(bus.write(gpa, &[0]), None);
        }
    }
}
