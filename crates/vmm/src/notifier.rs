//! Telling a running guest of its lost pages: who owns the error sources, and who looks after them.
//!
//! A vCPU's thread tells what its guest needs at this moment, and the control thread all the rest: it looks again as long as the
//! guest has something to read. The lock is held for a few copies, and nobody waits while holding it.

use std::ops::ControlFlow;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use seawall_arm64::Gpa;
use seawall_kvm::GuestMemory;

use crate::devices::InterruptLine;
use crate::ghes::{
    self, ACK_LIMIT, FailedSource, Ghes, Notification, Progress, Source, SourceStates, Telling, Waited,
};
use crate::memory_layout;
use crate::vm::Message;

/// The error sources of a guest that was booted with ACPI.
#[derive(Debug)]
pub(crate) struct GuestNotifier {
    ghes: Mutex<Ghes>,
    memory: Arc<GuestMemory>,
    /// Says that there is a record; a guest without an interrupt controller finds it when it looks.
    interrupt: Option<Arc<dyn InterruptLine>>,
    control: mpsc::Sender<Message>,
}

impl GuestNotifier {
    /// The sources in the region at `region`, as a guest finds them at boot.
    pub(crate) fn new(
        region: u64,
        memory: Arc<GuestMemory>,
        interrupt: Option<Arc<dyn InterruptLine>>,
        control: mpsc::Sender<Message>,
    ) -> Self {
        let notifier = Self {
            ghes: Mutex::new(Ghes::new(region)),
            memory,
            interrupt,
            control,
        };
        notifier.place();
        notifier
    }

    /// Begins anew with a guest that boots.
    pub(crate) fn place(&self) {
        self.ghes().place(&*self.memory);
    }

    /// Whether memory holds the error sources, and nothing of the guest's.
    pub(crate) fn holds(&self, gpa: Gpa, len: u64) -> bool {
        self.ghes().holds(gpa, len)
    }

    /// Writes the error sources into memory that is fresh.
    pub(crate) fn mend(&self) {
        self.ghes().mend(&*self.memory);
        self.have_looked_after();
    }

    /// Tells of lost memory by interrupt, each page once. Somebody waits for the page at `needed`.
    pub(crate) fn tell_by_interrupt(&self, (gpa, len): (Gpa, u64), needed: Option<Gpa>) {
        let mut ghes = self.ghes();
        ghes.lose(gpa, len);
        if let Some(needed) = needed {
            ghes.hurry(needed);
        }
        drop(ghes);
        // Not left to the control thread: the vCPU that waits is about to run.
        self.advance();
        self.have_looked_after();
    }

    /// Tells an application's kernel of lost memory by exception, and says whether the record is written. Where the guest has not
    /// read the one before it waits for that, [`ACK_LIMIT`] at most and until `pause` breaks.
    pub(crate) fn tell_by_exception(
        &self,
        lost: (Gpa, u64),
        needed: Gpa,
        pause: impl FnMut(Duration) -> ControlFlow<()>,
    ) -> bool {
        let attempt = || match self
            .ghes()
            .tell_by_exception(&*self.memory, lost, needed, Instant::now())
        {
            Telling::Busy => None,
            telling => Some(telling),
        };
        let waited = ghes::wait(Instant::now() + ACK_LIMIT, Instant::now, attempt, pause);
        self.have_looked_after();
        waited == Waited::Done(Telling::Written)
    }

    /// Writes what there is to write, and says in what time to look again.
    pub(crate) fn advance(&self) -> Option<Duration> {
        let Progress { raise, again } = self.ghes().advance(&*self.memory, Instant::now());
        if let Some(interrupt) = self.interrupt.as_ref().filter(|_| raise) {
            interrupt.raise();
        }
        again
    }

    /// Whether the guest has read a record, as of the last look; each is said once.
    pub(crate) fn take_has_read(&self) -> bool {
        self.ghes().take_has_read()
    }

    /// A source that has failed since somebody asked: each time is said once.
    pub(crate) fn take_failed(&self) -> Option<FailedSource> {
        self.ghes().take_failed()
    }

    /// Whether the guest has read of all of this memory that it is lost.
    pub(crate) fn is_read(&self, gpa: Gpa, len: u64) -> bool {
        self.ghes().is_read(gpa, len)
    }

    /// Leaves out of the guest's time what has passed: it did not run.
    pub(crate) fn resumed(&self) {
        self.ghes().resumed();
    }

    /// Forgets memory that was replaced.
    pub(crate) fn replaced(&self, gpa: Gpa, len: u64) {
        self.ghes().replaced(gpa, len);
    }

    /// How the guest was told of a page.
    pub(crate) fn notification(&self, gpa: Gpa) -> Option<Notification> {
        self.ghes().notification(gpa)
    }

    /// Whether memory is the guest's RAM: what the hardware names need not be.
    pub(crate) fn is_ram(&self, gpa: Gpa, len: u64) -> bool {
        memory_layout::offset(self.memory.len() as u64, gpa.bits(), len).is_some()
    }

    /// Whether the guest can be told by each source.
    pub(crate) fn states(&self) -> SourceStates {
        let ghes = self.ghes();
        SourceStates {
            sea: ghes.state(Source::Sea),
            gsiv: ghes.state(Source::Gsiv),
        }
    }

    fn have_looked_after(&self) {
        // The control thread is gone once the VM is closed.
        drop(self.control.send(Message::LookAfterGuest));
    }

    fn ghes(&self) -> MutexGuard<'_, Ghes> {
        self.ghes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
