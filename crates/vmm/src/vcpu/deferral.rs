//! An access that runs again without an abort, so that the guest has time to do without the page.
//!
//! Each retry finds the page out of reach again and consumes nothing. It ends when the vCPU does
//! something else, or with the abort when the time is over.

use std::time::{Duration, Instant};

use crate::event::{DeferralOutcome, DeferralReport, EventKind, MemoryFailure};
use crate::ghes::RETRIES;
use crate::memory_layout::PAGE_SIZE;
use crate::notifier::Notified;
use crate::sea::{FailureAction, MemoryError, VerdictReason};
use crate::vcpu::mailbox::Mailbox;
use crate::vcpu::run_loop::RunContext;

/// Between two tries at least.
const PAUSE: Duration = Duration::from_millis(1);
/// How long an access of a guest that was told does not run again before it counts as given up. The guest's handler of the
/// interrupt that tells it, and what it prints, are somewhere else too.
pub(crate) const SETTLED: Duration = Duration::from_millis(20);

/// A failure whose access runs again.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Deferral {
    /// The number of the event that told of it.
    seq: u64,
    failure: MemoryFailure,
    since: Instant,
    last: Instant,
    retries: u32,
}

impl Deferral {
    pub(super) const fn new(seq: u64, failure: MemoryFailure, since: Instant) -> Self {
        Self {
            seq,
            failure,
            since,
            last: since,
            retries: 0,
        }
    }

    /// Whether an error is that of the same access.
    pub(super) fn is_of(&self, error: &MemoryError) -> bool {
        let place = |error: &MemoryError| {
            let page = error.gpa.map(|gpa| gpa.page(PAGE_SIZE));
            (error.consumer.map(|consumer| consumer.pc), page)
        };
        place(&self.failure.error) == place(error)
    }

    /// Whether the vCPU at this program counter has gone on. One that is told of the page is first interrupted for that.
    pub(super) fn is_behind(&self, pc: u64, context: &RunContext) -> bool {
        let consumer = self.failure.error.consumer;
        let elsewhere = consumer.is_some_and(|consumer| consumer.pc.bits() != pc);
        elsewhere
            && match self.notification(context) {
                None => true,
                Some(notification) => notification.acked.is_some() && self.last.elapsed() >= SETTLED,
            }
    }

    fn notification(&self, context: &RunContext) -> Option<Notified> {
        let (notifier, gpa) = context.notifier.as_ref().zip(self.failure.error.gpa)?;
        notifier.notification(gpa)
    }

    /// Leaves out a time in which the vCPU did not run.
    pub(super) fn leave_out(&mut self, paused: Duration) {
        self.since += paused;
    }

    /// Waits for a moment, if there is time left for another try: the tries are spread over the time. A request to park ends the
    /// wait.
    pub(super) fn retry(&mut self, limit: Duration, mailbox: &Mailbox) -> bool {
        let left = self.retries < RETRIES && self.since.elapsed() < limit;
        if left {
            self.retries += 1;
            let next = Instant::now() + PAUSE.max(limit / RETRIES);
            loop {
                std::thread::sleep(PAUSE);
                if Instant::now() >= next || mailbox.park_requested() {
                    break;
                }
            }
            self.last = Instant::now();
        }
        left
    }

    /// The failure when the time is over: it gets its abort.
    pub(super) fn over(self) -> MemoryFailure {
        let failure = self.ended(DeferralOutcome::Deadline);
        MemoryFailure {
            action: FailureAction::Inject,
            ..failure
        }
    }

    /// Tells that the vCPU has gone on.
    pub(super) fn tell_retired(self, context: &RunContext) {
        let notified = self.notification(context);
        let failure = MemoryFailure {
            notified,
            ..self.ended(DeferralOutcome::Retired)
        };
        context.outbox.push(EventKind::MemoryFailure(Box::new(failure)));
    }

    fn ended(self, outcome: DeferralOutcome) -> MemoryFailure {
        MemoryFailure {
            reason: VerdictReason::Deferred { failure: self.seq },
            deferral: Some(DeferralReport {
                retries: self.retries,
                time: self.since.elapsed(),
                outcome,
            }),
            ..self.failure
        }
    }
}
