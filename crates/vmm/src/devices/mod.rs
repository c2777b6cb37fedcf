//! What lies in the guest-physical address space beside RAM.

mod serial;

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use seawall_kvm::{VcpuEntry, VcpuExit};

use crate::agent::AgentChannel;
use crate::event::Outbox;
use crate::memory_layout::{AGENT_BASE, SERIAL_BASE, SERIAL_SIZE};

use serial::{DATA, LSR};
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
    polled: Polled,
    agent: Option<Arc<AgentChannel>>,
}

/// What a guest that polls the console's UART does most, which takes no lock: as the UART was when it was last unlocked.
#[derive(Debug, Default)]
struct Polled {
    /// What LSR reads, with [`KNOWN`]; 0 where a look at it changes something.
    line_status: AtomicU8,
    /// Whether a byte goes to the console and changes nothing here.
    transmits: AtomicBool,
}

/// Of [`Polled::line_status`]: LSR's own bit 7 is never set.
const KNOWN: u8 = 1 << 7;

impl Polled {
    fn note(&self, serial: &Serial) {
        let line_status = serial.polled_line_status().map_or(0, |status| KNOWN | status);
        self.line_status.store(line_status, Ordering::Release);
        self.transmits
            .store(serial.transmits_in_silence(), Ordering::Release);
    }

    fn line_status(&self) -> Option<u8> {
        let status = self.line_status.load(Ordering::Acquire);
        (status & KNOWN != 0).then_some(status & !KNOWN)
    }
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
            polled: Polled::default(),
            agent,
            outbox,
        }
    }

    /// Brings the devices back to what they are before a guest uses them. Console input that no guest has read stays.
    pub(crate) fn reset(&self) {
        self.with_serial(Serial::reset);
        if let Some(agent) = &self.agent {
            agent.reset();
        }
    }

    /// Does what a vCPU left the guest for, and says whether a device did. `entry` is then with what the vCPU goes back.
    #[inline]
    pub(crate) fn serve(&self, exit: &VcpuExit, entry: &mut VcpuEntry) -> bool {
        match exit {
            VcpuExit::MmioRead { gpa, len } => match self.read(gpa.bits(), *len) {
                Some(data) => {
                    *entry = VcpuEntry::MmioRead(data);
                    true
                }
                None => false,
            },
            VcpuExit::MmioWrite { gpa, data, len } => {
                let data = &data[..usize::from(*len).min(data.len())];
                self.write(gpa.bits(), data).is_some()
            }
            _ => false,
        }
    }

    /// Answers a load, little-endian; `None` where no device is.
    #[inline]
    fn read(&self, gpa: u64, len: u8) -> Option<[u8; 8]> {
        if gpa == SERIAL_BASE + u64::from(LSR)
            && len == 1
            && let Some(status) = self.polled.line_status()
        {
            return Some(u64::from(status).to_le_bytes());
        }
        let value = match self.claim(gpa)? {
            (Claim::Console, offset) => self.with_serial(|serial| serial.read(offset, len)),
            (Claim::Agent(agent), offset) => agent.read(offset, len),
        };
        Some(u64::from(value).to_le_bytes())
    }

    /// Takes a store; `None` where no device is.
    #[inline]
    fn write(&self, gpa: u64, data: &[u8]) -> Option<()> {
        if gpa == SERIAL_BASE + u64::from(DATA)
            && let [_] = data
            && self.polled.transmits.load(Ordering::Acquire)
        {
            if self.outbox.push_console(data) {
                // Asked again with the lock: by now somebody may have taken it all.
                self.with_serial(Serial::look);
            }
            return Some(());
        }
        match self.claim(gpa)? {
            (Claim::Console, offset) => self.with_serial(|serial| serial.write(offset, data)),
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
        self.with_serial(|serial| serial.input(input))
    }

    /// For how many bytes of console input there is room.
    pub(crate) fn console_input_room(&self) -> usize {
        self.with_serial(|serial| serial.input_room())
    }

    /// Takes console output, up to `max` bytes, and tells the guest where it has waited for that.
    pub(crate) fn take_console(&self, max: usize) -> Vec<u8> {
        let taken = self.outbox.take_console(max);
        self.with_serial(Serial::look);
        taken
    }

    /// Says that nobody reads the console any more, and tells the guest where it has waited for somebody.
    pub(crate) fn release_console(&self) {
        self.outbox.release_console();
        self.with_serial(Serial::look);
    }

    /// Uses the console's UART, and notes what it is to a guest that polls from now on.
    fn with_serial<T>(&self, used: impl FnOnce(&mut Serial) -> T) -> T {
        let mut serial = self.serial.lock().unwrap_or_else(PoisonError::into_inner);
        let result = used(&mut serial);
        self.polled.note(&serial);
        result
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

    /// A bus whose guest is known to poll, and has sent a byte: from then on it takes no lock.
    fn polled() -> (Bus, Arc<Edges>) {
        let (bus, edges) = bus();
        assert!(bus.take_console(1).is_empty());
        for _ in 0..3 {
            assert_eq!(bus.read(SERIAL_BASE + 5, 1), Some([0x60, 0, 0, 0, 0, 0, 0, 0]));
        }
        bus.write(SERIAL_BASE, b"a");
        assert!(bus.polled.line_status().is_some() && bus.polled.transmits.load(Ordering::SeqCst));
        (bus, edges)
    }

    #[test]
    fn a_guest_that_polls_sees_its_input_and_a_busy_transmitter() {
        let (bus, _) = polled();
        let line_status = || bus.read(SERIAL_BASE + 5, 1).expect("the UART")[0];
        assert_eq!(line_status(), 0x60);
        assert_eq!(bus.console_input(b"x"), 1);
        assert_eq!(line_status(), 0x61);
        assert_eq!(bus.read(SERIAL_BASE, 1).expect("the UART")[0], b'x');
        assert_eq!(line_status(), 0x60);
        bus.outbox.push_console(&vec![b'.'; (1 << 20) - 2]);
        assert_eq!(line_status(), 0x60, "there is room for one more");
        bus.write(SERIAL_BASE, b"b");
        assert_eq!(line_status(), 0);
        assert_eq!(bus.take_console(usize::MAX).len(), 1 << 20);
        assert_eq!(line_status(), 0x60);
        bus.reset();
        assert_eq!(bus.polled.line_status(), None, "it may not poll any more");
    }

    #[test]
    fn a_guest_that_polled_finds_its_uart_as_it_sets_it_up() {
        let set_up = |register: u64, value: u8| {
            let (bus, edges) = polled();
            bus.write(SERIAL_BASE + register, &[value]);
            bus.write(SERIAL_BASE, b"b");
            (bus.take_console(9), edges.0.load(Ordering::SeqCst))
        };
        assert_eq!(set_up(1, 0), (b"ab".to_vec(), 0));
        let (console, edges) = set_up(1, 2);
        assert_eq!(console, b"ab");
        assert!(edges > 0, "it is told that the transmitter is empty");
        assert_eq!(set_up(3, 0x80).0, b"a", "a divisor latch");
        assert_eq!(set_up(4, 0x10).0, b"a", "looped back");
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
