//! Telling a running guest of its lost pages: who owns the way to it, and who looks after it.
//!
//! A vCPU's thread tells what its guest needs at this moment, and the control thread all the rest: it looks again as long as the
//! guest has something to read. A lock is held for a few copies, and nobody waits while holding it.

use std::ops::ControlFlow;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use seawall_arm64::Gpa;
use seawall_kvm::GuestMemory;

use crate::agent::AgentChannel;
use crate::devices::InterruptLine;
use crate::ghes::{
    self, ACK_LIMIT, FailedReason, Ghes, Progress, Source, SourceState, SourceStates, Telling, Waited,
};
use crate::memory_layout;
use crate::vm::Message;

/// Tells one guest of its lost pages.
#[derive(Debug)]
pub(crate) struct GuestNotifier {
    way: Way,
    memory: Arc<GuestMemory>,
    control: mpsc::Sender<Message>,
    /// The control thread was called and has not begun to look since: a guest that meets its lost pages again and again does not
    /// fill its inbox.
    is_called: AtomicBool,
}

/// How a guest is told.
#[derive(Debug)]
pub(crate) enum Way {
    /// By error records, with ACPI.
    Ghes(Box<ErrorSources>),
    /// By an agent, without.
    Agent(Arc<AgentChannel>),
}

/// The error sources of a guest that was booted with ACPI.
#[derive(Debug)]
pub(crate) struct ErrorSources {
    ghes: Mutex<Ghes>,
    /// Says that there is a record; a guest without an interrupt controller finds it when it looks.
    interrupt: Option<Arc<dyn InterruptLine>>,
}

impl ErrorSources {
    /// The sources in the region at `region`.
    pub(crate) fn new(region: u64, interrupt: Option<Arc<dyn InterruptLine>>) -> Self {
        Self {
            ghes: Mutex::new(Ghes::new(region)),
            interrupt,
        }
    }

    fn lock(&self) -> MutexGuard<'_, Ghes> {
        self.ghes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// How a guest was told of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Notified {
    /// By what.
    pub source: NotificationSource,
    /// Whether the guest has read of it, or the agent's kernel has retired it; absent while it still may.
    pub acked: Option<bool>,
}

/// What told a guest of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NotificationSource {
    /// A record of ACPI, with the abort.
    Sea,
    /// A record of ACPI, with an interrupt.
    Gsiv,
    /// The guest's own agent.
    Agent,
}

impl From<Source> for NotificationSource {
    fn from(source: Source) -> Self {
        match source {
            Source::Sea => Self::Sea,
            Source::Gsiv => Self::Gsiv,
        }
    }
}

/// What a guest is not told by any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FailedNotification {
    /// By which source.
    pub source: NotificationSource,
    /// Why.
    pub reason: FailedReason,
}

impl GuestNotifier {
    /// The way to a guest as it is at boot.
    pub(crate) fn new(way: Way, memory: Arc<GuestMemory>, control: mpsc::Sender<Message>) -> Self {
        let notifier = Self {
            way,
            memory,
            control,
            is_called: AtomicBool::new(false),
        };
        notifier.place();
        notifier
    }

    /// Begins anew with a guest that boots.
    pub(crate) fn place(&self) {
        match &self.way {
            Way::Ghes(sources) => sources.lock().place(&self.memory.checked()),
            Way::Agent(agent) => agent.place(),
        }
    }

    /// Whether memory holds the error sources, and nothing of the guest's.
    pub(crate) fn holds(&self, gpa: Gpa, len: u64) -> bool {
        match &self.way {
            Way::Ghes(sources) => sources.lock().holds(gpa, len),
            Way::Agent(_) => false,
        }
    }

    /// Writes the error sources where memory is fresh.
    pub(crate) fn mend(&self, gpa: Gpa, len: u64) {
        if let Way::Ghes(sources) = &self.way {
            sources.lock().mend(&self.memory.checked(), gpa, len);
        }
        self.have_looked_after();
    }

    /// Tells of lost memory by interrupt, each page once. Somebody waits for the page at `needed`.
    pub(crate) fn tell_by_interrupt(&self, (gpa, len): (Gpa, u64), needed: Option<Gpa>) {
        match &self.way {
            Way::Ghes(sources) => {
                let mut ghes = sources.lock();
                ghes.lose(gpa, len);
                if let Some(needed) = needed {
                    ghes.hurry(needed);
                }
            }
            Way::Agent(agent) => agent.lose((gpa, len), needed),
        }
        // Not left to the control thread: the vCPU that waits is about to run.
        self.advance();
        self.have_looked_after();
    }

    /// Tells an application's kernel of lost memory by exception, and says whether the record is written. Where the guest has not
    /// read the one before it waits for that, [`ACK_LIMIT`] at most and until `pause` breaks. There is no such way to an agent.
    pub(crate) fn tell_by_exception(
        &self,
        lost: (Gpa, u64),
        needed: Gpa,
        pause: impl FnMut(Duration) -> ControlFlow<()>,
    ) -> bool {
        let Way::Ghes(sources) = &self.way else {
            return false;
        };
        let attempt = || {
            let mut ghes = sources.lock();
            match ghes.tell_by_exception(&self.memory.checked(), lost, needed, Instant::now()) {
                Telling::Busy => None,
                telling => Some(telling),
            }
        };
        let waited = ghes::wait(Instant::now() + ACK_LIMIT, Instant::now, attempt, pause);
        // Asked after the record was written: a look from here on finds it.
        if !sources.lock().is_looked_at_soon() {
            self.have_looked_after();
        }
        waited == Waited::Done(Telling::Written)
    }

