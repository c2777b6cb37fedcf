//! An access that runs again without an abort, so that the guest has time to do without the page.
//!
//! Each retry finds the page out of reach again and consumes nothing. It ends when the vCPU does
//! something else, or with the abort when the time is over.

use std::time::{Duration, Instant};

use seawall_arm64::AbortKind;

use crate::event::{DecidedBy, DeferralOutcome, DeferralReport, EventKind, MemoryFailure};
use crate::ghes::{RETRIES, SourceState};
use crate::memory_layout::PAGE_SIZE;
use crate::notifier::Notified;
use crate::sea::{FailureAction, MemoryError, VerdictReason};
use crate::vcpu::mailbox::Mailbox;
use crate::vcpu::patience::Spent;
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
    /// The abort that somebody asked for, should it come to that.
    kind: Option<AbortKind>,
    /// What accesses to the page had spent before this one.
    before: Spent,
    since: Instant,
    last: Instant,
    retries: u32,
}

impl Deferral {
    pub(super) fn new(
        seq: u64,
        failure: MemoryFailure,
        kind: Option<AbortKind>,
        context: &RunContext,
    ) -> Self {
        let since = Instant::now();
        let page = failure.error.gpa;
        Self {
            seq,
            kind,
            before: page.map_or_else(Spent::default, |gpa| context.patience.spent(gpa)),
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
        let at_once = context.notifier.is_none();
        elsewhere && (at_once || (self.is_heard(context) && self.last.elapsed() >= SETTLED))
    }

    /// Whether the guest has heard of the page, or will not.
    fn is_heard(&self, context: &RunContext) -> bool {
        let Some((notifier, gpa)) = context.notifier.as_ref().zip(self.failure.error.gpa) else {
            return true;
        };
        match notifier.notification(gpa) {
            Some(notified) => notified.acked.is_some(),
            None => !notifier.is_ram(gpa, 1) || notifier.states().gsiv != SourceState::Usable,
        }
    }

    /// Whether nothing will come of the time that is left: the guest does not read, or its agent could not retire the page. Who
    /// decided that the access runs again may do something about the page himself.
    fn is_in_vain(&self, context: &RunContext) -> bool {
        self.failure.decided_by == DecidedBy::Policy
            && self
                .notification(context)
                .is_some_and(|notified| notified.acked == Some(false))
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
    pub(super) fn retry(&mut self, context: &RunContext, mailbox: &Mailbox) -> bool {
        let limit = context.policy.defer;
        let Spent { retries, time } = self.before.and(self.spent());
        let left = retries < RETRIES && time < limit && !self.is_in_vain(context);
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

    fn spent(&self) -> Spent {
        Spent {
            retries: self.retries,
            time: self.since.elapsed(),
        }
    }

    /// The failure when the time is over, and the abort that was asked for: it gets that.
    pub(super) fn over(self, context: &RunContext) -> (MemoryFailure, Option<AbortKind>) {
        let kind = self.kind;
        let failure = MemoryFailure {
            action: FailureAction::Inject,
            ..self.ended(DeferralOutcome::Deadline, context)
        };
        (failure, kind)
    }

    /// Tells that the vCPU has gone on.
    pub(super) fn tell_retired(self, context: &RunContext) {
        let notified = self.notification(context);
        let failure = MemoryFailure {
            notified,
            ..self.ended(DeferralOutcome::Retired, context)
        };
        context.outbox.push(EventKind::MemoryFailure(Box::new(failure)));
    }

    /// Gives way to another error of the vCPU. Where the guest may still hear of the page, the access is not done without it yet:
    /// it is told when it is met again.
    pub(super) fn give_way(self, context: &RunContext) {
        if self.is_heard(context) {
            self.tell_retired(context);
        } else {
            self.note_spent(context);
        }
    }

    fn note_spent(&self, context: &RunContext) {
        if let Some(gpa) = self.failure.error.gpa {
            context.patience.spend(gpa, self.spent());
        }
    }

    fn ended(self, outcome: DeferralOutcome, context: &RunContext) -> MemoryFailure {
        self.note_spent(context);
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
