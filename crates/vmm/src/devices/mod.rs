//! What lies in the guest-physical address space beside RAM.

mod serial;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::agent::AgentChannel;
use crate::event::Outbox;
use crate::memory_layout::{AGENT_BASE, SERIAL_BASE, SERIAL_SIZE};

pub(crate) use serial::{Serial, SerialPeer};

/// A device's line to the interrupt controller.
pub(crate) trait InterruptLine: Send + Sync + fmt::Debug {
    /// Raises an edge. Never waits.
    fn raise(&self);
}

/// The devices of one virtual machine, shared by its vCPUs.
#[derive(Debug)]
pub(crate) struct Bus {
    outbox: Arc<Outbox>,
    serial: Mutex<Serial>,
    agent: Option<Arc<AgentChannel>>,
}

impl Bus {
    /// `interrupt` is the console's; a guest without an interrupt controller has none, and polls. `agent` is the line to the
    /// guest's agent, where there is one.
    pub(crate) fn new(
        outbox: Arc<Outbox>,
        interrupt: Option<Arc<dyn InterruptLine>>,
        agent: Option<Arc<AgentChannel>>,
    ) -> Self {
        let peer = Arc::<Outbox>::clone(&outbox);
        Self {
            serial: Mutex::new(Serial::new(peer, interrupt)),
            agent,
            outbox,
        }
    }

    /// Brings the devices back to what they are before a guest uses them. Console input that no guest has read stays.
    pub(crate) fn reset(&self) {
        self.serial().reset();
        if let Some(agent) = &self.agent {
            agent.reset();
        }
    }

    /// Answers a load, little-endian; `None` where no device is.
    pub(crate) fn read(&self, gpa: u64, len: u8) -> Option<[u8; 8]> {
        let mut data = [0; 8];
        data[0] = match self.claim(gpa)? {
            (Claim::Console, offset) => self.serial().read(offset, len),
            (Claim::Agent(agent), offset) => agent.read(offset, len),
        };
        Some(data)
    }

    /// Takes a store; `None` where no device is.
    pub(crate) fn write(&self, gpa: u64, data: &[u8]) -> Option<()> {
        match self.claim(gpa)? {
            (Claim::Console, offset) => self.serial().write(offset, data),
            (Claim::Agent(agent), offset) => agent.write(offset, data),
        }
        Some(())
    }

    /// The device at an address, and the offset from its start.
    fn claim(&self, gpa: u64) -> Option<(Claim<'_>, u64)> {
        if let Some(offset) = offset(SERIAL_BASE, gpa) {
            return Some((Claim::Console, offset));
        }
        let agent = self.agent.as_deref()?;
        Some((Claim::Agent(agent), offset(AGENT_BASE, gpa)?))
    }

    /// Hands input to the console; returns how many bytes it had room for. Where that is not all, the outbox's reader is
    /// woken when there is room again.
    pub(crate) fn console_input(&self, input: &[u8]) -> usize {
        self.serial().input(input)
    }

    /// For how many bytes of console input there is room.
    pub(crate) fn console_input_room(&self) -> usize {
        self.serial().input_room()
    }

    /// Takes console output, up to `max` bytes, and tells the guest where it has waited for that.
    pub(crate) fn take_console(&self, max: usize) -> Vec<u8> {
        let taken = self.outbox.take_console(max);
        self.serial().look();
        taken
    }

    /// Says that nobody reads the console any more, and tells the guest where it has waited for somebody.
    pub(crate) fn release_console(&self) {
        self.outbox.release_console();
        self.serial().look();
    }

