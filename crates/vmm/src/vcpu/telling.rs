//! Telling the guest of the page that it is about to get an abort for, in the order that it can make use of.

use std::ops::ControlFlow;
use std::thread;

use seawall_arm64::{AbortKind, ExceptionClass};

use crate::event::MemoryFailure;
use crate::ghes::{Consumption, NotificationStep, RETRIES, Tried, next_step};
use crate::notifier::NotificationSource;
use crate::sea::ErrorReport;
use crate::vcpu::mailbox::Mailbox;
use crate::vcpu::run_loop::RunContext;

/// What the vCPU does once the guest was told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Told {
    /// It takes its abort.
    Abort,
    /// Its access runs again without one, for a while.
    RunAgain,
}

/// Where the time for an access to run again is over.
pub(super) const OVER: Tried = Tried {
    sea_refused: false,
    retries: RETRIES,
    time: std::time::Duration::MAX,
};

/// Whether the processor says that an instruction could not be fetched.
pub(super) const fn is_fetch(report: ErrorReport) -> bool {
    match report {
        ErrorReport::Sea { esr, .. } => matches!(
            esr.exception_class(),
            ExceptionClass::InstructionAbortLowerEl | ExceptionClass::InstructionAbortSameEl
        ),
        _ => false,
    }
}

/// Tells the guest of a failure's page, if it can be told and a vCPU is about to get an abort for it.
pub(super) fn tell(
    failure: &mut MemoryFailure,
    mut tried: Tried,
    context: &RunContext,
    mailbox: &Mailbox,
) -> Told {
    let (Some(notifier), Some(consumer)) = (&context.notifier, failure.error.consumer) else {
        return Told::Abort;
    };
    let page = failure.page.map(|hit| hit.page).zip(failure.error.gpa);
    let Some((page, needed)) = page.filter(|(page, _)| notifier.is_ram(page.gpa, page.size)) else {
        return Told::Abort;
    };
    let lost = (page.gpa, page.size);
    let consumption = Consumption {
        pstate: consumer.pstate,
        kind: if is_fetch(failure.error.report) {
            AbortKind::Instruction
        } else {
            AbortKind::Data
        },
    };
    let spent = context.patience.spent(needed);
    tried.retries = tried.retries.max(spent.retries);
    tried.time = tried.time.max(spent.time);
    // It was told by interrupt, and is about to retire the page: a second record would only tell of one that is poisoned already.
    let notified = notifier.notification(needed);
    let is_about_to_retire =
        notified.is_some_and(|told| told.source != NotificationSource::Sea && told.acked != Some(false));
    tried.sea_refused |= is_about_to_retire && tried.time < context.policy.defer;
    let told = loop {
        match next_step(consumption, notifier.states(), context.policy.defer, tried) {
            NotificationStep::TellSyncThenAbort => {
                // Whoever pauses the VM waits for this vCPU, and the guest reads nothing meanwhile.
                let pause = |time| {
                    thread::sleep(time);
                    if mailbox.park_requested() {
                        ControlFlow::Break(())
                    } else {
                        ControlFlow::Continue(())
                    }
                };
                if notifier.tell_by_exception(lost, needed, pause) {
                    break Told::Abort;
                }
                tried.sea_refused = true;
            }
            NotificationStep::TellAsyncAndRetry => {
                notifier.tell_by_interrupt(lost, Some(needed));
                break Told::RunAgain;
            }
            NotificationStep::TellAsyncThenAbort => {
                notifier.tell_by_interrupt(lost, Some(needed));
                break Told::Abort;
            }
            NotificationStep::AbortOnly => break Told::Abort,
        }
    };
    failure.notified = notifier.notification(needed);
    told
}

/// Tells the guest of the page of an access that gets no abort for it now.
pub(super) fn tell_in_passing(failure: &mut MemoryFailure, context: &RunContext) {
    let page = failure.page.map(|hit| hit.page).zip(failure.error.gpa);
    if let (Some(notifier), Some((page, needed))) = (&context.notifier, page)
        && notifier.is_ram(page.gpa, page.size)
    {
        notifier.tell_by_interrupt((page.gpa, page.size), Some(needed));
        failure.notified = notifier.notification(needed);
    }
}
