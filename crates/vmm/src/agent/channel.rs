//! The line to the agent: a UART as the console's, whose other end is the monitor.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use seawall_arm64::Gpa;

use super::Agent;
use super::line::LineBuffer;
use crate::devices::{InterruptLine, Serial, SerialPeer};
use crate::ghes::SourceState;

/// Called when the agent has said something: [`AgentChannel::advance`] is to be called soon, by another thread.
pub(crate) type WakeControl = Box<dyn Fn() + Send + Sync>;

/// The UART, and what is said by it. Of the two locks the UART's comes first, and neither is held across a wait.
pub(crate) struct AgentChannel {
    serial: Mutex<Serial>,
    monitor: Arc<MonitorEnd>,
}

/// The monitor's end of the line.
struct MonitorEnd {
    talk: Mutex<Talk>,
    wake: WakeControl,
}

#[derive(Default)]
struct Talk {
    agent: Agent,
    output: LineBuffer,
    /// Somebody was woken and has not looked yet: a guest that says much does not wake anybody twice.
    is_woken: bool,
}

impl SerialPeer for MonitorEnd {
    fn take_output(&self, byte: u8) -> bool {
        let mut talk = self.talk();
        if let Some(line) = talk.output.push(byte)
            && talk.agent.on_line(&line)
            && !std::mem::replace(&mut talk.is_woken, true)
        {
            drop(talk);
            (self.wake)();
        }
        self.is_busy()
    }

    fn is_busy(&self) -> bool {
        false
    }

    fn room_for_input(&self) {}
}

impl MonitorEnd {
    fn talk(&self) -> MutexGuard<'_, Talk> {
        self.talk.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl AgentChannel {
    /// A guest without an interrupt controller has no interrupt, and polls.
    pub(crate) fn new(interrupt: Option<Arc<dyn InterruptLine>>, wake: WakeControl) -> Self {
        let monitor = Arc::new(MonitorEnd {
            talk: Mutex::default(),
            wake,
        });
        let peer = Arc::<MonitorEnd>::clone(&monitor);
        Self {
            serial: Mutex::new(Serial::new(peer, interrupt)),
            monitor,
        }
    }

    /// Answers a load of the guest's from the UART.
    pub(crate) fn read(&self, offset: u64, len: u8) -> u8 {
        self.serial().read(offset, len)
    }

    /// Takes a store of the guest's to the UART.
    pub(crate) fn write(&self, offset: u64, data: &[u8]) {
        self.serial().write(offset, data);
    }

    /// Brings the UART back to what it is before a guest uses it.
    pub(crate) fn reset(&self) {
        let mut serial = self.serial();
        serial.drop_input();
        serial.reset();
        self.monitor.talk().output = LineBuffer::default();
    }

    /// Forgets what the guest before was told.
    pub(crate) fn place(&self) {
        self.monitor.talk().agent.place();
    }

    /// Notes that memory is lost; somebody waits for the page at `needed`. [`AgentChannel::advance`] tells the guest.
    pub(crate) fn lose(&self, (gpa, len): (Gpa, u64), needed: Option<Gpa>) {
        let mut talk = self.monitor.talk();
        talk.agent.lose(gpa, len);
        if let Some(needed) = needed {
            talk.agent.hurry(needed);
        }
    }

    /// Says what there is to say, and in what time to look again.
    pub(crate) fn advance(&self) -> Option<Duration> {
        // Held, so that two threads do not say the one thing within the other.
        let mut serial = self.serial();
        let mut talk = self.monitor.talk();
        talk.is_woken = false;
        let saying = talk.agent.advance(Instant::now());
        drop(talk);
        if saying.is_new {
            serial.drop_input();
        }
        // There is room, unless the guest answers what it has not read: then it is its own loss.
        serial.input(saying.lines.as_bytes());
        saying.again
    }

    /// Whether the guest can be told.
    pub(crate) fn state(&self) -> SourceState {
        self.monitor.talk().agent.state()
    }

    /// Whether the guest was told of a page, and then whether it has retired it.
    pub(crate) fn told_of(&self, gpa: Gpa) -> Option<Option<bool>> {
        self.monitor.talk().agent.told_of(gpa)
    }

    /// Whether the guest has retired all of this memory.
    pub(crate) fn is_retired(&self, gpa: Gpa, len: u64) -> bool {
        self.monitor.talk().agent.is_retired(gpa, len)
    }

    /// Whether the guest has retired a page; each is said once.
    pub(crate) fn take_has_retired(&self) -> bool {
        self.monitor.talk().agent.take_has_retired()
    }

    /// Whether the agent has stopped to answer; each time is said once.
    pub(crate) fn take_has_failed(&self) -> bool {
        self.monitor.talk().agent.take_has_failed()
    }

    /// Forgets memory that was replaced.
    pub(crate) fn replaced(&self, gpa: Gpa, len: u64) {
        self.monitor.talk().agent.replaced(gpa, len);
    }

    /// Leaves out of the guest's time what has passed: it did not run.
    pub(crate) fn resumed(&self) {
        self.monitor.talk().agent.resumed();
    }

    fn serial(&self) -> MutexGuard<'_, Serial> {
        self.serial.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for AgentChannel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AgentChannel").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