    fn serial(&self) -> MutexGuard<'_, Serial> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Which device is meant.
enum Claim<'a> {
    Console,
    Agent(&'a AgentChannel),
}

/// The offset of an address in a UART's registers, if it is there.
fn offset(base: u64, gpa: u64) -> Option<u64> {
    gpa.checked_sub(base).filter(|offset| *offset < SERIAL_SIZE)
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    /// How long a thread may wait for another. Nothing here needs more than milliseconds; a loaded machine may.
    const LIMIT: Duration = Duration::from_secs(30);

    #[derive(Debug, Default)]
    struct Edges(AtomicU64);

    impl InterruptLine for Edges {
        fn raise(&self) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    fn bus() -> (Bus, Arc<Edges>) {
        let outbox = Arc::new(Outbox::new(Box::new(|| {})));
        let edges = Arc::new(Edges::default());
        let line: Arc<dyn InterruptLine> = Arc::<Edges>::clone(&edges);
        (Bus::new(outbox, Some(line), None), edges)
    }

    #[test]
    fn what_the_guest_transmits_reaches_the_console() {
        let (bus, _) = bus();
        for byte in b"hi" {
            assert_eq!(bus.write(SERIAL_BASE, &[*byte]), Some(()));
        }
        assert_eq!(bus.take_console(100), b"hi");
    }

    #[test]
    fn a_guest_that_waits_for_its_transmitter_is_interrupted_when_its_output_was_taken() {
        const TRANSMITTER_EMPTY: u8 = 1 << 1;
        let full = vec![b'x'; 1 << 20];
        let take = |bus: &Bus| drop(bus.take_console(usize::MAX));
        for make_room in [take, Bus::release_console] {
            let (bus, edges) = bus();
            assert!(bus.take_console(1).is_empty());
            bus.outbox.push_console(&full);
            bus.write(SERIAL_BASE + 1, &[TRANSMITTER_EMPTY]);
            assert_eq!(edges.0.load(Ordering::SeqCst), 0);
            make_room(&bus);
            assert_eq!(edges.0.load(Ordering::SeqCst), 1);
        }
    }

    #[test]
    fn only_byte_accesses_reach_a_register() {
        let (bus, _) = bus();
        assert_eq!(bus.write(SERIAL_BASE, b"abcd"), Some(()), "claimed, and ignored");
        assert_eq!(bus.read(SERIAL_BASE + 5, 4), Some([0; 8]));
        assert_eq!(
            bus.read(SERIAL_BASE + 8, 1),
            Some([0; 8]),
            "beyond the eight registers"
        );
        assert!(bus.take_console(100).is_empty());
    }

    #[test]
    fn an_address_beside_the_devices_is_claimed_by_nobody() {
        let (bus, _) = bus();
        for gpa in [0, SERIAL_BASE - 1, SERIAL_BASE + SERIAL_SIZE, u64::MAX] {
            assert_eq!(bus.read(gpa, 8), None);
            assert_eq!(bus.write(gpa, &[0]), None);
        }
    }

    /// Tells another thread, which waits for nothing else.
    #[derive(Debug)]
    struct Bell(mpsc::Sender<()>);

    impl Bell {
        fn new() -> (Self, mpsc::Receiver<()>) {
            let (sender, receiver) = mpsc::channel();
            (Self(sender), receiver)
        }

        fn ring(&self) {
            self.0.send(()).unwrap_or(());
        }
    }

    impl InterruptLine for Bell {
        fn raise(&self) {
            self.ring();
        }
    }

    /// Echoes so many bytes, acting on interrupts alone, and handling only what is pending when it looks.
    fn echo(bus: &Bus, interrupts: &mpsc::Receiver<()>, bytes: usize) {
        let get = |register: u64| bus.read(SERIAL_BASE + register, 1).expect("the UART")[0];
        let set = |register: u64, value: u8| bus.write(SERIAL_BASE + register, &[value]).expect("the UART");
        let (mut to_send, mut sent) = (VecDeque::new(), 0);
        set(1, 1);
        while sent < bytes {
            interrupts.recv_timeout(LIMIT).expect("an interrupt");
            get(2);
            while get(5) & 1 != 0 {
                to_send.push_back(get(0));
            }
            if get(5) & 0x20 != 0 {
                for byte in to_send.drain(..to_send.len().min(16)) {
                    set(0, byte);
                    sent += 1;
                }
            }
            set(1, if to_send.is_empty() { 1 } else { 3 });
        }
    }

    #[test]
    fn nobody_waits_for_ever_who_acts_only_on_what_is_told() {
        let input: Vec<u8> = (0..=250).cycle().take(200_000).collect();
        let (interrupt, interrupts) = Bell::new();
        let (wake, woken) = Bell::new();
        let outbox = Arc::new(Outbox::new(Box::new(move || wake.ring())));
        let bus = Arc::new(Bus::new(Arc::clone(&outbox), Some(Arc::new(interrupt)), None));
        let mut output = bus.take_console(1);
        // The transmitter gets busy in the middle, because nothing is taken before.
        let before = (1 << 20) - input.len() / 2;
        outbox.push_console(&vec![b'.'; before]);
        let guest = std::thread::spawn({
            let (bus, bytes) = (Arc::clone(&bus), input.len());
            move || echo(&bus, &interrupts, bytes)
        });
        let mut typed = 0;
        while !outbox.console_is_busy() && !guest.is_finished() {
            typed += bus.console_input(&input[typed..]);
            std::thread::yield_now();
        }
        while output.len() < before + input.len() {
            typed += bus.console_input(&input[typed..]);
            let taken = bus.take_console(5000);
            if taken.is_empty() {
                woken.recv_timeout(LIMIT).expect("a wake-up");
                drop(outbox.take_events());
            }
            output.extend(taken);
        }
        guest.join().expect("no panic");
        assert!(output[before..] == input);
        assert_eq!(outbox.totals().console_bytes_lost, 0);
    }
}