    /// Begins a look of the control thread: what comes from here on calls it again.
    pub(crate) fn begin_look(&self) {
        self.is_called.store(false, Ordering::SeqCst);
    }

    /// Says what there is to say, and in what time to look again.
    pub(crate) fn advance(&self) -> Option<Duration> {
        match &self.way {
            Way::Ghes(sources) => {
                let memory = self.memory.checked();
                let Progress { raise, again } = sources.lock().advance(&memory, Instant::now());
                if let Some(interrupt) = sources.interrupt.as_ref().filter(|_| raise) {
                    interrupt.raise();
                }
                again
            }
            Way::Agent(agent) => agent.advance(),
        }
    }

    /// Whether the guest has read of a page, as of the last look; each is said once.
    pub(crate) fn take_has_read(&self) -> bool {
        match &self.way {
            Way::Ghes(sources) => sources.lock().take_has_read(),
            Way::Agent(agent) => agent.take_has_retired(),
        }
    }

    /// A source that has failed since somebody asked: each time is said once.
    pub(crate) fn take_failed(&self) -> Option<FailedNotification> {
        match &self.way {
            Way::Ghes(sources) => sources.lock().take_failed().map(|failed| FailedNotification {
                source: failed.source.into(),
                reason: failed.reason,
            }),
            Way::Agent(agent) => agent.take_has_failed().then_some(FailedNotification {
                source: NotificationSource::Agent,
                reason: FailedReason::Unread,
            }),
        }
    }

    /// Whether the guest has read of all of this memory that it is lost.
    pub(crate) fn is_read(&self, gpa: Gpa, len: u64) -> bool {
        match &self.way {
            Way::Ghes(sources) => sources.lock().is_read(gpa, len),
            Way::Agent(agent) => agent.is_retired(gpa, len),
        }
    }

    /// Leaves out of the guest's time what has passed: it did not run.
    pub(crate) fn resumed(&self) {
        match &self.way {
            Way::Ghes(sources) => sources.lock().resumed(),
            Way::Agent(agent) => agent.resumed(),
        }
    }

    /// Forgets memory that was replaced.
    pub(crate) fn replaced(&self, gpa: Gpa, len: u64) {
        match &self.way {
            Way::Ghes(sources) => sources.lock().replaced(gpa, len),
            Way::Agent(agent) => agent.replaced(gpa, len),
        }
    }

    /// How the guest was told of a page.
    pub(crate) fn notification(&self, gpa: Gpa) -> Option<Notified> {
        match &self.way {
            Way::Ghes(sources) => sources.lock().notification(gpa).map(|told| Notified {
                source: told.source.into(),
                acked: told.acked,
            }),
            Way::Agent(agent) => agent.told_of(gpa).map(|acked| Notified {
                source: NotificationSource::Agent,
                acked,
            }),
        }
    }

    /// Whether memory is the guest's RAM: what the hardware names need not be.
    pub(crate) fn is_ram(&self, gpa: Gpa, len: u64) -> bool {
        memory_layout::offset(self.memory.len() as u64, gpa.bits(), len).is_some()
    }

    /// Whether the guest can be told by exception and by interrupt.
    pub(crate) fn states(&self) -> SourceStates {
        match &self.way {
            Way::Ghes(sources) => {
                let ghes = sources.lock();
                SourceStates {
                    sea: ghes.state(Source::Sea),
                    gsiv: ghes.state(Source::Gsiv),
                }
            }
            Way::Agent(agent) => SourceStates {
                sea: SourceState::Disabled,
                gsiv: agent.state(),
            },
        }
    }

    fn have_looked_after(&self) {
        if !self.is_called.swap(true, Ordering::SeqCst) {
            // The control thread is gone once the VM is closed.
            drop(self.control.send(Message::LookAfterGuest));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::memory_layout::{PAGE_SIZE, RAM_BASE};

    #[test]
    fn the_control_thread_is_woken_for_a_record_unless_it_looks_soon() {
        let (control, inbox) = mpsc::channel();
        let memory = Arc::new(GuestMemory::create(1 << 20, None).expect("memory"));
        let way = Way::Ghes(Box::new(ErrorSources::new(RAM_BASE, None)));
        let notifier = GuestNotifier::new(way, Arc::clone(&memory), control);
        let read = || {
            memory.write(0x2000, &[0; 4]).expect("RAM");
            memory.write(0x100, &1_u64.to_le_bytes()).expect("RAM");
        };
        let wakes = |page: u64| {
            let gpa = Gpa::from_bits(RAM_BASE + 0x8_0000 + page * PAGE_SIZE);
            let pause = |_| panic!("the source is free");
            assert!(notifier.tell_by_exception((gpa, PAGE_SIZE), gpa, pause));
            inbox.try_iter().count()
        };
        let look = || {
            notifier.begin_look();
            notifier.advance()
        };
        assert_eq!(wakes(0), 1);
        assert_eq!(look(), Some(ghes::ACK_PAUSE));
        read();
        assert_eq!(wakes(1), 0, "it looks in a moment");
        read();
        assert_eq!(look(), None);
        assert_eq!(wakes(2), 1, "it had nothing to wait for");
    }
}
